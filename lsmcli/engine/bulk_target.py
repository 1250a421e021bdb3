"""Where the tables of a bulk load go: which tables they are merged with, and into which level. Pure.

Invariants, for the tables that are merged and the level L that the result is written to:
- every visible table that may hold a key of the load is merged, of all levels;
- with a table of level i every table of the levels below i that shares keys with it is merged too, so that
  nothing is put below something older, and no tombstone is needed in the result;
- L is not above any merged table, not level 0 (which flushes use), and has room for the result, unless it is the last.

    load          [--------]
    level 0            [=====]                merged: it overlaps the load
    level 1                [==]  [--]         merged: it overlaps the table above; [--] stays
    level 2    [--]   [=====]                 merged;  [--] stays: a fence, no table may be written across it
    level 3                             L = 2 if it has room, else 3
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from lsmcli.engine.constants import LEVELS
from lsmcli.engine.index_block import index_block_size
from lsmcli.engine.key_range import KeyRange
from lsmcli.engine.manifest import table_count_max_for_level
from lsmcli.engine.manifest_level import ManifestLevel
from lsmcli.engine.table_info import TableInfo
from lsmcli.engine.value_block import offset_width_for, value_block_size


class Target(NamedTuple):
    """What becomes of the tables of one tree."""

    merged: list[list[TableInfo]]  # of each level, in key order: tables that are merged with the load
    kept: list[TableInfo]  # tables of the load, in key order, that only have to be taken in
    rewritten: list[TableInfo]  # tables of the load, in key order, that are merged with the rest

    @property
    def merged_size(self) -> int:
        """Bytes of keys and values in the merged tables."""
        return sum(info.values_size for tables in self.merged for info in tables)

    @property
    def level_min(self) -> int:
        """The highest level that the result may be written to."""
        return max([1, *(level for level, tables in enumerate(self.merged) if tables)])


class _Ranges:
    """A set of keys as disjoint ranges in key order."""

    def __init__(self, ranges: Iterable[KeyRange]) -> None:
        self.key_mins: list[bytes] = []
        self.key_maxes: list[bytes] = []
        for key_min, key_max in sorted(ranges):
            if self.key_maxes and key_min <= self.key_maxes[-1]:
                self.key_maxes[-1] = max(self.key_maxes[-1], key_max)
            else:
                self.key_mins.append(key_min)
                self.key_maxes.append(key_max)

    def overlaps(self, info: TableInfo) -> bool:
        index = bisect_left(self.key_maxes, info.key_min)
        return index < len(self.key_maxes) and self.key_mins[index] <= info.key_max

    def joined(self, tables: Iterable[TableInfo]) -> "_Ranges":
        own = map(KeyRange, self.key_mins, self.key_maxes)
        return _Ranges([*own, *(info.key_range for info in tables)])


def choose_tables(levels: Sequence[ManifestLevel], ranges: Iterable[KeyRange], loaded: list[TableInfo]) -> Target:
    """What a load is merged with, from the ranges of its entries, and the tables that it has written already.

    A table that was written already is kept as it is when it shares no key with anything else, and has no tombstone.
    O(n log n) for n tables and ranges.
    """
    entries = _Ranges(ranges)
    rewritten = {
        info
        for info in loaded
        if info.tombstone_count
        or entries.overlaps(info)
        or any(level.overlaps(info.key_min, info.key_max) for level in levels)
    }
    while True:
        covered = entries.joined(rewritten)
        merged: list[list[TableInfo]] = []
        for level in levels:
            tables = [info for info in level.tables if covered.overlaps(info)]
            covered = covered.joined(tables)
            merged.append(tables)
        more = {info for info in loaded if info not in rewritten and covered.overlaps(info)}
        if not more:
            break
        rewritten |= more
    return Target(
        merged,
        [info for info in loaded if info not in rewritten],
        [info for info in loaded if info in rewritten],
    )


def choose_level(
    levels: Sequence[ManifestLevel], target: Target, table_count: int, growth_factor: int
) -> tuple[int, list[bytes]]:
    """The level for a result of about so many tables, kept ones included; and its fences, in key order: the
    smallest keys of tables that no table of the result may be written across."""
    level = target.level_min
    while level < LEVELS - 1:
        count = levels[level].count - len(target.merged[level]) + table_count
        if count <= table_count_max_for_level(growth_factor, level):
            break
        level += 1
    merged = set(target.merged[level])
    stay = [info for info in levels[level].tables if info not in merged]
    return level, sorted(info.key_min for info in [*stay, *target.kept])


def tables_estimate(entry_count: int, keys_size: int, size: int, block_size: int) -> int:
    """How many tables entries take at most, by their averages: `size` is that of keys and values, in bytes."""
    if entry_count == 0:
        return 0
    overhead = 2 * offset_width_for(block_size) + 1
    entry_size = size // entry_count + overhead + 1
    room = block_size - value_block_size(0, 0, 0, block_size)
    entries_per_block = max(1, room // entry_size)
    block_count = -(-entry_count // entries_per_block)
    base = index_block_size(0, 0, 0, block_size)
    per_block = index_block_size(1, keys_size // entry_count + 1, entries_per_block, block_size) - base
    return -(-block_count // max(1, (block_size - base) // per_block))


__all__ = ["Target", "choose_level", "choose_tables", "tables_estimate"]
