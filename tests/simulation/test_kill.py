"""kill -9 at random moments of a writing process: every acknowledged change is there, and scopes are as they were.

The child draws operations from a seed and tells through a pipe how many are done; the parent kills it,
knows from the same seed what they were, and compares. LSMCLI_KILLS sets how often.
"""

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lsmcli
from lsmcli.engine.database import Database
from lsmcli.engine.storage import FileStorage
from lsmcli.engine.verifier import verify
from tests.testing.model import MAIN, Model, State

KILLS = int(os.environ.get("LSMCLI_KILLS", "10"))
SETTINGS: dict[str, Any] = {"memory_size": 32 * 1024, "cache_size": 64 * 1024}
STEPS_MAX = 100_000

Step = tuple[str, list[tuple[bytes, bytes | None]]]


def steps(seed: int) -> Iterator[Step]:
    """What the child does, without end."""
    rng = random.Random(seed)
    scope = False
    number = 0
    while True:
        kind = rng.choices(("put", "batch", "delete", "large", "scope", "checkpoint"), (60, 10, 20, 2, 1.5, 0.5))[0]
        number += 1
        if kind == "scope":
            kind = rng.choice(("persist", "discard")) if scope else "begin"
            scope = not scope
        entries: list[tuple[bytes, bytes | None]] = []
        for _ in range(rng.randrange(2, 60) if kind == "batch" else 1):
            key = b"key %06d" % rng.randrange(3000)
            value = b"%d " % number * rng.randrange(1, 40)
            entries.append((key, None if kind == "delete" or rng.random() < 0.05 else value))
        if kind == "large":
            entries = [(b"key %06d" % rng.randrange(3000), b"%d large " % number * 800)]
        yield kind, entries


def take_model_step(model: Model, step: Step) -> None:
    kind, entries = step
    if kind == "begin":
        model.begin(durable=True)
    elif kind == "persist":
        model.persist()
    elif kind == "discard":
        model.discard()
    elif kind != "checkpoint":
        model.write(MAIN, entries)


def take_step(database: Database, step: Step) -> None:
    kind, entries = step
    if kind == "begin":
        database.scope_begin()
    elif kind == "persist":
        database.scope_persist()
    elif kind == "discard":
        database.scope_discard()
    elif kind == "checkpoint":
        database.checkpoint()
    else:
        database.write(entries)


def child(path: str, seed: int, skip: int) -> None:
    """Goes on from step `skip`; writes one byte for each step that is done."""
    remaining = steps(seed)
    for _ in range(skip):
        next(remaining)
    database = lsmcli.open(path, "w", **SETTINGS)
    for step in remaining:
        take_step(database, step)
        os.write(1, b".")


class Killed:
    """One file, its model, and how many steps of its seed have been taken."""

    def __init__(self, path: Path, seed: int) -> None:
        self.path = path
        self.seed = seed
        self.steps = steps(seed)
        self.step_count = 0
        self.model = Model()
        lsmcli.open(path, block_size=4096, growth_factor=2).close()

    def kill_after(self, seconds: float) -> None:
        command = [sys.executable, "-c", CHILD, str(self.path), str(self.seed), str(self.step_count)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            first = process.stdout.read(1)
            time.sleep(seconds)
            process.kill()
            done = len(first) + len(process.stdout.read())
        assert first, "the child has done nothing"
        self._advance(done)
        self._compare()

    def _advance(self, count: int) -> None:
        for _ in range(count):
            take_model_step(self.model, next(self.steps))
            self.step_count += 1
            del self.model.history[:-1]

    def _compare(self) -> None:
        """All acknowledged steps, and perhaps the one that was under way."""
        with lsmcli.open(self.path, "r", committed=False) as database:
            if not self._holds(database, self.model.state):
                self._advance(1)
                assert self._holds(database, self.model.state), f"seed {self.seed}, step {self.step_count}"
        with lsmcli.open(self.path, "r") as database:
            assert dict(database.scan()) == self.model.state.committed[MAIN]
        with lsmcli.open(self.path, "w", **SETTINGS) as database:
            assert self._holds(database, self.model.state)
        storage = FileStorage.open(str(self.path), writable=False)
        try:
            assert verify(storage).problems == []
        finally:
            storage.close()

    def _holds(self, database: Database, state: State) -> bool:
        durable = database.scope_status() is not None
        return durable == (state.before is not None) and dict(database.scan()) == state.trees[MAIN]


CHILD = """
import sys
from tests.simulation.test_kill import child
child(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", range(2))
def test_what_was_acknowledged_survives_kill_9(seed: int, number: int, tmp_path: Path) -> None:
    rng = random.Random(f"{seed}/{number}")
    killed = Killed(tmp_path / "killed.lsm", rng.randrange(1 << 30))
    for kill in range(KILLS // 2):
        try:
            killed.kill_after(rng.random() ** 2 * 0.4)
        except Exception as error:
            error.add_note(f"kill {kill}")
            raise
    assert killed.step_count > KILLS // 2
