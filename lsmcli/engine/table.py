"""A table: an immutable sorted run on disk, one index block and its value blocks.

Invariants:
- keys ascend strictly across all value blocks; the table spans [key_min, key_max] of its TableInfo exactly;
- every value block but the last of a table is as full as the next entry allows, or, of a compressed table, as full
  as block_fill can tell beforehand;
- value blocks are written before the index block that refers to them, each once.

    TableInfo (manifest)
        |
        v
    index block:  [ ref | ref | ref ]  last keys, fingerprints
                     |     |     |
                     v     v     v
                  value  value  value block

What a block's checksum vouches for is still compared with whoever points at it: the index block with the
table's info, each value block with the index block. Damage names the tree, the level and the key range.
"""

from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any, Final

from lsmcli.engine.columns import Columns
from lsmcli.engine.constants import key_size_max_for
from lsmcli.engine.entry_pack import fit_entries
from lsmcli.engine.errors import DamageError
from lsmcli.engine.grid import Grid
from lsmcli.engine.index_block import IndexBlock, encode_index_block, fingerprints_packed, index_block_size
from lsmcli.engine.missing import MISSING, Missing
from lsmcli.engine.packed_entries import PackedEntries
from lsmcli.engine.schema import (
    BLOCK_HEADER,
    BLOCK_REFERENCE,
    FLAG_LARGE,
    FLAG_TOMBSTONE,
    BlockKind,
    BlockReference,
    Codec,
)
from lsmcli.engine.table_info import TableInfo
from lsmcli.engine.value_block import (
    OFFSETS_AT,
    StoredValue,
    ValueBlock,
    encode_value_block,
    encode_value_block_head,
    offset_width_for,
    value_block_size,
)

if TYPE_CHECKING:
    from lsmcli.engine.block_fill import BlockFill
    from lsmcli.engine.piece_merge import PackedBlock

_KEY_SHOWN_SIZE_MAX: Final = 32

# A lookup that waits for blocks: yields (reference, kind), is sent the decoded block, returns what it found.
LookupSteps = Generator[tuple[BlockReference, BlockKind], Any, StoredValue | Missing]


