"""Class 3: every short sequence of operations, crashed by power at every storage call of its last one.

Injects: all sequences of one, two and three out of ten operations, on a file with entries in a table and in the log;
before each storage call of the last operation, and behind it, the disk with none, all, and all but one of the
unsynced sectors. (What a crash in an earlier operation leaves is met by the sequence that ends there.)

Must hold: O1 to O4. Most mistakes of storage engines show in short runs with a sync among them; here none is left
out.

Cases: every sequence that makes sense (a persist needs a scope), every crash point of it.
"""

import itertools
from typing import Final

from tests.testing.acceptance import accept
from tests.testing.model import MAIN
from tests.testing.operations import Operation, Run
from tests.testing.trace import RecordingStorage, record
from tests.testing.trial import Trial
from tests.testing.workloads import Start, run_from, small_profile, start_small

CASES: Final = 9_000
SHARE: Final = 0.25
SLICES: Final = 3

LARGE: Final = b"large" * 1000
OPERATIONS: Final = (
    Operation("put", (MAIN, [(b"key 01", b"put")])),
    Operation("remove", (MAIN, [(b"key 02", None)])),
    Operation("batch", (MAIN, [(b"key %02d" % number, b"batch" * 9) for number in range(16)])),  # fills a bar
    Operation("put", (MAIN, [(b"key 03", LARGE)])),
    Operation("begin_durable"),
    Operation("begin_bound"),
    Operation("persist"),
    Operation("discard"),
    Operation("checkpoint"),
    Operation("reopen"),
)
LENGTH_MAX: Final = 3
ROUNDS: Final = 10


def run(trial: Trial) -> None:
    """Every ROUNDS-th sequence."""
    start = start_small()
    sequences = (
        sequence
        for length in range(1, LENGTH_MAX + 1)
        for sequence in itertools.product(OPERATIONS, repeat=length)
        if _makes_sense(sequence)
    )
    for sequence in itertools.islice(sequences, trial.round, None, ROUNDS):
        _sequence(trial, start, sequence)


def _makes_sense(sequence: tuple[Operation, ...]) -> bool:
    """A scope begins outside of a scope and ends inside of one; reopening undoes a bound one."""
    scope = ""
    for operation in sequence:
        kind = operation.kind
        if kind.startswith("begin"):
            if scope:
                return False
            scope = kind
        elif kind in ("persist", "discard"):
            if not scope:
                return False
            scope = ""
        elif kind == "reopen" and scope == "begin_bound":
            scope = ""
    return True


def _sequence(trial: Trial, start: Start, sequence: tuple[Operation, ...]) -> None:
    rng = trial.rng(f"{trial.case}")
    profile = small_profile(rng, memory_size=2048, sync=rng.choice(("normal", "commit")))
    run = run_from(start, profile)
    names = " ".join(operation.kind for operation in sequence)
    _do(run, sequence[:-1])
    trace = record(run, iter(sequence[-1:]), close=rng.random() < 0.3)
    history = run.model.history
    for moment in trace.moments():
        count = len(moment.disk.units())
        change = moment.change
        masks = [("none", 0, False)]
        if count:
            masks.append(("all", -1, False))
        masks += [(f"but {unit}", -1 & ~(1 << unit), True) for unit in range(count if count > 1 else 0)]
        for name, keep, sampled in masks:
            if trial.begin(f"{names}: {name} of {count}, {moment.label}", sampled=sampled):
                accept(moment.disk.crash(keep), profile, history, change.op_synced, change.op_issued, trial)
    trial.mark(f"ends with {sequence[-1].kind}")


def _do(run: Run, sequence: tuple[Operation, ...]) -> None:
    assert isinstance(run.storage, RecordingStorage)
    for operation in sequence:
        run.do(operation)
