"""The entries of a memory table in key order, in steps that are short: for its flush.

Invariants:
- each entry comes once, in ascending order of keys; the table does not change meanwhile;
- no step costs more than its own entries do: none sorts the whole table.

    entries   m c x | p a | f b       compiled: taken as they lie in memory, sorted by the hundred, and packed;
    runs      c m x | a p | b f       the packed runs are merged. Each object is touched once, and its neighbours next.
              '-> a b c f m p x

Interpreted, the table's own sorted runs are merged, a few entries of each at a time:

    runs      c  m  x | a  p | b  f       a chunk of 3 out of 3 runs: no more than 1 entry of each, up to the least of
    windows   c         a      b          what may come last, "a": one entry. Then c, p, b: "b". Then c, p, f: "c" …
"""

from bisect import bisect_right
from collections.abc import Generator, Iterator
from typing import Final

from lsmcli.engine import block_merge
from lsmcli.engine.block_merge import BlockStage, Run, RunHeap
from lsmcli.engine.columns import Columns
from lsmcli.engine.entry_map import entries_between
from lsmcli.engine.entry_order import sort_entries
from lsmcli.engine.entry_pack import measure_entries
from lsmcli.engine.table_memory import TableMemory, columns_of_stored
from lsmcli.engine.value_block import StoredValue, run_of_entries, run_of_packed

# Entries that are sorted and packed in one step: 50 µs.
SORT_STEP_ENTRIES: Final = 256

# Entries of a packed run on its way into a block, at most: a step as well.
RUN_ENTRIES: Final = 64

_WIDTH: Final = 4  # bytes of an offset in a chunk of a flush
_CHUNK_ENTRIES: Final = 512  # of a chunk, interpreted: about two value blocks' worth


class SortedMemory:
    """A memory table with at least one entry, ready to be read in key order. Made by sort_memory()."""

    __slots__ = ("_memory", "_runs", "entry_count", "key_max", "key_min")

    def __init__(self, memory: TableMemory, runs: list[Run], key_min: bytes, key_max: bytes) -> None:
        self.entry_count = len(memory.entries)
        self.key_min = key_min
        self.key_max = key_max
        self._memory = memory
        self._runs = runs

    def chunks(self) -> Iterator[Columns]:
        """All entries, in chunks of some hundred. 0.4 µs per entry."""
        return sorted_chunks(self._memory, _CHUNK_ENTRIES)

    def runs(self, block_size: int) -> Iterator[Run]:
        """All entries, once, in packed runs. Compiled only. 0.2 µs per entry."""
        pairs = enumerate(zip(self.key_min, self.key_max, strict=False))
        shared = next((i for i, (a, b) in pairs if a != b), min(len(self.key_min), len(self.key_max)))
        heap = RunHeap(self._runs, shared)
        self._runs = []
        stage = BlockStage(block_size, _WIDTH, False)
        more = True
        while more:
            more = heap.fill(stage, RUN_ENTRIES)
            count = stage.figures()[0]
            run = run_of_packed(bytes(stage.take(0)), count, _WIDTH)
            assert run is not None
            yield run


def sort_memory(memory: TableMemory) -> Generator[int, None, SortedMemory]:
    """Sorts a table with at least one entry, which does not change from here on. Yields the steps done in each slice.

    0.2 µs per entry; interpreted next to nothing beside what the table did as it was filled.
    """
    if not block_merge.COMPILED:
        return SortedMemory(memory, [], *memory.key_edges())
    runs: list[Run] = []
    edges: list[bytes] = []
    for start in range(0, len(memory.entries), SORT_STEP_ENTRIES):
        columns = _columns_of(*entries_between(memory.entries, start, start + SORT_STEP_ENTRIES))
        run = run_of_entries(*sort_entries(*columns)[:3])
        assert run is not None
        runs.append(run)
        edges += run.edges()
        yield 1
    return SortedMemory(memory, runs, min(edges), max(edges))


def _columns_of(keys: list[bytes], stored: list[StoredValue]) -> Columns:
    measured = measure_entries(keys, stored)
    if measured is None or measured[-1]:
        return columns_of_stored(keys, stored)  # some are tombstones or large
    return Columns(keys, stored, bytes(len(keys)))  # type: ignore[arg-type]  # measured: all are bytes


def sorted_chunks(memory: TableMemory, entries_max: int) -> Iterator[Columns]:
    """All entries of the table, in chunks of 1 … entries_max; as many as there are runs if that is more."""
    runs = memory.sorted_runs()
    places = [0] * len(runs)
    while runs:
        window = max(1, entries_max // len(runs))
        stops = [min(place + window, len(run)) for run, place in zip(runs, places, strict=True)]
        bound = min(run[stop - 1] for run, stop in zip(runs, stops, strict=True))
        keys: list[bytes] = []
        for i, run in enumerate(runs):
            place = places[i]
            stop = bisect_right(run, bound, place, stops[i])
            keys += run[place:stop]
            places[i] = stop
        columns = memory.columns(keys)
        if len(runs) > 1:
            columns = Columns(*sort_entries(*columns)[:3])
        yield columns
        if any(place == len(run) for run, place in zip(runs, places, strict=True)):
            left = [(run, place) for run, place in zip(runs, places, strict=True) if place < len(run)]
            runs, places = [run for run, _ in left], [place for _, place in left]