class TableBuilder:
    """Writes sorted entries as tables; as many tables as the entries need.

    Value blocks are written as they fill up, so memory is bounded by one block and one index block,
    beside the chunk that is passed in. `acquire` returns the address for the next block; the caller
    owns them, and releases them when the tables are not wanted after all. codec: of the value blocks.
    Costs 0.15 µs per entry, interpreted 0.6, and with a codec 0.25 more.
    """

    def __init__(
        self,
        grid: Grid,
        *,
        tree_id: int,
        level: int,
        snapshot_min: int,
        acquire: Callable[[], int],
        codec: int = Codec.NONE,
    ) -> None:
        self.tables: list[TableInfo] = []  # finished so far
        self._grid = grid
        self._tree_id = tree_id
        self._level = level
        self._snapshot_min = snapshot_min
        self._acquire = acquire
        self._block_size = grid.block_size
        # Entries that do not fill a value block yet: with a codec in here, else in the columns below.
        self._fill = None if codec == Codec.NONE else _fill_new(grid)
        self._keys: list[bytes] = []
        self._values: list[bytes] = []
        self._flags = bytearray()
        self._key_last = b""  # of the entries appended so far, for the order check
        self._offset_width = offset_width_for(grid.block_size)
        self._entry_overhead = 2 * self._offset_width + 1
        self._room = grid.block_size - value_block_size(0, 0, 0, grid.block_size)
        self._room_left = self._room
        self._table_reset()

    def _table_reset(self) -> None:
        self._references = bytearray()
        self._entry_counts: list[int] = []
        self._block_flags = bytearray()
        self._keys_last: list[bytes] = []
        self._keys_last_size = 0
        self._fingerprints = bytearray()
        self._entry_count = 0
        self._tombstone_count = 0
        self._large_count = 0
        self._values_size = 0
        self._key_min = b""

    def append(self, columns: Columns) -> int:
        """Takes over entries that lie behind all earlier ones. Writes the value blocks that are full, and returns
        how many there were."""
        if not columns.keys:
            return 0
        assert columns.keys[0] > self._key_last
        self._key_last = columns.keys[-1]
        if self._fill is not None:
            self._fill.add(*columns)
            return self._write_filled(self._fill)
        seen = len(self._keys)
        self._keys += columns.keys
        self._values += columns.values
        self._flags += columns.flags
        return self._write_full_blocks(seen)

    def close_before(self, block: "PackedBlock") -> Iterator[int]:
        """Before each write_packed(): nothing, or the end of a table that is full, which takes as long as four blocks,
        in steps."""
        if self._fill is None and self._is_full(block.key_last, block.count):
            body = self._index_body()
            yield 1
            self._table_close(body)
            yield 1

    def write_packed(self, block: "PackedBlock") -> None:
        """Writes the next value block. Its entries lie behind all earlier ones, and all of them come this way: append()
        is not for the same builder."""
        count, key_first, key_last = block.count, block.key_first, block.key_last
        assert not self._keys and self._key_last < key_first <= key_last
        self._key_last = key_last
        tombstones, large, keys_size, values_size = block.tombstones, block.large, block.keys_size, block.values_size
        if self._fill is not None:
            columns_at = block.at + OFFSETS_AT
            self._fill.add_packed(block.buffer, columns_at, count, keys_size, values_size, block.fingerprints)
            self._write_filled(self._fill)
            return
        whole = memoryview(block.buffer)[block.at : block.at + self._block_size]
        encode_value_block_head(count, tombstones, large, keys_size, values_size, whole[BLOCK_HEADER.size :])
        reference = self._grid.write_whole(
            self._acquire(),
            BlockKind.VALUE,
            whole,
            block.size,
            tree_id=self._tree_id,
            snapshot=self._snapshot_min,
            level=self._level,
        )
        entries_size = keys_size + values_size
        self._written(reference, key_first, key_last, count, tombstones, large, block.fingerprints, entries_size)

    def finish(self) -> list[TableInfo]:
        """Writes what is left, and returns all tables in key order. The builder is used up then."""
        if self._keys:
            self._write_value_block(self._keys, self._values, bytes(self._flags))
        if self._fill is not None:
            self._write_filled(self._fill, last=True)
        if self._entry_counts:
            self._table_close(self._index_body())
        return self.tables

    def _write_full_blocks(self, seen: int) -> int:
        """Writes every value block that the next entry does not fit any more; `seen` entries fit the first one."""
        keys, values, overhead = self._keys, self._values, self._entry_overhead
        start = blocks = 0
        stop, room_left = fit_entries(keys, values, seen, self._room_left, overhead)
        while stop < len(keys):
            assert start < stop
            self._write_value_block(keys[start:stop], values[start:stop], bytes(self._flags[start:stop]))
            start = stop
            blocks += 1
            stop, room_left = fit_entries(keys, values, start, self._room, overhead)
        self._room_left = room_left
        if start:
            del keys[:start], values[:start], self._flags[:start]
        return blocks

    def _write_filled(self, fill: "BlockFill", *, last: bool = False) -> int:
        """Writes blocks as long as there are full ones, or all that is left; returns how many there were."""
        blocks = 0
        while fill.full or (last and fill.entry_count):
            block = fill.take()
            self._write_body(
                block.body,
                block.key_first,
                block.key_last,
                block.entry_count,
                block.tombstone_count,
                block.large_count,
                block.fingerprints,
                block.entries_size,
                codec=block.codec,
                size_decoded=block.size_decoded,
            )
            blocks += 1
        return blocks

    def _write_value_block(self, keys: list[bytes], values: list[bytes], flags: bytes) -> None:
        body = encode_value_block(keys, values, flags, self._block_size)
        tombstones, large = flags.count(FLAG_TOMBSTONE), flags.count(FLAG_LARGE)
        size = BLOCK_HEADER.size + len(body) - value_block_size(len(keys), 0, 0, self._block_size)
        self._write_body(body, keys[0], keys[-1], len(keys), tombstones, large, fingerprints_packed(keys), size)

    def _write_body(
        self,
        body: bytes | memoryview,
        key_first: bytes,
        key_last: bytes,
        entry_count: int,
        tombstone_count: int,
        large_count: int,
        fingerprints: bytes,
        entries_size: int,
        *,
        codec: int = Codec.NONE,
        size_decoded: int = 0,
    ) -> None:
        """Writes a value block."""
        if self._is_full(key_last, entry_count):
            self._table_close(self._index_body())
        reference = self._grid.write(
            self._acquire(),
            BlockKind.VALUE,
            body,
            tree_id=self._tree_id,
            snapshot=self._snapshot_min,
            level=self._level,
            codec=codec,
            size_decoded=size_decoded,
        )
        self._written(
            reference, key_first, key_last, entry_count, tombstone_count, large_count, fingerprints, entries_size
        )

    def _is_full(self, key_last: bytes, entry_count: int) -> bool:
        """Whether the index block of the table would not fit any more with another value block."""
        size = index_block_size(
            len(self._entry_counts) + 1,
            self._keys_last_size + len(key_last),
            self._entry_count + entry_count,
            self._block_size,
        )
        return size > self._block_size

    def _written(
        self,
        reference: BlockReference,
        key_first: bytes,
        key_last: bytes,
        entry_count: int,
        tombstone_count: int,
        large_count: int,
        fingerprints: bytes,
        entries_size: int,
    ) -> None:
        """A value block was written: it belongs to the table."""
        if not self._entry_counts:
            self._key_min = key_first
        self._references += BLOCK_REFERENCE.pack(reference)
        self._entry_counts.append(entry_count)
        self._block_flags.append((FLAG_TOMBSTONE if tombstone_count else 0) | (FLAG_LARGE if large_count else 0))
        self._keys_last.append(key_last)
        self._keys_last_size += len(key_last)
        self._fingerprints += fingerprints
        self._entry_count += entry_count
        self._tombstone_count += tombstone_count
        self._large_count += large_count
        self._values_size += entries_size

    def _index_body(self) -> bytes:
        """The body of the table's index block."""
        return encode_index_block(
            self._references,
            self._entry_counts,
            bytes(self._block_flags),
            self._keys_last,
            self._fingerprints,
            tombstone_count=self._tombstone_count,
            large_count=self._large_count,
            block_size=self._block_size,
        )

    def _table_close(self, body: bytes) -> None:
        """Writes the index block; the table is complete then."""
        reference = self._grid.write(
            self._acquire(),
            BlockKind.INDEX,
            body,
            tree_id=self._tree_id,
            snapshot=self._snapshot_min,
            level=self._level,
        )
        self.tables.append(
            TableInfo(
                tree_id=self._tree_id,
                level=self._level,
                reference=reference,
                key_min=self._key_min,
                key_max=self._keys_last[-1],
                block_count=len(self._entry_counts),
                entry_count=self._entry_count,
                tombstone_count=self._tombstone_count,
                large_count=self._large_count,
                values_size=self._values_size,
                snapshot_min=self._snapshot_min,
            )
        )
        self._table_reset()


