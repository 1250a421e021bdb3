"""Short scans: the first few entries of a range at once, without what a long scan has to set up.

Invariants:
- an answer is complete and of one moment: nothing is kept open, and nobody has to be kept from writing;
- perhaps is an answer: where more would have to be read than was expected, and on any damage, it is None, and the
  ordinary scan takes its way, and finds out what to say.

    limit 3        at most 3 of each source     merged until 3 are found
    mutable        c g k …
    level 0        -d e                         c e g            (-d: a tombstone)
    level 1        a | b d f …                  b is the first that is not below the start
                       '- start
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from itertools import repeat
from typing import TYPE_CHECKING, Any, Final

from lsmcli.engine.block_scan import COMPILED, Run, runs_at_hand
from lsmcli.engine.columns import EMPTY, Columns, concatenate
from lsmcli.engine.constants import TREE_ID_MAIN
from lsmcli.engine.errors import LsmError
from lsmcli.engine.grid import Grid
from lsmcli.engine.index_block import IndexBlock
from lsmcli.engine.manifest_level import ManifestLevel
from lsmcli.engine.run_merge import merge_runs
from lsmcli.engine.schema import FLAG_LARGE, FLAG_TOMBSTONE, BlockKind
from lsmcli.engine.table import columns_near, read_index
from lsmcli.engine.tree import Tree
from lsmcli.engine.tree_lookup import leave_at_hand
from lsmcli.engine.value_block import ValueBlock

if TYPE_CHECKING:
    from lsmcli.engine.database import Database

# A scan with a higher limit is an ordinary one: its setting up is a small part of it.
LIMIT_MAX: Final = 128

_INDEX: Final = BlockKind.INDEX
_VALUE: Final = BlockKind.VALUE


def short_scan(
    database: "Database",
    tree_id: int,
    start: bytes | None,
    end: bytes | None,
    limit: int,
    reverse: bool = False,
    keys_only: bool = False,
) -> Iterator[tuple[bytes, bytes]] | None:
    """The first 0 < limit <= LIMIT_MAX pairs of [start, end), reverse: the last ones, descending; None: ask a Scan.

    5 µs for ten pairs of one level whose blocks are cached. Raises TreeError, ClosedError, and never DamageError.
    """
    with database.lock.plain or database.lock:
        forest = database.usable()
        if tree_id > TREE_ID_MAIN:
            database.tree_required(tree_id)
        tree = forest.trees.get(tree_id)
        if tree is None:
            return iter(())  # nothing was ever put into it
        try:
            found = _entries(tree, database.lock, start, end, limit, reverse)
        except LsmError:
            return None
    if found is None:
        return None
    keys, values, flags = found
    if keys_only:
        return zip(reversed(keys) if reverse else keys, repeat(b""), strict=False)
    if FLAG_LARGE in flags:
        return None
    return zip(reversed(keys), reversed(values), strict=True) if reverse else zip(keys, values, strict=True)


def _entries(tree: Tree, lock: Any, start: bytes | None, end: bytes | None, limit: int, backward: bool) -> Run | None:
    """The entries, ascending, without tombstones. lock: the one that guards the tree, and is held."""
    runs: list[Run] = []
    more: list[bool] = []  # whether the source of the run may have more
    for memory in (tree.table_mutable, tree.table_immutable):
        if memory.entries:
            columns = memory.first_columns(start, end, limit, reverse=backward)
            if columns is None:
                return None
            if columns.keys:
                runs.append(columns)
                more.append(len(columns.keys) == limit)
    grid = tree.grid
    levels = tree.manifest.levels
    edge, far = (end, start) if backward else (start, end)
    at_hand = None
    if edge is not None and not COMPILED:
        at_hand = _runs_interpreted(grid, levels, edge, limit, backward)
    elif edge is not None:
        at_hand = runs_at_hand(levels, grid.cache.age, edge, limit, grid.key_size_max, backward)
    if at_hand is None:
        if COMPILED:
            tree.lookup_ready(lock)
        for level in levels:
            if not level.tables:
                continue
            columns, goes_on = _entries_of_level(grid, level, start, end, limit, backward)
            if columns.keys:
                runs.append(columns)
                more.append(goes_on)
        return _merged(runs, more, limit, backward)
    if far is None and not runs and len(at_hand) == 1 and FLAG_TOMBSTONE not in at_hand[0][2]:
        return at_hand[0]
    for run in at_hand:
        columns = Columns(*run)
        inside = _within(columns, start, end, backward)
        if inside.keys:
            runs.append(inside)
            more.append(inside is columns)
    return _merged(runs, more, limit, backward)


def _runs_interpreted(
    grid: Grid, levels: list[ManifestLevel], edge: bytes, limit: int, backward: bool
) -> list[Run] | None:
    """What runs_at_hand() does in compiled code, where there is none: in the midst of blocks that are cached, without a
    call that is not needed. None: look closer. Raises DamageError."""
    runs: list[Run] = []
    cached: Callable[..., Any] = grid.cache.get
    for level in levels:
        if not level.tables:
            continue
        i = bisect_left(level.key_mins, edge) - 1 if backward else bisect_left(level.key_maxes, edge)
        if not 0 <= i < len(level.tables):
            continue
        info = level.tables[i]
        index: IndexBlock | None = cached(info.reference.address, info.reference.checksum, _INDEX)
        if index is None or index.table is not info:
            return None
        block = bisect_left(index.keys_last, edge)
        if block == index.block_count:
            return None
        reference = index.references[block]
        value_block: ValueBlock | None = cached(reference.address, reference.checksum, _VALUE)
        if value_block is None or value_block.count != index.entry_counts[block]:
            return None
        keys, values, flags, first = value_block.near(edge, limit, grid.key_size_max, backward)
        if first == 0 or first + limit >= value_block.count:
            return None
        runs.append((keys, values, flags))
        if len(runs) == 1:
            leave_at_hand(grid, level, i, index, block)  # for TreeLookup.first_pairs()
    return runs


def _merged(runs: list[Run], more: list[bool], limit: int, backward: bool) -> Columns | None:
    found = EMPTY
    places = [len(run[0]) if backward else 0 for run in runs]
    while runs:
        keys, values, flags, places = merge_runs(runs, places, limit - len(found.keys), backward)
        step = Columns(keys, values, flags)
        found = concatenate((step, found) if backward else (found, step)) if found.keys else step
        if len(found.keys) == limit:
            break
        for i in reversed(range(len(runs))):
            if places[i] == (0 if backward else len(runs[i][0])):
                if more[i]:
                    return None
                del runs[i], more[i], places[i]
    return found


def _entries_of_level(
    grid: Grid, level: ManifestLevel, start: bytes | None, end: bytes | None, limit: int, backward: bool
) -> tuple[Columns, bool]:
    """At most `limit` entries of a level, tombstones included, and whether there may be more. Raises DamageError."""
    tables = level.tables
    if backward:
        step, bound = -1, end
        i = (len(tables) if end is None else bisect_left(level.key_mins, end)) - 1
    else:
        step, bound = 1, start
        i = 0 if start is None else bisect_left(level.key_maxes, start)
    parts: list[Columns] = []
    left = limit
    while 0 <= i < len(tables):
        info = tables[i]
        if start is not None and info.key_max < start if backward else end is not None and end <= info.key_min:
            break
        index = read_index(grid, info)
        # Whatever the bound is, the table has a block that it points into: it was found by its keys.
        block = index.block_count - 1 if backward else 0
        if bound is not None:
            block = min(bisect_left(index.keys_last, bound), index.block_count - 1)
        while 0 <= block < index.block_count:
            columns = columns_near(grid, info, index, block, bound, left, backward=backward)
            if bound is not None and COMPILED:
                leave_at_hand(grid, level, i, index, block)
            bound = None
            inside = _within(columns, start, end, backward)
            if inside is not columns:
                parts.append(inside)
                return concatenate(reversed(parts) if backward else parts), False
            if len(columns.keys) == left and not parts:
                return columns, True
            parts.append(columns)
            left -= len(columns.keys)
            if left == 0:
                return concatenate(reversed(parts) if backward else parts), True
            block += step
        i += step
    return concatenate(reversed(parts) if backward else parts), False


def _within(columns: Columns, start: bytes | None, end: bytes | None, backward: bool) -> Columns:
    """The entries of the range, of columns that are inside of its other side; the same object when that is all."""
    if backward:
        if start is not None and columns.keys and columns.keys[0] < start:
            return columns.cut(bisect_left(columns.keys, start))
    elif end is not None and columns.keys and columns.keys[-1] >= end:
        return columns.cut(0, bisect_left(columns.keys, end))
    return columns
