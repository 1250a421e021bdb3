# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The entries of a memory table, in sorted runs that are merged where they are needed. Compiled only.

    runs   c m x | a p | b f        heap, least key first    a(1) b(2) c(0)

Invariants:
- the objects are held as long as their entries may be asked for, so that who reads them needs no interpreter;
- of each run's next keys 8 bytes, behind what all keys share, are at hand as numbers: most comparisons need no key;
- each entry is given once, in the order of keys.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from lsmcli.engine import uncompiled as cython
from lsmcli.engine.uncompiled import PURE

if cython.compiled:
    import cython  # type: ignore[no-redef]  # seen by the compiler alone, for which it is no module
    from cython.cimports.cpython.bytearray import PyByteArray_AS_STRING, PyByteArray_FromStringAndSize
    from cython.cimports.cpython.bytes import PyBytes_AS_STRING
    from cython.cimports.libc.string import memcmp
    from cython.cimports.lsmcli.engine.compiled_types import Entry, PyObject_GC_UnTrack, RunsState

COMPILED: Final = bool(cython.compiled)

_WINDOW = cython.declare(cython.Py_ssize_t, 16)  # keys of a run whose beginnings are at hand


@cython.final
@cython.cclass
class MemoryRuns:
    """The entries of a memory table in sorted runs, as pointers to the bytes of their objects, which it holds."""

    count: cython.Py_ssize_t
    count_max: cython.Py_ssize_t
    run_count_max: cython.Py_ssize_t
    memory: bytearray  # of a RunsState
    columns: list[bytearray]
    held: list[tuple[bytes, ...]]

    def __init__(self, count_max: int, run_count_max: int) -> None:
        """Room for this many entries, 25 bytes each, in this many runs."""
        self.count_max, self.run_count_max = count_max, run_count_max
        self.count = 0
        self.columns, self.held = [], []
        _reserve(self)

    def add(self, keys: list[bytes], values: list[bytes], flags: bytes, order: bytes) -> None:
        """One more run, in the order that sort_order() gave for these keys, which are all different. 0.02 µs each."""
        assert 0 < len(keys) == len(values) == len(flags) == len(order) // 4 <= self.count_max - self.count
        _add_run(self, keys, values, flags, order)

    def begin(self, shared: int) -> None:
        """The last run was added, and all keys share their first `shared` bytes."""
        _begin(self, shared)

    def source(self) -> int:
        """The address of an EntrySource, which gives each entry once. It is there as long as this object is."""
        return _source(self)

    def release(self) -> bool:
        """Lets go of the objects of one run, which nobody reads any more; False: there were none left."""
        if not self.held:
            return False
        del self.held[-2:]
        return True


# Compiled only, from here to the end.


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _start_of(column: bytearray) -> cython.p_uchar:
    return cython.cast(cython.p_uchar, PyByteArray_AS_STRING(column))


@cython.cfunc
def _reserve(runs: MemoryRuns) -> object:
    """Makes the columns. They are not filled with zeros, which would take a millisecond or more at once."""
    count: cython.Py_ssize_t = runs.count_max
    run_count: cython.Py_ssize_t = runs.run_count_max
    size: cython.Py_ssize_t
    column: bytearray
    for size in (8 * count, 8 * count, 4 * count, 4 * count, count, 4 * (run_count + 1), 4 * run_count,
                 8 * _WINDOW * run_count, 8 * run_count, 4 * run_count):  # fmt: skip
        column = PyByteArray_FromStringAndSize(cython.NULL, size)
        runs.columns.append(column)
    runs.memory = bytearray(cython.sizeof(RunsState))
    memory = cython.cast(cython.pointer(RunsState), _start_of(runs.memory))
    memory.keys = cython.cast(cython.p_ulonglong, _start_of(runs.columns[0]))
    memory.values = cython.cast(cython.p_ulonglong, _start_of(runs.columns[1]))
    memory.key_sizes = cython.cast(cython.p_uint, _start_of(runs.columns[2]))
    memory.value_sizes = cython.cast(cython.p_uint, _start_of(runs.columns[3]))
    memory.flags = _start_of(runs.columns[4])
    memory.starts = cython.cast(cython.p_uint, _start_of(runs.columns[5]))
    memory.heads = cython.cast(cython.p_uint, _start_of(runs.columns[6]))
    memory.windows = cython.cast(cython.p_ulonglong, _start_of(runs.columns[7]))
    memory.numbers = cython.cast(cython.p_ulonglong, _start_of(runs.columns[8]))
    memory.places = cython.cast(cython.p_uint, _start_of(runs.columns[9]))
    memory.starts[0] = 0
    memory.entries.load = _load
    memory.entries.source = memory
    return None


