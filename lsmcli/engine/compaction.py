"""Compaction: moves or merges tables of level a (or the immutable table) into level b = a + 1.

Invariants:
- a job is a pure function of its input tables: the same inputs give the same blocks, whatever the
  slices it was cut into;
- the manifest changes only after the last slice; a job that is closed or fails before that gives back
  every block it acquired and leaves its inputs as they were;
- entries out = entries in - overwritten - tombstones dropped, checked by merge and by the job;
- an out-of-line value moves by its reference; the job reports the references that nobody holds any more.

    level a   [======A======]                       newer
    level b      [==B1==][==B2==]   [B3]            older
                 '------+------'
    level b   [====N1===][===N2===] [B3]            A, B1, B2 leave the manifest, N1, N2 enter it

Two sorted streams of columns are merged chunk by chunk. With a the newer chunk and b the older one, all
keys up to bound = min(last key of a, last key of b) are complete in both, so they can be merged and
written; what is left of the longer chunk waits for the next round:

    a: c e g | k        bound = g       merged: b c d e g
    b: b d g |                          left:   a: k
"""

from bisect import bisect_right
from collections.abc import Generator, Iterator

from lsmcli.engine import piece_merge, schema
from lsmcli.engine.block_merge import Run
from lsmcli.engine.columns import Columns, drop_tombstones, merge
from lsmcli.engine.compaction_context import CompactionContext, Removal
from lsmcli.engine.grid import Grid
from lsmcli.engine.memory_merge import SortedMemory
from lsmcli.engine.memory_runs import MemoryRuns
from lsmcli.engine.missing import MISSING
from lsmcli.engine.piece_merge import PackedBlock, PieceMerge
from lsmcli.engine.table import TableBuilder
from lsmcli.engine.table_info import TableInfo
from lsmcli.engine.table_iterator import TableIterator
from lsmcli.engine.value_block import OFFSETS_AT, offset_width_for, value_block_size

# A job's work is counted in steps: a block is read in one, and written in another.
STEPS_PER_BLOCK = 2

# Output blocks are reserved in lots, so that a job never runs out of space in the middle of a block.
_RESERVE_LOT_BLOCKS = 32

# Blocks that are given back in one step.
_RELEASE_STEP_BLOCKS = 24


class _Space:
    """Block addresses for a job's output, reserved in lots; forfeit() gives back what is left."""

    __slots__ = ("_grid", "_left", "_reservation", "acquired")

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._reservation = grid.reserve(_RESERVE_LOT_BLOCKS)
        self._left = _RESERVE_LOT_BLOCKS
        self.acquired: list[int] = []

    def acquire(self) -> int:
        if self._left == 0:
            self._reservation = self._grid.reserve(_RESERVE_LOT_BLOCKS)
            self._left = _RESERVE_LOT_BLOCKS
        self._left -= 1
        address = self._grid.acquire(self._reservation)
        self.acquired.append(address)
        return address

    def forfeit(self) -> None:
        if self._left:
            self._grid.forfeit(self._reservation)
            self._left = 0

    def abandon(self) -> None:
        """Gives back everything: the job did not finish."""
        self.forfeit()
        for address in self.acquired:
            self._grid.release(address)
        self.acquired.clear()


def merge_streams(newer: Iterator[Columns], older: Iterator[Columns], dropped_large: list[bytes]) -> Iterator[Columns]:
    """Merges two sorted streams of columns; of equal keys the newer entry wins.

    Packed references of out-of-line values that lost are appended to dropped_large. An empty Columns
    may be yielded. Memory: one chunk of each stream.
    """
    a = next(newer, None)
    b = next(older, None)
    while a is not None and b is not None:
        bound = min(a.keys[-1], b.keys[-1])
        cut_a = bisect_right(a.keys, bound)
        cut_b = bisect_right(b.keys, bound)
        merged, dropped = merge(a.cut(0, cut_a), b.cut(0, cut_b))
        dropped_large += dropped
        yield merged
        a = a.cut(cut_a) if cut_a < len(a.keys) else next(newer, None)
        b = b.cut(cut_b) if cut_b < len(b.keys) else next(older, None)
    while a is not None:
        yield a
        a = next(newer, None)
    while b is not None:
        yield b
        b = next(older, None)


def table_stream(grid: Grid, tables: list[TableInfo]) -> Iterator[Columns]:
    """The entries of disjoint tables in key order, one value block at a time."""
    for info in tables:
        yield from TableIterator(grid, info).blocks()


