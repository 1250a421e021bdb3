"""A memory table in key order: every entry once, in short steps, in both forms of the code."""

import random

import pytest

from lsmcli.engine import memory_runs
from lsmcli.engine.memory_merge import SORT_STEP_ENTRIES, SortedMemory, sort_memory, sorted_chunks
from lsmcli.engine.table_memory import DISMANTLE_STEP_ENTRIES, TableMemory
from lsmcli.engine.value_block import StoredValue
from tests.testing.tables import items_from, items_random

compiled_only = pytest.mark.skipif(not memory_runs.COMPILED, reason="not compiled here")


def memory_of(rng: random.Random, items: list[tuple[bytes, StoredValue]]) -> TableMemory:
    """The entries, put in any order, with a beat now and then."""
    memory = TableMemory()
    for key, value in rng.sample(items, len(items)):
        if value is None:
            memory.remove(key)
        else:
            memory.put(key, value)
        if rng.random() < 0.02:
            memory.sort_suffix()
    return memory


def sorted_now(memory: TableMemory) -> tuple[SortedMemory, int]:
    """And in how many steps."""
    steps = 0
    work = sort_memory(memory)
    while True:
        try:
            steps += next(work)
        except StopIteration as stop:
            assert isinstance(stop.value, SortedMemory)
            return stop.value, steps


@pytest.mark.parametrize("count", [1, 2, 100, 1500])
def test_chunks_hold_every_entry_once_in_order(rng: random.Random, count: int) -> None:
    items = items_random(rng, count)
    memory = memory_of(rng, items)
    for entries_max in (1, 7, 100, 5000):
        chunks = list(sorted_chunks(memory, entries_max))
        assert [item for chunk in chunks for item in items_from(chunk)] == items
        assert max(len(chunk.keys) for chunk in chunks) <= max(entries_max, len(memory.sorted_runs()))


def test_interpreted_the_runs_of_the_table_are_merged(rng: random.Random, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_runs, "COMPILED", False)
    items = items_random(rng, 700)
    found, steps = sorted_now(memory_of(rng, items))
    assert steps == 0
    assert (found.key_min, found.key_max, found.entry_count) == (items[0][0], items[-1][0], 700)
    assert [item for chunk in found.chunks() for item in items_from(chunk)] == items


@compiled_only
@pytest.mark.parametrize("shared", [b"", b"all keys begin with this, or nearly so "])
def test_compiled_it_is_sorted_in_short_steps(rng: random.Random, shared: bytes) -> None:
    for count in (1, SORT_STEP_ENTRIES, SORT_STEP_ENTRIES + 1, 3000):
        items = [(shared + key, value) for key, value in items_random(rng, count)]
        found, steps = sorted_now(memory_of(rng, items))
        assert steps == -(-count // SORT_STEP_ENTRIES)
        assert (found.key_min, found.key_max, found.entry_count) == (items[0][0], items[-1][0], count)
        assert list(found.release()) == [1] * steps
        assert list(found.release()) == []


def test_a_table_is_dismantled_unless_it_is_scanned(rng: random.Random) -> None:
    memory = memory_of(rng, items_random(rng, 2 * DISMANTLE_STEP_ENTRIES + 1))
    count = len(memory.entries)
    log = memory.observe(holds=False)
    assert sum(memory.dismantle()) == 0
    assert len(memory.entries) == count
    memory.unobserve(log)
    assert sum(memory.dismantle()) == 3
    assert memory.entries == {}
