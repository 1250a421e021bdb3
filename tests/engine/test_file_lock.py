"""The writer's lock on a real file: who may write, how long one waits, what the holder says about itself."""

import errno
import fcntl
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lsmcli.engine import constants, lock_holder
from lsmcli.engine.errors import FileError, LockedError
from lsmcli.engine.storage import FileStorage, Writer
from tests.testing.real_file import HEAD, failing

ALICE = Writer(4711, 1_795_343_431, "lsmcli users.lsm import big.csv")
BOB = Writer(4712, 1_795_343_432, "lsmcli users.lsm")


@pytest.fixture(params=["open file description", "flock"])
def either_lock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the test with each of the two mechanisms."""
    if request.param == "flock":
        monkeypatch.delattr(fcntl, "F_OFD_SETLK")


@pytest.mark.usefixtures("either_lock")
class TestLock:
    @pytest.fixture
    def second(self, file: FileStorage) -> Iterator[FileStorage]:
        storage = FileStorage.open(file.path, writable=True)
        yield storage
        storage.close()

    def test_keeps_a_second_writer_out_and_names_the_first(self, file: FileStorage, second: FileStorage) -> None:
        file.lock(0, lambda: ALICE)
        with pytest.raises(LockedError) as caught:
            second.lock(0, lambda: BOB)
        assert str(caught.value) == (
            f"{file.path} is being written by process 4711 (lsmcli users.lsm import big.csv) "
            "since 2026-11-22 10:30:31 UTC; try again, or wait with --wait SECONDS"
        )
        assert (caught.value.pid, caught.value.since_s, caught.value.command) == ALICE

    def test_is_free_after_close_and_tells_the_newest_holder(self, file: FileStorage, second: FileStorage) -> None:
        file.lock(0, lambda: ALICE)
        file.close()
        second.lock(0, lambda: BOB)
        third = FileStorage.open(second.path, writable=True)
        with pytest.raises(LockedError, match=r"process 4712 \(lsmcli users.lsm\) since"):
            third.lock(0, lambda: ALICE)
        third.close()

    def test_survives_the_close_of_another_descriptor(self, file: FileStorage, second: FileStorage) -> None:
        file.lock(0, lambda: ALICE)
        Path(file.path).read_bytes()
        FileStorage.open(file.path, writable=True).close()
        with pytest.raises(LockedError):
            second.lock(0, lambda: BOB)

    def test_is_waited_for(self, file: FileStorage, second: FileStorage) -> None:
        file.lock(0, lambda: ALICE)
        closer = threading.Timer(0.1, file.close)
        closer.start()
        second.lock(10, lambda: BOB)
        closer.join()
        assert file._fd == -1

    def test_is_waited_for_only_so_long(self, file: FileStorage, second: FileStorage) -> None:
        file.lock(0, lambda: ALICE)
        began_s = time.monotonic()
        with pytest.raises(LockedError):
            second.lock(0.1, lambda: BOB)
        assert 0.1 <= time.monotonic() - began_s < 5

    def test_dies_with_its_process(self, file: FileStorage) -> None:
        ready, tell = os.pipe()
        pid = os.fork()
        if pid == 0:
            FileStorage.open(file.path, writable=True).lock(0, lambda: ALICE)
            os.write(tell, b"x")
            signal.pause()
        try:
            os.read(ready, 1)
            with pytest.raises(LockedError):
                file.lock(0, lambda: BOB)
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        file.lock(0, lambda: BOB)
        os.close(ready)
        os.close(tell)

    def test_stays_with_the_parent_when_a_child_closes(self, file: FileStorage, second: FileStorage) -> None:
        file.lock(0, lambda: ALICE)
        pid = os.fork()
        if pid == 0:
            file.close()
            os._exit(0)
        os.waitpid(pid, 0)
        with pytest.raises(LockedError):
            second.lock(0, lambda: BOB)

    def test_is_given_up_though_a_child_still_has_the_file(self, file: FileStorage, second: FileStorage) -> None:
        file.lock(0, lambda: ALICE)
        pid = os.fork()
        if pid == 0:
            signal.pause()
        try:
            file.close()
            second.lock(0, lambda: BOB)
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    def test_is_refused_on_a_file_that_was_replaced(self, file: FileStorage) -> None:
        os.unlink(file.path)
        with pytest.raises(FileError, match="replaced, moved or removed"):
            file.lock(0, lambda: ALICE)

    def test_writes_into_its_own_sector_only(self, file: FileStorage) -> None:
        file.lock(0, lambda: ALICE)
        end = constants.LOCK_OFFSET + constants.LOCK_SIZE
        now = Path(file.path).read_bytes()
        assert now[: constants.LOCK_OFFSET] + now[end:] == HEAD[: constants.LOCK_OFFSET] + HEAD[end:]
        assert lock_holder.decode(now[constants.LOCK_OFFSET : end]) == ALICE


class TestLockFailures:
    def test_old_kernels_fall_back_to_flock(self, file: FileStorage, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object) -> None:
            raise OSError(errno.EINVAL, "simulated")

        monkeypatch.setattr(fcntl, "fcntl", refuse)
        file.lock(0, lambda: ALICE)
        monkeypatch.undo()
        descriptor = os.open(file.path, os.O_RDWR)
        with pytest.raises(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(descriptor)

    def test_a_file_system_without_locks_says_so(self, file: FileStorage, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(fcntl, "fcntl", refuse)
        with pytest.raises(FileError, match="cannot be locked: No locks available"):
            file.lock(1, lambda: ALICE)

    def test_a_note_that_cannot_be_written_does_not_matter(
        self, file: FileStorage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "pwrite", failing("pwrite", errno.ENOSPC))
        file.lock(0, lambda: ALICE)
        file.write(0, b"x")

    def test_a_note_that_makes_no_sense_or_cannot_be_read_is_left_out(
        self, file: FileStorage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file.lock(0, lambda: ALICE)
        file.write(constants.LOCK_OFFSET, b"\xff" * 4096)
        second = FileStorage.open(file.path, writable=True)
        for outcome in (None, errno.EIO):
            monkeypatch.setattr(os, "pread", failing("pread", then=outcome))
            with pytest.raises(LockedError, match=r"is being written by another process; try again") as caught:
                second.lock(0, lambda: BOB)
            assert (caught.value.pid, caught.value.since_s, caught.value.command) == (None, None, None)
        second.close()


class TestHolderNote:
    @pytest.mark.parametrize(("command", "shown"), [
        ("lsmcli a.lsm put ключ", "lsmcli a.lsm put ключ"), ("", ""),
        ("a\x1b[31m\n\x9b\u202e\ud800\0b", "a?[31m?????b"),
        ("x" * 2000, "x" * 1024), ("é" * 600, "é" * 512), ("x" + "é" * 600, "x" + "é" * 511),
    ])  # fmt: skip
    def test_comes_back_printable_and_cut(self, command: str, shown: str) -> None:
        sector = lock_holder.encode(Writer(1, 2, command))
        assert len(sector) == constants.LOCK_SIZE
        assert lock_holder.decode(sector) == (1, 2, shown)

    def test_hostile_bytes_give_printable_text_or_nothing(self, rng: random.Random) -> None:
        good = lock_holder.encode(ALICE)
        for _ in range(3000):
            sector = bytearray(rng.choice((good, bytes(4096), rng.randbytes(4096))))
            for _ in range(rng.randrange(8)):
                sector[rng.randrange(40)] = rng.randrange(256)
            writer = lock_holder.decode(bytes(sector[: rng.choice((0, 15, 16, 20, 4096))]))
            assert lock_holder.locked_error("x.lsm", writer).args[0].isprintable()
            assert writer is None or len(writer.command) <= 1024
