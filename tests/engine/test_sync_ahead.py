"""Syncs that go on in a thread, beside what is written next."""

import errno
import threading
from pathlib import Path

import pytest

from lsmcli.engine import file_calls, storage
from lsmcli.engine.errors import OutcomeUnknownError
from lsmcli.engine.storage import FileStorage


def test_a_sync_ahead_that_fails_gives_the_handle_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel may tell of it once, to that sync alone: so it counts like the failure of any other."""

    def fails(fd: int) -> None:
        raise OSError(errno.EIO, "simulated")

    file = FileStorage.create(str(tmp_path / "a.lsm"), bytes(8192))
    monkeypatch.setattr(storage, "sync_data", fails)
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
    sync_real = file_calls.sync_data

    def slow(fd: int) -> None:
        steps.append("begins")
        if not begun.is_set():
            begun.set()
            go.wait()
        sync_real(fd)
        steps.append("ends")

    file = FileStorage.create(str(tmp_path / "a.lsm"), bytes(8192))
    monkeypatch.setattr(storage, "sync_data", slow)
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