@cython.cfunc
def _begin(runs: MemoryRuns, shared: cython.Py_ssize_t) -> object:
    memory = cython.cast(cython.pointer(RunsState), _start_of(runs.memory))
    memory.shared = shared
    memory.heap_size = -1
    return None


@cython.cfunc
def _source(runs: MemoryRuns) -> cython.ulonglong:
    memory = cython.cast(cython.pointer(RunsState), _start_of(runs.memory))
    address: cython.ulonglong = cython.cast(cython.ulonglong, cython.address(memory.entries))
    return address


@cython.cfunc
def _add_run(runs: MemoryRuns, keys: list[bytes], values: list[bytes], flags: bytes, order: bytes) -> object:
    count: cython.Py_ssize_t = len(keys)
    at: cython.Py_ssize_t = runs.count
    i: cython.Py_ssize_t
    place: cython.Py_ssize_t
    key: bytes
    value: bytes
    places: cython.p_const_uint = cython.cast(cython.p_const_uint, PyBytes_AS_STRING(order))
    flags_in: cython.p_const_uchar = cython.cast(cython.p_const_uchar, PyBytes_AS_STRING(flags))
    memory = cython.cast(cython.pointer(RunsState), _start_of(runs.memory))
    assert memory.run_count < runs.run_count_max
    for i in range(count):
        place = places[i]
        if place >= count:
            raise IndexError("an order of other keys")
        key = keys[place]
        value = values[place]
        assert type(key) is bytes and type(value) is bytes
        memory.keys[at + i] = cython.cast(cython.ulonglong, PyBytes_AS_STRING(key))
        memory.values[at + i] = cython.cast(cython.ulonglong, PyBytes_AS_STRING(value))
        memory.key_sizes[at + i] = len(key)
        memory.value_sizes[at + i] = len(value)
        memory.flags[at + i] = flags_in[place]
    _hold(runs, tuple(keys))
    _hold(runs, tuple(values))
    runs.count = at + count
    memory.run_count += 1
    memory.starts[memory.run_count] = runs.count
    return None


