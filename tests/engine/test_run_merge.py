"""Merges of runs, interpreted and compiled, against a dict."""

import random
from types import ModuleType

import pytest

from tests.testing.twins import twins

both = pytest.mark.parametrize("loops", twins("lsmcli.engine.run_merge"))

TOMBSTONE = 1

Run = tuple[list[bytes], list[bytes], bytes]


def runs_random(rng: random.Random) -> list[Run]:
    """Runs with keys in common, some of them shorter than a prefix, with tombstones and other flags."""
    runs = []
    for _ in range(rng.randint(1, 9)):
        pool = [bytes(rng.choices(b"ab", k=rng.randint(1, 10))) for _ in range(rng.randint(1, 12))]
        pool += [b"shared prefix" + rng.randbytes(1) for _ in range(rng.randint(0, 3))]
        keys = sorted(set(pool))
        runs.append((keys, [rng.randbytes(3) for _ in keys], bytes(rng.choices([0, 0, 1, 2], k=len(keys)))))
    return runs


def merged_naively(runs: list[Run]) -> list[tuple[bytes, bytes, int]]:
    newest: dict[bytes, tuple[bytes, int]] = {}
    for keys, values, flags in reversed(runs):
        newest.update((key, (value, flag)) for key, value, flag in zip(keys, values, flags, strict=True))
    return [(key, *newest[key]) for key in sorted(newest) if newest[key][1] != TOMBSTONE]


@both
@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("limit", [1, 3, 1000])
def test_runs_merge_step_by_step(loops: ModuleType, limit: int, backward: bool, rng: random.Random) -> None:
    for _ in range(300):
        runs = runs_random(rng)
        expected = merged_naively(runs)
        before = [(list(keys), list(values), flags) for keys, values, flags in runs]
        whole = list(runs)
        places = [len(keys) if backward else 0 for keys, _, _ in runs]
        found: list[tuple[bytes, bytes, int]] = []
        while runs:
            keys, values, flags, places = loops.merge_runs(runs, places, limit, backward)
            assert len(keys) <= limit
            step = list(zip(keys, values, flags, strict=True))
            found = step + found if backward else found + step
            left = [i for i, place in enumerate(places) if place != (0 if backward else len(runs[i][0]))]
            assert len(left) < len(runs) or len(keys) == limit, "a step ends for a reason"
            runs, places = [runs[i] for i in left], [places[i] for i in left]
        assert found == expected
        assert whole == before, "arguments are not changed"


@both
@pytest.mark.parametrize("backward", [False, True])
def test_a_merge_gives_out_nothing_that_a_run_may_still_precede(loops: ModuleType, backward: bool) -> None:
    short: Run = [b"b", b"c"], [b"1", b"2"], bytes(2)
    long: Run = [b"a", b"b", b"d", b"e"], [b"3", b"4", b"5", b"6"], bytes(4)
    if backward:
        assert loops.merge_runs([short, long], [2, 4], 9, True) == (
            [b"b", b"c", b"d", b"e"],
            [b"1", b"2", b"5", b"6"],
            bytes(4),
            [0, 1],
        )
    else:
        assert loops.merge_runs([short, long], [0, 0], 9) == ([b"a", b"b", b"c"], [b"3", b"1", b"2"], bytes(3), [2, 2])
    assert loops.merge_runs([short, long], [1, 2], 1, backward) == (
        ([b"b"], [b"1"], bytes(1), [0, 1]) if backward else ([b"c"], [b"2"], bytes(1), [2, 2])
    )
