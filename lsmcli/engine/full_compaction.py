"""Full compaction: every tree in one level, nothing of deleted entries left, the file as small as it gets.

Invariants:
- it goes table by table, so the file needs little space beside the data;
- a crash at any point leaves a state with the same entries.

    memory -> tables -> one level     merges free blocks all over the file
    [tT.T..T.tT.TT]                   tables at the file's end are written anew into the gaps
    [TTTTTTTt]                        and the end is cut off
"""

from typing import TYPE_CHECKING, Final, NamedTuple

from lsmcli.engine import wal_ring
from lsmcli.engine.compaction_plan import compact_fully, compact_into
from lsmcli.engine.constants import WAL_OFFSET_INITIAL, WAL_SIZE_INITIAL

if TYPE_CHECKING:
    from lsmcli.engine.forest import Forest


class CompactResult(NamedTuple):
    """What a full compaction did, in bytes of the file."""

    bytes_read: int
    bytes_written: int
    bytes_freed: int


# Until there is no room below for another table at the file's end, or
# this often: a large value at the file's end cannot be moved.
_PACK_ROUNDS_MAX: Final = 4
_PACK_SLACK_SHARE: Final = 256


def compact(forest: "Forest") -> CompactResult:
    """Merges every tree down to one level and gives free space back. Raises NoSpaceError, DamageError."""
    file = forest.file
    size, read, written = file.storage.size(), file.grid.bytes_read, file.bytes_written
    forest.flush()
    for tree, context in forest.jobs():
        for _ in compact_fully(tree, context, forest.job_end):
            pass
    if forest.file.wal.offset != WAL_OFFSET_INITIAL:
        wal_ring.resize(forest, WAL_SIZE_INITIAL)
    forest.truncate()
    free_set = forest.file.grid.free_set
    assert free_set is not None
    for _ in range(_PACK_ROUNDS_MAX):
        if free_set.count_free <= _slack(forest, free_set.count_acquired) or free_set.count_released:
            break  # packed; or a reader still needs what was given back, so that moving tables would only add to it
        for tree, context in forest.jobs():
            for _ in compact_into(tree, context, free_set.count_acquired, forest.job_end):
                pass
        forest.truncate()
    return CompactResult(file.grid.bytes_read - read, file.bytes_written - written, max(0, size - file.storage.size()))


def _slack(forest: "Forest", block_count: int) -> int:
    """Free blocks that are not worth another round: a table that takes more of them than there are would not get
    any lower by being written anew."""
    tables = (info for tree, _ in forest.jobs() for level in tree.manifest.levels for info in level.tables)
    return max((info.block_count + 1 for info in tables), default=0) + block_count // _PACK_SLACK_SHARE
