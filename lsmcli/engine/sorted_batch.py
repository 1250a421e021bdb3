"""Entries of a bulk load in memory, in key order, without having been moved there.

Invariants:
- the lists stay in the order of arrival; `order` tells where the next key stands, of equal keys only the newest;
- entries are looked up when they are asked for, a few at a time: so they are still in the processor's cache while
  they are written, and are let go in the order in which they lie in memory.

    keys     c  a  b  a        order   3 2 0        (without an order: 0 1 2 3, the keys arrived ascending)
    values   1  2  3  4        cut(0, 2)  ->  a b | 4 3
"""

from bisect import bisect_right
from collections.abc import Iterator
from typing import Final

from lsmcli.engine.columns import Columns
from lsmcli.engine.entry_order import gather_entries, sort_order
from lsmcli.engine.schema import FLAG_LARGE

_PLACE_SIZE: Final = 4  # bytes of one place in an order


class SortedBatch:
    """See the module's docstring. count: distinct keys, at least 1."""

    __slots__ = ("_columns", "_order", "_places", "count")

    def __init__(self, columns: Columns, dropped_large: list[bytes], *, ascending: bool) -> None:
        """columns: in order of arrival, taken over; ascending: whether that is the order of keys.

        Packed references of out-of-line values that lost are appended to dropped_large. 0.1 µs per entry.
        """
        self._columns = columns
        self._order = b""
        self.count = len(columns.keys)
        assert self.count
        if not ascending:
            self._order, lost = sort_order(columns.keys)
            self.count = len(self._order) // _PLACE_SIZE
            if lost and FLAG_LARGE in columns.flags:
                dropped_large += (columns.values[place] for place in lost if columns.flags[place] == FLAG_LARGE)
        self._places = memoryview(self._order).cast("I")

    def key(self, i: int) -> bytes:
        """Key 0 <= i < count."""
        return self._columns.keys[self._places[i] if self._order else i]

    def bisect_right(self, key: bytes, start: int) -> int:
        """The first place at or behind `start` with a key above this one; count if there is none. O(log count)."""
        return bisect_right(range(self.count), key, start, key=self.key)

    def cut(self, start: int, stop: int) -> Columns:
        """The entries [start, stop), 0 <= start <= stop <= count. 0.05 µs per entry, interpreted 0.2."""
        if not self._order:
            return self._columns.cut(start, stop)
        return Columns(*gather_entries(*self._columns, self._order, start, stop))

    def chunks(self, entry_count: int) -> Iterator[Columns]:
        """All entries in chunks of about so many, and no short rest: 9 by 4 gives 5 and 4."""
        step = chunk_step(self.count, entry_count)
        for start in range(0, self.count, step):
            yield self.cut(start, min(start + step, self.count))


def chunk_step(count: int, entry_count: int) -> int:
    """Entries of one chunk when `count` are cut into chunks of about `entry_count`; at least 1."""
    parts = max(1, (count + entry_count // 2) // entry_count)
    return max(1, -(-count // parts))
