# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
r"""Columns of sizes: how a compressed value block says where its keys and values are, and back to offsets.

    keys  a bcd ef      offsets  0 1 4 6      sizes  1 3 2

Entries that are alike have equal sizes, of which a compressor makes next to nothing; their offsets are all different.
What is sized can also be cut anywhere and joined with more, since a size does not depend on what stands before it.

Invariants:
- numbers are little-endian and take `width` bytes, 2 or 4; no function changes its arguments, or keeps them;
- the interpreted and the compiled branch of a function give the same answer, for any bytes;
- what comes from a disk is never read beyond its end, and a sum that does not fit is answered by None.

Compiled where a C compiler was at hand, see docs/internals/hot_loops.md; times are of compiled code.
"""

from __future__ import annotations

import struct
from contextlib import suppress
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Final

from lsmcli.engine import uncompiled as cython
from lsmcli.engine.uncompiled import PURE

if cython.compiled:
    import cython  # type: ignore[no-redef]  # seen by the compiler alone, for which it is no module
    from cython.cimports.cpython.bytearray import PyByteArray_AS_STRING
    from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_FromStringAndSize

COMPILED: Final = bool(cython.compiled)

_CODES: Final = {2: "H", 4: "I"}


def sizes_of(packed: bytearray, at: int, count: int, width: int) -> bytes:
    """The sizes of `count` items whose count + 1 offsets stand in packed[at:]; the offsets ascend, and are trusted.

    Offsets 0 1 4 6 -> sizes 1 3 2. 1 ns per item.
    """
    assert width in _CODES and 0 <= count and 0 <= at and at + (count + 1) * width <= len(packed)
    if cython.compiled:
        return _sizes_of(packed, at, count, width)
    offsets = struct.unpack_from(f"<{count + 1}{_CODES[width]}", packed, at)
    return struct.pack(f"<{count}{_CODES[width]}", *[stop - start for start, stop in pairwise(offsets)])


def offsets_of(sizes: bytes, width: int, width_out: int, total: int) -> bytes | None:
    """The offsets of items with these sizes, from 0 to their sum, in numbers of width_out bytes.

    None unless the sum is `total`, which fits such a number. 1 ns per item.
    """
    assert width in _CODES and width_out in _CODES and len(sizes) % width == 0
    assert 0 <= total < 1 << 8 * width_out
    if cython.compiled:
        return _offsets_of(sizes, width, width_out, total)
    offsets = list(accumulate(struct.unpack(f"<{len(sizes) // width}{_CODES[width]}", sizes), initial=0))
    if offsets[-1] != total:
        return None
    return struct.pack(f"<{len(offsets)}{_CODES[width_out]}", *offsets)


def fit_sizes(
    key_sizes: bytearray, value_sizes: bytearray, width: int, count_max: int, room: int
) -> tuple[int, int, int]:
    """(entries, bytes of their keys, bytes of their values): as many of the first count_max entries as fill at most
    `room` bytes, each with its two sizes and a byte of flags. O(entries that fit), 1 ns each."""
    assert width in _CODES and len(key_sizes) == len(value_sizes) and len(key_sizes) % width == 0
    assert 0 <= count_max <= len(key_sizes) // width and 0 <= room
    if cython.compiled:
        return _fit_sizes(key_sizes, value_sizes, width, count_max, room)
    numbers = f"<{count_max}{_CODES[width]}"
    count = keys_size = values_size = 0
    for key, value in zip(
        struct.unpack_from(numbers, key_sizes), struct.unpack_from(numbers, value_sizes), strict=True
    ):
        room -= key + value + 2 * width + 1
        if room < 0:
            break
        count += 1
        keys_size += key
        values_size += value
    return count, keys_size, values_size


# Compiled only: loops over bytes, which would be hopeless if interpreted.


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _number(column: cython.p_const_uchar, i: cython.Py_ssize_t, width: cython.Py_ssize_t) -> cython.Py_ssize_t:
    at: cython.p_const_uchar = column + i * width
    number: cython.Py_ssize_t = at[0] | (at[1] << 8)
    if width == 4:
        number |= (at[2] << 16) | (cython.cast(cython.Py_ssize_t, at[3]) << 24)
    return number


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _put_number(
    column: cython.p_uchar, i: cython.Py_ssize_t, number: cython.Py_ssize_t, width: cython.Py_ssize_t
) -> cython.void:
    out: cython.p_uchar = column + i * width
    out[0] = number & 0xFF
    out[1] = (number >> 8) & 0xFF
    if width == 4:
        out[2] = (number >> 16) & 0xFF
        out[3] = (number >> 24) & 0xFF


@cython.cfunc
def _sizes_of(packed: bytearray, at: cython.Py_ssize_t, count: cython.Py_ssize_t, width: cython.Py_ssize_t) -> bytes:
    offsets: cython.p_const_uchar = cython.cast(cython.p_const_uchar, PyByteArray_AS_STRING(packed)) + at
    sizes: bytes = PyBytes_FromStringAndSize(cython.NULL, count * width)
    out: cython.p_uchar = cython.cast(cython.p_uchar, PyBytes_AS_STRING(sizes))
    i: cython.Py_ssize_t
    start: cython.Py_ssize_t = _number(offsets, 0, width)
    stop: cython.Py_ssize_t
    for i in range(count):
        stop = _number(offsets, i + 1, width)
        _put_number(out, i, stop - start, width)
        start = stop
    return sizes


@cython.cfunc
def _offsets_of(
    sizes: bytes, width: cython.Py_ssize_t, width_out: cython.Py_ssize_t, total: cython.Py_ssize_t
) -> bytes | None:
    count: cython.Py_ssize_t = len(sizes) // width
    column: cython.p_const_uchar = cython.cast(cython.p_const_uchar, PyBytes_AS_STRING(sizes))
    offsets: bytes = PyBytes_FromStringAndSize(cython.NULL, (count + 1) * width_out)
    out: cython.p_uchar = cython.cast(cython.p_uchar, PyBytes_AS_STRING(offsets))
    i: cython.Py_ssize_t
    offset: cython.Py_ssize_t = 0
    _put_number(out, 0, 0, width_out)
    for i in range(count):
        offset += _number(column, i, width)
        _put_number(out, i + 1, offset, width_out)
    if offset != total:
        return None
    return offsets


@cython.cfunc
def _fit_sizes(
    key_sizes: bytearray,
    value_sizes: bytearray,
    width: cython.Py_ssize_t,
    count_max: cython.Py_ssize_t,
    room: cython.Py_ssize_t,
) -> tuple[int, int, int]:
    keys: cython.p_const_uchar = cython.cast(cython.p_const_uchar, PyByteArray_AS_STRING(key_sizes))
    values: cython.p_const_uchar = cython.cast(cython.p_const_uchar, PyByteArray_AS_STRING(value_sizes))
    count: cython.Py_ssize_t = 0
    key: cython.Py_ssize_t
    value: cython.Py_ssize_t
    keys_size: cython.Py_ssize_t = 0
    values_size: cython.Py_ssize_t = 0
    while count < count_max:
        key = _number(keys, count, width)
        value = _number(values, count, width)
        room -= key + value + 2 * width + 1
        if room < 0:
            break
        count += 1
        keys_size += key
        values_size += value
    return count, keys_size, values_size


if not (TYPE_CHECKING or COMPILED or PURE):
    # The compiled names take the place of those above; without them, on a machine where they were not built,
    # those above stay. What is imported is used by the importers of this module.
    with suppress(ImportError):
        from lsmcli.engine._sized_columns import COMPILED, fit_sizes, offsets_of, sizes_of  # noqa: F401
