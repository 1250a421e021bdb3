"""Runs lines with an open session: the very commands of the command line, without starting anew for each.

    line -> words -> alias -> plain form?  -- yes -> the pure function of the command
                                           -- no --> click, standalone_mode off

The plain form of a line is `put`, `get`, `delete` or `exists` without options. It takes a twentieth of the time
of click, and calls what the click commands call: equal by construction, and by a test over generated lines.

Invariants:
- an error is raised, never printed: who reads the lines knows how to tell where it happened;
- nothing is synced here, apart from lines that say so and the ends of scopes;
- the words of a line are bytes; they become text as the arguments of a process do, and back without a loss.
"""

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Final

import click

from lsmcli.commands.arguments import DataArguments
from lsmcli.commands.encoding import CODECS, ENCODING
from lsmcli.engine.errors import LimitError, LsmError, OutcomeUnknownError
from lsmcli.repl.grammar import Grammar
from lsmcli.repl.words import Line
from lsmcli.session import Session

Plain = Callable[[DataArguments, list[str]], bool]

# A click command's options can be set in the environment; a plain form would not know of that.
_ENVIRONMENT: Final = ("LSMCLI_PUT_", "LSMCLI_GET_", "LSMCLI_DELETE_", "LSMCLI_EXISTS_")


class Runner:
    """Runs lines. exit_code: None until a line says that there is an end, then with which exit code."""

    def __init__(self, session: Session, grammar: Grammar | None = None) -> None:
        self.session = session
        self.grammar = grammar or Grammar()
        self.exit_code: int | None = None
        self.depth = 0  # of scripts in scripts
        outer = click.Context(self.grammar, info_name=None, obj=self, auto_envvar_prefix="LSMCLI")
        self.context = click.Context(self.grammar, info_name=None, obj=session, parent=outer)
        self.context.auto_envvar_prefix = "LSMCLI"
        auto = CODECS["auto"]
        self._plain_data = DataArguments(session, None, auto, auto, literal=False, committed=False)
        self.has_plain_forms = not any(name.startswith(_ENVIRONMENT) for name in os.environ)

    def run(self, line: Line, body: bytes | None = None) -> int:
        """Run one line and return its exit code. body: its here-document, the standard input of the command.

        Raises whatever the command raises.
        """
        if not line.words:
            return self._nothing(line)
        words = [word.decode(ENCODING, "surrogateescape") for word in line.words]
        if words[0] not in PLAIN_FORMS:
            words = self.grammar.expanded(words)
        if line.redirection is None and body is None:
            return self.command(words)
        from lsmcli.repl.outputs import input_of, redirected

        code = 0  # a command on the other side of a pipe may have seen enough before the line ends
        with ExitStack() as stack:
            stack.enter_context(input_of(body))
            outcome = stack.enter_context(redirected(self.session, line.redirection)) if line.redirection else None
            code = self.command(words)
        return code or (outcome.code if outcome is not None else 0)

    def command(self, words: list[str]) -> int:
        """Run one command, given as words without aliases."""
        if self.has_plain_forms and self._is_plain(words):
            try:
                return 0 if PLAIN_FORMS[words[0]](self._plain_data, words[1:]) else 1
            except click.UsageError as error:
                command = self.grammar.get_command(self.context, words[0])
                assert command is not None
                error.ctx = click.Context(command, info_name=words[0], parent=self.context)
                raise
        return self.click_command(words)

    def _is_plain(self, words: list[str]) -> bool:
        """Whether words are the plain form of a command: click has nothing to find in them."""
        if words[0] not in PLAIN_FORMS or len(words) < 2 or (words[0] == "exists" and len(words) != 2):
            return False
        return all(word[:1] != "-" for word in words)

    def plain_put(self, line: Line) -> tuple[bytes, bytes] | None:
        """Key and value of a line that puts one value and could do so together with others; None for any other line,
        also for a bad one."""
        words = line.words
        dashes = len(words) == 4 and words[1] == b"--"  # behind it a word may begin with a dash
        if words[0] != b"put" or not (dashes or len(words) == 3) or not self.has_plain_forms:
            return None
        if line.redirection is not None or line.tag is not None:
            return None
        key, value = words[-2].decode(ENCODING, "surrogateescape"), words[-1].decode(ENCODING, "surrogateescape")
        if value[:1] == "@" or value == "-" or (not dashes and (key[:1] == "-" or value[:1] == "-")):
            return None
        try:
            return self._plain_data.key(key), self._plain_data.value(value)
        except (click.UsageError, LimitError):
            return None

    def put_many(self, pairs: list[tuple[bytes, bytes]]) -> bool:
        """Store what plain_put returned, as one op. False if that failed and nothing was stored: the lines
        one by one tell why."""
        try:
            self._plain_data.write().put_many(pairs)
        except OutcomeUnknownError:
            raise
        except LsmError:
            return False
        return True

    def click_command(self, words: list[str]) -> int:
        """Run one command by way of click."""
        try:
            name, command, rest = self.grammar.resolve_command(self.context, words)
            assert command is not None
            if name == "scope" and self.session.atomic and rest[:1] != ["status"] and "-h" not in rest:
                raise click.UsageError("--atomic is a scope already: no scope can begin or end inside of it")
            with command.make_context(name, rest, parent=self.context) as ctx:
                command.invoke(ctx)
        except click.exceptions.Exit as error:
            return error.exit_code
        if name == "scope" and rest[:1] != ["status"]:
            self.session.command_done()
            self.scope_changed(" ".join(words))
        return 0

    def scope_changed(self, text: str) -> None:
        """What a command did that began or ended a scope: for a shell, which then cannot undo what was before."""

    def _nothing(self, line: Line) -> int:
        if line.redirection is not None or line.tag is not None:
            raise click.UsageError("there is no command on this line")
        return 0


def _put(data: DataArguments, words: list[str]) -> bool:
    from lsmcli.commands.put import store

    store(data, words)
    return True


def _get(data: DataArguments, words: list[str]) -> bool:
    from lsmcli.commands.get import print_values

    return print_values(data, words)


def _delete(data: DataArguments, words: list[str]) -> bool:
    from lsmcli.commands.delete import delete_keys

    delete_keys(data, [data.key(word) for word in words], False)
    return True


def _exists(data: DataArguments, words: list[str]) -> bool:
    from lsmcli.commands.exists import is_there

    return is_there(data, words[0])


PLAIN_FORMS: Final[Mapping[str, Plain]] = {"put": _put, "get": _get, "delete": _delete, "exists": _exists}
