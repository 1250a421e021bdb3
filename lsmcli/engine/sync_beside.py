"""A sync that runs in a thread of its own, beside the puts, which need not wait for it.

Invariants:
- never two at a time; whoever syncs or closes waits for it first: the kernel tells of a lost page only once, to
  whichever sync comes next, so that one's error must be known before another sync is believed;
- it covers what was written before it began, and nothing else.
"""

import os
from _thread import allocate_lock, start_new_thread
from collections.abc import Callable


class SyncBeside:
    """At most one sync under way, of one file."""

    __slots__ = ("_lock", "_pid")

    def __init__(self) -> None:
        self._lock = allocate_lock()  # held while the sync runs
        self._pid = 0  # a forked child has the lock, but not the thread

    def begin(self, sync: Callable[[], None]) -> bool:
        """Calls sync(), which raises nothing, in a new thread; where there can be none it is done at once. False, and
        nothing is called, as long as an earlier one is under way."""
        if not self._lock.acquire(blocking=False):
            return False
        self._pid = os.getpid()
        try:
            start_new_thread(self._run, (sync,))
        except RuntimeError:  # the system has no more threads
            self._run(sync)
        return True

    def _run(self, sync: Callable[[], None]) -> None:
        try:
            sync()
        finally:
            self._lock.release()

    def ended(self) -> bool:
        """Whether nothing is under way any more."""
        return not self._lock.locked()

    def wait(self) -> None:
        """Returns when nothing is under way any more; at once in a forked child."""
        if self._lock.locked() and self._pid == os.getpid():
            with self._lock:
                pass
