"""The ordinary way of a point lookup: it reads what is not at hand, and leaves it at hand for the next one.

Invariants:
- a slot is only filled from a block that is what its table says: check_index(), check_value();
- a tree's lookup is fresh only after load(), which sees the tree as it is.

    lookup.TreeLookup.get(key)  ----> the value, or None            nothing but memory, compiled
         |
         '-- PERHAPS --> search(manifest, grid, key)                reads, verifies, words errors
                              |
                              '--> slots of the index block and of the value block: no PERHAPS the next time
"""

from typing import Any

from lsmcli.engine.constants import key_size_max_for
from lsmcli.engine.errors import DamageError
from lsmcli.engine.grid import Grid
from lsmcli.engine.index_block import IndexBlock
from lsmcli.engine.lookup import BlockSlot, LevelSearch, TableSearch, TreeLookup
from lsmcli.engine.manifest import Manifest
from lsmcli.engine.manifest_level import ManifestLevel
from lsmcli.engine.missing import MISSING, Missing
from lsmcli.engine.schema import BlockKind
from lsmcli.engine.table import damage_in_table, read_index, read_value
from lsmcli.engine.table_info import TableInfo
from lsmcli.engine.table_memory import TableMemory
from lsmcli.engine.value_block import StoredValue, ValueBlock


def load(manifest: Manifest, grid: Grid, mutable: TableMemory, immutable: TableMemory, lock: Any) -> TreeLookup:
    """The lookup of a tree with these memory tables, brought up to date. O(tables of the levels that changed)."""
    lookup = manifest.point_lookup
    if not lookup.fresh:
        for level in manifest.levels:
            if level.tables and level.search is None:
                slots = [_slot_of(grid, info) for info in level.tables]
                level.search = LevelSearch(level.key_mins, level.key_maxes, slots)
        searches = [level.search for level in manifest.levels if level.search is not None and level.tables]
        key_size_max = key_size_max_for(grid.block_size)
        lookup.load(lock, [mutable.entries, immutable.entries], searches, grid.cache.age, key_size_max)
    return lookup


def search(manifest: Manifest, grid: Grid, key: bytes) -> StoredValue | Missing:
    """The stored value of a key in the levels (None: tombstone), or MISSING. Reads at most an index block and a value
    block of each level. Raises DamageError, FileError. 5 µs when all of it is cached."""
    for level in manifest.levels:
        if level.tables:
            position = level.position_for(key)
            if position >= 0:
                found = _search_table(grid, level, position, key)
                if found is not MISSING:
                    return found
    return MISSING


def _search_table(grid: Grid, level: ManifestLevel, position: int, key: bytes) -> StoredValue | Missing:
    info = level.tables[position]
    index = read_index(grid, info)
    table = _fill_index(grid, level, position, info, index)
    block, entries = index.search(key)
    if entries:
        value_block = read_value(grid, info, index, block)
        if table is not None:
            _fill_value(grid, table, index, block, value_block)
        try:
            for entry in entries:
                if value_block.key(entry) == key:
                    return value_block.value(entry)
        except DamageError as error:
            raise damage_in_table(error, info) from error
    return MISSING


def leave_at_hand(grid: Grid, level: ManifestLevel, position: int, index: IndexBlock, block: int) -> None:
    """Leaves the index block of a table and its value block 0 <= block < block_count, both just read, where lookups and
    short scans find them."""
    table = _fill_index(grid, level, position, level.tables[position], index)
    value_block: ValueBlock | None = grid.cached(index.references[block], BlockKind.VALUE)
    if table is not None and value_block is not None:
        _fill_value(grid, table, index, block, value_block)


def _fill_value(grid: Grid, table: TableSearch, index: IndexBlock, block: int, value_block: ValueBlock) -> None:
    reference = index.references[block]
    slot = grid.cache.slot(reference.address, reference.checksum, BlockKind.VALUE)
    if slot is not None:
        value_block.fill_slot(slot)
        table.put(block, slot)


def _fill_index(
    grid: Grid, level: ManifestLevel, position: int, info: TableInfo, index: IndexBlock
) -> TableSearch | None:
    """Leaves a table's index block, just read, where lookups find it. None when the cache has not kept it."""
    slot = grid.cache.slot(info.reference.address, info.reference.checksum, BlockKind.INDEX)
    if slot is None:
        return None
    table = index.fill_slot(slot, info.key_min)
    if level.search is not None:
        level.search.put(position, slot)
    return table


def _slot_of(grid: Grid, info: TableInfo) -> BlockSlot | None:
    """The slot of a table's index block, if a lookup has filled it before."""
    slot = grid.cache.slot(info.reference.address, info.reference.checksum, BlockKind.INDEX)
    if slot is not None:
        table: TableSearch | None = slot.table
        if table is not None and table.key_min == info.key_min:
            return slot
    return None