def merge_packed(
    grid: Grid,
    newer: Iterator[Run | None] | MemoryRuns,
    older: Iterator[Run | None],
    builder: TableBuilder,
    dropped_large: list[bytes],
    *,
    keep_tombstones: bool,
) -> Generator[int, None, tuple[int, int]]:
    """merge_streams() of packed entries, and their way into blocks: the same blocks, a tenth of the time.

    Yields after each block that was read or written, and where an input says None: it has done something else, which
    is a step of its own. Merges beside that where there is a second core. Returns how many entries lost to newer ones,
    and how many tombstones were left out. Compiled only.
    """
    memory = newer if isinstance(newer, MemoryRuns) else None
    merge = PieceMerge(
        memory,
        grid.block_size - value_block_size(0, 0, 0, grid.block_size),
        offset_width_for(grid.block_size),
        OFFSETS_AT,
        not keep_tombstones,
        schema.CHAIN_REFERENCE.size,
    )
    if grid.storage.cores > 1:
        merge.start()
    feeds = [(merge.older, older)]
    if not isinstance(newer, MemoryRuns):
        feeds.append((merge.newer, newer))
    try:
        blocks: list[PackedBlock] = []
        while blocks or not merge.done:
            merge.begin()
            yield 1  # to wake the second thread takes as long as a block
            for block in blocks:
                for steps in builder.close_before(block):
                    merge.help()
                    yield steps
                builder.write_packed(block)
                merge.help()
                yield 1
            for feed, runs in feeds:
                while feed.has_room():
                    merge.help()
                    run = next(runs, MISSING)
                    if run is MISSING:
                        feed.end()
                        break
                    if run is not None:
                        feed.put(*run.parts())
                    yield 1
            blocks = merge.collect(dropped_large)
        return merge.entries_lost, merge.entries_dropped
    finally:
        merge.stop()


def table_runs(grid: Grid, tables: list[TableInfo]) -> Iterator[Run]:
    """The entries of disjoint tables in key order, packed, one value block at a time. Compiled only."""
    return filter(None, table_steps(grid, tables))


def table_steps(grid: Grid, tables: list[TableInfo]) -> Iterator[Run | None]:
    """table_runs(), and None whenever a table was opened, which takes as long as three blocks."""
    for info in tables:
        table = TableIterator(grid, info)
        yield None
        yield from table.runs()


class Outcome:
    """The tables that a merge has written, not yet in the manifest. Either install() and release() follow, or
    abandon()."""

    __slots__ = ("_context", "_dropped", "_outputs", "_removals", "_snapshot_min", "_space")

    def __init__(
        self,
        context: CompactionContext,
        removals: list[Removal],
        outputs: list[TableInfo],
        dropped: list[bytes],
        snapshot_min: int,
        space: _Space,
    ) -> None:
        self._context = context
        self._removals = removals
        self._outputs = outputs
        self._dropped = dropped
        self._snapshot_min = snapshot_min
        self._space = space

    def install(self) -> None:
        """Puts the outputs into the manifest in place of the inputs. Changes memory only, so it cannot fail."""
        context = self._context
        self._space.forfeit()
        for removal in self._removals:
            context.take_out(removal)
        for info in self._outputs:
            context.manifest.insert_table(info)
        for packed in self._dropped:
            chain = schema.CHAIN_REFERENCE.unpack(packed)
            context.drop_large(context.manifest.tree_id, self._snapshot_min - 1, chain)

    def release(self) -> Iterator[int]:
        """Gives the blocks of the inputs back, some in each slice. What closing it leaves is for release_rest()."""
        while self._release_some():
            yield 1

    def release_rest(self) -> None:
        """Gives back all that release() has not come to: the manifest knows nothing of it any more."""
        while self._release_some():
            pass

    def _release_some(self) -> bool:
        """False: there was nothing left."""
        if not self._removals:
            return False
        addresses = self._removals[-1].addresses
        some = addresses[-_RELEASE_STEP_BLOCKS:]
        del addresses[-_RELEASE_STEP_BLOCKS:]
        if not addresses:
            self._removals.pop()
        if some:
            self._context.grid.release_all(some)
        return True

    def abandon(self) -> None:
        """Gives back the blocks of the outputs; the inputs stay as they are."""
        self._space.abandon()


