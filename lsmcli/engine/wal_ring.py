"""The size of the WAL's ring: small in a new file, moved to a larger one when the writing asks for it.

Invariants:
- the ring is moved with a checkpoint before, if that frees anything (what it frees need not be copied), and one
  behind (until that is durable the old ring counts); nothing is appended in between;
- every position that the forest remembers moves along.

    64 KiB --> 420 KiB, both between the superblock's groups --> 3.5 bars, in the grid
       ^---------------------- at close, with the log empty ---------------------'

The log is copied with each move, so the last one comes while there is little to copy; on a disk that has no room for so
large a ring it goes up in smaller steps.
"""

from typing import TYPE_CHECKING, Final

from lsmcli.engine.block_chain import chain_block_count
from lsmcli.engine.constants import WAL_OFFSET_INITIAL, WAL_SIZE_INITIAL, WAL_SIZE_MAX, WAL_SIZE_SECOND
from lsmcli.engine.errors import DamageError, LimitError, LsmError, NoSpaceError, OutcomeUnknownError
from lsmcli.engine.wal import WalPosition

if TYPE_CHECKING:
    from lsmcli.engine.forest import Forest

# The bar that fills, the one that is flushed, and one that was absorbed.
_BARS: Final = 3.5
_GROWTH: Final = 8
_RECORD_OVERHEAD_MAX: Final = 4096


def size_full(memory_size: int) -> int:
    """The ring that a busy writer needs, in bytes, unless a single op asks for more."""
    return max(WAL_SIZE_INITIAL, int(_BARS * memory_size))


def make_room(forest: "Forest", body_size: int) -> None:
    """Makes the WAL take a record with a body of this size, by a flush or by a larger ring.

    Raises NoSpaceError, LimitError; and the error that keeps compaction from going on, if there is one.
    """
    wal = forest.file.wal
    full = size_full(forest.memory_size)
    if wal.size >= full and (error := _still_fails(forest)) is not None:
        raise error
    forest.finish_checkpoint()
    if wal.fits(body_size):
        return
    if wal.live_size >= full // 2:
        forest.flush()
        forest.checkpoint()
        if wal.fits(body_size):
            return
    need = 2 * (body_size + _RECORD_OVERHEAD_MAX + wal.live_size)
    if need > WAL_SIZE_MAX:
        raise LimitError(f"an op of {body_size} bytes is too large; split it into several")
    if wal.offset == WAL_OFFSET_INITIAL and need <= WAL_SIZE_SECOND:
        resize(forest, WAL_SIZE_SECOND)
    else:
        try:
            resize(forest, max(need, full))
        except NoSpaceError:
            resize(forest, max(need, min(_GROWTH * wal.size, full)))
    assert wal.fits(body_size)


def _still_fails(forest: "Forest") -> LsmError | None:
    """What keeps compaction from going on; it is tried once more, since there may be space again."""
    if forest.compaction_error is not None:
        forest.advance()
    return forest.compaction_error


def resize(forest: "Forest", size: int) -> None:
    """Moves the WAL to a ring of this size, in bytes. Raises NoSpaceError, with the ring as it was."""
    forest.finish_jobs()
    if not _nothing_to_free(forest):
        forest.checkpoint()
    grid, wal = forest.file.grid, forest.file.wal
    assert grid.free_set is not None
    # Nothing may be appended between the copy and its checkpoint, so that must not run out of space.
    reservation = grid.reserve(2 * chain_block_count(2 * grid.free_set.encoded_size_max() + 64, grid.block_size))
    try:
        start = wal.start
        forest.file.wal_relocate(size)
    finally:
        grid.forfeit(reservation)

    def moved(position: WalPosition) -> WalPosition:
        return wal.moved(max(position, start, key=_appended_of))

    forest.marks = {number: mark._replace(wal=moved(mark.wal)) for number, mark in forest.marks.items()}
    scope = forest.scope
    if scope is not None and scope.after is not None:
        scope.after = moved(scope.after)
    try:
        forest.checkpoint()
    except (NoSpaceError, DamageError) as error:
        # The new ring is the one in use, but not the one that an opening finds: what is appended now would be lost.
        raise OutcomeUnknownError(
            f"the write-ahead log was moved, but that could not be noted ({error}); "
            "nothing was lost: close and reopen the file"
        ) from error


def _nothing_to_free(forest: "Forest") -> bool:
    """Whether a checkpoint would leave the log as long as it is, and the one behind the move has no more to write than
    any checkpoint: then one is enough. So it is in a file whose first entries are still in memory."""
    file, trees = forest.file, forest.trees.values()
    dropped = any(tree.table_mutable.dropped_large or tree.table_immutable.dropped_large for tree in trees)
    return (
        forest.start_mark().wal.appended == file.wal.start.appended
        and not dropped
        and not forest.large_values.waiting
        and not file.manifest_log.waiting
    )


def _appended_of(position: WalPosition) -> int:
    return position.appended
