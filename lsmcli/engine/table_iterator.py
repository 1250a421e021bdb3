"""Iterates a table on disk in key order, block by block, forward or backward.

Invariants:
- each entry of [start, end) is yielded once; the columns of one step are in ascending key order, in both
  directions: backward iteration yields later columns first;
- at most one value block is held, beside the index block; the next one is prefetched before the last of one is yielded,
  or, for a merge, the next few.

    blocks(start=c, end=p):             a b c d | e f g h | i k m o | p q r
                                            ^^^   ^^^^^^^   ^^^^^^^
    steps, forward 1 2 3, backward 3 2 1    1     2         3
"""

from collections.abc import Iterator
from typing import Final, cast

from lsmcli.engine.block_merge import Run
from lsmcli.engine.columns import Columns
from lsmcli.engine.errors import DamageError
from lsmcli.engine.grid import Grid
from lsmcli.engine.index_block import IndexBlock
from lsmcli.engine.packed_entries import PackedEntries
from lsmcli.engine.schema import BlockKind
from lsmcli.engine.table import (
    check_value,
    columns_of,
    damage_in_table,
    not_as_indexed,
    packed_of,
    read_index,
    read_value,
)
from lsmcli.engine.table_info import TableInfo
from lsmcli.engine.value_block import ValueBlock, run_in_block, run_of_entries

# A merge reads all of a table: so many blocks at a time are hinted at, which lie side by side more often than not.
_PREFETCH_BLOCKS: Final = 8


class TableIterator:
    """Reads one table in order. Opening reads the index block. Raises DamageError.

    cache_blocks: whether value blocks that are read stay in the grid's cache; scans want it, while
    compaction, which reads everything once, would only push out what others need.
    """

    __slots__ = ("_cache_blocks", "grid", "index", "info")

    def __init__(self, grid: Grid, info: TableInfo, *, cache_blocks: bool = False) -> None:
        self.grid = grid
        self.info = info
        self.index: IndexBlock = read_index(grid, info)
        self._cache_blocks = cache_blocks

    def blocks(
        self,
        start: bytes | None = None,
        end: bytes | None = None,
        *,
        reverse: bool = False,
        entries_first: int | None = None,
    ) -> Iterator[Columns]:
        """Columns with the entries of [start, end), never empty ones; None: unbounded on that side.

        Without entries_first: one step per value block. With it the first step decodes at most so many
        entries, and each further one twice as many, until steps are whole blocks: for a scan that may
        stop soon. Costs 0.5 µs per entry.
        """
        steps = self.steps(start, end, reverse=reverse, entries_first=entries_first, packed=False)
        return cast("Iterator[Columns]", steps)  # not packed

    def steps(
        self, start: bytes | None, end: bytes | None, *, reverse: bool, entries_first: int | None, packed: bool
    ) -> Iterator[Columns | PackedEntries]:
        """As blocks(); with `packed` a step that is a whole block of plain entries stays packed, in compiled code."""
        span = self.index.blocks_between(start, end)
        step_max = entries_first
        edge: bytes | None = None  # the key next to which the last step ended
        for block in reversed(span) if reverse else span:
            value_block = self._value_block(block)
            first = 0
            stop = value_block.count
            # Only the blocks at the edges of the span can hold keys outside of the range.
            if start is not None and block == span[0]:
                first = self._bisect(value_block, start)
            if end is not None and block == span[-1]:
                stop = self._bisect(value_block, end)
            while first < stop:
                size = stop - first if step_max is None else min(step_max, stop - first)
                at = stop - size if reverse else first
                if size == stop - first:
                    self._prefetch(block + (-1 if reverse else 1), span)
                if packed and size == value_block.count:
                    whole = packed_of(self.grid, self.info, self.index, block, value_block)
                    if whole is not None:  # its edges are those of the index, which ascend
                        yield whole
                        edge = self.index.keys_last[block]
                        break
                columns = columns_of(self.grid, self.info, self.index, block, value_block, at, at + size)
                # Within a step and between blocks columns_of() verifies the order, between steps nobody else.
                if edge is not None and (columns.keys[-1] >= edge if reverse else columns.keys[0] <= edge):
                    raise damage_in_table(not_as_indexed(self.index, block), self.info)
                yield columns
                if reverse:
                    stop = at
                    edge = columns.keys[0]
                else:
                    first = at + size
                    edge = columns.keys[-1]
                if step_max is not None:
                    step_max *= 2

    def runs(self) -> Iterator[Run]:
        """All entries for a merge, one step per value block. Compiled only."""
        references = self.index.references
        for block in range(self.index.block_count):
            cached: ValueBlock | None = self.grid.cached(references[block], BlockKind.VALUE)
            try:
                raw = self.grid.read(references[block], BlockKind.VALUE) if cached is None else cached.parts[0]
            except DamageError as error:
                raise damage_in_table(error, self.info) from error
            if block % _PREFETCH_BLOCKS == 0:
                self.grid.prefetch(references[block + 1 : block + 1 + _PREFETCH_BLOCKS])
            yield _run_in(self.grid, self.info, self.index, block, raw)

    def block_columns(self, block: int) -> Columns:
        """All entries of value block 0 <= block < index.block_count."""
        value_block = self._value_block(block)
        return columns_of(self.grid, self.info, self.index, block, value_block, 0, value_block.count)

    def _value_block(self, block: int) -> ValueBlock:
        if self._cache_blocks:
            return read_value(self.grid, self.info, self.index, block)
        reference = self.index.references[block]
        try:
            cached = self.grid.cached(reference, BlockKind.VALUE)
            if cached is None:
                cached = ValueBlock(self.grid.read(reference, BlockKind.VALUE))
            assert isinstance(cached, ValueBlock)
            check_value(self.index, block, cached)
        except DamageError as error:
            raise damage_in_table(error, self.info) from error
        return cached

    def _prefetch(self, block: int, span: range) -> None:
        if block in span:
            self.grid.prefetch([self.index.references[block]])

    def _bisect(self, value_block: ValueBlock, key: bytes) -> int:
        try:
            return value_block.bisect_left(key)
        except DamageError as error:
            raise damage_in_table(error, self.info) from error


def _run_in(grid: Grid, info: TableInfo, index: IndexBlock, block: int, raw: bytes) -> Run:
    """All entries of a value block that was read for a merge, verified as by columns_of(). Raises DamageError.
    Compiled only."""
    run = run_in_block(raw, grid.key_size_max)
    if run is None or run.figures()[0] != index.entry_counts[block]:  # it is damaged: this finds out how, and says so
        try:
            value_block = ValueBlock(raw)
            check_value(index, block, value_block)
        except DamageError as error:
            raise damage_in_table(error, info) from error
        columns = columns_of(grid, info, index, block, value_block, 0, value_block.count)
        run = run_of_entries(*columns)
        assert run is not None
        return run
    key_first, key_last = run.edges()
    fits = key_first > index.keys_last[block - 1] if block else key_first == info.key_min
    if not fits or key_last != index.keys_last[block]:
        raise damage_in_table(not_as_indexed(index, block), info)
    return run
