"""What must hold of a disk that a crash left: a reader, a writer, a second crash, and going on from there.

op      1 ........ synced ........ done . issued
found                 k: any of these                  power failure
found                              k: one of these     kill: all that was written is there
"""

import random

from lsmcli.engine.constants import MIB
from tests.testing.model import Model
from tests.testing.operations import (
    Draw,
    Profile,
    Run,
    assert_holds,
    assert_verified,
    open_database_on,
)
from tests.testing.storage import SimulatedStorage


def examine(
    disk: SimulatedStorage,
    profile: Profile,
    model: Model,
    op_min: int,
    rng: random.Random,
    *,
    lost_allowed: bool = False,
) -> int:
    """Opens the disk in all ways. It must hold the model's state after an op k, op_min <= k <= model.op. Returns k."""
    profile = profile._replace(cache_size=MIB)
    before = bytes(disk.image)
    reader = open_database_on(disk.reopen(), profile, writable=False)
    op = reader.forest.op
    assert op_min <= op <= model.op, f"op {op} was found, of {op_min} … {model.op}"
    state = model.history[op].surviving
    assert_holds(reader, state)
    assert bytes(disk.image) == before, "reading has changed the file"
    disk = disk.reopen()
    writer = open_database_on(disk, profile)
    assert_holds(writer, state)
    if rng.random() < 0.3:
        disk = disk.crash(rng)
        writer = open_database_on(disk, profile)
        assert_holds(writer, state)
    _go_on(Run(disk, profile, _resumed(model, op, writer.forest.op), writer), rng, lost_allowed)
    return op


def _resumed(model: Model, op: int, op_now: int) -> Model:
    resumed = Model()
    resumed.resume(model.history[op].surviving, op_now)
    return resumed


def _go_on(run: Run, rng: random.Random, lost_allowed: bool) -> None:
    """Some more operations, perhaps; a close; and the file is whole."""
    model = run.model
    if rng.random() < 0.3:
        draw = Draw(rng, run.profile, model)
        for _ in range(rng.randrange(12)):
            run.do(draw.operation())
    if rng.random() < 0.5:
        run.database.checkpoint()
    run.close()
    assert_verified(run.storage, lost_allowed=lost_allowed)
    assert_holds(open_database_on(run.storage.reopen(), run.profile, writable=False), model.state)
