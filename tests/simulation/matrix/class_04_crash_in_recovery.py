"""Class 4: the power fails again while a crash is recovered from, and again, three deep.

Injects: a crash of a run by power (as class 2); then before each storage call that its recovery, a first op, a
scope's end, a checkpoint and a close make, another crash, with none, all or some of what was not synced; then once
more.

Must hold: O1 of the first crash at every depth: what one recovery has found and acknowledged is never taken back by
the next one. O3: recovering is restartable.

Cases: every crash point of the recoveries of some crashes of the run, to depth 3.
"""

import random
from typing import Final

from lsmcli.engine.database import Database
from tests.testing.acceptance import accept, matching
from tests.testing.model import MAIN, Model, State
from tests.testing.operations import Operation, Profile, Run, open_database_on
from tests.testing.storage import SimulatedStorage
from tests.testing.trace import RecordingStorage, Trace
from tests.testing.trial import Trial
from tests.testing.workloads import crash_trace

CASES: Final = 3_000
SHARE: Final = 0.5

STEPS: Final = 60
CRASHES: Final = 12
DEPTH_MAX: Final = 3


def run(trial: Trial) -> None:
    """One run; some crashes of it; every crash of their recoveries."""
    rng = trial.rng()
    trace = crash_trace(rng, STEPS)
    for moment in rng.sample(list(trace.moments()), min(CRASHES, len(trace.changes))):
        change = moment.change
        disk = moment.disk.crash(rng)
        _recover(trial, disk, trace.profile, trace.run.model.history, change.op_synced, change.op_issued, 1)


def _recover(
    trial: Trial,
    disk: SimulatedStorage,
    profile: Profile,
    history: list[State],
    op_min: int,
    op_max: int,
    depth: int,
) -> None:
    """Recovers while recording; crashes at every call of that, and goes on from one of those crashes."""
    recording = RecordingStorage(disk.image)
    start = SimulatedStorage.reopen(recording)
    writer = open_database_on(recording, profile)
    op, state = matching(writer, history, op_min, op_max)
    opened = len(recording.changes)
    op_opened = writer.forest.op  # one more than op where a bound scope was discarded
    run = _go_on(recording, profile, state, writer, op)
    states = history[: op + 1] + run.model.history[op + 1 :]
    rng = trial.rng(f"depth {depth} {trial.case}")
    # Often among the first puts, with the oldest of what is unsynced lost and the rest kept: a hole in the log.
    deeper = opened + 3 if rng.random() < 0.5 else rng.randrange(len(recording.changes) + 1)
    for moment in Trace(start, recording.changes, profile, run).moments():
        keep = rng.choice((0, -1, rng.getrandbits(64), ~1, ~1))
        # All that the recovery has read was on disk, so no later one finds less.
        low, high = max(op, moment.change.op_synced), max(op_opened, moment.change.op_issued)
        if trial.begin(f"depth {depth}, {moment.label}", sampled=True):
            accept(moment.disk.crash(keep), profile, states, low, high, trial)
            trial.mark(f"crash at depth {depth}")
        if moment.number == deeper and depth < DEPTH_MAX:
            _recover(trial, moment.disk.crash(keep), profile, states, low, high, depth + 1)


def _go_on(storage: RecordingStorage, profile: Profile, state: State, writer: Database, op: int) -> Run:
    """Some puts, the end of the scope, a checkpoint, a close."""
    model = Model()
    model.resume(state, writer.forest.op)
    run = Run(storage, profile, model, writer)
    run.op_synced = op  # not the record that discards a bound scope
    storage.run = run
    name = MAIN if MAIN in model.trees else next(iter(model.trees))
    for key in (b"key 00", b"key 01", b"key 02"):
        # The same at each depth, so that what one crash has torn off would fit behind what the next recovery writes.
        run.do(Operation("put", (name, [(key, b"behind the crash")])))
    if model.state.before is not None:
        run.do(Operation(random.Random(model.op).choice(("persist", "discard"))))
    run.do(Operation("checkpoint"))
    run.close()
    return run
