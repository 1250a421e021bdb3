# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Point lookups that need nothing but memory: from the key to the bytes of its value, in one call.

    TreeLookup      "ht": neither in the mutable nor in the immutable table
      LevelSearch       the largest keys of the tables, as numbers: table 2
        TableSearch     the last keys of its blocks, as numbers: block 1; its fingerprints: perhaps entry 17
          BlockSlot     offsets of entry 17; the key there is "ht", its flag is 0: the value

Invariants:
- the answer is right, or it is PERHAPS: a block that is not at hand, a value out of line, an offset that cannot be
  right, a key that no tree can have. Then the ordinary way (tree_lookup) finds the answer, or words the error;
- what is held here is a second view of manifest, memory tables and block cache. Whoever changes one of the first
  two sets `fresh` to False before; the cache shuts a slot when it forgets the block;
- slots are filled from blocks whose checksum and place were verified; still no offset of a block is used before it
  was compared with the size of its column.

A sorted column is searched as numbers: eight bytes of each key, behind those that all of them share. Only where
numbers are equal the keys are compared. Of keys like "user:0004210" these are the bytes behind "user:00".

Compiled where a C compiler was at hand, see docs/internals/hot_loops.md; times are of compiled code.
"""

from __future__ import annotations

import struct
import sys
from contextlib import suppress
from os.path import commonprefix
from typing import TYPE_CHECKING, Any, Final

from lsmcli.engine import uncompiled as cython
from lsmcli.engine.entry_pack import crc_tables
from lsmcli.engine.lookup_interpreted import FLAG_TOMBSTONE, PERHAPS, get, get_many, marks_of
from lsmcli.engine.missing import MISSING
from lsmcli.engine.uncompiled import PURE

if cython.compiled:
    import cython  # type: ignore[no-redef]  # seen by the compiler alone, for which it is no module
    from cython.cimports.cpython import pystate
    from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_FromStringAndSize
    from cython.cimports.libc.string import memcmp, memcpy

COMPILED: Final = bool(cython.compiled)

_BIG_ENDIAN: Final = sys.byteorder == "big"
_GROUP: Final = 32  # keys that are looked up side by side
_NOTHING = cython.declare(object, MISSING)


@cython.final
@cython.cclass
class CacheAge:
    """Of one cache: the number of the generation that is filled now, and the blocks that were found here."""

    generation = cython.declare(cython.Py_ssize_t, visibility="public")
    hits = cython.declare(cython.Py_ssize_t, visibility="public")


@cython.final
@cython.cclass
class BlockSlot:
    """One block in the cache, ready for lookups. It is of use while its generation is the cache's present one."""

    generation = cython.declare(cython.Py_ssize_t, visibility="public")  # -1: the cache has forgotten the block
    table: Any = cython.declare(object, visibility="public")  # of an index block: its TableSearch, once it is made
    parts = cython.declare(tuple, visibility="public")  # of a value block: raw, offsets_at, count, width; or nothing
    raw: bytes  # of a value block, and all that follows
    count: cython.Py_ssize_t  # entries; 0: not filled yet
    width: cython.Py_ssize_t  # of an offset
    offsets_at: cython.Py_ssize_t  # of the keys, then of the values
    view: Any  # interpreted: raw, offsets as integers, count and where the three columns begin
    flags_at: cython.Py_ssize_t
    keys_at: cython.Py_ssize_t
    values_at: cython.Py_ssize_t

    def __init__(self, generation: int) -> None:
        self.shut()
        self.generation = generation

    def shut(self) -> None:
        """The cache has forgotten the block: lets go of its bytes."""
        self.generation, self.table, self.parts = -1, None, ()
        self.raw, self.view = b"", None
        self.count = self.width = self.offsets_at = self.flags_at = self.keys_at = self.values_at = 0

    def fill_values(self, raw: bytes, at: int, count: int, width: int, offsets: Any, values_at: int) -> None:
        """The columns of a value block: 2 * (count + 1) offsets of `width` bytes at `at`, flags, keys, values."""
        flags_at = at + 2 * (count + 1) * width
        assert 0 < at and 0 < count <= len(raw) and width in (2, 4) and flags_at + count <= values_at <= len(raw)
        self.raw, self.count, self.width, self.parts = raw, count, width, (raw, at, count, width)
        self.offsets_at, self.flags_at, self.keys_at, self.values_at = at, flags_at, flags_at + count, values_at
        if not cython.compiled:
            self.view = raw, offsets, count, flags_at, flags_at + count, values_at


