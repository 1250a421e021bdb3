"""A checkpoint of a forest, in stages: puts may go on between them, so that none has to wait for the disk.

    stage 1  mark; manifest log and free set written    ── sync 1 ──>
    stage 2  superblock copies 0-2                      ── sync 2 ──>
    stage 3  copies 3-5                                 ── sync 3 ──>
    stage 4  read back: made; log and blocks are free for new use

Invariants:
- it makes the state of its first stage durable: ops that come later are behind its mark in the log, and are replayed;
- each stage begins when a sync has ended that began behind the stage before;
- until it is made no job is under way, and nobody gives blocks back or changes a manifest: whoever wants to do
  that finishes it first.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from lsmcli.engine.data_file import CheckpointFields

if TYPE_CHECKING:
    from lsmcli.engine.forest import Forest


def checkpoint_stages(forest: "Forest", *, keep_free: bool) -> Iterator[None]:
    """Between two jobs: yields behind each stage but the last, to go on once all that was written before is synced.

    Raises NoSpaceError, DamageError and FileError in the first stage, with nothing begun; OutcomeUnknownError.
    """
    file = forest.file
    mark = forest.start_mark()
    forest.marks[forest.oldest_bar()] = mark  # an empty bar begins here: what is before leaves the WAL
    for tree in forest.trees.values():
        forest.large_values.drop_from(tree.table_mutable)
        forest.large_values.drop_from(tree.table_immutable)
    forest.large_values.release(mark.wal.op)
    fields = CheckpointFields(mark.wal, mark.bytes_put)
    if (scope := forest.scope) is not None and scope.spilled:
        changes = mark.scope_changes
        fields = CheckpointFields(mark.wal, mark.bytes_put, scope.state, scope.op_begin, changes, scope.began_s)
    file.storage.check_identity()
    yield from file.checkpoint(fields, graduates=lambda: not forest.scans_open, keep_free=keep_free)
    forest.checkpoint_made()
