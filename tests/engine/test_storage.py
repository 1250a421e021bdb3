"""The real file: what it refuses and how it fails; and that the simulated disk behaves like it."""

import errno
import os
import random
import resource
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lsmcli.engine.errors import (
    ClosedError,
    FileError,
    NoSpaceError,
    OutcomeUnknownError,
    ReadOnlyError,
)
from lsmcli.engine.storage import FileMissingError, FileStorage, Storage, Writer
from tests.testing.real_file import HEAD, failing
from tests.testing.storage import SimulatedStorage


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
            storage.lock(0, lambda: Writer(1, 2, "lsmcli"))
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

    @pytest.mark.parametrize("ask", ["check_identity", "allocate", "truncate"])
    def test_a_file_that_another_program_cuts_ends_all_writing(self, file: FileStorage, ask: str) -> None:
        file.lock(0, lambda: Writer(1, 2, "lsmcli"))
        file.allocate(50_000)
        file.truncate(40_000)
        file.write(39_999, b"xx")
        file.check_identity()
        os.truncate(file.path, 39_999)
        with pytest.raises(FileError, match="was cut to 39999 bytes while it was open"):
            file.check_identity() if ask == "check_identity" else getattr(file, ask)(39_000)
        for act in changes_of(file):
            with pytest.raises(OutcomeUnknownError, match="was cut to 39999 bytes"):
                act()

    def test_a_file_is_as_long_as_the_lock_finds_it(self, file: FileStorage) -> None:
        os.truncate(file.path, len(HEAD) - 1)
        file.lock(0, lambda: Writer(1, 2, "lsmcli"))
        file.check_identity()
