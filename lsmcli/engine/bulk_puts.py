"""The long way of a bulk load into the file: as puts. For little into much, for next to nothing, and inside of a scope.

Invariants:
- a small load is one op; a larger one has a scope of its own, so it is kept or undone as a whole;
- inside of an open scope a load that fits in memory is one op. A larger one is several, and an error between them
  leaves a part of it in the scope, which can be discarded;
- conflicts are looked for before the first put.
"""

from collections.abc import Iterator
from contextlib import nullcontext
from itertools import compress
from typing import TYPE_CHECKING, Any, Final

from lsmcli.engine.block_chain import read_chain
from lsmcli.engine.bulk_merge import Counts, OnConflict, conflict, split
from lsmcli.engine.bulk_sort import merge_runs
from lsmcli.engine.bulk_tree import TreeLoad
from lsmcli.engine.columns import Columns
from lsmcli.engine.constants import MIB
from lsmcli.engine.guard import BoundScope
from lsmcli.engine.schema import CHAIN_REFERENCE, FLAG_LARGE, FLAG_TOMBSTONE, BlockKind

if TYPE_CHECKING:
    from lsmcli.engine.database import Database

# A load of at most this weight is one op. More goes to tables, where it can: a checkpoint costs some syncs and blocks.
PUTS_SIZE_MAX: Final = 1 * MIB


def put_loads(database: "Database", loads: list[TreeLoad], on_conflict: OnConflict, counts: Counts) -> None:
    """Stores the loads by puts. Raises ConflictError, and what puts raise."""
    if on_conflict == "fail":
        for load in loads:
            for columns in _stream(load):
                if any(live := _live(database, load.tree_id, columns.keys)):
                    raise conflict(load.tree_id, next(compress(columns.keys, live)))
    in_scope = database.scope_status() is not None
    in_memory = not any(load.early or load.sort.spilled for load in loads)
    weight = sum(load.sort.weight for load in loads)
    if in_memory and (in_scope or weight <= PUTS_SIZE_MAX):
        database.apply([entry for some in _entries(database, loads, on_conflict, counts) for entry in some])
        return
    with nullcontext() if in_scope else BoundScope(database):
        for some in _entries(database, loads, on_conflict, counts):
            database.apply(some)


def _stream(load: TreeLoad) -> Iterator[Columns]:
    return merge_runs(load.streams(load.tables, []), [])


def _entries(
    database: "Database", loads: list[TreeLoad], on_conflict: OnConflict, counts: Counts
) -> Iterator[list[Any]]:
    """What there is to put, chunk by chunk: (tree id, key, value or None)."""
    grid = database.forest.file.grid
    for load in loads:
        tree_id = load.tree_id
        for columns in _stream(load):
            columns = _resolved(database, tree_id, columns, on_conflict, counts)
            if not any(columns.flags):
                yield [(tree_id, key, value) for key, value in zip(columns.keys, columns.values, strict=True)]
                continue
            entries: list[Any] = []
            for key, value, flag in zip(*columns, strict=True):
                if flag == FLAG_LARGE:
                    value = read_chain(grid, CHAIN_REFERENCE.unpack(value), BlockKind.LARGE)
                entries.append((tree_id, key, None if flag == FLAG_TOMBSTONE else value))
            yield entries


def _resolved(database: "Database", tree_id: int, columns: Columns, on_conflict: OnConflict, counts: Counts) -> Columns:
    """The entries without those that are skipped; counts what they do."""
    live = _live(database, tree_id, columns.keys)
    if on_conflict == "skip" and any(live):
        counts.skipped += live.count(True)
        columns, _ = split(columns, live)
        live = [False] * len(columns.keys)
    deleted = sum(flag == FLAG_TOMBSTONE for flag in compress(columns.flags, live))
    counts.deleted += deleted
    counts.replaced += live.count(True) - deleted
    counts.imported += len(columns.keys) - columns.flags.count(FLAG_TOMBSTONE)
    return columns


def _live(database: "Database", tree_id: int, keys: list[bytes]) -> list[bool]:
    """Which of these keys have a value now."""
    return [value is not None for value in database.forest.tree(tree_id).lookup_many(keys)]
