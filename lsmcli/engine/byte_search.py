# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Steps of a search in sorted columns of numbers and in fingerprints: functions of pointers, for compiled code alone.

    "user:0004210"    number of the eight bytes behind the shared "user:00"    column of numbers: the first not below it
                      fingerprint 7d40                                        column of a block: entry 17, perhaps

Invariants:
- no function keeps what it is given, nor raises anything; who calls has compared all sizes;
- a number never contradicts the order of the keys: where two numbers are equal, the keys themselves decide.

lookup and block_scan call these as functions of C: _byte_search.pxd declares them. Interpreted code searches with
bisect and find(), and does not import this module.

Compiled where a C compiler was at hand, see docs/internals/hot_loops.md.
"""

from __future__ import annotations

import sys
from typing import Any, Final

from lsmcli.engine import uncompiled as cython
from lsmcli.engine.entry_pack import crc_tables

if cython.compiled:
    import cython  # type: ignore[no-redef]  # seen by the compiler alone, for which it is no module
    from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_FromStringAndSize
    from cython.cimports.libc.string import memcmp, memcpy

COMPILED: Final = bool(cython.compiled)

_BIG_ENDIAN = cython.declare(cython.bint, sys.byteorder == "big")
_CRC_TABLES = cython.declare(bytes, crc_tables() if cython.compiled else b"")


@cython.cfunc
@cython.exceptval(check=False)
def number_of(key: cython.p_const_uchar, size: cython.Py_ssize_t, skip: cython.Py_ssize_t) -> cython.ulonglong:
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
def numbers_of(keys: list[bytes], skip: cython.Py_ssize_t) -> bytes:
    """The number of each key, as a column."""
    key: bytes
    i: cython.Py_ssize_t
    column: bytes = PyBytes_FromStringAndSize(cython.NULL, 8 * len(keys))
    out: cython.p_ulonglong = cython.cast(cython.p_ulonglong, PyBytes_AS_STRING(column))
    for i in range(len(keys)):
        key = keys[i]
        out[i] = number_of(cython.cast(cython.p_const_uchar, PyBytes_AS_STRING(key)), len(key), skip)
    return column


@cython.cfunc
@cython.exceptval(check=False)
def first_not_below(
    numbers: cython.p_const_ulonglong, count: cython.Py_ssize_t, number: cython.ulonglong
) -> cython.Py_ssize_t:
    """The first place of an ascending column whose number is not below this one; `count` when there is none.

    A comparison is added, not branched upon: of a key by chance the processor would guess every second branch wrong.
    """
    first: cython.Py_ssize_t = 0
    half: cython.Py_ssize_t
    while count > 1:
        half = count >> 1
        first += half * (numbers[first + half - 1] < number)
        count -= half
    return first + (count == 1 and numbers[first] < number)


@cython.cfunc
@cython.exceptval(check=False)
def order_of(
    keys: list[bytes], i: cython.Py_ssize_t, key: cython.p_const_uchar, size: cython.Py_ssize_t
) -> cython.Py_ssize_t:
    """Below, equal to or above zero as keys[i] is below, equal to or above the key."""
    other: bytes = cython.cast(bytes, keys[i])
    order: cython.Py_ssize_t = memcmp(PyBytes_AS_STRING(other), key, min(len(other), size))
    return order if order else len(other) - size


@cython.cfunc
@cython.exceptval(check=False)
def position_of(
    keys: list[bytes], numbers: bytes, skip: cython.Py_ssize_t, key: cython.p_const_uchar, size: cython.Py_ssize_t
) -> cython.Py_ssize_t:
    """The first of ascending keys, at least one, that is not below `key`; their count when there is none. numbers: of
    the keys behind `skip` bytes, which all of them share."""
    column: cython.p_const_ulonglong = cython.cast(cython.p_const_ulonglong, PyBytes_AS_STRING(numbers))
    number: cython.ulonglong
    low: cython.Py_ssize_t
    high: cython.Py_ssize_t = len(keys)
    middle: cython.Py_ssize_t
    if skip > 0 and (size < skip or memcmp(PyBytes_AS_STRING(cython.cast(bytes, keys[0])), key, skip) != 0):
        return 0 if order_of(keys, 0, key, size) > 0 else high  # below all of them, or above
    number = number_of(key, size, skip)
    low = first_not_below(column, high, number)
    if low == high or column[low] != number:
        return low
    while low < high:
        middle = (low + high) >> 1
        if column[middle] == number and order_of(keys, middle, key, size) < 0:
            low = middle + 1
        else:
            high = middle
    return low


@cython.cfunc
@cython.exceptval(check=False)
def fingerprint(key: cython.p_const_uchar, size: cython.Py_ssize_t) -> cython.ushort:
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


@cython.cfunc
@cython.exceptval(check=False)
def find_fingerprint(
    column: cython.p_const_uchar, count: cython.Py_ssize_t, mark: cython.ushort, entry: cython.Py_ssize_t
) -> cython.Py_ssize_t:
    """The first entry of `count`, from this one on, whose fingerprint is `mark`; -1 when there is none.

    32 at a time, then eight, without a branch in between: the compiler makes vectors of that.
    """
    low: cython.uchar = mark & 0xFF
    high: cython.uchar = mark >> 8
    wanted: cython.ushort = mark if not _BIG_ENDIAN else (low << 8) | high
    group: Any = cython.declare(cython.ushort[32])  # type: ignore[misc, valid-type]
    place: cython.short
    first: cython.short
    j: cython.short
    while entry + 32 <= count:
        memcpy(group, column + 2 * entry, 64)
        first = 32
        for j in range(32):
            place = j if group[j] == wanted else 32
            first = min(first, place)
        if first < 32:
            return entry + first
        entry += 32
    while entry + 8 <= count:
        memcpy(group, column + 2 * entry, 16)
        first = 8
        for j in range(8):
            place = j if group[j] == wanted else 8
            first = min(first, place)
        if first < 8:
            return entry + first
        entry += 8
    while entry < count:
        if column[2 * entry] == low and column[2 * entry + 1] == high:
            return entry
        entry += 1
    return -1
