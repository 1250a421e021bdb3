"""Class 25: the clock goes back, jumps ahead, stands still, or is far off; process ids come again.

Injects: wall clocks and monotonic clocks of all these kinds, and always the same process id, under runs with scopes,
and under the opening of a real file, whose lock carries a note with the time.

Must hold: every answer is the model's; the same run gives the same entries whatever the clock says; a time that no
field can hold does no harm. Nothing is decided by the time.

Cases: each of the clocks with several runs, and each with a real file.
"""

import itertools
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from unittest import mock

import lsmcli
from tests.testing.operations import assert_verified, contents, open_database_on
from tests.testing.storage import SimulatedStorage
from tests.testing.trial import Trial
from tests.testing.workloads import WEIGHTS_SCOPES, drawn, run_from, small_profile, start_small

CASES: Final = 50

STEPS: Final = 40
RUNS: Final = 4

Clock = Callable[[], float]


def _clocks(rng: random.Random) -> dict[str, Clock]:
    backward, forward = itertools.count(2_000_000_000, -3600), itertools.count(0, 1 << 33)
    return {
        "stands still": lambda: 1_700_000_000.0,
        "goes back": lambda: float(next(backward)),
        "leaps ahead": lambda: float(next(forward)),
        "jumps": lambda: rng.choice((0.0, 1e9, 4e9, rng.random() * 1e10)),
        "is before 1970": lambda: -86_400.5,
        "is past every field": lambda: 1e19,
    }


@contextmanager
def _under(clock: Clock) -> Iterator[None]:
    with mock.patch("time.time", clock), mock.patch("os.getpid", lambda: 1):
        yield


def run(trial: Trial) -> None:
    """Each clock, with runs on a simulated disk and with a real file."""
    for name, clock in _clocks(trial.rng("clocks")).items():
        for number in range(RUNS):
            if trial.begin(f"the clock {name}, run {number}"):
                _simulated(trial.rng(f"run {number}"), clock)
                trial.mark(f"the clock {name}")
        if trial.begin(f"the clock {name}, on a real file"):
            _real(trial.directory / f"{trial.case}.lsm", clock)


def _simulated(rng: random.Random, clock: Clock) -> None:
    profile = small_profile(rng, weights=WEIGHTS_SCOPES, memory_size=2048)
    with _under(clock):
        run = run_from(start_small(), profile)
        for operation in drawn(run, rng, STEPS):
            run.do(operation)
        assert contents(run.database) == run.model.trees
        run.close()
        assert_verified(run.storage)
    again = open_database_on(SimulatedStorage(run.storage.image), profile, writable=False)
    assert contents(again) == run.model.trees


def _real(path: Path, clock: Clock) -> None:
    with _under(clock):
        with lsmcli.open(path, "n", block_size=4096) as database:
            database.scope_begin()
            database.put(b"key", b"value")
        with lsmcli.open(path, "w") as database:
            assert database[b"key"] == b"value"
            database.scope_persist()
    with lsmcli.open(path, "r") as database:
        assert dict(database.scan()) == {b"key": b"value"}
