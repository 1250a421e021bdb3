"""Every operation on the disk fails once, or from then on: a typed error, never a wrong answer.

NO_SPACE       the op did not happen; the same handle goes on, at the latest when there is space again
READ_FAILS     the call fails, the handle goes on
WRITE_…, SYNC_…  the handle is given up; reopening finds what was acknowledged
"""

import random
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from lsmcli.engine import free_set
from lsmcli.engine.errors import FileError, NoSpaceError, OutcomeUnknownError
from tests.testing.model import Model
from tests.testing.operations import Draw, Profile, Run, assert_holds, assert_verified, draw_profile, new_storage
from tests.testing.recovery import examine
from tests.testing.storage import Fault

STEPS = 60
FAILED_MAX = 8  # steps that fail before space returns


@pytest.fixture(autouse=True)
def _verify_free_sets(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(free_set, "VERIFY", True)
    yield


class FaultsFrom(dict[int, Fault]):
    """Every operation from `index` on meets the fault; `once`: only that one."""

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
    """A run that can be repeated, operation by operation."""

    seed: str
    profile: Profile

    def start(self) -> tuple[Run, Draw]:
        model = Model()
        run = Run(new_storage(self.profile), self.profile, model)
        return run, Draw(random.Random(self.seed), self.profile, model)


def workload(seed: object) -> Workload:
    rng = random.Random(f"{seed}")
    profile = draw_profile(rng, memory_size=rng.choice((2048, 4096)), large_share=0.1)
    # A new handle has a new disk with faults of its own; closing comes at the end.
    return Workload(f"{seed}/operations", profile._replace(weights={**profile.weights, "reopen": 0}))


def operations_of(work: Workload) -> list[str]:
    """The kind of each disk operation of the run, without faults."""
    run, draw = work.start()
    kinds = ["open"] * run.storage.operations
    run.storage.hook = lambda index, kind, offset, size: kinds.append(kind)
    for _ in range(STEPS):
        run.do(draw.operation())
    run.close()
    return kinds


def run_with(work: Workload, faults: FaultsFrom, rng: random.Random) -> str:
    """Runs the workload into the fault and out of it again; what happened, in a word."""
    run, draw = work.start()
    run.storage.faults = faults
    outcome = "unnoticed"
    failed = 0
    for step in range(STEPS):
        operation = draw.operation()
        op_before, met = run.model.op, faults.met
        try:
            run.do(operation)
        except OutcomeUnknownError:
            _assert_given_up(run)
            _examine_outcomes(run, faults.fault, rng)
            return "outcome unknown"
        except FileError as error:
            assert run.storage.faults, f"an error that is over is told again: {error}"
            assert faults.fault in (Fault.NO_SPACE, Fault.READ_FAILS), error
            assert faults.met != met or not faults.once, f"an error that is over is told again: {error}"
            assert isinstance(error, NoSpaceError) == (faults.fault is Fault.NO_SPACE), error
            outcome = "failed"
            failed += 1
            _take_back(run, op_before)
            if failed == FAILED_MAX:
                run.storage.faults = {}
        except Exception as error:
            error.add_note(f"step {step}: {operation}")
            raise
    if failed or rng.random() < 0.5:
        run.storage.faults = {}
        assert_holds(run.database, run.model.state)
        run.database.checkpoint()
    model, kept = run.model, run.op_done
    # A table that nobody wants any more is let go even when it cannot be read: then its blocks are lost.
    lost_allowed = faults.fault is Fault.READ_FAILS
    try:
        run.close()
        assert_verified(run.storage, lost_allowed=lost_allowed)
    except OutcomeUnknownError:
        outcome = "outcome unknown"
        if faults.fault is Fault.SYNC_REVERTS:
            kept = run.op_synced
    except FileError:
        assert faults.fault is Fault.READ_FAILS
        outcome = "failed"
    examine(run.storage.reopen(), work.profile, model, kept, rng, lost_allowed=lost_allowed)
    return outcome


def _take_back(run: Run, op_before: int) -> None:
    """The model follows the database: the op that failed did not happen, or only what came behind it failed."""
    op = run.database.forest.op
    assert op_before <= op <= run.model.op
    del run.model.history[op + 1 :]
    run.model.state = run.model.history[-1]
    run.iterators.clear()


def _assert_given_up(run: Run) -> None:
    """Nothing is written, or answered, through a handle whose file may hold something else."""
    with pytest.raises(OutcomeUnknownError):
        run.database.put(b"after", b"a failure")
    with pytest.raises(OutcomeUnknownError):
        run.database.sync()
    with pytest.raises(OutcomeUnknownError):
        run.database.get(b"after")


def _examine_outcomes(run: Run, fault: Fault, rng: random.Random) -> None:
    storage = run.storage
    kept = run.op_synced if fault is Fault.SYNC_REVERTS else run.op_done
    lost_allowed = fault is Fault.READ_FAILS
    for disk, op_min in (
        (storage.reopen(), kept),
        (storage.crash(0), run.op_synced),
        (storage.crash(rng), run.op_synced),
    ):
        examine(disk, run.profile, run.model, op_min, rng, lost_allowed=lost_allowed)


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize(
    ("fault", "kinds", "once"),
    [
        (Fault.NO_SPACE, ("allocate",), True),
        (Fault.NO_SPACE, ("allocate",), False),
        (Fault.NO_SPACE, ("write",), True),
        (Fault.READ_FAILS, ("read",), True),
        (Fault.READ_FAILS, ("read",), False),
        (Fault.WRITE_FAILS, ("write",), True),
        (Fault.WRITE_TORN, ("write",), True),
        (Fault.SYNC_KEEPS, ("sync",), True),
        (Fault.SYNC_REVERTS, ("sync",), True),
    ],
)
def test_a_fault_is_an_error_and_no_wrong_answer(
    seed: int, number: int, fault: Fault, kinds: tuple[str, ...], once: bool
) -> None:
    work = workload(f"{seed}/{number}")
    rng = random.Random(f"{seed}/{number}/{fault}")
    indexes = [index for index, kind in enumerate(operations_of(work)) if kind in kinds]
    for index in rng.sample(indexes, min(len(indexes), 12)):
        try:
            run_with(work, FaultsFrom(index, fault, once=once), rng)
        except Exception as error:
            error.add_note(f"{fault.name} at storage operation {index}")
            raise
