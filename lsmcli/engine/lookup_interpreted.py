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
_FINGERPRINT_MASK: Final = 0xFFFF  # index_block.FINGERPRINT_MASK


class Perhaps:
    """The type of PERHAPS: nothing can be said without asking the ordinary way."""

    def __repr__(self) -> str:
        return "PERHAPS"


PERHAPS: Final = Perhaps()


def find(lookup: "TreeLookup", key: bytes) -> Any:
    """The value of the key, None when it is absent, or PERHAPS. The lock is held. 2 µs."""
    if not 0 < len(key) <= lookup.key_size_max:
        return PERHAPS
    value = lookup.mutable.get(key, PERHAPS)
    if value is PERHAPS:
        value = lookup.immutable.get(key, PERHAPS)
    if value is not PERHAPS:
        return value if value is None or type(value) is bytes else PERHAPS
    mark = b""
    generation = lookup.age.generation
    for level in lookup.levels:
        at = bisect_left(level.keys, key)
        if at == level.count or key < level.key_mins[at]:
            continue
        slot = level.slots[at]
        table = slot.table
        if slot.generation != generation or table is None:
            return PERHAPS
        lookup.age.hits += 1
        mark = mark or (crc32(key) & _FINGERPRINT_MASK).to_bytes(2, "little")
        block = bisect_left(table.keys, key)
        start, stop = table.starts[block], table.starts[block + 1]
        at = table.raw.find(mark, start, stop)
        while at >= 0:
            if not (at - start) & 1:  # else it is the halves of two neighbours
                slot = table.slots[block]
                raw, offsets, i = slot.raw, slot.offsets, (at - start) >> 1
                if slot.generation != generation or i >= slot.count:
                    return PERHAPS
                if raw[slot.keys_at + offsets[i] : slot.keys_at + offsets[i + 1]] == key:
                    lookup.age.hits += 1
                    flag = raw[slot.flags_at + i]
                    i += slot.count + 1
                    value_start, value_stop = offsets[i], offsets[i + 1]
                    if flag == 0 and value_start <= value_stop <= len(raw) - slot.values_at:
                        return raw[slot.values_at + value_start : slot.values_at + value_stop]
                    return None if flag == FLAG_TOMBSTONE and value_start == value_stop else PERHAPS
            at = table.raw.find(mark, at + 1, stop)
    return None
