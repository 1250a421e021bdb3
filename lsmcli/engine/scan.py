"""Range scans of a tree: memory tables and all levels merged in key order, streaming, either direction.

Invariants:
- a scan sees the tree as it was when the scan began, whatever is written meanwhile: it keeps a log on
  the memory tables, and the list of tables of that moment, whose blocks are not reused while it runs;
- memory is bounded by a chunk of each source, two memory tables and seven levels, and by a list of the keys that
  are in memory anyway;
- of equal keys the newest source wins; tombstones hide and are not yielded.

    sources, newest first          chunk           merged until one is used up
    mutable                        [c g]           all keys up to g are complete in every source:
    immutable                      [b k]           yield a b c d g
    level 0                        [a d h]         go on with the next chunk of the mutable table, [k] and [h]
"""

from bisect import bisect_left
from collections.abc import Iterator
from typing import Final, TypeAlias, cast

from lsmcli.engine.columns import EMPTY, Columns, drop_tombstones
from lsmcli.engine.grid import Grid
from lsmcli.engine.manifest_level import ManifestLevel
from lsmcli.engine.missing import MISSING
from lsmcli.engine.packed_entries import PackedEntries
from lsmcli.engine.run_merge import merge_runs
from lsmcli.engine.table_info import TableInfo
from lsmcli.engine.table_iterator import TableIterator
from lsmcli.engine.table_memory import Log, TableMemory, columns_of_stored
from lsmcli.engine.tree import Tree
from lsmcli.engine.value_block import StoredValue

# Entries that the first step decodes of each source; each further step twice as many, up to a block.
# A seek that reads ten entries pays for ten, a full scan soon works in whole blocks.
ENTRIES_FIRST: Final = 16
_CHUNK_ENTRIES: Final = 512
_MERGE_ENTRIES_MAX: Final = 1 << 30  # no bound: runs are chunks

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
        # An empty table has nothing to show, whatever is put into it from now on.
        self._memories = [memory for memory in (tree.table_mutable, tree.table_immutable) if memory.entries]
        self._logs = [memory.observe(holds=False) for memory in self._memories]
        self._levels = [_tables_between(level, start, end) for level in tree.manifest.levels if level.tables]
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
        for step in sources[0] if len(sources) == 1 else _merged(sources, backward=self._reverse):
            if isinstance(step, PackedEntries):
                yield step
                continue
            kept = drop_tombstones(step)
            if kept.keys:
                yield kept

    def _memory_source(self, memory: TableMemory, log: Log) -> Iterator[Step]:
        start, end, reverse = self._start, self._end, self._reverse
        size = self._entries_first
        # The first keys alone, for a scan that stops soon; then all of them: no more than pointers to what is there.
        keys = memory.range_keys(start, end, limit=size, reverse=reverse)
        goes_on = len(keys) == size
        while keys:
            for at in range(0, len(keys), size):
                part = keys[max(0, len(keys) - at - size) : len(keys) - at] if reverse else keys[at : at + size]
                columns = _columns_at(memory, log, part)
                if columns.keys:
                    yield columns
            if not goes_on:
                return
            if reverse:
                end = keys[0]
            else:
                start = keys[-1] + b"\0"
            keys = memory.range_keys(start, end, reverse=reverse)
            goes_on = False
            size = _CHUNK_ENTRIES

    def _level_source(self, grid: Grid, tables: list[TableInfo]) -> Iterator[Step]:
        entries_first: int | None = self._entries_first
        for info in reversed(tables) if self._reverse else tables:
            iterator = TableIterator(grid, info, cache_blocks=entries_first is not None)
            yield from iterator.steps(
                self._start, self._end, reverse=self._reverse, entries_first=entries_first, packed=self._packed
            )
            entries_first = None


def _tables_between(level: ManifestLevel, start: bytes | None, end: bytes | None) -> list[TableInfo]:
    """The tables, in key order, that may hold keys of [start, end)."""
    first = 0 if start is None else bisect_left(level.key_maxes, start)
    stop = len(level.tables) if end is None else bisect_left(level.key_mins, end)
    return level.tables[first:stop]


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


def _next_columns(source: Iterator[Step]) -> Columns:
    """What the source has next, unpacked for a merge; EMPTY at its end."""
    step = next(source, EMPTY)
    if isinstance(step, PackedEntries):
        keys, values = step
        return Columns(keys, values, bytes(step.count))
    return step


def _merged(sources: list[Iterator[Step]], *, backward: bool) -> Iterator[Step]:
    """Merges ascending sources, or descending ones backward, newest first in the list; each step's columns ascend.

    The last source that has more goes on as it is.
    """
    runs = list(map(_next_columns, sources))
    places = [len(run.keys) if backward else 0 for run in runs]
    while True:
        for i in reversed(range(len(runs))):
            if places[i] == (0 if backward else len(runs[i].keys)):
                runs[i] = _next_columns(sources[i])
                places[i] = len(runs[i].keys) if backward else 0
                if not runs[i].keys:
                    del runs[i], places[i], sources[i]
        if len(runs) < 2:
            break
        keys, values, flags, places = merge_runs(runs, places, _MERGE_ENTRIES_MAX, backward)
        if keys:
            yield Columns(keys, values, flags)
    if runs:
        yield runs[0].cut(0, places[0]) if backward else runs[0].cut(places[0])
        yield from sources[0]
