"""One level of one tree: its tables in key order, and those that only pinned snapshots still see.

Invariants:
- visible tables (snapshot_max == SNAPSHOT_LATEST) are disjoint and in key order;
- `key_mins`, `key_maxes` and `tables` are parallel: table i spans key_mins[i] ... key_maxes[i], both
  inclusive, and key_maxes[i] < key_mins[i + 1];
- an invisible table is in no list that a lookup at the latest snapshot searches;
- `search` is what lookups see of the lists, None since they changed; the tree's lookup is told before they do.

    key_mins    [ a       h       p     ]
    key_maxes   [     e       m       z ]      table_for("k"): bisect the key_maxes -> 1; "h" <= "k": found
    tables      [  T0      T1      T2   ]      table_for("n"): bisect the key_maxes -> 2; "n" < "p": none

The columns are plain lists that every change keeps up to date. A tree or a skip list would make a change
O(log n), but the shift of a few thousand pointers that an insertion costs here is a memmove of each list (1.5 us at
4,096 tables, 80 us at 262,144), while each get searches every level: bisect over a flat list, all in C.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from itertools import repeat
from operator import attrgetter, lt, sub
from typing import Final, NamedTuple

from lsmcli.engine.constants import SNAPSHOT_LATEST
from lsmcli.engine.errors import DamageError
from lsmcli.engine.lookup import LevelSearch, TreeLookup
from lsmcli.engine.table_info import TableInfo

_KEY_TEXT_SIZE_MAX: Final = 24

_key_min_of = attrgetter("key_min")


class LeastOverlap(NamedTuple):
    """A table of one level, and the tables of the next level that share keys with it, in key order."""

    table: TableInfo
    overlapped: list[TableInfo]


class ManifestLevel:
    """See the module's docstring. `tables`, `key_mins`, `key_maxes` are read by others, never changed."""

    __slots__ = ("_lookup", "invisible", "key_maxes", "key_mins", "search", "tables")

    def __init__(self, lookup: TreeLookup | None = None) -> None:
        """lookup: that of the tree."""
        self._lookup = lookup or TreeLookup()
        self.search: LevelSearch | None = None
        self.key_mins: list[bytes] = []
        self.key_maxes: list[bytes] = []
        self.tables: list[TableInfo] = []  # the visible ones
        self.invisible: dict[int, TableInfo] = {}  # by address of the index block

    @property
    def count(self) -> int:
        """Visible tables."""
        return len(self.tables)

    def __iter__(self) -> Iterator[TableInfo]:
        """All tables: visible ones in key order, then invisible ones."""
        yield from self.tables
        yield from self.invisible.values()

    def table_for(self, key: bytes) -> TableInfo | None:
        """The visible table whose range holds the key. Two comparisons and one bisect."""
        key_maxes = self.key_maxes
        index = bisect_left(key_maxes, key)
        if index < len(key_maxes) and self.key_mins[index] <= key:
            return self.tables[index]
        return None

    def position_for(self, key: bytes) -> int:
        """Where the visible table whose range holds the key is in the lists; -1 when there is none."""
        index = bisect_left(self.key_maxes, key)
        return index if index < len(self.key_maxes) and self.key_mins[index] <= key else -1

    def _changes(self) -> None:
        """The lists are about to change."""
        self._lookup.fresh = False
        self.search = None

    def insert(self, table: TableInfo) -> None:
        """Takes in a table, visible or not. A visible one must be disjoint from the others."""
        self._changes()
        if table.snapshot_max != SNAPSHOT_LATEST:
            assert table.reference.address not in self.invisible
            self.invisible[table.reference.address] = table
            return
        index = bisect_left(self.key_mins, table.key_min)
        assert index == 0 or self.key_maxes[index - 1] < table.key_min
        assert index == len(self.key_mins) or table.key_max < self.key_mins[index]
        self.key_mins.insert(index, table.key_min)
        self.key_maxes.insert(index, table.key_max)
        self.tables.insert(index, table)

    def remove(self, table: TableInfo) -> None:
        """Lets go of a table of this level, visible or not."""
        self._changes()
        if table.snapshot_max != SNAPSHOT_LATEST:
            assert self.invisible[table.reference.address] == table
            del self.invisible[table.reference.address]
            return
        index = bisect_left(self.key_mins, table.key_min)
        assert self.tables[index] == table
        del self.key_mins[index], self.key_maxes[index], self.tables[index]

    def set_snapshot_max(self, table: TableInfo, snapshot_max: int) -> None:
        """Hides a visible table behind `snapshot_max`, or, with SNAPSHOT_LATEST, shows a hidden one again."""
        assert table.snapshot_min <= snapshot_max
        self.remove(table)
        table.snapshot_max = snapshot_max
        self.insert(table)

    def load(self, tables: Iterable[TableInfo]) -> None:
        """Fills an empty level with tables in any order, as an opening finds them.

        Raises DamageError when two visible tables share a key. O(n log n), far below n insertions.
        """
        assert not self.tables
        assert not self.invisible
        self._changes()
        visible = []
        for table in tables:
            if table.snapshot_max == SNAPSHOT_LATEST:
                visible.append(table)
            else:
                self.invisible[table.reference.address] = table
        visible.sort(key=_key_min_of)
        check_disjoint(visible)
        self.tables = visible
        self.key_mins = [table.key_min for table in visible]
        self.key_maxes = [table.key_max for table in visible]

    def tables_overlapping(self, key_min: bytes, key_max: bytes) -> list[TableInfo]:
        """The visible tables that share a key with [key_min, key_max], in key order."""
        assert key_min <= key_max
        return self.tables[bisect_left(self.key_maxes, key_min) : bisect_right(self.key_mins, key_max)]

    def overlaps(self, key_min: bytes, key_max: bytes) -> bool:
        """Whether a visible table shares a key with [key_min, key_max]."""
        return bisect_left(self.key_maxes, key_min) < bisect_right(self.key_mins, key_max)

    def overlaps_invisible(self, table: TableInfo) -> bool:
        """Whether some snapshot sees both a visible table and an invisible one of this level that shares a key with it.

        Such a table must not be moved into this level: at that snapshot the level would not be disjoint.
        """
        assert table.snapshot_max == SNAPSHOT_LATEST
        return any(
            kept.key_min <= table.key_max and table.key_min <= kept.key_max and table.snapshot_min <= kept.snapshot_max
            for kept in self.invisible.values()
        )

    def table_with_least_overlap(self, level_b: "ManifestLevel") -> LeastOverlap | None:
        """The visible table that overlaps the fewest visible tables of level_b; None when there is no table.

        Of equals the one with the lowest key_min. This neither needs a cursor that would have to survive a
        restart nor starves the high keys: what is passed over gathers more tables, these become narrower,
        and so overlap less than the low ones in their turn.

        Two bisects for each table here, all in C: O(a log b), some 0.3 ms for 512 x 4,096.
        """
        if not self.tables:
            return None
        starts = list(map(bisect_left, repeat(level_b.key_maxes), self.key_mins))
        stops = map(bisect_right, repeat(level_b.key_mins), self.key_maxes)
        counts = list(map(sub, stops, starts))
        count_min = min(counts)
        index = counts.index(count_min)
        assert count_min >= 0
        return LeastOverlap(self.tables[index], level_b.tables[starts[index] : starts[index] + count_min])

    def tables_at(self, snapshot: int) -> list[TableInfo]:
        """The tables that a reader at this snapshot sees, in key order.

        Raises DamageError when they are not disjoint, which only a crafted file can bring about.
        """
        if snapshot == SNAPSHOT_LATEST:
            return list(self.tables)
        tables = [table for table in self if table.visible(snapshot)]
        tables.sort(key=_key_min_of)
        check_disjoint(tables)
        return tables


def check_disjoint(tables: list[TableInfo]) -> None:
    """Raises DamageError when two of these tables, sorted by key_min, share a key."""
    key_maxes = [table.key_max for table in tables]
    key_mins = [table.key_min for table in tables[1:]]
    if all(map(lt, key_maxes, key_mins)):
        return
    index = next(i for i, pair in enumerate(zip(key_maxes, key_mins, strict=False)) if pair[0] >= pair[1])
    low, high = tables[index], tables[index + 1]
    raise DamageError(
        f"manifest: tree {low.tree_id} level {low.level}: the tables at blocks {low.reference.address} and "
        f"{high.reference.address} overlap at key {_key_text(high.key_min)}; run verify, or salvage into a new file",
        zone="manifest",
        address=high.reference.address,
    )


def _key_text(key: bytes) -> str:
    """A key for a one-line message, cut at _KEY_TEXT_SIZE_MAX bytes."""
    return repr(key[:_KEY_TEXT_SIZE_MAX]) + ("..." if len(key) > _KEY_TEXT_SIZE_MAX else "")


__all__ = ["LeastOverlap", "ManifestLevel", "check_disjoint"]
