"""Class 17: two writers: in one process, in threads, in forked children, in processes that start together.

Injects, on real files and with each of the two kinds of lock (open file description, flock): a second open for writing
beside the first; threads and processes that open at the same moment; an innocent open and close of the data file by
the holder's own process; a fork of the holder; a holder that is killed; a file under a second name.

Must hold: never two writers; who comes second is told LockedError with the holder's process id; nothing but the
holder's close or end gives the lock up; a forked child can neither read nor write through the handle, nor give up its
lock; every acknowledged put of every writer is there in the end.

Cases: each situation with each lock, over and over.
"""

import fcntl
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import lsmcli
from lsmcli.engine.database import Database
from lsmcli.engine.errors import ClosedError, LockedError
from lsmcli.engine.storage import FileStorage
from lsmcli.engine.verifier import verify
from tests.testing.trial import Trial

CASES: Final = 300
SLICES: Final = 2

PROCESSES: Final = 4
THREADS: Final = 4
PUTS: Final = 5


def run(trial: Trial) -> None:
    """Each situation once, with each lock."""
    for kind in ("open file description", "flock"):
        with _lock_kind(kind):
            for situation in SITUATIONS_OF_TWO:
                name = situation.__name__.strip("_").replace("_", " ")
                if trial.begin(f"{name}, by {kind}"):
                    path = trial.directory / f"{trial.case}.lsm"
                    lsmcli.open(path, "n", block_size=4096).close()
                    situation(trial, path)
                    trial.mark(name)
                    _assert_whole(path)


@contextmanager
def _lock_kind(kind: str) -> Iterator[None]:
    """Without the newer kind of lock the engine takes the older one."""
    command = getattr(fcntl, "F_OFD_SETLK", None)
    if kind == "flock" and command is not None:
        del fcntl.F_OFD_SETLK
    try:
        yield
    finally:
        if command is not None:
            setattr(fcntl, "F_OFD_SETLK", command)  # noqa: B010  # final for the type checker


def _assert_whole(path: Path) -> None:
    storage = FileStorage.open(str(path), writable=False)
    try:
        assert verify(storage).problems == []
    finally:
        storage.close()


def _assert_locked(path: Path, pid: int) -> None:
    try:
        lsmcli.open(path, "w").close()
    except LockedError as error:
        assert error.pid == pid, f"process {error.pid} is said to hold the file, not {pid}"
        assert str(pid) in str(error)
        return
    raise AssertionError("there are two writers")


def _in_child(act: Callable[[], None]) -> int:
    """Forks; the child's exit status is 0 when `act` comes to its end there."""
    child = os.fork()
    if child == 0:
        status = 1
        with suppress(BaseException):
            act()
            status = 0
        os._exit(status)
    return child


