"""The pace of compaction: a bar is the filling of the memory tables, cut into 32 beats.

Invariants:
- the share of a half-bar's work that is done never falls behind the share of the half-bar that has
  passed, so no single put pays for a merge: a put pays for one slice, less than a block, now and then;
- the work is paced to be done when nine tenths of its half have passed: its sum is an estimate, and what would be
  left at the end of the half would be done at once;
- the work of a half-bar is finished before the next one begins;
- fill only rises, by the weight of each entry put.

    fill   0 |----beat 0----|----beat 1----| ... |----beat 16---| ... |----beat 31---| memory_size
             first half: levels 0->1, 2->3, 4->5 | second half: 1->2, 3->4, 5->6, immutable->0
             ^ one slice of work each time that fill reaches fill_next
"""

from collections.abc import Callable, Iterator

from lsmcli.engine.constants import BEATS_PER_BAR
from lsmcli.engine.op_path import OpBar

# Starts the work of half-bar 0 or 1: an iterator that yields steps done, and an estimate of their sum.
HalfBarStart = Callable[[int], tuple[Iterator[int], int]]

_HALVES = 2
_PACE = 0.9  # the share of a half-bar in which its work is to be done


class Bar(OpBar):
    """One bar. `number` counts bars since the file was opened, from 1."""

    def __init__(
        self, number: int, memory_size: int, *, half_start: HalfBarStart, beat_end: Callable[[], None]
    ) -> None:
        self.number = number
        self.memory_size = memory_size
        self.fill = 0
        self.fill_next = 0  # the next advance() is due when fill reaches this
        self.beat = 0  # 0 ... 31
        self._half_start = half_start
        self._beat_end = beat_end
        self._half = -1  # not started
        self._half_fill = 0  # when it was
        self._work: Iterator[int] | None = None
        self._work_done = 0
        self._work_total = 0

    @property
    def full(self) -> bool:
        return self.fill >= self.memory_size

    @property
    def working(self) -> bool:
        """True while a compaction job of this bar is unfinished."""
        return self._work is not None

    def advance(self) -> None:
        """Ends beats that have passed and does the compaction that is due by now.

        Raises NoSpaceError; the unfinished job is undone then, and started again by the next call.
        """
        beat = min(self.fill * BEATS_PER_BAR // self.memory_size, BEATS_PER_BAR - 1)
        if beat != self.beat:
            self._beat_end()
            self.beat = beat
        half = beat * _HALVES // BEATS_PER_BAR
        if half != self._half:
            self._finish_half()
            self._begin_half(half)
        half_end = self.memory_size * (half + _PACE) / _HALVES
        half_size = max(1.0, half_end - self._half_fill)
        passed = (self.fill - self._half_fill) / half_size  # above 1 where there is more work than estimated
        self._work_until(int(self._work_total * passed))  # whole steps: one for each time that it is due
        beat_next = (self.beat + 1) * self.memory_size / BEATS_PER_BAR
        fill_next = beat_next
        if self._work is not None and self._work_total:
            slice_next = self._half_fill + half_size * (self._work_done + 1) / self._work_total
            fill_next = min(beat_next, slice_next)
        self.fill_next = max(self.fill, int(fill_next)) + 1

    def complete(self) -> None:
        """Does all work of this bar that is left. Raises as advance() does."""
        for half in range(_HALVES):
            if half >= self._half:
                if half != self._half:
                    self._begin_half(half)
                self._finish_half()
        self._beat_end()

    def finish_jobs(self) -> None:
        """Finishes the half-bar that is under way, ahead of its pace, so that no job is open."""
        self._finish_half()

    def abandon(self) -> None:
        """Drops the job under way and undoes its work; its inputs stay."""
        work, self._work = self._work, None
        if work is not None:
            work.close()  # type: ignore[attr-defined]  # every job is a generator

    def _begin_half(self, half: int) -> None:
        self._half = half
        self._half_fill = self.fill
        self._work, self._work_total = self._half_start(half)
        self._work_done = 0

    def _finish_half(self) -> None:
        if self._work is not None:
            self._work_until(float("inf"))

    def _work_until(self, done: float) -> None:
        work = self._work
        try:
            while work is not None and self._work_done < done:
                steps = next(work, None)
                if steps is None:
                    self._work = work = None
                else:
                    self._work_done += steps
        except BaseException:
            # The generator is finished by its exception and has undone its job: start the half again.
            self._work = None
            self._half -= 1
            raise
