"""Power failures and kills at every step: what was acknowledged is there, and nothing is half done.

Before each write, sync, allocation and truncation of a run the disk is copied as a power failure could
leave it: with none, all, or some of the unsynced sectors. tests/testing/recovery.py examines each copy.
"""

import random
from collections.abc import Iterator

import pytest

from lsmcli.engine import free_set
from lsmcli.engine.constants import WAL_SIZE_INITIAL, WAL_SIZE_SECOND
from tests.testing.model import MAIN, Model
from tests.testing.operations import Draw, Operation, Profile, Run, draw_profile, new_storage
from tests.testing.recovery import examine
from tests.testing.storage import SimulatedStorage


@pytest.fixture(autouse=True)
def _verify_free_sets(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(free_set, "VERIFY", True)
    yield


class Crashes:
    """Examines what a crash at each step of a run would leave."""

    def __init__(self, rng: random.Random, share: float) -> None:
        self.rng = rng
        self.share = share  # of the crashes by power that are examined
        self.run: Run | None = None
        self.count = 0

    def hook(self, index: int, kind: str, offset: int, size: int) -> None:
        run, rng = self.run, self.rng
        if run is None or kind == "read":
            return
        storage = run.storage
        try:
            if rng.random() < self.share:
                self._examine(storage.crash(-1), run, run.op_done)
            if storage.unsynced and rng.random() < self.share:
                self._examine(storage.crash(0), run, run.op_synced)
            if storage.unsynced and rng.random() < self.share:
                self._examine(storage.crash(rng), run, run.op_synced)
        except Exception as error:
            error.add_note(f"crash before storage operation {index}: {kind} {offset} {size}")
            raise

    def _examine(self, disk: SimulatedStorage, run: Run, op_min: int) -> None:
        self.count += 1
        examine(disk, run.profile, run.model, op_min, self.rng)


def run_with_crashes(rng: random.Random, profile: Profile, steps: int, share: float) -> Crashes:
    model = Model()
    crashes = Crashes(random.Random(rng.random()), share)
    storage = new_storage(profile)
    storage.hook = crashes.hook
    crashes.run = run = Run(storage, profile, model)
    draw = Draw(rng, profile, model)
    for step in range(steps):
        operation = draw.operation()
        try:
            run.do(operation)
        except Exception as error:
            error.add_note(f"step {step}: {operation}")
            raise
    run.close()
    return crashes


@pytest.mark.parametrize("number", range(10))
def test_a_crash_at_any_step_keeps_what_was_acknowledged(seed: int, number: int) -> None:
    rng = random.Random(f"{seed}/{number}")
    profile = draw_profile(rng, memory_size=rng.choice((2048, 4096, 9000)))
    crashes = run_with_crashes(rng, profile, steps=60, share=0.3)
    assert crashes.count > 15


@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize(
    ("values", "ring_after", "share"),
    [
        (50, WAL_SIZE_SECOND, 0.1),  # moves on in the head of the file, and stays
        (300, WAL_SIZE_INITIAL, 0.03),  # into the grid, and back when the file is closed
    ],
)
def test_a_crash_while_the_log_moves(
    rng: random.Random, durable: bool, values: int, ring_after: int, share: float
) -> None:
    """An op that is too large for the ring moves the log, in the middle of a scope."""
    profile = draw_profile(random.Random(5), memory_size=64 * 1024, growth_factor=2, large_share=0.0)
    crashes = Crashes(rng, share)
    storage = new_storage(profile)
    storage.hook = crashes.hook
    crashes.run = run = Run(storage, profile, Model())
    for i in range(20):
        run.do(Operation("put", (MAIN, [(b"key %d" % i, b"small")])))
    run.do(Operation("begin_durable" if durable else "begin_bound"))
    run.do(Operation("put", (MAIN, [(b"key 3", b"in the scope")])))
    run.do(Operation("batch", (MAIN, [(b"big %d" % i, bytes(2000)) for i in range(values)])))
    assert run.database.stats()["wal_size"] >= WAL_SIZE_SECOND
    for i in range(20):
        run.do(Operation("put", (MAIN, [(b"key %d" % i, b"after %d" % i)])))
    run.do(Operation("persist" if durable else "discard"))
    run.do(Operation("put", (MAIN, [(b"key 1", b"last")])))
    run.do(Operation("reopen"))
    assert run.database.stats()["wal_size"] == ring_after
    run.close()
    assert crashes.count > 5
