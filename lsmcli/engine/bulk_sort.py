"""Sorts more entries than fit in memory: gathered in the order of arrival, given out in key order.

Invariants:
- of entries with one key only the one that arrived last is given out;
- memory is bounded by what was gathered since the last spill(), and while runs are merged by one chunk of each of
  at most RUNS_MAX runs of a generation;
- runs are kept from old to new, and merged in that order; a chunk read back has the checksum that it was
  written with, or FileError is raised.

    arrival     m c x | a p c | f b             gathered in batches, of which the first two were spilled
    runs        c m x   a c p   (b f: in memory)
    stream()    a b c f m p x                   the second c
                --- bound = the smallest of the last keys of the runs' chunks: all keys up to it are complete

An arrival in key order is noticed, and is not sorted.
"""

import struct
from bisect import bisect_right
from collections.abc import Callable, Iterator
from itertools import chain, islice, pairwise
from operator import attrgetter, lt
from typing import Final, NamedTuple

from lsmcli.engine.block_merge import Run as PackedRun
from lsmcli.engine.block_merge import run_of
from lsmcli.engine.checksum import checksum
from lsmcli.engine.columns import EMPTY, Columns, merge
from lsmcli.engine.constants import ENTRY_WEIGHT, KEY_SIZE_MAX, KIB
from lsmcli.engine.entry_order import COMPILED, sort_entries
from lsmcli.engine.entry_pack import pack_entries, unpack_entries
from lsmcli.engine.errors import FileError
from lsmcli.engine.key_range import KeyRange
from lsmcli.engine.schema import CHAIN_REFERENCE, FLAG_LARGE, FLAG_TOMBSTONE
from lsmcli.engine.scratch_file import Scratch
from lsmcli.engine.sorted_batch import SortedBatch, chunk_step
from lsmcli.engine.value_block import run_of_entries

# Entries of a chunk, the unit in which runs are written, read and merged: as many as have this size.
CHUNK_SIZE_MAX: Final = 256 * KIB
CHUNK_SIZE_MIN: Final = 16 * KIB

# Entries are sorted so many at a time. Compiled, one large sort costs less than a merge of small ones; interpreted it
# is the other way round, as long as a batch stays in the processor's cache.
BATCH_ENTRIES: Final = (1024 if COMPILED else 16) * KIB

# Entries of one round of a merge of runs in memory, about: what stays in the cache until it is written.
ROUND_ENTRIES: Final = 2 * KIB

# So many runs of one generation are merged into one run of the next: memory for a merge is bounded whatever comes.
RUNS_MAX: Final = 64


class Chunk(NamedTuple):
    """One chunk of a run in a scratch file. Offset and size are in bytes, the keys inclusive."""

    offset: int
    size: int
    checksum: bytes
    key_min: bytes
    key_max: bytes


class Run(NamedTuple):
    """A sorted run in a scratch file."""

    scratch: Scratch
    chunks: list[Chunk]

    def stream(self) -> Iterator[Columns]:
        """The entries in key order. Raises FileError."""
        for each in self.chunks:
            yield decode_chunk(self._read(each))

    def packed(self) -> Iterator[PackedRun]:
        """The same entries, packed as they are. Compiled only. Raises FileError."""
        for each in self.chunks:
            yield packed_chunk(self._read(each))

    def _read(self, chunk: Chunk) -> bytes:
        data = self.scratch.read(chunk.offset, chunk.size)
        if checksum(data) != chunk.checksum:
            raise FileError("a temporary file did not give back what was written to it; check the disk")
        return data


