"""The pace of a bar: work never falls behind the filling, and failed work is begun again."""

from collections.abc import Iterator

import pytest

from lsmcli.engine.bar import Bar
from lsmcli.engine.constants import BEATS_PER_BAR
from lsmcli.engine.errors import NoSpaceError

MEMORY_SIZE = 3200


class Work:
    """Half-bars of so many slices; notes what was done, and fails when told to."""

    def __init__(self, first: int, second: int) -> None:
        self.slices = (first, second)
        self.done = [0, 0]
        self.beats = 0
        self.undone = 0
        self.failing = False

    def start(self, half: int) -> tuple[Iterator[int], int]:
        self.done[half] = 0
        return self._run(half), self.slices[half]

    def _run(self, half: int) -> Iterator[int]:
        try:
            for _ in range(self.slices[half]):
                if self.failing:
                    raise NoSpaceError("the disk is full")
                self.done[half] += 1
                yield 1
        except (GeneratorExit, NoSpaceError):
            self.undone += 1
            raise

    def beat(self) -> None:
        self.beats += 1


def bar_of(work: Work) -> Bar:
    return Bar(1, MEMORY_SIZE, half_start=work.start, beat_end=work.beat)


def fill(bar: Bar, size: int, step: int = 10) -> None:
    """Puts entries, with the compaction that is due before each, as the forest does."""
    end = bar.fill + size
    while bar.fill < end:
        if bar.fill >= bar.fill_next and not bar.full:
            bar.advance()
        bar.fill += step


@pytest.mark.parametrize(("first", "second"), [(0, 0), (1, 1), (7, 100), (100, 7), (500, 500)])
@pytest.mark.parametrize("step", [1, 10, 333])
def test_work_keeps_up_with_the_filling(first: int, second: int, step: int) -> None:
    work = Work(first, second)
    bar = bar_of(work)
    while not bar.full:
        filled = bar.fill
        fill(bar, step, step)
        passed = min(1.0, 2 * filled / MEMORY_SIZE)
        # What was due when the last entry came is done; a slice is due when the share of it has passed in full.
        assert work.done[0] >= int(first * passed) - 1
        if filled > MEMORY_SIZE // 2 + step:
            assert work.done[0] == first
    bar.complete()
    assert work.done == [first, second]


def test_no_step_does_more_than_its_share() -> None:
    work = Work(100, 100)
    bar = bar_of(work)
    done = 0
    while not bar.full:
        fill(bar, 10)
        assert sum(work.done) - done <= 2
        done = sum(work.done)


def test_a_bar_has_32_beats() -> None:
    work = Work(3, 3)
    bar = bar_of(work)
    fill(bar, MEMORY_SIZE)
    assert work.beats == BEATS_PER_BAR - 1
    bar.complete()
    assert work.beats == BEATS_PER_BAR


def test_one_huge_entry_fills_the_bar() -> None:
    work = Work(20, 30)
    bar = bar_of(work)
    bar.fill += 10 * MEMORY_SIZE
    assert bar.full
    bar.complete()
    assert work.done == [20, 30]


def test_failed_work_is_begun_again() -> None:
    work = Work(10, 10)
    bar = bar_of(work)
    fill(bar, MEMORY_SIZE // 4)
    assert bar.working
    work.failing = True
    with pytest.raises(NoSpaceError):
        bar.complete()
    assert not bar.working
    assert work.undone == 1
    work.failing = False
    bar.complete()
    assert work.done == [10, 10]


def test_abandoned_work_is_undone() -> None:
    work = Work(10, 10)
    bar = bar_of(work)
    fill(bar, MEMORY_SIZE // 4)
    bar.abandon()
    assert not bar.working
    assert work.undone == 1


def test_jobs_can_be_finished_ahead_of_their_pace() -> None:
    work = Work(10, 10)
    bar = bar_of(work)
    fill(bar, MEMORY_SIZE // 8)
    bar.finish_jobs()
    assert not bar.working
    assert work.done == [10, 0]
    bar.complete()
    assert work.done == [10, 10]
