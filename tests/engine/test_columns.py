"""Bulk operations on columns against a dict: every small pair of runs, then seeded large ones."""

import itertools
import random

import pytest

from lsmcli.engine.columns import EMPTY, Columns, concatenate, drop_tombstones, merge
from lsmcli.engine.schema import CHAIN_REFERENCE
from lsmcli.engine.value_block import StoredValue
from tests.testing.tables import columns_from, items_from, items_random, large

Items = list[tuple[bytes, StoredValue]]


def check_merge(newer: Items, older: Items) -> None:
    merged, dropped = merge(columns_from(newer), columns_from(older))
    model = dict(older) | dict(newer)
    assert items_from(merged) == sorted(model.items())
    lost = [value for key, value in older if key in dict(newer) and isinstance(value, tuple)]
    assert [CHAIN_REFERENCE.unpack(packed) for packed in dropped] == lost


def test_merge_of_every_pair_of_short_runs() -> None:
    runs = [
        [(bytes((letter,)), kind) for letter, kind in zip(b"abc", kinds, strict=True) if kind is not ...]
        for kinds in itertools.product((..., b"v", None, large(1)), repeat=3)
    ]
    for newer, older in itertools.product(runs, runs):
        marked = [(key, value + b" older" if isinstance(value, bytes) else value) for key, value in older]
        check_merge(newer, marked)


@pytest.mark.parametrize("overlap", [0.0, 0.05, 0.5, 1.0])
def test_merge_of_long_runs(rng: random.Random, overlap: float) -> None:
    newer = items_random(rng, 3000)
    older = dict(items_random(rng, 3000))
    older |= {key: rng.randbytes(5) for key, _ in rng.sample(newer, int(overlap * len(newer)))}
    check_merge(newer, sorted(older.items()))


def test_merge_of_disjoint_runs_in_either_order() -> None:
    low: Items = [(b"a", b"1"), (b"b", None)]
    high: Items = [(b"c", large(3)), (b"d", b"4")]
    check_merge(low, high)
    check_merge(high, low)


def test_merge_does_not_change_its_inputs(rng: random.Random) -> None:
    newer, older = columns_from(items_random(rng, 300)), columns_from(items_random(rng, 300))
    before = (items_from(newer), items_from(older))
    merge(newer, older)
    assert (items_from(newer), items_from(older)) == before


def test_drop_tombstones_keeps_everything_else(rng: random.Random) -> None:
    items = items_random(rng, 500)
    kept = drop_tombstones(columns_from(items))
    assert items_from(kept) == [(key, value) for key, value in items if value is not None]


def test_drop_tombstones_without_any_copies_nothing() -> None:
    columns = columns_from([(b"a", b"1"), (b"b", large(2))])
    assert drop_tombstones(columns) is columns


def test_cut_and_concatenate_are_inverse(rng: random.Random) -> None:
    columns = columns_from(items_random(rng, 200))
    for chunk in (1, 7, 199, 200, 500):
        parts = [columns.cut(start, start + chunk) for start in range(0, 200, chunk)]
        assert concatenate(parts) == columns
    assert columns.cut(150) == columns.cut(150, 200)


def test_concatenate_skips_empty_parts() -> None:
    columns = columns_from([(b"a", b"1")])
    assert concatenate([EMPTY, columns, EMPTY]) is columns
    assert concatenate([]) == EMPTY


def test_concatenate_refuses_runs_that_overlap() -> None:
    run = Columns([b"a", b"c"], [b"", b""], bytes(2))
    with pytest.raises(AssertionError):
        concatenate([run, Columns([b"b"], [b""], bytes(1))])
