"""An open scope: a run of changes that is kept (persist) or undone (discard) as a whole.

Invariants:
- at most one scope is open, and every op since its begin record belongs to it;
- while it fits in memory it is a log of old values on the mutable tables, and its begin record is in
  the WAL behind the last checkpoint's op;
- once it is spilled, `op_begin` is a pinned snapshot: tables visible at it are kept, later tables have
  snapshot_min above it, and discard drops the later ones and revives the kept ones.
"""

from typing import NamedTuple

from lsmcli.engine.schema import ScopeState, Superblock
from lsmcli.engine.wal import WalPosition


class Mark(NamedTuple):
    """The beginning of a bar: from here on the WAL has what its memory tables have."""

    wal: WalPosition
    bytes_put: int
    scope_changes: int


class ScopeStatus(NamedTuple):
    """What users are told of an open scope."""

    durable: bool  # it survives its process; else it is discarded when that dies
    changes: int  # puts and removes since it began
    began_s: int  # seconds since 1970
    op: int  # the op that began it


class Scope:
    """The open scope of a forest; see the module's docstring."""

    __slots__ = ("after", "began_s", "bytes_put", "changes", "op_begin", "spilled", "state")

    def __init__(
        self,
        state: ScopeState,
        op_begin: int,
        began_s: int,
        *,
        after: WalPosition | None,
        spilled: bool,
        bytes_put: int,
        changes: int = 0,
    ) -> None:
        self.state = state
        self.op_begin = op_begin
        self.began_s = began_s
        self.changes = changes
        self.after = after  # the WAL behind the begin record, None when spilled
        self.spilled = spilled
        self.bytes_put = bytes_put  # of the forest, when it began

    @classmethod
    def spilled_from(cls, superblock: Superblock) -> "Scope":
        """The scope that a superblock knows of: one that has outgrown memory."""
        return cls(
            ScopeState(superblock.scope_state),
            superblock.scope_snapshot,
            superblock.scope_began_s,
            after=None,
            spilled=True,
            bytes_put=superblock.bytes_put,
            changes=superblock.scope_change_count,
        )

    def status(self) -> ScopeStatus:
        return ScopeStatus(self.state is ScopeState.DURABLE, self.changes, self.began_s, self.op_begin)
