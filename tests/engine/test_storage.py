"""The real file: what it refuses, how it fails, who may write; and that the simulated disk behaves like it."""

import errno
import fcntl
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lsmcli.engine import constants, lock_holder, storage
from lsmcli.engine.errors import (
    ClosedError,
    FileError,
    LockedError,
    NoSpaceError,
    OutcomeUnknownError,
    ReadOnlyError,
)
from lsmcli.engine.storage import FileMissingError, FileStorage, Storage, Writer
from tests.testing.storage import Fault, SimulatedStorage

HEAD = bytes(range(256)) * 80  # past the lock sector
ALICE = Writer(4711, 1_795_343_431, "lsmcli users.lsm import big.csv")
BOB = Writer(4712, 1_795_343_432, "lsmcli users.lsm")


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "users.lsm")


@pytest.fixture
def file(path: str) -> Iterator[FileStorage]:
    storage = FileStorage.create(path, HEAD)
    yield storage
    storage.close()


def failing(name: str, *outcomes: int, then: int | None = None) -> Callable[..., object]:
    """os.`name`, but its first calls end as told: raise this errno; for pwrite -n: store n bytes only."""
    real = getattr(os, name)
    left = list(outcomes)

    def call(*arguments: Any) -> object:
        outcome = left.pop(0) if left else then
        if outcome is None:
            return real(*arguments)
        if outcome > 0:
            raise OSError(outcome, os.strerror(outcome))
        fd, data, offset = arguments
        return real(fd, bytes(data)[:-outcome], offset) if outcome else 0

    return call


def others_in(path: str) -> list[str]:
    return [name for name in os.listdir(os.path.dirname(path)) if name != os.path.basename(path)]


