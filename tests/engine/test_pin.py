"""Pins: what a reader that holds one can rely on, and what a writer gets back when it is gone.

Directed cases; chance and every interleaving are in tests/simulation/test_pins.py.
"""

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

import lsmcli
from lsmcli.engine import superblock
from lsmcli.engine.constants import superblock_copy_offset
from lsmcli.engine.database import Database
from lsmcli.engine.errors import SnapshotTooOldError
from lsmcli.engine.storage import FileStorage
from tests.testing.operations import UUID
from tests.testing.storage import SimulatedStorage

COUNT = 2000
Entries = dict[bytes, bytes]


def stamped(stamp: int) -> Entries:
    return {b"key %06d" % number: b"%06d " % stamp * 30 for number in range(COUNT)}


def fill(path: Path, stamp: int) -> None:
    """One writing process, as the command line has it: opens, overwrites everything, merges, closes."""
    with lsmcli.open(path, block_size=4096, memory_size=1 << 18) as database:
        database.put_many(stamped(stamp).items())
        database.compact()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    fill(tmp_path / "pinned.lsm", 1)
    return tmp_path / "pinned.lsm"


def test_a_scan_goes_on_while_other_processes_overwrite_everything(path: Path) -> None:
    with lsmcli.open(path, "r", cache_size=0) as database, database.pinned() as pin:
        assert pin.held
        pairs = database.scan()
        found = dict([next(pairs)])
        for stamp in range(2, 6):
            fill(path, stamp)
        found.update(pairs)
    assert found == stamped(1)


def test_without_a_pin_it_is_overtaken(path: Path) -> None:
    with lsmcli.open(path, "r", cache_size=0) as database:
        pairs = database.scan()
        next(pairs)
        for stamp in range(2, 6):
            fill(path, stamp)
        with pytest.raises(SnapshotTooOldError):
            list(pairs)


def test_what_was_held_back_is_given_back_when_the_pin_is_gone(path: Path) -> None:
    fill(path, 2)
    size = path.stat().st_size
    with lsmcli.open(path, "r") as database, database.pinned():
        for stamp in range(3, 6):
            fill(path, stamp)
        assert path.stat().st_size > size * 2
    fill(path, 6)
    assert path.stat().st_size <= size


def test_a_killed_reader_holds_nothing_back(path: Path) -> None:
    fill(path, 2)
    size = path.stat().st_size
    program = (
        "import sys, lsmcli; d = lsmcli.open(sys.argv[1], 'r'); p = d.pinned().__enter__(); print(p.held, flush=1)"
    )
    program += "; sys.stdin.read()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", program, str(path)], **pipes) as reader:  # type: ignore[call-overload]
        assert reader.stdout.readline() == b"True\n"
        fill(path, 3)
        assert path.stat().st_size > size
        os.kill(reader.pid, signal.SIGKILL)
    fill(path, 4)
    assert path.stat().st_size <= size


def test_a_pin_looks_for_the_newest_state_and_then_keeps_it(path: Path) -> None:
    with lsmcli.open(path, "r") as database:
        fill(path, 2)
        with database.pinned(), database.pinned():  # the inner one changes nothing
            assert dict(database.scan()) == stamped(2)
            fill(path, 3)
            fill(path, 4)
            assert dict(database.scan()) == stamped(2)
        database.refresh()
        assert dict(database.scan()) == stamped(4)


def test_an_inner_pin_that_ends_does_not_end_the_outer_one(path: Path) -> None:
    writer = FileStorage.open(str(path), writable=True)
    with lsmcli.open(path, "r") as database:
        with database.pinned():
            with database.pinned():
                assert writer.pinned()
            assert writer.pinned()
        assert not writer.pinned()
    writer.close()


def test_a_writing_handle_needs_no_pin(path: Path) -> None:
    with lsmcli.open(path) as database, database.pinned() as pin:
        assert not pin.held
        database.put(b"key", b"value")


def test_a_closed_handle_gives_its_pin_up(path: Path) -> None:
    writer = FileStorage.open(str(path), writable=True)
    database = lsmcli.open(path, "r")
    with database.pinned():
        assert writer.pinned()
        database.close()
        assert not writer.pinned()
    writer.close()


def test_where_there_are_no_such_locks_a_reader_does_without(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(fcntl, "F_OFD_SETLK")
    with lsmcli.open(path, "r") as database, database.pinned() as pin:
        assert not pin.held
        fill(path, 2)
        assert path.stat().st_size < 3 << 20


class Disk(SimulatedStorage):
    """A handle on the same bytes and pins as another one."""

    def __init__(self, other: SimulatedStorage, *, writable: bool) -> None:
        super().__init__(writable=writable)
        self.image, self.pins = other.image, other.pins


def opened(storage: SimulatedStorage, *, writable: bool) -> Database:
    return Database(
        cast(Any, storage), writable=writable, memory_size=1 << 16, cache_size=0, sync="normal", committed=True
    )


@pytest.mark.parametrize("copy", [0, 1, 2, 5])
@pytest.mark.parametrize("checkpoint", [1, 3])
def test_a_pin_that_is_taken_in_the_middle_of_a_checkpoint_counts(copy: int, checkpoint: int) -> None:
    """The reader pins and opens before any one copy of the superblock is written, also in the checkpoint that
    shrinks the file and would free at once what only the state before needs."""
    _, head = superblock.format_file(uuid=UUID, created_s=0, block_size=4096, growth_factor=2)
    disk = SimulatedStorage(head)
    writer = opened(disk, writable=True)
    writer.put_many(stamped(1).items())
    writer.compact()
    scans: list[Iterator[tuple[bytes, bytes]]] = []
    seen = 0

    def hook(index: int, kind: str, offset: int, size: int) -> None:
        nonlocal seen
        seen += kind == "write" and offset == superblock_copy_offset(copy)
        if seen == checkpoint and not scans:
            reader = opened(Disk(disk, writable=False), writable=False)
            reader.pinned().__enter__()
            scans.append(reader.scan())

    writer.put(b"key 000000", b"in the log")  # all else is in tables, which compaction writes anew
    disk.hook = hook
    writer.compact()
    for stamp in (3, 4):
        writer.put_many(stamped(stamp).items())
        writer.compact()
    writer.close()
    writer = opened(Disk(disk, writable=True), writable=True)
    writer.put_many(stamped(5).items())
    writer.compact()
    assert seen > checkpoint
    assert dict(scans[0]) == stamped(1) | {b"key 000000": b"in the log"}
