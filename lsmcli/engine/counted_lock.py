"""A reentrant lock that tells whether anybody is inside: the database's lock where there is no compiled code.

Invariant: depth is 0 only while no thread is between acquire() and release(). It is written by the owner alone, and
read by everybody: who reads something without the lock, and then finds it 0, has seen no change half done.
"""

import threading


class CountedLock:
    """As threading.RLock. depth: how often its owner is inside."""

    __slots__ = ("_real", "depth")

    def __init__(self) -> None:
        self._real = threading.RLock()
        self.depth = 0

    def acquire(self) -> None:
        """Waits until this thread owns the lock."""
        self._real.acquire()
        self.depth += 1

    def release(self) -> None:
        """Gives back what acquire() took. RuntimeError when this thread does not own the lock."""
        self.depth -= 1  # before another thread can be inside
        try:
            self._real.release()
        except RuntimeError:
            self.depth += 1
            raise

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.release()