def compact_table(
    context: CompactionContext,
    newer: TableInfo | SortedMemory | None,
    older: list[TableInfo],
    level_b: int,
) -> Iterator[int]:
    """Merges tables as merge_tables() does, and installs the outcome."""
    outcome = yield from merge_tables(context, newer, older, level_b)
    outcome.install()
    try:
        yield from outcome.release()
    finally:
        outcome.release_rest()


def merge_tables(
    context: CompactionContext,
    newer: TableInfo | SortedMemory | None,
    older: list[TableInfo],
    level_b: int,
) -> Generator[int, None, Outcome]:
    """Merges `newer` (a table of level b - 1, or the immutable table) with tables of level b into level b.

    Yields the number of steps done in each slice: STEPS_PER_BLOCK for each block written, about. With `newer`
    None the tables of `older` (all of one level) are rewritten, which drops tombstones that nothing deeper needs.
    Raises NoSpaceError and DamageError, with all inputs kept. Closing the generator undoes its work.
    """
    grid, manifest = context.grid, context.manifest
    snapshot_min = context.snapshot_min()
    inputs = [*older, newer] if isinstance(newer, TableInfo) else list(older)
    entries_in = sum(info.entry_count for info in inputs)
    if isinstance(newer, SortedMemory):
        entries_in += newer.entry_count
    keep_tombstones = manifest.overlaps_deeper(*_input_range(newer, older), level_b)
    dropped: list[bytes] = []
    space = _Space(grid)
    try:
        builder = TableBuilder(
            grid,
            tree_id=manifest.tree_id,
            level=level_b,
            snapshot_min=snapshot_min,
            acquire=space.acquire,
            codec=context.codec_for(level_b),
        )
        merged = _merge_packed if piece_merge.COMPILED else _merge_columns
        entries_gone = yield from merged(grid, newer, older, builder, dropped, keep_tombstones=keep_tombstones)
        outputs = builder.finish()
        assert sum(info.entry_count for info in outputs) == entries_in - entries_gone
        removals: list[Removal] = []
        seen: set[int] = set()
        for info in inputs:
            removals.append(context.removal(info, snapshot_min, seen))
            yield 1
        return Outcome(context, removals, outputs, dropped, snapshot_min, space)
    except BaseException:
        space.abandon()
        raise


def _merge_packed(
    grid: Grid,
    newer: TableInfo | SortedMemory | None,
    older: list[TableInfo],
    builder: TableBuilder,
    dropped: list[bytes],
    *,
    keep_tombstones: bool,
) -> Generator[int, None, int]:
    """Merges into the builder; returns how many entries lost or were tombstones that nobody needs."""
    if isinstance(newer, SortedMemory):
        assert newer.runs is not None
        runs_newer: Iterator[Run | None] | MemoryRuns = newer.runs
    else:
        runs_newer = table_steps(grid, [newer] if newer is not None else [])
    return sum(
        (
            yield from merge_packed(
                grid, runs_newer, table_steps(grid, older), builder, dropped, keep_tombstones=keep_tombstones
            )
        )
    )


def _merge_columns(
    grid: Grid,
    newer: TableInfo | SortedMemory | None,
    older: list[TableInfo],
    builder: TableBuilder,
    dropped: list[bytes],
    *,
    keep_tombstones: bool,
) -> Generator[int, None, int]:
    """The same by way of columns, where code is interpreted."""
    entries_in = entries_kept = 0

    def counted(stream: Iterator[Columns]) -> Iterator[Columns]:
        nonlocal entries_in
        for columns in stream:
            entries_in += len(columns.keys)
            yield columns

    if isinstance(newer, SortedMemory):
        stream_newer = newer.chunks()
    else:
        stream_newer = table_stream(grid, [newer] if newer is not None else [])
    for columns in merge_streams(counted(stream_newer), counted(table_stream(grid, older)), dropped):
        kept = columns if keep_tombstones else drop_tombstones(columns)
        entries_kept += len(kept.keys)
        blocks = builder.append(kept)
        yield STEPS_PER_BLOCK * max(1, blocks)
    return entries_in - entries_kept


def _input_range(newer: TableInfo | SortedMemory | None, older: list[TableInfo]) -> tuple[bytes, bytes]:
    """Smallest and largest key of all inputs, both inclusive."""
    edges = [(info.key_min, info.key_max) for info in older]
    if newer is not None:
        edges.append((newer.key_min, newer.key_max))
    return min(edge[0] for edge in edges), max(edge[1] for edge in edges)
