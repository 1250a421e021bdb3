"""When a checkpoint of a busy writer is made: once most of what it has to sync is on the disk already.

    enough to sync ──> sync ahead ──────────> sync ahead ──> checkpoint, with the syncs of its own
                       megabytes, beside      what came       little is left: no put waits for megabytes
                       the puts               meanwhile

Invariants:
- the checkpoint itself is what it always is, with all its syncs in their order: what is synced ahead is only a hint;
- the last round is waited for in a number of looks at most, then it is made whatever is left to sync;
- no compaction job is open in that wait, nor is one begun; puts go on.
"""

from typing import Final

from lsmcli.engine.storage import Storage

_ROUNDS: Final = 2

# A look is due with each step of compaction, or 2048 times in a bar: so a wait takes a sixteenth of a bar at most.
LOOKS_MAX: Final = 128
LOOKS_PER_BAR: Final = 2048


class CheckpointPace:
    """See the module's docstring. `waiting`: a checkpoint is wanted, but not yet made."""

    __slots__ = ("_looks_left", "_rounds_left", "_storage", "waiting")

    def __init__(self, storage: Storage) -> None:
        self.waiting = False
        self._storage = storage
        self._rounds_left = 0
        self._looks_left = 0

    def begin(self) -> None:
        """A checkpoint is wanted. OutcomeUnknownError when an earlier sync failed."""
        if not self.waiting:
            self.waiting = True
            self._looks_left = LOOKS_MAX
            self._rounds_left = _ROUNDS
            self._next_rounds()

    def near(self) -> bool:
        """Whether the first round has ended, which syncs the most; not a look. Raises as begin() does."""
        if self._rounds_left == _ROUNDS - 1 and self._storage.sync_ahead_ended():
            self._next_rounds()
        return self._rounds_left < _ROUNDS - 1

    def ready(self) -> bool:
        """One look: whether the checkpoint is to be made now. Raises as begin() does."""
        assert self.waiting
        self._looks_left -= 1
        if self._rounds_left >= 0 and self._storage.sync_ahead_ended():
            self._next_rounds()
        return self._rounds_left < 0 or self._looks_left <= 0

    def made(self) -> None:
        """There was a checkpoint, for this reason or for another."""
        self.waiting = False

    def _next_rounds(self) -> None:
        """Begins the next round that takes any time; below 0 there are none left."""
        self._rounds_left -= 1
        while self._rounds_left >= 0 and self._storage.sync_ahead():
            self._rounds_left -= 1
