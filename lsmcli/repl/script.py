"""Runs the lines of a script, and tells which of them failed.

Invariants:
- a message begins with `file:LINE:COL: `, both from 1, COL in bytes;
- the first failing line ends the script, with its exit code; with keep_going all lines run, and the exit code
  is that of the first failure;
- any exit code but 0 is a failure, also the 1 of a key that is absent.
"""

import os
import sys
from collections.abc import Iterable

import click

from lsmcli.cli import EXIT_INPUT, EXIT_INTERRUPTED, EXIT_PIPE, exit_code_of, message_of
from lsmcli.engine.constants import KIB
from lsmcli.engine.errors import LsmError, OutcomeUnknownError
from lsmcli.formats.esc import safe_text
from lsmcli.repl.runner import Runner
from lsmcli.repl.words import Command, LineError, Lines, commands_of, place, words_of

SCRIPT_DEPTH_MAX = 16
PUTS_MAX = 512
PUTS_SIZE_MAX = 256 * KIB


def run_script(
    runner: Runner, blocks: Iterable[bytes], name: str, *, keep_going: bool = False, echo: bool = False
) -> int:
    """Run all lines of blocks of whole lines; returns the exit code. Interrupts and closed pipes are raised."""
    if runner.depth >= SCRIPT_DEPTH_MAX:
        raise click.UsageError(f"scripts run scripts, {SCRIPT_DEPTH_MAX} deep: does {name} run itself?")
    runner.depth += 1
    lines = Lines(blocks)
    script = Script(runner, name, keep_going=keep_going)
    try:
        for command in commands_of(lines):
            if echo:
                script.flush()
                runner.session.message(command.source.decode("utf-8", "surrogateescape").rstrip("\n"))
            script.take(command, last=echo or lines.exhausted)
            if script.ended:
                break
        script.flush()
    finally:
        runner.depth -= 1
    return script.code if runner.exit_code is None else runner.exit_code


class Script:
    """The commands of a script on their way to the runner. code: of the first failure, else 0.

    Lines that put one value each, and that are at hand together, go in as one op; nothing else can tell that from
    one op each, apart from the time it takes. If it fails they run one by one.
    """

    def __init__(self, runner: Runner, name: str, *, keep_going: bool) -> None:
        self.code = 0
        self.ended = False
        self._runner = runner
        self._name = name
        self._keep_going = keep_going
        self._commands: list[Command] = []
        self._pairs: list[tuple[bytes, bytes]] = []
        self._size = 0

    def take(self, command: Command, *, last: bool) -> None:
        """Run a command, or keep it for the op that the next ones go into too; last: there are none at hand."""
        pair = None if command.error is not None else self._runner.plain_put(command.line)
        if pair is None:
            self.flush()
            if not self.ended:
                self._run(command)
            return
        self._commands.append(command)
        self._pairs.append(pair)
        self._size += len(pair[0]) + len(pair[1])
        if last or len(self._pairs) >= PUTS_MAX or self._size >= PUTS_SIZE_MAX:
            self.flush()

    def flush(self) -> None:
        """Run what was kept."""
        commands, pairs = self._commands, self._pairs
        self._commands, self._pairs, self._size = [], [], 0
        if len(pairs) > 1 and self._runner.put_many(pairs):
            return
        for command in commands:
            if not self.ended:
                self._run(command)

    def _run(self, command: Command) -> None:
        code = run_one(self._runner, command, self._name)
        if code:
            self.code = self.code or code
        self.ended = self._runner.exit_code is not None or (code != 0 and not self._keep_going)


def run_one(runner: Runner, command: Command, name: str) -> int:
    """Run one command; an error is told with its place, and becomes an exit code."""
    try:
        if command.error is not None:
            raise command.error
        code = runner.run(command.line, command.body)
        if command.line.words[0] != b"put":
            runner.session.out.flush()
    except (Exception, KeyboardInterrupt) as error:  # the border of a line, as cli.main is of a process
        error.add_note(runner.session.path)
        code = code_of(error)
        if code in (EXIT_INTERRUPTED, EXIT_PIPE) or isinstance(error, OutcomeUnknownError):
            raise
        tell(runner, f"{where(command, name, error)}: {text_of(error, code)}")
    else:
        # The negative answer of a command has been told; this tells which line it was. A script in a script told it.
        if code and runner.exit_code is None and not _ran_script(runner, command):
            tell(runner, f"{where(command, name, None)}: exit code {code}")
    return code


def _ran_script(runner: Runner, command: Command) -> bool:
    words = runner.grammar.expanded([os.fsdecode(word) for word in command.line.words])
    return words[:1] in (["exec"], ["source"])


def code_of(error: BaseException) -> int:
    """The exit code for an error of a line."""
    return EXIT_INPUT if isinstance(error, LineError) else exit_code_of(error)


def text_of(error: BaseException, code: int) -> str:
    """The message of an error of a line, in one line."""
    return safe_text(error.reason if isinstance(error, LineError) else message_of(error, code))


def where(command: Command, name: str, error: BaseException | None) -> str:
    """The place of a command, or of the word in it that an error is about: "script:3:5"."""
    number, column = place(command, offset_of(command, error))
    return f"{safe_text(name)}:{number}:{column}"


def offset_of(command: Command, error: BaseException | None) -> int:
    """Where in its source a command went wrong: at the word that the message shows in quotes, else at the first one."""
    if isinstance(error, LineError):
        return error.offset
    try:
        words = list(words_of(command.source))
    except LineError:
        return 0
    if isinstance(error, (click.UsageError, LsmError)):
        option = error.option_name if isinstance(error, click.NoSuchOption) else None
        text = error.format_message() if isinstance(error, click.UsageError) else str(error)
        for word in words:
            shown = os.fsdecode(word.data)
            if repr(shown) in text or (option is not None and shown.partition("=")[0] == option):
                return word.start
    return words[0].start if words else 0


def tell(runner: Runner, text: str) -> None:
    """A line on standard error, behind all data so far; not silenced by --quiet."""
    runner.session.out.flush()
    if sys.stderr is not None:
        sys.stderr.write(text + "\n")
