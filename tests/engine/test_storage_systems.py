"""What one system has and another has not, and what it says at rare moments: the real file makes do, or says so."""

import errno
import fcntl
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from lsmcli.engine import file_calls, file_lock, file_name, storage_errors
from lsmcli.engine.errors import FileError, NoSpaceError, OutcomeUnknownError
from lsmcli.engine.scratch_file import ScratchFile
from lsmcli.engine.storage import FileStorage, Writer
from tests.testing.real_file import HEAD, failing

WRITER = Writer(4711, 1_795_343_431, "lsmcli users.lsm")


class TestSync:
    def test_without_one_for_data_alone_everything_is_synced(
        self, file: FileStorage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        synced: list[int] = []
        monkeypatch.setattr(os, "fdatasync", failing("fdatasync", then=errno.EINVAL))
        monkeypatch.setattr(os, "fsync", synced.append)
        file.sync()
        assert synced == [file._fd]

    def test_where_it_leaves_data_in_the_drive_the_drive_is_flushed(
        self, file: FileStorage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        calls: list[tuple[int, int]] = []
        with monkeypatch.context() as patch:
            patch.setattr(sys, "platform", "darwin")
            patch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
            patch.setattr(fcntl, "fcntl", lambda fd, command: calls.append((fd, command)))
            file.sync()
        assert calls == [(file._fd, 51)]


class TestHints:
    def test_a_system_without_hints_gets_none(self, file: FileStorage, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delattr(os, "posix_fadvise")
        file.prefetch(0, 100)
        assert file.read(0, 2) == HEAD[:2]

    def test_a_hint_that_is_refused_does_not_matter(self, file: FileStorage, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "posix_fadvise", failing("posix_fadvise", then=errno.ESPIPE))
        file.prefetch(0, 100)
        assert file.read(0, 2) == HEAD[:2]


class TestReading:
    def test_only_an_io_error_is_met_with_a_second_read(
        self, file: FileStorage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "pread", failing("pread", errno.EINVAL))
        with pytest.raises(FileError, match="4 bytes at byte 8 cannot be read: Invalid argument"):
            file.read(8, 4)

    def test_a_size_that_cannot_be_read_is_an_error(self, file: FileStorage, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "fstat", failing("fstat", errno.EIO))
        with pytest.raises(FileError, match="its size cannot be read"):
            file.size()


class TestClose:
    @pytest.mark.parametrize("call", ["fstat", "pwrite", "close"])
    def test_never_fails_and_gives_the_lock_up(
        self, file: FileStorage, monkeypatch: pytest.MonkeyPatch, call: str
    ) -> None:
        file.lock(0, lambda: WRITER)
        fd = file._fd
        real_close = os.close

        def close_and_fail(descriptor: int) -> None:
            real_close(descriptor)
            raise OSError(errno.EIO, "I/O error")

        monkeypatch.setattr(os, call, close_and_fail if call == "close" else failing(call, errno.EIO))
        file.close()
        monkeypatch.undo()
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)
        again = FileStorage.open(file.path, writable=True)
        again.lock(0, lambda: WRITER)
        again.close()

    def test_what_is_too_short_for_a_note_gets_none(self, path: str) -> None:
        storage = FileStorage.create(path, b"short")
        storage._lock_pid = os.getpid()
        storage.close()
        assert Path(path).read_bytes() == b"short"


class TestNames:
    def test_a_name_that_cannot_be_given_goes_back(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        temporary, path = str(tmp_path / "new.tmp"), str(tmp_path / "users.lsm")
        Path(temporary).write_bytes(HEAD)
        monkeypatch.setattr(os, "link", failing("link", then=errno.EPERM))
        monkeypatch.setattr(os, "rename", failing("rename", then=errno.EIO))
        with pytest.raises(OSError, match="Input/output error"):
            file_name.publish(temporary, path)
        assert os.listdir(tmp_path) == ["new.tmp"]

    def test_a_file_can_lose_its_name_and_another_can_take_it(self, file: FileStorage, tmp_path: Path) -> None:
        Path(tmp_path / "new.tmp").write_bytes(b"new")
        file_name.replace(str(tmp_path / "new.tmp"), file.path)
        assert Path(file.path).read_bytes() == b"new"
        file.unlink()
        assert os.listdir(tmp_path) == []
        file_name.unlink_if_there(file.path)

    def test_a_low_descriptor_is_given_back(self, monkeypatch: pytest.MonkeyPatch) -> None:
        closed: list[int] = []
        monkeypatch.setattr(os, "close", closed.append)
        monkeypatch.setattr(fcntl, "fcntl", lambda fd, command, least: least + 4)
        assert file_name.above_standard_streams(1) == 7
        assert closed == [1]


class TestOpening:
    @pytest.mark.parametrize(("name", "message"), [
        (".", "is a directory"), ("file", "cannot be opened: Too many levels"), ("gone", "cannot be opened: Too many"),
    ])  # fmt: skip
    def test_what_it_is_is_told_where_it_can_be_seen(self, tmp_path: Path, name: str, message: str) -> None:
        (tmp_path / "file").touch()
        refusal = OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        assert message in str(storage_errors.open_error(refusal, name, str(tmp_path / name)))


class TestPins:
    @pytest.mark.parametrize("call", ["set", "ask"])
    def test_a_file_system_without_locks_has_none(
        self, file: FileStorage, monkeypatch: pytest.MonkeyPatch, call: str
    ) -> None:
        def refuse(*_: Any) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(fcntl, "fcntl", refuse)
        assert not (file.set_pin(held=True) if call == "set" else file.pinned())

    def test_a_system_without_ranges_has_none(self, file: FileStorage, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(file_lock, "_has_ranges", lambda: False)
        assert not file.set_pin(held=True)
        assert not file.pinned()


class TestScratch:
    def test_a_storage_gives_one_beside_its_file(self, file: FileStorage, tmp_path: Path) -> None:
        scratch = file.scratch()
        assert scratch.read(scratch.append(b"abc"), 3) == b"abc"
        assert os.listdir(tmp_path) == ["users.lsm"]
        scratch.close()

    @pytest.mark.parametrize(("number", "error"), [(errno.EIO, FileError), (errno.ENOSPC, NoSpaceError)])
    def test_a_read_that_fails_says_so(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, error: type[FileError]
    ) -> None:
        scratch = ScratchFile(str(tmp_path), "data.lsm")
        scratch.append(b"abc")
        with monkeypatch.context() as patch:
            patch.setattr(os, "pread", failing("pread", number))
            with pytest.raises(error, match="a temporary file beside it"):
                scratch.read(0, 3)
        scratch.close()

    def test_short_reads_are_gone_on_with(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        scratch = ScratchFile(str(tmp_path), "data.lsm")
        scratch.append(b"abcdef")
        real = os.pread
        monkeypatch.setattr(os, "pread", lambda fd, size, offset: real(fd, min(size, 2), offset))
        assert scratch.read(0, 5) == b"abcde"
        assert scratch.read(4, 9) == b"ef"


def test_a_failed_write_says_that_the_outcome_is_unknown(file: FileStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "pwrite", failing("pwrite", errno.EIO))
    with pytest.raises(OutcomeUnknownError, match="a write at byte 5 failed"):
        file.write(5, b"x")


def test_processors_are_those_of_the_process_of_the_machine_or_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 3, 5}, raising=False)
    assert file_calls.core_count() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert file_calls.core_count() == 8
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert file_calls.core_count() == 1
