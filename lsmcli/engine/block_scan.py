# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
r"""The few entries next to a key: in a value block, and in the blocks of all levels that are at hand.

    entries_near    block  a c e g i    bound d, limit 2    forward   e g        backward    a c
    runs_at_hand    the same of one block of each level, or of two neighbours

Invariants:
- no function changes its arguments, or keeps them;
- what is given out is right, or it is None: interpreted always, since the caller's own way is as quick then;
- what comes from a disk is never read beyond its end: a function that meets an offset that cannot be right
  answers None, and its caller finds out what is wrong with the block, and raises.

Compiled where a C compiler was at hand, see docs/internals/hot_loops.md; times are of compiled code.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from lsmcli.engine import uncompiled as cython
from lsmcli.engine.uncompiled import PURE

if cython.compiled:
    import cython  # type: ignore[no-redef]  # seen by the compiler alone, for which it is no module
    from cython.cimports.cpython.bytes import PyBytes_AS_STRING
    from cython.cimports.libc.string import memcmp
    from cython.cimports.lsmcli.engine._byte_search import number_of, position_of

COMPILED: Final = bool(cython.compiled)

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
        return _entries_near(raw, at, count, width, bound, limit, key_size_max, backward, -1)
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
    levels: Sequence[Any], age: Any, edge: Any, limit: int, key_size_max: int, backward: bool = False
) -> list[Run] | None:
    """Of each level the first `limit` entries that are not below the edge, backward the last ones that are below it;
    levels without any are left out. The levels are ManifestLevels, newest first; age: of the block cache.

    None unless each level has `limit` plain entries there, in value blocks of one table for which there are slots (see
    lookup). That is so nearly always once a range was read before. Interpreted always None. 0.3 µs for each level, and
    the processor's ways to memory.
    """
    if cython.compiled:
        return _runs_at_hand(levels, age, edge, limit, key_size_max, backward)
    return None


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
def _is_below(
    key_offsets: cython.p_const_uchar,
    width: cython.Py_ssize_t,
    region: cython.p_const_uchar,
    keys_size: cython.Py_ssize_t,
    i: cython.Py_ssize_t,
    key: cython.p_const_uchar,
    key_size: cython.Py_ssize_t,
) -> cython.Py_ssize_t:
    """1 when the key of entry i is below `key`, 0 when not, -1 on an impossible offset."""
    start: cython.Py_ssize_t = _offset(key_offsets, i, width)
    stop: cython.Py_ssize_t = _offset(key_offsets, i + 1, width)
    if not 0 <= start < stop <= keys_size:
        return -1
    return _compare(region + start, stop - start, key, key_size) < 0


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
    guess: cython.Py_ssize_t,
) -> cython.Py_ssize_t:
    """The first entry whose key is not below `key`, `count` when there is none; -1 on an impossible offset.

    guess: where it may be, or -1. A good one saves ways to memory: the search goes away from it in growing steps.
    """
    low: cython.Py_ssize_t = 0
    high: cython.Py_ssize_t = count
    step: cython.Py_ssize_t = 4
    middle: cython.Py_ssize_t = (low + high) // 2
    below: cython.Py_ssize_t
    if 0 <= guess < count:
        middle = guess
    while low < high:
        below = _is_below(key_offsets, width, region, keys_size, middle, key, key_size)
        if below < 0:
            return -1
        if below:
            low = middle + 1
        else:
            high = middle
        middle = (low + high) // 2
        if guess >= 0:
            # Near the guess on one side, until the key is between two steps.
            if below and guess >= 0 and low > guess and high == count and low + step < count:
                middle = low + step
                step *= 2
            elif not below and high <= guess and low == 0 and high > step:
                middle = high - step
                step *= 2
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
    return _bisect(key_offsets, width, region, keys_size, count, key, len(key), -1)


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
    guess: cython.Py_ssize_t,
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
        first = _bisect(key_offsets, width, region, keys_size, count, edge, len(edge), guess)
        if first < 0:
            return None
    stop = first if backward else min(count, first + limit)
    if backward:
        first = max(0, stop - limit)
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
def pairs_near(
    raw: bytes,
    at: cython.Py_ssize_t,
    count: cython.Py_ssize_t,
    width: cython.Py_ssize_t,
    bound: object,
    limit: cython.Py_ssize_t,
    key_size_max: cython.Py_ssize_t,
    backward: cython.bint,
    guess: cython.Py_ssize_t,
    pairs: list[tuple[bytes, bytes]],
) -> cython.Py_ssize_t:
    """Appends the keys and values of entries_near() to `pairs`, backward in descending order. The place of the lowest
    of them, or -1 where that answers None or one of them is no plain value: then pairs are of no use any more."""
    size: cython.Py_ssize_t = len(raw)
    edge: bytes
    i: cython.Py_ssize_t
    # The columns lie within raw; from here on each offset is compared with the size of its column before use.
    if count > size or at > size or size - at < 2 * (count + 1) * width + count:
        return -1
    key_offsets: cython.p_const_uchar = cython.cast(cython.p_const_uchar, PyBytes_AS_STRING(raw)) + at
    value_offsets: cython.p_const_uchar = key_offsets + (count + 1) * width
    flags: cython.p_const_uchar = value_offsets + (count + 1) * width
    region: cython.p_const_uchar = flags + count
    keys_size: cython.Py_ssize_t = _offset(key_offsets, count, width)
    values_size: cython.Py_ssize_t = size - at - 2 * (count + 1) * width - count - keys_size
    if values_size < 0:
        return -1
    first: cython.Py_ssize_t = count if backward else 0
    if bound is not None:
        edge = cython.cast(bytes, bound)
        first = _bisect(key_offsets, width, region, keys_size, count, edge, len(edge), guess)
        if first < 0:
            return -1
    stop: cython.Py_ssize_t = first if backward else min(count, first + limit)
    if backward:
        first = max(0, stop - limit)
    before: cython.p_const_uchar = region
    before_size: cython.Py_ssize_t = 0
    step: cython.Py_ssize_t
    order: cython.Py_ssize_t
    key_at: cython.Py_ssize_t
    key_end: cython.Py_ssize_t
    value_at: cython.Py_ssize_t
    value_end: cython.Py_ssize_t
    for step in range(stop - first):
        i = stop - 1 - step if backward else first + step
        key_at = _offset(key_offsets, i, width)
        key_end = _offset(key_offsets, i + 1, width)
        value_at = _offset(value_offsets, i, width)
        value_end = _offset(value_offsets, i + 1, width)
        if not (key_at < key_end <= keys_size and value_at <= value_end <= values_size):
            return -1
        if flags[i] != 0 or key_end - key_at > key_size_max:
            return -1
        if step > 0:
            order = _compare(before, before_size, region + key_at, key_end - key_at)
            if (order <= 0) if backward else (order >= 0):
                return -1
        before = region + key_at
        before_size = key_end - key_at
        pairs.append((before[:before_size], (region + keys_size + value_at)[: value_end - value_at]))
    return first


@cython.cfunc
def _runs_at_hand(
    levels: Sequence[Any],
    age: Any,
    edge: Any,
    limit: cython.Py_ssize_t,
    key_size_max: cython.Py_ssize_t,
    backward: cython.bint,
) -> list[Run] | None:
    runs: list[Run] = []
    keys: list[bytes]
    slots: list[Any]
    numbers: bytes
    skip: cython.Py_ssize_t
    at: cython.Py_ssize_t
    if type(edge) is not bytes:
        return None
    key: bytes = edge
    generation = age.generation
    for level in levels:
        if not level.tables:
            continue
        search = level.search
        if search is None:
            return None
        keys, slots, skip, numbers = search.parts
        at = position_of(keys, numbers, skip, key, len(key))
        if at == len(keys):
            if backward:
                return None
            continue
        slot = slots[at]
        table = slot.table
        if table is None or slot.generation != generation:
            return None
        run = _run_of_table(table, generation, key, limit, key_size_max, backward)
        if run is None:
            return None
        runs.append(run)
    age.hits += 2 * len(runs)
    return runs


@cython.cfunc
def _run_of_table(
    table: Any,
    generation: Any,
    edge: bytes,
    limit: cython.Py_ssize_t,
    key_size_max: cython.Py_ssize_t,
    backward: cython.bint,
) -> Run | None:
    """runs_at_hand() of a lookup.TableSearch whose last key is not below the edge."""
    keys: list[bytes]
    slots: list[Any]
    numbers: bytes
    skip: cython.Py_ssize_t
    count: cython.Py_ssize_t
    first: cython.Py_ssize_t
    some_keys: list[bytes]
    run: Run | None = None
    bound: Any = edge
    keys, slots, skip, numbers = table.parts
    number: cython.ulonglong = number_of(edge, len(edge), skip)
    at: cython.Py_ssize_t = position_of(keys, numbers, skip, edge, len(edge))
    while 0 <= at < len(keys):
        slot = slots[at]
        if slot.generation != generation or not slot.parts:
            return None
        raw, offsets_at, count, width = slot.parts
        guess = -1 if bound is None or at == 0 else place_guessed(numbers, at, number, count)
        found = _entries_near(raw, offsets_at, count, width, bound, limit, key_size_max, backward, guess)
        if found is None:
            return None
        some_keys, values, flags, first = found
        if not _are_plain(flags):
            return None
        if some_keys and (first == 0 or first + len(some_keys) == count):
            # At the border of a block its keys must be those that the index block says.
            if first == 0 and not (some_keys[0] > keys[at - 1] if at else some_keys[0] == table.key_min):
                return None
            if first + len(some_keys) == count and some_keys[len(some_keys) - 1] != keys[at]:
                return None
        if run is None:
            run = some_keys, values, flags
        elif backward:
            run = some_keys + run[0], values + run[1], flags + run[2]
        else:
            run = run[0] + some_keys, run[1] + values, run[2] + flags
        limit -= len(some_keys)
        if limit == 0:
            return run
        bound = None
        at += -1 if backward else 1
    return None


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _are_plain(flags: bytes) -> cython.bint:
    marks: cython.p_const_uchar = cython.cast(cython.p_const_uchar, PyBytes_AS_STRING(flags))
    some: cython.uint = 0
    i: cython.Py_ssize_t
    for i in range(len(flags)):
        some |= marks[i]
    return some == 0


@cython.cfunc
@cython.exceptval(check=False)
def place_guessed(
    numbers: bytes, at: cython.Py_ssize_t, number: cython.ulonglong, count: cython.Py_ssize_t
) -> cython.Py_ssize_t:
    """Where a key with this number may be in block 0 < at of `count` entries, if keys are spread evenly; or -1."""
    column: cython.p_const_ulonglong = cython.cast(cython.p_const_ulonglong, PyBytes_AS_STRING(numbers))
    if not column[at - 1] <= number < column[at]:
        return -1
    share: cython.double = cython.cast(cython.double, number - column[at - 1]) / (column[at] - column[at - 1])
    guess: cython.Py_ssize_t = cython.cast(cython.Py_ssize_t, share * count)
    return min(count - 1, guess)


if not (TYPE_CHECKING or COMPILED or PURE):
    # The compiled functions take the place of those above; without them, on a machine where they were not built,
    # those above stay. What is imported is used by the importers of this module.
    with suppress(ImportError):
        from lsmcli.engine._block_scan import (  # noqa: F401, I001
            bisect_entries, entries_near, runs_at_hand, COMPILED,
        )  # fmt: skip
