# cython: language_level=3
"""A second thread, which works beside the one that has asked it to, without the interpreter. Compiled only.

Invariants:
- it never touches a Python object nor the interpreter's lock, and the interpreter does not know of it: who posts work
  owns what the work looks at, and waits for it before letting go;
- at most one piece of work is under way; wait() comes between two posts;
- a forked child has no such thread: there stop() does nothing, and wait() refuses.

    posts      wake ──────────> works ── over ──> wait() returns          two locks, taken in turns: what was written
    goes on with its own       ^ waits for wake again                     before one was given back is seen behind it;
                                                                          and who takes `wake` back has the work again
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from lsmcli.engine import uncompiled as cython
from lsmcli.engine.uncompiled import PURE

if cython.compiled:
    import cython  # type: ignore[no-redef]  # seen by the compiler alone, for which it is no module
    from cython.cimports.cpython import pythread
    from cython.cimports.cpython.bytearray import PyByteArray_AS_STRING
    from cython.cimports.lsmcli.engine.compiled_types import Task, ThreadState
    from cython.cimports.posix.unistd import getpid

COMPILED: Final = bool(cython.compiled)


@cython.no_gc_clear
@cython.final
@cython.cclass
class SecondThread:
    """One thread, which waits for work until it is stopped. Starting it takes 30 µs, handing work over 3."""

    memory: bytearray  # of a ThreadState
    pid: cython.Py_ssize_t
    alive: cython.bint
    working: cython.bint

    def start(self) -> bool:
        """False: the system has no more threads, or code is interpreted."""
        if not cython.compiled:
            return False
        # A thread begins with the policy of the one that starts it. With this one it does not take the processor from
        # that thread when it is woken, where there is no idle one: the work can be taken back.
        yields = hasattr(os, "SCHED_BATCH") and os.sched_getscheduler(0) == os.SCHED_OTHER
        if yields:
            _set_policy(os.SCHED_BATCH)
        try:
            return _start(self)
        finally:
            if yields:
                _set_policy(os.SCHED_OTHER)

    def post(self, task: int) -> None:
        """Has it do a Task, which is at this address."""
        assert self.alive and not self.working
        _post(self, task)

    def take_back(self) -> bool:
        """Whether work was posted that is not begun: now it will not be. On a busy machine the thread may come to
        run only after milliseconds, while the one that asks is running now."""
        return self.working and _take_back(self)

    def wait(self) -> None:
        """Until the work that was posted, if any, is done. RuntimeError in a forked child."""
        _wait(self)

    def stop(self) -> None:
        """Ends the thread, after the work that is under way; nothing if there is none."""
        _stop(self)

    def __dealloc__(self) -> None:
        _stop(self)


def _set_policy(policy: int) -> None:
    """Of this thread; where the system refuses that, all stays as it is."""
    with suppress(OSError):
        os.sched_setscheduler(0, policy, os.sched_param(0))


# Compiled only.


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _state_of(thread: SecondThread) -> cython.p_void:
    return cython.cast(cython.p_void, PyByteArray_AS_STRING(thread.memory))


@cython.cfunc
def _start(thread: SecondThread) -> cython.bint:
    assert not thread.alive
    thread.memory = bytearray(cython.sizeof(ThreadState))
    shared = cython.cast(cython.pointer(ThreadState), _state_of(thread))
    shared.wake = pythread.PyThread_allocate_lock()
    shared.over = pythread.PyThread_allocate_lock()
    shared.leaves = False
    if shared.wake != cython.NULL and shared.over != cython.NULL:
        pythread.PyThread_acquire_lock(shared.wake, pythread.NOWAIT_LOCK)
        pythread.PyThread_acquire_lock(shared.over, pythread.NOWAIT_LOCK)
        refused: cython.ulonglong = cython.cast(cython.ulonglong, -1)
        ident: cython.ulonglong = pythread.PyThread_start_new_thread(_serve, cython.cast(cython.p_void, shared))
        thread.alive = ident != refused
        thread.pid = getpid()
    if not thread.alive:
        _free_locks(thread)
    return thread.alive


@cython.cfunc
def _free_locks(thread: SecondThread) -> object:
    shared = cython.cast(cython.pointer(ThreadState), _state_of(thread))
    if shared.wake != cython.NULL:
        pythread.PyThread_free_lock(shared.wake)
    if shared.over != cython.NULL:
        pythread.PyThread_free_lock(shared.over)
    shared.wake = shared.over = cython.NULL
    return None


@cython.cfunc
def _post(thread: SecondThread, task: cython.ulonglong) -> object:
    shared = cython.cast(cython.pointer(ThreadState), _state_of(thread))
    shared.task = cython.cast(cython.pointer(Task), task)
    thread.working = True
    pythread.PyThread_release_lock(shared.wake)
    return None


@cython.cfunc
def _take_back(thread: SecondThread) -> cython.bint:
    shared = cython.cast(cython.pointer(ThreadState), _state_of(thread))
    if thread.pid == getpid() and pythread.PyThread_acquire_lock(shared.wake, pythread.NOWAIT_LOCK):
        thread.working = False
    return not thread.working


@cython.cfunc
def _wait(thread: SecondThread) -> object:
    if thread.working:
        shared = cython.cast(cython.pointer(ThreadState), _state_of(thread))
        if thread.pid != getpid():
            raise RuntimeError("a forked process does not have this thread")
        if not pythread.PyThread_acquire_lock(shared.over, pythread.NOWAIT_LOCK):
            with cython.nogil:  # type: ignore[attr-defined]  # other threads run meanwhile
                pythread.PyThread_acquire_lock(shared.over, pythread.WAIT_LOCK)
        thread.working = False
    return None


@cython.cfunc
def _stop(thread: SecondThread) -> object:
    if not thread.alive or thread.pid != getpid():
        return None
    if not _take_back(thread):
        _wait(thread)
    shared = cython.cast(cython.pointer(ThreadState), _state_of(thread))
    thread.alive = False
    shared.leaves = True
    pythread.PyThread_release_lock(shared.wake)
    with cython.nogil:  # type: ignore[attr-defined]
        pythread.PyThread_acquire_lock(shared.over, pythread.WAIT_LOCK)
    _free_locks(thread)
    return None


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _serve(argument: cython.p_void) -> cython.void:
    """What the thread does."""
    shared = cython.cast(cython.pointer(ThreadState), argument)
    pythread.PyThread_acquire_lock(shared.wake, pythread.WAIT_LOCK)
    while not shared.leaves:
        shared.task.work(shared.task.argument)
        pythread.PyThread_release_lock(shared.over)
        pythread.PyThread_acquire_lock(shared.wake, pythread.WAIT_LOCK)
    pythread.PyThread_release_lock(shared.over)  # from here on `shared` may be gone


if not (TYPE_CHECKING or COMPILED or PURE):
    # The compiled class takes the place of the one above, which can start nothing.
    with suppress(ImportError):
        from lsmcli.engine._second_thread import COMPILED, SecondThread
