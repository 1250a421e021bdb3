"""Where the output of one line goes instead: a file, a command of the system's shell. And where its input comes from.

Invariants:
- what is redirected is whole or the line fails: a target that cannot be written is an error, not a warning;
- neither side is ever the data file itself;
- nothing here happens with --safe.
"""

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, Final

from lsmcli.commands.files import file_error, refuse_data_file
from lsmcli.repl.words import Redirection
from lsmcli.session import Session

PAGER_WAIT_S: Final = 0.1


class Outcome:
    """The exit code that a redirection has, 0 until it ends."""

    __slots__ = ("code",)

    def __init__(self) -> None:
        self.code = 0


@contextmanager
def redirected(session: Session, redirection: Redirection) -> Iterator[Outcome]:
    """Within the block the data of commands goes where the redirection says. Raises FileError, StateError."""
    target = os.fsdecode(redirection.target)
    session.refuse_outside(target)
    session.out.flush()
    if redirection.operator == "|":
        with piped(session, target) as outcome:
            yield outcome
        return
    with opened_for_writing(target, session.path, append=redirection.operator == ">>") as stream:
        with sent_to(session, stream):
            yield Outcome()


@contextmanager
def sent_to(session: Session, stream: BinaryIO) -> Iterator[None]:
    """Within the block the data of commands goes to a stream, which is flushed at the end."""
    before = session.redirect(stream)
    try:
        yield
        stream.flush()
    finally:
        session.redirect(before)


@contextmanager
def opened_for_writing(path: str, path_data: str, *, append: bool) -> Iterator[BinaryIO]:
    """A file beside the data file, opened for writing."""
    refuse_data_file(path, path_data)
    try:
        stream = open(path, "ab" if append else "wb")  # noqa: SIM115 - an error in the block is not one of opening
    except OSError as error:
        raise file_error(path, error) from None
    with stream:
        yield stream


@contextmanager
def piped(session: Session, command: str) -> Iterator[Outcome]:
    """Within the block the data of commands goes to a command of the system's shell; its exit code is the outcome."""
    process = subprocess.Popen(["/bin/sh", "-c", command], stdin=subprocess.PIPE)
    assert process.stdin is not None
    stream: BinaryIO = process.stdin  # type: ignore[assignment]  # a pipe, as was asked for
    outcome = Outcome()
    try:
        with sent_to(session, stream):
            yield outcome
    except BrokenPipeError:
        pass  # it has seen enough, as head does
    finally:
        try:
            stream.close()
        except BrokenPipeError:
            pass
        outcome.code = exit_code_of_process(process.wait())


def exit_code_of_process(code: int) -> int:
    """The exit code as a shell tells it: 128 and the signal that ended the process."""
    return 128 - code if code < 0 else code


@contextmanager
def input_of(body: bytes | None) -> Iterator[None]:
    """Within the block the bytes are the standard input of commands; None changes nothing."""
    if body is None:
        yield
        return
    before, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO(body), encoding="utf-8")
    try:
        yield
    finally:
        sys.stdin = before


@contextmanager
def no_input() -> Iterator[None]:
    """Within the block there is no standard input: it is the script itself."""
    before, sys.stdin = sys.stdin, None
    try:
        yield
    finally:
        sys.stdin = before


class Tee(io.RawIOBase):
    """A stream that writes to two."""

    def __init__(self, first: BinaryIO, second: BinaryIO) -> None:
        self._streams = (first, second)

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self._streams[0].isatty()

    def write(self, data: Any, /) -> int:
        for stream in self._streams:
            stream.write(data)
        return len(data)

    def flush(self) -> None:
        for stream in self._streams:
            stream.flush()


class Pager(io.RawIOBase):
    """Output for a terminal: less than a screenful goes there, from then on all of it to a pager, as it comes.

    After the user has left the pager, writing raises BrokenPipeError. end() waits for the user.
    """

    def __init__(self, command: str, terminal: BinaryIO, *, rows: int, columns: int) -> None:
        self._command = command
        self._terminal = terminal
        self._rows = rows
        self._columns = max(1, columns)
        self._held: list[bytes] = []
        self._rows_held = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._mode: list[Any] | None = None

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        """Hold the data back, or pass it on."""
        if self._process is None:
            self._held.append(bytes(data))
            self._rows_held += max(data.count(b"\n"), len(data) // self._columns)
            if self._rows_held >= self._rows:
                self._start()
        else:
            assert self._process.stdin is not None
            self._process.stdin.write(data)
        return len(data)

    def flush(self) -> None:
        if self._process is not None and self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.flush()

    def _start(self) -> None:
        self._terminal.flush()
        self._mode = terminal_mode(self._terminal)
        self._process = subprocess.Popen(["/bin/sh", "-c", self._command], stdin=subprocess.PIPE)
        assert self._process.stdin is not None
        held, self._held = self._held, []
        self._process.stdin.write(b"".join(held))

    def end(self, *, interrupted: bool = False) -> None:
        """All is written: show what was held back, or let the user read on, unless interrupted."""
        process = self._process
        if process is None:
            self._terminal.write(b"".join(self._held))
            self._terminal.flush()
            return
        assert process.stdin is not None
        if interrupted:
            process.terminate()
        try:
            process.stdin.close()
        except BrokenPipeError:
            pass
        while True:
            try:
                process.wait(PAGER_WAIT_S if interrupted else None)
                break
            except KeyboardInterrupt:
                continue  # it is the pager's
            except subprocess.TimeoutExpired:
                process.kill()
        restore_terminal(self._terminal, self._mode)
        if interrupted or process.returncode:
            self._terminal.write(b"\r\x1b[K")  # it had no time to take its own prompt away
            self._terminal.flush()


def terminal_mode(terminal: BinaryIO) -> list[Any] | None:
    """How a terminal is set, None if it is none."""
    import termios

    try:
        return termios.tcgetattr(terminal.fileno())
    except (termios.error, OSError, ValueError):
        return None


def restore_terminal(terminal: BinaryIO, mode: list[Any] | None) -> None:
    """Set a terminal as it was: a pager that was ended had no time to do so."""
    import termios

    if mode is not None:
        try:
            termios.tcsetattr(terminal.fileno(), termios.TCSADRAIN, mode)
        except (termios.error, OSError, ValueError):
            pass
