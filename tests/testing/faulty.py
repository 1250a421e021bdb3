"""A short run that meets a fault of the disk at one of its storage calls: what it may tell, what must hold behind it.

    NO_SPACE         the op did not happen; the same handle goes on, at the latest when there is space again
    READ_FAILS       the call fails, the handle goes on
    WRITE_…, SYNC_…  the handle is given up for good: no sync is tried twice; reopening finds what was acknowledged

Invariants:
- the run is the same each time, operation by operation, so that faults can be addressed by the number of the call.
"""

import random
from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

import pytest

from lsmcli.engine.errors import FileError, NoSpaceError, OutcomeUnknownError
from tests.testing.acceptance import accept, accept_lasting
from tests.testing.model import Model
from tests.testing.operations import Draw, Operation, Profile, Run, assert_verified, contents
from tests.testing.shrink import fits
from tests.testing.storage import Fault, SimulatedStorage
from tests.testing.trial import Trial
from tests.testing.workloads import WEIGHTS_CRASH, Start, small_profile, start_deep, start_small, start_wrapping

STEPS = 14
FAILED_MAX = 4  # steps that fail before space returns
WEIGHTS_FAULTS = {**WEIGHTS_CRASH, "batch": 25, "get": 6, "scan": 3, "checkpoint": 3, "compact": 1, "reopen": 0}


class FaultsFrom(dict[int, Fault]):
    """The call `index` meets the fault; not once: every later one too."""

    def __init__(self, index: int, fault: Fault, *, once: bool) -> None:
        super().__init__({index: fault})
        self.index = index
        self.fault = fault
        self.once = once
        self.met = 0

    def get(self, index: int, default: object = None) -> object:  # type: ignore[override]  # as the disk asks
        if index == self.index or (index > self.index and not self.once):
            self.met += 1
            return self.fault
        return default


class Workload(NamedTuple):
    """A run that can be repeated."""

    start: Start
    profile: Profile
    operations: tuple[Operation, ...]
    kinds: tuple[str, ...]  # of its storage calls

    def run(self) -> Run:
        model = Model()
        model.resume(self.start.state, self.start.op)
        return Run(SimulatedStorage(self.start.image), self.profile, model)

    def indexes(self, kinds: Iterable[str]) -> list[int]:
        """The numbers of its storage calls of these kinds, from after the opening on."""
        return [index for index, kind in enumerate(self.kinds) if kind in kinds]


def workload(rng: random.Random) -> Workload:
    """Draws a run, and does it once without a fault."""
    start = rng.choice((start_small,) * 4 + (start_wrapping,) * 3 + (start_deep,))()
    profile = small_profile(rng, weights=WEIGHTS_FAULTS, memory_size=2048, large_share=0.1)
    if start is start_deep():
        keys = sorted(start.state.trees["main"])[::10]
        profile = profile._replace(keys=keys, keys_hot=keys[:3], window=len(keys), cache_size=0)
    work = Workload(start, profile, (), ())
    run = work.run()
    kinds = ["open"] * run.storage.operations
    run.storage.hook = lambda index, kind, offset, size: kinds.append(kind)
    draw = Draw(rng, profile, run.model)
    operations = []
    for _ in range(STEPS):
        operations.append(draw.operation())
        run.do(operations[-1])
    run.close()
    return work._replace(operations=tuple(operations), kinds=tuple(kinds))


def run_with(trial: Trial, work: Workload, faults: FaultsFrom) -> None:
    """Runs into the fault and out of it again; then the file is examined."""
    run = work.run()
    run.storage.faults = faults
    failed = 0
    op_synced = run.op_synced  # by a sync before the fault
    for operation in work.operations:
        if operation.kind == "iterate" or not fits(operation, run.model):
            continue  # an op before it did not happen
        op_before, met = run.model.op, faults.met
        op_synced = run.op_synced if not met else op_synced
        try:
            run.do(operation)
        except OutcomeUnknownError:
            _assert_given_up(run)
            if faults.fault is Fault.SYNC_LATE:
                run.op_synced = op_synced  # the sync behind it was none
            _examine_outcomes(trial, run, faults.fault)
            trial.mark(f"given up: {faults.fault.name} in {operation.kind}")
            return
        except FileError as error:
            assert run.storage.faults, f"an error that is over is told again: {error}"
            assert faults.fault in (Fault.NO_SPACE, Fault.READ_FAILS), error
            assert faults.met != met or not faults.once, f"an error that is over is told again: {error}"
            assert isinstance(error, NoSpaceError) == (faults.fault is Fault.NO_SPACE), error
            trial.mark(f"refused: {faults.fault.name} in {operation.kind}")
            failed += 1
            _take_back(run, op_before)
            if failed == FAILED_MAX:
                run.storage.faults = {}
        except Exception as error:
            error.add_note(f"in {operation}")
            raise
    _end(trial, work, run, faults, failed)


def _end(trial: Trial, work: Workload, run: Run, faults: FaultsFrom, failed: int) -> None:
    """The fault is over, or was never met: the handle still answers, closes, and leaves a whole file."""
    rng = trial.rng_case()
    kept = run.op_done
    # A table that nobody wants any more is let go even when it cannot be read: then its blocks are lost.
    lost_allowed = faults.fault is Fault.READ_FAILS
    try:
        if failed or rng.random() < 0.2:
            run.storage.faults = {}
            assert contents(run.database) == run.model.trees
            run.database.checkpoint()
        run.close()
        if rng.random() < 0.2:
            assert_verified(run.storage, lost_allowed=lost_allowed)
    except OutcomeUnknownError:
        trial.mark(f"given up: {faults.fault.name} in close")
        if faults.fault is Fault.SYNC_REVERTS:
            kept = run.op_synced
    except FileError:
        assert faults.fault in (Fault.READ_FAILS, Fault.NO_SPACE)
    model = run.model
    accept(run.storage.reopen(), work.profile, model.history, kept, model.op, trial, lost_allowed=lost_allowed)


def _take_back(run: Run, op_before: int) -> None:
    """The model follows the database: the op that failed did not happen, or only what came behind it failed."""
    op = run.database.forest.op
    assert op_before <= op <= run.model.op
    del run.model.history[op + 1 :]
    run.model.state = run.model.history[-1]
    run.op_done = op
    run.iterators.clear()


def _assert_given_up(run: Run) -> None:
    """Nothing is written, or answered, through a handle whose file may hold something else; no sync is tried again."""
    syncs = run.storage.sync_count
    database = run.database
    calls: list[Callable[[], object]] = [database.sync, database.checkpoint, partial(database.get, b"after")]
    calls.append(partial(database.put, b"after", b"a failure"))
    for call in calls:
        with pytest.raises(OutcomeUnknownError):
            call()
    assert run.storage.sync_count == syncs


def _examine_outcomes(trial: Trial, run: Run, fault: Fault) -> None:
    """What the page cache has, and what a power failure leaves."""
    storage, model = run.storage, run.model
    rng = trial.rng_case()
    which = rng.randrange(4)
    if which == 3 and fault is not Fault.SYNC_LATE:
        kept = run.op_synced if fault is Fault.SYNC_REVERTS else run.op_done
        accept_lasting(storage, run.profile, model.history, kept, model.op, trial)
        return
    if which == 0:
        kept = run.op_synced if fault is Fault.SYNC_REVERTS else run.op_done
        disk = storage.reopen()
    else:
        kept = run.op_synced
        disk = storage.crash(0 if which == 1 else rng)
    accept(disk, run.profile, model.history, kept, model.op, trial)
