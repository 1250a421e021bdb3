# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""One entry of a value block, by its place: functions over bytes, for compiled code alone.

    raw    ... | offsets of keys | offsets of values | flags | keys | values |
               ^ offsets_at        each of them count + 1      ^      ^ values_at
                                                               '- keys_at: what the others add up to

Invariants:
- the columns lie within raw, which who calls has compared; an offset is compared with the size of its column before it
  is used;
- no function keeps what it is given, nor raises anything about data.

lookup calls these as functions of C: _block_entry.pxd declares them. Interpreted code does not import this module.

Compiled where a C compiler was at hand, see docs/internals/hot_loops.md.
"""

from __future__ import annotations

from typing import Final

from lsmcli.engine import uncompiled as cython
from lsmcli.engine.lookup_interpreted import FLAG_TOMBSTONE, PERHAPS
from lsmcli.engine.missing import MISSING

if cython.compiled:
    import cython  # type: ignore[no-redef]  # seen by the compiler alone, for which it is no module
    from cython.cimports.cpython.bytes import PyBytes_AS_STRING
    from cython.cimports.libc.string import memcmp

COMPILED: Final = bool(cython.compiled)

_NOTHING = cython.declare(object, MISSING)
_PERHAPS = cython.declare(object, PERHAPS)
_TOMBSTONE = cython.declare(cython.uchar, FLAG_TOMBSTONE)


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
def value_of(
    raw: bytes,
    offsets_at: cython.Py_ssize_t,
    count: cython.Py_ssize_t,
    width: cython.Py_ssize_t,
    values_at: cython.Py_ssize_t,
    entry: cython.Py_ssize_t,
    key: bytes,
) -> object:
    """The value of an entry, None for a tombstone; MISSING when it has another key; or PERHAPS."""
    data: cython.p_const_uchar = cython.cast(cython.p_const_uchar, PyBytes_AS_STRING(raw))
    column: cython.p_const_uchar = data + offsets_at
    flags_at: cython.Py_ssize_t = offsets_at + 2 * (count + 1) * width
    keys_at: cython.Py_ssize_t = flags_at + count
    if entry >= count:
        return _PERHAPS
    start: cython.Py_ssize_t = _offset(column, entry, width)
    stop: cython.Py_ssize_t = _offset(column, entry + 1, width)
    if not start <= stop <= values_at - keys_at:
        return _PERHAPS
    if stop - start != len(key) or memcmp(data + keys_at + start, PyBytes_AS_STRING(key), stop - start) != 0:
        return _NOTHING
    column += (count + 1) * width
    start = _offset(column, entry, width)
    stop = _offset(column, entry + 1, width)
    if not start <= stop <= len(raw) - values_at:
        return _PERHAPS
    flag: cython.uchar = data[flags_at + entry]
    if flag == 0:
        return data[values_at + start : values_at + stop]
    return None if flag == _TOMBSTONE and start == stop else _PERHAPS


@cython.cfunc
@cython.exceptval(check=False)
def touch(
    raw: bytes,
    offsets_at: cython.Py_ssize_t,
    count: cython.Py_ssize_t,
    width: cython.Py_ssize_t,
    values_at: cython.Py_ssize_t,
    entry: cython.Py_ssize_t,
    offsets_only: cython.bint,
) -> cython.uint:
    """Brings the offsets of an entry near, or its key and its value as far as its offsets can be right."""
    if entry >= count:
        return 0
    size: cython.Py_ssize_t = len(raw)
    data: cython.p_const_uchar = cython.cast(cython.p_const_uchar, PyBytes_AS_STRING(raw))
    flags_at: cython.Py_ssize_t = offsets_at + 2 * (count + 1) * width
    key_at: cython.Py_ssize_t = offsets_at + entry * width
    value_at: cython.Py_ssize_t = key_at + (count + 1) * width
    end: cython.Py_ssize_t = flags_at + entry
    if not offsets_only:
        end = values_at + _offset(data + value_at, 1, width) - 1
        key_at = flags_at + count + _offset(data + key_at, 0, width)
        value_at = values_at + _offset(data + value_at, 0, width)
    near: cython.uint = 0
    if key_at < size and value_at < size and 0 <= end < size:
        near = data[key_at] + data[value_at] + data[end]
    return near
