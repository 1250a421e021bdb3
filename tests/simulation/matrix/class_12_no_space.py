"""Class 12: the disk is full, once or from then on.

Injects: NoSpaceError at every write, growth and allocation of a run, once and for ever.

Must hold: what did not fit did not happen, with a typed error; what was there can be read; deletes go on as long as
memory and log have room; when there is space again the same handle goes on; nothing that was acknowledged is lost
(O1), no block is lost (O2). A superblock that meets a full disk gives the handle up, which no ordinary disk does.

Cases: every such call of each run, twice.
"""

from typing import Final

from tests.testing.faulty import FaultsFrom, run_with, workload
from tests.testing.storage import Fault
from tests.testing.trial import Trial

CASES: Final = 1_500
SLICES: Final = 2


def run(trial: Trial) -> None:
    """One run, with a full disk at each of its calls."""
    work = workload(trial.rng())
    for index in work.indexes(("allocate", "write")):
        for once in (True, False):
            if trial.begin(f"no space at call {index}{'' if once else ' and later'}", sampled=True):
                run_with(trial, work, FaultsFrom(index, Fault.NO_SPACE, once=once))
