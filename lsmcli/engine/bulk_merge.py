"""Merges a bulk load with what is in a tree already, counts what that changes, and writes the result as tables.

Invariants:
- of equal keys the load's entry wins, or the other way round where a load skips what is there;
- all that may hold a key of the load takes part, so no tombstone is left in the result;
- tables of the result do not span a fence (bulk_target).

    load       b  d- f        d-: removes d
    existing   a  b  d  e     live entries only
    result     a  b  e  f     imported 2 (b f), replaced 1 (b), deleted 1 (d)
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from functools import reduce
from itertools import compress
from typing import Final, Literal

from lsmcli.engine.columns import Columns, concatenate, drop_tombstones, merge
from lsmcli.engine.compaction import merge_streams, table_stream
from lsmcli.engine.errors import ConflictError
from lsmcli.engine.grid import Grid
from lsmcli.engine.schema import FLAG_LARGE, FLAG_TOMBSTONE
from lsmcli.engine.table import TableBuilder
from lsmcli.engine.table_info import TableInfo

OnConflict = Literal["replace", "skip", "fail"]

# Entries that enter one round of a merge: value blocks are small, and each round has a cost of its own.
_CHUNK_ENTRIES: Final = 4096

_KEY_SHOWN_SIZE_MAX: Final = 64


class Counts:
    """What a load changes, in distinct keys; see BulkResult."""

    def __init__(self) -> None:
        self.imported = 0
        self.replaced = 0
        self.skipped = 0
        self.deleted = 0


def conflict(tree_id: int, key: bytes) -> ConflictError:
    """The error of a load that must not meet a key that is there."""
    shown = repr(key[:_KEY_SHOWN_SIZE_MAX]) + ("..." if len(key) > _KEY_SHOWN_SIZE_MAX else "")
    return ConflictError(
        f"the key {shown} is there already; nothing was stored: replace or skip such keys", tree_id=tree_id, key=key
    )


def live_stream(grid: Grid, levels: list[list[TableInfo]], dropped_large: list[bytes]) -> Iterator[Columns]:
    """The entries that these tables hold together, without tombstones, in chunks that are worth a merge.

    levels: from new to old, tables of each in key order. Packed references of out-of-line values that nobody
    sees are appended to dropped_large. Raises DamageError.
    """
    streams = [_joined(table_stream(grid, tables)) for tables in levels if tables]
    if not streams:
        return
    merged = reduce(lambda older, newer: merge_streams(newer, older, dropped_large), reversed(streams))
    for columns in merged:
        live = drop_tombstones(columns)
        if live.keys:
            yield live


def _joined(stream: Iterator[Columns]) -> Iterator[Columns]:
    """The same entries in chunks of at least _CHUNK_ENTRIES."""
    parts: list[Columns] = []
    count = 0
    for columns in stream:
        parts.append(columns)
        count += len(columns.keys)
        if count >= _CHUNK_ENTRIES:
            yield concatenate(parts)
            parts, count = [], 0
    if parts:
        yield concatenate(parts)


def merge_load(
    load: Iterator[Columns],
    existing: Iterator[Columns],
    tree_id: int,
    on_conflict: OnConflict,
    counts: Counts,
    dropped_large: list[bytes],
) -> Iterator[Columns]:
    """The entries that are there after the load, in key order, without tombstones.

    Raises ConflictError for a key of both when on_conflict is "fail". Packed references of out-of-line values that
    nobody sees any more are appended to dropped_large.
    """
    a = next(load, None)
    b = next(existing, None)
    while a is not None and b is not None:
        bound = min(a.keys[-1], b.keys[-1])
        cut_a, cut_b = bisect_right(a.keys, bound), bisect_right(b.keys, bound)
        yield _resolve(a.cut(0, cut_a), b.cut(0, cut_b), tree_id, on_conflict, counts, dropped_large)
        a = a.cut(cut_a) if cut_a < len(a.keys) else next(load, None)
        b = b.cut(cut_b) if cut_b < len(b.keys) else next(existing, None)
    while a is not None:
        counts.imported += len(a.keys) - a.flags.count(FLAG_TOMBSTONE)
        yield drop_tombstones(a)
        a = next(load, None)
    while b is not None:
        yield b
        b = next(existing, None)


def _resolve(
    a: Columns, b: Columns, tree_id: int, on_conflict: OnConflict, counts: Counts, dropped_large: list[bytes]
) -> Columns:
    """One round of merge_load(): a of the load, b of what is there."""
    if on_conflict != "replace" and a.keys and b.keys:
        there = set(b.keys).intersection(a.keys)
        if there and on_conflict == "fail":
            raise conflict(tree_id, min(there))
        if there:
            counts.skipped += len(there)
            a, skipped = split(a, [key in there for key in a.keys])
            dropped_large += large_of(skipped)
    merged, dropped = merge(a, b)
    dropped_large += dropped
    replaced = len(a.keys) + len(b.keys) - len(merged.keys)
    tombstones = a.flags.count(FLAG_TOMBSTONE)
    if tombstones:
        removed = set(compress(a.keys, map(FLAG_TOMBSTONE.__eq__, a.flags)))
        deleted = len(removed.intersection(b.keys))
        counts.deleted += deleted
        replaced -= deleted
        merged = drop_tombstones(merged)
    counts.replaced += replaced
    counts.imported += len(a.keys) - tombstones
    return merged


def split(columns: Columns, out: list[bool]) -> tuple[Columns, Columns]:
    """The entries that are not marked, and those that are."""
    kept = [not each for each in out]
    return _picked(columns, kept), _picked(columns, out)


def _picked(columns: Columns, marks: list[bool]) -> Columns:
    return Columns(
        list(compress(columns.keys, marks)),
        list(compress(columns.values, marks)),
        bytes(compress(columns.flags, marks)),
    )


def large_of(columns: Columns) -> list[bytes]:
    """The packed references of out-of-line values among the entries."""
    if FLAG_LARGE not in columns.flags:
        return []
    return list(compress(columns.values, map(FLAG_LARGE.__eq__, columns.flags)))


def write_tables(
    make_builder: Callable[[], TableBuilder], stream: Iterator[Columns], fences: list[bytes]
) -> list[TableInfo]:
    """Writes the entries as tables, none of them across a fence. Raises NoSpaceError, and what the stream raises."""
    tables: list[TableInfo] = []
    builder = make_builder()
    at = 0  # fences before the entries that the builder has
    for columns in stream:
        rest = columns
        while rest.keys:
            passed = bisect_right(fences, rest.keys[0], at)
            if passed != at:
                tables += builder.finish()
                builder = make_builder()
                at = passed
            stop = bisect_left(rest.keys, fences[at]) if at < len(fences) else len(rest.keys)
            assert stop > 0
            builder.append(rest.cut(0, stop))
            rest = rest.cut(stop)
    return tables + builder.finish()
