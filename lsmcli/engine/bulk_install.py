"""The short way of a bulk load into the file: tables, written where they belong, and one checkpoint.

Invariants:
- nobody puts anything meanwhile: the caller holds the lock of the database;
- until install() only reserved blocks are written; from there on only a failed write, which gives the handle up,
  keeps the checkpoint from being made: the space that it takes is set aside before;
- the load is an op of its own, an empty record of the WAL: every reader of the state before is behind it.

    memory that overlaps -> tables, by a flush        as any time
    load + overlapping tables -> new tables           in reserved blocks, one level for all
    WAL: op N, empty
    manifest: new tables in, merged tables out        visible from op N on
    checkpoint                                        now, and at once, all of it is in the file
"""

from collections.abc import Iterable
from itertools import chain
from typing import TYPE_CHECKING, Final, NamedTuple

from lsmcli.engine.block_chain import chain_block_count
from lsmcli.engine.bulk_merge import Counts, OnConflict, live_stream, merge_load, write_tables
from lsmcli.engine.bulk_packed import goes_packed, write_packed
from lsmcli.engine.bulk_sort import merge_runs
from lsmcli.engine.bulk_space import BulkSpace
from lsmcli.engine.bulk_target import Target, choose_level, choose_tables, tables_estimate
from lsmcli.engine.bulk_tree import TreeLoad
from lsmcli.engine.compaction_context import CompactionContext, Removal, table_addresses
from lsmcli.engine.compaction_plan import settle
from lsmcli.engine.errors import DamageError, LsmError, NoSpaceError, OutcomeUnknownError
from lsmcli.engine.schema import CHAIN_REFERENCE, TableEventKind
from lsmcli.engine.scope import Mark
from lsmcli.engine.table_info import TableInfo
from lsmcli.engine.tree import Tree

if TYPE_CHECKING:
    from lsmcli.engine.forest import Forest

# A load is merged with at most so many times its own size; a little into much goes the way of puts.
_MERGED_SHARE_MAX: Final = 8

_RUN_SIZE: Final = 8  # what one more run of used blocks takes in a free set


class Built(NamedTuple):
    """The outcome of one tree, not in its manifest yet."""

    tree: Tree
    context: CompactionContext
    outputs: list[TableInfo]
    level: int
    removals: list[Removal]
    dropped: list[bytes]  # packed references of out-of-line values that nobody sees any more
    garbage: list[int]  # blocks of the load's own space that are of no more use


def merges_much(forest: "Forest", loads: Iterable[TreeLoad]) -> bool:
    """Whether the load would be merged with more than its size is worth; as of the tables of now."""
    size = merged = 0
    for load in loads:
        target = choose_tables(forest.tree(load.tree_id).manifest.levels, load.ranges(), load.tables)
        size += load.sort.size
        merged += target.merged_size
    return merged > _MERGED_SHARE_MAX * size


def flush_overlapping(forest: "Forest", loads: Iterable[TreeLoad]) -> None:
    """Brings the memory tables to the disk when they have keys in the range of the load. No job is open after this.

    Raises NoSpaceError, DamageError.
    """
    forest.prepare(0)
    for load in loads:
        edges = [*load.ranges(), *(info.key_range for info in load.tables)]
        if edges:
            start, end = min(edge.key_min for edge in edges), max(edge.key_max for edge in edges) + b"\0"
            tree = forest.tree(load.tree_id)
            if any(memory.range_keys(start, end, limit=1) for memory in (tree.table_mutable, tree.table_immutable)):
                forest.flush()
                break
    forest.finish_jobs()