class ExternalSort:
    """The entries of one tree; see the module's docstring. make_scratch() gives a new scratch file.

    memory_size: what those may weigh that are in memory, in bytes; who adds them sees to that, and calls spill().

    dropped_large collects the packed references of out-of-line values that lost and are in no run any more.
    """

    def __init__(self, make_scratch: Callable[[], Scratch], memory_size: int) -> None:
        # A merge holds a chunk of each run, as bytes and as objects.
        self._chunk_size = min(CHUNK_SIZE_MAX, max(CHUNK_SIZE_MIN, memory_size // (2 * RUNS_MAX)))
        self._make_scratch = make_scratch
        self.dropped_large: list[bytes] = []
        self.weight = 0  # of what is in memory: key + value + ENTRY_WEIGHT each, in bytes
        self.count = 0  # entries that were ever added
        self.keys_size = 0  # of them, in bytes
        self.size = 0  # of their keys and values, in bytes
        self.tombstones = False  # whether any of them is a tombstone
        self.ascending = True  # all entries ever added arrived in strictly ascending order of their keys
        self._key_last = b""
        self._keys: list[bytes] = []  # of entries that are not sorted yet, in order of arrival
        self._values: list[bytes] = []
        self._flags = bytearray()
        self._runs: list[SortedBatch] = []  # in memory, from old to new
        # Generation i + 1 holds runs merged from generation i; each generation has a scratch file of its own.
        self._generations: list[list[Run]] = []
        self._scratches: list[Scratch] = []

    @property
    def spilled(self) -> bool:
        """Whether anything is in a scratch file."""
        return bool(self._generations)

    @property
    def chunk_entries(self) -> int:
        """Entries of a chunk of the size of a chunk, by the mean size of those that were added."""
        return max(1, self._chunk_size * self.count // max(1, self.size))

    def add(self, columns: Columns, keys_size: int, size: int) -> None:
        """Takes over entries as stored, in order of arrival, with the size of their keys, and of keys and values."""
        keys = columns.keys
        if not keys:
            return
        if self.ascending:
            self.ascending = keys[0] > self._key_last and all(map(lt, keys, islice(keys, 1, None)))
            self._key_last = keys[-1]
        for start in range(0, len(keys), BATCH_ENTRIES):
            part = columns if len(keys) <= BATCH_ENTRIES else columns.cut(start, start + BATCH_ENTRIES)
            self._keys += part.keys
            self._values += part.values
            self._flags += part.flags
            if len(self._keys) >= BATCH_ENTRIES:
                self.settle()
        self.tombstones = self.tombstones or FLAG_TOMBSTONE in columns.flags
        self.weight += size + ENTRY_WEIGHT * len(keys)
        self.count += len(keys)
        self.keys_size += keys_size
        self.size += size

    def settle(self) -> None:
        """Sorts what is not sorted yet, as one more run in memory."""
        if not self._keys:
            return
        columns = Columns(self._keys, self._values, bytes(self._flags))
        self._keys, self._values, self._flags = [], [], bytearray()
        self._runs.append(SortedBatch(columns, self.dropped_large, ascending=self.ascending))

    def take(self) -> Iterator[Columns]:
        """What is in memory, in key order, when all came in that order; memory is empty then."""
        assert self.ascending
        self.settle()
        runs, self._runs, self.weight = self._runs, [], 0
        for run in runs:
            yield from run.chunks(self.chunk_entries)

    def spill(self) -> int:
        """Writes what is in memory to a scratch file, as one run; returns bytes written. Raises FileError."""
        self.settle()
        if not self._runs:
            return 0
        written = self._write(0, merge_in_memory(self._runs, self.dropped_large))
        self._runs, self.weight = [], 0
        generation = 0
        while len(self._generations[generation]) >= RUNS_MAX:
            runs = self._generations[generation]
            written += self._write(generation + 1, merge_runs([run.stream() for run in runs], self.dropped_large))
            runs.clear()
            self._scratches[generation].close()
            self._scratches[generation] = self._make_scratch()
            generation += 1
        return written

    def _write(self, generation: int, stream: Iterator[Columns]) -> int:
        """Writes a run into the generation's scratch file."""
        if generation == len(self._generations):
            self._scratches.append(self._make_scratch())
            self._generations.append([])
        scratch = self._scratches[generation]
        run = Run(scratch, [])
        for merged in stream:
            for columns in cut_columns(merged, self.chunk_entries):
                data = encode_chunk(columns)
                offset = scratch.append(data)
                run.chunks.append(Chunk(offset, len(data), checksum(data), columns.keys[0], columns.keys[-1]))
        self._generations[generation].append(run)
        return sum(each.size for each in run.chunks)

    def streams(self, dropped_large: list[bytes]) -> list[Iterator[Columns]]:
        """Sorted streams from old to new; after settle(), and as often as wanted. A key may be in several of them.

        Packed references of out-of-line values that lose within a stream are appended to dropped_large.
        """
        spilled = [run.stream() for runs in reversed(self._generations) for run in runs]
        return [*spilled, merge_in_memory(self._runs, dropped_large)]

    def packed(self, dropped_large: list[bytes]) -> list[Iterator[PackedRun]]:
        """The same as streams(), packed. Compiled only."""
        spilled = [run.packed() for runs in reversed(self._generations) for run in runs]
        return [*spilled, map(packed_columns, merge_in_memory(self._runs, dropped_large))]

    def ranges(self) -> list[KeyRange]:
        """Ranges that hold all keys, by chunk, in any order; after settle()."""
        ranges = [
            KeyRange(each.key_min, each.key_max) for runs in self._generations for run in runs for each in run.chunks
        ]
        step = self.chunk_entries
        for run in self._runs:
            starts = range(0, run.count, step)
            ranges += [KeyRange(run.key(start), run.key(min(start + step, run.count) - 1)) for start in starts]
        return ranges

    def close(self) -> None:
        """Gives all space back. Safe to call twice."""
        for scratch in self._scratches:
            scratch.close()
        self._scratches, self._generations = [], []
        self._keys, self._values, self._flags, self._runs, self.weight = [], [], bytearray(), [], 0


def sort_columns(columns: Columns, dropped_large: list[bytes]) -> Columns:
    """Entries in the order of arrival, put in the order of their keys; of each key the last one.

    Packed references of out-of-line values that lost are appended to dropped_large. 0.15 µs per entry, interpreted 1.
    """
    keys, values, flags, lost = sort_entries(*columns)
    if lost and FLAG_LARGE in columns.flags:
        dropped_large += (columns.values[place] for place in lost if columns.flags[place] == FLAG_LARGE)
    return Columns(keys, values, flags)


def cut_columns(columns: Columns, entry_count: int) -> Iterator[Columns]:
    """The entries in chunks of about so many, and no short rest: 9 by 4 gives 5 and 4."""
    count = len(columns.keys)
    step = chunk_step(count, entry_count)
    for start in range(0, count, step):
        yield columns.cut(start, start + step)


def merge_in_memory(runs: list[SortedBatch], dropped_large: list[bytes]) -> Iterator[Columns]:
    """One sorted stream out of sorted runs in memory, from old to new; see merge_runs(). 0.4 µs per entry.

    All runs are cut at the same keys, taken from the longest one at equal distances.
    """
    if len(runs) < 2:
        yield from chain.from_iterable(run.chunks(ROUND_ENTRIES) for run in runs)
        return
    longest = max(runs, key=attrgetter("count"))
    rounds = max(1, sum(run.count for run in runs) // ROUND_ENTRIES)
    step = max(1, longest.count // rounds)
    bounds = [longest.key(i) for i in range(longest.count // rounds, longest.count, step)]
    starts = [0] * len(runs)
    for bound in [*bounds, max(run.key(run.count - 1) for run in runs)]:
        stops = [run.bisect_right(bound, start) for run, start in zip(runs, starts, strict=True)]
        parts = [run.cut(start, stop) for run, start, stop in zip(runs, starts, stops, strict=True) if start < stop]
        if parts:
            yield _merge_parts(parts, dropped_large)
        starts = stops


def merge_runs(runs: list[Iterator[Columns]], dropped_large: list[bytes]) -> Iterator[Columns]:
    """One sorted stream out of sorted runs, from old to new; of equal keys the newest entry wins.

    Packed references of out-of-line values that lost are appended to dropped_large. 0.4 µs per entry.
    """
    pending = [_Cursor(run, columns) for run in runs if (columns := next(run, None)) is not None]
    while len(pending) > 1:
        bound = min(cursor.columns.keys[-1] for cursor in pending)
        parts = [part for cursor in pending if (part := cursor.take(bound)).keys]
        pending = [cursor for cursor in pending if cursor.columns.keys]
        yield _merge_parts(parts, dropped_large)
    for cursor in pending:
        yield cursor.columns.cut(cursor.start)
        yield from cursor.run


class _Cursor:
    """A run, and where in its present chunk the merge stands."""

    __slots__ = ("columns", "run", "start")

    def __init__(self, run: Iterator[Columns], columns: Columns) -> None:
        self.run = run
        self.columns = columns
        self.start = 0

    def take(self, bound: bytes) -> Columns:
        """The entries up to `bound`, inclusive; goes on to the next chunk at the end of this one."""
        columns, start = self.columns, self.start
        stop = bisect_right(columns.keys, bound, start)
        if stop < len(columns.keys):
            self.start = stop
        else:
            self.columns, self.start = next(self.run, EMPTY), 0
        return columns.cut(start, stop)


def _merge_parts(parts: list[Columns], dropped_large: list[bytes]) -> Columns:
    """Sorted parts from old to new as one."""
    if len(parts) > 2 or FLAG_LARGE in parts[0].flags:
        return sort_columns(joined(parts), dropped_large)
    return parts[0] if len(parts) == 1 else merge(parts[1], parts[0]).columns


def joined(parts: list[Columns]) -> Columns:
    """Entries one behind the other, in no order of keys."""
    return Columns(
        list(chain.from_iterable(part.keys for part in parts)),
        list(chain.from_iterable(part.values for part in parts)),
        b"".join(part.flags for part in parts),
    )


_COUNT_SIZE: Final = 4
_OFFSET_SIZE: Final = 4


def encode_chunk(columns: Columns) -> bytes:
    """A chunk for the scratch file: the count, and the columns as pack_entries() writes them."""
    keys, values, flags = columns
    _, _, packed = pack_entries(keys, values, flags, _OFFSET_SIZE)
    return len(keys).to_bytes(_COUNT_SIZE, "little") + packed


def packed_columns(columns: Columns) -> PackedRun:
    """Sorted entries, at least one, packed. Compiled only."""
    run = run_of_entries(*columns)
    assert run is not None
    return run


def packed_chunk(data: bytes) -> PackedRun:
    """The entries of a chunk whose checksum was right, packed. Compiled only."""
    count = int.from_bytes(data[:_COUNT_SIZE], "little")
    run = run_of(data, _COUNT_SIZE, count, _OFFSET_SIZE, KEY_SIZE_MAX, CHAIN_REFERENCE.size)
    assert run is not None
    return run


def decode_chunk(data: bytes) -> Columns:
    """The entries of a chunk whose checksum was right."""
    count = int.from_bytes(data[:_COUNT_SIZE], "little")
    flags_at = _COUNT_SIZE + 2 * _OFFSET_SIZE * (count + 1)
    keys_at = flags_at + count
    flags = data[flags_at:keys_at]
    columns = unpack_entries(data, _COUNT_SIZE, count, _OFFSET_SIZE, 0, count, KEY_SIZE_MAX)
    if columns is not None:
        return Columns(*columns, flags)
    offsets = struct.unpack_from(f"<{2 * (count + 1)}I", data, _COUNT_SIZE)
    values_at = keys_at + offsets[count]
    assert values_at + offsets[-1] == len(data)
    keys, values = data[keys_at:values_at], data[values_at:]
    return Columns(
        [keys[start:stop] for start, stop in pairwise(offsets[: count + 1])],
        [values[start:stop] for start, stop in pairwise(offsets[count + 1 :])],
        flags,
    )