def _wait_for(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _same_process_twice(trial: Trial, path: Path) -> None:
    with lsmcli.open(path, "w") as database:
        for flag in ("w", "c", "n"):
            with suppress(LockedError):
                lsmcli.open(path, flag).close()
                raise AssertionError(f"there are two writers, by flag {flag!r}")
        database.put(b"key", b"value")
        _assert_locked(path, os.getpid())
    with lsmcli.open(path, "w") as database:
        assert database[b"key"] == b"value"


def _other_process(trial: Trial, path: Path) -> None:
    holder = os.getpid()
    with lsmcli.open(path, "w") as database:
        assert _wait_for(_in_child(lambda: _assert_locked(path, holder))) == 0
        database.put(b"key", b"value")
    assert _wait_for(_in_child(lambda: lsmcli.open(path, "w").close())) == 0


def _innocent_open_and_close(trial: Trial, path: Path) -> None:
    """A classic record lock would be lost with any descriptor of the file."""
    holder = os.getpid()
    with lsmcli.open(path, "w") as database:
        path.read_bytes()
        os.close(os.open(path, os.O_RDWR))
        lsmcli.open(path, "r").close()
        FileStorage.open(str(path), writable=True).close()
        database.put(b"key", b"value")
        assert _wait_for(_in_child(lambda: _assert_locked(path, holder))) == 0


def _threads_at_once(trial: Trial, path: Path) -> None:
    barrier = threading.Barrier(THREADS)
    opened: list[Database] = []
    refused: list[LockedError] = []

    def open_() -> None:
        barrier.wait()
        try:
            opened.append(lsmcli.open(path, "w"))
        except LockedError as error:
            refused.append(error)

    threads = [threading.Thread(target=open_) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 1, f"{len(opened)} threads became the writer"
    assert len(refused) == THREADS - 1
    opened[0].close()


def _processes_at_once(trial: Trial, path: Path) -> None:
    """Each puts under its own keys while it holds the file, and leaves its mark outside before and behind."""
    log = path.with_suffix(".log")
    log.touch()
    start_read, start_write = os.pipe()

    def write(number: int) -> None:
        os.close(start_write)
        os.read(start_read, 1)  # ends when the parent closes its side
        with lsmcli.open(path, "w", wait_s=20, sync="commit") as database:
            descriptor = os.open(log, os.O_WRONLY | os.O_APPEND)
            os.write(descriptor, b"begin %d\n" % number)
            for put in range(PUTS):
                database.put(b"%d %d" % (number, put), b"x")
            os.write(descriptor, b"end %d\n" % number)

    children = [_in_child(lambda number=number: write(number)) for number in range(PROCESSES)]  # type: ignore[misc]
    os.close(start_read)
    os.close(start_write)
    assert [_wait_for(child) for child in children] == [0] * PROCESSES
    lines = log.read_bytes().split(b"\n")[:-1]
    for begin, end in zip(lines[::2], lines[1::2], strict=True):
        assert (begin.split()[0], end.split()[0]) == (b"begin", b"end"), f"two held the file: {lines}"
        assert begin.split()[1] == end.split()[1], f"two held the file: {lines}"
    with lsmcli.open(path, "r") as database:
        assert len(database) == PROCESSES * PUTS


def _a_forked_child(trial: Trial, path: Path) -> None:
    database = lsmcli.open(path, "w")
    holder = os.getpid()

    def child() -> None:
        calls: list[Callable[[], object]] = [
            lambda: database.put(b"child", b"x"),
            lambda: database.get(b"key"),
            database.sync,
            database.checkpoint,
            lambda: list(database.scan()),
        ]
        for call in calls:
            try:
                call()
            except ClosedError:
                continue
            raise AssertionError("the child uses its parent's handle")
        database.close()
        _assert_locked(path, holder)

    database.put(b"key", b"value")
    assert _wait_for(_in_child(child)) == 0
    assert _wait_for(_in_child(lambda: _assert_locked(path, holder))) == 0, "a child has given the lock up"
    database.put(b"key", b"later")
    database.close()
    with lsmcli.open(path, "w") as database:
        assert dict(database.scan()) == {b"key": b"later"}


def _closed_while_a_child_lives(trial: Trial, path: Path) -> None:
    """The child shares the open file: its end must not be waited for."""
    database = lsmcli.open(path, "w")
    child = _in_child(signal.pause)
    try:
        database.close()
        lsmcli.open(path, "w").close()
    finally:
        os.kill(child, signal.SIGKILL)
        _wait_for(child)


def _the_holder_is_killed(trial: Trial, path: Path) -> None:
    ready, tell = os.pipe()

    def hold() -> None:
        database = lsmcli.open(path, "w")
        database.put(b"key", b"value")
        os.write(tell, b"x")
        signal.pause()

    child = _in_child(hold)
    try:
        os.read(ready, 1)
        _assert_locked(path, child)
    finally:
        os.kill(child, signal.SIGKILL)
        _wait_for(child)
        os.close(ready)
        os.close(tell)
    with lsmcli.open(path, "w") as database:
        assert database[b"key"] == b"value"


def _a_second_name(trial: Trial, path: Path) -> None:
    hard, soft = path.with_suffix(".hard"), path.with_suffix(".soft")
    os.link(path, hard)
    os.symlink(path.name, soft)
    with lsmcli.open(path, "w"):
        _assert_locked(hard, os.getpid())
        _assert_locked(soft, os.getpid())


def _readers_need_no_lock(trial: Trial, path: Path) -> None:
    with lsmcli.open(path, "w") as database, lsmcli.open(path, "r") as reader:
        database.put(b"key", b"value")
        reader.refresh()
        assert reader[b"key"] == b"value"
        _assert_locked(path, os.getpid())


SITUATIONS_OF_TWO: Final = (
    _same_process_twice,
    _other_process,
    _innocent_open_and_close,
    _threads_at_once,
    _processes_at_once,
    _a_forked_child,
    _closed_while_a_child_lives,
    _the_holder_is_killed,
    _a_second_name,
    _readers_need_no_lock,
)
