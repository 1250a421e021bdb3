"""Point lookups where there is no compiled code: the methods get() and get_many() of lookup.TreeLookup then.

Invariants:
- the same answers as the compiled form, see lookup.py: right, or PERHAPS;
- find() is one function without a call of ours in it: calls are what would cost most.
"""

from bisect import bisect_left
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

if TYPE_CHECKING:
    from lsmcli.engine.lookup import TreeLookup

FLAG_TOMBSTONE: Final = 1  # schema.FLAG_TOMBSTONE


class Perhaps:
    """The type of PERHAPS: nothing can be said without asking the ordinary way."""

    def __repr__(self) -> str:
        return "PERHAPS"


PERHAPS: Final = Perhaps()


def marks_of(raw: bytes, starts: list[int]) -> list[str]:
    """The fingerprints of each block of an index block as text, one character for each.

    C finds a character of two bytes as fast as a byte, but two bytes in a row ten times slower. Some fingerprints are
    halves of surrogate pairs; of four bytes each, they stay by themselves. O(entries): 0.2 ms for 14,000.
    """
    start, stop = starts[0], starts[-1]
    wide = bytearray(2 * (stop - start))
    wide[0::4], wide[1::4] = raw[start:stop:2], raw[start + 1 : stop : 2]
    marks = wide.decode("utf-32-le", "surrogatepass")
    return [marks[(a - start) >> 1 : (b - start) >> 1] for a, b in pairwise(starts)]


def get(lookup: "TreeLookup", key: Any) -> Any:
    """As TreeLookup.get(). 1.5 µs."""
    if lookup.fresh and type(key) is bytes:
        with lookup.lock:
            if lookup.fresh:
                return find(lookup, key)
    return PERHAPS


def get_many(lookup: "TreeLookup", keys: list[Any]) -> tuple[list[Any], list[int]]:
    """As TreeLookup.get_many(). 1.3 µs per key."""
    if lookup.fresh:
        with lookup.lock:
            if lookup.fresh:
                values = [find(lookup, key) if type(key) is bytes else PERHAPS for key in keys]
                return values, [place for place, value in enumerate(values) if value is PERHAPS]
    return [PERHAPS] * len(keys), list(range(len(keys)))


def find(lookup: "TreeLookup", key: bytes) -> Any:
    """The value of the key, None when it is absent, or PERHAPS. The lock is held, and the lookup is fresh."""
    if key in lookup.mutable:
        value = lookup.mutable[key]
        return value if value is None or type(value) is bytes else PERHAPS
    if key in lookup.immutable:
        value = lookup.immutable[key]
        return value if value is None or type(value) is bytes else PERHAPS
    mark = chr(crc32(key) & 0xFFFF)  # the fingerprint
    age = lookup.age
    generation = age.generation
    for level in lookup.levels:
        keys, slots, key_mins = level.view
        at = bisect_left(keys, key)
        if at == len(keys) or key < key_mins[at]:
            continue
        slot = slots[at]
        table = slot.table
        if slot.generation != generation or table is None:
            return PERHAPS
        keys, slots, marks = table.view
        at = bisect_left(keys, key)
        i = marks[at].find(mark)
        while i >= 0:
            slot = slots[at]
            if slot.generation != generation or i >= slot.count:
                return PERHAPS
            raw, offsets, count, flags_at, keys_at, values_at = slot.view
            if raw[keys_at + offsets[i] : keys_at + offsets[i + 1]] == key:
                age.hits += 2
                start = values_at + offsets[count + 1 + i]
                stop = values_at + offsets[count + 2 + i]
                flag = raw[flags_at + i]
                if flag == 0 and start <= stop <= len(raw):
                    return raw[start:stop]
                return None if flag == FLAG_TOMBSTONE and start == stop else PERHAPS
            i = marks[at].find(mark, i + 1)
        age.hits += 1
    return None if 0 < len(key) <= lookup.key_size_max else PERHAPS
