"""A file without a name, beside the data file."""

import errno
import os
import threading
from pathlib import Path

import pytest

from lsmcli.engine.errors import FileError, NoSpaceError
from lsmcli.engine.scratch_file import ScratchFile


def test_it_gives_back_what_it_was_given_and_leaves_nothing(tmp_path: Path) -> None:
    scratch = ScratchFile(str(tmp_path), "data.lsm")
    assert [scratch.append(b"abc"), scratch.append(b""), scratch.append(b"defg")] == [0, 3, 3]
    assert (scratch.read(0, 3), scratch.read(2, 3), scratch.read(5, 9)) == (b"abc", b"cde", b"fg")
    assert os.listdir(tmp_path) == []
    scratch.close()
    scratch.close()


def test_a_full_disk_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = ScratchFile(str(tmp_path), "data.lsm")

    def full(fd: int, data: bytes, offset: int) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(NoSpaceError, match=r"data\.lsm: no space left for a temporary file beside it"):
        scratch.read(scratch.append(b"abc"), 3)
    with pytest.raises(NoSpaceError):
        scratch.append(b"defg")
    scratch.close()


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="a temporary file beside it cannot be made: No such file"):
        ScratchFile(str(tmp_path / "missing"), "data.lsm")


def test_a_disk_that_stores_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = ScratchFile(str(tmp_path), "data.lsm")
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: 0)
    with pytest.raises(FileError, match="cannot be written"):
        scratch.read(scratch.append(b"abc"), 3)


def test_without_a_thread_it_stores_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_more)
    scratch = ScratchFile(str(tmp_path), "data.lsm")
    assert scratch.read(scratch.append(b"abc"), 3) == b"abc"
    scratch.close()


def test_closing_waits_for_the_piece_that_is_on_its_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the number of the descriptor might belong to another file by the time it is written to."""
    scratch = ScratchFile(str(tmp_path), "data.lsm")
    steps: list[str] = []
    pwrite_real = os.pwrite
    go = threading.Event()

    def slow(fd: int, data: bytes, offset: int) -> int:
        go.wait()
        steps.append("stored")
        return pwrite_real(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", slow)
    scratch.append(b"abc")
    threading.Timer(0.05, go.set).start()
    scratch.close()
    assert steps == ["stored"]
