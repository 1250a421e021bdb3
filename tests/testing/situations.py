"""Which rare situations a recorded run has met, as its writes tell: nothing in the engine has to say so."""

from lsmcli.engine import constants
from lsmcli.engine.schema import SUPERBLOCK, SUPERBLOCK_COPY_HEAD, ScopeState, Superblock
from tests.testing.operations import BLOCK_SIZE
from tests.testing.trace import Change, Trace
from tests.testing.trial import Trial

SITUATIONS = (
    "a block is used again",
    "a checkpoint behind a wrap of the log",
    "a checkpoint of a scope that has outgrown memory, BOUND",
    "a checkpoint of a scope that has outgrown memory, DURABLE",
    "a checkpoint that frees nothing of the log",
    "a checkpoint while a scope is in memory",
    "a checkpoint with live records behind it",
    "a manifest log of several blocks",
    "an op between the stages of a checkpoint",
    "blocks of the manifest log are dropped",
    "the file grows",
    "the file is cut",
    "the grid has shrunk",
    "the log has moved",
    "the log wraps",
)
_RING = range(constants.WAL_OFFSET_INITIAL, constants.WAL_OFFSET_SECOND + constants.WAL_SIZE_SECOND)


def mark_situations(trial: Trial, trace: Trace) -> None:
    """Marks each situation once for each time that the run has met it."""
    blocks: set[int] = set()
    ring_offset, wrapped = 0, False
    before: Superblock | None = None
    staged = False  # its first copies are written, its last ones are not
    for change in trace.changes:
        if change.kind == "allocate":
            trial.mark("the file grows")
        elif change.kind == "truncate":
            trial.mark("the file is cut")
        elif change.kind == "write" and change.offset in _RING:
            if change.offset < ring_offset:
                trial.mark("the log wraps")
                wrapped = True
            ring_offset = change.offset
            if staged:
                trial.mark("an op between the stages of a checkpoint")
        elif change.kind == "write" and change.offset >= constants.GRID_OFFSET:
            if change.offset in blocks:
                trial.mark("a block is used again")
            blocks.update(range(change.offset, change.offset + len(change.data), BLOCK_SIZE))
        elif change.kind == "write" and change.offset == 0:
            superblock = SUPERBLOCK.unpack(change.data, SUPERBLOCK_COPY_HEAD.size)
            if wrapped:
                trial.mark("a checkpoint behind a wrap of the log")
            wrapped = False
            _mark_checkpoint(trial, trace, change, superblock, before)
            before = superblock
            staged = True
        elif change.kind == "write" and change.offset == constants.superblock_copy_offset(5):
            staged = False


def _mark_checkpoint(
    trial: Trial, trace: Trace, change: Change, superblock: Superblock, before: Superblock | None
) -> None:
    trial.mark("a checkpoint")
    if superblock.scope_state != ScopeState.NONE:
        trial.mark(f"a checkpoint of a scope that has outgrown memory, {ScopeState(superblock.scope_state).name}")
    elif change.op_issued < len(history := trace.run.model.history) and history[change.op_issued].before is not None:
        trial.mark("a checkpoint while a scope is in memory")
    if superblock.manifest_block_count > 1:
        trial.mark("a manifest log of several blocks")
    if superblock.op_checkpoint < superblock.op_synced:
        trial.mark("a checkpoint with live records behind it")
    if before is None:
        return
    if superblock.sequence == before.sequence:
        trial.mark("copies of a superblock are repaired")
    if superblock.wal_offset != before.wal_offset:
        trial.mark("the log has moved")
    if superblock.block_count < before.block_count:
        trial.mark("the grid has shrunk")
    if superblock.manifest_block_count < before.manifest_block_count:
        trial.mark("blocks of the manifest log are dropped")
    if superblock.op_checkpoint == before.op_checkpoint:
        trial.mark("a checkpoint that frees nothing of the log")
