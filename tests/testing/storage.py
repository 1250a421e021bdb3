"""A disk in memory that crashes and lies on command. The same calls in the same order give the same bytes.

What it may do, and nothing else:

    power failure    crash(): any subset of the sectors (512 bytes) of unsynced writes, and of unsynced
                     changes of length, is on disk; a write may so be torn at any sector
    kill             reopen(): everything written is there, and is still unsynced
    READ_FAILS       the read at that operation is refused (FileError)
    WRITE_FAILS      the write is refused, nothing of it is stored
    WRITE_TORN       the first half of the write is stored, then it is refused
    WRITE_LOST       the write is acknowledged and can be read back, but never reaches the disk
    NO_SPACE         the write or allocation is refused, nothing of it is stored
    SYNC_KEEPS       the sync fails; what was unsynced can be read, but never reaches the disk
    SYNC_REVERTS     the sync fails; what was unsynced is gone at once
    SYNC_LATE        the sync reports success, but stores nothing; the next one fails, as SYNC_KEEPS does
    sync beside      sync_begin() counts as the sync; it stores, or fails, when sync_ended() has said no 0 to 3 times,
                     as follows from the operations so far, and what was written meanwhile is not part of it
    rot              corrupt(): bytes change on the disk and in what is read

After a failed write or sync it refuses to write, as the real one does. Faults are addressed by
operation index: each read, write, sync, allocate and truncate counts one, from 0. `hook` is called
before each of them and may raise, which ends the run right there.
"""

import itertools
import random
from collections.abc import Callable
from enum import Enum, auto

from lsmcli.engine.errors import FileError, NoSpaceError, OutcomeUnknownError, ReadOnlyError
from tests.testing.pages import Pages

UNIT_SIZE = 512  # what a disk stores whole even when power fails


class Fault(Enum):
    """See the top of this file."""

    READ_FAILS = auto()
    WRITE_FAILS = auto()
    WRITE_TORN = auto()
    WRITE_LOST = auto()
    NO_SPACE = auto()
    SYNC_KEEPS = auto()
    SYNC_REVERTS = auto()
    SYNC_LATE = auto()


class Crash(Exception):  # noqa: N818  # not an error: the end of a simulated process
    """For hooks: the process ends before this operation."""


Unit = tuple[int, bytes | None]  # (offset, bytes) of one sector or less, or (length of the file, None)
Hook = Callable[[int, str, int, int], None]  # operation index, "read" … "truncate", offset, size


