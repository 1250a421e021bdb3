"""The compaction work of a bar: which jobs run in which half, in what order, and how much it will be.

Invariants:
- a job starts only when the one before has changed the manifest, so each sees the levels as they are;
- between two jobs no job is open: that is when a checkpoint may be made;
- after both halves and settle() no level but the last is over its count.

Each function gives an iterator that yields the number of steps done in each slice, see compaction.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from lsmcli.engine.compaction import STEPS_PER_BLOCK, Outcome, compact_table, merge_tables
from lsmcli.engine.compaction_context import CompactionContext, table_addresses
from lsmcli.engine.compaction_policy import (
    HALVES,
    DoNothing,
    MoveTable,
    level_of_flush,
    levels_of_half,
    select,
    select_flush,
    tables_to_shed,
)
from lsmcli.engine.constants import LEVELS
from lsmcli.engine.entry_map import entries_between
from lsmcli.engine.index_block import index_block_size
from lsmcli.engine.manifest import table_count_max_for_level
from lsmcli.engine.manifest_level import ManifestLevel
from lsmcli.engine.memory_merge import SORT_STEP_ENTRIES, SortedMemory, sort_memory
from lsmcli.engine.table_memory import DISMANTLE_STEP_ENTRIES, TableMemory
from lsmcli.engine.tree import Tree
from lsmcli.engine.value_block import value_block_size

_SAMPLE_ENTRIES: Final = 256

# A tree with what its jobs need, and what is to be done between two jobs, in steps of its own.
Jobs = Sequence[tuple[Tree, CompactionContext]]
JobEnd = Callable[[], Iterator[int]]


def tables_estimate(memory: TableMemory, block_size: int) -> tuple[int, int]:
    """How many tables, and how many value blocks, a flush of this memory table gives, from a sample."""
    count = len(memory.entries)
    if count == 0:
        return 0, 0
    keys, values = entries_between(memory.entries, 0, _SAMPLE_ENTRIES)
    keys_size = sum(map(len, keys))
    values_size = sum(len(value) for value in values if value is not None)
    entries_size = (keys_size + values_size) * count // len(keys)
    room = block_size - value_block_size(0, 0, 0, block_size)
    overhead = value_block_size(1, 0, 0, block_size) - value_block_size(0, 0, 0, block_size)
    block_count = -(-(entries_size + overhead * count) // room)
    index_size = index_block_size(block_count, keys_size // len(keys) * block_count, count, block_size)
    return -(-index_size // block_size), block_count


def half_bar(jobs: Jobs, half: int, *, flushes: Callable[[Tree], bool], job_end: JobEnd) -> tuple[Iterator[int], int]:
    """The work of one half of a bar for all trees, and an estimate of its sum in blocks.

    flushes(tree) tells whether the immutable table is to be flushed in this bar. job_end is called between jobs.
    """
    flushed = [(tree, context) for tree, context in jobs if flushes(tree)]
    plans = [(context, _targets(tree, flushes(tree))) for tree, context in jobs]
    estimate = sum(
        _estimate(tree, half, targets, flush=flushes(tree)) for (tree, _), (_, targets) in zip(jobs, plans, strict=True)
    )

    def work() -> Iterator[int]:
        for context, targets in plans:
            for level in reversed(levels_of_half(half)):
                yield from _shed_level(context, level, targets[level], job_end)
        if half == HALVES - 1:
            yield from flush(flushed)
            yield from job_end()

    return work(), estimate


def flush(jobs: Jobs) -> Iterator[int]:
    """Writes each immutable table into level 0 or 1, merged with the tables there that share keys with it.

    All of them or none: a checkpoint in between would have a replay meet ops of one tree that are in its
    tables already, because those of another are not.
    """
    outcomes: list[Outcome] = []
    merged: list[SortedMemory] = []
    try:
        for tree, context in jobs:
            memory = tree.table_immutable
            if memory.entries:
                entries = yield from sort_memory(memory)
                merged.append(entries)
                level_b = _level_of_flush(tree)
                overlapped = select_flush(tree.manifest.levels[level_b], entries.key_min, entries.key_max)
                outcomes.append((yield from merge_tables(context, entries, overlapped, level_b)))
    except BaseException:
        for outcome in outcomes:
            outcome.abandon()
        raise
    for outcome in outcomes:
        outcome.install()
    flushed = [tree.immutable_flushed() for tree, _ in jobs]
    try:
        for outcome in outcomes:
            yield from outcome.release()
        for entries in merged:
            yield from entries.release()
        for memory in flushed:
            yield from memory.dismantle()
    finally:
        for outcome in outcomes:
            outcome.release_rest()


def _level_of_flush(tree: Tree) -> int:
    """Where the immutable table goes. Level 0 where that was not emptied for it: what is there is older."""
    if tree.manifest.levels[0].count:
        return 0
    incoming = tables_estimate(tree.table_immutable, tree.grid.block_size)[0]
    return level_of_flush(incoming, tree.manifest.growth_factor)


def settle(jobs: Jobs, job_end: JobEnd) -> Iterator[int]:
    """Brings every level down to its count, when a flush was larger than planned. Mostly nothing to do."""
    for tree, context in jobs:
        for level in range(LEVELS - 1):
            count_max = table_count_max_for_level(tree.manifest.growth_factor, level)
            yield from _shed_level(context, level, count_max, job_end)


def compact_fully(tree: Tree, context: CompactionContext, job_end: JobEnd) -> Iterator[int]:
    """Brings everything down to one level: the deepest in use, or the first below 0 that has room for all.

    Level by level, so that the file needs little space beside the data. Then tables with
    tombstones that nothing deeper needs are written anew without them, and those that are not compressed as
    the tree's setting says. Level 0 is left empty, so that the
    next flush need not merge with everything.
    """
    manifest = tree.manifest
    counts = manifest.level_counts
    level_last = max([1, *(level for level in range(LEVELS) if counts[level])])
    while level_last < LEVELS - 1 and sum(counts) > table_count_max_for_level(manifest.growth_factor, level_last):
        level_last += 1
    for level in range(level_last):
        yield from _shed_level(context, level, 0, job_end)
    for info in [
        info for info in manifest.levels[level_last].tables if info.tombstone_count or context.recodes(info, level_last)
    ]:
        yield from compact_table(context, None, [info], level_last)
        yield from job_end()


def compact_into(tree: Tree, context: CompactionContext, address_max: int, job_end: JobEnd) -> Iterator[int]:
    """Writes the tables that have a block behind `address_max` anew, where lower blocks are free."""
    for level in tree.manifest.levels:
        for info in list(level.tables):
            if max(table_addresses(tree.grid, info)) > address_max:
                yield from compact_table(context, None, [info], info.level)
                yield from job_end()


def _targets(tree: Tree, flush: bool) -> list[int]:
    """How many tables each level is to be brought down to in its half."""
    counts = tree.manifest.level_counts
    incoming = tables_estimate(tree.table_immutable, tree.grid.block_size)[0] if flush else 0
    sheds = tables_to_shed(counts, incoming, tree.manifest.growth_factor)
    targets = []
    for level, shed in enumerate(sheds):
        # An odd level first takes in what the level above sheds in the first half.
        arriving = sheds[level - 1].in_half if level % HALVES else 0
        targets.append(max(0, counts[level] + arriving - shed.in_half))
    return targets


def _shed_level(context: CompactionContext, level: int, target: int, job_end: JobEnd) -> Iterator[int]:
    """Moves or merges tables of a level into the next one until it has no more than `target`."""
    levels = context.manifest.levels
    while not isinstance(decision := select(levels[level], levels[level + 1], table_count_target=target), DoNothing):
        if isinstance(decision, MoveTable):
            if context.recodes(decision.table, level + 1):
                yield from compact_table(context, decision.table, [], level + 1)
            else:
                context.manifest.move_table(decision.table, level + 1)
                yield 1
        else:
            yield from compact_table(context, decision.table, decision.overlapped, level + 1)
        yield from job_end()


def _blocks_of(level: ManifestLevel) -> int:
    """Value blocks of all visible tables."""
    return sum(info.block_count for info in level.tables)


def _estimate(tree: Tree, half: int, targets: list[int], *, flush: bool) -> int:
    """Steps that this half will take, from the counts and the mean overlap of neighbouring levels."""
    manifest = tree.manifest
    steps = 0
    for level in levels_of_half(half):
        level_a, level_b = manifest.levels[level], manifest.levels[level + 1]
        shed = level_a.count - targets[level]
        least = level_a.table_with_least_overlap(level_b) if shed > 0 else None
        if least is not None:
            blocks = _blocks_of(level_a) // level_a.count + _blocks_of(level_b) // level_a.count
            steps += shed * (blocks * STEPS_PER_BLOCK if least.overlapped else 1)
    if half == HALVES - 1 and flush and tree.table_immutable.entries:
        blocks = _blocks_of(manifest.levels[_level_of_flush(tree)])
        steps += blocks * STEPS_PER_BLOCK + tables_estimate(tree.table_immutable, tree.grid.block_size)[1]
        count = len(tree.table_immutable.entries)
        steps += 2 * count // SORT_STEP_ENTRIES + count // DISMANTLE_STEP_ENTRIES
    return steps
