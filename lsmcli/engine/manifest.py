"""Which tables make up the levels of one tree, in memory, and their events in the manifest log.

Invariants:
- every change of a table is appended to the log in the same call, so the log's next checkpoint has it;
- a table is in exactly the level that its `level` names;
- a table stays in the manifest, invisible, as long as a pinned snapshot sees it; its blocks stay with it;
- between bars no level but the last has more than table_count_max_for_level() visible tables.

The life of a table, with the event that each step appends to the log:

    insert_table ----> visible ----------------- remove_table, no pin --> gone
      INSERT           |     ^                     REMOVE                   ^
                       |     | revive_table                                 |
    move_table:        |     |   UPDATE                                     |
      INSERT, deeper   v     |                                              |
                      invisible (kept for a pin) -- remove_table, no pin ---'
                       ^                               REMOVE
    remove_table, pin -'  UPDATE

Growth factor 8: at most 8, 64, 512, 4,096, 32,768, 262,144 and 2,097,152 tables in levels 0 ... 6.
"""

from collections.abc import Iterator
from operator import attrgetter

from lsmcli.engine.constants import (
    GROWTH_FACTOR_MAX,
    GROWTH_FACTOR_MIN,
    LEVELS,
    SNAPSHOT_LATEST,
)
from lsmcli.engine.errors import DamageError
from lsmcli.engine.key_range import KeyRange
from lsmcli.engine.lookup import TreeLookup
from lsmcli.engine.manifest_level import ManifestLevel, check_disjoint
from lsmcli.engine.manifest_log import ManifestLog
from lsmcli.engine.schema import TableEventKind
from lsmcli.engine.table_info import TableInfo


def table_count_max_for_level(growth_factor: int, level: int) -> int:
    """Visible tables that a level may have between bars: (8, 0) = 8, (8, 1) = 64, (8, 6) = 2,097,152."""
    assert GROWTH_FACTOR_MIN <= growth_factor <= GROWTH_FACTOR_MAX
    assert 0 <= level < LEVELS
    return int(growth_factor ** (level + 1))


def table_count_max_for_tree(growth_factor: int, levels: int) -> int:
    """Visible tables that the first `levels` levels may have together: (8, 2) = 72, (8, 7) = 2,396,744."""
    assert 1 <= levels <= LEVELS
    return sum(table_count_max_for_level(growth_factor, level) for level in range(levels))


