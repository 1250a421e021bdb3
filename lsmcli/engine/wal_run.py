# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Runs of records in the log, read at once: the plain ops of a replay, and the chain of a log that is copied.

    window   | op 7 | op 8 | op 9 | SCOPE_BEGIN | op 11 ...        one chunk of the ring
             '-------- run ------'
    keys     a      b  c   a                                       in the order of the ops
    values   1      2  -   3

Invariants:
- a record of a run continues the chain, is whole, and has been proved by its checksum, as any record that is applied;
- plain: an op of puts and removes in one tree, the same for the whole run, none larger than this file takes, no value
  out of line. In front of anything else the run ends: the ordinary way (wal_recovery, wal_entry, replay) reads that,
  or words what is wrong with it;
- no size that a record gives is used before it was compared with what is there.

Compiled where a C compiler was at hand, see docs/internals/hot_loops.md; times are of compiled code.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from lsmcli.engine import uncompiled as cython
from lsmcli.engine.checksum import digest
from lsmcli.engine.schema import (
    CHECKSUM_SIZE,
    FLAG_TOMBSTONE,
    WAL_ALIGNMENT,
    WAL_ENTRY,
    WAL_RECORD_HEADER,
    WalRecordKind,
)
from lsmcli.engine.uncompiled import PURE

if cython.compiled:
    import cython  # type: ignore[no-redef]  # seen by the compiler alone, for which it is no module
    from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_FromStringAndSize
    from cython.cimports.libc.string import memcmp

COMPILED: Final = bool(cython.compiled)

_HEADER_AT: Final = WAL_RECORD_HEADER.struct.unpack_from
_ENTRY_AT: Final = WAL_ENTRY.struct.unpack_from

# The same as numbers of C.
_CHECKSUM = cython.declare(cython.Py_ssize_t, CHECKSUM_SIZE)
_HEADER = cython.declare(cython.Py_ssize_t, WAL_RECORD_HEADER.size)
_ENTRY = cython.declare(cython.Py_ssize_t, WAL_ENTRY.size)
_ALIGNMENT = cython.declare(cython.Py_ssize_t, WAL_ALIGNMENT)
_TOMBSTONE = cython.declare(cython.Py_ssize_t, FLAG_TOMBSTONE)
_OP = cython.declare(cython.Py_ssize_t, int(WalRecordKind.OP))
_VIEW_SIZE_MIN = cython.declare(cython.Py_ssize_t, 2048)  # below that a copy costs less than a view
assert (_CHECKSUM, _HEADER, _ENTRY) == (16, 16 + 16 + 8 + 8 + 8 + 8 + 4 + 4, 2 + 1 + 2 + 4), "what _plain_op reads"


class OpRun(NamedTuple):
    """Plain ops, one behind the other."""

    tree_id: int
    keys: list[bytes]
    values: list[bytes | None]  # None: the key is removed
    size: int  # bytes of all keys and values
    end: int  # where in the window the next record is expected
    op: int  # the last one
    op_synced: int  # the largest that a record tells
    chain: bytes  # checksum of the last record


@cython.cclass
class _Run:
    """What has been read so far."""

    data: bytes
    view: Any
    uuid_half: bytes
    key_size_max: cython.Py_ssize_t
    value_size_max: cython.Py_ssize_t
    keys: list[Any]
    values: list[Any]
    tree_id: cython.Py_ssize_t  # 0: not known yet
    size: cython.Py_ssize_t
    at: cython.Py_ssize_t
    op: cython.ulonglong
    op_synced: cython.ulonglong
    chain: bytes


def op_run(
    data: bytes, at: int, chain: bytes, uuid_half: bytes, op: int, key_size_max: int, value_size_max: int
) -> OpRun | None:
    """The plain ops behind `op` from `at` on, with which they are chained; None when there is none.

    0.6 µs per op, interpreted 3.
    """
    assert 0 <= at and len(chain) == CHECKSUM_SIZE and len(uuid_half) == 8
    run = _Run()
    run.data, run.view, run.uuid_half = data, memoryview(data), uuid_half
    run.key_size_max, run.value_size_max = key_size_max, value_size_max
    run.keys, run.values, run.tree_id, run.size = [], [], 0, 0
    run.at, run.op, run.op_synced, run.chain = at, op, 0, chain
    while _take_op(run):
        pass
    if run.op == op:
        return None
    return OpRun(run.tree_id, run.keys, run.values, run.size, run.at, run.op, run.op_synced, run.chain)


def chain_end(data: bytes, chain: bytes) -> bytes:
    """The checksum of the last record, if these bytes are records of any kind one behind the other, each of them intact
    and continuing the chain, which begins with this one; b"" if not. 0.2 µs per record, interpreted 1."""
    assert len(chain) == CHECKSUM_SIZE
    view = memoryview(data)
    at: cython.Py_ssize_t = 0
    room: cython.Py_ssize_t = len(data) - _HEADER
    body_size: cython.ulonglong
    end: cython.Py_ssize_t
    while 0 <= room:
        if data[at + _CHECKSUM : at + 2 * _CHECKSUM] != chain:
            return b""
        body_size = _body_size_at(data, at)
        if body_size > cython.cast(cython.ulonglong, room):
            return b""
        end = at + _HEADER + body_size
        chain = _checksum_of(data, view, at, end)
        if chain != data[at : at + _CHECKSUM]:
            return b""
        at = (end + _ALIGNMENT - 1) & -_ALIGNMENT
        room = len(data) - at - _HEADER
    return chain if at == len(data) else b""


