"""Tables moved to the file's beginning, and its free end cut off.

Invariants:
- a table is written anew, and given back by a checkpoint, like any other: a crash at any point loses nothing;
- what a reader still needs is not moved: that would only add to the file.

    [tT.T..T.tT.TT]    tables at the file's end are written anew into the gaps
    [TTTTTTTt]         and the end is cut off
"""

from typing import TYPE_CHECKING, Final

from lsmcli.engine.compaction_plan import compact_into
from lsmcli.engine.constants import MIB

if TYPE_CHECKING:
    from lsmcli.engine.forest import Forest

# Until there is no room below for another table at the file's end, or
# this often: a large value at the file's end cannot be moved.
_ROUNDS_MAX: Final = 4
_SLACK_SHARE: Final = 256

# What may be moved when a file is closed, in bytes: less than half a second's work.
_SMALL_SIZE_MAX: Final = 128 * MIB


def pack(forest: "Forest") -> None:
    """Moves tables until the gaps are too small for one. Raises NoSpaceError, DamageError."""
    free_set = forest.file.grid.free_set
    assert free_set is not None
    for _ in range(_ROUNDS_MAX):
        if free_set.count_free <= _slack(forest, free_set.count_acquired) or free_set.count_released:
            break
        _round(forest, free_set.count_acquired)


def pack_small(forest: "Forest") -> None:
    """The same for a file that is small, and more than half empty: the log's large ring, which it had in the middle of
    it, would be most of the file for good. Raises NoSpaceError, DamageError."""
    grid = forest.file.grid
    free_set = grid.free_set
    assert free_set is not None
    small = free_set.count_acquired * grid.block_size <= _SMALL_SIZE_MAX
    if small and free_set.count_free > free_set.count_acquired and not free_set.count_released:
        _round(forest, free_set.count_acquired)


def _round(forest: "Forest", block_count: int) -> None:
    """Moves the tables that reach beyond so many blocks, and cuts the file."""
    for tree, context in forest.jobs():
        for _ in compact_into(tree, context, block_count, forest.job_end):
            pass
    forest.truncate()


def _slack(forest: "Forest", block_count: int) -> int:
    """Free blocks that are not worth another round: a table that takes more of them than there are would not get
    any lower by being written anew."""
    tables = (info for tree, _ in forest.jobs() for level in tree.manifest.levels for info in level.tables)
    return max((info.block_count + 1 for info in tables), default=0) + block_count // _SLACK_SHARE