class Manifest:
    """The levels of one tree. `levels` is read by others, changed only here."""

    __slots__ = ("_opening", "growth_factor", "levels", "log", "point_lookup", "tree_id")

    def __init__(self, tree_id: int, log: ManifestLog, growth_factor: int) -> None:
        self.tree_id = tree_id
        self.log = log
        self.growth_factor = growth_factor
        self.point_lookup = TreeLookup()
        self.levels = [ManifestLevel(self.point_lookup) for _ in range(LEVELS)]
        self._opening: list[list[TableInfo]] = [[] for _ in range(LEVELS)]

    # Opening.

    def open_table(self, info: TableInfo) -> None:
        """Takes in one live table of the log, in any order; open_complete() puts them in place.

        Raises DamageError when the table is not one of this tree's levels.
        """
        if info.tree_id != self.tree_id or not 0 <= info.level < LEVELS:
            raise DamageError(
                f"manifest: the table at block {info.reference.address} claims tree {info.tree_id} level {info.level}, "
                f"found in tree {self.tree_id}; run verify, or salvage into a new file",
                zone="manifest",
                address=info.reference.address,
            )
        self._opening[info.level].append(info)

    def open_complete(self) -> None:
        """Builds the levels of all tables taken in. Raises DamageError when tables of a level share a key."""
        for level, tables in zip(self.levels, self._opening, strict=True):
            level.load(tables)
        self._opening = [[] for _ in range(LEVELS)]

    # Changes.

    def insert_table(self, info: TableInfo) -> None:
        """A new visible table, disjoint from its level's visible tables."""
        assert info.tree_id == self.tree_id
        assert info.snapshot_max == SNAPSHOT_LATEST
        self.log.append(info, TableEventKind.INSERT)
        self.levels[info.level].insert(info)

    def move_table(self, info: TableInfo, level_to: int) -> None:
        """Moves a visible table to a deeper level that has no table of its keys at any snapshot that sees it."""
        assert info.snapshot_max == SNAPSHOT_LATEST
        assert info.level < level_to < LEVELS
        assert not self.levels[level_to].overlaps_invisible(info)
        self.levels[info.level].remove(info)
        info.level = level_to
        self.levels[level_to].insert(info)
        self.log.append(info, TableEventKind.INSERT)

    def remove_table(self, info: TableInfo, *, snapshot_max: int, pinned: bool) -> None:
        """Takes a table out of every snapshot after `snapshot_max`.

        pinned: a pinned snapshot still sees it, so it stays, invisible, and its blocks with it. Otherwise it
        is gone, also when it was invisible before, and the caller releases its blocks.
        """
        level = self.levels[info.level]
        if pinned:
            assert snapshot_max != SNAPSHOT_LATEST
            level.set_snapshot_max(info, snapshot_max)
            self.log.append(info, TableEventKind.UPDATE)
        else:
            level.remove(info)
            self.log.append(info, TableEventKind.REMOVE)

    def revive_table(self, info: TableInfo) -> None:
        """Makes an invisible table visible again; the tables that replaced it have been removed before.

        Raises DamageError, with nothing changed, when a visible table shares a key with it: view() at the pinned
        snapshot, called before the first removal, finds that out for all tables at once.
        """
        assert info.snapshot_max != SNAPSHOT_LATEST
        level = self.levels[info.level]
        check_disjoint(sorted([info, *level.tables_overlapping(info.key_min, info.key_max)], key=attrgetter("key_min")))
        level.set_snapshot_max(info, SNAPSHOT_LATEST)
        self.log.append(info, TableEventKind.UPDATE)

    # Reading.

    def tables(self) -> Iterator[TableInfo]:
        """Every table, visible or kept for a pinned snapshot, level by level."""
        for level in self.levels:
            yield from level

    def lookup(self, key: bytes) -> Iterator[TableInfo]:
        """The visible tables whose range holds the key, newest level first: at most one of each level."""
        for level in self.levels:
            if level.tables:
                info = level.table_for(key)
                if info is not None:
                    yield info

    def view(self, snapshot: int) -> list[list[TableInfo]]:
        """The tables that a reader at this snapshot sees: of each level, in key order. Raises DamageError."""
        return [level.tables_at(snapshot) for level in self.levels]

    @property
    def level_counts(self) -> list[int]:
        """Visible tables of each level."""
        return [len(level.tables) for level in self.levels]

    def key_range(self) -> KeyRange | None:
        """From the smallest to the largest key of all visible tables; None when there are none."""
        occupied = [level for level in self.levels if level.tables]
        if not occupied:
            return None
        return KeyRange(min(level.key_mins[0] for level in occupied), max(level.key_maxes[-1] for level in occupied))

    def overlaps_deeper(self, key_min: bytes, key_max: bytes, level: int) -> bool:
        """Whether a visible table below `level` may hold a key of [key_min, key_max].

        Where none does, tombstones of these keys hide nothing and can be dropped from a table written into
        `level`. Invisible tables do not count: whoever reads them reads at a snapshot that the new table,
        with its higher snapshot_min, is not part of.
        """
        return any(deeper.overlaps(key_min, key_max) for deeper in self.levels[level + 1 :])

    def assert_level_table_counts(self) -> None:
        """Between bars: no level is over its count. The last level has nowhere to shed to and may grow on."""
        for level, manifest_level in enumerate(self.levels[:-1]):
            assert manifest_level.count <= table_count_max_for_level(self.growth_factor, level)


__all__ = ["Manifest", "table_count_max_for_level", "table_count_max_for_tree"]
