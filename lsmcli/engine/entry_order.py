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

from contextlib import suppress
from itertools import compress, islice
from operator import eq, itemgetter, not_
from typing import TYPE_CHECKING, Any, Final

from lsmcli.engine import uncompiled as cython
from lsmcli.engine.uncompiled import PURE

if cython.compiled:
    import cython  # type: ignore[no-redef]
    from cython.cimports.cpython.mem import PyMem_Free, PyMem_Malloc
    from cython.cimports.libc.string import memcmp, memcpy, memset

COMPILED: Final = bool(cython.compiled)

Entries = tuple[list[bytes], list[Any], bytes]


def sort_entries(keys: list[bytes], values: list[Any], flags: bytes) -> tuple[list[bytes], list[Any], bytes, list[int]]:
    """Entries in arrival order, sorted by key; of equal keys the last one wins.

    Returns (keys, values, flags, places of the entries that lost, in the order of their keys). Values may be any
    objects.
    0.1 … 0.2 µs per entry, less when they come sorted; interpreted 0.5 … 1.
    """
    assert len(keys) == len(values) == len(flags)
    if cython.compiled:
        return _sort_entries(keys, values, flags)
    newest = dict(zip(keys, range(len(keys)), strict=True))  # of each key the place of the last entry
    keys_sorted = sorted(newest)
    order = list(map(newest.__getitem__, keys_sorted))
    lost: list[int] = []
    if len(order) < len(keys):
        lost = sorted(set(range(len(keys))).difference(order))
        lost.sort(key=keys.__getitem__)
    flags_sorted = bytes(map(flags.__getitem__, order)) if flags.count(0) < len(flags) else bytes(len(order))
    return keys_sorted, list(map(values.__getitem__, order)), flags_sorted, lost


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
def _sort_entries(
    keys: list[bytes], values: list[Any], flags: bytes
) -> tuple[list[bytes], list[Any], bytes, list[int]]:
    count: cython.Py_ssize_t = len(keys)
    i: cython.Py_ssize_t
    key: bytes
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
        return _gather(keys, values, flags, places)
    finally:
        PyMem_Free(memory)


@cython.cfunc
def _gather(
    keys: list[bytes], values: list[Any], flags: bytes, places: cython.p_uint
) -> tuple[list[bytes], list[Any], bytes, list[int]]:
    """The entries at these places, in their order; of equal keys, which follow each other, the last one."""
    count: cython.Py_ssize_t = len(keys)
    i: cython.Py_ssize_t
    key: bytes
    key_next: bytes
    kept_keys: list[bytes] = []
    kept_values: list[Any] = []
    lost: list[int] = []
    kept_flags: bytearray = bytearray(count)
    flags_in: cython.p_const_uchar = flags
    flags_out: cython.p_uchar = kept_flags
    kept: cython.Py_ssize_t = 0
    for i in range(count):
        key = keys[places[i]]
        if i + 1 < count:
            key_next = keys[places[i + 1]]
            if _compare(key, len(key), key_next, len(key_next)) == 0:
                lost.append(places[i])
                continue
        kept_keys.append(key)
        kept_values.append(values[places[i]])
        flags_out[kept] = flags_in[places[i]]
        kept += 1
    return kept_keys, kept_values, bytes(kept_flags[:kept]), lost


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
    with suppress(ImportError):  # not built on this machine
        from lsmcli.engine._entry_order import merge_entries, sort_entries, COMPILED  # noqa: F401, I001