@cython.cfunc
@cython.inline
def _body_size_at(data: bytes, at: cython.Py_ssize_t) -> cython.ulonglong:
    if not cython.compiled:
        return int(_HEADER_AT(data, at)[5])
    return _number(cython.cast(cython.p_const_uchar, PyBytes_AS_STRING(data)) + at + 56, 8)


@cython.cfunc
@cython.inline
def _checksum_of(data: bytes, view: Any, begin: cython.Py_ssize_t, end: cython.Py_ssize_t) -> bytes:
    """Of the record that lies there: its checksum as it should be."""
    if end - begin < _VIEW_SIZE_MIN:
        return digest(data[begin + _CHECKSUM : end])
    return digest(view[begin + _CHECKSUM : end])


@cython.cfunc
def _take_op(run: _Run) -> cython.bint:
    """Takes the record at run.at. False, and nothing has changed, when it is not the next plain op."""
    begin: cython.Py_ssize_t = run.at
    room: cython.Py_ssize_t = len(run.data) - begin - _HEADER
    if room < 0:
        return False
    op: cython.ulonglong
    op_synced: cython.ulonglong
    body_size: cython.ulonglong
    entry_count: cython.Py_ssize_t
    kind: cython.Py_ssize_t
    if cython.compiled:
        head: cython.p_const_uchar = cython.cast(cython.p_const_uchar, PyBytes_AS_STRING(run.data)) + begin
        if memcmp(head + 16, PyBytes_AS_STRING(run.chain), 16) or memcmp(
            head + 32, PyBytes_AS_STRING(run.uuid_half), 8
        ):
            return False
        op, op_synced, body_size = _number(head + 40, 8), _number(head + 48, 8), _number(head + 56, 8)
        entry_count, kind = _number(head + 64, 4), head[68]
    else:
        _, previous, uuid_half, op, op_synced, body_size, entry_count, kind, _, _ = _HEADER_AT(run.data, begin)
        if previous != run.chain or uuid_half != run.uuid_half:
            return False
    if kind != _OP or op != run.op + 1 or op_synced > op or body_size > cython.cast(cython.ulonglong, room):
        return False
    end: cython.Py_ssize_t = begin + _HEADER + body_size
    found: bytes = _checksum_of(run.data, run.view, begin, end)
    if found != run.data[begin : begin + _CHECKSUM]:
        return False
    count: cython.Py_ssize_t = len(run.keys)
    size: cython.Py_ssize_t = _take_entries(run, begin + _HEADER, end, entry_count)
    if size < 0:
        del run.keys[count:], run.values[count:]
        if count == 0:
            run.tree_id = 0
        return False
    run.at = (end + _ALIGNMENT - 1) & -_ALIGNMENT
    run.size += size
    run.op, run.chain = op, found
    if op_synced > run.op_synced:
        run.op_synced = op_synced
    return True


@cython.cfunc
def _take_entries(
    run: _Run, at: cython.Py_ssize_t, end: cython.Py_ssize_t, entry_count: cython.Py_ssize_t
) -> cython.Py_ssize_t:
    """The entries of a body that lies at [at, end); the size of keys and values, -1 when not all of them are plain."""
    size: cython.Py_ssize_t = end - at - _ENTRY * entry_count
    tree_id: cython.Py_ssize_t
    flags: cython.Py_ssize_t
    key_size: cython.Py_ssize_t
    value_size: cython.Py_ssize_t
    if entry_count == 0 or size < 0:
        return -1
    for _ in range(entry_count):
        if end - at < _ENTRY:
            return -1
        if cython.compiled:
            start: cython.p_const_uchar = cython.cast(cython.p_const_uchar, PyBytes_AS_STRING(run.data)) + at
            tree_id, flags = _number(start, 2), start[2]
            key_size, value_size = _number(start + 3, 2), _number(start + 5, 4)
        else:
            tree_id, flags, key_size, value_size = _ENTRY_AT(run.data, at)
        at += _ENTRY
        if run.tree_id == 0:
            run.tree_id = tree_id
        if tree_id == 0 or tree_id != run.tree_id or not 0 < key_size <= run.key_size_max:
            return -1
        if value_size > run.value_size_max or key_size + value_size > end - at:
            return -1
        if flags == 0:
            run.values.append(_bytes_at(run, at + key_size, value_size))
        elif flags == _TOMBSTONE and value_size == 0:
            run.values.append(None)
        else:
            return -1
        run.keys.append(_bytes_at(run, at, key_size))
        at += key_size + value_size
    return size if at == end else -1


@cython.cfunc
@cython.inline
def _bytes_at(run: _Run, at: cython.Py_ssize_t, size: cython.Py_ssize_t) -> bytes:
    if not cython.compiled:
        return run.data[at : at + size]
    found: bytes = PyBytes_FromStringAndSize(PyBytes_AS_STRING(run.data) + at, size)
    return found


# Compiled only.


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _number(start: cython.p_const_uchar, width: cython.Py_ssize_t) -> cython.ulonglong:
    """Little-endian, of so many bytes."""
    number: cython.ulonglong = 0
    i: cython.Py_ssize_t
    for i in range(width):
        number |= cython.cast(cython.ulonglong, start[i]) << (8 * i)
    return number


if not (TYPE_CHECKING or COMPILED or PURE):
    # The compiled functions take the place of those above.
    with suppress(ImportError):
        from lsmcli.engine._wal_run import OpRun, chain_end, op_run, COMPILED  # noqa: F401, I001
