"""One tree: lookups step by step, its key range, and the scope on its mutable table."""

import random

import pytest

from lsmcli.engine.missing import MISSING
from lsmcli.engine.schema import CHAIN_NONE, BlockKind
from lsmcli.engine.tree import DECODERS, NEGATIVE, LookupKind, Tree
from tests.testing.model import MAIN, Model
from tests.testing.operations import Operation, Run, draw_profile, new_storage


def new_run() -> Run:
    profile = draw_profile(random.Random(3), memory_size=1 << 20, growth_factor=2, cache_size=1 << 20)
    return Run(new_storage(profile), profile, Model())


def tree_of(run: Run) -> Tree:
    return run.database.forest.tree(2)


@pytest.fixture
def run() -> Run:
    """Entries b … y in a table, in blocks that are cached only once they are asked for."""
    run = new_run()
    run.do(Operation("put", (MAIN, [(bytes([c]), b"value") for c in b"bdfhy"])))
    run.do(Operation("put", (MAIN, [(b"f", None), (b"x", None)])))
    run.database.checkpoint()
    run._reopen()
    return run


def test_memory_answers_first(run: Run) -> None:
    tree = tree_of(run)
    tree.put(b"b", b"newer")
    tree.remove(b"d")
    assert tree.lookup_from_memory(b"b") == b"newer"
    assert tree.lookup_from_memory(b"d") is None
    assert tree.lookup_from_memory(b"h") is MISSING


def test_a_lookup_in_the_cache_is_negative_positive_or_possible(run: Run) -> None:
    tree = tree_of(run)
    found = tree.lookup_from_levels_cache(b"b")
    assert (found.kind, found.level) == (LookupKind.POSSIBLE, 0)
    assert tree.get(b"b") == b"value"
    found = tree.lookup_from_levels_cache(b"b")
    assert (found.kind, found.value) == (LookupKind.POSITIVE, b"value")
    assert tree.lookup_from_levels_cache(b"c") == NEGATIVE
    assert tree.lookup_from_levels_cache(b"z") == NEGATIVE


def test_a_lookup_in_storage_asks_for_an_index_block_and_then_a_value_block(run: Run) -> None:
    tree = tree_of(run)
    kinds = []
    steps = tree.lookup_from_levels_storage(b"b")
    try:
        reference, kind = next(steps)
        while True:
            kinds.append(kind)
            reference, kind = steps.send(tree.grid.block(reference, kind, DECODERS[kind]))
    except StopIteration as stop:
        assert stop.value == b"value"
    assert kinds == [BlockKind.INDEX, BlockKind.VALUE]


def test_an_absent_key_touches_no_value_block(run: Run) -> None:
    tree = tree_of(run)
    tree.get(b"c")
    read = tree.grid.bytes_read
    for key in (b"c", b"e", b"bb", b"xx"):
        assert tree.get(key) is None
    assert tree.grid.bytes_read == read


def test_a_key_outside_the_range_touches_nothing(run: Run) -> None:
    tree = tree_of(run)
    assert tree.key_range_contains(b"b") and tree.key_range_contains(b"y")
    assert not tree.key_range_contains(b"a") and not tree.key_range_contains(b"ya")
    reads = run.storage.operations
    assert tree.get(b"a") is None
    assert run.storage.operations == reads
    tree.put(b"a", b"x")
    assert tree.get(b"a") == b"x"
    run.database.checkpoint()
    assert tree.key_range_contains(b"a") and tree.get(b"a") == b"x"


def test_many_lookups_read_each_block_once(run: Run) -> None:
    tree = tree_of(run)
    keys = [b"b", b"f", b"y", b"c", b"b"]
    read = tree.grid.bytes_read
    assert tree.get_many(keys) == [b"value", None, b"value", None, b"value"]
    assert tree.grid.bytes_read - read == 2 * 4096
    assert tree.get_many([]) == []


@pytest.mark.parametrize("mode", ["persist", "discard"])
def test_a_scope_keeps_or_undoes(run: Run, mode: str) -> None:
    tree = tree_of(run)
    tree.put(b"b", b"before")
    tree.scope_open()
    assert tree.scope_active
    tree.put(b"b", b"inside")
    tree.remove(b"d")
    tree.put(b"e", b"inside")
    tree.scope_close(mode)  # type: ignore[arg-type]  # one of the two literals
    assert not tree.scope_active
    kept = mode == "persist"
    assert tree.get(b"b") == (b"inside" if kept else b"before")
    assert tree.get(b"d") == (None if kept else b"value")
    assert tree.get(b"e") == (b"inside" if kept else None)


def test_a_spilled_scope_parts_the_table_in_two(run: Run) -> None:
    tree = tree_of(run)
    tree.put(b"b", b"before")
    tree.table_immutable.dropped_large.append(CHAIN_NONE)  # of a flush that no checkpoint has followed yet
    tree.scope_open()
    tree.put(b"b", b"inside")
    tree.scope_spill(7)
    assert tree.table_immutable.dropped_large == [CHAIN_NONE]
    assert tree.table_immutable.entries == {b"b": b"before"}
    assert tree.table_mutable.entries == {b"b": b"inside"}
    assert tree.immutable_bar == 7
    tree.scope_unspill()
    assert tree.table_mutable.entries == {b"b": b"inside"}
    tree.scope_close("discard")
    assert tree.table_mutable.entries == {b"b": b"before"}


def test_values_dropped_in_memory_outlive_its_tables() -> None:
    """A large value that was overwritten before the flush is released by the checkpoint behind it."""
    run = new_run()
    run.do(Operation("put", (MAIN, [(b"k", b"x" * 9000)])))
    run.do(Operation("put", (MAIN, [(b"k", b"small")])))
    for _ in range(3):
        run.database.checkpoint()
    # One table of two blocks, the manifest and the free set, each with its twin.
    assert run.database.forest.file.grid.free_set is not None
    assert run.database.forest.file.grid.free_set.count_acquired == 6


def test_swapping_hands_over_or_absorbs(run: Run) -> None:
    tree = tree_of(run)
    tree.put(b"1", b"a")
    tree.swap_mutable_and_immutable(5)
    assert tree.table_immutable.entries == {b"1": b"a"}
    assert tree.immutable_bar == 5
    tree.put(b"1", b"b")
    tree.put(b"2", b"c")
    tree.swap_mutable_and_immutable(6)
    assert tree.table_immutable.entries == {b"1": b"b", b"2": b"c"}
    assert tree.immutable_bar == 5
    assert not tree.table_mutable.entries


def test_an_empty_tree_says_so(run: Run) -> None:
    forest = run.database.forest
    assert forest.tree(9).empty
    assert not tree_of(run).empty
    assert len(list(tree_of(run).manifest.tables())) == 1
