# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The entries of a memory table by key, in the order in which the keys came: a dictionary that never pauses.

A dict grows by being copied as a whole: 10 ms at 350,000 entries, for the one put that happens to need it. Compiled,
the entries of a memory table are an EntryMap instead, of which no step costs more than some 10 µs:

    hash of the key   | 8 bits: part |     | 32 bits: tag |
                            |                   '- where to look first in the part, and what to compare
    part 17           [ - | tag, 5 | - | tag, 2 | ... ]      open addressing, at most two thirds full
                                 '-> position
    chunks            [ key value | key value | ... 4096 ] [ key value | ... ]

Invariants:
- entries lie in chunks in the order in which their keys came first; a chunk never moves, so to append is no copy;
- each part holds the positions of the keys whose hash begins with its number, and grows by itself: 256 growths of
  little each, at different times;
- nothing that can be seen depends on a hash, which is another one in each process;
- keys are bytes; values are bytes, None, or a reference to a chain: no cycle can go through them. So the garbage
  collector has nothing to look at here, as with a dict of such entries.

Interpreted, entries are a dict: nothing else would be as quick there. The functions of this module do on either what
the two do not do alike.

Compiled where a C compiler was at hand, see docs/internals/hot_loops.md; times are of compiled code.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from lsmcli.engine import uncompiled as cython
from lsmcli.engine.missing import MISSING
from lsmcli.engine.uncompiled import PURE

if cython.compiled:
    import cython  # type: ignore[no-redef]  # seen by the compiler alone, for which it is no module
    from cython.cimports.cpython.bytes import PyBytes_AS_STRING
    from cython.cimports.cpython.ref import Py_DECREF, Py_INCREF
    from cython.cimports.libc.stdlib import calloc, free, malloc, realloc
    from cython.cimports.libc.string import memcmp

COMPILED: Final = bool(cython.compiled)

# What both forms can do like a dict: len, in, [] of what is there, get, update, keys, values, items, ==.
Entries: TypeAlias = dict[bytes, Any]

_PARTS = cython.declare(cython.Py_ssize_t, 256)
_PART_SHIFT = cython.declare(cython.Py_ssize_t, 56)
# A part: its mask, its count, then its slots, each of them 0 or tag << 32 | position + 1.
_PART_HEAD = cython.declare(cython.Py_ssize_t, 2)
_PART_SLOTS_MIN = cython.declare(cython.Py_ssize_t, 8)
_CHUNK_SHIFT = cython.declare(cython.Py_ssize_t, 12)
_CHUNK = cython.declare(cython.Py_ssize_t, 1 << 12)  # entries
_LOW = cython.declare(cython.ulonglong, 0xFFFFFFFF)
_NOTHING = cython.declare(object, MISSING)  # a global of C is nearer than one of the module


