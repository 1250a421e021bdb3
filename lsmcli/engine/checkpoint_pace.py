"""When a checkpoint of a busy writer is made: stage by stage, each once the sync before it has ended beside the puts.

    wanted ── sync ──────────────> first stage ── sync ──> next stage ── sync ──> … made
              megabytes, beside    what came meanwhile
              jobs and puts

Invariants:
- no put waits for a sync, unless all of this takes longer than a number of looks: then what is left of it is done at
  once, with each sync waited for;
- from the first stage on no compaction job is open, nor is one begun, until it is made; puts go on.
"""

from collections.abc import Callable, Iterator
from typing import Final

from lsmcli.engine.storage import Storage

# A look is due with each step of compaction, or 2048 times in a bar: so a wait takes an eighth of a bar at most.
LOOKS_MAX: Final = 256
LOOKS_PER_BAR: Final = 2048


class CheckpointPace:
    """See the module's docstring. `waiting`: a checkpoint is wanted, but not yet made."""

    __slots__ = ("_begin", "_looks_left", "_stages", "_storage", "waiting")

    def __init__(self, storage: Storage, begin: Callable[[], Iterator[None]]) -> None:
        """begin() gives the stages of a checkpoint of now, see checkpoint."""
        self.waiting = False
        self._storage = storage
        self._begin = begin
        self._stages: Iterator[None] | None = None  # of the one under way
        self._looks_left = 0

    @property
    def under_way(self) -> bool:
        """Whether a checkpoint is begun, but not yet made."""
        return self._stages is not None

    def want(self) -> None:
        """A checkpoint is wanted. OutcomeUnknownError when an earlier sync failed."""
        if not self.waiting:
            self._storage.sync_begin()
            self.waiting = True
            self._looks_left = LOOKS_MAX

    def near(self) -> bool:
        """Whether the first sync has ended, which has the most to do; not a look. Raises as want() does."""
        return self._storage.sync_ended()

    def look(self) -> bool:
        """Goes on as far as it need not wait; True: the checkpoint is made. Between two jobs.

        Raises NoSpaceError, DamageError and FileError with none begun, OutcomeUnknownError.
        """
        assert self.waiting
        self._looks_left -= 1
        if self._looks_left <= 0:
            if self._stages is None:
                self.make(self._begin())
            else:
                self.finish()
            return True
        while self._storage.sync_ended():
            stages = self._stages or self._begin()
            if next(stages, True):
                self._made()
                return True
            self._stages = stages
            self._storage.sync_begin()
        return False

    def finish(self) -> None:
        """Goes on with the checkpoint under way, if there is one, until it is made; waits for the disk."""
        if self._stages is not None:
            self._storage.sync()
            self.make(self._stages)

    def make(self, stages: Iterator[None]) -> None:
        """Makes a checkpoint out of these stages now. None is under way. Raises as look() does."""
        for _ in stages:
            self._storage.sync()
        self._made()

    def _made(self) -> None:
        self._stages = None
        self.waiting = False
