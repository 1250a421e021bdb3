"""Scans of one tree: every range, both directions, over memory and levels, while others write."""

import itertools
import random

import pytest

from lsmcli.engine.scan import Scan
from lsmcli.engine.tree import Tree
from tests.testing.model import MAIN, Model, entries_between
from tests.testing.operations import Operation, Run, draw_profile, new_storage

KEYS = [b"a", b"b", b"c", b"d"]
BOUNDS = [None, b"", b"a", b"aa", b"b", b"c", b"d", b"d\0", b"\xff"]


def new_run() -> Run:
    profile = draw_profile(random.Random(3), memory_size=1 << 20, growth_factor=2, cache_size=1 << 20)
    return Run(new_storage(profile), profile, Model())


def tree_of(run: Run) -> Tree:
    return run.database.forest.tree(2)


def scanned(scan: Scan, *, reverse: bool) -> list[tuple[bytes, bytes]]:
    pairs: list[tuple[bytes, bytes]] = []
    for columns in scan.columns():
        assert columns.keys == sorted(columns.keys)
        step = list(zip(columns.keys, columns.values, strict=True))
        pairs += reversed(step) if reverse else step
    scan.close()
    return pairs


def put(run: Run, *entries: tuple[bytes, bytes | None]) -> None:
    run.do(Operation("put", (MAIN, list(entries))))


@pytest.mark.parametrize("placement", list(itertools.product("-im0", repeat=3)))
def test_newer_sources_win(placement: tuple[str, ...]) -> None:
    """A version of each key in level 0, the immutable and the mutable table, or a tombstone, or nothing."""
    run = new_run()
    forest = run.database.forest
    for source, stage in zip("0im", range(3), strict=True):
        for key, where in zip(KEYS, placement, strict=False):
            put(run, (key, None if where == source else b"%s %d" % (key, stage)))
        if source != "m":
            forest._bar_end()
    tree = tree_of(run)
    assert tree.table_mutable.entries and tree.table_immutable.entries
    for reverse in (False, True):
        expected = entries_between(run.model.trees[MAIN], None, None, reverse=reverse)
        assert scanned(Scan(tree, None, None, reverse=reverse), reverse=reverse) == expected


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("entries_first", [1, 2, 16])
def test_every_range(reverse: bool, entries_first: int) -> None:
    run = new_run()
    for key in KEYS:
        put(run, (key, b"old"), (key + b"a", b"old"))
    run.database.checkpoint()
    put(run, (b"b", None), (b"ca", b"new"), (b"e", b"new"))
    tree, model = tree_of(run), run.model.trees[MAIN]
    for start, end in itertools.product(BOUNDS, BOUNDS):
        scan = Scan(tree, start, end, reverse=reverse, entries_first=entries_first)
        assert scanned(scan, reverse=reverse) == entries_between(model, start, end, reverse=reverse)


@pytest.mark.parametrize("reverse", [False, True])
def test_a_scan_sees_the_state_of_its_beginning(reverse: bool) -> None:
    run = new_run()
    for i in range(300):
        put(run, (b"%03d" % i, b"before"))
    expected = entries_between(run.model.trees[MAIN], None, None, reverse=reverse)
    pairs = run.database.scan(reverse=reverse)
    found = [next(pairs)]
    for i in range(0, 300, 2):
        put(run, (b"%03d" % i, b"after"), (b"%03d" % (i + 1), None), (b"%03d more" % i, b"new"))
    run.database.compact()
    found += pairs
    assert found == expected


def test_a_scan_begun_after_a_discard_does_not_see_what_was_undone() -> None:
    """An older scan keeps the keys of a discarded scope in reach; a younger one has to pass over them."""
    run = new_run()
    put(run, (b"a", b"1"), (b"c", b"1"))
    older = run.database.scan()
    assert next(older) == (b"a", b"1")
    run.do(Operation("begin_durable"))
    put(run, (b"b", b"in the scope"), (b"a", b"in the scope"))
    run.do(Operation("discard"))
    assert list(run.database.scan()) == [(b"a", b"1"), (b"c", b"1")]
    assert list(run.database.scan(reverse=True)) == [(b"c", b"1"), (b"a", b"1")]
    put(run, (b"b", b"2"))
    assert list(older) == [(b"c", b"1")]


def test_an_abandoned_scan_holds_nothing() -> None:
    run = new_run()
    for i in range(100):
        put(run, (b"%03d" % i, b"x"))
    pairs = run.database.scan()
    next(pairs)
    assert run.database.forest.scans_open == 1
    del pairs
    put(run, (b"other", b"y"))
    run.database.sync()
    assert run.database.forest.scans_open == 0