@cython.final
@cython.cclass
class EntryMap:  # noqa: PLW1641  # like a dict, it has no hash
    """Compiled only; made by entries_new(). Like a dict, but [] says MISSING where there is nothing."""

    _count: cython.Py_ssize_t
    _chunks: cython.ppp_void
    _chunk_count: cython.Py_ssize_t
    _parts: cython.pp_ulonglong
    _parts_dropped: cython.Py_ssize_t  # above 0: the map is taken apart, and nothing is found in it any more

    def __dealloc__(self) -> None:
        i: cython.Py_ssize_t
        self._shrink(0)
        for i in range(self._chunk_count):
            free(self._chunks[i])
        free(self._chunks)
        if self._parts is not cython.NULL:
            for i in range(_PARTS):
                free(self._parts[i])
        free(self._parts)

    def __len__(self) -> int:
        return self._count

    def __contains__(self, key: bytes) -> bool:
        return self._find(key, hash(key)) >= 0

    def __getitem__(self, key: bytes) -> Any:
        if self._count == 0:
            return _NOTHING  # without the hash, which costs more than a look at the levels' edges
        position: cython.Py_ssize_t = self._find(key, hash(key))
        return _NOTHING if position < 0 else cython.cast(object, self._at(position)[1])

    def __setitem__(self, key: bytes, value: Any) -> None:
        self._put(key, value)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.keys())

    def __eq__(self, other: object) -> bool:
        return dict(self.items()) == (dict(other.items()) if isinstance(other, EntryMap) else other)

    def __repr__(self) -> str:
        return repr(dict(self.items()))

    def get(self, key: bytes, default: Any = None) -> Any:
        """As of a dict."""
        position: cython.Py_ssize_t = self._find(key, hash(key))
        return default if position < 0 else cython.cast(object, self._at(position)[1])

    def keys(self) -> list[bytes]:
        """All keys, in order of first insertion."""
        return self._column(0, self._count, 0)

    def values(self) -> list[Any]:
        """The values of keys()."""
        return self._column(0, self._count, 1)

    def items(self) -> Iterator[tuple[bytes, Any]]:
        """keys() and values() in pairs."""
        return zip(self.keys(), self.values(), strict=True)

    def update(self, pairs: Iterable[tuple[bytes, Any]]) -> None:
        """As of a dict, of pairs alone."""
        for key, value in pairs:
            self._put(key, value)

    @cython.cfunc
    @cython.inline
    @cython.exceptval(check=False)
    def _at(self, position: cython.Py_ssize_t) -> cython.pp_void:
        """Where the key of this position is, and behind it the value."""
        chunk: cython.pp_void = self._chunks[position >> _CHUNK_SHIFT]
        return cython.address(chunk[2 * (position & (_CHUNK - 1))])

    @cython.cfunc
    @cython.exceptval(check=False)
    def _find(self, key: bytes, hashed: cython.ulonglong) -> cython.Py_ssize_t:
        """The position of the key, or -1."""
        if self._count == 0 or self._parts_dropped:
            return -1
        part: cython.p_ulonglong = self._parts[hashed >> _PART_SHIFT]
        if part is cython.NULL:
            return -1
        tag: cython.ulonglong = (hashed >> 16) & _LOW
        mask: cython.ulonglong = part[0]
        at: cython.ulonglong = tag & mask
        word: cython.ulonglong = part[_PART_HEAD + at]
        size: cython.Py_ssize_t = len(key)
        position: cython.Py_ssize_t
        entry: cython.pp_void
        while word:
            if word >> 32 == tag:
                position = cython.cast(cython.Py_ssize_t, word & _LOW) - 1
                entry = self._at(position)
                if entry[0] == cython.cast(cython.p_void, key) or (
                    len(cython.cast(bytes, entry[0])) == size
                    and memcmp(PyBytes_AS_STRING(cython.cast(bytes, entry[0])), PyBytes_AS_STRING(key), size) == 0
                ):
                    return position
            at = (at + 1) & mask
            word = part[_PART_HEAD + at]
        return -1

    @cython.cfunc
    def _put(self, key: bytes, value: object) -> object:
        hashed: cython.ulonglong = hash(key)
        position: cython.Py_ssize_t = self._find(key, hashed)
        entry: cython.pp_void
        old: cython.p_void
        if position >= 0:
            entry = self._at(position)
            old = entry[1]
            Py_INCREF(value)
            entry[1] = cython.cast(cython.p_void, value)
            Py_DECREF(cython.cast(object, old))
            return None
        # Memory first, so that an error changes nothing.
        part: cython.p_ulonglong = self._part_with_room(hashed >> _PART_SHIFT)
        if self._count == self._chunk_count << _CHUNK_SHIFT:
            self._chunk_new()
        Py_INCREF(key)
        Py_INCREF(value)
        entry = self._at(self._count)
        entry[0] = cython.cast(cython.p_void, key)
        entry[1] = cython.cast(cython.p_void, value)
        self._count += 1
        _insert(part, ((hashed >> 16) << 32) | cython.cast(cython.ulonglong, self._count))
        part[1] += 1
        return None

    @cython.cfunc
    def _part_with_room(self, number: cython.Py_ssize_t) -> cython.p_ulonglong:
        """The part, with room for one more slot. MemoryError."""
        i: cython.Py_ssize_t
        assert self._parts_dropped == 0 and self._count < 0xFFFF_FFFF
        if self._parts is cython.NULL:
            self._parts = cython.cast(cython.pp_ulonglong, calloc(_PARTS, cython.sizeof(cython.p_ulonglong)))
            if self._parts is cython.NULL:
                raise MemoryError
        part: cython.p_ulonglong = self._parts[number]
        slots: cython.Py_ssize_t = _PART_SLOTS_MIN
        if part is not cython.NULL:
            slots = part[0] + 1
            if 3 * (part[1] + 1) <= 2 * cython.cast(cython.ulonglong, slots):
                return part
            slots *= 2
        grown: cython.p_ulonglong = cython.cast(
            cython.p_ulonglong, calloc(_PART_HEAD + slots, cython.sizeof(cython.ulonglong))
        )
        if grown is cython.NULL:
            raise MemoryError
        grown[0] = slots - 1
        if part is not cython.NULL:
            grown[1] = part[1]
            for i in range(slots >> 1):
                if part[_PART_HEAD + i]:
                    _insert(grown, part[_PART_HEAD + i])
            free(part)
        self._parts[number] = grown
        return grown

    @cython.cfunc
    def _chunk_new(self) -> object:
        count: cython.Py_ssize_t = self._chunk_count
        if count & (count - 1) == 0:
            room: cython.size_t = max(2 * count, 1) * cython.sizeof(cython.pp_void)
            table: cython.ppp_void = cython.cast(cython.ppp_void, realloc(self._chunks, room))
            if table is cython.NULL:
                raise MemoryError
            self._chunks = table
        chunk: cython.pp_void = cython.cast(cython.pp_void, malloc(2 * _CHUNK * cython.sizeof(cython.p_void)))
        if chunk is cython.NULL:
            raise MemoryError
        self._chunks[count] = chunk
        self._chunk_count += 1
        return None

    @cython.cfunc
    def _column(self, start: cython.Py_ssize_t, stop: cython.Py_ssize_t, which: cython.Py_ssize_t) -> list[Any]:
        """The keys (which = 0) or the values (1) of these positions."""
        i: cython.Py_ssize_t
        column: list[Any] = []
        for i in range(start, min(stop, self._count)):
            column.append(cython.cast(object, self._at(i)[which]))  # noqa: PERF401  # in a comprehension i is no number of C
        return column

    @cython.cfunc
    @cython.exceptval(check=False)
    def _shrink(self, count: cython.Py_ssize_t) -> cython.void:
        """Lets go of the entries behind so many, and of their chunks."""
        entry: cython.pp_void
        while self._count > count:
            self._count -= 1
            entry = self._at(self._count)
            Py_DECREF(cython.cast(object, entry[0]))
            Py_DECREF(cython.cast(object, entry[1]))
            if self._count & (_CHUNK - 1) == 0:
                self._chunk_count -= 1
                free(self._chunks[self._chunk_count])

    @cython.cfunc
    def _drop_last(self, count: cython.Py_ssize_t) -> object:
        """As drop_last(); one part goes with each call, since to free large pieces takes time as well."""
        if self._parts_dropped < _PARTS and self._parts is not cython.NULL:
            free(self._parts[self._parts_dropped])
            self._parts[self._parts_dropped] = cython.NULL
            self._parts_dropped += 1
        self._shrink(max(0, self._count - count))
        return None

    @cython.cfunc
    def _remove_all(self, gone: set[bytes]) -> object:
        """As remove_all(): puts the others into a map of their own, and takes over what that holds."""
        key: object
        value: object
        kept: EntryMap = EntryMap()
        for key, value in self.items():
            if key not in gone:
                kept._put(key, value)
        self._count, kept._count = kept._count, self._count
        self._chunks, kept._chunks = kept._chunks, self._chunks
        self._chunk_count, kept._chunk_count = kept._chunk_count, self._chunk_count
        self._parts, kept._parts = kept._parts, self._parts
        return None


