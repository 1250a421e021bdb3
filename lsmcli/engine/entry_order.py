# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
r"""Sorting and merging of entries: parallel lists of keys and values, and a byte of flags for each (see columns).

    sort_entries    b c a b         merge_entries    newer  b d
                    1 2 3 4                          older  a b c
                ->  a b c     lost: place 0      ->  keys   a b c d    lost: place 1 of older
                    3 4 2                            from   o n o n

Invariants:
- no function changes its arguments, or keeps them;
- the interpreted and the compiled branch of a function give the same answer.

Compiled where a C compiler was at hand, see docs/internals/hot_loops.md; times are of compiled code.
"""

from __future__ import annotations

from array import array
from contextlib import suppress
from itertools import compress, islice
from operator import eq, itemgetter, not_
from typing import TYPE_CHECKING, Any, Final

from lsmcli.engine import uncompiled as cython
from lsmcli.engine.uncompiled import PURE

if cython.compiled:
    import cython  # type: ignore[no-redef]  # seen by the compiler alone, for which it is no module
    from cython.cimports.cpython.mem import PyMem_Free, PyMem_Malloc
    from cython.cimports.libc.string import memcmp, memcpy, memset

COMPILED: Final = bool(cython.compiled)

Entries = tuple[list[bytes], list[Any], bytes]


def sort_order(keys: list[bytes]) -> tuple[bytes, list[int]]:
    """The places of the keys in ascending order, of equal keys only the last one; and the places of the others, in
    the order of their keys. The first as numbers of four bytes, as the machine has them: see gather_entries().

    0.1 µs per key, less when they come sorted; interpreted 0.5.
    """
    if cython.compiled:
        return _sort_order(keys)
    newest = dict(zip(keys, range(len(keys)), strict=True))  # of each key the place of the last entry
    order = array("I", map(newest.__getitem__, sorted(newest)))
    lost: list[int] = []
    if len(order) < len(keys):
        lost = sorted(set(range(len(keys))).difference(order))
        lost.sort(key=keys.__getitem__)
    return order.tobytes(), lost


def gather_entries(
    keys: list[bytes], values: list[Any], flags: bytes, order: bytes, start: int, stop: int
) -> tuple[list[bytes], list[Any], bytes]:
    """The entries at the places order[start:stop] of what sort_order() has given for these keys."""
    assert len(keys) == len(values) == len(flags) and 0 <= start <= stop <= len(order) // 4
    if cython.compiled:
        return _gather(keys, values, flags, order, start, stop)
    places = memoryview(order).cast("I")[start:stop]
    return (
        list(map(keys.__getitem__, places)),
        list(map(values.__getitem__, places)),
        bytes(map(flags.__getitem__, places)) if flags.count(0) < len(flags) else bytes(stop - start),
    )