_NOWHERE: Final = BlockSlot(-1)  # stands for every block that is not in the cache


@cython.cclass
class SlotColumn:
    """Blocks in the order of the largest key of each, and where they are."""

    keys: list[bytes]
    slots: list[BlockSlot]
    count: cython.Py_ssize_t
    skip: cython.Py_ssize_t  # bytes that all keys share which are looked for here
    numbers: bytes
    parts = cython.declare(tuple, visibility="public")  # keys, slots, skip, numbers
    view = cython.declare(tuple, visibility="public")  # keys, slots, what find() needs of each beside them

    def _fill(self, key_min: bytes, keys: list[bytes], beside: Any) -> None:
        self.keys, self.count = list(keys), len(keys)
        self.slots, self.skip, self.numbers = [_NOWHERE] * len(keys), 0, b""
        if cython.compiled:
            self.skip = len(commonprefix((key_min, keys[0], keys[self.count - 1])))  # noqa: RUF071  # of bytes
            self.numbers = _numbers_of(self.keys, self.skip)
        self.parts, self.view = (self.keys, self.slots, self.skip, self.numbers), (self.keys, self.slots, beside)

    def put(self, i: int, slot: BlockSlot) -> None:
        """Where block i is now."""
        assert 0 <= i < self.count
        self.slots[i] = slot


@cython.final
@cython.cclass
class TableSearch(SlotColumn):
    """An index block made ready for lookups, with a slot for each of its value blocks."""

    key_min = cython.declare(bytes, visibility="public")
    raw: bytes
    starts_packed: bytes  # where the fingerprints of each block begin in raw, and where the last ones end

    def __init__(self, raw: bytes, key_min: bytes, keys: list[bytes], starts: list[int]) -> None:
        """keys: the last one of each block. starts: one more, ascending. key_min: the smallest key of the table."""
        assert 0 < len(keys) == len(starts) - 1 and 0 <= starts[0] and starts[len(keys)] <= len(raw)
        self._fill(key_min, keys, None if cython.compiled else marks_of(raw, starts))
        self.key_min, self.raw = key_min, raw
        self.starts_packed = struct.pack(f"={len(starts)}I", *starts)


@cython.final
@cython.cclass
class LevelSearch(SlotColumn):
    """The tables of a level: the keys that each of them spans, and the slot of its index block."""

    key_mins: list[bytes]

    def __init__(self, key_mins: list[bytes], key_maxes: list[bytes], slots: list[BlockSlot | None]) -> None:
        """The lists are parallel, in key order, and copied. O(tables)."""
        assert 0 < len(key_mins) == len(key_maxes) == len(slots)
        self.key_mins = list(key_mins)
        self._fill(key_mins[0], key_maxes, self.key_mins)
        self.slots[:] = [slot or _NOWHERE for slot in slots]


