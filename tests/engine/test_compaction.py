"""Merging streams and tables: newer wins, tombstones fall where nothing is below, a failed job leaves no trace."""

import random

import pytest

from lsmcli.engine import memory_runs, piece_merge
from lsmcli.engine.columns import Columns
from lsmcli.engine.compaction import compact_table, merge_streams, table_stream
from lsmcli.engine.compaction_context import CompactionContext, large_references
from lsmcli.engine.compression import COMPRESSION_NONE
from lsmcli.engine.errors import NoSpaceError
from lsmcli.engine.grid import Grid
from lsmcli.engine.manifest import Manifest
from lsmcli.engine.manifest_log import ManifestLog
from lsmcli.engine.memory_merge import SortedMemory, sort_memory
from lsmcli.engine.schema import CHAIN_REFERENCE, ChainReference
from lsmcli.engine.table_info import TableInfo
from lsmcli.engine.table_memory import TableMemory
from lsmcli.engine.value_block import StoredValue
from tests.testing.grid import MemoryStorage, grid_new
from tests.testing.tables import TREE_ID, columns_from, items_from, items_random, large, tables_built

Items = list[tuple[bytes, StoredValue]]


class Level:
    """A manifest with tables of given entries, and what its jobs drop."""

    def __init__(self, storage: MemoryStorage | None = None) -> None:
        self.grid: Grid = grid_new(storage=storage)
        self.manifest = Manifest(TREE_ID, ManifestLog(self.grid), 2)
        self.dropped: list[ChainReference] = []
        self.pin: int | None = None
        self.context = CompactionContext(
            self.manifest,
            self.grid,
            snapshot_min=lambda: 100,
            pinned=lambda first, last: self.pin is not None and first <= self.pin <= last,
            drop_large=lambda tree_id, op, chain: self.dropped.append(chain),
            compression=lambda tree_id: COMPRESSION_NONE,
        )

    def add(self, level: int, items: Items) -> TableInfo:
        (info,) = tables_built(self.grid, columns_from(items), level=level)
        self.manifest.insert_table(info)
        return info

    def merge(self, newer: TableInfo | TableMemory | None, older: list[TableInfo], level_b: int) -> int:
        if isinstance(newer, TableMemory):
            return sum(compact_table(self.context, sorted_now(newer), older, level_b))
        return sum(compact_table(self.context, newer, older, level_b))

    def items(self, level: int) -> Items:
        return [
            item for step in table_stream(self.grid, self.manifest.levels[level].tables) for item in items_from(step)
        ]

    @property
    def used(self) -> int:
        assert self.grid.free_set is not None
        return self.grid.free_set.count_acquired


def memory_of(items: Items) -> TableMemory:
    memory = TableMemory()
    for key, value in items:
        if value is None:
            memory.remove(key)
        else:
            memory.put(key, value)
    return memory


def sorted_now(memory: TableMemory) -> SortedMemory:
    steps = sort_memory(memory)
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            found = stop.value
            assert isinstance(found, SortedMemory)
            return found


def cut(rng: random.Random, items: Items) -> list[Columns]:
    """The items as a stream of chunks of any size."""
    chunks = []
    position = 0
    while position < len(items):
        size = rng.randrange(1, 8)
        chunks.append(columns_from(items[position : position + size]))
        position += size
    return chunks


def test_merged_streams_are_merged_dicts(rng: random.Random) -> None:
    for _ in range(100):
        newer = items_random(rng, rng.randrange(40), key_size_max=2)
        older = items_random(rng, rng.randrange(40), key_size_max=2)
        dropped: list[bytes] = []
        steps = merge_streams(iter(cut(rng, newer)), iter(cut(rng, older)), dropped)
        merged = [item for step in steps for item in items_from(step)]
        assert merged == sorted((dict(older) | dict(newer)).items())
        lost = [value for key, value in older if key in dict(newer) and isinstance(value, ChainReference)]
        assert dropped == [CHAIN_REFERENCE.pack(value) for value in lost]


def test_a_flush_merges_memory_into_level_0() -> None:
    level = Level()
    info = level.add(0, [(b"b", b"old"), (b"c", b"old")])
    level.merge(memory_of([(b"a", b"new"), (b"b", b"new")]), [info], 0)
    assert level.items(0) == [(b"a", b"new"), (b"b", b"new"), (b"c", b"old")]


