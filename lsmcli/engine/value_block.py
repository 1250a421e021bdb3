"""A value block: a sorted run of entries in columns, searched and cut without an object per entry.

Invariants:
- keys are strictly ascending and not empty; there is at least one entry;
- a tombstone has an empty value, an out-of-line entry a packed ChainReference as its value;
- the columns fill the body exactly, with nothing between them.

    raw:  BlockHeader | ValueBlockHead | key off[n+1] | value off[n+1] | flags[n] | keys | values
          0           96               120

    entry i:  key = keys[key off[i] : key off[i+1]]      value = values[value off[i] : value off[i+1]]

The checksum has been verified before a block comes here, but a crafted block has a right checksum too.
The sizes are checked when the block is opened, in O(1); what an access uses is checked by that access,
so that a point lookup pays for two entries and not for all. A bad block raises DamageError, always.
"""

import struct
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate, islice, pairwise
from operator import lt
from typing import Final

from lsmcli.engine.block_merge import Run, run_of
from lsmcli.engine.block_scan import COMPILED, bisect_entries, entries_near
from lsmcli.engine.constants import KEY_SIZE_MAX
from lsmcli.engine.entry_pack import pack_entries, unpack_entries
from lsmcli.engine.errors import DamageError
from lsmcli.engine.lookup import BlockSlot
from lsmcli.engine.packed_entries import PackedEntries, packed_entries
from lsmcli.engine.schema import (
    BLOCK_HEADER,
    CHAIN_REFERENCE,
    FLAG_LARGE,
    FLAG_TOMBSTONE,
    VALUE_BLOCK_HEAD,
    ChainReference,
    ValueBlockHead,
    offset_code_for,
)

StoredValue = bytes | ChainReference | None  # None: a tombstone

OFFSETS_AT: Final = BLOCK_HEADER.size + VALUE_BLOCK_HEAD.size

_WIDTHS: Final = {"H": 2, "I": 4}
_CODES: Final = {2: "H", 4: "I"}
_HEAD_UNPACK: Final = VALUE_BLOCK_HEAD.struct.unpack_from

assert all(struct.calcsize(code) == width for code, width in _WIDTHS.items())


def offset_width_for(block_size: int) -> int:
    """Bytes of one offset in a block of this size: 2 up to 64 KiB, else 4."""
    return _WIDTHS[offset_code_for(block_size)]


