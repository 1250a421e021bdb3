"""The merge of a large bulk load as packed entries: out of scratch files and tables into blocks, no object per entry.

Invariants:
- the tables are the same as those that bulk_merge writes out of lists of keys and values; compiled only;
- memory holds a chunk of each run, and one more for each merge of two of them.

    runs, old to new     a   b   c   d   e          neighbours are merged in pairs, so the newer one is always known
                         '-.-'   '-.-'   |
                          ab      cd     e
                           '--.---'      |
                            abcd         e          the last merge goes into the blocks of the tables

Merges of two, one upon the other: each entry is copied once per row of the picture, which costs less than to find
out, for each entry, which of many runs is the next.
"""

from collections.abc import Callable, Iterator
from typing import Final

from lsmcli.engine import block_merge
from lsmcli.engine.block_merge import FULL, NEWER_USED, OLDER_USED, BlockStage, Run
from lsmcli.engine.bulk_merge import Counts, OnConflict
from lsmcli.engine.compaction import merge_packed, table_runs
from lsmcli.engine.constants import KIB
from lsmcli.engine.grid import Grid
from lsmcli.engine.table import TableBuilder
from lsmcli.engine.table_info import TableInfo
from lsmcli.engine.value_block import run_of_packed

_STAGE_SIZE_MIN: Final = 128 * KIB  # of a chunk between two merges: it stays in the processor's cache
_WIDTH: Final = 4  # bytes of an offset in it

Runs = Iterator[Run]


def goes_packed(
    *, spilled: bool, tombstones: bool, existing: bool, fences: list[bytes], on_conflict: OnConflict
) -> bool:
    """Whether a load can be merged this way. What is in memory as a whole is as quick the other way; what has to be
    asked about each key, or must not be written across a fence, goes that way."""
    if not (block_merge.COMPILED and spilled) or fences:
        return False
    return not existing or (on_conflict == "replace" and not tombstones)


def write_packed(
    grid: Grid,
    builder: TableBuilder,
    load: list[Runs],
    levels: list[list[TableInfo]],
    counts: Counts,
    dropped_large: list[bytes],
) -> list[TableInfo]:
    """Writes the tables of a load, merged with the tables that are there already, and counts what that changes.

    load: sorted runs, from old to new; levels: from new to old, tables of each in key order. Packed references of
    out-of-line values that nobody sees any more are appended to dropped_large. Raises NoSpaceError, DamageError,
    FileError.
    """
    existing = [table_runs(grid, tables) for tables in reversed(levels) if tables]
    stage_size = max(_STAGE_SIZE_MIN, grid.block_size)
    imported = lost = 0

    def counted(runs: Runs) -> Runs:
        nonlocal imported
        for run in runs:
            imported += run.figures()[0]
            yield run

    def pair(newer: Runs, older: Runs) -> Runs:
        return _merged(newer, older, BlockStage(stage_size, _WIDTH, False), dropped_large)

    if existing:
        newer = counted(_cascade(load, 1, pair)[0])
        there = _cascade(existing, 1, pair)[0]
        older = _merged(iter(()), there, BlockStage(stage_size, _WIDTH, True), dropped_large)
    else:
        older, newer = [*_cascade(load, 2, pair), iter(()), iter(())][:2]

    def merged() -> Iterator[int]:
        nonlocal lost
        lost, _ = yield from merge_packed(grid, newer, older, builder, dropped_large, keep_tombstones=False)

    for _ in merged():
        pass
    tables = builder.finish()
    if existing:
        counts.imported += imported
        counts.replaced += lost
    else:
        counts.imported += sum(info.entry_count for info in tables)
    return tables


def _cascade(runs: list[Runs], count: int, pair: Callable[[Runs, Runs], Runs]) -> list[Runs]:
    """At most so many runs out of any number, from old to new before and after."""
    while len(runs) > count:
        odd = runs[len(runs) & ~1 :]
        runs = [pair(runs[i + 1], runs[i]) for i in range(0, len(runs) - 1, 2)] + odd
    return runs


def _merged(newer: Runs, older: Runs, stage: BlockStage, dropped_large: list[bytes]) -> Runs:
    """Two sorted streams as one; of equal keys the newer entry wins."""
    a = next(newer, None)
    b = next(older, None)
    while a is not None or b is not None:
        stopped = stage.merge(a, b, dropped_large)
        if stopped == FULL:
            yield _taken(stage)
        if stopped & NEWER_USED:
            a = next(newer, None)
        if stopped & OLDER_USED:
            b = next(older, None)
    if stage.figures()[0]:
        yield _taken(stage)


def _taken(stage: BlockStage) -> Run:
    count = stage.figures()[0]
    run = run_of_packed(bytes(stage.take(0)), count, _WIDTH)
    assert run is not None
    return run
