"""Replay: the effect of each record of the WAL, once more, when a file is opened.

Invariants:
- a record is applied as it was when it was written: by the same functions of the forest;
- in a writer the blocks of every out-of-line value that a record refers to are marked as acquired before
  anything else can ask for a block: they may be newer than the free set of the checkpoint;
- what a record says is untrusted even though its checksum holds.
"""

from typing import TYPE_CHECKING

from lsmcli.engine.block_chain import chain_addresses
from lsmcli.engine.errors import DamageError
from lsmcli.engine.schema import (
    WAL_SCOPE_BEGIN,
    BlockKind,
    ChainReference,
    ScopeState,
    WalRecordHeader,
    WalRecordKind,
)
from lsmcli.engine.wal import WalPosition
from lsmcli.engine.wal_entry import decode_entries

if TYPE_CHECKING:
    from lsmcli.engine.forest import Forest


def replay_record(
    forest: "Forest", header: WalRecordHeader, body: bytes, before: WalPosition, after: WalPosition
) -> None:
    """Applies the record between the two positions. Raises DamageError when it makes no sense here."""
    kind = header.kind
    if kind == WalRecordKind.OP:
        entries = decode_entries(body, header.entry_count)
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
        forest.scope_opened(ScopeState(begin.state), header.op, begin.began_s, before, after)
    elif kind == WalRecordKind.SCOPE_PERSIST:
        # Without a scope: it was spilled, and the checkpoint that followed knows of its end.
        if forest.scope is not None:
            forest.scope_keep()
    elif kind == WalRecordKind.SCOPE_DISCARD:
        if forest.scope is None:
            raise _damage(header.op, "a scope is discarded that was never begun")
        forest.scope_undo()


def _mark_acquired(forest: "Forest", chain: ChainReference) -> None:
    grid = forest.file.grid
    for address in chain_addresses(grid, chain, BlockKind.LARGE):
        grid.mark_acquired(address, BlockKind.LARGE)


def _damage(op: int, what: str) -> DamageError:
    return DamageError(f"write-ahead log: op {op}: {what}; run salvage to save what is intact", zone="wal")
