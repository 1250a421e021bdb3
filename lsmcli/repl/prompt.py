"""The shell on a terminal: what prompt_toolkit shows and asks of the other files of this package. No logic of its own.

    users.lsm:main (scope +3)> scan --prefix us_        line, highlighted; suggestions below
    scan [OPTIONS]   Print the entries ...              hint of the command that is typed
    main | 12 in memory, 0 % full | bar 1, beat 0 ...  what the file looks like, as of the last command

The only file that imports prompt_toolkit, apart from the history; both are imported when a shell starts.
"""

import asyncio
import glob
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app, run_in_terminal
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.enums import EditingMode
from prompt_toolkit.filters import completion_is_selected, has_focus
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.input import Input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.lexers import Lexer
from prompt_toolkit.output import ColorDepth, Output
from prompt_toolkit.styles import Style

from lsmcli.commands.encoding import quoted_for_message
from lsmcli.engine.errors import LsmError
from lsmcli.formats.esc import safe_text
from lsmcli.repl.completion import (
    SUGGESTIONS_MAX,
    Sources,
    highlight,
    hint,
    key_word,
    suggest,
    typed_bytes,
)
from lsmcli.repl.editor import edited
from lsmcli.repl.history import FileHistory, history_path
from lsmcli.repl.keys import next_segments
from lsmcli.repl.loop import Shell
from lsmcli.repl.script import code_of, text_of
from lsmcli.repl.words import is_complete, word_text
from lsmcli.session import wants_color

STYLES: Final = {
    "command": "ansicyan bold",
    "option": "ansigreen",
    "string": "ansiyellow",
    "operator": "bold",
    "comment": "ansibrightblack",
    "error": "ansired underline",
    "prompt": "bold",
    "scope": "ansiyellow bold",
}


class Status(NamedTuple):
    """What prompt and toolbar show, as of the last command."""

    name: str
    tree: str
    scope_changes: int | None = None  # None: no scope is open
    toolbar: str = ""


def status_of(shell: Shell) -> Status:
    """The status of the open file; what cannot be read is left out."""
    session = shell.session
    name = safe_text(os.path.basename(session.path))
    tree_name = safe_text(session.tree_name)
    try:
        database = session.database()
        scope = database.scope_status()
        tree = next((tree for tree in database.levels() if tree["tree"] == session.tree_name), None)
    except (LsmError, OSError):
        return Status(name, tree_name)
    toolbar = tree_name
    if tree is not None:
        memory = tree["memory"]
        entries = memory["mutable_entries"] + memory["immutable_entries"]
        fill = 100 * memory["mutable_weight"] // max(1, memory["memory_size"])
        tables = " ".join(str(level["tables"]) for level in tree["levels"])
        toolbar += f" | {entries} in memory, {fill} % full | bar {memory['bar']}, beat {memory['beat']}"
        toolbar += f" | tables {tables}"
    toolbar += f" | {1000 * shell.seconds:.1f} ms"
    return Status(name, tree_name, None if scope is None else scope.changes, toolbar)


def prompt_parts(status: Status) -> StyleAndTextTuples:
    """The prompt: "users.lsm:main (scope +3)> "."""
    parts: StyleAndTextTuples = [("class:prompt", f"{status.name}:{status.tree}")]
    if status.scope_changes is not None:
        parts.append(("class:scope", f" (scope +{status.scope_changes})"))
    return [*parts, ("class:prompt", "> ")]


def sources_of(shell: Shell) -> Sources:
    """Suggestions from the open file and from the file system; none where they cannot be had."""

    def keys(begun: str, tree: str | None) -> Sequence[str]:
        try:
            found = next_segments(shell.session.tree(tree), typed_bytes(begun), SUGGESTIONS_MAX)
        except (LsmError, OSError):
            return []
        return [key_word(key) for key in found]

    def trees() -> Sequence[str]:
        try:
            return shell.session.database().trees()
        except (LsmError, OSError):
            return []

    def files(begun: str) -> Sequence[str]:
        if shell.session.safe:
            return []
        beginning = os.path.expanduser(os.fsdecode(typed_bytes(begun)))
        found = sorted(glob.glob(glob.escape(beginning) + "*"))[:SUGGESTIONS_MAX]
        names = [name + os.sep if os.path.isdir(name) else name for name in found]
        return [word_text(os.fsencode(name)).decode() for name in names]

    return Sources(keys, trees, files)


class LineCompleter(Completer):
    """`suggest` as prompt_toolkit asks for it."""

    def __init__(self, shell: Shell) -> None:
        self._grammar = shell.grammar
        self._sources = sources_of(shell)

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """The completions at the cursor."""
        for found in suggest(document.text_before_cursor, self._grammar, self._sources):
            yield Completion(found.text, -found.size, display=safe_text(found.text), display_meta=found.meta)


class LineLexer(Lexer):
    """`highlight` as prompt_toolkit asks for it."""

    def __init__(self, shell: Shell) -> None:
        self._grammar = shell.grammar

    def lex_document(self, document: Document) -> Callable[[int], StyleAndTextTuples]:
        """The styled parts of each line."""
        lines: list[StyleAndTextTuples] = [[]]
        for part in highlight(document.text, self._grammar):
            style = f"class:{part.kind}" if part.kind else ""
            for index, text in enumerate(part.text.split("\n")):
                if index:
                    lines.append([])
                lines[-1].append((style, text))
        return lambda number: lines[number] if number < len(lines) else []