def sort_entries(keys: list[bytes], values: list[Any], flags: bytes) -> tuple[list[bytes], list[Any], bytes, list[int]]:
    """Entries in arrival order, sorted by key; of equal keys the last one wins.

    Returns (keys, values, flags, places of the entries that lost, in the order of their keys). Values may be any
    objects.
    0.1 … 0.2 µs per entry, less when they come sorted; interpreted 0.5 … 1.
    """
    assert len(keys) == len(values) == len(flags)
    order, lost = sort_order(keys)
    return *gather_entries(keys, values, flags, order, 0, len(order) // 4), lost


def merge_entries(newer: Entries, older: Entries) -> tuple[list[bytes], list[Any], bytes, list[int]]:
    """One ascending run out of two ascending ones; of equal keys the newer entry wins.

    Returns (keys, values, flags, places in `older` of the entries that lost). 0.03 µs per entry, interpreted 0.4.
    """
    if cython.compiled:
        return _merge_entries(newer[0], newer[1], newer[2], older[0], older[1], older[2])
    keys_all = newer[0] + older[0]
    if len(keys_all) < 2:
        return keys_all, newer[1] + older[1], newer[2] + older[2], []
    # Sorting positions by key is a merge: the sort finds the two runs. It is stable, so of two equal keys
    # the newer one, whose position is lower, comes first.
    order = sorted(range(len(keys_all)), key=keys_all.__getitem__)
    gather = itemgetter(*order)
    keys = list(gather(keys_all))
    values = list(gather(newer[1] + older[1]))
    flags = bytes(gather(newer[2] + older[2]))
    repeats = list(map(eq, keys, islice(keys, 1, None)))  # entry i + 1 repeats the key of entry i
    if True not in repeats:
        return keys, values, flags, []
    lost = [i - len(newer[0]) for i in compress(islice(order, 1, None), repeats)]
    kept = [True, *map(not_, repeats)]
    return list(compress(keys, kept)), list(compress(values, kept)), bytes(compress(flags, kept)), lost


# Compiled only: loops over bytes, which would be hopeless if interpreted.


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _compare(
    a: cython.p_const_uchar, a_size: cython.Py_ssize_t, b: cython.p_const_uchar, b_size: cython.Py_ssize_t
) -> cython.Py_ssize_t:
    """Negative, 0 or positive, as a is below, equal to or above b."""
    order: cython.Py_ssize_t = memcmp(a, b, min(a_size, b_size))
    if order == 0:
        order = (a_size > b_size) - (a_size < b_size)
    return order


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _prefix(key: cython.p_const_uchar, size: cython.Py_ssize_t, depth: cython.Py_ssize_t) -> cython.ulonglong:
    """Seven bytes of the key from `depth` on, and how many bytes there are, at most 8: numbers in the order of keys.

    Of equal numbers that end in less than 8 the keys are equal from `depth` on; so depth = 0:
    "a" = 61000000000000_01, "a\\0" = 61000000000000_02, "abcdefgh" and "abcdefgx" = 61626364656667_08.
    """
    i: cython.Py_ssize_t
    number: cython.ulonglong = 0
    left: cython.Py_ssize_t = size - depth
    if left >= 8:
        for i in range(7):
            number = (number << 8) | key[depth + i]
        return (number << 8) | 8
    for i in range(7):
        number <<= 8
        if i < left:
            number |= key[depth + i]
    return (number << 8) | left


@cython.cfunc
def _sort_order(keys: list[bytes]) -> tuple[bytes, list[int]]:
    count: cython.Py_ssize_t = len(keys)
    i: cython.Py_ssize_t
    kept: cython.Py_ssize_t = 0
    key: bytes
    key_next: bytes
    lost: list[int] = []
    for i in range(count):
        key = keys[i]
        if key is None:
            raise TypeError("a key is not bytes")
    # Two arrays of prefixes and two of places: the sort goes back and forth between them.
    memory: cython.p_uchar = cython.cast(cython.p_uchar, PyMem_Malloc(24 * count + 8))
    if memory == cython.NULL:
        raise MemoryError
    prefixes: cython.p_ulonglong = cython.cast(cython.p_ulonglong, memory)
    places: cython.p_uint = cython.cast(cython.p_uint, memory + 16 * count)
    try:
        for i in range(count):
            places[i] = i
        _sort_range(keys, 0, count, 0, prefixes, prefixes + count, places, places + count)
        for i in range(count):
            # Equal keys have equal prefixes, so nearly all keys need not be looked at again, which would cost more.
            if i + 1 < count and prefixes[i] == prefixes[i + 1]:
                key = keys[places[i]]
                key_next = keys[places[i + 1]]
                if _compare(key, len(key), key_next, len(key_next)) == 0:
                    lost.append(places[i])
                    continue
            places[kept] = places[i]
            kept += 1
        return cython.cast(cython.p_uchar, places)[: 4 * kept], lost
    finally:
        PyMem_Free(memory)


@cython.cfunc
def _gather(
    keys: list[bytes],
    values: list[Any],
    flags: bytes,
    order: bytes,
    start: cython.Py_ssize_t,
    stop: cython.Py_ssize_t,
) -> tuple[list[bytes], list[Any], bytes]:
    count: cython.Py_ssize_t = len(keys)
    i: cython.Py_ssize_t
    place: cython.Py_ssize_t
    places: cython.p_const_uint = cython.cast(cython.p_const_uint, cython.cast(cython.p_const_uchar, order))
    some_keys: list[bytes] = []
    some_values: list[Any] = []
    some_flags: bytearray = bytearray(stop - start)
    flags_in: cython.p_const_uchar = flags
    flags_out: cython.p_uchar = some_flags
    for i in range(start, stop):
        place = places[i]
        if place >= count:
            raise IndexError("an order of other keys")
        some_keys.append(keys[place])
        some_values.append(values[place])
        flags_out[i - start] = flags_in[place]
    return some_keys, some_values, bytes(some_flags)


@cython.cfunc
def _sort_range(
    keys: list[bytes],
    start: cython.Py_ssize_t,
    stop: cython.Py_ssize_t,
    depth: cython.Py_ssize_t,
    prefixes: cython.p_ulonglong,
    prefixes_spare: cython.p_ulonglong,
    places: cython.p_uint,
    places_spare: cython.p_uint,
) -> None:
    """Sorts places[start:stop] by their keys, which share their first `depth` bytes; equal keys keep their order."""
    i: cython.Py_ssize_t
    run: cython.Py_ssize_t
    key: bytes
    ascending: cython.bint = True
    depth = _shared(keys, start, stop, depth, places)
    for i in range(start, stop):
        key = keys[places[i]]
        prefixes[i] = _prefix(key, len(key), depth)
        if i > start and prefixes[i] < prefixes[i - 1]:
            ascending = False
    if not ascending:
        if stop - start <= 64:  # too few for the histograms to pay
            _sort_by_insertion(start, stop, prefixes, places)
        else:
            _sort_by_digits(start, stop, prefixes, prefixes_spare, places, places_spare)
    run = start
    for i in range(start + 1, stop + 1):
        if i == stop or prefixes[i] != prefixes[run]:
            if i - run > 1 and prefixes[run] & 0xFF == 8:
                _sort_range(keys, run, i, depth + 7, prefixes, prefixes_spare, places, places_spare)
            run = i


@cython.cfunc
def _shared(
    keys: list[bytes],
    start: cython.Py_ssize_t,
    stop: cython.Py_ssize_t,
    depth: cython.Py_ssize_t,
    places: cython.p_uint,
) -> cython.Py_ssize_t:
    """How many bytes all keys at places[start:stop] share at their beginning; at least `depth`."""
    i: cython.Py_ssize_t
    key: bytes
    first: bytes
    size: cython.Py_ssize_t
    if start == stop:
        return depth
    first = keys[places[start]]
    a: cython.p_const_uchar = first
    b: cython.p_const_uchar
    shared: cython.Py_ssize_t = len(first)
    for i in range(start + 1, stop):
        if shared == depth:
            break
        key = keys[places[i]]
        b = key
        shared = min(shared, len(key))
        size = depth
        while size < shared and a[size] == b[size]:
            size += 1
        shared = size
    return shared


@cython.cfunc
def _sort_by_insertion(
    start: cython.Py_ssize_t, stop: cython.Py_ssize_t, prefixes: cython.p_ulonglong, places: cython.p_uint
) -> None:
    i: cython.Py_ssize_t
    at: cython.Py_ssize_t
    prefix: cython.ulonglong
    place: cython.uint
    for i in range(start + 1, stop):
        prefix = prefixes[i]
        place = places[i]
        at = i
        while at > start and prefixes[at - 1] > prefix:
            prefixes[at] = prefixes[at - 1]
            places[at] = places[at - 1]
            at -= 1
        prefixes[at] = prefix
        places[at] = place


@cython.cfunc
def _sort_by_digits(
    start: cython.Py_ssize_t,
    stop: cython.Py_ssize_t,
    prefixes: cython.p_ulonglong,
    prefixes_spare: cython.p_ulonglong,
    places: cython.p_uint,
    places_spare: cython.p_uint,
) -> None:
    """A radix sort from the last byte of the prefixes to the first; bytes that all of them share are passed over."""
    i: cython.Py_ssize_t
    digit: cython.uint
    value: cython.uint
    at: cython.uint
    ends: cython.p_uint
    prefixes_from: cython.p_ulonglong = prefixes
    places_from: cython.p_uint = places
    counts: cython.p_uint = cython.cast(cython.p_uint, PyMem_Malloc(8 * 256 * 4))
    if counts == cython.NULL:
        raise MemoryError
    memset(counts, 0, 8 * 256 * 4)
    for i in range(start, stop):
        for digit in range(8):
            counts[(digit << 8) | ((prefixes[i] >> (8 * digit)) & 0xFF)] += 1
    for digit in range(8):
        ends = counts + (digit << 8)
        if ends[(prefixes_from[start] >> (8 * digit)) & 0xFF] == stop - start:
            continue
        at = start
        for value in range(256):
            at += ends[value]
            ends[value] = at - ends[value]
        for i in range(start, stop):
            value = (prefixes_from[i] >> (8 * digit)) & 0xFF
            prefixes_spare[ends[value]] = prefixes_from[i]
            places_spare[ends[value]] = places_from[i]
            ends[value] += 1
        prefixes_from, prefixes_spare = prefixes_spare, prefixes_from
        places_from, places_spare = places_spare, places_from
    PyMem_Free(counts)
    if prefixes_from != prefixes:
        memcpy(prefixes + start, prefixes_from + start, (stop - start) * 8)
        memcpy(places + start, places_from + start, (stop - start) * 4)


@cython.cfunc
def _merge_entries(
    keys_a: list[bytes], values_a: list[Any], flags_a: bytes, keys_b: list[bytes], values_b: list[Any], flags_b: bytes
) -> tuple[list[bytes], list[Any], bytes, list[int]]:
    """a is the newer run."""
    count_a: cython.Py_ssize_t = len(keys_a)
    count_b: cython.Py_ssize_t = len(keys_b)
    i: cython.Py_ssize_t = 0
    j: cython.Py_ssize_t = 0
    out: cython.Py_ssize_t = 0
    order: cython.Py_ssize_t
    a: bytes
    b: bytes
    keys: list[bytes] = []
    values: list[Any] = []
    lost: list[int] = []
    flags: bytearray = bytearray(count_a + count_b)
    flags_out: cython.p_uchar = flags
    marks_a: cython.p_const_uchar = flags_a
    marks_b: cython.p_const_uchar = flags_b
    assert len(values_a) == len(flags_a) == count_a
    assert len(values_b) == len(flags_b) == count_b
    if count_a and count_b:
        a = keys_a[0]
        b = keys_b[0]
        while True:
            order = _compare(a, len(a), b, len(b))
            if order <= 0:
                if order == 0:
                    lost.append(j)
                    j += 1
                keys.append(a)
                values.append(values_a[i])
                flags_out[out] = marks_a[i]
                i += 1
            else:
                keys.append(b)
                values.append(values_b[j])
                flags_out[out] = marks_b[j]
                j += 1
            out += 1
            if i == count_a or j == count_b:
                break
            if order <= 0:
                a = keys_a[i]
            if order >= 0:
                b = keys_b[j]
    keys += keys_a[i:] if i < count_a else keys_b[j:]
    values += values_a[i:] if i < count_a else values_b[j:]
    return keys, values, bytes(flags[:out]) + (flags_a[i:] if i < count_a else flags_b[j:]), lost


if not (TYPE_CHECKING or COMPILED or PURE):
    # The compiled functions take the place of those above; without them, on a machine where they were not built,
    # those above stay. What is imported is used by the importers of this module.
    with suppress(ImportError):
        from lsmcli.engine._entry_order import (  # noqa: F401, I001
            gather_entries, merge_entries, sort_entries, sort_order, COMPILED,
        )  # fmt: skip
