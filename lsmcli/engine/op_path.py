# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The short way of an op: from keys and values to a record in the log and entries in a memory table.

    OpGate -- forest --> OpForest -- trees ---> OpTree -- table_mutable --> OpMemory     entries, weight
    lock                    |------- bar -----> OpBar                                    fill
                            '------- log -----> OpLog -- storage.write(offset, record)   op, position, chain

Each class is the part of a larger one (Forest, Tree, TableMemory, Bar, Wal) that every op touches: its attributes are
fields of C when compiled, and the larger class inherits them: nothing is kept twice. The gate is the database's lock.

Invariants:
- an op is in the log before it is in a memory table, by one write of the storage;
- put_quick() answers False with nothing changed whenever more is to be done than to write a record and an entry (a
  slice is due, the log has no room, a key is not bytes): the long way then does it, and words the errors; the gate has
  done the slice of compaction that is due before;
- after an error of the storage the op is not counted; one behind the write leaves log and memory apart: given up.

Compiled where a C compiler was at hand, see docs/internals/hot_loops.md; times are of compiled code.
"""

from __future__ import annotations

import struct
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from lsmcli.engine import uncompiled as cython
from lsmcli.engine.checksum import digest
from lsmcli.engine.constants import ENTRY_WEIGHT, TREE_ID_MAIN
from lsmcli.engine.counted_lock import CountedLock
from lsmcli.engine.guard import give_up_after
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
    from cython.cimports.cpython.pythread import PyThread_get_thread_ident
    from cython.cimports.libc.string import memcpy, memset

COMPILED: Final = bool(cython.compiled)

# The part of a record's header that the checksum covers: everything behind the checksum, its first field.
_COVERED: Final = struct.Struct("<" + "".join(code for _, code in WAL_RECORD_HEADER.fields[1:]))
_PACK_COVERED: Final = _COVERED.pack
_PACK_ENTRY: Final = WAL_ENTRY.struct.pack
_PADDING: Final = tuple(bytes(-size % WAL_ALIGNMENT) for size in range(WAL_ALIGNMENT))

# The same as numbers of C.
_CHECKSUM = cython.declare(cython.Py_ssize_t, CHECKSUM_SIZE)
_HEAD = cython.declare(cython.Py_ssize_t, _COVERED.size)
_ENTRY = cython.declare(cython.Py_ssize_t, WAL_ENTRY.size)
_ALIGNMENT = cython.declare(cython.Py_ssize_t, WAL_ALIGNMENT)
_WEIGHT = cython.declare(cython.Py_ssize_t, ENTRY_WEIGHT)
_TOMBSTONE = cython.declare(cython.Py_ssize_t, FLAG_TOMBSTONE)
_OP = cython.declare(cython.Py_ssize_t, int(WalRecordKind.OP))
assert (_CHECKSUM, _HEAD, _ENTRY) == (16, 16 + 8 + 8 + 8 + 8 + 4 + 4, 2 + 1 + 2 + 4), "what _head and _put_entry write"


@cython.cclass
class OpLog:
    """The end of the log, where the next record goes: see Wal, which is one."""

    storage: Any = cython.declare(object, visibility="public")
    offset = cython.declare(cython.Py_ssize_t, visibility="public")  # of the ring, in the file
    size = cython.declare(cython.Py_ssize_t, visibility="public")  # of the ring
    op = cython.declare(cython.ulonglong, visibility="public")
    position = cython.declare(cython.Py_ssize_t, visibility="public")
    chain = cython.declare(bytes, visibility="public")
    appended = cython.declare(cython.ulonglong, visibility="public")
    appended_start = cython.declare(cython.ulonglong, visibility="public")  # `appended` where live records begin
    op_synced = cython.declare(cython.ulonglong, visibility="public")
    op_told = cython.declare(cython.ulonglong, visibility="public")
    uuid_half = cython.declare(bytes, visibility="public")

    def append_record(self, kind: int, op: int, body: bytes, entry_count: int) -> int:
        """Write a record with this op, and return that; not synced. The caller has asked fits()."""
        covered = _head(self, kind, op, len(body), entry_count)
        if cython.compiled:
            memcpy(PyBytes_AS_STRING(covered) + _HEAD, PyBytes_AS_STRING(body), len(body))
        else:
            covered += body
        _append(self, op, covered)
        return op

    def skip_end(self, appended: int) -> None:
        """Leave the ring's end unused, and nothing there that a reader could take for the next record.

        An append that was interrupted behind its write can have left a whole record, unknown to us.
        """
        assert appended - self.appended_start <= self.size, "the caller asks fits() first"
        header_size = WAL_RECORD_HEADER.size
        if self.size - self.position >= header_size:
            self.storage.write(self.offset + self.position, bytes(header_size))


@cython.cclass
class OpMemory:
    """The entries of a memory table: see TableMemory, which is one."""

    entries: Any = cython.declare(object, visibility="public")  # newest stored value, None: removed; see entry_map
    weight = cython.declare(cython.Py_ssize_t, visibility="public")  # bytes: key + value + ENTRY_WEIGHT of every put
    plain = cython.declare(cython.bint, visibility="public")  # no tombstone and no large value was ever put
    # Logs or large values: someone must hear of a value before it is overwritten, so put() and remove() are asked.
    watched = cython.declare(cython.bint, visibility="public")


@cython.cclass
class OpTree:
    """What an op needs of a tree."""

    table_mutable = cython.declare(OpMemory, visibility="public")


@cython.cclass
class OpBar:
    """How full the bar is, in weight, and when the next slice of compaction is due."""

    fill = cython.declare(cython.Py_ssize_t, visibility="public")
    fill_next = cython.declare(cython.Py_ssize_t, visibility="public")


@cython.cclass
class OpForest:
    """The part of a forest that each op goes through. One thread at a time: the database locks."""

    trees = cython.declare(dict, visibility="public")  # by id
    bar = cython.declare(OpBar, visibility="public")
    log: Any = cython.declare(OpLog, visibility="public")  # an OpLog; None in a reader
    scope: Any = cython.declare(object, visibility="public")
    op = cython.declare(cython.ulonglong, visibility="public")
    bytes_put = cython.declare(cython.ulonglong, visibility="public")  # keys and values, since the file's creation
    key_size_max = cython.declare(cython.Py_ssize_t, visibility="public")
    value_inline_max = cython.declare(cython.Py_ssize_t, visibility="public")

    def put_quick(self, tree_id: int, key: object, value: object) -> bool:
        """One op that puts a value or, with None, removes the key. False: nothing has happened, go the long way.

        0.4 µs beside the write, interpreted 2.1. Raises NoSpaceError, OutcomeUnknownError.
        """
        return _put_quick(self, tree_id, key, value)

    def write_columns(self, tree_id: int, keys: list[bytes], values: list[bytes | None], size: int) -> int:
        """One atomic op of these checked puts and removes (value None), in their order; returns its number.

        size: bytes of all keys and values. The caller has made room, see Forest.prepare. 0.1 µs per entry,
        interpreted 0.6. Raises NoSpaceError, OutcomeUnknownError.
        """
        assert len(keys) == len(values) and tree_id in self.trees
        log: OpLog = self.log
        _append(log, log.op + 1, _columns_record(log, tree_id, keys, values, size))
        self.op = log.op
        self.insert_columns(tree_id, keys, values, size)
        return self.op

    def insert_columns(self, tree_id: int, keys: list[bytes], values: list[bytes | None], size: int) -> None:
        """The effect of ops that are in the log, as of write_columns(). 0.05 µs per entry, interpreted 0.2."""
        _insert_columns(self.trees[tree_id].table_mutable, keys, values, size)
        _count(self, len(keys), size)


@cython.cclass
class OpGate:
    """The lock of a database, and what is behind it: a reentrant lock, as threading.RLock is one.

    While no thread waits it is two fields, changed under the interpreter's own lock; a system's lock comes into it
    when a second thread wants in. That one waits for `_real`, which it takes in the name of the owner:

        owner A, count 1                          A owns, nobody waits
        owner A, count 1, taken; B waits          B took _real for A, and waits for it
        count 0, B waits; then owner B, taken     A has released _real; who comes now waits behind B
    """

    forest: OpForest | None = cython.declare(OpForest, visibility="public")  # where puts may go the short way
    _owner = cython.declare(cython.ulonglong)  # thread, when count is not 0
    _count = cython.declare(cython.Py_ssize_t)
    _waiting = cython.declare(cython.Py_ssize_t)  # threads
    _taken = cython.declare(cython.bint)  # _real is held by the owner
    _real: Any = cython.declare(object)
    count_address = cython.declare(cython.ulonglong, visibility="public")  # of _count, for compiled readers; else 0
    plain: Any = cython.declare(object, visibility="public")  # interpreted: the lock itself, without our calls

    def __init__(self) -> None:
        self.forest = None
        self._owner, self._count, self._waiting, self._taken = 0, 0, 0, False
        self.plain = None if cython.compiled else CountedLock()
        self._real = self.plain or threading.Lock()
        self.count_address = cython.cast(cython.ulonglong, cython.address(self._count)) if cython.compiled else 0

    def __enter__(self) -> None:
        """Waits until this thread owns the lock."""
        _enter(self)

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        """Gives back what __enter__() took. RuntimeError when this thread does not own the lock."""
        _leave(self)


# Methods of a Database, as functions: compiled they are called without a frame of the interpreter.


def put(database: Any, key: Any, value: Any) -> None:
    """Sets the value of the key, as one op. Raises LimitError, TypeError, FileError."""
    if value is None or not _op_quick(database.lock, database, key, value):
        database.put_slowly(key, value)


def delete(database: Any, key: Any) -> None:
    """Removes the key, as one op; it need not be there."""
    if not _op_quick(database.lock, database, key, None):
        database.delete_slowly(key)


# The lock.


@cython.cfunc
@cython.inline
def _enter(gate: OpGate) -> object:
    if not cython.compiled:
        return gate._real.acquire()
    me: cython.ulonglong = PyThread_get_thread_ident()
    if gate._count == 0 and gate._waiting == 0:
        gate._owner = me
        gate._count = 1
    elif gate._count != 0 and gate._owner == me:
        gate._count += 1
    else:
        _wait(gate, me)
    return None


@cython.cfunc
def _wait(gate: OpGate, me: cython.ulonglong) -> object:
    if not gate._taken and gate._waiting == 0:
        gate._real.acquire(False)  # nobody has it: the owner did not need it so far
        gate._taken = True
    gate._waiting += 1
    try:
        gate._real.acquire()
    finally:
        gate._waiting -= 1
    gate._taken, gate._owner, gate._count = True, me, 1
    return None


@cython.cfunc
@cython.inline
def _leave(gate: OpGate) -> object:
    if not cython.compiled:
        return gate._real.release()
    if gate._count == 0 or gate._owner != PyThread_get_thread_ident():
        raise RuntimeError("cannot release a lock that is not held")
    gate._count -= 1
    if gate._count == 0 and gate._taken:
        gate._taken = False
        gate._real.release()
    return None


# Ops.


@cython.cfunc
def _op_quick(gate: OpGate, database: object, key: object, value: object) -> cython.bint:
    """_put_quick() into the main tree, after what compaction is due; the database is given up after an error."""
    _enter(gate)
    try:
        forest = gate.forest
        if forest is not None and forest.bar.fill >= forest.bar.fill_next:
            cython.cast(object, forest).advance()
        return forest is not None and _put_quick(forest, TREE_ID_MAIN, key, value)
    except BaseException as error:
        give_up_after(database, error)  # type: ignore[arg-type]  # a Database, of which nothing is known here
        raise
    finally:
        _leave(gate)


@cython.cfunc
def _put_quick(forest: OpForest, tree_id: Any, key: Any, value: Any) -> cython.bint:
    tree: Any = forest.trees.get(tree_id)
    if tree is None or forest.log is None:
        return False
    log: OpLog = forest.log
    bar: OpBar = forest.bar
    if bar.fill >= bar.fill_next or type(key) is not bytes:
        return False
    key_size: cython.Py_ssize_t = len(cython.cast(bytes, key))
    value_size: cython.Py_ssize_t = 0
    if not 0 < key_size <= forest.key_size_max:
        return False
    if value is not None:
        if type(value) is not bytes:
            return False
        value_size = len(cython.cast(bytes, value))
        if value_size > forest.value_inline_max:
            return False
    size: cython.Py_ssize_t = key_size + value_size
    stored_size: cython.Py_ssize_t = (_CHECKSUM + _HEAD + _ENTRY + size + _ALIGNMENT - 1) & -_ALIGNMENT
    room: cython.Py_ssize_t = log.size - log.position
    if log.appended - log.appended_start + stored_size + (room if stored_size > room else 0) > log.size:
        return False
    covered = _head(log, _OP, log.op + 1, _ENTRY + size, 1)
    if cython.compiled:
        out: cython.p_uchar = cython.cast(cython.p_uchar, PyBytes_AS_STRING(covered))
        _put_entry(out + _HEAD, tree_id, key, value)
    else:
        covered += _entry(tree_id, key, value)
    _append(log, log.op + 1, covered)
    forest.op = log.op
    memory: OpMemory = tree.table_mutable
    if memory.watched:
        _insert_watched(memory, key, value)
    else:
        memory.entries[key] = value
        memory.weight += size + _WEIGHT
        if value is None:
            memory.plain = False
    _count(forest, 1, size)
    return True


@cython.cfunc
@cython.inline
def _count(forest: OpForest, count: cython.Py_ssize_t, size: cython.Py_ssize_t) -> object:
    """An op with so many entries, of so many bytes, has happened."""
    forest.bytes_put += size
    forest.bar.fill += size + _WEIGHT * count
    if forest.scope is not None:
        forest.scope.changes += count
    return None


# Memory.


@cython.cfunc
def _insert_watched(table: Any, key: object, value: object) -> object:
    """An entry goes into a memory table that has to look at what it replaces."""
    if value is None:
        table.remove(key)
    else:
        table.put(key, value)
    return None


@cython.cfunc
def _insert_columns(memory: OpMemory, keys: list[Any], values: list[Any], size: cython.Py_ssize_t) -> object:
    """The entries of an op that is in the log go into the memory table."""
    i: cython.Py_ssize_t
    if memory.watched:
        for i in range(len(keys)):
            _insert_watched(memory, keys[i], values[i])
        return None
    entries: Any = memory.entries
    if cython.compiled:
        for i in range(len(keys)):
            entries[keys[i]] = values[i]
    else:
        entries.update(zip(keys, values, strict=True))
    memory.weight += size + _WEIGHT * len(keys)
    if None in values:
        memory.plain = False
    return None


# Records.


@cython.cfunc
def _append(log: OpLog, op: cython.ulonglong, covered: bytes) -> object:
    """Writes a record, which lacks its checksum, at the end of the log."""
    position: cython.Py_ssize_t = log.position
    covered_size: cython.Py_ssize_t = len(covered)
    stored_size: cython.Py_ssize_t = (_CHECKSUM + covered_size + _ALIGNMENT - 1) & -_ALIGNMENT
    appended: cython.ulonglong = log.appended + stored_size
    if position + stored_size > log.size:
        appended += log.size - position
        log.skip_end(appended)
        position = 0
    live_size: cython.Py_ssize_t = appended - log.appended_start
    assert live_size <= log.size, "the caller asks fits() first"
    chain: bytes = digest(covered)
    if cython.compiled:
        record: bytes = PyBytes_FromStringAndSize(cython.NULL, stored_size)
        out: cython.p_uchar = cython.cast(cython.p_uchar, PyBytes_AS_STRING(record))
        memcpy(out, PyBytes_AS_STRING(chain), _CHECKSUM)
        memcpy(out + _CHECKSUM, PyBytes_AS_STRING(covered), covered_size)
        memset(out + _CHECKSUM + covered_size, 0, stored_size - _CHECKSUM - covered_size)
    else:
        record = chain + covered + _PADDING[covered_size % WAL_ALIGNMENT]
    op_synced: cython.ulonglong = log.op_synced
    log.storage.write(log.offset + position, record)
    log.op, log.chain, log.op_told = op, chain, op_synced
    log.position, log.appended = position + stored_size, appended
    return None


@cython.cfunc
def _head(
    log: OpLog,
    kind: cython.Py_ssize_t,
    op: cython.ulonglong,
    body_size: cython.Py_ssize_t,
    entry_count: cython.Py_ssize_t,
) -> bytes:
    """The header of a new record without its checksum; compiled with room for the body behind it."""
    op_synced: cython.ulonglong = log.op_synced
    if not cython.compiled:
        return _PACK_COVERED(log.chain, log.uuid_half, op, op_synced, body_size, entry_count, kind, 0, 0)
    assert len(log.chain) == 16 and len(log.uuid_half) == 8
    covered: bytes = PyBytes_FromStringAndSize(cython.NULL, _HEAD + body_size)
    out: cython.p_uchar = cython.cast(cython.p_uchar, PyBytes_AS_STRING(covered))
    memcpy(out, PyBytes_AS_STRING(log.chain), 16)
    memcpy(out + 16, PyBytes_AS_STRING(log.uuid_half), 8)
    _put_number(out + 24, op, 8)
    _put_number(out + 32, op_synced, 8)
    _put_number(out + 40, body_size, 8)
    _put_number(out + 48, entry_count, 4)
    _put_number(out + 52, kind, 4)
    return covered


@cython.cfunc
def _columns_record(
    log: OpLog, tree_id: cython.Py_ssize_t, keys: list[Any], values: list[Any], size: cython.Py_ssize_t
) -> bytes:
    """The record of an op with these entries, without its checksum."""
    i: cython.Py_ssize_t
    count: cython.Py_ssize_t = len(keys)
    total: cython.Py_ssize_t = 0
    covered = _head(log, _OP, log.op + 1, _ENTRY * count + size, count)
    if not cython.compiled:
        covered += b"".join([_entry(tree_id, key, value) for key, value in zip(keys, values, strict=True)])
        assert len(covered) == _HEAD + _ENTRY * count + size
        return covered
    for i in range(count):
        assert type(keys[i]) is bytes and (values[i] is None or type(values[i]) is bytes)
        total += len(cython.cast(bytes, keys[i]))
        if values[i] is not None:
            total += len(cython.cast(bytes, values[i]))
    assert total == size
    out: cython.p_uchar = cython.cast(cython.p_uchar, PyBytes_AS_STRING(covered)) + _HEAD
    for i in range(count):
        out = _put_entry(out, tree_id, keys[i], values[i])
    return covered


def _entry(tree_id: int, key: bytes, value: bytes | None) -> bytes:
    """Interpreted: one entry as it is stored, a WalEntry before its key and its value."""
    if value is None:
        return _PACK_ENTRY(tree_id, FLAG_TOMBSTONE, len(key), 0) + key
    return _PACK_ENTRY(tree_id, 0, len(key), len(value)) + key + value


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _put_entry(out: cython.p_uchar, tree_id: cython.Py_ssize_t, key: bytes, value: Any) -> cython.p_uchar:
    """Compiled: writes an entry, and answers where the next one goes."""
    key_size: cython.Py_ssize_t = len(key)
    value_size: cython.Py_ssize_t = 0
    if value is not None:
        value_size = len(cython.cast(bytes, value))
    _put_number(out, tree_id, 2)
    _put_number(out + 2, _TOMBSTONE if value is None else 0, 1)
    _put_number(out + 3, key_size, 2)
    _put_number(out + 5, value_size, 4)
    memcpy(out + _ENTRY, PyBytes_AS_STRING(key), key_size)
    if value_size:
        memcpy(out + _ENTRY + key_size, PyBytes_AS_STRING(cython.cast(bytes, value)), value_size)
    return out + _ENTRY + key_size + value_size


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _put_number(out: cython.p_uchar, number: cython.ulonglong, width: cython.Py_ssize_t) -> cython.p_uchar:
    """Little-endian, in `width` bytes."""
    i: cython.Py_ssize_t
    for i in range(width):
        out[i] = (number >> (8 * i)) & 0xFF
    return out + width


if not (TYPE_CHECKING or COMPILED or PURE):
    # The compiled classes take the place of those above, where they were built, for the importers of this module.
    with suppress(ImportError):
        from lsmcli.engine._op_path import (  # noqa: F401, I001
            OpBar, OpForest, OpGate, OpLog, OpMemory, OpTree, COMPILED, delete, put,
        )  # fmt: skip