def test_a_tombstone_stays_as_long_as_something_deeper_may_hold_its_key() -> None:
    level = Level()
    level.add(1, [(b"a", b"1"), (b"z", b"1")])
    level.merge(memory_of([(b"m", None)]), [], 0)
    assert level.items(0) == [(b"m", None)]
    (info,) = level.manifest.levels[0].tables
    level.merge(info, list(level.manifest.levels[1].tables), 1)
    assert level.items(1) == [(b"a", b"1"), (b"z", b"1")]
    assert level.manifest.level_counts[0] == 0


def test_a_merge_that_leaves_nothing_leaves_no_table() -> None:
    level = Level()
    info = level.add(1, [(b"a", b"1")])
    level.merge(memory_of([(b"a", None)]), [], 0)
    (tombstones,) = level.manifest.levels[0].tables
    level.merge(tombstones, [info], 1)
    assert sum(level.manifest.level_counts) == 0
    assert level.used == 0


def test_an_overwritten_large_value_is_dropped_once() -> None:
    level = Level()
    info = level.add(0, [(b"a", large(1)), (b"b", large(2)), (b"c", large(3))])
    level.merge(memory_of([(b"a", b"small"), (b"b", None), (b"d", large(4))]), [info], 0)
    assert level.dropped == [large(1), large(2)]
    (merged,) = level.manifest.levels[0].tables
    assert list(large_references(level.grid, merged)) == [large(3), large(4)]


def test_a_pinned_input_stays_invisible() -> None:
    level = Level()
    info = level.add(0, [(b"a", b"old")])
    level.pin = 50
    level.merge(memory_of([(b"a", b"new")]), [info], 0)
    assert level.items(0) == [(b"a", b"new")]
    assert info.snapshot_max == 99
    assert [table.key_min for table in level.manifest.view(50)[0]] == [b"a"]
    assert level.manifest.view(50)[0][0] is info


@pytest.mark.parametrize("slices", range(6))
def test_a_job_that_is_closed_leaves_no_trace(rng: random.Random, slices: int) -> None:
    level = Level()
    info = level.add(0, items_random(rng, 400))
    items, used = level.items(0), level.used
    job = compact_table(level.context, sorted_now(memory_of(items_random(rng, 400))), [info], 0)
    for _ in range(slices):
        next(job)
    job.close()  # type: ignore[attr-defined]  # every job is a generator
    assert level.items(0) == items
    assert level.used == used
    assert level.manifest.levels[0].tables == [info]


def test_a_job_without_space_leaves_no_trace(rng: random.Random) -> None:
    storage = MemoryStorage()
    level = Level(storage)
    info = level.add(0, items_random(rng, 400))
    used = level.used
    storage.size_max = storage.size()
    assert level.grid.free_set is not None
    level.grid.reserve(level.grid.free_set.count_free - 3)
    with pytest.raises(NoSpaceError):
        level.merge(memory_of(items_random(rng, 2000, value_size_max=400)), [info], 0)
    assert level.used == used
    assert level.manifest.levels[0].tables == [info]


def test_the_same_inputs_give_the_same_blocks(rng: random.Random) -> None:
    older, newer = items_random(rng, 500), items_random(rng, 300)
    images = []
    for _ in range(2):
        storage = MemoryStorage()
        level = Level(storage)
        info = level.add(0, older)
        level.merge(memory_of(newer), [info], 0)
        images.append(bytes(storage.data))
    assert images[0] == images[1]


@pytest.mark.skipif(not piece_merge.COMPILED, reason="not compiled here")
@pytest.mark.parametrize("level_b", [0, 1])
def test_packed_entries_and_lists_of_them_merge_into_the_same_blocks(
    rng: random.Random, monkeypatch: pytest.MonkeyPatch, level_b: int
) -> None:
    newer, older = items_random(rng, 900, key_size_max=2), items_random(rng, 900, key_size_max=2)
    written = []
    for compiled in (True, False):
        monkeypatch.setattr(memory_runs, "COMPILED", compiled)
        monkeypatch.setattr(piece_merge, "COMPILED", compiled)
        storage = MemoryStorage()
        level = Level(storage)
        inputs = tables_built(level.grid, columns_from(older), level=level_b)
        for info in inputs:
            level.manifest.insert_table(info)
        level.merge(memory_of(newer), inputs, level_b)
        assert level.items(level_b) == [
            (key, value) for key, value in sorted((dict(older) | dict(newer)).items()) if value is not None
        ]
        written.append((bytes(storage.data), level.dropped))
    assert written[0] == written[1]