class Modes:
    """What keys switch while a line is typed."""

    def __init__(self) -> None:
        self.multiline = False


def bindings_of(modes: Modes) -> KeyBindings:
    """Our keys: Enter runs a complete line only, F3 multi-line, F4 vi or Emacs."""
    bindings = KeyBindings()

    @bindings.add("enter", filter=has_focus("DEFAULT_BUFFER"))
    def enter(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        text = buffer.text
        if modes.multiline or not is_complete(text.encode("utf-8", "surrogateescape")):
            buffer.newline(copy_margin=False)
        else:
            buffer.validate_and_handle()

    @bindings.add("enter", filter=has_focus("DEFAULT_BUFFER") & completion_is_selected)
    def choose(event: KeyPressEvent) -> None:
        event.current_buffer.complete_state = None

    @bindings.add("f3")
    def multiline(event: KeyPressEvent) -> None:
        modes.multiline = not modes.multiline

    @bindings.add("f4")
    def editing(event: KeyPressEvent) -> None:
        app = event.app
        app.editing_mode = EditingMode.EMACS if app.editing_mode == EditingMode.VI else EditingMode.VI

    return bindings


def open_in_editor(buffer: Buffer) -> asyncio.Task[None]:
    """Edit what is typed as `edit` does, and run it if it was saved; an error leaves it as it is."""

    def ask() -> str | None:
        try:
            return edited(buffer.text + "\n")
        except (LsmError, OSError) as error:
            sys.stderr.write(f"Error: {text_of(error, code_of(error))}\n")
            return None

    async def run() -> None:
        text = await run_in_terminal(ask, in_executor=True)
        if text is not None:
            text = text.removesuffix("\n")
            buffer.document = Document(text, len(text))
            buffer.validate_and_handle()

    return get_app().create_background_task(run())


class Prompt:
    """Asks for texts. One for each data file, which has a history of its own."""

    def __init__(
        self, shell: Shell, history: str | None, *, terminal_in: Input | None = None, terminal_out: Output | None = None
    ) -> None:
        """history: path of its file, None for the usual one."""
        self.shell = shell
        self.status = status_of(shell)
        self._modes = Modes()
        in_color = wants_color(shell.session.color, True)
        self._session: PromptSession[str] = PromptSession(
            message=lambda: prompt_parts(self.status),
            lexer=LineLexer(shell),
            completer=LineCompleter(shell),
            complete_in_thread=True,
            complete_while_typing=True,
            history=FileHistory(history or history_path(shell.session.path)),
            auto_suggest=AutoSuggestFromHistory(),
            key_bindings=bindings_of(self._modes),
            editing_mode=EditingMode.VI if shell.settings.keys == "vi" else EditingMode.EMACS,
            bottom_toolbar=self._toolbar,
            multiline=True,
            prompt_continuation="... ",
            enable_open_in_editor=not shell.session.safe,
            style=Style.from_dict({**STYLES, **shell.settings.colors}),
            color_depth=None if in_color else ColorDepth.DEPTH_1_BIT,
            input=terminal_in,
            output=terminal_out,
            reserve_space_for_menu=6,
        )
        # The one of prompt_toolkit ends in a traceback for bytes that are no UTF-8, and knows other editors.
        buffer = self._session.default_buffer
        buffer.open_in_editor = lambda validate_and_handle=True: open_in_editor(buffer)  # type: ignore[method-assign]

    def _toolbar(self) -> str:
        """The hint for what is typed, then the status."""
        text = self._session.default_buffer.text
        modes = "vi" if get_app().editing_mode == EditingMode.VI else "emacs"
        keys = f"F3 multi-line {'on' if self._modes.multiline else 'off'} | F4 {modes}"
        return f"{hint(text, self.shell.grammar)}\n{self.status.toolbar} | {keys}"

    def ask(self) -> str:
        """One text. KeyboardInterrupt for Ctrl-C, EOFError for Ctrl-D on an empty line."""
        self.status = status_of(self.shell)
        return self._session.prompt()


def run_shell(
    shell: Shell, *, history: str | None = None, terminal_in: Input | None = None, terminal_out: Output | None = None
) -> int:
    """Ask and run until the end; returns the exit code."""
    for line in shell.settings.startup:
        shell.run_text(line)
    prompt = Prompt(shell, history, terminal_in=terminal_in, terminal_out=terminal_out)
    path = shell.session.path
    while shell.exit_code is None:
        if shell.session.path != path:
            path = shell.session.path
            prompt = Prompt(shell, history, terminal_in=terminal_in, terminal_out=terminal_out)
        try:
            text = prompt.ask()
        except KeyboardInterrupt:
            continue
        except EOFError:
            break
        shell.run_text(text)
    say_goodbye(shell)
    shell.session.close()
    return shell.exit_code or 0


def say_goodbye(shell: Shell) -> None:
    """Tell that a scope stays open, if one does."""
    try:
        scope = shell.session.database().scope_status()
    except (LsmError, OSError):
        return
    if scope is not None and sys.stderr is not None:
        name = quoted_for_message(os.fsencode(shell.session.path))
        sys.stderr.write(f"the scope of {name} stays open, with {scope.changes} changes\n")
