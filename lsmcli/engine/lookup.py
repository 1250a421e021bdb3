# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Point lookups that need nothing but memory: from the key to the bytes of its value, in one call. And short scans.

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
from contextlib import suppress
from os.path import commonprefix
from typing import TYPE_CHECKING, Any, Final

from lsmcli.engine import uncompiled as cython
from lsmcli.engine.lookup_interpreted import PERHAPS, interpret, marks_of
from lsmcli.engine.missing import MISSING
from lsmcli.engine.uncompiled import PURE

if cython.compiled:
    import cython  # type: ignore[no-redef]  # seen by the compiler alone, for which it is no module
    from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_FromStringAndSize
    from cython.cimports.lsmcli.engine._block_entry import touch, value_of
    from cython.cimports.lsmcli.engine._block_scan import pairs_near, place_guessed
    from cython.cimports.lsmcli.engine._byte_search import (
        find_fingerprint,
        fingerprint,
        number_of,
        numbers_of,
        order_of,
        position_of,
    )
    from cython.cimports.lsmcli.engine._entry_map import newest_entry

COMPILED: Final = bool(cython.compiled)

_GROUP: Final = 32  # keys that are looked up side by side
_NOTHING = cython.declare(object, MISSING)
_PERHAPS = cython.declare(object, PERHAPS)


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
    values_at: cython.Py_ssize_t

    def __init__(self, generation: int) -> None:
        self.shut()
        self.generation = generation

    def shut(self) -> None:
        """The cache has forgotten the block: lets go of its bytes."""
        self.generation, self.table, self.parts = -1, None, ()
        self.raw, self.view = b"", None
        self.count = self.width = self.offsets_at = self.values_at = 0

    def fill_values(self, raw: bytes, at: int, count: int, width: int, offsets: Any, values_at: int) -> None:
        """The columns of a value block: 2 * (count + 1) offsets of `width` bytes at `at`, flags, keys, values."""
        flags_at = at + 2 * (count + 1) * width
        assert 0 < at and 0 < count <= len(raw) and width in (2, 4) and flags_at + count <= values_at <= len(raw)
        self.raw, self.count, self.width, self.parts = raw, count, width, (raw, at, count, width)
        self.offsets_at, self.values_at = at, values_at
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
    view = cython.declare(tuple, visibility="public")  # keys, slots, what stands beside each

    def _fill(self, key_min: bytes, keys: list[bytes], beside: Any) -> None:
        self.keys, self.count = list(keys), len(keys)
        self.slots, self.skip, self.numbers = [_NOWHERE] * len(keys), 0, b""
        if cython.compiled:
            self.skip = len(commonprefix((key_min, keys[0], keys[self.count - 1])))  # noqa: RUF071  # of bytes
            self.numbers = numbers_of(self.keys, self.skip)
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
    minima: bytes  # them as numbers

    def __init__(self, key_mins: list[bytes], key_maxes: list[bytes], slots: list[BlockSlot | None]) -> None:
        """The lists are parallel, in key order, and copied. O(tables)."""
        assert 0 < len(key_mins) == len(key_maxes) == len(slots)
        self.key_mins = list(key_mins)
        self._fill(key_mins[0], key_maxes, self.key_mins)
        self.minima = numbers_of(self.key_mins, self.skip) if cython.compiled else b""
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
    levels: list[LevelSearch]
    age: CacheAge
    key_size_max: cython.Py_ssize_t
    lock: Any
    held: Any = cython.declare(cython.pointer(cython.Py_ssize_t))  # how often the lock is, see op_path.OpGate; or NULL
    entry: cython.Py_ssize_t  # see _walk()
    warm: cython.uint  # takes what is read ahead, so that the compiler does not leave it out

    def __init__(self) -> None:
        self.fresh = False

    def load(self, lock: Any, memory: list[Any], levels: list[LevelSearch], age: CacheAge, key_size_max: int) -> None:
        """What the tree is now: the lock that guards it and is held, its two maps of entries, newest first, the
        levels that have tables, the age of the cache in which the blocks are, the longest key of the file."""
        self.mutable, self.immutable = memory
        self.lock = lock if cython.compiled else getattr(lock, "plain", None) or lock
        if cython.compiled:
            address: cython.ulonglong = getattr(lock, "count_address", 0)
            self.held = cython.cast(cython.pointer(cython.Py_ssize_t), address)
        self.levels, self.age, self.key_size_max = list(levels), age, key_size_max
        self.fresh = True

    @cython.ccall
    def get(self, key: object) -> object:
        """The value of the key, None when it is absent, or PERHAPS. 0.1 µs, and the processor's way to memory for the
        entry's offsets, then for its key and value."""
        if not self.fresh or type(key) is not bytes:
            return _PERHAPS
        if self._unlocked():
            return self._walk(cython.cast(bytes, key), False)
        with self.lock:
            if not self.fresh:
                return _PERHAPS  # type: ignore[unreachable]  # by now
            return self._walk(cython.cast(bytes, key), False)

    def get_many(self, keys: list[Any]) -> tuple[list[Any], list[int]]:
        """get() of each key, all of them in one state, and the places of those for which it is PERHAPS. 0.2 µs per key,
        since the ways to memory of many keys are gone together."""
        places: list[int] = []
        if self.fresh:
            with self.lock:
                if self.fresh:
                    return self._find_many(keys, places), places
        return [PERHAPS] * len(keys), list(range(len(keys)))

    def first_pairs(self, edge: Any, limit: int, backward: bool = False) -> list[tuple[bytes, bytes]] | None:
        """The first pairs whose keys are not below the edge, backward the last ones below it, descending: exactly
        `limit` of them, which is above 0. None where more is needed than one table and nothing in memory, and where
        there are fewer. 0.3 µs, 0.1 per pair, and the processor's ways to memory."""
        if not self.fresh or type(edge) is not bytes:
            return None
        if self._unlocked():
            return self._pairs(cython.cast(bytes, edge), limit, backward)
        with self.lock:
            if not self.fresh:
                return None  # type: ignore[unreachable]  # by now
            return self._pairs(cython.cast(bytes, edge), limit, backward)

    # Compiled only.

    @cython.cfunc
    @cython.inline
    @cython.exceptval(check=False)
    def _unlocked(self) -> cython.bint:
        """Whether nobody is inside a change. Then no lock is needed: a lookup runs to its end without giving another
        thread the chance to begin one."""
        return self.held is not cython.NULL and self.held[0] == 0

    @cython.cfunc
    def _pairs(self, edge: bytes, limit: cython.Py_ssize_t, backward: cython.bint) -> list[tuple[bytes, bytes]] | None:
        """The answer of first_pairs()."""
        size: cython.Py_ssize_t = len(edge)
        data: cython.p_const_uchar = cython.cast(cython.p_const_uchar, PyBytes_AS_STRING(edge))
        generation: cython.Py_ssize_t = self.age.generation
        level: LevelSearch
        table: TableSearch
        slot: BlockSlot
        at: cython.Py_ssize_t
        first: cython.Py_ssize_t
        before: cython.Py_ssize_t = 0
        guess: cython.Py_ssize_t = -1
        bound: object = edge
        pairs: list[tuple[bytes, bytes]] = []
        if len(self.levels) != 1 or len(self.mutable) or len(self.immutable):
            return None
        level = self.levels[0]
        at = _position(level, data, size)
        if at == level.count:
            if not backward:
                return None
            at -= 1
        slot = level.slots[at]
        if slot.generation != generation or slot.table is None:
            return None
        table = cython.cast(TableSearch, slot.table, typecheck=True)
        at = _position(table, data, size)
        if at == table.count and backward:
            at -= 1
        while 0 <= at < table.count:
            slot = table.slots[at]
            if slot.generation != generation or slot.count == 0:
                return None
            if at > 0 and bound is not None:
                guess = place_guessed(table.numbers, at, number_of(data, size, table.skip), slot.count)
            first = pairs_near(
                slot.raw,
                slot.offsets_at,
                slot.count,
                slot.width,
                bound,
                limit - before,
                self.key_size_max,
                backward,
                guess,
                pairs,
            )
            if first < 0 or not _are_those_of(table, at, slot.count, first, pairs, before, backward):
                return None
            before = len(pairs)
            if before == limit:
                self.age.hits += 2
                return pairs
            bound, guess = None, -1
            at += -1 if backward else 1
        return None

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
            return _PERHAPS
        found: object = newest_entry(self.mutable, self.immutable, key)
        if found is not _NOTHING:
            return found if found is None or type(found) is bytes else _PERHAPS
        mark = fingerprint(data, size)
        for i in range(len(self.levels)):
            level = self.levels[i]
            at = _table_of(level, data, size)
            if at < 0:
                continue
            slot = level.slots[at]
            if slot.generation != generation or slot.table is None:
                return _PERHAPS
            table = cython.cast(TableSearch, slot.table, typecheck=True)
            self.age.hits += 1
            at = _position(table, data, size)
            if at >= table.count:
                return _PERHAPS
            entry = _entry_of(table, at, mark, 0)
            if entry < 0:
                continue
            slot = table.slots[at]
            if slot.generation != generation:
                return _PERHAPS
            if stops:
                self.entry = entry
                return slot
            while entry >= 0:
                found = _value_of(slot, entry, key)
                if found is not _NOTHING:
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
                slots[i] = self._walk(key, True) if type(key) is bytes else _PERHAPS
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
                    if result is _NOTHING:
                        result = self._walk(cython.cast(bytes, key), False)
                    else:
                        self.age.hits += 1
                if result is _PERHAPS:
                    places.append(start + i)
                found.append(result)
        return found


