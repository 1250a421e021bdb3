"""Power failures and kills at every step: what was acknowledged is there, and nothing is half done.

Before each write, sync, allocation and truncation of a run the disk is copied as a power failure could
leave it: with none, all, or some of the unsynced sectors. Each copy is opened, compared and verified:

    op      1 ........ synced ........ done . issued
    found                 k: any of these                  power failure
    found                              k: one of these     kill: all that was written is there
"""

import random
from collections.abc import Iterator

import pytest

from lsmcli.engine import free_set
from tests.testing.model import Model, State
from tests.testing.operations import (
    Draw,
    Profile,
    Run,
    assert_holds,
    assert_verified,
    draw_profile,
    new_storage,
    open_database_on,
)
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
        profile, model = run.profile, run.model
        disk_before = bytes(disk.image)
        reader = open_database_on(disk.reopen(), profile, writable=False)
        op = reader.forest.op
        assert op_min <= op <= model.op, f"op {op} was found, of {op_min} … {model.op}"
        state = model.history[op].surviving
        assert_holds(reader, state)
        assert bytes(disk.image) == disk_before
        self._recover(disk, profile, state, op)

    def _recover(self, disk: SimulatedStorage, profile: Profile, state: State, op: int) -> None:
        """A writer finds the same, also after a second crash, and goes on."""
        writer = open_database_on(disk, profile)
        assert_holds(writer, state)
        if self.rng.random() < 0.3:
            disk = disk.crash(self.rng)
            writer = open_database_on(disk, profile)
            assert_holds(writer, state)
        model = Model()
        model.resume(state, writer.forest.op)
        again = Run(disk, profile, model, writer)
        if self.rng.random() < 0.3:
            draw = Draw(self.rng, profile, model)
            for _ in range(self.rng.randrange(12)):
                again.do(draw.operation())
        if self.rng.random() < 0.5:
            again.database.checkpoint()
        again.close()
        assert_verified(again.storage)
        reader = open_database_on(again.storage.reopen(), profile, writable=False)
        assert_holds(reader, model.state)


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
    crashes = run_with_crashes(rng, profile, steps=60, share=0.5)
    assert crashes.count > 30
