"""Random operations on tiny settings give what the naive model gives."""

import random
from collections.abc import Iterator

import pytest

from lsmcli.engine import free_set
from tests.testing.model import Model
from tests.testing.operations import (
    WEIGHTS,
    Draw,
    Profile,
    Run,
    assert_holds,
    assert_verified,
    draw_profile,
    new_storage,
)


@pytest.fixture(autouse=True)
def _verify_free_sets(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(free_set, "VERIFY", True)
    yield


def run_operations(rng: random.Random, profile: Profile, steps: int) -> Run:
    """A run of random operations, verified after each reopening and at its end."""
    model = Model()
    run = Run(new_storage(profile), profile, model)
    draw = Draw(rng, profile, model)
    for step in range(steps):
        operation = draw.operation()
        try:
            run.do(operation)
            if operation.kind == "reopen":
                assert_verified(run.storage)
        except Exception as error:
            error.add_note(f"step {step}: {operation}")
            raise
    assert_holds(run.database, model.state)
    run.close()
    assert_verified(run.storage)
    return run


@pytest.mark.parametrize("number", range(24))
def test_random_operations_equal_the_model(seed: int, number: int) -> None:
    rng = random.Random(f"{seed}/{number}")
    run_operations(rng, draw_profile(rng), steps=400)


@pytest.mark.parametrize("number", range(3))
def test_three_levels_and_more_equal_the_model(seed: int, number: int) -> None:
    """Long keys, written in places: many small tables, which have to move down."""
    rng = random.Random(f"{seed}/levels/{number}")
    keys = sorted(rng.randbytes(300) for _ in range(700))
    profile = draw_profile(
        rng,
        memory_size=4096,
        growth_factor=2,
        keys=keys,
        keys_hot=keys[:8],
        hot_share=0.05,
        window=20,
        value_size_max=300,
        weights={**WEIGHTS, "batch": 40, "compact": 0, "delete_range": 0, "drop_tree": 0, "create_tree": 0},
    )
    assert run_operations(rng, profile, steps=500).levels_used >= 3
