"""Ctrl-C and SIGTERM while rows come in: the import stops where nothing is half done, and says what is in the file."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lsmcli.commands.interrupts import Interrupts
from lsmcli.engine.forest import Entry, Forest
from lsmcli.session import Terminated
from tests.testing.command_line import Lsm

INTERRUPT_CODES = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]


class Importing:
    """An import that waits for rows from a pipe."""

    def __init__(self, *options: str) -> None:
        command = [sys.executable, "-m", "lsmcli", "t.lsm", "import", *options]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)

    def until_it_listens(self) -> None:
        """Wait until the import has a handler of its own for SIGTERM, as the system tells."""
        status = Path(f"/proc/{self.process.pid}/status")

        def listens() -> bool:
            caught = next(line for line in status.read_text("ascii").splitlines() if line.startswith("SigCgt:"))
            return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)

        until(listens)

    def send(self, rows: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(rows)
        self.process.stdin.flush()

    def stop(self, number: int) -> tuple[int, list[str]]:
        """The exit code and the lines on standard error."""
        self.process.send_signal(number)
        code = self.process.wait(20)
        assert self.process.stderr is not None and self.process.stdin is not None
        lines = self.process.stderr.read().decode().splitlines()
        self.process.stderr.close()
        self.process.stdin.close()
        return code, lines


def rows(first: int, last: int) -> bytes:
    return b"".join(b"k%05d\t%d\n" % (number, number) for number in range(first, last + 1))


@pytest.mark.parametrize(("number", "code"), INTERRUPT_CODES)
def test_an_import_as_a_whole_leaves_nothing(lsm: Lsm, number: int, code: int) -> None:
    lsm.ok("put", "a", "before")
    importing = Importing()
    importing.send(rows(1, 5000))
    importing.until_it_listens()
    found, lines = importing.stop(number)
    assert found == code
    assert lines[0].startswith("imported=0 replaced=0")
    assert lines[1:] == ["interrupted: nothing was imported"]
    assert lsm.ok("scan") == b"a\tbefore\n"


@pytest.mark.parametrize(("number", "code"), INTERRUPT_CODES)
def test_an_import_in_batches_keeps_whole_ones(lsm: Lsm, number: int, code: int) -> None:
    importing = Importing("--batch", "100")
    importing.send(rows(1, 2550))
    until(lambda: lsm.path.exists() and lsm.ok("count") == b"2500\n")
    found, lines = importing.stop(number)
    assert found == code
    assert lines[1:] == ["interrupted: 2500 rows are stored, in whole batches: import --resume goes on behind them"]
    assert lsm.ok("scan") == rows(1, 2500)
    lsm.ok("import", "--batch", "100", "--resume", stdin=rows(1, 3000))
    assert lsm.ok("scan") == rows(1, 3000)


def until(condition: Callable[[], bool]) -> None:
    """Wait, at most 20 seconds."""
    deadline_s = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


# -- the mechanism, in this process --------------------------------------------------------------------------------


def kill_self(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)])
def test_a_signal_waits_for_a_moment_in_which_nothing_is_half_done(number: int, error: type[BaseException]) -> None:
    with Interrupts() as interrupts:
        pieces = interrupts.guarded([b"1", b"2"])
        assert next(pieces) == b"1"
        kill_self(number)  # in the midst of a change
        with pytest.raises(error):
            interrupts.check()
        with pytest.raises(error):
            next(pieces)


def test_a_second_signal_does_not_wait() -> None:
    with Interrupts() as interrupts, pytest.raises(KeyboardInterrupt):
        kill_self(signal.SIGTERM)
        kill_self(signal.SIGINT)
    assert interrupts.in_midst


@pytest.mark.parametrize("options", [(), ("--batch", "10")])
def test_what_a_second_signal_leaves_is_not_claimed_to_be_known(
    lsm: Lsm, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    write = Forest.write

    def write_interrupted(self: Forest, entries: list[Entry], body: bytes) -> None:
        write(self, entries, body)
        kill_self(signal.SIGINT)
        kill_self(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Forest, "write", write_interrupted)
        result = lsm("import", *options, stdin=rows(1, 20))
    assert result.code == 130
    told = result.err.splitlines()[-1]
    assert told == "interrupted: nothing was imported, and perhaps what was being stored: the file tells"
    assert lsm.ok("scan") in (b"", rows(1, 10), rows(1, 20))


def test_a_signal_during_the_last_step_comes_too_late(lsm: Lsm, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Forest.write

    def write_signalled(self: Forest, entries: list[Entry], body: bytes) -> None:
        kill_self(signal.SIGINT)
        write(self, entries, body)

    with monkeypatch.context() as patch:
        patch.setattr(Forest, "write", write_signalled)
        lsm.ok("import", stdin=rows(1, 20))
    assert lsm.ok("scan") == rows(1, 20)


def test_a_shell_or_a_script_does_not_go_on_when_sigterm_came_during_the_last_step(
    lsm: Lsm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Forest.write
    (tmp_path / "rows.tsv").write_bytes(rows(1, 20))

    def write_signalled(self: Forest, entries: list[Entry], body: bytes) -> None:
        kill_self(signal.SIGTERM)
        write(self, entries, body)

    with monkeypatch.context() as patch:
        patch.setattr(Forest, "write", write_signalled)
        result = lsm("exec", stdin=f"import {tmp_path}/rows.tsv\nput after 1\n".encode())
    assert result.code == 143
    assert "imported=20 " in result.err
    assert lsm.ok("scan") == rows(1, 20)


def test_a_signal_while_a_piece_is_waited_for_is_heeded_at_once() -> None:
    def never() -> Iterator[bytes]:
        kill_self(signal.SIGTERM)
        raise AssertionError("goes on waiting")
        yield b""

    with Interrupts() as interrupts, pytest.raises(Terminated):
        next(interrupts.guarded(never()))


def test_the_handlers_before_are_there_again() -> None:
    before = [signal.getsignal(number) for number, _ in INTERRUPT_CODES]
    with Interrupts():
        assert [signal.getsignal(number) for number, _ in INTERRUPT_CODES] != before
    assert [signal.getsignal(number) for number, _ in INTERRUPT_CODES] == before


def test_what_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interrupts() as interrupts:
            kill_self(signal.SIGINT)
            interrupts.check()
    finally:
        signal.signal(signal.SIGINT, before)


def test_in_a_thread_of_its_own_it_does_nothing() -> None:
    found: list[list[bytes]] = []

    def run() -> None:
        with Interrupts() as interrupts:
            found.append(list(interrupts.guarded([b"1", b"2"])))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [[b"1", b"2"]]


def test_the_file_is_there_only_when_there_is_something_to_write(lsm: Lsm) -> None:
    importing = Importing()
    importing.send(b"a\t1\n")
    importing.until_it_listens()
    importing.stop(signal.SIGTERM)
    assert not Path("t.lsm").exists()