@cython.final
@cython.cclass
class TreeLookup:
    """All that a lookup in one tree looks at. It answers PERHAPS until it was loaded.

    fresh: whether what was loaded still is what the tree consists of. Everyone may set it to False.
    """

    fresh = cython.declare(cython.bint, visibility="public")
    mutable: Any
    immutable: Any
    dicts: cython.bint  # both of them: where the map of entries is not compiled
    levels: list[LevelSearch]
    age: CacheAge
    key_size_max: cython.Py_ssize_t
    lock: Any
    entry: cython.Py_ssize_t  # see _walk()
    warm: cython.uint  # takes what is read ahead, so that the compiler does not leave it out

    def __init__(self) -> None:
        self.fresh = False

    def load(self, lock: Any, memory: list[Any], levels: list[LevelSearch], age: CacheAge, key_size_max: int) -> None:
        """What the tree is now: the lock that guards it and is held, its two maps of entries, newest first, the
        levels that have tables, the age of the cache in which the blocks are, the longest key of the file."""
        self.mutable, self.immutable, self.dicts = memory[0], memory[1], type(memory[0]) is dict
        self.lock = lock if cython.compiled else getattr(lock, "plain", None) or lock
        self.levels, self.age, self.key_size_max = list(levels), age, key_size_max
        self.fresh = True

    def get(self, key: Any) -> Any:
        """The value of the key, None when it is absent, or PERHAPS. 0.1 µs, and the processor's way to memory for the
        entry's offsets, then for its key and value."""
        if not self.fresh or type(key) is not bytes:
            return PERHAPS
        if _alone():
            return self._walk(key, False)
        with self.lock:
            return self._walk(key, False) if self.fresh else PERHAPS  # type: ignore[redundant-expr]  # by now

    def get_many(self, keys: list[Any]) -> tuple[list[Any], list[int]]:
        """get() of each key, all of them in one state, and the places of those for which it is PERHAPS. 0.2 µs per key,
        since the ways to memory of many keys are gone together."""
        places: list[int] = []
        if self.fresh:
            with self.lock:
                if self.fresh:
                    return self._find_many(keys, places), places
        return [PERHAPS] * len(keys), list(range(len(keys)))

    # Compiled only.

    @cython.cfunc
    def _walk(self, key: bytes, stops: cython.bint) -> object:
        """The answer of get(). With `stops` the slot of the first value block that may have the key, if there is one:
        the place of the entry is in self.entry then."""
        i: cython.Py_ssize_t
        at: cython.Py_ssize_t
        entry: cython.Py_ssize_t
        mark: cython.ushort
        level: LevelSearch
        table: TableSearch
        slot: BlockSlot
        size: cython.Py_ssize_t = len(key)
        data: cython.p_const_uchar = cython.cast(cython.p_const_uchar, PyBytes_AS_STRING(key))
        generation: cython.Py_ssize_t = self.age.generation
        if not 0 < size <= self.key_size_max:
            return PERHAPS
        found: object = self.mutable.get(key, _NOTHING) if self.dicts else self.mutable[key]
        if found is _NOTHING:
            found = self.immutable.get(key, _NOTHING) if self.dicts else self.immutable[key]
        if found is not _NOTHING:
            return found if found is None or type(found) is bytes else PERHAPS
        mark = _fingerprint(data, size)
        for i in range(len(self.levels)):
            level = self.levels[i]
            if _order(level.key_mins, 0, data, size) > 0 or _order(level.keys, level.count - 1, data, size) < 0:
                continue
            at = _position(level, data, size)
            if _order(level.key_mins, at, data, size) > 0:
                continue
            slot = level.slots[at]
            if slot.generation != generation or slot.table is None:
                return PERHAPS
            table = cython.cast(TableSearch, slot.table, typecheck=True)
            self.age.hits += 1
            at = _position(table, data, size)
            if at >= table.count:
                return PERHAPS
            entry = _entry_of(table, at, mark, 0)
            if entry < 0:
                continue
            slot = table.slots[at]
            if slot.generation != generation:
                return PERHAPS
            if stops:
                self.entry = entry
                return slot
            while entry >= 0:
                found = _value_of(slot, entry, key)
                if found is not _NOWHERE:
                    self.age.hits += 1
                    return found
                entry = _entry_of(table, at, mark, entry + 1)
        return None

    @cython.cfunc
    def _find_many(self, keys: list[Any], places: list[int]) -> list[Any]:
        """A way to memory takes as long as a hundred steps. So the lookups of a group go side by side: all find their
        blocks, then all touch their offsets, then all their keys and values, and only then is each of them done as by
        get(), with everything near."""
        found: list[Any] = []
        slots: list[Any] = [None] * _GROUP
        scratch: bytes = PyBytes_FromStringAndSize(cython.NULL, 4 * _GROUP)
        entries: cython.p_uint = cython.cast(cython.p_uint, PyBytes_AS_STRING(scratch))
        start: cython.Py_ssize_t
        i: cython.Py_ssize_t
        count: cython.Py_ssize_t
        key: object
        result: object
        for start in range(0, len(keys), _GROUP):
            count = min(len(keys) - start, _GROUP)
            for i in range(count):
                key = keys[start + i]
                slots[i] = self._walk(key, True) if type(key) is bytes else PERHAPS
                entries[i] = self.entry
            for i in range(count):
                if type(slots[i]) is BlockSlot:
                    self.warm += _touch(slots[i], entries[i], True)
            for i in range(count):
                if type(slots[i]) is BlockSlot:
                    self.warm += _touch(slots[i], entries[i], False)
            for i in range(count):
                result = slots[i]
                if type(result) is BlockSlot:
                    key = keys[start + i]
                    result = _value_of(result, entries[i], cython.cast(bytes, key))
                    if result is _NOWHERE:
                        result = self._walk(cython.cast(bytes, key), False)
                    else:
                        self.age.hits += 1
                if result is PERHAPS:
                    places.append(start + i)
                found.append(result)
        return found


# Compiled only: loops over bytes, which would be hopeless if interpreted.


@cython.cfunc
@cython.exceptval(check=False)
def _alone() -> cython.bint:
    """Whether this is the only thread of the process. Then nobody else can be inside a change, and no lock is needed:
    a lookup runs to its end without giving another one the chance to begin."""
    head = pystate.PyInterpreterState_Head()
    return (
        pystate.PyInterpreterState_Next(head) is cython.NULL
        and pystate.PyThreadState_Next(pystate.PyInterpreterState_ThreadHead(head)) is cython.NULL
    )