class SimulatedStorage:
    """A Storage in memory. `image` is what reads see, `image_synced` what is surely on disk."""

    cores = 1

    def __init__(
        self, image: bytes | bytearray | Pages = b"", *, writable: bool = True, name: str = "simulated.lsm"
    ) -> None:
        self.name = name
        self.path = name
        self.writable = writable
        self.bytes_written = 0
        self.image = Pages(image)
        self.image_synced = Pages(self.image)
        self.unsynced: list[Unit] = []  # in the order of writing, whole writes
        self.operations = 0
        self.sync_count = 0
        self.sync_fails_next = False
        self.beside: tuple[int, Fault | None] | None = None  # a sync under way: of so many changes, and its fault
        self.looks = 0  # how often sync_ended() will still say no
        self.faults: dict[int, Fault] = {}
        self.hook: Hook | None = None
        self.closed = False
        self.replaced = False  # True: check_identity finds another file at the path
        self.pins: set[int] = set()  # ids of the handles that hold a pin; share it between the handles of one file
        self._poison = ""

    # What the engine calls.

    def read(self, offset: int, size: int) -> bytes:
        fault = self._begin("read", offset, size)
        if fault is Fault.READ_FAILS:
            raise FileError(f"{self.name}: {size} bytes at byte {offset} cannot be read: simulated")
        assert offset >= 0 and size >= 0
        return self.image.read(offset, size)

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        stored = bytes(data)
        fault = self._begin("write", offset, len(stored))
        self._require_writable()
        assert offset >= 0
        if fault is Fault.NO_SPACE:
            raise NoSpaceError(f"{self.name}: no space left for a write at byte {offset}: simulated")
        if fault is Fault.WRITE_TORN:
            self._store(offset, stored[: len(stored) // 2])
        if fault in (Fault.WRITE_FAILS, Fault.WRITE_TORN):
            self._fail(f"a write at byte {offset} failed")
        self._store(offset, stored, lost=fault is Fault.WRITE_LOST)
        self.bytes_written += len(stored)

    def sync(self) -> None:
        self.sync_end()
        fault = self._begin("sync", 0, 0)
        self._require_writable()
        self._sync(len(self.unsynced), fault)

    def sync_begin(self) -> bool:
        self._require_writable()
        if self.beside is not None:
            return False
        fault = self._begin("sync", 0, 0)
        self.beside = (len(self.unsynced), fault)
        self.looks = self.operations % 4
        return True

    def sync_ended(self) -> bool:
        self._require_writable()
        if self.beside is not None and self.looks:
            self.looks -= 1
            return False
        self.sync_end()
        return True

    def sync_end(self) -> None:
        """The sync beside ends now, if there is one."""
        if self.beside is not None:
            (count, fault), self.beside = self.beside, None
            self._sync(count, fault)

    def _sync(self, count: int, fault: Fault | None) -> None:
        """A sync of the first `count` changes that are not synced."""
        if fault is Fault.SYNC_LATE:
            self.sync_fails_next = True
            return
        if self.sync_fails_next:
            # Nothing that came after the lie is stored alone: a record would say that an op before it is.
            fault, count = Fault.SYNC_KEEPS, len(self.unsynced)
        changes, self.unsynced = self.unsynced[:count], self.unsynced[count:]
        if fault is Fault.SYNC_REVERTS:
            self.image = Pages(self.image_synced)
            for offset, data in self.unsynced:
                _apply(self.image, offset, data)
        if fault in (Fault.SYNC_KEEPS, Fault.SYNC_REVERTS):
            self._fail("a sync failed")
        for offset, data in changes:
            _apply(self.image_synced, offset, data)
        self.sync_count += 1

    def size(self) -> int:
        return len(self.image)

    def allocate(self, size: int) -> None:
        fault = self._begin("allocate", 0, size)
        self._require_writable()
        if fault is Fault.NO_SPACE:
            raise NoSpaceError(f"{self.name}: no space left to grow to {size} bytes: simulated")
        if size > len(self.image):
            self._resize(size)

    def truncate(self, size: int) -> None:
        self._begin("truncate", 0, size)
        self._require_writable()
        assert 0 <= size <= len(self.image)
        self._resize(size)

    def prefetch(self, offset: int, size: int) -> None:
        assert offset >= 0 and size >= 0

    def scratch(self) -> "SimulatedScratch":
        return SimulatedScratch(self)

    def check_identity(self) -> None:
        if self.replaced:
            self._poison = "the file was replaced"
            raise FileError(f"{self.name} was replaced, moved or removed while it was open: simulated")

    def set_pin(self, *, held: bool) -> bool:
        self.pins.discard(id(self))
        if held:
            self.pins.add(id(self))
        return True

    def pinned(self) -> bool:
        return bool(self.pins - {id(self)})

    def close(self) -> None:
        self.pins.discard(id(self))
        self.closed = True

    # What a test calls.

    def units(self) -> list[Unit]:
        """Unsynced changes cut into what a power failure keeps or loses as a whole, oldest first."""
        units: list[Unit] = []
        for offset, data in self.unsynced:
            if data is None:
                units.append((offset, None))
                continue
            cuts = [0, *range(UNIT_SIZE - offset % UNIT_SIZE, len(data), UNIT_SIZE), len(data)]
            units += [(offset + a, data[a:b]) for a, b in itertools.pairwise(cuts) if a < b]
        return units

    def crash(self, keep: random.Random | int) -> "SimulatedStorage":
        """The disk after a power failure: bit i of `keep` says whether unit i of units() is on it.

        -1 keeps all, 0 none; a Random first picks how much to keep, so that whole and empty are common.
        """
        units = self.units()
        if isinstance(keep, random.Random):
            share = keep.choice((0.0, 0.1, 0.5, 0.9, 1.0))
            rng = keep
            keep = sum(1 << i for i in range(len(units)) if rng.random() < share)
        image = Pages(self.image_synced)
        for i, (offset, data) in enumerate(units):
            if keep >> i & 1:
                _apply(image, offset, data)
        return SimulatedStorage(image, name=self.name)

    def reopen(self) -> "SimulatedStorage":
        """A new handle after the process ended: same page cache, no poison, no faults, no hook."""
        copy = SimulatedStorage(self.image, name=self.name)
        copy.image_synced = Pages(self.image_synced)
        copy.unsynced = list(self.unsynced)
        return copy

    def fork(self) -> "SimulatedStorage":
        """An independent copy of everything: faults, counters and poison included."""
        copy = self.reopen()
        copy.writable, copy.bytes_written, copy.operations = self.writable, self.bytes_written, self.operations
        copy.sync_count, copy.faults, copy.hook = self.sync_count, dict(self.faults), self.hook
        copy.beside, copy.looks = self.beside, self.looks
        copy.closed, copy.replaced, copy._poison = self.closed, self.replaced, self._poison
        return copy

    def corrupt(self, offset: int, data: bytes) -> None:
        """Rot: these bytes are now what the disk holds there."""
        assert offset + len(data) <= len(self.image)
        self.image[offset : offset + len(data)] = data
        _apply(self.image_synced, offset, data[: max(0, len(self.image_synced) - offset)])

    def flip(self, bit: int) -> None:
        """Rot of one bit, counted from the first bit of the file."""
        self.corrupt(bit // 8, bytes([self.image[bit // 8] ^ 1 << bit % 8]))

    # Mechanism.

    def _begin(self, kind: str, offset: int, size: int) -> Fault | None:
        assert not self.closed, "used after close"
        if self.hook is not None:
            self.hook(self.operations, kind, offset, size)
        fault = self.faults.get(self.operations)
        self.operations += 1
        return fault

    def _require_writable(self) -> None:
        if self._poison:
            self._fail(self._poison)
        if not self.writable:
            raise ReadOnlyError(f"{self.name} is open for reading only")

    def _fail(self, reason: str) -> None:
        self._poison = self._poison or reason
        raise OutcomeUnknownError(f"{self.name}: {self._poison}: outcome unknown; reopen the file: simulated")

    def _store(self, offset: int, data: bytes, *, lost: bool = False) -> None:
        _apply(self.image, offset, data)
        if not lost:
            self.unsynced.append((offset, data))

    def _resize(self, size: int) -> None:
        _apply(self.image, size, None)
        self.unsynced.append((size, None))


class SimulatedScratch:
    """A scratch file in memory. Its operations count among those of the disk and meet its faults, which do the
    data file no harm: a write or a read is refused, nothing of it is stored."""

    def __init__(self, disk: SimulatedStorage) -> None:
        self._disk = disk
        self.data = bytearray()
        self.closed = False

    def append(self, data: bytes) -> int:
        self._begin("write", len(data))
        self.data += data
        return len(self.data) - len(data)

    def read(self, offset: int, size: int) -> bytes:
        self._begin("read", size)
        return bytes(self.data[offset : offset + size])

    def close(self) -> None:
        self.closed = True

    def _begin(self, kind: str, size: int) -> None:
        assert not self.closed, "used after close"
        fault = self._disk._begin(f"scratch {kind}", 0, size)
        if fault is Fault.NO_SPACE and kind == "write":
            raise NoSpaceError("no space left for a temporary file: simulated")
        if fault in (Fault.WRITE_FAILS, Fault.WRITE_TORN) and kind == "write":
            raise FileError("a temporary file cannot be written: simulated")
        if fault is Fault.READ_FAILS and kind == "read":
            raise FileError("a temporary file cannot be read: simulated")


def _apply(image: Pages, offset: int, data: bytes | None) -> None:
    """Store a write, or set the length (data None); what is new in between is zeros."""
    if data is None:
        image.resize(offset)
    else:
        image.write(offset, data)
