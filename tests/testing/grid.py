"""A grid for tests: small blocks, on a storage that is a bytearray and lies only when told to."""

from lsmcli.engine.block_cache import BlockCache
from lsmcli.engine.constants import BLOCK_SIZE_MIN, GRID_OFFSET, MIB
from lsmcli.engine.errors import FileError, NoSpaceError
from lsmcli.engine.free_set import FreeSet
from lsmcli.engine.grid import Grid
from lsmcli.engine.scratch_file import Scratch

UUID = bytes(range(16))
BLOCK_SIZE = BLOCK_SIZE_MIN


class MemoryStorage:
    """A file in memory. `size_max` is where the disk is full; offsets in `unreadable` cannot be read."""

    path = "memory"
    writable = True

    cores = 1

    def __init__(self, size_max: int = 1 << 40) -> None:
        self.data = bytearray(GRID_OFFSET)
        self.size_max = size_max
        self.unreadable: set[int] = set()
        self.prefetched: list[int] = []
        self.prefetched_size = 0
        self.bytes_read = 0
        self.bytes_written = 0

    def read(self, offset: int, size: int) -> bytes:
        if offset in self.unreadable:
            raise FileError(f"memory: reading {size} bytes at {offset} failed; look at the disk")
        self.bytes_read += size
        return bytes(self.data[offset : offset + size])

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        assert offset + len(data) <= len(self.data), "written past the end of what was allocated"
        self.data[offset : offset + len(data)] = data
        self.bytes_written += len(data)

    def sync(self) -> None:
        pass

    def size(self) -> int:
        return len(self.data)

    def allocate(self, size: int) -> None:
        if size > self.size_max:
            raise NoSpaceError("memory: no space left; make room")
        self.data.extend(bytes(max(0, size - len(self.data))))

    def truncate(self, size: int) -> None:
        assert size <= len(self.data)
        del self.data[size:]

    def sync_begin(self) -> bool:
        return True

    def sync_ended(self) -> bool:
        return True

    def prefetch(self, offset: int, size: int) -> None:
        assert size > 0
        self.prefetched.append(offset)
        self.prefetched_size += size

    def scratch(self) -> Scratch:
        raise NotImplementedError("no test that uses this storage sorts anything")

    def check_identity(self) -> None:
        pass

    def set_pin(self, *, held: bool) -> bool:
        return False

    def pinned(self) -> bool:
        return False

    def close(self) -> None:
        pass


def grid_new(
    block_count: int = 0, *, block_size: int = BLOCK_SIZE, cache_size: int = MIB, storage: MemoryStorage | None = None
) -> Grid:
    """A grid for writing, all free, with room for `block_count` blocks."""
    storage = MemoryStorage() if storage is None else storage
    storage.allocate(GRID_OFFSET + block_count * block_size)
    return Grid(
        storage,
        uuid=UUID,
        block_size=block_size,
        block_count=block_count,
        cache=BlockCache(cache_size),
        free_set=FreeSet(block_count),
    )


def grid_reopened(grid: Grid, block_count: int | None = None) -> Grid:
    """The same file, opened for reading, with nothing cached."""
    return Grid(
        grid.storage,
        uuid=grid.uuid,
        block_size=grid.block_size,
        block_count=grid.block_count if block_count is None else block_count,
        cache=BlockCache(MIB),
    )
