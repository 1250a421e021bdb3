"""Iterating a table: any bounds, both directions, any step, against a sorted list."""

import random
from collections.abc import Iterator

import pytest

from lsmcli.engine.columns import Columns
from lsmcli.engine.errors import DamageError
from lsmcli.engine.grid import Grid
from lsmcli.engine.schema import BlockKind
from lsmcli.engine.table_info import TableInfo
from lsmcli.engine.table_iterator import TableIterator
from lsmcli.engine.value_block import StoredValue, encode_value_block
from tests.testing.grid import MemoryStorage, grid_new, grid_reopened
from tests.testing.tables import columns_from, items_from, items_random, table_built

Items = list[tuple[bytes, StoredValue]]


@pytest.fixture
def items(rng: random.Random) -> Items:
    return items_random(rng, 700, key_size_max=4, value_size_max=30)


@pytest.fixture
def grid() -> Grid:
    return grid_new()


@pytest.fixture
def info(grid: Grid, items: Items) -> TableInfo:
    info = table_built(grid, columns_from(items))
    assert info.block_count > 4
    return info


def flattened(steps: Iterator[Columns], *, reverse: bool) -> Items:
    parts = [items_from(step) for step in steps]
    assert all(parts), "an empty step"
    return [item for part in (parts[::-1] if reverse else parts) for item in part]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("entries_first", [None, 1, 16])
@pytest.mark.parametrize("cache_blocks", [False, True])
def test_any_range_is_that_of_the_list(
    rng: random.Random,
    grid: Grid,
    items: Items,
    info: TableInfo,
    reverse: bool,
    entries_first: int | None,
    cache_blocks: bool,
) -> None:
    iterator = TableIterator(grid, info, cache_blocks=cache_blocks)
    keys = [key for key, _ in items]
    edges = [key for last in iterator.index.keys_last for key in (last, last + b"\0")]
    bounds = [None, b"", b"\xff" * 5, *edges, *rng.sample(keys, 10), *(rng.randbytes(2) for _ in range(5))]
    for _ in range(300):
        start, end = rng.choice(bounds), rng.choice(bounds)
        expected = [(k, v) for k, v in items if (start is None or k >= start) and (end is None or k < end)]
        steps = iterator.blocks(start, end, reverse=reverse, entries_first=entries_first)
        assert flattened(steps, reverse=reverse) == expected


def test_steps_are_whole_blocks(grid: Grid, info: TableInfo) -> None:
    iterator = TableIterator(grid, info)
    counts = [len(step.keys) for step in iterator.blocks()]
    assert counts == list(iterator.index.entry_counts)
    assert counts == [len(iterator.block_columns(block).keys) for block in range(info.block_count)]


@pytest.mark.parametrize("reverse", [False, True])
def test_first_steps_are_short_and_grow(grid: Grid, info: TableInfo, reverse: bool) -> None:
    counts = [len(step.keys) for step in TableIterator(grid, info).blocks(reverse=reverse, entries_first=4)]
    assert counts[:3] == [4, 8, 16]
    assert set(counts[-3:-1]) <= set(TableIterator(grid, info).index.entry_counts), "whole blocks at last"


def test_the_next_block_is_prefetched_before_one_is_yielded(grid: Grid, info: TableInfo) -> None:
    assert isinstance(grid.storage, MemoryStorage)
    iterator = TableIterator(grid, info)
    offsets = [grid.offset(reference.address) for reference in iterator.index.references]
    grid.storage.prefetched.clear()
    steps = iterator.blocks()
    next(steps)
    assert grid.storage.prefetched == offsets[1:2]
    list(steps)
    assert grid.storage.prefetched == offsets[1:]
    grid.storage.prefetched.clear()
    list(iterator.blocks(reverse=True))
    assert grid.storage.prefetched == offsets[-2::-1]


def test_a_bounded_iteration_reads_no_block_outside(grid: Grid, info: TableInfo) -> None:
    keys_last = TableIterator(grid, info).index.keys_last
    reading = grid_reopened(grid)
    iterator = TableIterator(reading, info)
    assert isinstance(reading.storage, MemoryStorage)
    before = reading.storage.bytes_read
    list(iterator.blocks(keys_last[1] + b"\0", keys_last[2]))
    assert 0 < reading.storage.bytes_read - before <= grid.block_size


@pytest.mark.parametrize("cache_blocks", [False, True])
def test_blocks_stay_in_the_cache_when_asked_for(grid: Grid, info: TableInfo, cache_blocks: bool) -> None:
    reading = grid_reopened(grid)
    iterator = TableIterator(reading, info, cache_blocks=cache_blocks)
    list(iterator.blocks())
    cached = [reading.cached(reference, BlockKind.VALUE) for reference in iterator.index.references]
    assert all((block is not None) == cache_blocks for block in cached)


def test_blocks_before_the_damaged_one_are_served(grid: Grid, info: TableInfo) -> None:
    assert isinstance(grid.storage, MemoryStorage)
    references = TableIterator(grid, info).index.references
    grid.storage.data[grid.offset(references[2].address) + 150] ^= 1
    steps = TableIterator(grid_reopened(grid), info).blocks()
    next(steps)
    next(steps)
    with pytest.raises(DamageError, match="tree 2, level 0") as caught:
        next(steps)
    assert (caught.value.zone, caught.value.address) == ("value", references[2].address)


@pytest.mark.parametrize("reverse", [False, True])
def test_steps_that_are_not_in_order_are_damage(grid: Grid, reverse: bool) -> None:
    """Each step is sorted by itself: only the border between two steps is wrong."""
    info = table_built(grid, columns_from([(key, b"v") for key in (b"a", b"b", b"c", b"d")]))
    iterator = TableIterator(grid, info)
    keys = [b"a", b"c", b"b", b"d"]
    body = encode_value_block(keys, [b"v"] * 4, bytes(4), grid.block_size)
    reservation = grid.reserve(1)
    iterator.index.references[0] = grid.write(grid.acquire(reservation), BlockKind.VALUE, body)
    with pytest.raises(DamageError, match="tree 2"):
        list(iterator.blocks(reverse=reverse, entries_first=2))
