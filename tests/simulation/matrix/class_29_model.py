"""Class 29: no faults at all. Long random runs against the naive model, each under several sets of options.

Injects: nothing; operations by chance from a swarm (any kind may be left out): puts, deletes, batches, ranges, scans
either way, lookups of many, iterators that stay open while others write, scopes, trees, checkpoints, compactions,
reopenings; hot keys, keys in places, keys that are prefixes of each other, values of no size and of many blocks.

Must hold: every answer is the model's, and so are all of them at the end; levels are disjoint, no block is lost (O2,
O5). The same operations give the same answers whatever the sizes of memory and cache, the growth factor, and the mode
of syncing.

Cases: one run of STEPS operations under one of OPTION_SETS sets of options. A run that fails is shrunk to what
matters.
"""

import random
from collections.abc import Sequence
from typing import Any, Final

from lsmcli.engine.constants import KIB, MIB
from tests.testing.model import Model
from tests.testing.operations import (
    WEIGHTS,
    Draw,
    Operation,
    Profile,
    Run,
    assert_holds,
    assert_verified,
    draw_profile,
    levels_used,
    new_storage,
)
from tests.testing.shrink import fits, shrink, take
from tests.testing.trial import Trial

CASES: Final = 240
SLICES: Final = 4

STEPS: Final = 150
STEPS_LONG: Final = 400
ONE_IN_LONG: Final = 8
OPTION_SETS: Final[tuple[dict[str, Any], ...]] = (
    {"memory_size": 2 * KIB, "cache_size": 0, "growth_factor": 2},
    {"memory_size": 2 * KIB, "cache_size": MIB, "growth_factor": 2, "sync": "commit"},
    {"memory_size": 3 * KIB, "cache_size": 16 * KIB, "growth_factor": 3},
    {"memory_size": 4 * KIB, "cache_size": MIB, "growth_factor": 2},
    {"memory_size": 5 * KIB, "cache_size": 0, "growth_factor": 4},
    {"memory_size": 8 * KIB, "cache_size": MIB, "growth_factor": 8, "sync": "commit"},
    {"memory_size": 8 * KIB, "cache_size": 16 * KIB, "growth_factor": 2},
    {"memory_size": 16 * KIB, "cache_size": MIB, "growth_factor": 3},
    {"memory_size": 16 * KIB, "cache_size": 0, "growth_factor": 16},
    {"memory_size": 32 * KIB, "cache_size": MIB, "growth_factor": 2},
    {"memory_size": 64 * KIB, "cache_size": 16 * KIB, "growth_factor": 4},
    {"memory_size": MIB, "cache_size": MIB, "growth_factor": 8},
)


def run(trial: Trial) -> None:
    """One list of operations, under every set of options."""
    rng = trial.rng()
    kind = rng.choices((_deep_profile, _iterators_profile, draw_profile), (2, 1, 7))[0]
    profile = kind(rng)
    operations = draw_operations(rng, profile, STEPS_LONG if rng.randrange(ONE_IN_LONG) == 0 else STEPS)
    for number, options in enumerate(OPTION_SETS):
        if trial.begin(f"option set {number}", sampled=True):
            try:
                levels = execute(profile._replace(**options), operations)
            except Exception as error:
                error.add_note(f"shrunk: {_shrunk(profile._replace(**options), operations)}")
                raise
            trial.mark(f"{levels} levels in use")


def _deep_profile(rng: random.Random) -> Profile:
    """Long keys, written in places: many small tables, which have to move down three levels and more."""
    keys = sorted(rng.randbytes(300) for _ in range(700))
    weights = {**WEIGHTS, "batch": 40, "compact": 0, "delete_range": 0, "drop_tree": 0, "create_tree": 0}
    return draw_profile(
        rng, keys=keys, keys_hot=keys[:8], hot_share=0.05, window=20, value_size_max=300, weights=weights
    )


def _iterators_profile(rng: random.Random) -> Profile:
    """Iterators that go through a full memory table, slowly, while it changes."""
    keys = [b"key %03d" % number for number in range(300)]
    weights = {**dict.fromkeys(WEIGHTS, 0), "put": 20, "batch": 20, "remove": 10, "delete_range": 0.5, "iterate": 50}
    return draw_profile(
        rng, keys=keys, hot_share=0.0, window=len(keys), value_size_max=12, large_share=0.0, weights=weights
    )


def draw_operations(rng: random.Random, profile: Profile, count: int) -> list[Operation]:
    """Operations that make sense one after the other, drawn against the model alone."""
    model = Model()
    draw = Draw(rng, profile, model)
    operations = []
    for _ in range(count):
        operations.append(draw.operation())
        take(operations[-1], model)
    return operations


def execute(profile: Profile, operations: Sequence[Operation]) -> int:
    """Does them, and compares everything; returns how many levels were in use."""
    model = Model()
    run = Run(new_storage(profile), profile, model)
    for step, operation in enumerate(operations):
        if not fits(operation, model):
            continue
        try:
            run.do(operation)
            if operation.kind == "reopen":
                assert_verified(run.storage)
        except Exception as error:
            error.add_note(f"step {step}: {operation}")
            raise
    assert_holds(run.database, model.state)
    levels = max(run.levels_used, levels_used(run.database))
    run.close()
    assert_verified(run.storage)
    return levels


def _shrunk(profile: Profile, operations: Sequence[Operation]) -> list[Operation]:
    def fails(some: Sequence[Operation]) -> bool:
        try:
            execute(profile, some)
        except Exception:  # noqa: BLE001  # any failure is one
            return True
        return False

    return shrink(operations, fails)
