"""The work of a bar: what is flushed together, how much it will be, and that no level is left over its count."""

import random

import pytest

from lsmcli.engine.compaction_plan import compact_fully, compact_into, settle, tables_estimate
from lsmcli.engine.errors import NoSpaceError
from lsmcli.engine.manifest import table_count_max_for_level
from lsmcli.engine.table_memory import TableMemory
from tests.testing.model import MAIN, Model
from tests.testing.operations import BLOCK_SIZE, Operation, Run, draw_profile, new_storage
from tests.testing.storage import Fault


def new_run(memory_size: int = 2048) -> Run:
    profile = draw_profile(random.Random(3), memory_size=memory_size, growth_factor=2, cache_size=1 << 20)
    return Run(new_storage(profile), profile, Model())


def put(run: Run, name: str, first: int, count: int) -> None:
    """Keys of half a kilobyte: a table takes few of them, so that levels fill."""
    for i in range(first, first + count):
        run.do(Operation("put", (name, [(b"%08d" % i + b"k" * 490, b"v" * 100)])))


def counts(run: Run, tree_id: int = 2) -> list[int]:
    return run.database.forest.tree(tree_id).manifest.level_counts


def test_no_level_is_over_its_count_after_a_checkpoint(rng: random.Random) -> None:
    run = new_run()
    for round_ in range(12):
        put(run, MAIN, rng.randrange(1000), 40)
        run.database.checkpoint()
        for level, count in enumerate(counts(run)[:-1]):
            assert count <= table_count_max_for_level(2, level), f"round {round_}"
    assert sum(count > 0 for count in counts(run)) >= 3


def test_keys_in_order_are_written_once() -> None:
    """Disjoint tables move down as they are: flushed once, never merged."""
    run = new_run(memory_size=16 * 1024)
    put(run, MAIN, 0, 600)
    run.database.checkpoint()
    stats = run.database.stats()
    assert sum(counts(run)) > 10
    assert stats["table_entries"] == 600
    # Data in the log and, with its index blocks and the checkpoints of tiny bars, in tables.
    assert stats["bytes_written"] < 6 * stats["bytes_put"]
    flushed = sum(info.block_count + 1 for info in run.database.forest.tree(2).manifest.tables()) * BLOCK_SIZE
    assert run.database.forest.file.grid.bytes_written < 3 * flushed


def test_compact_fully_leaves_one_level_and_no_tombstones() -> None:
    run = new_run()
    for start in (0, 30, 10):
        put(run, MAIN, start, 100)
    run.do(Operation("delete_range", (MAIN, b"00000020", b"00000100")))
    forest = run.database.forest
    forest.flush()
    for tree, context in forest.jobs():
        for _ in compact_fully(tree, context, lambda: iter(())):
            pass
    assert sum(count > 0 for count in counts(run)) == 1
    assert run.database.stats()["table_tombstones"] == 0
    assert dict(run.database.scan()) == run.model.trees[MAIN]


def test_compact_into_brings_tables_to_the_front_of_the_file() -> None:
    run = new_run()
    put(run, MAIN, 0, 300)
    run.do(Operation("delete_range", (MAIN, None, b"00000200")))
    before = run.storage.size()
    run.database.compact()
    assert run.storage.size() < before // 2
    assert dict(run.database.scan()) == run.model.trees[MAIN]
    forest = run.database.forest
    tree, context = forest.jobs()[-1]
    assert list(compact_into(tree, context, forest.file.grid.block_count, lambda: iter(()))) == []


def test_settle_has_nothing_to_do_after_a_bar() -> None:
    run = new_run()
    put(run, MAIN, 0, 200)
    run.database.checkpoint()
    assert list(settle(run.database.forest.jobs(), lambda: iter(()))) == []


def test_trees_are_flushed_together_or_not_at_all() -> None:
    """A flush that finds no space for the second tree leaves the first one in memory as well."""
    run = new_run(memory_size=1 << 20)
    run.do(Operation("create_tree", ("apple",)))
    put(run, MAIN, 0, 20)
    put(run, "apple", 0, 20)
    forest = run.database.forest
    forest._bar_end()
    counts_before = [counts(run, tree_id) for tree_id in (1, 2, 3)]

    class WritesFail(dict[int, Fault]):
        """After a few more operations there is no space."""

        first = run.storage.operations + 6

        def get(self, index: int, default: object = None) -> object:  # type: ignore[override]  # as the disk asks
            return Fault.NO_SPACE if index >= self.first else default

    run.storage.faults = WritesFail()
    with pytest.raises(NoSpaceError):
        run.database.checkpoint()
    assert [counts(run, tree_id) for tree_id in (1, 2, 3)] == counts_before
    assert all(forest.tree(tree_id).table_immutable.entries for tree_id in (2, 3))
    run.storage.faults = {}
    run.database.checkpoint()
    assert dict(run.database.tree("apple").scan()) == run.model.trees["apple"]


@pytest.mark.parametrize("value_size", [0, 20, 1000])
def test_the_estimate_of_a_flush_is_close(rng: random.Random, value_size: int) -> None:
    memory = TableMemory()
    for _ in range(1000):
        memory.put(rng.randbytes(16), bytes(value_size))
    table_count, block_count = tables_estimate(memory, BLOCK_SIZE)
    assert table_count >= 1
    least = (16 + value_size) * 1000 // BLOCK_SIZE
    assert least <= block_count <= 2 * least + 3
    assert tables_estimate(TableMemory(), BLOCK_SIZE) == (0, 0)
