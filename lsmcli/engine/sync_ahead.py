"""A sync that runs in a thread of its own, beside the puts, so that the sync behind it finds little to do.

Invariants:
- never two at a time; whoever syncs or closes waits for it first: the kernel tells of a lost page only once, to
  whichever sync comes next, so that one's error must be known before another sync is believed;
- it promises nothing: what was written is durable when the sync behind it has returned.
"""

import os
from _thread import allocate_lock, start_new_thread
from collections.abc import Callable


class SyncAhead:
    """At most one sync under way, of one file."""

    __slots__ = ("_lock", "_pid")

    def __init__(self) -> None:
        self._lock = allocate_lock()  # held while the sync runs
        self._pid = 0  # a forked child has the lock, but not the thread

    def begin(self, sync: Callable[[], None]) -> None:
        """Calls sync(), which raises nothing, in a new thread; nothing if there is one already, or can be none."""
        if not self._lock.acquire(blocking=False):
            return
        self._pid = os.getpid()
        try:
            start_new_thread(self._run, (sync,))
        except RuntimeError:  # the system has no more threads: the sync to come does it all
            self._lock.release()

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