def _fill_new(grid: Grid) -> "BlockFill":
    from lsmcli.engine.block_fill import BlockFill  # not where nothing is compressed

    return BlockFill(grid.codec, grid.block_size)


def damage_in_table(error: DamageError, info: TableInfo) -> DamageError:
    """The same damage, told with the table that it is in."""
    return DamageError(f"{error} ({_described(info)})", zone=error.zone, address=error.address)


def read_index(grid: Grid, info: TableInfo) -> IndexBlock:
    """The index block of a table, from the cache or from the file. Raises DamageError."""
    try:
        index = grid.block(info.reference, BlockKind.INDEX, IndexBlock)
        check_index(info, index)
    except DamageError as error:
        raise damage_in_table(error, info) from error
    return index


def read_value(grid: Grid, info: TableInfo, index: IndexBlock, block: int) -> ValueBlock:
    """Value block 0 <= block < index.block_count, from the cache or from the file. Raises DamageError."""
    try:
        value_block = grid.block(index.references[block], BlockKind.VALUE, ValueBlock)
        check_value(index, block, value_block)
    except DamageError as error:
        raise damage_in_table(error, info) from error
    return value_block


def check_index(info: TableInfo, index: IndexBlock) -> None:
    """DamageError unless the index block is what the manifest says of the table.

    Done once for each decoded block: an index block that stays in the cache remembers its table.
    """
    if index.table is info:
        return
    if (
        index.entry_count != info.entry_count
        or index.block_count != info.block_count
        or index.tombstone_count != info.tombstone_count
        or index.large_count != info.large_count
        or index.keys_last[-1] != info.key_max
    ):
        address = info.reference.address
        message = f"index block {address} is not what the manifest says; run verify to see what is lost"
        raise DamageError(message, zone="index", address=address)
    index.table = info


def check_value(index: IndexBlock, block: int, value_block: ValueBlock) -> None:
    """DamageError unless the value block has the entries that its index block says: O(1), by count."""
    if value_block.count != index.entry_counts[block]:
        raise not_as_indexed(index, block)


