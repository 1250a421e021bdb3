"""What must hold of every disk that a crash leaves, as quickly as it can be asked.

    op      1 ... synced ... done . issued
    found            k: any of these                 power failure
    found                     k: one of these        kill: all that was written is there

O1  the state is the one after an op k, with nothing half done and nothing left out before it
O2  the verifier finds no damage, and every block has exactly one owner or is free
O3  recovering twice gives the same state, and the same bytes outside of the log; reading changes none
O4  the file takes further writes, and holds what they say

O1 is asked of every case, the others of some, by the chance of the case.
"""

import random

from lsmcli.engine.database import Database
from tests.testing.model import Model, State, Trees
from tests.testing.operations import (
    Draw,
    Profile,
    Run,
    assert_holds,
    assert_verified,
    contents,
    open_database_on,
)
from tests.testing.storage import SimulatedStorage
from tests.testing.trial import Trial

SOMETIMES = 0.08


def states_allowed(history: list[State], op: int, op_min: int, op_max: int) -> list[tuple[int, State]]:
    """What a writer that recovered to `op` may hold, with the op k of the crash: op, or the one before that a
    discarded bound scope has followed."""
    assert op_min <= op <= op_max + 1, f"op {op} was found, of {op_min} … {op_max}"
    allowed = []
    if op <= op_max and history[op].surviving is history[op]:
        allowed.append((op, history[op]))
    if op - 1 >= op_min:
        before = history[op - 1]
        if before.surviving is not before:
            allowed.append((op - 1, before.surviving))
    assert allowed, f"op {op} was found, of {op_min} … {op_max}: a bound scope is still open"
    return allowed


def matching(database: Database, history: list[State], op_min: int, op_max: int) -> tuple[int, State]:
    """Which of the allowed states a writer holds, the earlier one of two; AssertionError when none."""
    found = contents(database)
    status = database.scope_status()
    allowed = states_allowed(history, database.forest.op, op_min, op_max)
    for op, state in reversed(allowed):
        scope = None if state.before is None else state.durable
        if found == state.trees and scope == (None if status is None else status.durable):
            return op, state
    raise AssertionError(f"op {database.forest.op}: {_difference(found, allowed[0][1].trees)}")


def _difference(found: Trees, wanted: Trees) -> str:
    if set(found) != set(wanted):
        return f"trees {sorted(found)} were found, not {sorted(wanted)}"
    for name, tree in found.items():
        for key in sorted({*tree, *wanted[name]}):
            if tree.get(key) != wanted[name].get(key):
                return f"in {name} {key!r} is {tree.get(key)!r:.60}, not {wanted[name].get(key)!r:.60}"
    return "the scope is another one"


def accept(
    disk: SimulatedStorage,
    profile: Profile,
    history: list[State],
    op_min: int,
    op_max: int,
    trial: Trial,
    *,
    lost_allowed: bool = False,
) -> int:
    """Opens the disk, which changes it. It must hold the state after an op k, op_min <= k <= op_max. Returns k."""
    rng = trial.rng_case()
    if rng.random() < SOMETIMES:
        _read(disk, profile, history, op_min, op_max)
    writer = open_database_on(disk, profile)
    op, state = matching(writer, history, op_min, op_max)
    if op < op_max:
        trial.mark("ops that were not synced are lost")
    if rng.random() < SOMETIMES:
        _recovered_again(disk, profile, state)
        return op
    if rng.random() < SOMETIMES:
        _go_on(Run(disk, profile, model_at(state, writer.forest.op), writer), rng, lost_allowed=lost_allowed)
    elif rng.random() < SOMETIMES:
        writer.close()
        assert_verified(disk, lost_allowed=lost_allowed)
    return op


def accept_lasting(
    disk: SimulatedStorage,
    profile: Profile,
    history: list[State],
    op_min: int,
    op_max: int,
    trial: Trial,
) -> None:
    """O1 of a disk whose page cache may hold what no power failure would leave: what a recovery has read, it has
    stored, so that a power failure right behind it takes nothing of that away."""
    disk = disk.reopen()
    writer = open_database_on(disk, profile)
    op, state = matching(writer, history, op_min, op_max)
    again = open_database_on(disk.crash(trial.rng_case()), profile)
    assert contents(again) == state.trees, f"op {op} was read, and did not survive"
    trial.mark("power failure behind a recovery")


def model_at(state: State, op: int) -> Model:
    """A model that goes on from a state."""
    model = Model()
    model.resume(state, op)
    return model


def _read(disk: SimulatedStorage, profile: Profile, history: list[State], op_min: int, op_max: int) -> None:
    """A reader finds the same, and changes nothing."""
    before = disk.image.key()
    reader = open_database_on(disk.reopen(), profile, writable=False)
    op = reader.forest.op
    assert op_min <= op <= op_max, f"op {op} was found, of {op_min} … {op_max}"
    assert contents(reader) == history[op].surviving.trees
    reader = open_database_on(disk.reopen(), profile, writable=False, committed=True)
    assert contents(reader) == history[op].committed
    assert disk.image.key() == before, "reading has changed the file"


def _recovered_again(disk: SimulatedStorage, profile: Profile, state: State) -> None:
    """A second recovery, of what the first one left, finds the same and writes nothing new."""
    again = disk.reopen()
    writer = open_database_on(again, profile)
    assert contents(writer) == state.trees
    # Where a torn tail was dropped each recovery adds one mark to the log.
    log = writer.forest.file.wal
    for image in (again.image, disk.image):
        image.write(log.offset, bytes(log.size))
    assert again.image == disk.image, "recovering twice gives other bytes"


def _go_on(run: Run, rng: random.Random, *, lost_allowed: bool) -> None:
    """Some more operations, a close, and the file is whole."""
    draw = Draw(rng, run.profile, run.model)
    for _ in range(rng.randrange(12)):
        run.do(draw.operation())
    if rng.random() < 0.5:
        run.do(draw.operation()._replace(kind="checkpoint", arguments=()))
    run.close()
    assert_verified(run.storage, lost_allowed=lost_allowed)
    assert_holds(open_database_on(run.storage.reopen(), run.profile, writable=False), run.model.state)
