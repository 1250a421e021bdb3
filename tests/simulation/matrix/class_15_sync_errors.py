"""Class 15: a sync fails. The three kinds of file system differ in what they keep, and in when they say so.

Injects: at every sync of a run a failure that

    SYNC_KEEPS     leaves the new content readable in the page cache, but it never reaches the disk (ext4, XFS)
    SYNC_REVERTS   takes it back at once (Btrfs)
    SYNC_LATE      is not reported: the next sync fails, with what this one should have stored lost (ext4, data=journal)

then looks at the page cache, or lets the power fail with none or some of the rest on disk.

Must hold: one attempt; the handle is given up, the outcome called unknown; reopening writes again and syncs what it
found before it counts on it; what an earlier sync acknowledged is there (O1), even if the power fails next. What a
sync acknowledged that the system knew to have failed cannot be promised: with SYNC_LATE that one op is let off,
and what is read back from the page cache behind it may be lost with the power.

Cases: every sync of each run, three times.
"""

from typing import Final

from tests.testing.faulty import FaultsFrom, run_with, workload
from tests.testing.storage import Fault
from tests.testing.trial import Trial

CASES: Final = 1_000
SLICES: Final = 2


def run(trial: Trial) -> None:
    """One run, with a failure at each of its syncs."""
    work = workload(trial.rng())
    for index in work.indexes(("sync",)):
        for fault in (Fault.SYNC_KEEPS, Fault.SYNC_REVERTS, Fault.SYNC_LATE):
            if trial.begin(f"{fault.name} at call {index}", sampled=True):
                run_with(trial, work, FaultsFrom(index, fault, once=True))
