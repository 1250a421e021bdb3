"""A point lookup where there is no compiled code: what lookup.TreeLookup.get() does then.

Invariants:
- the same answers as the compiled form, see lookup.py: right, or PERHAPS;
- one function without a call of ours in it: calls are what would cost most.
"""

from bisect import bisect_left
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


def find(lookup: "TreeLookup", key: bytes) -> Any:
    """The value of the key, None when it is absent, or PERHAPS. The lock is held. 1.5 µs."""
    value = lookup.mutable.get(key, PERHAPS)
    if value is PERHAPS:
        value = lookup.immutable.get(key, PERHAPS)
    if value is not PERHAPS:
        return value if value is None or type(value) is bytes else PERHAPS
    crc = crc32(key)
    low, high = crc & 0xFF, (crc >> 8) & 0xFF  # of the fingerprint
    age = lookup.age
    for level in lookup.levels:
        at = bisect_left(level.keys, key)
        if at == level.count or key < level.key_mins[at]:
            continue
        slot = level.slots[at]
        table = slot.table
        if slot.generation != age.generation or table is None:
            return PERHAPS
        block = bisect_left(table.keys, key)
        start = table.starts[block]
        stop = table.starts[block + 1]
        marks = table.raw
        at = marks.find(low, start, stop)  # one byte: C is ten times quicker with it than with two
        while at >= 0:
            if not (at - start) & 1 and marks[at + 1] == high:
                slot = table.slots[block]
                i = (at - start) >> 1
                if slot.generation != age.generation or i >= slot.count:
                    return PERHAPS
                raw = slot.raw
                offsets = slot.offsets
                if raw[slot.keys_at + offsets[i] : slot.keys_at + offsets[i + 1]] == key:
                    age.hits += 2
                    flag = raw[slot.flags_at + i]
                    i += slot.count + 1
                    start = offsets[i]
                    stop = offsets[i + 1]
                    if flag == 0 and start <= stop <= len(raw) - slot.values_at:
                        return raw[slot.values_at + start : slot.values_at + stop]
                    return None if flag == FLAG_TOMBSTONE and start == stop else PERHAPS
            at = marks.find(low, at + 1, stop)
        age.hits += 1
    return None if 0 < len(key) <= lookup.key_size_max else PERHAPS
