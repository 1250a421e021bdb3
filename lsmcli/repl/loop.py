"""The shell without its terminal: runs one text after the other, and keeps what lasts from one to the next.

    text -> commands -> runner -> exit code, one line for an error
              around each: where output goes, what undo needs, how long it took; then the file is let go of

Invariants:
- the file is open for writing only while a command runs: other processes write between two lines;
- an error ends its line and nothing else; what was open for writing is closed then;
- a reading command sees the newest state of the file.
"""

import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from time import monotonic
from typing import TYPE_CHECKING, BinaryIO, Final, Literal

import click

from lsmcli.cli import EXIT_INTERRUPTED, EXIT_PIPE
from lsmcli.engine.errors import LsmError, StateError
from lsmcli.repl.grammar import ALIASES, BUILTINS, Grammar
from lsmcli.repl.runner import Runner
from lsmcli.repl.script import code_of, text_of
from lsmcli.repl.settings import Settings
from lsmcli.repl.undo import Undo
from lsmcli.repl.words import Command, commands_of, lines_of, split
from lsmcli.session import Session

if TYPE_CHECKING:
    from lsmcli.engine.database import Database

_MODULE: Final = "lsmcli.repl.builtins_shell"
SHELL_BUILTINS: Final = {
    **BUILTINS,
    "help": (_MODULE, "Show the commands, or the help of one."),
    "changes": (_MODULE, "Show what the open scope changes."),
    "undo": (_MODULE, "Take back the last writing command."),
    "source": (_MODULE, "Run the lines of a script."),
    "alias": (_MODULE, "Show aliases, or give a command a short name."),
    "watch": (_MODULE, "Run a command again and again."),
    "timer": (_MODULE, "Show how long each command took."),
    "mode": (_MODULE, "Choose how results are shown: text or json."),
    "output": (_MODULE, "Send all results to a file."),
    "once": (_MODULE, "Send the next result to a file."),
    "tee": (_MODULE, "Send all results to a file too."),
    "open": (_MODULE, "Go on with another data file."),
    "edit": (_MODULE, "Write lines in an editor, and run them."),
}
SHELL_ALIASES: Final = {
    **ALIASES,
    ".help": ("help",),
    ".read": ("source",),
    ".output": ("output",),
    ".once": ("once",),
    ".mode": ("mode",),
    ".timer": ("timer",),
    ".open": ("open",),
}


class ShellSession(Session):
    """A session whose writes can be undone."""

    def __init__(self, path: str, undo: Undo, **options: object) -> None:
        super().__init__(path, **options)  # type: ignore[arg-type]  # Session's own
        self._undo = undo

    def _open_for_writing(self, flag: Literal["c", "w"]) -> "Database":
        database = super()._open_for_writing(flag)
        self._undo.attach(database)
        return database

    def atomic_end(self, *, keep: bool) -> None:
        """As for every session; what was discarded with its scope is nothing that could be undone."""
        wrote = self._scope is not None
        try:
            super().atomic_end(keep=keep)
        finally:
            if wrote and not keep:
                self._undo.refuse("its scope was discarded, so nothing of it is left")


class Target:
    """Where results go: a file of its own, or a file beside the terminal."""

    def __init__(self, path: str, *, tee: bool) -> None:
        self.path = path
        self.tee = tee


