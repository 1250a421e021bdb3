"""The grid: blocks of one size, written once, found by address and checksum.

Invariants:
- a block is only ever read through a BlockReference, and only returned when address, kind, file and
  both checksums are those that the reference asks for: lost, stale and misdirected writes are found;
- a block is written only while it is acquired, or reserved for whoever writes, and stays as it is until it is
  released and two checkpoints have passed (free_set);
- the two copies of a block that has a twin hold the same bytes; one bad copy is answered from the other, and a
  writer, which looks at both, writes it anew;
- no number from the file is used before it was checked against the block's size.

    block 1              block 2              block 3
    +--------+------+---+--------+------+---+--------+-- -
    | header | body | 0 | header | body | 0 | header |
    +--------+------+---+--------+------+---+--------+-- -
    GRID_OFFSET          + block_size         + 2 * block_size

Giving space back takes two steps, because a superblock must never ask for a longer file than there is:

    kept = reserve(…)       what the checkpoint itself still needs
    shrink_begin()          trailing free blocks leave the free set; block_count is the smaller one
    … the superblock that records block_count and storage_size becomes durable …
    shrink_finish()         the file is cut; a crash before this leaves a tail that is not used
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeVar

from lsmcli.engine.block_cache import BlockCache
from lsmcli.engine.block_codec import BlockCodec
from lsmcli.engine.block_header import HEADER_SIZE, ZONE_BY_KIND, block_damage, header_packed, problem_of, size_of
from lsmcli.engine.checksum import checksum
from lsmcli.engine.constants import GRID_OFFSET, KIB, MIB, key_size_max_for
from lsmcli.engine.errors import DamageError, FileError, NoSpaceError
from lsmcli.engine.free_set import BLOCK_COUNT_MAX, FreeSet, Reservation
from lsmcli.engine.schema import BLOCK_HEADER, CHECKSUM_SIZE, BlockHeader, BlockKind, BlockReference, Codec
from lsmcli.engine.storage import Storage

# The file grows by a sixteenth of itself: few calls for a large file, little slack in a small one.
EXTENT_SIZE_MIN: Final = 512 * KIB
EXTENT_SIZE_MAX: Final = 64 * MIB
EXTENT_SHARE_OF_GRID: Final = 16

T = TypeVar("T")


class Grid:
    """The blocks 1 … block_count of one file.

    Without a free set the grid only reads. Reading is bounded by the file, not by block_count: the WAL
    may refer to blocks that were added after the superblock, in a recovery and beside a writer.
    """

    __slots__ = (
        "block_count",
        "block_size",
        "body_size_max",
        "bytes_read",
        "bytes_written",
        "cache",
        "codec",
        "compresses",
        "free_set",
        "key_size_max",
        "looks_at_twins",
        "repairs",
        "storage",
        "uuid",
    )

    def __init__(
        self,
        storage: Storage,
        *,
        uuid: bytes,
        block_size: int,
        block_count: int,
        cache: BlockCache,
        free_set: FreeSet | None = None,
    ) -> None:
        assert free_set is None or free_set.block_count == block_count
        self.storage = storage
        self.uuid = uuid
        self.block_size = block_size
        self.body_size_max = block_size - HEADER_SIZE
        self.key_size_max = key_size_max_for(block_size)
        self.block_count = block_count  # the free set's too, where there is one
        self.cache = cache
        self.codec = BlockCodec(block_size)
        self.compresses = False  # whether some block has a codec, which the superblock has to tell
        self.free_set = free_set
        self.bytes_written = 0
        self.bytes_read = 0  # of blocks; what the cache gave is not counted
        self.looks_at_twins = False  # True: a second copy is read and verified even where the first one holds
        # Bad copies that were met: their address -> what should be there. For repair().
        self.repairs: dict[int, tuple[BlockReference, BlockKind]] = {}

    def attach_free_set(self, free_set: FreeSet) -> None:
        """Makes a reading grid a writing one: the free set lies in blocks that must be read first."""
        assert self.free_set is None
        assert free_set.block_count == self.block_count
        self.free_set = free_set

    def offset(self, address: int) -> int:
        """Where the block begins in the file, in bytes."""
        return GRID_OFFSET + (address - 1) * self.block_size

    def block_count_file(self) -> int:
        """Blocks that the file has room for: block_count, or more when some were added since."""
        return max(self.block_count, block_count_of(self.storage.size(), self.block_size))

    # Reading

    def read(self, reference: BlockReference, kind: BlockKind) -> bytes:
        """Header and body of the block, verified and decompressed. One read of block_size.

        Raises DamageError when no copy is the block that the reference means, FileError when no copy
        can be read, LibraryError when it takes a package to decompress it.
        """
        if reference.address_twin == 0:
            return self.codec.decoded(self.read_copy(reference, kind, reference.address))
        return self._read_twin(reference, kind, None)

    def read_header(self, reference: BlockReference, kind: BlockKind) -> BlockHeader:
        """The verified header. One read of HEADER_SIZE; whether the body is whole stays open."""
        return BLOCK_HEADER.unpack(self.read_prefix(reference, kind, HEADER_SIZE))

    def read_prefix(self, reference: BlockReference, kind: BlockKind, size: int) -> bytes:
        """The first bytes of a block, at most `size` of them, of which only the header is verified."""
        assert HEADER_SIZE <= size <= self.block_size
        if reference.address_twin == 0:
            return self.read_copy(reference, kind, reference.address, size)
        return self._read_twin(reference, kind, size)

    def read_copy(
        self, reference: BlockReference, kind: BlockKind, address: int, prefix_size: int | None = None
    ) -> bytes:
        """One copy of a block, the one at `address`, or the first `prefix_size` bytes of it.

        The body is verified when all of it is read. Raises DamageError, FileError.
        """
        if not 1 <= address <= self.block_count and not 1 <= address <= self.block_count_file():
            raise block_damage(ZONE_BY_KIND[kind], address, f"the file ends at block {self.block_count_file()}")
        data = self.storage.read(self.offset(address), prefix_size or self.block_size)
        self.bytes_read += len(data)
        if len(data) < HEADER_SIZE:
            raise block_damage(ZONE_BY_KIND[kind], address, "the file ends before it")
        size = size_of(data, reference, kind, self.uuid, self.block_size, whole=prefix_size is None)
        if size == 0:
            raise block_damage(
                ZONE_BY_KIND[kind], address, problem_of(data, reference, kind, self.uuid, self.block_size)
            )
        return data[:size]

    def _read_twin(self, reference: BlockReference, kind: BlockKind, prefix_size: int | None) -> bytes:
        try:
            data = self.read_copy(reference, kind, reference.address, prefix_size)
        except (DamageError, FileError) as error:
            try:
                data = self.read_copy(reference, kind, reference.address_twin, prefix_size)
            except (DamageError, FileError):
                raise error from None
            self._note_bad(reference.address, reference, kind)
            return data
        if self.looks_at_twins:
            try:
                self.read_copy(reference, kind, reference.address_twin, prefix_size)
            except (DamageError, FileError):
                self._note_bad(reference.address_twin, reference, kind)
        return data

    def _note_bad(self, address: int, reference: BlockReference, kind: BlockKind) -> None:
        if self.free_set is None or self._in_use(address):
            self.repairs[address] = (reference, kind)

    def cached(self, reference: BlockReference, kind: BlockKind) -> Any:
        """What `block` decoded before, if it is still in the cache; else None."""
        return self.cache.get(reference.address, reference.checksum, kind)

    def block(self, reference: BlockReference, kind: BlockKind, decode: Callable[[bytes], T]) -> T:
        """The decoded block, from the cache or else read, decoded (header and body) and cached.

        One kind is always decoded by one function: the cache does not know which. In the cache it
        weighs as much as the block. Raises what `read` and `decode` raise.
        """
        address, _, checksum_header = reference
        decoded = self.cache.get(address, checksum_header, kind)
        if decoded is None:
            data = self.read(reference, kind)
            decoded = decode(data)
            self.cache.put(address, checksum_header, kind, decoded, len(data))
        return decoded  # type: ignore[return-value]  # put by this function, for this kind

    def prefetch(self, references: Iterable[BlockReference]) -> None:
        """Hints that these blocks are read soon, unless they are cached; neighbours in one call. Never fails."""
        first = count = 0
        for address, _, _ in references:
            if 1 <= address <= self.block_count and address not in self.cache:
                if count and address == first + count:
                    count += 1
                    continue
                if count:
                    self.storage.prefetch(self.offset(first), count * self.block_size)
                first, count = address, 1
        if count:
            self.storage.prefetch(self.offset(first), count * self.block_size)

    # Writing

    def write(
        self,
        address: int,
        kind: BlockKind,
        body: bytes | bytearray | memoryview,
        *,
        tree_id: int = 0,
        snapshot: int = 0,
        level: int = 0,
        address_twin: int = 0,
        codec: int = Codec.NONE,
        size_decoded: int = 0,
    ) -> BlockReference:
        """Writes a block, and its second copy if it has one; both acquired, or reserved. Not synced.

        body: as stored, at most body_size_max bytes; size_decoded: of header and body before the codec. One write of
        block_size for each copy. Raises what Storage.write raises.
        """
        assert len(body) <= self.body_size_max
        assert address != address_twin
        size = HEADER_SIZE + len(body)
        self.compresses |= codec != Codec.NONE
        if codec == Codec.NONE:
            size_decoded = size
        header = header_packed(
            checksum(body), self.uuid, address, address_twin, size, size_decoded, tree_id, kind, codec, level, snapshot
        )
        data = b"".join((header, body, bytes(self.block_size - size)))
        for copy in (address, address_twin) if address_twin else (address,):
            self._store(copy, data)
        return BlockReference(address, address_twin, header[:CHECKSUM_SIZE])

    def write_whole(
        self, address: int, kind: BlockKind, block: memoryview, size: int, *, tree_id: int, snapshot: int, level: int
    ) -> BlockReference:
        """As write(), of a block of one copy, not compressed, whose bytes stand where they will be: block has
        block_size bytes, its body begins behind the header, which comes in here, and from `size` on there are zeros."""
        header = header_packed(
            checksum(block[HEADER_SIZE:size]), self.uuid, address, 0, size, size, tree_id, kind, 0, level, snapshot
        )
        block[:HEADER_SIZE] = header
        self._store(address, block)
        return BlockReference(address, 0, header[:CHECKSUM_SIZE])

    def _store(self, address: int, data: bytes | memoryview) -> None:
        assert self.free_set is not None
        assert len(data) == self.block_size
        assert self.free_set.is_writable(address)
        self.cache.remove(address)
        self.storage.write(self.offset(address), data)
        self.bytes_written += self.block_size

    def repair(self) -> int:
        """Rewrites the bad copies that reading met from their twins; the number of copies written.

        A copy whose twin cannot be read either, or that was released meanwhile, is left alone. Not synced.
        """
        assert self.free_set is not None
        count = 0
        for address, (reference, kind) in self.repairs.items():
            if not self._in_use(address):
                continue
            good = reference.address if address == reference.address_twin else reference.address_twin
            try:
                data = self.read_copy(reference, kind, good)
            except (DamageError, FileError):
                continue
            self.storage.write(self.offset(address), data + bytes(self.block_size - len(data)))
            self.bytes_written += self.block_size
            count += 1
        self.repairs.clear()
        return count

    # Space

    def reserve(self, count: int) -> Reservation:
        """Sets `count` blocks aside. The file grows when there are too few free ones.

        Raises NoSpaceError, with nothing changed.
        """
        assert self.free_set is not None
        if (missing := count - self.free_set.count_free) > 0:
            self._grow(missing)
        reservation = self.free_set.reserve(count)
        assert reservation is not None
        return reservation

    def acquire(self, reservation: Reservation) -> int:
        """The next address of the reservation; they ascend."""
        assert self.free_set is not None
        return self.free_set.acquire(reservation)

    def forfeit(self, reservation: Reservation) -> None:
        """Gives back what was reserved but not acquired."""
        assert self.free_set is not None
        self.free_set.forfeit(reservation)

    def acquire_extent(self, count: int) -> int:
        """Acquires `count` neighbouring blocks: the first address. Raises NoSpaceError, nothing changed."""
        assert self.free_set is not None
        first = self.free_set.acquire_extent(count)
        if first is None:
            self._grow(count - self.free_set.trailing_free())
            first = self.free_set.acquire_extent(count)
            assert first is not None
        return first

    def release(self, address: int) -> None:
        """Lets go of one block, once nothing in the coming superblock refers to it.

        Raises DamageError when the block is not in use: the reference to it, or another one, is wrong.
        """
        self.release_all((address,))

    def release_reference(self, reference: BlockReference) -> None:
        """Lets go of a block and of its second copy. Raises DamageError, with nothing changed."""
        address, address_twin, _ = reference
        self.release_all((address, address_twin) if address_twin else (address,))

    def release_all(self, addresses: Sequence[int]) -> None:
        """Lets go of all these blocks, or of none. Raises DamageError as `release` does."""
        assert self.free_set is not None
        for address in addresses:
            if not self._in_use(address):
                raise block_damage("free set", address, "it is given back, but it is not in use")
        if len(set(addresses)) != len(addresses):
            raise block_damage("free set", min(addresses), "it, or a block near it, is given back twice")
        for address in addresses:
            self.cache.remove(address)
            self.repairs.pop(address, None)
            self.free_set.release(address)

    def _in_use(self, address: int) -> bool:
        assert self.free_set is not None
        return 1 <= address <= self.block_count and self.free_set.is_acquired(address)

    def in_use(self, address: int) -> bool:
        """Whether release() would take this address."""
        assert self.free_set is not None
        return 1 <= address <= self.block_count and self.free_set.is_acquired(address)

    def mark_acquired(self, address: int, kind: BlockKind) -> None:
        """Recovery: a WAL record refers to this block, which may be newer than the last checkpoint.

        The grid grows over the blocks that were added since. A block that is in use already stays
        so. Raises DamageError when the file has no such block.
        """
        assert self.free_set is not None
        block_count_max = min(self.block_count_file(), BLOCK_COUNT_MAX)
        if not 1 <= address <= block_count_max:
            raise block_damage(ZONE_BY_KIND[kind], address, f"the file ends at block {block_count_max}")
        if address > self.block_count:
            self.free_set.grow(address)
            self.block_count = address
        if self.free_set.is_free(address):
            self.free_set.mark_acquired(address)
        elif not self.free_set.is_acquired(address):
            raise block_damage(ZONE_BY_KIND[kind], address, "it was given back before it was referred to")

    def shrink_begin(self, keep: int = 0) -> int:
        """Takes the free blocks at the end out of use, except for `keep` of them: the new block_count."""
        assert self.free_set is not None
        self.free_set.shrink(max(0, self.free_set.trailing_free() - keep))
        self.block_count = self.free_set.block_count
        return self.block_count

    def shrink_finish(self) -> None:
        """Cuts the file behind the last block. Only right after the superblock that has the smaller
        block_count is durable, and with block_count not smaller than it says."""
        assert self.free_set is not None
        end = self.offset(self.block_count + 1)
        if self.storage.size() > end:
            self.storage.truncate(end)

    def _grow(self, missing: int) -> None:
        """Adds at least `missing` blocks. Raises NoSpaceError, with nothing changed."""
        assert self.free_set is not None
        size = min(self.block_count * self.block_size // EXTENT_SHARE_OF_GRID, EXTENT_SIZE_MAX)
        extent = max(missing, max(size, EXTENT_SIZE_MIN) // self.block_size)
        extent = max(missing, min(extent, BLOCK_COUNT_MAX - self.block_count))
        if self.block_count + extent > BLOCK_COUNT_MAX:
            raise NoSpaceError(f"the file has reached its limit of {BLOCK_COUNT_MAX} blocks; nothing was changed")
        try:
            self.storage.allocate(self.offset(self.block_count + extent + 1))
        except NoSpaceError:
            if extent == missing:
                raise
            extent = missing
            self.storage.allocate(self.offset(self.block_count + extent + 1))
        self.block_count += extent
        self.free_set.grow(self.block_count)


def block_count_of(file_size: int, block_size: int) -> int:
    """Whole blocks that a file of this size, in bytes, has room for."""
    return max(0, file_size - GRID_OFFSET) // block_size
