"""Replay: the effect of each record of the WAL, once more, when a file is opened.

Invariants:
- a record is applied as it was when it was written: by the same functions of the forest;
- in a writer the blocks of every out-of-line value that a record refers to are marked as acquired before
  anything else can ask for a block: they may be newer than the free set of the checkpoint;
- what a record says is untrusted even though its checksum holds.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from lsmcli.engine.block_chain import chain_addresses
from lsmcli.engine.constants import VALUE_SIZE_MAX, key_size_max_for, value_inline_max_for
from lsmcli.engine.errors import DamageError
from lsmcli.engine.schema import (
    WAL_SCOPE_BEGIN,
    BlockKind,
    ChainReference,
    ScopeState,
    WalRecordHeader,
    WalRecordKind,
)
from lsmcli.engine.scope import Mark
from lsmcli.engine.wal import WalPosition
from lsmcli.engine.wal_entry import decode_entries
from lsmcli.engine.wal_recovery import WalRecord
from lsmcli.engine.wal_run import OpRun

if TYPE_CHECKING:
    from lsmcli.engine.forest import Entry, Forest

# A scope hides what is in it from readers, and its end may bring tables back: then the file is read anew.
_KINDS_FOLLOWED: Final = (WalRecordKind.OP, WalRecordKind.MARK)


def replay(forest: "Forest", steps: Iterable[WalRecord | OpRun]) -> None:
    """Applies records, and runs of plain ones, in their order. Raises DamageError."""
    for step in steps:
        if isinstance(step, OpRun):
            forest.tree(step.tree_id)
            forest.insert_columns(step.tree_id, step.keys, step.values, step.size)
        else:
            replay_record(forest, *step)


def follow(forest: "Forest") -> bool:
    """In a reader: applies what a writer has appended since the log was read, as long as the superblock is the same.

    False: not possible, or not to the end, and the file is to be read anew. What was applied until then is right:
    whole ops, each of which continues the chain. Raises DamageError.
    """
    file, recovery = forest.file, forest.recovery
    forest.recovery = None  # of no more use if this ends early
    if recovery is None or not file.is_same():
        return False
    for step in recovery.follow(forest.key_size_max, forest.value_inline_max):
        if not isinstance(step, OpRun) and step[0].kind not in _KINDS_FOLLOWED:
            return False
        replay(forest, (step,))
        forest.op = recovery.tail.op
    # The same superblock still: so no part of the log was used again while it was read.
    if recovery.doubtful or not file.is_same():
        file.ring_searched = file.ring_searched and not recovery.doubtful
        return False
    file.follow(recovery)
    forest.recovery = recovery
    return True


def replay_record(forest: "Forest", header: WalRecordHeader, body: bytes, after: WalPosition) -> None:
    """Applies the record before this position. Raises DamageError when it makes no sense here."""
    kind = header.kind
    if kind == WalRecordKind.OP:
        entries = decode_entries(body, header.entry_count)
        _check_sizes(forest, header.op, entries)
        if forest.file.writable:
            for _, _, value in entries:
                if type(value) is ChainReference:
                    _mark_acquired(forest, value)
        forest.apply(entries)
    elif kind == WalRecordKind.SCOPE_BEGIN:
        if len(body) != WAL_SCOPE_BEGIN.size or forest.scope is not None:
            raise _damage(header.op, "a scope begins inside of another")
        begin = WAL_SCOPE_BEGIN.unpack(body)
        if begin.state not in (ScopeState.DURABLE, ScopeState.BOUND):
            raise _damage(header.op, f"unknown scope state {begin.state}")
        forest.scope_opened(ScopeState(begin.state), header.op, begin.began_s, after)
    elif kind == WalRecordKind.SCOPE_PERSIST:
        # Without a scope: it was spilled, and the checkpoint that followed knows of its end.
        if forest.scope is not None:
            forest.scope_keep()
    elif kind == WalRecordKind.SCOPE_DISCARD:
        if forest.scope is None:
            raise _damage(header.op, "a scope is discarded that was never begun")
        spilled = forest.scope.spilled
        forest.scope_undo()
        if spilled:
            # Memory is empty now, and a checkpoint without the scope must not begin before its end.
            forest.marks[forest.bar.number] = Mark(after, forest.bytes_put, 0)


def _check_sizes(forest: "Forest", op: int, entries: "list[Entry]") -> None:
    """DamageError for an entry that fits no block of this file."""
    block_size = forest.file.grid.block_size
    key_size_max, value_size_max = key_size_max_for(block_size), value_inline_max_for(block_size)
    for _, key, value in entries:
        if len(key) > key_size_max or (type(value) is bytes and len(value) > value_size_max):
            raise _damage(op, f"an entry is too large for blocks of {block_size} bytes")
        if type(value) is ChainReference and value.size > VALUE_SIZE_MAX:
            raise _damage(op, f"a value of {value.size} bytes is larger than any")


def _mark_acquired(forest: "Forest", chain: ChainReference) -> None:
    grid = forest.file.grid
    try:
        for address in chain_addresses(grid, chain, BlockKind.LARGE):
            grid.mark_acquired(address, BlockKind.LARGE)
    except DamageError as error:
        # A damaged link costs its value, which says so when it is read, and not the file.
        if error.address is None:
            raise


def _damage(op: int, what: str) -> DamageError:
    return DamageError(f"write-ahead log: op {op}: {what}; run salvage to save what is intact", zone="wal")