class Shell(Runner):
    """The state of a shell. terminal: whether results go to one, and may go to a pager."""

    session: ShellSession

    def __init__(
        self,
        session: ShellSession,
        undo: Undo,
        settings: Settings | None = None,
        *,
        pager: str = "",
        terminal: bool = False,
    ) -> None:
        settings = settings or Settings()
        super().__init__(session, Grammar(SHELL_BUILTINS, SHELL_ALIASES))
        self.undo = undo
        self.settings = settings
        self.pager = pager
        self.terminal = terminal
        self.timer = settings.timer
        self.mode = settings.mode
        self.target: Target | None = None
        self.target_once: Target | None = None
        self.seconds = 0.0  # that the last command took
        self.code = 0  # of the last command
        self.text_last = ""  # that was run, apart from those that ask for the editor
        self.edited: str | None = None  # a text that the editor left, to be run next
        self.runs_edited = False
        for name, text in settings.aliases.items():
            self.set_alias(name, text)

    # -- running --------------------------------------------------------------------------------

    def run_text(self, text: str) -> int:
        """Run the commands of a text, which may be several lines; returns the exit code of the last one.

        An error is one line on standard error, and ends the text. Never raises for what a command does.
        """
        source = text.encode("utf-8", "surrogateescape")
        for command in commands_of(lines_of(source), quotes_span_lines=True):
            if not self._asks_for_editor(command):
                self.text_last = text
            self.code = self.run_one(command)
            edited, self.edited = self.edited, None
            if edited is not None:
                self._run_edited(edited)
            if self.code or self.exit_code is not None:
                break
        return self.code

    def _asks_for_editor(self, command: Command) -> bool:
        words = self.grammar.expanded([os.fsdecode(word) for word in command.line.words[:1]])
        return [word.lower() for word in words[:1]] == ["edit"]

    def _run_edited(self, text: str) -> None:
        """Show a text that the editor left, and run it."""
        for line in text.splitlines():
            self.session.message(line)
        self.runs_edited = True
        try:
            self.run_text(text)
        finally:
            self.runs_edited = False

    def run_one(self, command: Command) -> int:
        """Run one command, tell its error, and let go of the file."""
        began_s = monotonic()
        self.undo.begin()
        try:
            if command.error is not None:
                raise command.error
            with self._results(command):
                code = self.run(command.line, command.body)
                self.session.out.flush()
            self.session.command_done()
            self.session.close_writer()
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the border of a line
            code = self._failed(error)
        self.undo.end()
        self.seconds = monotonic() - began_s
        if self.timer:
            self.session.message(f"{1000 * self.seconds:.1f} ms")
        return code

    def _failed(self, error: BaseException) -> int:
        """Close what is open after an error, and tell it."""
        try:
            self.session.close()
        except (LsmError, OSError):
            pass  # a result of the first error, which says more
        error.add_note(self.session.path)
        code = code_of(error)
        if code == EXIT_PIPE:
            return 0  # whoever read has seen enough
        if sys.stderr is not None:
            interrupted = code == EXIT_INTERRUPTED
            sys.stderr.write("interrupted\n" if interrupted else f"Error: {text_of(error, code)}\n")
        return code

    def command(self, words: list[str]) -> int:
        """Run one command, with the options that the mode adds."""
        if self.mode == "json" and self._takes_json(words):
            end = words.index("--") if "--" in words else len(words)
            words = [*words[:end], "--json", *words[end:]]
        return super().command(words)

    def _takes_json(self, words: list[str]) -> bool:
        """Whether these words are a command that can print JSON, and that does not say so itself."""
        command = self.grammar.get_command(self.context, words[0])
        if isinstance(command, click.Group) and len(words) > 1:
            command = command.commands.get(words[1])
        options = {option for word in words for option in [word.partition("=")[0]]}
        if command is None or options & {"--json", "--raw", "-0", "--print0", "-h", "--help"}:
            return False
        return any(param.name == "as_json" for param in command.params)

    def scope_changed(self, text: str) -> None:
        """A scope began or ended: what was before cannot be undone any more."""
        is_discard = text.split()[1:2] == ["discard"]
        self.undo.refuse("a scope was discarded, with what was written in it" if is_discard else f"it was `{text}`")

    # -- where results go -----------------------------------------------------------------------

    @contextmanager
    def _results(self, command: Command) -> Iterator[None]:
        """Send the results of one command where they belong, unless the line itself says where."""
        target, self.target_once = self.target_once or self.target, None
        if command.line.redirection is not None or command.line.words[:1] == [b"watch"]:
            yield
            return
        from lsmcli.repl.outputs import Tee, opened_for_writing, sent_to

        with ExitStack() as stack:
            if target is not None:
                stream = stack.enter_context(opened_for_writing(target.path, self.session.path, append=True))
                if target.tee:
                    stream = Tee(self.session.out, stream)  # type: ignore[assignment]  # it writes, no more is asked
                stack.enter_context(sent_to(self.session, stream))
            elif self.terminal and self.pager and sys.stdout is not None:
                stack.enter_context(self._paged())
            yield

    @contextmanager
    def _paged(self) -> Iterator[None]:
        """Send the results to the terminal, and to the pager once they are more than a screenful."""
        from lsmcli.repl.outputs import Pager, sent_to

        columns, rows = shutil.get_terminal_size()
        terminal: BinaryIO = self.session.out
        pager = Pager(self.pager, terminal, rows=rows - 1, columns=columns)
        interrupted = False
        try:
            with sent_to(self.session, pager):  # type: ignore[arg-type]  # it writes, no more is asked
                yield
        except KeyboardInterrupt:
            interrupted = True
            raise
        finally:
            pager.end(interrupted=interrupted)

    # -- what lasts -----------------------------------------------------------------------------

    def set_alias(self, name: str, text: str) -> None:
        """Let a name stand for a command and its first words. StateError if it cannot."""
        words = [os.fsdecode(word) for word in split(text.encode("utf-8", "surrogateescape")).words]
        if name.lower() in self.grammar.table:
            raise StateError(f"{name} is a command: choose another name")
        if not words or self.grammar.get_command(self.context, words[0]) is None:
            raise StateError(f"an alias stands for a command, and {text!r} does not begin with one")
        self.grammar.aliases[name.lower()] = words

    def open_file(self, path: str) -> None:
        """Go on with another data file."""
        self.session.close()
        self.session.path = path
        self.session.tree_name = "main"
        self.undo.refuse("it was in another data file")

    def aliases_of_user(self) -> Mapping[str, list[str]]:
        """The aliases that are not built in."""
        return {name: words for name, words in self.grammar.aliases.items() if name not in SHELL_ALIASES}


def shell_of(session: Session, settings: Settings, *, pager: str, terminal: bool) -> Shell:
    """A shell with the options of a command line."""
    undo = Undo()
    own = ShellSession(
        session.path,
        undo,
        tree_name=session.tree_name,
        read_only=session.read_only,
        wait_s=session.wait_s,
        verbosity=min(session.verbosity, 0),
        color=session.color,
        safe=session.safe or settings.safe,
    )
    return Shell(own, undo, settings, pager="" if own.safe else pager, terminal=terminal)