def build(forest: "Forest", load: TreeLoad, on_conflict: OnConflict, counts: Counts) -> Built:
    """Writes the tables that one tree will have. Raises NoSpaceError, DamageError, FileError, ConflictError."""
    tree = forest.tree(load.tree_id)
    context = {each.config.id: context for each, context in forest.jobs()}[load.tree_id]
    manifest, grid = tree.manifest, tree.grid
    target = choose_tables(manifest.levels, load.ranges(), load.tables)
    level, fences = choose_level(manifest.levels, target, _table_count(target, load), manifest.growth_factor)
    dropped = list(load.sort.dropped_large)
    snapshot_min = context.snapshot_min()
    if goes_packed(
        spilled=load.sort.spilled, tombstones=load.sort.tombstones, existing=any(target.merged),
        fences=fences, on_conflict=on_conflict,
    ):  # fmt: skip
        builder = load.make_builder(level, snapshot_min)
        runs = load.packed(target.rewritten, dropped)
        outputs = write_packed(grid, builder, runs, target.merged, counts, dropped)
    else:
        entries = merge_runs(load.streams(target.rewritten, dropped), dropped)
        existing = live_stream(grid, target.merged, dropped)
        outputs = write_tables(
            lambda: load.make_builder(level, snapshot_min),
            merge_load(entries, existing, load.tree_id, on_conflict, counts, dropped),
            fences,
        )
    counts.imported += sum(info.entry_count for info in target.kept)
    removals = context.removals(list(chain.from_iterable(target.merged)), snapshot_min)
    garbage = [address for info in target.rewritten for address in table_addresses(grid, info)]
    return Built(tree, context, [*outputs, *target.kept], level, removals, dropped, garbage)


def _table_count(target: Target, load: TreeLoad) -> int:
    """How many tables the result will have, about."""
    merged = list(chain.from_iterable(target.merged))
    sort = load.sort
    return tables_estimate(
        sort.count + sum(info.entry_count for info in merged),
        (sort.keys_size // max(1, sort.count)) * (sort.count + sum(info.entry_count for info in merged)),
        sort.size + target.merged_size,
        load.block_size,
    )


def install(forest: "Forest", built: list[Built], space: BulkSpace, size: int) -> None:
    """Makes the outcome part of the file, durably; size: of the load's keys and values, in bytes.

    Raises NoSpaceError with nothing changed; OutcomeUnknownError: reopening tells whether all of it is stored.
    """
    file = forest.file
    file.storage.check_identity()
    reservation = file.grid.reserve(_checkpoint_blocks(forest, built, space))
    try:
        forest.op = file.wal.append_op(b"", 0)
        space.acquire()
        for each in built:
            _install_tree(forest, each)
        forest.bytes_put += size
        for number, mark in forest.marks.items():
            forest.marks[number] = Mark(mark.wal, mark.bytes_put + size, mark.scope_changes)
    finally:
        file.grid.forfeit(reservation)
    try:
        forest.checkpoint()
    except LsmError as error:
        # What the trees show now is not what the file holds, and nobody may go on from it.
        raise OutcomeUnknownError(
            f"a bulk load could not be completed ({error}); "
            "close and reopen the file to see whether all of it is stored, or nothing"
        ) from error
    try:
        for _ in settle(forest.jobs(), forest.job_end):
            pass
    except (NoSpaceError, DamageError) as error:
        forest.compaction_error = error


def _install_tree(forest: "Forest", built: Built) -> None:
    """The manifest of one tree. Changes memory only."""
    manifest = built.tree.manifest
    for removal in built.removals:
        built.context.remove(removal)
    for info in built.outputs:
        info.level, info.snapshot_min = built.level, forest.op
        manifest.insert_table(info)
    for packed in built.dropped:
        built.context.drop_large(manifest.tree_id, forest.op - 1, CHAIN_REFERENCE.unpack(packed))
    if built.garbage:
        forest.file.grid.release_all(built.garbage)
    built.tree.key_range_open()


def _checkpoint_blocks(forest: "Forest", built: list[Built], space: BulkSpace) -> int:
    """More blocks than the checkpoint of this load takes: the manifest log written anew, twice, and a free set with a
    run for each block of the load and for each that it frees, twice."""
    grid = forest.file.grid
    assert grid.free_set is not None
    outputs = chain.from_iterable(each.outputs for each in built)
    removed = chain.from_iterable((removal.info for removal in each.removals) for each in built)
    events = [info.to_event(TableEventKind.INSERT) for info in chain(outputs, removed)]
    events_size = forest.file.manifest_log.live_size + sum(map(len, events))
    # An event is never cut: half of a block may stay empty, as far as sizes tell.
    log_blocks = 2 * (2 * events_size // grid.body_size_max + 2)
    released = sum(len(each.garbage) + sum(len(removal.addresses) for removal in each.removals) for each in built)
    free_set_size = grid.free_set.encoded_size_max() + _RUN_SIZE * (space.count + released + log_blocks)
    return log_blocks + 2 * (chain_block_count(free_set_size, grid.block_size) + 1)
