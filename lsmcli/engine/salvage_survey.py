"""What a damaged file still says of itself: its root or, where that is gone, its block size and its name; and
every block that holds, whether or not anything still refers to it.

Invariants:
- nothing is written; a place that cannot be read counts as zeros (TolerantStorage), and ends nothing;
- the work is one pass over the file, whatever is in it, and memory is a byte for each block.

Without a root the size of a block is found by probing: every block tells its own address.

    offset in the grid    address in the header    so a block has
    32 KiB                2                        32 KiB / (2 - 1) = 32 KiB
    96 KiB                4                        96 KiB / (4 - 1) = 32 KiB
"""

from collections import Counter
from collections.abc import Iterator
from typing import Final, NamedTuple

from lsmcli.engine import constants, schema, superblock_quorums
from lsmcli.engine import superblock as superblock_zone
from lsmcli.engine.block_header import HEADER_SIZE, verify_block
from lsmcli.engine.checksum import checksum
from lsmcli.engine.errors import DamageError, FileError, FormatError, NewerFormatError, ReadOnlyError
from lsmcli.engine.free_set import BLOCK_COUNT_MAX
from lsmcli.engine.schema import BLOCK_HEADER, CHECKSUM_SIZE, BlockHeader, BlockKind, Superblock
from lsmcli.engine.scratch_file import Scratch
from lsmcli.engine.storage import Storage
from lsmcli.engine.superblock_quorums import SuperblockCopy

# The two places of the log at the head of the file, each with its size.
RINGS_AT_HEAD: Final = (
    (constants.WAL_OFFSET_INITIAL, constants.WAL_SIZE_INITIAL),
    (constants.WAL_OFFSET_SECOND, constants.WAL_SIZE_SECOND),
)

_CHUNK_SIZE: Final = constants.MIB
_VOTES_ENOUGH: Final = 256  # headers that agree on a block size; a value that looks like one does not get that far
_KINDS_OF_RECORDS: Final = frozenset(int(kind) for kind in schema.WalRecordKind)


class Root(NamedTuple):
    """What is known of the file as a whole.

    superblocks: the agreed one; or, where no two copies agree, each single copy that makes sense, newest first.
    uuid: of a file of which only the log is left, the half that its records have, and zeros.
    """

    uuid: bytes
    block_size: int
    superblocks: list[Superblock]
    agreed: bool


class TolerantStorage:
    """A file to read from whose unreadable places are zeros, which no checksum takes for data. Writes nothing.

    refused: how many sectors could not be read, each counted as often as it was asked for.
    """

    cores = 1

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self.refused = 0

    def read(self, offset: int, size: int) -> bytes:
        """As Storage.read, but never fails."""
        try:
            return self._storage.read(offset, size)
        except FileError:
            size = min(size, self.size() - offset)
        if size <= constants.SECTOR_SIZE:
            self.refused += 1
            return bytes(max(0, size))
        sectors = range(0, size, constants.SECTOR_SIZE)
        return b"".join(self.read(offset + at, min(constants.SECTOR_SIZE, size - at)) for at in sectors)

    def size(self) -> int:
        return self._storage.size()

    def prefetch(self, offset: int, size: int) -> None:
        self._storage.prefetch(offset, size)

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        raise ReadOnlyError("a damaged file is only read")

    def sync(self) -> None:
        raise ReadOnlyError("a damaged file is only read")

    def sync_begin(self) -> bool:
        raise ReadOnlyError("a damaged file is only read")

    def sync_ended(self) -> bool:
        return True

    def allocate(self, size: int) -> None:
        raise ReadOnlyError("a damaged file is only read")

    def truncate(self, size: int) -> None:
        raise ReadOnlyError("a damaged file is only read")

    def check_identity(self) -> None:
        self._storage.check_identity()

    def scratch(self) -> Scratch:
        raise ReadOnlyError("a damaged file is only read")

    def set_pin(self, *, held: bool) -> bool:
        return False

    def pinned(self) -> bool:
        return False

    def close(self) -> None:
        self._storage.close()


def read_padded(storage: Storage, offset: int, size: int) -> bytes:
    """Exactly `size` bytes, zeros behind the end of the file."""
    return storage.read(offset, size).ljust(size, b"\0")


def find_root(storage: Storage, name: str = "the file") -> Root:
    """The root of the file, or as much of it as can be found out. At worst reads the whole file.

    Raises FormatError when nothing in it is of this program, NewerFormatError when a later version wrote it.
    """
    try:
        superblock = superblock_zone.read(storage, name).superblock
        return Root(superblock.uuid, superblock.block_size, [superblock], agreed=True)
    except NewerFormatError:
        raise
    except (DamageError, FormatError):
        copies = _copies(storage)
    try:
        superblock = superblock_quorums.choose(copies).superblock
        return Root(superblock.uuid, superblock.block_size, [superblock], agreed=True)  # the file was cut short
    except DamageError:
        singles = _newest_first(copies)
    if singles:
        return Root(singles[0].uuid, singles[0].block_size, singles, agreed=False)
    voted = _probe_grid(storage)
    if voted is not None:
        return Root(voted[0], voted[1] or constants.BLOCK_SIZE_DEFAULT, [], agreed=False)
    half = _probe_log(storage)
    if half is None:
        raise FormatError(f"{name} holds nothing that this program wrote; check the path")
    uuid = half.ljust(schema.UUID_SIZE, b"\0")
    return Root(uuid, constants.BLOCK_SIZE_DEFAULT, [], agreed=False)


