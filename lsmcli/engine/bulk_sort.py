"""Sorts more entries than fit in memory: gathered in the order of arrival, given out in key order.

Invariants:
- of entries with one key only the one that arrived last is given out;
- memory is bounded by what was gathered since the last spill(), or while runs are merged by one chunk of each of
  at most RUNS_MAX runs;
- runs are kept from old to new, and merged in that order; a chunk read back has the checksum that it was
  written with, or FileError is raised.

    arrival     m c x | a p c | f b             gathered, with two spills
    runs        c m x   a c p   (b f: in memory)
    stream()    a b c f m p x                   the second c
                --- bound = the smallest of the last keys of the runs' chunks: all keys up to it are complete

An arrival in key order is noticed, and is not sorted.
"""

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate, chain, compress, islice, pairwise
from operator import lt
from typing import Final, NamedTuple

from lsmcli.engine.checksum import checksum
from lsmcli.engine.columns import EMPTY, Columns, merge
from lsmcli.engine.constants import ENTRY_WEIGHT, KIB
from lsmcli.engine.errors import FileError
from lsmcli.engine.key_range import KeyRange
from lsmcli.engine.schema import FLAG_LARGE
from lsmcli.engine.scratch_file import Scratch

# Entries of a chunk, the unit in which runs are written, read and merged: as many as weigh this much.
CHUNK_SIZE: Final = 256 * KIB

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
            data = self.scratch.read(each.offset, each.size)
            if checksum(data) != each.checksum:
                raise FileError("a temporary file did not give back what was written to it; check the disk")
            yield decode_chunk(data)


class ExternalSort:
    """The entries of one tree; see the module's docstring. make_scratch() gives a new scratch file."""

    def __init__(self, make_scratch: Callable[[], Scratch], chunk_size: int = CHUNK_SIZE) -> None:
        self._make_scratch = make_scratch
        self._chunk_size = chunk_size
        self.weight = 0  # of what is gathered in memory: key + value + ENTRY_WEIGHT each, in bytes
        self.count = 0  # entries that were ever added
        self.ascending = True  # all entries ever added arrived in strictly ascending order of their keys
        self._key_last = b""
        self._keys: list[bytes] = []
        self._values: list[bytes] = []
        self._flags: bytearray | None = None  # None: all 0
        # Generation i + 1 holds runs merged from generation i; each generation has a scratch file of its own.
        self._generations: list[list[Run]] = []
        self._scratches: list[Scratch] = []

    @property
    def spilled(self) -> bool:
        """Whether anything is in a scratch file."""
        return bool(self._generations)

    @property
    def gathered(self) -> bool:
        """Whether anything is in memory."""
        return bool(self._keys)

    def add(self, keys: list[bytes], values: list[bytes], flags: bytes | None, size: int) -> None:
        """Takes over entries as stored, with the sum of the sizes of their keys and values. flags None: all 0."""
        if not keys:
            return
        if self.ascending:
            self.ascending = keys[0] > self._key_last and all(map(lt, keys, islice(keys, 1, None)))
            self._key_last = keys[-1]
        if flags is not None and self._flags is None:
            self._flags = bytearray(len(self._keys))
        self._keys += keys
        self._values += values
        if self._flags is not None:
            self._flags += bytes(len(keys)) if flags is None else flags
        self.weight += size + ENTRY_WEIGHT * len(keys)
        self.count += len(keys)

    def take(self, dropped_large: list[bytes]) -> Columns:
        """What is in memory, as one sorted run; memory is empty then. Packed references of out-of-line values that
        were overwritten are appended to dropped_large."""
        columns = sort_entries(self._keys, self._values, self._flags, dropped_large, ascending=self.ascending)
        self._keys, self._values, self._flags, self.weight = [], [], None, 0
        return columns

    def spill(self, dropped_large: list[bytes]) -> int:
        """Writes what is in memory to a scratch file, as one run; returns bytes written. Raises FileError."""
        if not self._keys:
            return 0
        written = self._write(0, [self.take(dropped_large)])
        generation = 0
        while len(self._generations[generation]) >= RUNS_MAX:
            runs = self._generations[generation]
            written += self._write(generation + 1, merge_runs([run.stream() for run in runs], dropped_large))
            runs.clear()
            self._scratches[generation].close()
            self._scratches[generation] = self._make_scratch()
            generation += 1
        return written

    def _write(self, generation: int, stream: Iterable[Columns]) -> int:
        """Writes a run into the generation's scratch file."""
        if generation == len(self._generations):
            self._scratches.append(self._make_scratch())
            self._generations.append([])
        scratch = self._scratches[generation]
        run = Run(scratch, [])
        for merged in stream:
            for columns in cut_columns(merged, self._chunk_size):
                data = encode_chunk(columns)
                offset = scratch.append(data)
                run.chunks.append(Chunk(offset, len(data), checksum(data), columns.keys[0], columns.keys[-1]))
        self._generations[generation].append(run)
        return sum(each.size for each in run.chunks)

    def settle(self, dropped_large: list[bytes]) -> None:
        """Sorts what is in memory, where it stays. Nothing is added after this."""
        if self._keys:
            weight = self.weight
            columns = self.take(dropped_large)
            self._keys, self._values, self.weight = columns.keys, columns.values, weight
            self._flags = bytearray(columns.flags) if any(columns.flags) else None

    def ranges(self) -> list[KeyRange]:
        """Ranges that hold all keys, by chunk, in any order; after settle()."""
        ranges = [
            KeyRange(each.key_min, each.key_max) for runs in self._generations for run in runs for each in run.chunks
        ]
        in_memory = cut_columns(Columns(self._keys, self._values, b""), self._chunk_size)
        return ranges + [KeyRange(columns.keys[0], columns.keys[-1]) for columns in in_memory]

    def streams(self) -> list[Iterator[Columns]]:
        """The sorted runs from old to new; after settle(), and as often as wanted."""
        streams = [run.stream() for runs in reversed(self._generations) for run in runs]
        if self._keys:
            flags = bytes(len(self._keys)) if self._flags is None else bytes(self._flags)
            streams.append(cut_columns(Columns(self._keys, self._values, flags), self._chunk_size))
        return streams

    def close(self) -> None:
        """Gives all space back. Safe to call twice."""
        for scratch in self._scratches:
            scratch.close()
        self._scratches, self._generations = [], []
        self._keys, self._values, self._flags, self.weight = [], [], None, 0


