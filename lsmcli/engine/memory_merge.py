"""The entries of a memory table in key order, in steps that are short: for its flush.

Invariants:
- each entry comes once, in ascending order of keys; the table does not change meanwhile;
- no step costs more than its own entries do: none sorts the whole table.

    entries   m c x | p a | f b       compiled: taken as they lie in memory, and sorted by the hundred;
    runs      c m x | a p | b f       the runs are merged where they are needed (piece_merge). Each object is touched
                                      twice, with its neighbours, and once more when its bytes are copied.

Interpreted, the table's own sorted runs are merged, a few entries of each at a time:

    runs      c  m  x | a  p | b  f       a chunk of 3 out of 3 runs: no more than 1 entry of each, up to the least of
    windows   c         a      b          what may come last, "a": one entry. Then c, p, b: "b". Then c, p, f: "c" …
"""

from bisect import bisect_right
from collections.abc import Generator, Iterator
from typing import Final

from lsmcli.engine import memory_runs
from lsmcli.engine.columns import Columns
from lsmcli.engine.entry_map import entries_between
from lsmcli.engine.entry_order import sort_entries, sort_order
from lsmcli.engine.entry_pack import measure_entries
from lsmcli.engine.memory_runs import MemoryRuns
from lsmcli.engine.table_memory import TableMemory, columns_of_stored
from lsmcli.engine.value_block import StoredValue

# Entries that are sorted in one step: 30 µs. They make a run, which is let go of in one step, too.
SORT_STEP_ENTRIES: Final = 320

_CHUNK_ENTRIES: Final = 512  # of a chunk, interpreted: about two value blocks' worth


class SortedMemory:
    """A memory table with at least one entry, ready to be read in key order. Made by sort_memory()."""

    __slots__ = ("_memory", "entry_count", "key_max", "key_min", "runs")

    def __init__(self, memory: TableMemory, runs: MemoryRuns | None, key_min: bytes, key_max: bytes) -> None:
        self.entry_count = len(memory.entries)
        self.key_min = key_min
        self.key_max = key_max
        self.runs = runs  # compiled: to be merged
        self._memory = memory

    def chunks(self) -> Iterator[Columns]:
        """All entries, in chunks of some hundred. 0.4 µs per entry."""
        return sorted_chunks(self._memory, _CHUNK_ENTRIES)

    def release(self) -> Iterator[int]:
        """Lets go of all entries, which were merged; yields 1 after some hundred of them."""
        while self.runs is not None and self.runs.release():
            yield 1


def sort_memory(memory: TableMemory) -> Generator[int, None, SortedMemory]:
    """Sorts a table with at least one entry, which does not change from here on. Yields the steps done in each slice.

    0.1 µs per entry; interpreted next to nothing beside what the table did as it was filled.
    """
    if not memory_runs.COMPILED:
        return SortedMemory(memory, None, *memory.key_edges())
    count = len(memory.entries)
    runs = MemoryRuns(count, -(-count // SORT_STEP_ENTRIES))
    edges: list[bytes] = []
    for start in range(0, count, SORT_STEP_ENTRIES):
        keys, values = entries_between(memory.entries, start, start + SORT_STEP_ENTRIES)
        columns = _columns_of(keys, values)
        order = sort_order(keys)[0]
        runs.add(*columns, order)
        places = memoryview(order).cast("I")
        edges += (keys[places[0]], keys[places[-1]])
        yield 1
    key_min, key_max = min(edges), max(edges)
    pairs = enumerate(zip(key_min, key_max, strict=False))
    runs.begin(next((i for i, (a, b) in pairs if a != b), min(len(key_min), len(key_max))))
    return SortedMemory(memory, runs, key_min, key_max)


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