@cython.cfunc
@cython.exceptval(check=False)
def _offset(column: cython.p_const_uchar, i: cython.Py_ssize_t, width: cython.Py_ssize_t) -> cython.Py_ssize_t:
    at: cython.p_const_uchar = column + i * width
    offset: cython.Py_ssize_t = at[0] | (at[1] << 8)
    if width == 4:
        offset |= (at[2] << 16) | (cython.cast(cython.Py_ssize_t, at[3]) << 24)
    return offset


@cython.cfunc
def _value_of(slot: BlockSlot, entry: cython.Py_ssize_t, key: bytes) -> object:
    """The value of an entry, None for a tombstone; _NOWHERE when it has another key; or PERHAPS."""
    raw: cython.p_const_uchar = cython.cast(cython.p_const_uchar, PyBytes_AS_STRING(slot.raw))
    column: cython.p_const_uchar = raw + slot.offsets_at
    width: cython.Py_ssize_t = slot.width
    if entry >= slot.count:
        return PERHAPS
    start: cython.Py_ssize_t = _offset(column, entry, width)
    stop: cython.Py_ssize_t = _offset(column, entry + 1, width)
    if not start <= stop <= slot.values_at - slot.keys_at:
        return PERHAPS
    if stop - start != len(key) or memcmp(raw + slot.keys_at + start, PyBytes_AS_STRING(key), stop - start) != 0:
        return _NOWHERE
    entry += slot.count + 1
    start = _offset(column, entry, width)
    stop = _offset(column, entry + 1, width)
    if not start <= stop <= len(slot.raw) - slot.values_at:
        return PERHAPS
    flag: cython.uchar = raw[slot.flags_at + entry - slot.count - 1]
    if flag == 0:
        return raw[slot.values_at + start : slot.values_at + stop]
    return None if flag == FLAG_TOMBSTONE and start == stop else PERHAPS


@cython.cfunc
@cython.exceptval(check=False)
def _touch(slot: BlockSlot, entry: cython.Py_ssize_t, offsets_only: cython.bint) -> cython.uint:
    """Brings the offsets of an entry near, or its key and its value as far as its offsets can be right."""
    if entry >= slot.count:
        return 0
    size: cython.Py_ssize_t = len(slot.raw)
    raw: cython.p_const_uchar = cython.cast(cython.p_const_uchar, PyBytes_AS_STRING(slot.raw))
    key_at: cython.Py_ssize_t = slot.offsets_at + entry * slot.width
    value_at: cython.Py_ssize_t = key_at + (slot.count + 1) * slot.width
    end: cython.Py_ssize_t = slot.flags_at + entry
    if not offsets_only:
        end = slot.values_at + _offset(raw + value_at, 1, slot.width) - 1
        key_at = slot.keys_at + _offset(raw + key_at, 0, slot.width)
        value_at = slot.values_at + _offset(raw + value_at, 0, slot.width)
    near: cython.uint = 0
    if key_at < size and value_at < size and 0 <= end < size:
        near = raw[key_at] + raw[value_at] + raw[end]
    return near


@cython.cfunc
@cython.exceptval(check=False)
def _number(key: cython.p_const_uchar, size: cython.Py_ssize_t, skip: cython.Py_ssize_t) -> cython.ulonglong:
    """Eight bytes of a key from `skip` on, zeros behind its end, as a number: in the order of the keys."""
    number: cython.ulonglong = 0
    i: cython.Py_ssize_t
    if size - skip >= 8:
        for i in range(8):
            number = (number << 8) | key[skip + i]
    else:
        for i in range(8):
            number = (number << 8) | (key[skip + i] if skip + i < size else 0)
    return number


@cython.cfunc
@cython.exceptval(check=False)
def _order(
    keys: list[bytes], i: cython.Py_ssize_t, key: cython.p_const_uchar, size: cython.Py_ssize_t
) -> cython.Py_ssize_t:
    """Below, equal to or above zero as keys[i] is below, equal to or above the key."""
    other: bytes = cython.cast(bytes, keys[i])
    order: cython.Py_ssize_t = memcmp(PyBytes_AS_STRING(other), key, min(len(other), size))
    return order if order else len(other) - size


