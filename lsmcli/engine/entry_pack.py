# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
r"""Packing of entries into the columns of a value block, and back.

    keys    a  bc            key offsets | value offsets | flags | keys | values
    values  1  2        ->   0 1 3       | 0 1 2         | 0 0   | abc  | 12
    flags   0  0

Invariants:
- no function changes its arguments, or keeps them;
- the interpreted and the compiled branch of a function give the same answer, for any bytes;
- what comes from a disk is never read beyond its end: a function that meets an offset that cannot be right
  answers None, and its caller finds out what is wrong with the block, and raises.

Compiled where a C compiler was at hand, see docs/internals/hot_loops.md; times are of compiled code.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from contextlib import suppress
from itertools import accumulate, repeat
from operator import add
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

from lsmcli.engine import uncompiled as cython
from lsmcli.engine.uncompiled import PURE

if cython.compiled:
    import cython  # type: ignore[no-redef]  # seen by the compiler alone, for which it is no module
    from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_FromStringAndSize
    from cython.cimports.libc.string import memcmp, memcpy
    from cython.cimports.lsmcli.engine import compiled_types as types

COMPILED: Final = bool(cython.compiled)

_CODES: Final = {2: "H", 4: "I"}
_FIT_STEP: Final = 512  # entries that the interpreted fit_entries() looks at together


def fit_entries(keys: list[bytes], values: list[bytes], start: int, room: int, overhead: int) -> tuple[int, int]:
    """The stop for which the entries [start, stop) fill at most `room` bytes, each with its overhead, and the
    room that is left then.

    (keys a b c, values 10 bytes each, start 0, room 25, overhead 1) -> (2, 1). O(entries that fit).
    """
    assert len(keys) == len(values) and 0 <= start and 0 <= room and 0 <= overhead
    if cython.compiled:
        return _fit_entries(keys, values, start, room, overhead)
    stop = start
    while stop < len(keys):
        part_keys, part_values = keys[stop : stop + _FIT_STEP], values[stop : stop + _FIT_STEP]
        sizes = map(add, map(len, part_keys), map(len, part_values))
        ends = list(accumulate(map(add, sizes, repeat(overhead)), initial=0))
        count = bisect_right(ends, room) - 1
        room -= ends[count]
        stop += count
        if count < len(part_keys):
            break
    return stop, room


def measure_entries(keys: list[bytes], values: list[Any]) -> tuple[int, int, int, int, int, int] | None:
    """(smallest, largest size of a key, bytes of the keys, largest size of a value, bytes of the values, values that
    are None); None unless every key is bytes, and every value bytes or None. The lists are of equal length.

    ([b"a", b"bc"], [b"123", None]) -> (1, 2, 3, 3, 3, 1); no entries: all are 0. 0.01 µs per entry, interpreted 0.1.
    """
    assert len(keys) == len(values)
    if cython.compiled:
        return _measure_entries(keys, values)
    if not (set(map(type, keys)) <= {bytes} and set(map(type, values)) <= {bytes, type(None)}):
        return None
    key_sizes = list(map(len, keys))
    absent = values.count(None)
    value_sizes = list(map(len, filter(None, values) if absent else values))
    return (
        min(key_sizes, default=0), max(key_sizes, default=0), sum(key_sizes),
        max(value_sizes, default=0), sum(value_sizes), absent,
    )  # fmt: skip


def pack_entries(keys: list[bytes], values: list[bytes], flags: bytes, width: int) -> tuple[int, int, bytes]:
    """(bytes of the keys, bytes of the values, key offsets | value offsets | flags | keys | values).

    width: bytes of one offset, 2 or 4; the offsets fit it. 0.05 µs per entry, interpreted 0.3.
    """
    assert width in _CODES and len(keys) == len(values) == len(flags)
    if cython.compiled:
        return _pack_entries(keys, values, flags, width)
    key_offsets = list(accumulate(map(len, keys), initial=0))
    value_offsets = list(accumulate(map(len, values), initial=0))
    offsets = struct.pack(f"<{2 * len(key_offsets)}{_CODES[width]}", *key_offsets, *value_offsets)
    return key_offsets[-1], value_offsets[-1], b"".join((offsets, flags, *keys, *values))


def unpack_entries(
    raw: bytes, at: int, count: int, width: int, start: int, stop: int, key_size_max: int
) -> tuple[list[bytes], list[bytes]] | None:
    """Keys and values of the entries [start, stop) of what pack_entries() gave for `count` entries: raw[at:].

    None unless keys are strictly ascending and 1 … key_size_max bytes long, and every offset that is used lies
    within its column. Interpreted always None: the caller's own way is as quick. 0.08 µs per entry.
    """
    assert width in _CODES and 0 <= start <= stop <= count and 0 <= at
    if cython.compiled:
        return _unpack_entries(raw, at, count, width, start, stop, key_size_max)
    return None


def measure_packed(raw: bytes, at: int, count: int, width: int, key_size_max: int) -> tuple[bytes, bytes] | None:
    """The sizes of all keys and of all values, as columns of u32, little-endian, of what unpack_entries() would give.

    None where that would be None, and always when interpreted. 0.01 µs per entry.
    """
    assert width in _CODES and 0 <= count and 0 <= at
    if cython.compiled:
        return _measure_packed(raw, at, count, width, key_size_max)
    return None


def pack_fingerprints(keys: list[bytes]) -> bytes:
    """The low halves of the CRC-32 of the keys, little-endian, as a column. 0.02 µs per key, interpreted 0.1."""
    if cython.compiled:
        return _pack_fingerprints(keys)
    crcs = struct.pack(f"<{len(keys)}I", *map(crc32, keys))
    return memoryview(crcs).cast("H")[::2].tobytes()


def crc_tables() -> bytes:
    """For a CRC-32 of four bytes at a time: four tables of 256 numbers of 32 bits, as this machine has them. Of a byte,
    and of a byte with one, two and three zeros behind it."""
    table = [crc32(bytes((i ^ 0xFF,))) ^ 0xFF00_0000 for i in range(256)]
    for i in range(3 * 256):
        table.append(table[table[i] & 0xFF] ^ (table[i] >> 8))
    return struct.pack("=1024I", *table)


# Compiled only: loops over bytes, which would be hopeless if interpreted.


@cython.cfunc
def _measure_entries(keys: list[Any], values: list[Any]) -> tuple[int, int, int, int, int, int] | None:
    count: cython.Py_ssize_t = len(keys)
    i: cython.Py_ssize_t
    size: cython.Py_ssize_t
    key_size_min: cython.Py_ssize_t = 0
    key_size_max: cython.Py_ssize_t = 0
    keys_size: cython.Py_ssize_t = 0
    value_size_max: cython.Py_ssize_t = 0
    values_size: cython.Py_ssize_t = 0
    absent: cython.Py_ssize_t = 0
    for i in range(count):
        if type(keys[i]) is not bytes:
            return None
        size = len(cython.cast(bytes, keys[i]))
        key_size_min = size if i == 0 else min(key_size_min, size)
        key_size_max = max(key_size_max, size)
        keys_size += size
        if values[i] is None:
            absent += 1
            continue
        if type(values[i]) is not bytes:
            return None
        size = len(cython.cast(bytes, values[i]))
        value_size_max = max(value_size_max, size)
        values_size += size
    return key_size_min, key_size_max, keys_size, value_size_max, values_size, absent


@cython.cfunc
def _fit_entries(
    keys: list[bytes],
    values: list[bytes],
    start: cython.Py_ssize_t,
    room: cython.Py_ssize_t,
    overhead: cython.Py_ssize_t,
) -> tuple[int, int]:
    count: cython.Py_ssize_t = len(keys)
    size: cython.Py_ssize_t
    key: bytes
    value: bytes
    while start < count:
        key = keys[start]
        value = values[start]
        size = len(key) + len(value) + overhead
        if size > room:
            break
        room -= size
        start += 1
    return start, room


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _is_below(
    a: cython.p_const_uchar, a_size: cython.Py_ssize_t, b: cython.p_const_uchar, b_size: cython.Py_ssize_t
) -> cython.bint:
    order: cython.Py_ssize_t = memcmp(a, b, min(a_size, b_size))
    return order < 0 or (order == 0 and a_size < b_size)


@cython.cfunc
@cython.inline
def _put_offset(out: cython.p_uchar, offset: cython.Py_ssize_t, width: cython.Py_ssize_t) -> None:
    out[0] = offset & 0xFF
    out[1] = (offset >> 8) & 0xFF
    if width == 4:
        out[2] = (offset >> 16) & 0xFF
        out[3] = (offset >> 24) & 0xFF


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
def _pack_entries(
    keys: list[bytes],
    values: list[bytes],
    flags: bytes,
    width: cython.Py_ssize_t,
) -> tuple[int, int, bytes]:
    i: cython.Py_ssize_t
    key: bytes
    value: bytes
    count: cython.Py_ssize_t = len(keys)
    keys_size: cython.Py_ssize_t = 0
    values_size: cython.Py_ssize_t = 0
    for i in range(count):
        key = keys[i]
        value = values[i]
        keys_size += len(key)
        values_size += len(value)
    assert width == 4 or (keys_size <= 0xFFFF and values_size <= 0xFFFF)
    packed: bytes = PyBytes_FromStringAndSize(cython.NULL, 2 * (count + 1) * width + count + keys_size + values_size)
    key_offsets: cython.p_uchar = cython.cast(cython.p_uchar, PyBytes_AS_STRING(packed))
    value_offsets: cython.p_uchar = key_offsets + (count + 1) * width
    flags_out: cython.p_uchar = value_offsets + (count + 1) * width
    keys_out: cython.p_uchar = flags_out + count
    values_out: cython.p_uchar = keys_out + keys_size
    memcpy(flags_out, PyBytes_AS_STRING(flags), count)
    keys_size = values_size = 0
    for i in range(count):
        key = keys[i]
        value = values[i]
        _put_offset(key_offsets, keys_size, width)
        _put_offset(value_offsets, values_size, width)
        memcpy(keys_out + keys_size, PyBytes_AS_STRING(key), len(key))
        memcpy(values_out + values_size, PyBytes_AS_STRING(value), len(value))
        keys_size += len(key)
        values_size += len(value)
        key_offsets += width
        value_offsets += width
    _put_offset(key_offsets, keys_size, width)
    _put_offset(value_offsets, values_size, width)
    return keys_size, values_size, packed


@cython.cfunc
def _unpack_entries(
    raw: bytes,
    at: cython.Py_ssize_t,
    count: cython.Py_ssize_t,
    width: cython.Py_ssize_t,
    start: cython.Py_ssize_t,
    stop: cython.Py_ssize_t,
    key_size_max: cython.Py_ssize_t,
) -> tuple[list[bytes], list[bytes]] | None:
    size: cython.Py_ssize_t = len(raw)
    i: cython.Py_ssize_t
    keys: list[bytes] = []
    values: list[bytes] = []
    # The columns lie within raw; from here on each offset is compared with the size of its column before use.
    if count > size or at > size or size - at < 2 * (count + 1) * width + count:
        return None
    key_offsets: cython.p_const_uchar = cython.cast(cython.p_const_uchar, PyBytes_AS_STRING(raw)) + at
    value_offsets: cython.p_const_uchar = key_offsets + (count + 1) * width
    region: cython.p_const_uchar = value_offsets + (count + 1) * width + count
    keys_size: cython.Py_ssize_t = _offset(key_offsets, count, width)
    values_size: cython.Py_ssize_t = size - at - 2 * (count + 1) * width - count - keys_size
    before: cython.Py_ssize_t = 0
    before_size: cython.Py_ssize_t = 0
    key_at: cython.Py_ssize_t = _offset(key_offsets, start, width)
    key_end: cython.Py_ssize_t
    value_at: cython.Py_ssize_t = _offset(value_offsets, start, width)
    value_end: cython.Py_ssize_t
    if keys_size < 0 or values_size < 0 or key_at < 0 or value_at < 0:
        return None
    for i in range(start, stop):
        key_end = _offset(key_offsets, i + 1, width)
        value_end = _offset(value_offsets, i + 1, width)
        if not (key_at < key_end <= keys_size and value_at <= value_end <= values_size):
            return None
        # The first key is above the empty one.
        if key_end - key_at > key_size_max or not _is_below(
            region + before, before_size, region + key_at, key_end - key_at
        ):
            return None
        keys.append(region[key_at:key_end])
        values.append(region[keys_size + value_at : keys_size + value_end])
        before = key_at
        before_size = key_end - key_at
        key_at = key_end
        value_at = value_end
    return keys, values


@cython.cfunc
def _measure_packed(
    raw: bytes,
    at: cython.Py_ssize_t,
    count: cython.Py_ssize_t,
    width: cython.Py_ssize_t,
    key_size_max: cython.Py_ssize_t,
) -> tuple[bytes, bytes] | None:
    """The same checks as in _unpack_entries()."""
    size: cython.Py_ssize_t = len(raw)
    i: cython.Py_ssize_t
    if count > size or at > size or size - at < 2 * (count + 1) * width + count:
        return None
    key_offsets: cython.p_const_uchar = cython.cast(cython.p_const_uchar, PyBytes_AS_STRING(raw)) + at
    value_offsets: cython.p_const_uchar = key_offsets + (count + 1) * width
    region: cython.p_const_uchar = value_offsets + (count + 1) * width + count
    keys_size: cython.Py_ssize_t = _offset(key_offsets, count, width)
    values_size: cython.Py_ssize_t = size - at - 2 * (count + 1) * width - count - keys_size
    key_sizes: bytes = PyBytes_FromStringAndSize(cython.NULL, 4 * count)
    value_sizes: bytes = PyBytes_FromStringAndSize(cython.NULL, 4 * count)
    key_sizes_out: cython.p_uchar = cython.cast(cython.p_uchar, PyBytes_AS_STRING(key_sizes))
    value_sizes_out: cython.p_uchar = cython.cast(cython.p_uchar, PyBytes_AS_STRING(value_sizes))
    before: cython.Py_ssize_t = 0
    before_size: cython.Py_ssize_t = 0
    key_at: cython.Py_ssize_t = _offset(key_offsets, 0, width)
    key_size: cython.Py_ssize_t
    value_at: cython.Py_ssize_t = _offset(value_offsets, 0, width)
    value_end: cython.Py_ssize_t
    if keys_size < 0 or values_size < 0 or key_at != 0 or value_at != 0:
        return None
    for i in range(count):
        key_size = _offset(key_offsets, i + 1, width) - key_at
        value_end = _offset(value_offsets, i + 1, width)
        if not (0 < key_size <= keys_size - key_at and value_at <= value_end <= values_size):
            return None
        if key_size > key_size_max or not _is_below(region + before, before_size, region + key_at, key_size):
            return None
        _put_offset(key_sizes_out + 4 * i, key_size, 4)
        _put_offset(value_sizes_out + 4 * i, value_end - value_at, 4)
        before = key_at
        before_size = key_size
        key_at += key_size
        value_at = value_end
    if value_at != values_size:
        return None
    return key_sizes, value_sizes


@cython.cfunc
def _pack_fingerprints(keys: list[bytes]) -> bytes:
    i: cython.Py_ssize_t
    key: bytes
    crc: cython.uint
    column: bytes = PyBytes_FromStringAndSize(cython.NULL, 2 * len(keys))
    out: cython.p_uchar = cython.cast(cython.p_uchar, PyBytes_AS_STRING(column))
    table: cython.p_uint = cython.cast(cython.p_uint, PyBytes_AS_STRING(_CRC_TABLES))
    for i in range(len(keys)):
        key = keys[i]
        crc = types.crc32_of(table, key, len(key))
        out[0] = crc & 0xFF
        out[1] = (crc >> 8) & 0xFF
        out += 2
    return column


_CRC_TABLES: Final = crc_tables() if cython.compiled else b""

if not (TYPE_CHECKING or COMPILED or PURE):
    # The compiled functions take the place of those above; without them, on a machine where they were not built,
    # those above stay. What is imported is used by the importers of this module.
    with suppress(ImportError):
        from lsmcli.engine._entry_pack import (  # noqa: F401, I001
            COMPILED, crc_tables, fit_entries, measure_entries, measure_packed, pack_entries, pack_fingerprints,
            unpack_entries,
        )  # fmt: skip