def not_as_indexed(index: IndexBlock, block: int) -> DamageError:
    """The damage of a value block that is not the one that its index block was written for."""
    address = index.references[block].address
    message = f"value block {address} is not what its index block says; run verify to see what is lost"
    return DamageError(message, zone="value", address=address)


def columns_of(
    grid: Grid, info: TableInfo, index: IndexBlock, block: int, value_block: ValueBlock, start: int, stop: int
) -> Columns:
    """The entries [start, stop) of a value block, verified to be sorted and, where they include the
    block's first or last entry, to fit between its neighbours. Raises DamageError."""
    try:
        columns = Columns(*value_block.columns(start, stop, key_size_max_for(grid.block_size)))
        _check_edges(info, index, block, columns.keys, start, value_block.count)
    except DamageError as error:
        raise damage_in_table(error, info) from error
    return columns


def columns_near(
    grid: Grid, info: TableInfo, index: IndexBlock, block: int, bound: bytes | None, limit: int, *, backward: bool
) -> Columns:
    """The first `limit` entries of value block `block` that are not below `bound`, or, backward, the last ones that
    are below it; verified as by columns_of(). Reads the block, if it is not cached. Raises DamageError."""
    value_block = read_value(grid, info, index, block)
    try:
        keys, values, flags, first = value_block.near(bound, limit, key_size_max_for(grid.block_size), backward)
        _check_edges(info, index, block, keys, first, value_block.count)
    except DamageError as error:
        raise damage_in_table(error, info) from error
    return Columns(keys, values, flags)


def _check_edges(info: TableInfo, index: IndexBlock, block: int, keys: list[bytes], first: int, count: int) -> None:
    """DamageError unless these keys, from entry `first` of `count` on, fit between the neighbours of the block."""
    if not keys:
        return
    if first == 0:
        fits = keys[0] > index.keys_last[block - 1] if block else keys[0] == info.key_min
        if not fits:
            raise not_as_indexed(index, block)
    if first + len(keys) == count and keys[-1] != index.keys_last[block]:
        raise not_as_indexed(index, block)


def packed_of(
    grid: Grid, info: TableInfo, index: IndexBlock, block: int, value_block: ValueBlock
) -> PackedEntries | None:
    """All entries of a value block, verified as by columns_of(), where they can stay packed; None: take columns_of().

    Raises DamageError.
    """
    packed = value_block.packed(key_size_max_for(grid.block_size))
    if packed is not None:
        key = packed.key_first
        fits = key > index.keys_last[block - 1] if block else key == info.key_min
        if not fits or packed.key_last != index.keys_last[block]:
            raise damage_in_table(not_as_indexed(index, block), info)
    return packed


def search(grid: Grid, info: TableInfo, key: bytes) -> StoredValue | Missing:
    """The stored value of a key in a table (None: tombstone), or MISSING. Raises DamageError.

    Reads at most the index block and one value block; 4 µs when both are cached.
    """
    index = read_index(grid, info)
    block, entries = index.search(key)
    if entries:
        value_block = read_value(grid, info, index, block)
        try:
            for entry in entries:
                if value_block.key(entry) == key:
                    return value_block.value(entry)
        except DamageError as error:
            raise damage_in_table(error, info) from error
    return MISSING


def lookup(info: TableInfo, key: bytes) -> LookupSteps:
    """search() for a driver that reads the blocks itself, so that many lookups can wait side by side.

    Yields (reference, kind) and is sent the decoded block, an IndexBlock or a ValueBlock. A driver that
    meets damage throws it in, and gets it back with the table's place added.
    """
    try:
        index: IndexBlock = yield info.reference, BlockKind.INDEX
        check_index(info, index)
        block, entries = index.search(key)
        if entries:
            value_block: ValueBlock = yield index.references[block], BlockKind.VALUE
            check_value(index, block, value_block)
            for entry in entries:
                if value_block.key(entry) == key:
                    return value_block.value(entry)
    except DamageError as error:
        raise damage_in_table(error, info) from error
    return MISSING


def _described(info: TableInfo) -> str:
    key_min, key_max = _shown(info.key_min), _shown(info.key_max)
    return f"tree {info.tree_id}, level {info.level}, keys {key_min} to {key_max}"


def _shown(key: bytes) -> str:
    """A key for a message: control characters escaped, long ones cut."""
    return repr(key) if len(key) <= _KEY_SHOWN_SIZE_MAX else repr(key[:_KEY_SHOWN_SIZE_MAX]) + "…"