class TestCreate:
    def test_gives_a_complete_file_of_its_owner_alone(self, path: str) -> None:
        umask = os.umask(0)
        try:
            storage = FileStorage.create(path, HEAD)
        finally:
            os.umask(umask)
        assert storage.read(0, len(HEAD) + 1) == HEAD
        assert os.stat(path).st_mode & 0o7777 == 0o600
        assert os.stat(path).st_nlink == 1
        assert others_in(path) == []
        storage.check_identity()
        storage.write(0, b"x")
        storage.close()
        assert Path(path).read_bytes() == b"x" + HEAD[1:]

    def test_never_replaces_a_file(self, path: str) -> None:
        Path(path).write_bytes(b"mine")
        with pytest.raises(FileError, match="exists already"):
            FileStorage.create(path, HEAD)
        assert Path(path).read_bytes() == b"mine"
        assert others_in(path) == []

    def test_goes_where_a_dangling_link_points(self, path: str, tmp_path: Path) -> None:
        os.symlink("target.lsm", path)
        storage = FileStorage.create(path, HEAD)
        assert (tmp_path / "target.lsm").read_bytes() == HEAD
        assert storage.path == os.path.realpath(tmp_path / "target.lsm")
        storage.close()

    def test_needs_a_directory(self, tmp_path: Path) -> None:
        with pytest.raises(FileMissingError, match="its directory does not exist"):
            FileStorage.create(str(tmp_path / "no" / "users.lsm"), HEAD)

    @pytest.mark.parametrize(("call", "number", "expected"), [
        ("open", errno.EACCES, FileError), ("open", errno.EROFS, ReadOnlyError), ("open", errno.ENOSPC, NoSpaceError),
        ("pwrite", errno.ENOSPC, NoSpaceError), ("pwrite", errno.EFBIG, NoSpaceError), ("pwrite", errno.EIO, FileError),
        ("fsync", errno.EIO, FileError), ("fsync", errno.EDQUOT, NoSpaceError),
        ("link", errno.EACCES, FileError), ("link", errno.EEXIST, FileError), ("link", errno.ENOSPC, NoSpaceError),
    ])  # fmt: skip
    def test_leaves_nothing_behind_when_it_fails(
        self, path: str, monkeypatch: pytest.MonkeyPatch, call: str, number: int, expected: type[FileError]
    ) -> None:
        descriptors = os.listdir("/proc/self/fd")
        monkeypatch.setattr(os, call, failing(call, number))
        with pytest.raises(expected, match=r"users.lsm.*; |users.lsm exists") as caught:
            FileStorage.create(path, HEAD)
        assert not isinstance(caught.value, OutcomeUnknownError)
        assert os.listdir(os.path.dirname(path)) == []
        assert os.listdir("/proc/self/fd") == descriptors

    def test_leaves_nothing_behind_when_interrupted(self, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(os, "fsync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            FileStorage.create(path, HEAD)
        assert os.listdir(os.path.dirname(path)) == []

    def test_works_without_hard_links(self, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "link", failing("link", then=errno.EPERM))
        storage = FileStorage.create(path, HEAD)
        storage.check_identity()
        storage.close()
        assert Path(path).read_bytes() == HEAD
        assert others_in(path) == []
        with pytest.raises(FileError, match="exists already"):
            FileStorage.create(path, b"other")
        assert Path(path).read_bytes() == HEAD
        assert others_in(path) == []

    def test_says_when_the_directory_entry_may_be_lost(self, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
        real = os.fsync
        calls: list[int] = []

        def second_fails(fd: int) -> None:
            calls.append(fd)
            if len(calls) == 2:
                raise OSError(errno.EIO, "I/O error")
            real(fd)

        monkeypatch.setattr(os, "fsync", second_fails)
        with pytest.raises(OutcomeUnknownError, match="was created, but"):
            FileStorage.create(path, HEAD)
        assert Path(path).read_bytes() == HEAD


class TestOpen:
    @pytest.mark.parametrize("writable", [False, True])
    def test_refuses_what_is_no_regular_file(self, tmp_path: Path, writable: bool) -> None:
        os.mkfifo(tmp_path / "fifo")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(tmp_path / "socket"))
        for name, kind in ((tmp_path, "directory"), (tmp_path / "fifo", "pipe"), (tmp_path / "socket", "socket"),
                           ("/dev/null", "character device")):  # fmt: skip
            with pytest.raises(FileError, match=f"is a {kind}, not a regular file"):
                FileStorage.open(str(name), writable=writable)
        listener.close()

    @pytest.mark.parametrize("name", ["no.lsm", "no/such/directory.lsm", "dangling.lsm", "file/below.lsm"])
    def test_tells_a_missing_file(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "file").touch()
        os.symlink("nothing", tmp_path / "dangling.lsm")
        with pytest.raises(FileMissingError, match="does not exist"):
            FileStorage.open(str(tmp_path / name), writable=True)
        assert sorted(os.listdir(tmp_path)) == ["dangling.lsm", "file"]

    @pytest.mark.parametrize("name", ["", "a\0b", "\ud800", "x" * 300, "loop"])
    def test_refuses_names_that_name_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        monkeypatch.chdir(tmp_path)
        os.symlink("loop", "loop")
        with pytest.raises(FileError):
            FileStorage.open(name, writable=False)
        with pytest.raises(FileError):
            FileStorage.create(name, HEAD)
        assert os.listdir(tmp_path) == ["loop"]

    @pytest.mark.parametrize(("number", "expected", "message"), [
        (errno.EACCES, FileError, "permission denied"), (errno.EPERM, FileError, "permission denied"),
        (errno.EROFS, ReadOnlyError, "read-only medium"), (errno.EMFILE, FileError, "Too many open files"),
    ])  # fmt: skip
    def test_names_the_reason_of_the_system(
        self, path: str, monkeypatch: pytest.MonkeyPatch, number: int, expected: type[FileError], message: str
    ) -> None:
        monkeypatch.setattr(os, "open", failing("open", number))
        with pytest.raises(expected, match=f"{path}.*{message}"):
            FileStorage.open(path, writable=True)

    def test_follows_a_link_once(self, file: FileStorage, tmp_path: Path) -> None:
        link = tmp_path / "link.lsm"
        os.symlink("users.lsm", link)
        storage = FileStorage.open(str(link), writable=False)
        assert storage.path == os.path.realpath(file.path)
        assert storage.name == str(link)
        link.unlink()
        storage.check_identity()
        storage.close()

    def test_refuses_a_link_that_came_in_between(
        self, file: FileStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        os.symlink("users.lsm", tmp_path / "link.lsm")
        monkeypatch.setattr(os.path, "realpath", lambda name: name)
        with pytest.raises(FileError, match="is a symbolic link"):
            FileStorage.open(str(tmp_path / "link.lsm"), writable=True)

    def test_says_when_the_system_tells_nothing_about_a_file(
        self, file: FileStorage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "fstat", failing("fstat", errno.EIO, errno.EIO))
        with pytest.raises(FileError, match="its size cannot be read"):
            file.size()
        with pytest.raises(FileError, match="cannot be opened: Input/output error"):
            FileStorage.open(file.path, writable=True)

    def test_never_uses_a_standard_descriptor(self, file: FileStorage) -> None:
        script = (
            "import os, sys\n"
            "from lsmcli.engine.storage import FileStorage\n"
            "for fd in (0, 1, 2): os.close(fd)\n"
            "a = FileStorage.open(sys.argv[1], writable=True)\n"
            "b = FileStorage.create(sys.argv[1] + '2', b'head')\n"
            "used = [fd for fd in (0, 1, 2) if os.path.exists(f'/proc/self/fd/{fd}')]\n"
            "os._exit(a._fd > 2 and b._fd > 2 and not used and a.read(0, 2) == b'\\0\\1')\n"
        )
        assert subprocess.run([sys.executable, "-c", script, file.path], check=False).returncode == 1

    def test_a_file_opened_for_reading_refuses_every_change(self, file: FileStorage) -> None:
        storage = FileStorage.open(file.path, writable=False)
        for act in changes_of(storage):
            with pytest.raises(ReadOnlyError, match="open for reading only"):
                act()
        with pytest.raises(ReadOnlyError):
            storage.lock(0, lambda: BOB)
        assert storage.read(0, 10**6) == HEAD
        storage.close()

    def test_a_closed_file_refuses_everything(self, file: FileStorage) -> None:
        file.close()
        file.close()
        looks: list[Callable[[], object]] = [file.size, file.check_identity, lambda: file.read(0, 1)]
        for act in [*changes_of(file), *looks]:
            with pytest.raises(ClosedError, match="is closed"):
                act()
        file.prefetch(0, 1)


def changes_of(storage: Storage) -> list[Callable[[], None]]:
    """Every call that changes a file."""
    return [
        lambda: storage.write(0, b"x"),
        storage.sync,
        lambda: storage.allocate(10**6),
        lambda: storage.truncate(1),
    ]


class TestBothStorages:
    @pytest.fixture(params=["file", "simulated"])
    def storage(self, request: pytest.FixtureRequest, path: str) -> Iterator[Storage]:
        storage: Storage = FileStorage.create(path, HEAD) if request.param == "file" else SimulatedStorage(HEAD)
        yield storage
        storage.close()

    def test_follow_a_naive_model(self, storage: Storage, rng: random.Random) -> None:
        model = bytearray(HEAD)
        for _ in range(400):
            offset, size = rng.randrange(len(model) + 2000), rng.choice((0, 1, 100, 5000))
            match rng.choice(("read", "read", "write", "write", "allocate", "truncate", "sync", "prefetch")):
                case "read":
                    assert storage.read(offset, size) == model[offset : offset + size]
                case "write":
                    data = rng.randbytes(size)
                    storage.write(offset, rng.choice((bytes, bytearray, memoryview))(data))
                    if data:
                        model.extend(bytes(max(0, offset - len(model))))
                        model[offset : offset + size] = data
                case "allocate":
                    storage.allocate(offset)
                    model.extend(bytes(max(0, offset - len(model))))
                case "truncate" if offset <= len(model) and rng.random() < 0.2:
                    storage.truncate(offset)
                    del model[offset:]
                case "sync":
                    storage.sync()
                    storage.check_identity()
                case _:
                    storage.prefetch(offset, size)
            assert storage.size() == len(model)
        assert storage.read(0, 10**7) == model


class TestReading:
    def test_goes_on_after_a_short_read(self, file: FileStorage, monkeypatch: pytest.MonkeyPatch) -> None:
        real = os.pread
        monkeypatch.setattr(os, "pread", lambda fd, size, offset: real(fd, min(size, 700), offset))
        assert file.read(5, 3000) == HEAD[5:3005]
        assert file.read(len(HEAD) - 1000, 3000) == HEAD[-1000:]

    def test_meets_one_io_error_with_one_more_read(self, file: FileStorage, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "pread", failing("pread", errno.EIO))
        assert file.read(5, 10) == HEAD[5:15]
        monkeypatch.undo()
        monkeypatch.setattr(os, "pread", failing("pread", errno.EIO, errno.EIO))
        with pytest.raises(FileError, match="10 bytes at byte 5 cannot be read"):
            file.read(5, 10)
        assert file.read(5, 10) == HEAD[5:15]
        file.write(0, b"reading does not poison")


class TestWriting:
    def test_goes_on_after_a_short_write(self, file: FileStorage, monkeypatch: pytest.MonkeyPatch) -> None:
        written_before = file.bytes_written
        monkeypatch.setattr(os, "pwrite", failing("pwrite", -1, -3, -2))
        file.write(100, memoryview(b"0123456789"))
        assert file.read(99, 12) == HEAD[99:100] + b"0123456789" + HEAD[110:111]
        assert file.bytes_written == written_before + 10

    def test_counts_a_view_in_bytes(self, file: FileStorage) -> None:
        file.write(0, memoryview(b"01234567").cast("Q"))
        assert file.read(0, 9) == b"01234567" + HEAD[8:9]

    @pytest.mark.parametrize("outcomes", [(errno.EIO,), (-3, errno.EIO), (-3, 0), (errno.EROFS,), (errno.EBADF,)])
    def test_a_failed_write_ends_all_writing(
        self, file: FileStorage, monkeypatch: pytest.MonkeyPatch, outcomes: tuple[int, ...]
    ) -> None:
        monkeypatch.setattr(os, "pwrite", failing("pwrite", *outcomes))
        with pytest.raises(OutcomeUnknownError, match=r"a write at byte 7 failed \(.*outcome unknown; reopen the file"):
            file.write(7, b"0123456789")
        assert_poisoned(file, "a write at byte 7 failed")

    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
    def test_a_full_disk_changes_nothing(self, file: FileStorage, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
        monkeypatch.setattr(os, "pwrite", failing("pwrite", number))
        with pytest.raises(NoSpaceError, match="free some, then try again"):
            file.write(7, b"0123456789")
        assert file.read(0, 10**6) == HEAD
        file.write(7, b"again")
        assert file.read(7, 5) == b"again"

    def test_a_disk_that_fills_up_in_a_write_ends_all_writing(
        self, file: FileStorage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "pwrite", failing("pwrite", -4, errno.ENOSPC))
        with pytest.raises(NoSpaceError, match="open the file again"):
            file.write(7, b"0123456789")
        assert_poisoned(file, "in the middle of a write")

    def test_a_limit_of_the_process_is_no_space(self, file: FileStorage) -> None:
        """The real thing: the system stores a part, then refuses."""
        pid = os.fork()
        if pid == 0:
            resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
            try:
                file.allocate(40_000)
            except NoSpaceError:
                pass
            else:
                os._exit(2)
            try:
                file.write(20_000, bytes(20_000))
            except NoSpaceError:
                try:
                    file.sync()
                except OutcomeUnknownError:
                    os._exit(0)
            os._exit(1)
        assert os.waitpid(pid, 0)[1] == 0
        assert file.size() == 30_000

    @pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
    def test_a_failed_sync_is_never_tried_again(
        self, file: FileStorage, monkeypatch: pytest.MonkeyPatch, number: int
    ) -> None:
        calls: list[int] = []

        def fdatasync(fd: int) -> None:
            calls.append(fd)
            raise OSError(number, "simulated")

        monkeypatch.setattr(os, "fdatasync", fdatasync)
        with pytest.raises(OutcomeUnknownError, match="a sync failed"):
            file.sync()
        with pytest.raises(OutcomeUnknownError, match="a sync failed"):
            file.sync()
        assert len(calls) == 1
        monkeypatch.undo()
        assert_poisoned(file, "a sync failed")

    def test_a_sync_may_include_the_directory(self, file: FileStorage, monkeypatch: pytest.MonkeyPatch) -> None:
        file.sync_with_directory()
        monkeypatch.setattr(os, "fsync", failing("fsync", errno.EINVAL))
        file.sync_with_directory()
        monkeypatch.setattr(os, "fsync", failing("fsync", errno.EIO))
        with pytest.raises(OutcomeUnknownError, match="sync of its directory failed"):
            file.sync_with_directory()
        assert_poisoned(file, "sync of its directory failed")


def assert_poisoned(storage: FileStorage, reason: str) -> None:
    """Nothing can be changed any more, all can be read, and a new handle works."""
    for act in changes_of(storage):
        with pytest.raises(OutcomeUnknownError, match=f"{reason}.*outcome unknown"):
            act()
    assert storage.read(200, 10) == HEAD[200:210]
    again = FileStorage.open(storage.path, writable=True)
    again.write(0, b"new")
    again.sync()
    again.close()


class TestSpace:
    def test_allocated_space_is_zeros_on_disk(self, file: FileStorage) -> None:
        file.allocate(300_000)
        assert file.read(0, 10**6) == HEAD.ljust(300_000, b"\0")
        assert os.stat(file.path).st_blocks * 512 >= 300_000
        file.allocate(100)
        assert file.size() == 300_000

    @pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS])
    def test_zeros_are_written_where_nothing_can_be_reserved(
        self, file: FileStorage, monkeypatch: pytest.MonkeyPatch, number: int
    ) -> None:
        monkeypatch.setattr(os, "posix_fallocate", failing("posix_fallocate", number))
        file.allocate(3_000_000)
        assert file.read(0, 10**7) == HEAD.ljust(3_000_000, b"\0")

    def test_a_full_disk_leaves_the_length_as_it_was(self, file: FileStorage, monkeypatch: pytest.MonkeyPatch) -> None:
        def half_done(fd: int, offset: int, size: int) -> None:
            os.ftruncate(fd, offset + size // 2)
            raise OSError(errno.ENOSPC, "simulated")

        monkeypatch.setattr(os, "posix_fallocate", half_done)
        with pytest.raises(NoSpaceError, match="to grow from 20480 to 300000 bytes"):
            file.allocate(300_000)
        assert file.read(0, 10**6) == HEAD
        monkeypatch.setattr(os, "posix_fallocate", failing("posix_fallocate", errno.EOPNOTSUPP))
        monkeypatch.setattr(os, "pwrite", failing("pwrite", -5000, errno.EDQUOT))
        with pytest.raises(NoSpaceError):
            file.allocate(300_000)
        assert file.read(0, 10**6) == HEAD
        file.write(0, b"still writable")

    @pytest.mark.parametrize("outcomes", [(-5000, 0), (-5000, errno.EIO)])
    def test_writing_zeros_comes_to_an_end(
        self, file: FileStorage, monkeypatch: pytest.MonkeyPatch, outcomes: tuple[int, ...]
    ) -> None:
        monkeypatch.setattr(os, "posix_fallocate", failing("posix_fallocate", errno.EOPNOTSUPP))
        monkeypatch.setattr(os, "pwrite", failing("pwrite", *outcomes))
        with pytest.raises(OutcomeUnknownError, match="growing it to 300000 bytes failed"):
            file.allocate(300_000)
        assert_poisoned(file, "growing it")

    def test_a_full_disk_that_cannot_be_undone_ends_all_writing(
        self, file: FileStorage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "posix_fallocate", failing("posix_fallocate", errno.ENOSPC))
        monkeypatch.setattr(os, "ftruncate", failing("ftruncate", errno.EIO))
        with pytest.raises(OutcomeUnknownError, match="so did going back"):
            file.allocate(300_000)
        assert_poisoned(file, "growing it")

    @pytest.mark.parametrize("call", ["posix_fallocate", "ftruncate"])
    def test_a_failed_change_of_length_ends_all_writing(
        self, file: FileStorage, monkeypatch: pytest.MonkeyPatch, call: str
    ) -> None:
        monkeypatch.setattr(os, call, failing(call, errno.EIO))
        with pytest.raises(OutcomeUnknownError):
            if call == "ftruncate":
                file.truncate(10_000)
            else:
                file.allocate(300_000)
        assert_poisoned(file, "bytes failed")


class TestIdentity:
    @pytest.mark.parametrize("event", ["removed", "moved", "replaced", "linked"])
    def test_another_file_under_the_path_ends_all_writing(self, file: FileStorage, tmp_path: Path, event: str) -> None:
        file.check_identity()
        if event == "removed":
            os.unlink(file.path)
        elif event == "moved":
            os.rename(file.path, tmp_path / "elsewhere")
        elif event == "replaced":
            (tmp_path / "new").write_bytes(HEAD)
            os.rename(tmp_path / "new", file.path)
        else:
            os.rename(file.path, tmp_path / "elsewhere")
            os.symlink("elsewhere", file.path)
        with pytest.raises(FileError, match="was replaced, moved or removed"):
            file.check_identity()
        for act in changes_of(file):
            with pytest.raises(OutcomeUnknownError, match="replaced, moved or removed"):
                act()

    def test_a_second_name_is_no_replacement(self, file: FileStorage, tmp_path: Path) -> None:
        os.link(file.path, tmp_path / "second")
        file.check_identity()


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


class TestSimulatedStorage:
    def test_power_failure_keeps_any_subset_of_unsynced_sectors(self) -> None:
        storage = SimulatedStorage(b"." * 2048)
        storage.write(500, b"a" * 600)
        assert [(offset, len(data or b"")) for offset, data in storage.units()] == [(500, 12), (512, 512), (1024, 76)]
        for keep in range(8):
            image = storage.crash(keep).image
            assert image[500:1100] == b"".join(
                (b"a" if keep >> i & 1 else b".") * size for i, size in enumerate((12, 512, 76))
            )
        storage.sync()
        assert storage.crash(0).image == storage.image

    def test_power_failure_may_lose_a_change_of_length(self) -> None:
        storage = SimulatedStorage(b"..")
        storage.allocate(600)
        storage.write(1, b"a" * 3)
        assert [len(storage.crash(keep).image) for keep in range(4)] == [2, 600, 4, 600]
        assert storage.crash(-1).image == storage.image

    def test_kill_keeps_everything_but_makes_nothing_durable(self) -> None:
        storage = SimulatedStorage(b"..")
        storage.faults = {1: Fault.WRITE_FAILS}
        storage.write(0, b"a")
        with pytest.raises(OutcomeUnknownError):
            storage.write(1, b"b")
        with pytest.raises(OutcomeUnknownError):
            storage.sync()
        again = storage.reopen()
        assert again.image == b"a."
        assert again.crash(0).image == b".."
        again.sync()
        assert again.crash(0).image == b"a."
        assert storage.crash(0).image == b".."

    @pytest.mark.parametrize(("fault", "read", "on_disk"), [
        (Fault.WRITE_FAILS, b"....", b"...."), (Fault.WRITE_TORN, b"ab..", b"ab.."),
        (Fault.WRITE_LOST, b"abcd", b"...."), (Fault.NO_SPACE, b"....", b"...."),
    ])  # fmt: skip
    def test_faults_of_a_write(self, fault: Fault, read: bytes, on_disk: bytes) -> None:
        storage = SimulatedStorage(b"....")
        storage.faults = {0: fault}
        try:
            storage.write(0, b"abcd")
        except (OutcomeUnknownError, NoSpaceError):
            assert fault is not Fault.WRITE_LOST
        assert storage.read(0, 4) == read
        assert storage.crash(-1).image == on_disk

    @pytest.mark.parametrize(("fault", "read"), [(Fault.SYNC_KEEPS, b"a."), (Fault.SYNC_REVERTS, b"..")])
    def test_faults_of_a_sync(self, fault: Fault, read: bytes) -> None:
        storage = SimulatedStorage(b"..")
        storage.faults = {1: fault}
        storage.write(0, b"a")
        with pytest.raises(OutcomeUnknownError):
            storage.sync()
        again = storage.reopen()
        again.sync()
        assert again.image == read
        assert again.crash(-1).image == b".."

    def test_same_seed_same_crash(self) -> None:
        storage = SimulatedStorage(bytes(100_000))
        storage.write(0, b"a" * 100_000)
        images = {bytes(storage.crash(random.Random(seed)).image) for seed in range(20)}
        assert len(images) > 5
        assert storage.fork().crash(random.Random(3)).image == storage.crash(random.Random(3)).image


def test_a_sync_ahead_that_fails_gives_the_handle_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel may tell of it once, to that sync alone: so it counts like the failure of any other."""

    def fails(fd: int) -> None:
        raise OSError(errno.EIO, "simulated")

    file = FileStorage.create(str(tmp_path / "a.lsm"), bytes(8192))
    monkeypatch.setattr(storage, "_sync_data", fails)
    file.sync_ahead()
    with pytest.raises(OutcomeUnknownError, match="a sync failed"):
        file.sync()
    with pytest.raises(OutcomeUnknownError):
        file.write(0, b"x")
    assert file.sync_ahead_ended()
    file.close()


def test_a_sync_waits_for_the_one_beside_it_and_so_does_a_close(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    begun, go = threading.Event(), threading.Event()
    sync_data = storage._sync_data

    def slow(fd: int) -> None:
        steps.append("begins")
        if not begun.is_set():
            begun.set()
            go.wait()
        sync_data(fd)
        steps.append("ends")

    file = FileStorage.create(str(tmp_path / "a.lsm"), bytes(8192))
    monkeypatch.setattr(storage, "_sync_data", slow)
    assert not file.sync_ahead()
    begun.wait()
    assert not file.sync_ahead(), "never two at a time"
    file.write(0, b"goes on meanwhile")
    assert not file.sync_ahead_ended()
    threading.Timer(0.05, go.set).start()
    file.sync()
    assert steps == ["begins", "ends", "begins", "ends"]
    file.sync_ahead()
    file.close()
    assert steps[4:] == ["begins", "ends"]
