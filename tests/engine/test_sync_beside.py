"""A sync beside the puts: never two, and its failure is that of any sync."""

import errno
import os
import threading
from functools import partial
from pathlib import Path

import pytest

from lsmcli.engine import file_calls, storage, sync_beside
from lsmcli.engine.errors import OutcomeUnknownError, ReadOnlyError
from lsmcli.engine.storage import FileStorage


@pytest.fixture
def file(tmp_path: Path) -> FileStorage:
    return FileStorage.create(str(tmp_path / "a.lsm"), bytes(8192))


def test_one_that_fails_gives_the_handle_up(file: FileStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel may tell of it once, to that sync alone: so it counts like the failure of any other."""

    def fails(fd: int) -> None:
        raise OSError(errno.EIO, "simulated")

    monkeypatch.setattr(storage, "sync_data", fails)
    assert file.sync_begin()
    with pytest.raises(OutcomeUnknownError, match="a sync failed"):
        file.sync()
    for call in (partial(file.write, 0, b"x"), file.sync_begin, file.sync_ended):
        with pytest.raises(OutcomeUnknownError, match="a sync failed"):
            call()
    file.close()


def test_a_sync_waits_for_it_and_so_does_a_close(file: FileStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    begun, go = threading.Event(), threading.Event()
    sync_real = file_calls.sync_data

    def slow(fd: int) -> None:
        steps.append("begins")
        if not begun.is_set():
            begun.set()
            go.wait()
        sync_real(fd)
        steps.append("ends")

    monkeypatch.setattr(storage, "sync_data", slow)
    assert file.sync_begin()
    begun.wait()
    assert not file.sync_begin(), "never two at a time"
    file.write(0, b"goes on meanwhile")
    assert not file.sync_ended()
    threading.Timer(0.05, go.set).start()
    file.sync()
    assert steps == ["begins", "ends", "begins", "ends"]
    file.sync_begin()
    file.close()
    assert steps[4:] == ["begins", "ends"]


def test_where_there_are_no_more_threads_it_is_done_at_once(file: FileStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(function: object, arguments: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(sync_beside, "start_new_thread", refused)
    synced: list[int] = []
    monkeypatch.setattr(storage, "sync_data", synced.append)
    assert file.sync_begin()
    assert len(synced) == 1
    assert file.sync_ended()
    file.close()


def test_a_forked_child_does_not_wait_for_a_thread_that_it_does_not_have(
    file: FileStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = threading.Event()
    monkeypatch.setattr(storage, "sync_data", lambda fd: go.wait())
    file.sync_begin()
    pid = os.fork()
    if pid == 0:
        file.close()
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    go.set()
    file.close()


def test_a_reader_has_none(file: FileStorage) -> None:
    reader = FileStorage.open(file.path, writable=False)
    with pytest.raises(ReadOnlyError):
        reader.sync_begin()
    reader.close()
    file.close()


def test_whatever_thread_runs_it_a_failure_is_kept_for_the_sync_behind(
    file: FileStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the caller's own thread here, one step after the other."""
    monkeypatch.setattr(sync_beside, "start_new_thread", lambda function, arguments: function(*arguments))
    synced: list[int] = []
    monkeypatch.setattr(storage, "sync_data", synced.append)
    assert file.sync_begin()
    assert len(synced) == 1
    file.sync()

    def fails(fd: int) -> None:
        raise OSError(errno.EIO, "simulated")

    monkeypatch.setattr(storage, "sync_data", fails)
    assert file.sync_begin()
    with pytest.raises(OutcomeUnknownError, match="a sync failed"):
        file.sync()
    file.close()