@cython.cfunc
@cython.exceptval(check=False)
def _position(column: SlotColumn, key: cython.p_const_uchar, size: cython.Py_ssize_t) -> cython.Py_ssize_t:
    """The first block whose largest key is not below `key`; `count` when there is none."""
    numbers: cython.p_const_ulonglong = cython.cast(cython.p_const_ulonglong, PyBytes_AS_STRING(column.numbers))
    number: cython.ulonglong = _number(key, size, column.skip)
    low: cython.Py_ssize_t = 0
    high: cython.Py_ssize_t = column.count
    middle: cython.Py_ssize_t
    while low < high:
        middle = (low + high) >> 1
        if numbers[middle] < number or (numbers[middle] == number and _order(column.keys, middle, key, size) < 0):
            low = middle + 1
        else:
            high = middle
    return low


@cython.cfunc
@cython.exceptval(check=False)
def _entry_of(
    table: TableSearch, block: cython.Py_ssize_t, mark: cython.ushort, entry: cython.Py_ssize_t
) -> cython.Py_ssize_t:
    """The first entry of the block, from this one on, whose fingerprint is `mark`; -1 when there is none."""
    starts: cython.p_const_uint = cython.cast(cython.p_const_uint, PyBytes_AS_STRING(table.starts_packed))
    column: cython.p_const_uchar = cython.cast(cython.p_const_uchar, PyBytes_AS_STRING(table.raw)) + starts[block]
    count: cython.Py_ssize_t = (cython.cast(cython.Py_ssize_t, starts[block + 1]) - starts[block]) >> 1
    low: cython.uchar = mark & 0xFF
    high: cython.uchar = mark >> 8
    lanes: cython.ulonglong = 0x0001_0001_0001_0001
    pattern: cython.ulonglong = lanes * (mark if not _BIG_ENDIAN else (low << 8) | high)
    word: cython.ulonglong = 0
    hits: cython.ulonglong
    j: cython.Py_ssize_t
    # Four at a time: what is left of a lane that equals the mark is zero, and borrows from the bit above it.
    while entry + 32 <= count:
        hits = 0
        for j in range(8):
            memcpy(cython.address(word), column + 2 * entry + 8 * j, 8)
            word ^= pattern
            hits |= (word - lanes) & ~word & (lanes << 15)
        if hits:
            break
        entry += 32
    while entry < count:
        if column[2 * entry] == low and column[2 * entry + 1] == high:
            return entry
        entry += 1
    return -1


@cython.cfunc
def _numbers_of(keys: list[bytes], skip: cython.Py_ssize_t) -> bytes:
    """The number of each key, as a column."""
    key: bytes
    i: cython.Py_ssize_t
    column: bytes = PyBytes_FromStringAndSize(cython.NULL, 8 * len(keys))
    out: cython.p_ulonglong = cython.cast(cython.p_ulonglong, PyBytes_AS_STRING(column))
    for i in range(len(keys)):
        key = keys[i]
        out[i] = _number(cython.cast(cython.p_const_uchar, PyBytes_AS_STRING(key)), len(key), skip)
    return column


@cython.cfunc
@cython.exceptval(check=False)
def _fingerprint(key: cython.p_const_uchar, size: cython.Py_ssize_t) -> cython.ushort:
    """What index_block.fingerprint() gives."""
    table: cython.p_const_uint = cython.cast(cython.p_const_uint, PyBytes_AS_STRING(_CRC_TABLES))
    crc: cython.uint = 0xFFFFFFFF
    while size >= 4:
        crc = (
            table[768 + ((crc ^ key[0]) & 0xFF)]
            ^ table[512 + (((crc >> 8) ^ key[1]) & 0xFF)]
            ^ table[256 + (((crc >> 16) ^ key[2]) & 0xFF)]
            ^ table[((crc >> 24) ^ key[3]) & 0xFF]
        )
        key += 4
        size -= 4
    while size > 0:
        crc = table[(crc ^ key[0]) & 0xFF] ^ (crc >> 8)
        key += 1
        size -= 1
    return ~crc & 0xFFFF


_CRC_TABLES: Final = crc_tables() if cython.compiled else b""

if not cython.compiled:
    # In their place, not called by them: a call is much.
    TreeLookup.get, TreeLookup.get_many = get, get_many  # type: ignore[assignment, method-assign]

if not (TYPE_CHECKING or COMPILED or PURE):
    # The compiled classes take the place of those above, all of them or none.
    with suppress(ImportError):
        from lsmcli.engine._lookup import (  # noqa: I001
            BlockSlot, CacheAge, LevelSearch, SlotColumn, TableSearch, TreeLookup, COMPILED,
        )  # fmt: skip