@cython.cclass
class QuickReads:
    """Reads in one tree without a step of Python's, as long as nothing but memory is needed. For a Keyspace to inherit,
    which knows the ordinary way."""

    _lookup = cython.declare(TreeLookup, visibility="public")  # that of the tree, once it was asked

    def get(self, key: Any, default: Any = None) -> Any:
        """The value of the key, or `default` when it is absent. Raises DamageError."""
        value: object = self._lookup.get(key)
        if value is _PERHAPS:
            value = self.get_slowly(key)
        return default if value is None else value

    def get_slowly(self, key: bytes) -> bytes | None:
        """get() by the ordinary way."""
        raise NotImplementedError


# Compiled only: loops over bytes, which would be hopeless if interpreted.


@cython.cfunc
@cython.inline
def _value_of(slot: BlockSlot, entry: cython.Py_ssize_t, key: bytes) -> object:
    return value_of(slot.raw, slot.offsets_at, slot.count, slot.width, slot.values_at, entry, key)


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _touch(slot: BlockSlot, entry: cython.Py_ssize_t, offsets_only: cython.bint) -> cython.uint:
    near: cython.uint = touch(slot.raw, slot.offsets_at, slot.count, slot.width, slot.values_at, entry, offsets_only)
    return near


@cython.cfunc
def _are_those_of(
    table: TableSearch,
    block: cython.Py_ssize_t,
    count: cython.Py_ssize_t,
    first: cython.Py_ssize_t,
    pairs: list[tuple[bytes, bytes]],
    start: cython.Py_ssize_t,
    backward: cython.bint,
) -> cython.bint:
    """Whether pairs[start:], out of a block of `count` entries from `first` on, are what the index block says of it: at
    the border of a block its keys must be those of the border."""
    found: cython.Py_ssize_t = len(pairs) - start
    lowest: bytes
    if found > 0 and first == 0:
        lowest = pairs[len(pairs) - 1 if backward else start][0]
        if lowest != table.key_min if block == 0 else lowest <= table.keys[block - 1]:
            return False
    if found > 0 and first + found == count:
        return pairs[start if backward else len(pairs) - 1][0] == table.keys[block]
    return True


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _position(column: SlotColumn, key: cython.p_const_uchar, size: cython.Py_ssize_t) -> cython.Py_ssize_t:
    """The first block whose largest key is not below `key`; `count` when there is none."""
    at: cython.Py_ssize_t = position_of(column.keys, column.numbers, column.skip, key, size)
    return at


