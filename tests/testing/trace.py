"""A run recorded as the changes of its disk, so that every crash it could have met is made without running it again.

    storage call     write   write   sync   write   sync   write
    crash point    0       1       2      3       4      5       6
                                          '- Moment: the disk before the call at 3, and what was promised by then

Invariants:
- a Moment's disk is a copy: whoever gets it may do with it what it likes;
- op_synced <= op_done <= op_issued at every moment; what is asked of a crash follows from these three.
"""

from collections.abc import Iterator
from typing import NamedTuple

from tests.testing.operations import Operation, Profile, Run
from tests.testing.pages import Pages
from tests.testing.storage import SimulatedStorage


class Change(NamedTuple):
    """A storage call that changed something, and what had been promised when it began."""

    kind: str  # "write", "allocate", "truncate", "sync"; "sync_begin" and "sync_end" of one beside
    offset: int  # of a write; else the new length
    data: bytes
    op_synced: int
    op_done: int
    op_issued: int


class Moment(NamedTuple):
    """A place between two calls."""

    number: int
    disk: SimulatedStorage
    change: Change  # the call that comes next

    @property
    def label(self) -> str:
        return f"before storage call {self.number}: {self.change.kind} {self.change.offset} {len(self.change.data)}"


class RecordingStorage(SimulatedStorage):
    """Notes every change; `run` is set once there is one."""

    def __init__(self, image: bytes | bytearray | Pages = b"") -> None:
        super().__init__(image)
        self.changes: list[Change] = []
        self.run: Run | None = None

    def _note(self, kind: str, offset: int, data: bytes = b"") -> None:
        run = self.run
        ops = (0, 0, 0) if run is None else (run.op_synced, run.op_done, run.model.op)
        self.changes.append(Change(kind, offset, data, *ops))

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        stored = bytes(data)
        self._note("write", offset, stored)
        super().write(offset, stored)

    def sync(self) -> None:
        self.sync_end()
        self._note("sync", 0)
        super().sync()

    def sync_begin(self) -> bool:
        if self.beside is None:
            self._note("sync_begin", 0)
        return super().sync_begin()

    def sync_end(self) -> None:
        if self.beside is not None:
            self._note("sync_end", 0)
        super().sync_end()

    def allocate(self, size: int) -> None:
        if size > len(self.image):
            self._note("allocate", size)
        super().allocate(size)

    def truncate(self, size: int) -> None:
        self._note("truncate", size)
        super().truncate(size)

    def reopen(self) -> "RecordingStorage":
        """A new handle that goes on with the same record."""
        again = RecordingStorage(self.image)
        again.image_synced = Pages(self.image_synced)
        again.unsynced = list(self.unsynced)
        again.changes, again.run = self.changes, self.run
        return again


class Trace(NamedTuple):
    """A recorded run: where it began, every change, and the model after every op."""

    start: SimulatedStorage
    changes: list[Change]
    profile: Profile
    run: Run

    @property
    def op_start(self) -> int:
        """The last op before the run, which is surely stored."""
        return self.changes[0].op_synced

    def change(self, number: int) -> Change:
        """The storage call of this number; behind the last one, what had been promised in the end."""
        if number < len(self.changes):
            return self.changes[number]
        run = self.run
        return Change("end", 0, b"", run.op_synced, run.op_done, run.model.op)

    def moments(self, first: int = 0) -> Iterator[Moment]:
        """Every crash point from number `first` on; the last one is behind the last call."""
        disk = SimulatedStorage(self.start.image)
        disk.image_synced = Pages(self.start.image_synced)
        disk.unsynced = list(self.start.unsynced)
        for index, change in enumerate(self.changes):
            if index >= first:
                yield Moment(index, disk.reopen(), change)
            play(disk, change)
        yield Moment(len(self.changes), disk, self.change(len(self.changes)))


def play(disk: SimulatedStorage, change: Change) -> None:
    """Makes the change on another disk."""
    if change.kind == "write":
        disk.write(change.offset, change.data)
    elif change.kind == "sync":
        disk.sync()
    elif change.kind == "sync_begin":
        disk.sync_begin()
    elif change.kind == "sync_end":
        disk.sync_end()
    elif change.kind == "allocate":
        disk.allocate(change.offset)
    else:
        disk.truncate(change.offset)


def record(run: Run, operations: Iterator[Operation], *, close: bool = True) -> Trace:
    """Does operations, each drawn when the one before is done, on a run whose storage is a RecordingStorage."""
    storage = run.storage
    assert isinstance(storage, RecordingStorage)
    storage.run = run
    del storage.changes[:]
    start = SimulatedStorage.reopen(storage)
    for operation in operations:
        try:
            run.do(operation)
        except Exception as error:
            error.add_note(f"in {operation}")
            raise
    if close:
        run.close()
    return Trace(start, storage.changes, run.profile, run)
