"""Full compaction: every tree in one level, nothing of deleted entries left, the file as small as it gets.

Invariants:
- it goes table by table, so the file needs little space beside the data;
- a crash at any point leaves a state with the same entries.

    memory -> tables -> one level     merges free blocks all over the file
    [tT.T..T.tT.TT]                   tables at the file's end are written anew into the gaps
    [TTTTTTTt]                        and the end is cut off
"""

from typing import TYPE_CHECKING, NamedTuple

from lsmcli.engine import wal_ring
from lsmcli.engine.compaction_plan import compact_fully
from lsmcli.engine.constants import WAL_OFFSET_INITIAL, WAL_SIZE_INITIAL
from lsmcli.engine.packing import pack

if TYPE_CHECKING:
    from lsmcli.engine.forest import Forest


class CompactResult(NamedTuple):
    """What a full compaction did, in bytes of the file."""

    bytes_read: int
    bytes_written: int
    bytes_freed: int


def compact(forest: "Forest") -> CompactResult:
    """Merges every tree down to one level and gives free space back. Raises NoSpaceError, DamageError."""
    file = forest.file
    size, read, written = file.storage.size(), file.grid.bytes_read, file.bytes_written
    forest.flush()
    for tree, context in forest.jobs():
        for _ in compact_fully(tree, context, forest.job_end):
            pass
    if forest.scope is None and not any(context.compression(tree.config.id).codec for tree, context in forest.jobs()):
        file.grid.compresses = False
    if forest.file.wal.offset != WAL_OFFSET_INITIAL:
        wal_ring.resize(forest, WAL_SIZE_INITIAL)
    forest.truncate()
    pack(forest)
    return CompactResult(file.grid.bytes_read - read, file.bytes_written - written, max(0, size - file.storage.size()))