def _copies(storage: Storage) -> list[SuperblockCopy | None]:
    """What the six slots hold; None where checksum, version or numbers are wrong."""
    copies: list[SuperblockCopy | None] = []
    for copy in range(constants.SUPERBLOCK_COPIES):
        offset = constants.superblock_copy_offset(copy)
        decoded = superblock_zone.decode_copy(read_padded(storage, offset, constants.SUPERBLOCK_COPY_SIZE))
        try:
            if decoded is not None:
                superblock_zone.check_sense(decoded.superblock, decoded.checksum)
                if not schema.FORMAT_VERSION_OLDEST <= decoded.superblock.version <= schema.FORMAT_VERSION:
                    decoded = None
        except DamageError:
            decoded = None
        copies.append(decoded)
    return copies


def _newest_first(copies: list[SuperblockCopy | None]) -> list[Superblock]:
    """The different superblocks among the copies, those of the file that the newest belongs to."""
    different = {found.checksum: found.superblock for found in copies if found is not None}
    superblocks = sorted(different.values(), key=lambda superblock: superblock.sequence, reverse=True)
    return [superblock for superblock in superblocks if superblock.uuid == superblocks[0].uuid]


def _probe_grid(storage: Storage) -> tuple[bytes, int] | None:
    """The file's uuid and its block size in bytes (0: one block cannot tell), by the vote of the blocks."""
    votes: Counter[tuple[bytes, int]] = Counter()
    end = storage.size()
    for begin in range(constants.GRID_OFFSET, end, _CHUNK_SIZE):
        data = read_padded(storage, begin, min(_CHUNK_SIZE, end - begin))
        for at in range(0, len(data) - HEADER_SIZE + 1, constants.BLOCK_SIZE_MIN):
            vote = _vote(data, at, begin + at - constants.GRID_OFFSET)
            if vote is not None:
                votes[vote] += 1
        if votes.total() >= _VOTES_ENOUGH:
            break
    # A block that cannot tell the size decides only where no other does.
    return max(votes, key=lambda vote: (vote[1] > 0, votes[vote]), default=None)


def _vote(data: bytes, at: int, distance: int) -> tuple[bytes, int] | None:
    """What the header at `at`, that many bytes behind the start of the grid, says; None: it is none."""
    header = BLOCK_HEADER.unpack(data, at)
    if header.address == 0 or header.kind == 0:
        return None
    if checksum(data[at + CHECKSUM_SIZE : at + HEADER_SIZE]) != header.checksum:
        return None
    for address in (header.address, header.address_twin):
        if address == 1 and distance == 0:
            return header.uuid, 0
        if address > 1 and distance % (address - 1) == 0 and block_size_allowed(distance // (address - 1)):
            return header.uuid, distance // (address - 1)
    return None


def block_size_allowed(size: int) -> bool:
    """Whether a file can have blocks of this many bytes."""
    return constants.BLOCK_SIZE_MIN <= size <= constants.BLOCK_SIZE_MAX and size & (size - 1) == 0


def _probe_log(storage: Storage) -> bytes | None:
    """The half of the file's uuid that its log carries, from any record that holds."""
    size_header = schema.WAL_RECORD_HEADER.size
    for offset, size in RINGS_AT_HEAD:
        data = read_padded(storage, offset, size)
        view = memoryview(data)
        for at in range(0, size - size_header, schema.WAL_ALIGNMENT):
            header = schema.WAL_RECORD_HEADER.unpack(data, at)
            end = at + size_header + header.size
            if header.kind not in _KINDS_OF_RECORDS or end > size or header.op_synced > header.op:
                continue
            if checksum(view[at + CHECKSUM_SIZE : end]) == header.checksum:
                return header.uuid
    return None


class Survey:
    """Every block of the grid by address, from 1: which kind it is, if it holds. One pass over the file."""

    def __init__(self, storage: Storage, root: Root) -> None:
        self._storage = storage
        self._block_size = root.block_size
        size_grid = max(0, storage.size() - constants.GRID_OFFSET)
        self.block_count = min(-(-size_grid // root.block_size), BLOCK_COUNT_MAX)
        self._kinds = bytearray(self.block_count)  # of block index + 1; 0: no block holds there
        blocks_per_chunk = max(1, _CHUNK_SIZE // root.block_size)
        for first in range(0, self.block_count, blocks_per_chunk):
            count = min(blocks_per_chunk, self.block_count - first)
            data = read_padded(storage, self._offset(first + 1), count * root.block_size)
            for index in range(count):
                block = data[index * root.block_size : (index + 1) * root.block_size]
                if any(block[:CHECKSUM_SIZE]):
                    self._kinds[first + index] = _kind_of(block, root.uuid, first + index + 1)

    def _offset(self, address: int) -> int:
        return constants.GRID_OFFSET + (address - 1) * self._block_size

    def holds(self, address: int) -> bool:
        """Whether an intact block stands at this address."""
        return 1 <= address <= self.block_count and self._kinds[address - 1] != 0

    def addresses(self, kind: BlockKind) -> Iterator[int]:
        """Where the intact blocks of a kind are, ascending; second copies too."""
        index = self._kinds.find(kind)
        while index >= 0:
            yield index + 1
            index = self._kinds.find(kind, index + 1)

    def header(self, address: int) -> BlockHeader:
        """The header of an intact block."""
        return BLOCK_HEADER.unpack(read_padded(self._storage, self._offset(address), HEADER_SIZE))

    def gaps(self) -> Iterator[tuple[int, int]]:
        """Offset and size, in bytes, of each run of places where no block holds: a log may be there."""
        begin = 0
        while begin < self.block_count:
            begin = self._kinds.find(0, begin)
            if begin < 0:
                return
            end = begin
            while end < self.block_count and self._kinds[end] == 0:
                end += 1
            yield self._offset(begin + 1), (end - begin) * self._block_size
            begin = end


def _kind_of(block: bytes, uuid: bytes, address: int) -> int:
    try:
        return verify_block(block, uuid, address).kind
    except DamageError:
        return 0