def offset_code_of(gap: int, offset_count: int) -> str | None:
    """The struct code with which `offset_count` offsets fill `gap` bytes; None: neither does.

    The width follows from the sizes alone: 10 offsets are 20 or 40 bytes, never both.
    """
    return _CODES.get(gap // offset_count) if gap % offset_count == 0 else None


def offset_column(raw: bytes, start: int, stop: int, code: str) -> Sequence[int]:
    """The little-endian integers in raw[start:stop], without copying them where the machine allows."""
    view = memoryview(raw)[start:stop]
    if sys.byteorder == "little":
        return view.cast(code)  # type: ignore[call-overload, no-any-return]  # code is "H" or "I"
    column = array(code, view.tobytes())
    column.byteswap()
    return column


def offsets_packed(items: Iterable[bytes], code: str) -> bytes:
    """The offset column of items that follow each other: (b"ab", b"c") = 0, 2, 3."""
    offsets = list(accumulate(map(len, items), initial=0))
    return struct.pack(f"<{len(offsets)}{code}", *offsets)


def sizes_packed(items: Iterable[bytes], width: int) -> bytes:
    """The sizes of items as a column of numbers of `width` bytes: (b"ab", b"c") = 2, 1."""
    sizes = list(map(len, items))
    return struct.pack(f"<{len(sizes)}{_CODES[width]}", *sizes)


class ValueBlock:
    """A value block over the verified bytes of grid.read(): header and body.

    Opening costs about 1.5 µs whatever the size; key() and value() less. Raises DamageError.
    """

    __slots__ = ("_flags_at", "_keys_at", "_offset_width", "_offsets", "_raw", "_values_at", "count", "parts")

    def __init__(self, raw: bytes) -> None:
        if len(raw) < OFFSETS_AT:
            raise _damage(raw, "is too short for its head")
        count, _tombstones, _large, keys_size, values_size, _ = _HEAD_UNPACK(raw, BLOCK_HEADER.size)
        flags_at = len(raw) - values_size - keys_size - count
        code = offset_code_of(flags_at - OFFSETS_AT, 2 * (count + 1))
        if count == 0 or code is None:
            raise _damage(raw, f"with {count} entries does not have the size that its head tells")
        offsets = offset_column(raw, OFFSETS_AT, flags_at, code)
        if offsets[0] or offsets[count + 1] or offsets[count] != keys_size or offsets[-1] != values_size:
            raise _damage(raw, "has offsets that do not span its keys and values")
        self.count: int = count
        self._raw = raw
        self._offset_width: int = _WIDTHS[code]
        # raw, where its columns begin, entries, bytes of an offset: for code that knows bytes only.
        self.parts: tuple[bytes, int, int, int] = raw, OFFSETS_AT, count, self._offset_width
        self._offsets = offsets  # of the keys, then of the values
        self._flags_at: int = flags_at
        self._keys_at: int = flags_at + count
        self._values_at: int = len(raw) - values_size

    @property
    def size(self) -> int:
        """Bytes of the block as read: header and body."""
        return len(self._raw)

    @property
    def head(self) -> ValueBlockHead:
        """The head as stored; its counts of flags are verified by columns() over the whole block."""
        return VALUE_BLOCK_HEAD.unpack(self._raw, BLOCK_HEADER.size)

    def key(self, i: int) -> bytes:
        """The key of entry i, 0 <= i. DamageError when there is none: whoever pointed here was wrong."""
        if i >= self.count:
            raise _damage(self._raw, f"has {self.count} entries, but entry {i} is referred to")
        keys_at = self._keys_at
        return self._raw[keys_at + self._offsets[i] : keys_at + self._offsets[i + 1]]

    def value(self, i: int) -> StoredValue:
        """The value of entry i, 0 <= i < count; None for a tombstone."""
        if i >= self.count:
            raise _damage(self._raw, f"has {self.count} entries, but entry {i} is referred to")
        at = self.count + 1 + i
        start = self._offsets[at]
        stop = self._offsets[at + 1]
        if start > stop:
            raise _damage(self._raw, f"has a value of negative size in entry {i}")
        if stop > len(self._raw) - self._values_at:
            raise _damage(self._raw, f"has a value that goes past its end in entry {i}")
        value = self._raw[self._values_at + start : self._values_at + stop]
        flag = self._raw[self._flags_at + i]
        if flag == 0:
            return value
        if flag == FLAG_TOMBSTONE and not value:
            return None
        if flag == FLAG_LARGE and len(value) == CHAIN_REFERENCE.size:
            return CHAIN_REFERENCE.unpack(value)
        raise _damage(self._raw, f"has flags {flag} with a value of {len(value)} bytes in entry {i}")

    def fill_slot(self, slot: BlockSlot) -> None:
        """Makes the block ready for lookups."""
        slot.fill_values(self._raw, OFFSETS_AT, self.count, self._offset_width, self._offsets, self._values_at)

    def bisect_left(self, key: bytes) -> int:
        """The first entry whose key is not below `key`; `count` when there is none. O(log count)."""
        if COMPILED and (place := bisect_entries(*self.parts, key)) >= 0:
            return place
        raw, offsets, at = self._raw, self._offsets, self._keys_at
        return bisect_left(range(self.count), key, key=lambda i: raw[at + offsets[i] : at + offsets[i + 1]])

    def keys(self) -> list[bytes]:
        """All keys, verified to be ascending."""
        return self._keys(0, self.count, KEY_SIZE_MAX)

    def columns(
        self, start: int = 0, stop: int | None = None, key_size_max: int = KEY_SIZE_MAX
    ) -> tuple[list[bytes], list[bytes], bytes]:
        """Keys, values and flags of the entries [start, stop), 0 <= start <= stop <= count; all entries
        without them. DamageError unless keys ascend, are 1 … key_size_max bytes long, and values fit their
        flags. 0.06 µs per entry, interpreted 0.4."""
        if stop is None:
            stop = self.count
        assert 0 <= start <= stop <= self.count
        raw = self._raw
        flags = raw[self._flags_at + start : self._flags_at + stop]
        unpacked = unpack_entries(*self.parts, start, stop, key_size_max) if COMPILED else None
        if unpacked is not None:
            keys, values = unpacked
        else:
            keys, values = self._keys_and_values(start, stop, key_size_max)
        self._check_flags(flags, values)
        return keys, values, flags

    def near(
        self, bound: bytes | None, limit: int, key_size_max: int = KEY_SIZE_MAX, backward: bool = False
    ) -> tuple[list[bytes], list[bytes], bytes, int]:
        """Keys, values, flags and the place of the first of the first `limit` entries that are not below `bound`;
        backward of the last ones that are below it; without a bound the first or last of all. Ascending in any case.

        DamageError as columns(). 1.5 µs and 0.06 µs per entry.
        """
        found = entries_near(*self.parts, bound, limit, key_size_max, backward) if COMPILED else None
        if found is not None:
            flags = found[2]
            if any(flags) or len(flags) == self.count:
                self._check_flags(flags, found[1])
            return found
        place = self.bisect_left(bound) if bound is not None else self.count if backward else 0
        first = max(0, place - limit) if backward else place
        stop = place if backward else min(self.count, place + limit)
        return *self.columns(first, stop, key_size_max), first

    def packed(self, key_size_max: int = KEY_SIZE_MAX) -> PackedEntries | None:
        """All entries, verified as by columns(), if all of them are plain and code is compiled; None: take columns().

        0.01 µs per entry.
        """
        head = self.head
        if head.tombstone_count or head.large_count:
            return None
        return packed_entries(self._raw, OFFSETS_AT, self.count, self._offset_width, self._values_at, key_size_max)

    def _keys_and_values(self, start: int, stop: int, key_size_max: int) -> tuple[list[bytes], list[bytes]]:
        """The interpreted way, and the one that finds out what is wrong where the compiled one gave up."""
        keys = self._keys(start, stop, key_size_max)
        raw, at = self._raw, self._values_at
        bounds = [at + offset for offset in self._offsets[self.count + 1 + start : self.count + 2 + stop]]
        if sorted(bounds) != bounds:
            raise _damage(raw, "has values of negative size")
        if bounds[-1] > len(raw):
            raise _damage(raw, "has a value that goes beyond its end")
        return keys, [raw[a:b] for a, b in pairwise(bounds)]

    def _keys(self, start: int, stop: int, key_size_max: int) -> list[bytes]:
        raw, at = self._raw, self._keys_at
        bounds = [at + offset for offset in self._offsets[start : stop + 1]]
        keys = [raw[a:b] for a, b in pairwise(bounds)]
        # Strictly ascending keys are not empty, but for the first; hence their offsets ascend as well.
        if keys and not (keys[0] and bounds[-1] <= self._values_at and all(map(lt, keys, islice(keys, 1, None)))):
            raise _damage(raw, "has keys that are not in ascending order")
        if keys and max(map(len, keys)) > key_size_max:
            raise _damage(raw, f"has a key of more than {key_size_max} bytes")
        return keys

    def _check_flags(self, flags: bytes, values: list[bytes]) -> None:
        """DamageError unless each entry has at most one known flag, and the value that goes with it; and, of a whole
        block, as many as its head counts."""
        if flags.count(0) != len(flags):
            for i, flag in enumerate(flags):
                if flag:
                    size = CHAIN_REFERENCE.size if flag == FLAG_LARGE else 0
                    if flag not in (FLAG_TOMBSTONE, FLAG_LARGE) or len(values[i]) != size:
                        what = f"has an entry with flags {flag} and a value of {len(values[i])} bytes"
                        raise _damage(self._raw, what)
        if len(flags) == self.count:
            head = self.head
            if flags.count(FLAG_TOMBSTONE) != head.tombstone_count or flags.count(FLAG_LARGE) != head.large_count:
                raise _damage(self._raw, "has other flags than its head counts")


def value_block_size(entry_count: int, keys_size: int, values_size: int, block_size: int) -> int:
    """Header and body of a value block with these entries, in bytes."""
    offsets_size = 2 * (entry_count + 1) * offset_width_for(block_size)
    return OFFSETS_AT + offsets_size + entry_count + keys_size + values_size


def encode_value_block(keys: list[bytes], values: list[bytes], flags: bytes, block_size: int) -> bytes:
    """The body of a value block. Keys are strictly ascending, the entries fit (value_block_size())."""
    assert 0 < len(keys) == len(values) == len(flags)
    keys_size, values_size, packed = pack_entries(keys, values, flags, offset_width_for(block_size))
    head = ValueBlockHead(
        entry_count=len(keys),
        tombstone_count=flags.count(FLAG_TOMBSTONE),
        large_count=flags.count(FLAG_LARGE),
        keys_size=keys_size,
        values_size=values_size,
        reserved=0,
    )
    body = VALUE_BLOCK_HEAD.pack(head) + packed
    size = BLOCK_HEADER.size + len(body)
    assert size == value_block_size(len(keys), keys_size, values_size, block_size)
    assert size <= block_size
    return body


def encode_value_block_head(
    count: int, tombstones: int, large: int, keys_size: int, values_size: int, into: memoryview
) -> None:
    """Writes the head to the front of a body whose columns stand already behind it."""
    VALUE_BLOCK_HEAD.struct.pack_into(into, 0, count, tombstones, large, keys_size, values_size, 0)


def run_in_block(raw: bytes, key_size_max: int = KEY_SIZE_MAX) -> Run | None:
    """All entries of a value block, header and body as read, verified as by columns(), to be merged as they are packed.

    None where code is interpreted, and for a block that is damaged: ValueBlock and columns() say how. 0.01 µs each.
    """
    if len(raw) < OFFSETS_AT:
        return None
    count, tombstones, large, keys_size, values_size, _ = _HEAD_UNPACK(raw, BLOCK_HEADER.size)
    offsets_size = len(raw) - OFFSETS_AT - count - keys_size - values_size
    width = offsets_size // (2 * (count + 1))
    if count == 0 or width not in _CODES or width * 2 * (count + 1) != offsets_size:
        return None
    run = run_of(raw, OFFSETS_AT, count, width, key_size_max, CHAIN_REFERENCE.size)
    return run if run is not None and run.figures() == (count, tombstones, large) else None


def run_of_entries(keys: list[bytes], values: list[bytes], flags: bytes) -> Run | None:
    """Sorted entries, at least one, packed for a merge; None where code is interpreted."""
    _, _, packed = pack_entries(keys, values, flags, _WIDTHS["I"])
    return run_of_packed(packed, len(keys), _WIDTHS["I"])


def run_of_packed(packed: bytes, count: int, width: int) -> Run | None:
    """What pack_entries() gave for `count` sorted entries, at least one; None where code is interpreted."""
    return run_of(packed, 0, count, width, KEY_SIZE_MAX, CHAIN_REFERENCE.size)


def _damage(raw: bytes, what: str) -> DamageError:
    address = BLOCK_HEADER.unpack(raw).address if len(raw) >= BLOCK_HEADER.size else None
    return DamageError(f"value block {address} {what}; run verify to see what is lost", zone="value", address=address)
