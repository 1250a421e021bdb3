"""A checkpoint in stages: what comes between them does no harm, no put waits, and power may fail behind each."""

from collections import Counter
from collections.abc import Callable
from functools import partial

import pytest

from lsmcli.engine.constants import superblock_copy_offset
from lsmcli.engine.errors import OutcomeUnknownError
from lsmcli.engine.verifier import verify
from tests.engine.test_forest import fill, forest_of, killed, new_run, put
from tests.testing.model import MAIN
from tests.testing.operations import Operation, Run, assert_holds, assert_verified
from tests.testing.storage import Fault, SimulatedStorage


class Slow(SimulatedStorage):
    """A sync beside takes so many looks."""

    looks_each = 4

    def sync_begin(self) -> bool:
        begun = super().sync_begin()
        self.looks = self.looks_each
        return begun


def test_a_checkpoint_waits_for_its_syncs_while_ops_go_on() -> None:
    run = new_run()
    forest = forest_of(run)
    run.storage.__class__ = Slow
    fill(run, 10)
    sequence = forest.file.superblock.sequence
    waits: Counter[int] = Counter()  # behind so many syncs
    for i in range(300):
        put(run, b"key %03d" % i, b"w" * 50)
        if forest._pace.waiting:
            assert not forest.bar.working, "no job is begun meanwhile"
            assert forest.file.superblock.sequence == sequence, "nor a checkpoint made"
            waits[run.storage.sync_count] += 1
        sequence = forest.file.superblock.sequence
        if i % 7 == 0:
            assert_holds(killed(run).database, run.model.state)
    assert sequence > 4
    assert len(waits) > 10 and max(waits.values()) >= 3
    assert_holds(run.database, run.model.state)
    assert_holds(killed(run).database, run.model.state)


def test_no_put_waits_for_a_sync() -> None:
    class Waits(Slow):
        def sync(self) -> None:
            raise AssertionError("a put waits")

    run = new_run(memory_size=1 << 14)
    run.storage.__class__ = Waits
    sequence = forest_of(run).file.superblock.sequence
    for i in range(3000):
        put(run, b"key %03d" % (i * 37 % 1000), b"w" * 50)
    assert forest_of(run).file.superblock.sequence > sequence + 10
    assert_holds(run.database, run.model.state)


def test_a_bar_that_is_full_does_not_end_before_the_checkpoint_under_way_is_made() -> None:
    run = new_run()
    forest = forest_of(run)
    run.storage.__class__ = Slow
    to_stage(run, 1)
    run.storage.looks = 100
    number, fill_max = forest.bar.number, 0
    for i in range(95):
        put(run, b"key %03d" % i, b"w" * 50)
        fill_max = max(fill_max, forest.bar.fill)
    assert forest._pace.under_way and forest.bar.number == number
    assert fill_max > forest.memory_size
    fill(run, 50)
    assert forest.bar.number > number
    assert_holds(killed(run).database, run.model.state)


def to_stage(run: Run, stage: int) -> None:
    """Puts until a checkpoint has done so many stages, and its sync is under way."""
    counts: set[int] = set()  # of syncs that had ended
    for i in range(2000):
        if not forest_of(run)._pace.under_way:
            counts.clear()
        elif len(counts | {run.storage.sync_count}) == stage:
            return
        else:
            counts.add(run.storage.sync_count)
        put(run, b"key %03d" % (i % 100), b"w" * 50)
    raise AssertionError("no checkpoint came that far")


def tree_comes_and_goes(run: Run) -> None:
    run.do(Operation("create_tree", ("other",)))
    run.do(Operation("drop_tree", ("other",)))


def scope(run: Run, ends: str) -> None:
    run.do(Operation("begin_durable"))
    fill(run, 150, b"s")
    run.do(Operation(ends))


def large_values(run: Run) -> None:
    for size in (20_000, 300_000, 5_000):
        put(run, b"large", bytes(size))


def batch_larger_than_the_log(run: Run) -> None:
    run.do(Operation("put", (MAIN, [(b"%05d" % i, bytes(1000)) for i in range(100)])))


def long_scan(run: Run) -> None:
    scan = iter(run.database.scan())
    next(scan)
    fill(run, 100)


DURING: dict[str, Callable[[Run], None]] = {
    "a checkpoint": lambda run: run.do(Operation("checkpoint")),
    "a full compaction": lambda run: run.do(Operation("compact")),
    "a sync": lambda run: run.do(Operation("sync")),
    "a tree that is dropped": tree_comes_and_goes,
    "a scope that is kept": partial(scope, ends="persist"),
    "a scope that is undone": partial(scope, ends="discard"),
    "large values": large_values,
    "a batch that asks for a larger log": batch_larger_than_the_log,
    "a scan that stays open": long_scan,
    "the end": lambda run: run.close(),
}


@pytest.mark.parametrize("what", DURING)
@pytest.mark.parametrize("stage", [1, 2, 3])
def test_anything_may_come_between_the_stages_of_a_checkpoint(what: str, stage: int) -> None:
    run = new_run()
    run.storage.__class__ = Slow
    fill(run, 50)
    to_stage(run, stage)
    DURING[what](run)
    if what != "the end":
        assert_holds(run.database, run.model.state)
        assert_holds(killed(run).database, run.model.state)
        fill(run, 100)
        assert_holds(run.database, run.model.state)
        run.close()
    assert_verified(run.storage)
    assert_holds(killed(run).database, run.model.state)


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_a_sync_beside_that_fails_is_told_before_much_is_acknowledged(stage: int) -> None:
    """By the look that finds it ended: no stage is begun behind it."""
    run = new_run()
    run.storage.__class__ = Slow
    fill(run, 50)
    to_stage(run, stage)
    assert run.storage.beside is not None
    run.storage.beside = (run.storage.beside[0], Fault.SYNC_KEEPS)
    sequence = forest_of(run).file.superblock.sequence
    with pytest.raises(OutcomeUnknownError):
        fill(run, 50)
    assert forest_of(run).file.superblock.sequence == sequence
    with pytest.raises(OutcomeUnknownError):
        run.database.put(b"more", b"")


def test_a_checkpoint_does_not_wait_for_ever() -> None:
    run = new_run(memory_size=1 << 16)
    forest = forest_of(run)

    class Stuck(SimulatedStorage):
        """A sync beside never ends, unless it is waited for."""

        def sync_ended(self) -> bool:
            return False

    run.storage.__class__ = Stuck
    for i in range(2000):
        put(run, b"key %03d" % i, b"w" * 50)
    assert forest.bar.number > 2
    assert forest.file.superblock.sequence >= forest.bar.number - 1
    assert_holds(killed(run).database, run.model.state)


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_between_two_stages_the_file_is_whole_for_whoever_looks_at_it(stage: int) -> None:
    run = new_run()
    run.storage.__class__ = Slow
    fill(run, 50)
    to_stage(run, stage)
    assert_verified(run.storage)
    run.storage.flip(8 * superblock_copy_offset(4) + 500)
    (problem,) = {problem.zone for problem in verify(run.storage.reopen()).problems}
    assert problem == "superblock", "a damaged copy is told of all the same"