@cython.cfunc
def newest_entry(newer: Any, older: Any, key: bytes) -> object:
    """What the newer of two maps that has the key says of it; MISSING when none has. For compiled code alone."""
    if type(newer) is not EntryMap or type(older) is not EntryMap:
        return newer.get(key, older.get(key, _NOTHING))  # dicts
    new: EntryMap = cython.cast(EntryMap, newer)
    old: EntryMap = cython.cast(EntryMap, older)
    hashed: cython.ulonglong
    position: cython.Py_ssize_t
    if new._count == 0 and old._count == 0:
        return _NOTHING  # without the hash, which costs more than a look at the levels' edges
    hashed = hash(key)
    position = new._find(key, hashed)
    if position >= 0:
        return cython.cast(object, new._at(position)[1])
    position = old._find(key, hashed)
    return _NOTHING if position < 0 else cython.cast(object, old._at(position)[1])


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _insert(part: cython.p_ulonglong, word: cython.ulonglong) -> cython.void:
    """A slot that the part does not have, and has room for."""
    mask: cython.ulonglong = part[0]
    at: cython.ulonglong = (word >> 32) & mask
    while part[_PART_HEAD + at]:
        at = (at + 1) & mask
    part[_PART_HEAD + at] = word


def entries_new() -> Entries:
    """An empty map."""
    return EntryMap() if cython.compiled else {}  # type: ignore[return-value]  # as good as one