def sort_entries(
    keys: list[bytes],
    values: list[bytes],
    flags: bytes | bytearray | None,
    dropped_large: list[bytes],
    *,
    ascending: bool = False,
) -> Columns:
    """The entries in key order, of each key the last one. flags None: all 0. ascending: they are sorted already.

    Out-of-line values that lose are appended to dropped_large. 0.8 µs per entry for half a million of them.
    """
    if ascending:
        return Columns(keys, values, bytes(len(keys)) if flags is None else bytes(flags))
    if flags is None:
        latest = dict(zip(keys, values, strict=True))
        ordered = sorted(latest)
        return Columns(ordered, list(map(latest.__getitem__, ordered)), bytes(len(ordered)))
    places = dict(zip(keys, range(len(keys)), strict=True))
    ordered = sorted(places)
    order = list(map(places.__getitem__, ordered))
    if FLAG_LARGE in flags and len(order) < len(keys):
        lost = bytearray(b"\1") * len(keys)
        for place in order:
            lost[place] = 0
        dropped_large += (values[i] for i in compress(range(len(keys)), lost) if flags[i] == FLAG_LARGE)
    return Columns(ordered, list(map(values.__getitem__, order)), bytes(map(flags.__getitem__, order)))


def cut_columns(columns: Columns, chunk_size: int) -> Iterator[Columns]:
    """The entries in chunks of equal count that have about chunk_size bytes each, and at least one entry."""
    count = len(columns.keys)
    if count == 0:
        return
    sizes = chain(map(len, columns.keys), map(len, columns.values))
    step = max(1, chunk_size * count // max(1, sum(sizes)))
    for start in range(0, count, step):
        yield columns.cut(start, start + step)


def merge_runs(runs: list[Iterator[Columns]], dropped_large: list[bytes]) -> Iterator[Columns]:
    """One sorted stream out of sorted runs, from old to new; of equal keys the newest entry wins.

    Packed references of out-of-line values that lost are appended to dropped_large. 0.4 µs per entry.
    """
    pending = [_Cursor(run, columns) for run in runs if (columns := next(run, None)) is not None]
    while len(pending) > 1:
        bound = min(cursor.columns.keys[-1] for cursor in pending)
        parts = [part for cursor in pending if (part := cursor.take(bound)).keys]
        pending = [cursor for cursor in pending if cursor.columns.keys]
        yield parts[0] if len(parts) == 1 else _merge_parts(parts, dropped_large)
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
    if any(any(part.flags) for part in parts):
        merged = parts[0]
        for part in islice(parts, 1, None):
            merged, dropped = merge(part, merged)
            dropped_large += dropped
        return merged
    latest: dict[bytes, bytes] = {}
    for part in parts:
        latest.update(zip(part.keys, part.values, strict=True))
    keys = sorted(latest)  # finds the runs that it was given, and merges them
    return Columns(keys, list(map(latest.__getitem__, keys)), bytes(len(keys)))


_COUNT_SIZE: Final = 4
_VALUE_SIZE_CODE: Final = "I"
_KEY_SIZE_CODE: Final = "H"


def encode_chunk(columns: Columns) -> bytes:
    """A chunk for the scratch file: count, sizes of the keys, sizes of the values, flags, keys, values."""
    return b"".join(
        (
            len(columns.keys).to_bytes(_COUNT_SIZE, "little"),
            array(_KEY_SIZE_CODE, map(len, columns.keys)).tobytes(),
            array(_VALUE_SIZE_CODE, map(len, columns.values)).tobytes(),
            columns.flags,
            *columns.keys,
            *columns.values,
        )
    )


def decode_chunk(data: bytes) -> Columns:
    """The entries of a chunk whose checksum was right."""
    count = int.from_bytes(data[:_COUNT_SIZE], "little")
    key_sizes, value_sizes = array(_KEY_SIZE_CODE), array(_VALUE_SIZE_CODE)
    values_at = _COUNT_SIZE + count * key_sizes.itemsize
    flags_at = values_at + count * value_sizes.itemsize
    key_sizes.frombytes(data[_COUNT_SIZE:values_at])
    value_sizes.frombytes(data[values_at:flags_at])
    ends = list(accumulate(chain(key_sizes, value_sizes), initial=flags_at + count))
    assert ends[-1] == len(data)
    items = [data[start:stop] for start, stop in pairwise(ends)]
    return Columns(items[:count], items[count:], data[flags_at : flags_at + count])
