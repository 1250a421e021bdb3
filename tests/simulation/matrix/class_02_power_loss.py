"""Class 2: the power fails, and of what was written since the last sync any part is on disk.

Injects: before each write, sync, allocation and truncation of a run (the log wraps, checkpoints, several levels,
scopes, large values), the disk with none of the unsynced sectors; all of them; each prefix, so that the newest write
is torn at each of its sectors; each sector of the newest write alone; all but each one; random ones.

Must hold: O1 to O4 (tests/testing/acceptance.py): with sync="commit" every acknowledged op is there, with "normal"
every one that a sync or checkpoint covered; no op without those before it, no batch or scope in part. Of the run
itself O8: nothing is written before what it refers to is synced, nor over what a durable superblock needs.

Cases: all crash points with none and all; of the other masks the share.
"""

from collections.abc import Iterator
from typing import Final

from tests.testing import situations
from tests.testing.acceptance import accept
from tests.testing.order import assert_order
from tests.testing.trace import Moment, Trace
from tests.testing.trial import Trial
from tests.testing.workloads import crash_trace, log_moving_trace, ring_trace

CASES: Final = 10_000
SHARE: Final = 0.3
SLICES: Final = 3
SITUATIONS: Final = situations.SITUATIONS

MASKS_RANDOM: Final = 6
TRACES: Final = {crash_trace: 0.75, log_moving_trace: 0.15, ring_trace: 0.1}  # of the rounds


def run(trial: Trial) -> None:
    """One run, crashed at every call."""
    rng = trial.rng()
    (kind,) = rng.choices(list(TRACES), list(TRACES.values()))
    trace = kind(rng)
    situations.mark_situations(trial, trace)
    if trial.begin("the order of its writes"):
        assert_order(trace, trial)
    count_before = 0
    for moment in trace.moments():
        count = len(moment.disk.units())
        _crash(trial, trace, moment, min(count_before, count), count)
        count_before = count


def _crash(trial: Trial, trace: Trace, moment: Moment, count_before: int, count: int) -> None:
    for name, keep, sampled in _masks(trial, count_before, count):
        if trial.begin(f"{name}; {moment.label}", sampled=sampled):
            change = moment.change
            history = trace.run.model.history
            accept(moment.disk.crash(keep), trace.profile, history, change.op_synced, change.op_issued, trial)
            trial.mark(f"{name.split()[0]} of the unsynced sectors")


def _masks(trial: Trial, count_before: int, count: int) -> Iterator[tuple[str, int, bool]]:
    """Name, mask, and whether it is one of many alike. What concerns only older sectors was met one call before."""
    everything = (1 << count) - 1
    yield "none", 0, False
    if count == 0:
        return
    yield "all", everything, False
    for size in range(count_before + 1, count):
        yield f"first {size} of {count}", (1 << size) - 1, True
    for unit in range(count_before, count):
        yield f"only {unit} of {count}", 1 << unit, True
    for unit in range(count if count > 2 else 0):
        yield f"but {unit} of {count}", everything & ~(1 << unit), True
    rng = trial.rng(f"masks {trial.case}")
    for _ in range(MASKS_RANDOM if count > 2 else 0):
        yield "random", rng.getrandbits(count), True