@cython.cfunc
def _hold(runs: MemoryRuns, objects: tuple[bytes, ...]) -> object:
    """Keeps these alive until release(). The garbage collector, which would see by itself that they are bytes, has to
    touch each of them for that: all at once, a pause of 50 ms for a table of 64 MiB."""
    PyObject_GC_UnTrack(cython.cast(cython.p_void, objects))
    runs.held.append(objects)
    return None


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _load(source: cython.p_void, loaded: cython.p_void) -> cython.bint:
    """The least of the next entries of all runs; False: there is none."""
    m = cython.cast(cython.pointer(RunsState), source)
    entry = cython.cast(cython.pointer(Entry), loaded)
    place: cython.Py_ssize_t
    at: cython.Py_ssize_t
    if m.heap_size < 0:
        _begin_heap(m)
    if m.heap_size == 0:
        return False
    place = m.places[0]
    at = m.heads[place]
    entry.key = cython.cast(cython.p_const_uchar, m.keys[at])
    entry.key_size = m.key_sizes[at]
    entry.value = cython.cast(cython.p_const_uchar, m.values[at])
    entry.value_size = m.value_sizes[at]
    entry.flag = m.flags[at]
    entry.loaded = True
    at += 1
    m.heads[place] = at
    if at < m.starts[place + 1]:
        m.numbers[0] = _number(m, place)
    else:
        m.heap_size -= 1
        m.numbers[0] = m.numbers[m.heap_size]
        m.places[0] = m.places[m.heap_size]
    _sink(m, 0)
    return True


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _begin_heap(argument: cython.p_void) -> cython.void:
    m = cython.cast(cython.pointer(RunsState), argument)
    i: cython.Py_ssize_t
    m.heap_size = m.run_count
    for i in range(m.run_count):
        m.heads[i] = m.starts[i]
        m.places[i] = i
        m.numbers[i] = _number(m, i)
    for i in range(m.heap_size // 2, 0, -1):
        _sink(m, i - 1)


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def _number(argument: cython.p_void, place: cython.Py_ssize_t) -> cython.ulonglong:
    """8 bytes of a run's next key, zeros behind its end, as a number: in the order of keys, or equal.

    Made for several keys at a time: each is a way to memory, as is each value that will be copied, and the processor
    goes several of them side by side."""
    m = cython.cast(cython.pointer(RunsState), argument)
    at: cython.Py_ssize_t = m.heads[place]
    behind: cython.Py_ssize_t = (at - m.starts[place]) % _WINDOW
    i: cython.Py_ssize_t
    j: cython.Py_ssize_t
    size: cython.Py_ssize_t
    key: cython.p_const_uchar
    number: cython.ulonglong
    window: cython.p_ulonglong = m.windows + place * _WINDOW
    if behind == 0:
        for i in range(at, min(at + _WINDOW, cython.cast(cython.Py_ssize_t, m.starts[place + 1]))):
            key = cython.cast(cython.p_const_uchar, m.keys[i]) + m.shared
            size = m.key_sizes[i] - m.shared
            number = 0
            for j in range(8):
                number <<= 8
                if j < size:
                    number |= key[j]
            window[i - at] = number
            if m.value_sizes[i]:
                m.touched += cython.cast(cython.p_const_uchar, m.values[i])[m.value_sizes[i] - 1]
    number = window[behind]
    return number


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _sink(argument: cython.p_void, at: cython.Py_ssize_t) -> cython.void:
    """Moves the run at this place of the heap down until both runs below it come later."""
    m = cython.cast(cython.pointer(RunsState), argument)
    number: cython.ulonglong = m.numbers[at]
    place: cython.uint = m.places[at]
    below: cython.Py_ssize_t
    while 2 * at + 1 < m.heap_size:
        below = 2 * at + 1
        if below + 1 < m.heap_size and (
            m.numbers[below + 1] < m.numbers[below]
            or (m.numbers[below + 1] == m.numbers[below] and _comes_before(m, m.places[below + 1], m.places[below]))
        ):
            below += 1
        if number < m.numbers[below] or (number == m.numbers[below] and _comes_before(m, place, m.places[below])):
            break
        m.numbers[at] = m.numbers[below]
        m.places[at] = m.places[below]
        at = below
    m.numbers[at] = number
    m.places[at] = place


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _comes_before(argument: cython.p_void, a: cython.Py_ssize_t, b: cython.Py_ssize_t) -> cython.bint:
    """Whether the next key of run a is below that of run b."""
    m = cython.cast(cython.pointer(RunsState), argument)
    i: cython.Py_ssize_t = m.heads[a]
    j: cython.Py_ssize_t = m.heads[b]
    return _compare(
        cython.cast(cython.p_const_uchar, m.keys[i]), m.key_sizes[i],
        cython.cast(cython.p_const_uchar, m.keys[j]), m.key_sizes[j],
    ) < 0  # fmt: skip


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def _compare(
    a: cython.p_const_uchar, a_size: cython.Py_ssize_t, b: cython.p_const_uchar, b_size: cython.Py_ssize_t
) -> cython.Py_ssize_t:
    """Negative, 0 or positive, as a is below, equal to or above b."""
    order: cython.Py_ssize_t = memcmp(a, b, min(a_size, b_size))
    if order == 0:
        order = a_size - b_size
    return order


if not (TYPE_CHECKING or COMPILED or PURE):
    # The compiled class takes the place of the one above, which has no use.
    with suppress(ImportError):
        from lsmcli.engine._memory_runs import COMPILED, MemoryRuns