@cython.cfunc
@cython.exceptval(check=False)
def _table_of(level: LevelSearch, key: cython.p_const_uchar, size: cython.Py_ssize_t) -> cython.Py_ssize_t:
    """The table that spans the key, -1 when there is none."""
    minima: cython.p_const_ulonglong = cython.cast(cython.p_const_ulonglong, PyBytes_AS_STRING(level.minima))
    number: cython.ulonglong
    at: cython.Py_ssize_t = _position(level, key, size)
    if at == level.count:
        return -1
    if at > 0:  # then the key shares what all of them do
        number = number_of(key, size, level.skip)
        if minima[at] != number:
            return at if minima[at] < number else -1
    return at if order_of(level.key_mins, at, key, size) <= 0 else -1


@cython.cfunc
@cython.exceptval(check=False)
def _entry_of(
    table: TableSearch, block: cython.Py_ssize_t, mark: cython.ushort, entry: cython.Py_ssize_t
) -> cython.Py_ssize_t:
    """The first entry of the block, from this one on, whose fingerprint is `mark`; -1 when there is none."""
    starts: cython.p_const_uint = cython.cast(cython.p_const_uint, PyBytes_AS_STRING(table.starts_packed))
    column: cython.p_const_uchar = cython.cast(cython.p_const_uchar, PyBytes_AS_STRING(table.raw)) + starts[block]
    count: cython.Py_ssize_t = (cython.cast(cython.Py_ssize_t, starts[block + 1]) - starts[block]) >> 1
    found: cython.Py_ssize_t = find_fingerprint(column, count, mark, entry)
    return found


if not cython.compiled:
    interpret(BlockSlot, LevelSearch, TableSearch, TreeLookup)

if not (TYPE_CHECKING or COMPILED or PURE):
    # The compiled classes take the place of those above, all of them or none.
    with suppress(ImportError):
        from lsmcli.engine._lookup import (  # noqa: F401, I001
            BlockSlot, CacheAge, LevelSearch, QuickReads, SlotColumn, TableSearch, TreeLookup, COMPILED,
        )  # fmt: skip
