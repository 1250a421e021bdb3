"""Class 13: the disk cannot read, once, from then on, or at one place.

Injects: a read error at every read of a run, once and for ever; and at one place of the file, so that each read of it
fails.

Must hold: the call ends with FileError or DamageError, and never with a wrong answer; compaction keeps its inputs;
the handle goes on where the error is over; nothing that was acknowledged is lost (O1).

Cases: every read of each run, twice, and places of its file.
"""

import random
from typing import Final

from lsmcli.engine.errors import DamageError, FileError
from tests.testing.faulty import FaultsFrom, Workload, run_with, workload
from tests.testing.operations import BLOCK_SIZE, contents, open_database_on
from tests.testing.storage import Fault, SimulatedStorage
from tests.testing.trial import Trial

CASES: Final = 600

PLACES: Final = 40


class BadSectors(SimulatedStorage):
    """Each read that touches one of these sectors fails."""

    bad: range = range(0)

    def read(self, offset: int, size: int) -> bytes:
        """As on any disk, outside of the bad ones."""
        if offset < self.bad.stop and self.bad.start < offset + size:
            raise FileError(f"{self.name}: {size} bytes at byte {offset} cannot be read: simulated")
        return super().read(offset, size)


def run(trial: Trial) -> None:
    """One run, with an error at each of its reads; then places of its file that cannot be read."""
    rng = trial.rng()
    work = workload(rng)
    for index in work.indexes(("read",)):
        for once in (True, False):
            if trial.begin(f"read error at call {index}{'' if once else ' and later'}", sampled=True):
                run_with(trial, work, FaultsFrom(index, Fault.READ_FAILS, once=once))
    _places(trial, work, rng)


def _places(trial: Trial, work: Workload, rng: random.Random) -> None:
    for _ in range(PLACES):
        offset = BLOCK_SIZE * rng.randrange(len(work.start.image) // BLOCK_SIZE)
        if not trial.begin(f"the sector at {offset} cannot be read"):
            continue
        disk = BadSectors(work.start.image)
        disk.bad = range(offset, offset + BLOCK_SIZE)
        try:
            database = open_database_on(disk, work.profile, writable=trial.rng_case().random() < 0.5)
            assert contents(database) == work.start.state.trees
            trial.mark("a bad sector that nothing needs, or that has a copy")
        except (DamageError, FileError):
            trial.mark("a bad sector that is told of")
