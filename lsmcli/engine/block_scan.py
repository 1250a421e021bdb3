# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
r"""Scans over entries in order: the few entries next to a key in a value block, and the merge of several runs.

    entries_near    block  a c e g i    bound d, limit 2    forward   e g        backward    a c
    merge_runs      runs   [b d] [a b c e]    newest first  ->  a b c d,   and e is left for the next time

Invariants:
- no function changes its arguments, or keeps them;
- the interpreted and the compiled branch of merge_runs() give the same answer;
- what comes from a disk is never read beyond its end: a function that meets an offset that cannot be right
  answers None, and its caller finds out what is wrong with the block, and raises.

Compiled where a C compiler was at hand, see docs/internals/hot_loops.md; times are of compiled code.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from lsmcli.engine import uncompiled as cython
from lsmcli.engine.uncompiled import PURE

if cython.compiled:
    import cython  # type: ignore[no-redef]  # seen by the compiler alone, for which it is no module
    from cython.cimports.cpython.bytes import PyBytes_AS_STRING
    from cython.cimports.cpython.mem import PyMem_Free, PyMem_Malloc
    from cython.cimports.libc.string import memcmp

COMPILED: Final = bool(cython.compiled)

# More runs than any scan has: two memory tables and seven levels.
RUNS_MAX: Final = 16

_TOMBSTONE: Final = 1  # schema.FLAG_TOMBSTONE

Run = tuple[list[bytes], list[Any], bytes]


def entries_near(
    raw: bytes,
    at: int,
    count: int,
    width: int,
    bound: Any,
    limit: int,
    key_size_max: int,
    backward: bool = False,
) -> tuple[list[bytes], list[bytes], bytes, int] | None:
    """(keys, values, flags, place of the first) of the first `limit` entries that are not below `bound`, backward of
    the last ones that are below it; without a bound the first or the last of all. In ascending order either way.

    raw[at:] is what entry_pack.pack_entries() gave for `count` entries. None unless every offset that is used lies
    within its column, the keys that are given out ascend and are 1 … key_size_max bytes long, and the bound is bytes.
    Interpreted always None: the caller's own way is as quick. O(log count + limit): 0.6 µs and 0.06 per entry.
    """
    assert width in (2, 4) and 0 <= limit and 0 <= count and 0 <= at
    if cython.compiled:
        return _entries_near(raw, at, count, width, bound, limit, key_size_max, backward)
    return None


def bisect_entries(raw: bytes, at: int, count: int, width: int, key: Any) -> int:
    """The first entry whose key is not below `key`, `count` when there is none; of the block that entries_near() is
    told of. -1 where that answers None. O(log count), 0.3 µs.
    """
    assert width in (2, 4) and 0 <= count and 0 <= at
    if cython.compiled:
        return _bisect_entries(raw, at, count, width, key)
    return -1


def runs_at_hand(
    levels: Sequence[Any],
    cached: Callable[..., Any],
    kinds: tuple[Any, Any],
    edge: bytes,
    limit: int,
    key_size_max: int,
    backward: bool = False,
) -> list[Run] | None:
    """Of each level the first `limit` entries that are not below the edge, backward the last ones that are below it,
    tombstones included; levels without any are left out. The levels are ManifestLevels, newest first; cached: of the
    block cache; kinds: of an index block and of a value block.

    None unless all of it is in the midst of one value block of each level, which is cached like its index block, and
    has only plain entries there. That is so nearly always, and then nothing is called that is not needed: 0.6 µs for
    each level, interpreted 4. Raises DamageError, only interpreted.
    """
    runs: list[Run] = []
    for level in levels:
        tables: list[Any] = level.tables
        if not tables:
            continue
        i: cython.Py_ssize_t
        i = bisect_left(level.key_mins, edge) - 1 if backward else bisect_left(level.key_maxes, edge)
        if not 0 <= i < len(tables):
            continue
        info = tables[i]
        reference = cython.cast(tuple, info.reference)
        index = cached(reference[0], reference[2], kinds[0])
        if index is None or index.table is not info:
            return None
        keys_last: list[bytes] = index.keys_last
        i = bisect_left(keys_last, edge)
        if i == len(keys_last):
            return None
        reference = cython.cast(tuple, index.references[i])
        block = cached(reference[0], reference[2], kinds[1])
        if block is None or block.count != index.entry_counts[i]:
            return None
        if cython.compiled:
            raw, at, count, width = block.parts
            found = _entries_near(raw, at, count, width, edge, limit, key_size_max, backward)
        else:
            found = block.near(edge, limit, key_size_max, backward)
        if found is None:
            return None
        keys, values, flags, first = found
        # At the border of a block the keys of the index block have to be looked at, and perhaps the next block.
        if first == 0 or first + limit >= block.count or any(flags):
            return None
        runs.append((keys, values, flags))
    return runs


def pairs_of(keys: list[bytes], values: list[bytes], backward: bool = False) -> list[tuple[bytes, bytes]]:
    """Keys and values side by side, backward from the last to the first. 0.02 µs per pair."""
    assert len(keys) == len(values)
    if cython.compiled:
        return _pairs_of(keys, values, backward)
    pairs = list(zip(keys, values, strict=True))
    if backward:
        pairs.reverse()
    return pairs


def merge_runs(
    runs: Sequence[Run], places: list[int], limit: int, backward: bool = False
) -> tuple[list[bytes], list[Any], bytes, list[int]]:
    """Merges ascending runs, newest first in the list, each from its place on, until one of them is used up or `limit`
    entries are found: of equal keys the newest entry counts, tombstones hide and are left out.

    Returns (keys, values, flags, the new places); an entry is given out only if no run can have a smaller key left.
    Backward the entries before the places are merged, from the last one down, and still given out ascending. Every
    run has entries left: place < length, backward 0 < place. 0.03 µs per entry, interpreted 0.6.
    """
    assert 0 < len(runs) == len(places) <= RUNS_MAX and 0 < limit
    if cython.compiled:
        return _merge_runs(runs, places, limit, backward)
    starts, stops = places, places
    if backward:
        bound = max([run[0][0] for run in runs])
        starts = [bisect_left(run[0], bound, 0, place) for run, place in zip(runs, places, strict=True)]
    else:
        bound = min([run[0][-1] for run in runs])
        stops = [bisect_right(run[0], bound, place) for run, place in zip(runs, places, strict=True)]
    keys_all: list[bytes] = []
    values_all: list[Any] = []
    flags_all = bytearray()
    for (keys, values, flags), start, stop in zip(runs, starts, stops, strict=True):
        keys_all += keys[start:stop]
        values_all += values[start:stop]
        flags_all += flags[start:stop]
    # The sort finds the runs. It is stable, so of equal keys the newest, whose position is lowest, comes first.
    order = sorted(range(len(keys_all)), key=keys_all.__getitem__)
    kept: list[int] = []
    before: bytes | None = None
    for position in order:
        key = keys_all[position]
        if key != before and not flags_all[position] & _TOMBSTONE:
            kept.append(position)
        before = key
    if len(kept) > limit:
        kept = kept[-limit:] if backward else kept[:limit]
        if backward:
            starts = [bisect_left(run[0], keys_all[kept[0]], 0, place) for run, place in zip(runs, places, strict=True)]
        else:
            stops = [bisect_right(run[0], keys_all[kept[-1]], place) for run, place in zip(runs, places, strict=True)]
    return (
        list(map(keys_all.__getitem__, kept)),
        list(map(values_all.__getitem__, kept)),
        bytes(map(flags_all.__getitem__, kept)),
        starts if backward else stops,
    )


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
def _offset(column: cython.p_const_uchar, i: cython.Py_ssize_t, width: cython.Py_ssize_t) -> cython.Py_ssize_t:
    at: cython.p_const_uchar = column + i * width
    offset: cython.Py_ssize_t = at[0] | (at[1] << 8)
    if width == 4:
        offset |= (at[2] << 16) | (cython.cast(cython.Py_ssize_t, at[3]) << 24)
    return offset


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _bisect(
    key_offsets: cython.p_const_uchar,
    width: cython.Py_ssize_t,
    region: cython.p_const_uchar,
    keys_size: cython.Py_ssize_t,
    count: cython.Py_ssize_t,
    key: cython.p_const_uchar,
    key_size: cython.Py_ssize_t,
) -> cython.Py_ssize_t:
    """The first entry whose key is not below `key`, `count` when there is none; -1 on an impossible offset."""
    low: cython.Py_ssize_t = 0
    high: cython.Py_ssize_t = count
    middle: cython.Py_ssize_t
    start: cython.Py_ssize_t
    stop: cython.Py_ssize_t
    while low < high:
        middle = (low + high) // 2
        start = _offset(key_offsets, middle, width)
        stop = _offset(key_offsets, middle + 1, width)
        if not 0 <= start < stop <= keys_size:
            return -1
        if _compare(region + start, stop - start, key, key_size) < 0:
            low = middle + 1
        else:
            high = middle
    return low


@cython.cfunc
def _bisect_entries(
    raw: bytes, at: cython.Py_ssize_t, count: cython.Py_ssize_t, width: cython.Py_ssize_t, bound: Any
) -> cython.Py_ssize_t:
    size: cython.Py_ssize_t = len(raw)
    key: bytes
    if type(bound) is not bytes or count > size or at > size or size - at < 2 * (count + 1) * width + count:
        return -1
    key = bound
    key_offsets: cython.p_const_uchar = cython.cast(cython.p_const_uchar, PyBytes_AS_STRING(raw)) + at
    region: cython.p_const_uchar = key_offsets + 2 * (count + 1) * width + count
    keys_size: cython.Py_ssize_t = _offset(key_offsets, count, width)
    if not 0 <= keys_size <= size - at - 2 * (count + 1) * width - count:
        return -1
    return _bisect(key_offsets, width, region, keys_size, count, key, len(key))


@cython.cfunc
def _entries_near(
    raw: bytes,
    at: cython.Py_ssize_t,
    count: cython.Py_ssize_t,
    width: cython.Py_ssize_t,
    bound: Any,
    limit: cython.Py_ssize_t,
    key_size_max: cython.Py_ssize_t,
    backward: cython.bint,
) -> tuple[list[bytes], list[bytes], bytes, int] | None:
    size: cython.Py_ssize_t = len(raw)
    i: cython.Py_ssize_t
    first: cython.Py_ssize_t
    stop: cython.Py_ssize_t
    edge: bytes
    keys: list[bytes] = []
    values: list[bytes] = []
    # The columns lie within raw; from here on each offset is compared with the size of its column before use.
    if count > size or at > size or size - at < 2 * (count + 1) * width + count:
        return None
    key_offsets: cython.p_const_uchar = cython.cast(cython.p_const_uchar, PyBytes_AS_STRING(raw)) + at
    value_offsets: cython.p_const_uchar = key_offsets + (count + 1) * width
    flags: cython.p_const_uchar = value_offsets + (count + 1) * width
    region: cython.p_const_uchar = flags + count
    keys_size: cython.Py_ssize_t = _offset(key_offsets, count, width)
    values_size: cython.Py_ssize_t = size - at - 2 * (count + 1) * width - count - keys_size
    if keys_size < 0 or values_size < 0:
        return None
    first = count if backward else 0
    if bound is not None:
        if type(bound) is not bytes:
            return None
        edge = bound
        first = _bisect(key_offsets, width, region, keys_size, count, edge, len(edge))
        if first < 0:
            return None
    if backward:
        stop = first
        first = max(0, stop - limit)
    else:
        stop = min(count, first + limit)
    before: cython.Py_ssize_t = 0
    before_size: cython.Py_ssize_t = 0
    key_at: cython.Py_ssize_t = _offset(key_offsets, first, width)
    key_end: cython.Py_ssize_t
    value_at: cython.Py_ssize_t = _offset(value_offsets, first, width)
    value_end: cython.Py_ssize_t
    if key_at < 0 or value_at < 0:
        return None
    for i in range(first, stop):
        key_end = _offset(key_offsets, i + 1, width)
        value_end = _offset(value_offsets, i + 1, width)
        if not (key_at < key_end <= keys_size and value_at <= value_end <= values_size):
            return None
        # The first key is above the empty one.
        if (
            key_end - key_at > key_size_max
            or not _compare(region + before, before_size, region + key_at, key_end - key_at) < 0
        ):
            return None
        keys.append(region[key_at:key_end])
        values.append(region[keys_size + value_at : keys_size + value_end])
        before = key_at
        before_size = key_end - key_at
        key_at = key_end
        value_at = value_end
    return keys, values, flags[first:stop], first


@cython.cfunc
def _pairs_of(keys: list[bytes], values: list[bytes], backward: cython.bint) -> list[tuple[bytes, bytes]]:
    count: cython.Py_ssize_t = len(keys)
    pairs: list[tuple[bytes, bytes]] = [(keys[i], values[i]) for i in range(count)]
    if backward:
        pairs.reverse()
    return pairs


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _prefix(key: cython.p_const_uchar, size: cython.Py_ssize_t) -> cython.ulonglong:
    """The first eight bytes as a number, zeros where there are fewer: a smaller number is a smaller key."""
    i: cython.Py_ssize_t
    number: cython.ulonglong = 0
    if size >= 8:
        for i in range(8):
            number = (number << 8) | key[i]
        return number
    for i in range(8):
        number = (number << 8) | (key[i] if i < size else 0)
    return number


@cython.cfunc
@cython.inline
def _next_heads(
    keys_of: list[Any],
    at: cython.p_ulonglong,
    prefix: cython.p_ulonglong,
    count: cython.Py_ssize_t,
    behind: cython.Py_ssize_t,
) -> cython.uint:
    """A bit for each run whose head is the next one of a merge: the lowest of all, with `behind` the highest."""
    best: cython.Py_ssize_t = 0
    equal: cython.uint = 1
    order: cython.Py_ssize_t
    i: cython.Py_ssize_t
    run_keys: list[bytes]
    key: bytes
    other: bytes
    for i in range(1, count):
        if prefix[i] == prefix[best]:
            run_keys = keys_of[i]
            key = run_keys[at[i] - behind]
            run_keys = keys_of[best]
            other = run_keys[at[best] - behind]
            order = _compare(key, len(key), other, len(other))
        else:
            order = -1 if prefix[i] < prefix[best] else 1
        if order == 0:
            equal |= cython.cast(cython.uint, 1) << i
        elif (order > 0) == behind:
            best = i
            equal = cython.cast(cython.uint, 1) << i
    return equal


@cython.cfunc
def _merge_runs(
    runs: Sequence[Run], places: list[int], limit: cython.Py_ssize_t, backward: cython.bint
) -> tuple[list[bytes], list[Any], bytes, list[int]]:
    count: cython.Py_ssize_t = len(runs)
    i: cython.Py_ssize_t
    newest: cython.Py_ssize_t
    size: cython.Py_ssize_t = 0
    flag: cython.uchar
    behind: cython.Py_ssize_t = 1 if backward else 0  # how far the place of a run is behind its head
    equal: cython.uint
    used_up: cython.bint = False
    key: bytes
    keys: list[bytes] = []
    values: list[Any] = []
    run_keys: list[bytes]
    run_values: list[Any]
    run_flags: bytes
    keys_of: list[Any] = [run[0] for run in runs]
    values_of: list[Any] = [run[1] for run in runs]
    flags_of: list[Any] = [run[2] for run in runs]
    assert list(map(len, keys_of)) == list(map(len, values_of)) == list(map(len, flags_of))
    flags: bytearray = bytearray(sum(map(len, flags_of)))
    flags_out: cython.p_uchar = flags
    # Of each run: its place, where that will end, and the beginning of its head's key.
    memory: cython.p_uchar = cython.cast(cython.p_uchar, PyMem_Malloc(24 * count))
    if memory == cython.NULL:
        raise MemoryError
    at: cython.p_ulonglong = cython.cast(cython.p_ulonglong, memory)
    end: cython.p_ulonglong = cython.cast(cython.p_ulonglong, memory + 8 * count)
    prefix: cython.p_ulonglong = cython.cast(cython.p_ulonglong, memory + 16 * count)
    try:
        for i in range(count):
            run_keys = keys_of[i]
            at[i] = places[i]
            end[i] = 0 if backward else len(run_keys)
            assert (0 < at[i] <= len(run_keys)) if backward else (0 <= at[i] < len(run_keys))
            key = run_keys[at[i] - behind]
            prefix[i] = _prefix(key, len(key))
        while not used_up and size < limit:
            equal = _next_heads(keys_of, at, prefix, count, behind)
            newest = 0
            while not equal >> newest & 1:
                newest += 1
            run_flags = flags_of[newest]
            flag = cython.cast(cython.p_const_uchar, PyBytes_AS_STRING(run_flags))[at[newest] - behind]
            if not flag & 1:
                run_keys = keys_of[newest]
                run_values = values_of[newest]
                keys.append(run_keys[at[newest] - behind])
                values.append(run_values[at[newest] - behind])
                flags_out[size] = flag
                size += 1
            for i in range(newest, count):
                if equal >> i & 1:
                    at[i] += 1 - 2 * behind
                    if at[i] == end[i]:
                        used_up = True
                        continue
                    run_keys = keys_of[i]
                    key = run_keys[at[i] - behind]
                    prefix[i] = _prefix(key, len(key))
        if backward:
            keys.reverse()
            values.reverse()
            return keys, values, bytes(flags[:size])[::-1], [at[i] for i in range(count)]
        return keys, values, bytes(flags[:size]), [at[i] for i in range(count)]
    finally:
        PyMem_Free(memory)


if not (TYPE_CHECKING or COMPILED or PURE):
    # The compiled functions take the place of those above; without them, on a machine where they were not built,
    # those above stay. What is imported is used by the importers of this module.
    with suppress(ImportError):
        from lsmcli.engine._block_scan import (  # noqa: F401, I001
            bisect_entries, entries_near, merge_runs, pairs_of, runs_at_hand, COMPILED,
        )  # fmt: skip