def entries_between(entries: Entries, start: int, stop: int) -> tuple[list[bytes], list[Any]]:
    """The keys at 0 <= start <= stop, in order of first insertion, and their values. Interpreted O(stop)."""
    if cython.compiled and type(entries) is not dict:
        return (
            cython.cast(EntryMap, entries, typecheck=True)._column(start, stop, 0),
            cython.cast(EntryMap, entries, typecheck=True)._column(start, stop, 1),
        )
    return list(islice(entries, start, stop)), list(islice(entries.values(), start, stop))


def keys_since(entries: Entries, count: int) -> list[bytes]:
    """The keys that came behind the first `count`, in any order. O(result)."""
    if cython.compiled and type(entries) is not dict:
        keys: list[bytes] = cython.cast(EntryMap, entries, typecheck=True)._column(count, len(entries), 0)
        return keys
    return list(islice(reversed(entries), max(0, len(entries) - count)))


def values_of(entries: Entries, keys: list[bytes]) -> list[Any]:
    """The values of keys that are there."""
    if cython.compiled:
        return [entries[key] for key in keys]
    return list(map(entries.__getitem__, keys))


def remove_all(entries: Entries, keys: list[bytes]) -> None:
    """Removes keys that are there. Compiled O(len(entries))."""
    if cython.compiled and type(entries) is not dict:
        cython.cast(EntryMap, entries, typecheck=True)._remove_all(set(keys))
        return
    for key in keys:
        del entries[key]


def drop_last(entries: Entries, count: int) -> None:
    """Lets go of up to so many entries, whichever they are. Nobody may look for a key or put one from then on."""
    if cython.compiled and type(entries) is not dict:
        cython.cast(EntryMap, entries, typecheck=True)._drop_last(count)
        return
    for _ in range(min(count, len(entries))):
        entries.popitem()


if not (TYPE_CHECKING or COMPILED or PURE):
    # The compiled functions take the place of those above, all of them or none.
    with suppress(ImportError):
        from lsmcli.engine._entry_map import (  # noqa: F401, I001
            EntryMap, entries_new, entries_between, keys_since, values_of, remove_all, drop_last, COMPILED,
        )  # fmt: skip
