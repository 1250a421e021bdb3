"""Range scans of a tree: memory tables and all levels merged in key order, streaming, either direction.

Invariants:
- a scan sees the tree as it was when the scan began, whatever is written meanwhile: it keeps a log on
  the memory tables, and the list of tables of that moment, whose blocks are not reused while it runs;
- memory is bounded by a chunk of each source: two memory tables and seven levels;
- of equal keys the newest source wins; tombstones hide and are not yielded.

    sources, newest first          chunk           bound = min of the last keys = g
    mutable                        [c g]           all keys up to g are complete in every source:
    immutable                      [b k]           merge [c g] [b] [a d], yield a b c d g
    level 0                        [a d h]         go on with   [k] [h]
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Final, TypeAlias, cast

from lsmcli.engine.columns import EMPTY, Columns, drop_tombstones, merge
from lsmcli.engine.grid import Grid
from lsmcli.engine.packed_entries import PackedEntries
from lsmcli.engine.table_info import TableInfo
from lsmcli.engine.table_iterator import TableIterator
from lsmcli.engine.table_memory import MISSING, Log, TableMemory, columns_of_stored
from lsmcli.engine.tree import Tree
from lsmcli.engine.value_block import StoredValue

# Entries that the first step decodes of each source; each further step twice as many, up to a block.
# A seek that reads ten entries pays for ten, a full scan soon works in whole blocks.
ENTRIES_FIRST: Final = 16
_CHUNK_ENTRIES_MAX: Final = 512

Step: TypeAlias = Columns | PackedEntries


class Scan:
    """One scan over [start, end), None: unbounded. Iterate columns(); close() in any case.

    The columns of one step are in ascending key order also when reverse; the steps descend then.
    """

    def __init__(
        self,
        tree: Tree,
        start: bytes | None,
        end: bytes | None,
        *,
        reverse: bool,
        entries_first: int = ENTRIES_FIRST,
        packed: bool = False,
    ) -> None:
        """packed: steps() may yield whole blocks as they are; not with reverse."""
        assert not (packed and reverse)
        self._start = start
        self._end = end
        self._reverse = reverse
        self._entries_first = entries_first
        self._packed = packed
        self._grid = tree.grid
        self._memories = [tree.table_mutable, tree.table_immutable]
        self._logs = [memory.observe(holds=False) for memory in self._memories]
        self._levels = [_tables_between(level.tables, start, end) for level in tree.manifest.levels]
        self._open = True

    def close(self) -> None:
        """Lets go of the memory tables. Safe to call twice."""
        if self._open:
            self._open = False
            for memory, log in zip(self._memories, self._logs, strict=True):
                memory.unobserve(log)

    def columns(self) -> Iterator[Columns]:
        """The entries, chunk by chunk, never empty. Raises DamageError."""
        assert not self._packed
        return cast("Iterator[Columns]", self.steps())

    def steps(self) -> Iterator[Step]:
        """As columns(); a block that is all there is between two keys may stay packed, if that was asked for."""
        if self._start is not None and self._end is not None and self._start >= self._end:
            return
        sources = [self._memory_source(memory, log) for memory, log in zip(self._memories, self._logs, strict=True)]
        sources += [self._level_source(self._grid, tables) for tables in self._levels if tables]
        merged = _merge_backward(sources) if self._reverse else _merge_forward(sources)
        for step in merged:
            if isinstance(step, PackedEntries):
                yield step
                continue
            kept = drop_tombstones(step)
            if kept.keys:
                yield kept

    def _memory_source(self, memory: TableMemory, log: Log) -> Iterator[Step]:
        start, end = self._start, self._end
        size = self._entries_first
        while True:
            keys = memory.range_keys(start, end, limit=size, reverse=self._reverse)
            if keys:
                columns = _columns_at(memory, log, keys)
                if columns.keys:
                    yield columns
            if len(keys) < size:
                return
            if self._reverse:
                end = keys[0]
            else:
                start = keys[-1] + b"\0"
            size = min(2 * size, _CHUNK_ENTRIES_MAX)

    def _level_source(self, grid: Grid, tables: list[TableInfo]) -> Iterator[Step]:
        entries_first: int | None = self._entries_first
        for info in reversed(tables) if self._reverse else tables:
            iterator = TableIterator(grid, info, cache_blocks=entries_first is not None)
            yield from iterator.steps(
                self._start, self._end, reverse=self._reverse, entries_first=entries_first, packed=self._packed
            )
            entries_first = None


def _tables_between(tables: list[TableInfo], start: bytes | None, end: bytes | None) -> list[TableInfo]:
    """The tables, in key order, that may hold keys of [start, end)."""
    first = 0 if start is None else bisect_left(tables, start, key=_key_max_of)
    stop = len(tables) if end is None else bisect_left(tables, end, key=_key_min_of)
    return tables[first:stop]


def _key_min_of(info: TableInfo) -> bytes:
    return info.key_min


def _key_max_of(info: TableInfo) -> bytes:
    return info.key_max


def _columns_at(memory: TableMemory, log: Log, keys: list[bytes]) -> Columns:
    """The entries of these keys as they were when the log began; keys that were not there are left out."""
    if not log:
        return memory.columns(keys)
    kept: list[bytes] = []
    stored: list[StoredValue] = []
    for key in keys:
        value = memory.log_value(log, key)
        if value is not MISSING:
            kept.append(key)
            stored.append(value)
    return columns_of_stored(kept, stored)


def _next_columns(source: Iterator[Step]) -> Columns | None:
    """What the source has next, unpacked for a merge."""
    step = next(source, None)
    if isinstance(step, PackedEntries):
        keys, values = step
        return Columns(keys, values, bytes(step.count))
    return step


def _merge_forward(sources: list[Iterator[Step]]) -> Iterator[Step]:
    """Merges ascending sources, newest first in the list; the last one that has more goes on as it is."""
    pending = [(source, columns) for source in sources if (columns := _next_columns(source)) is not None]
    while len(pending) > 1:
        bound = min(columns.keys[-1] for _, columns in pending)
        merged = EMPTY
        still: list[tuple[Iterator[Step], Columns]] = []
        for source, columns in pending:
            cut = bisect_right(columns.keys, bound)
            if cut:
                merged = merge(merged, columns if cut == len(columns.keys) else columns.cut(0, cut)).columns
            rest = columns.cut(cut) if cut < len(columns.keys) else _next_columns(source)
            if rest is not None:
                still.append((source, rest))
        pending = still
        yield merged
    for source, columns in pending:
        yield columns
        yield from source


def _merge_backward(sources: list[Iterator[Step]]) -> Iterator[Step]:
    """Merges descending sources, newest first in the list; each step's columns ascend."""
    pending = [(source, columns) for source in sources if (columns := _next_columns(source)) is not None]
    while len(pending) > 1:
        bound = max(columns.keys[0] for _, columns in pending)
        merged = EMPTY
        still: list[tuple[Iterator[Step], Columns]] = []
        for source, columns in pending:
            cut = bisect_left(columns.keys, bound)
            if cut < len(columns.keys):
                merged = merge(merged, columns if cut == 0 else columns.cut(cut)).columns
            rest = columns.cut(0, cut) if cut else _next_columns(source)
            if rest is not None:
                still.append((source, rest))
        pending = still
        yield merged
    for source, columns in pending:
        yield columns
        yield from source
