"""The end of a writer: its log is left short, and in a small file at its beginning.

Invariants:
- everything that was written is synced when it ends without an error;
- what cannot be done for want of space costs the next open some time, and nothing else.
"""

from contextlib import suppress
from typing import TYPE_CHECKING

from lsmcli.engine import wal_ring
from lsmcli.engine.constants import GRID_OFFSET, WAL_OFFSET_INITIAL, WAL_SIZE_INITIAL
from lsmcli.engine.errors import DamageError, NoSpaceError
from lsmcli.engine.schema import ScopeState

if TYPE_CHECKING:
    from lsmcli.engine.forest import Forest


def close_writer(forest: "Forest", replay_size_max: int) -> None:
    """Syncs, and flushes when the next open would have more than replay_size_max bytes to replay. A bound scope, whose
    process ends, is discarded."""
    wal = forest.file.wal
    if forest.scope is not None and forest.scope.state is ScopeState.BOUND:
        with suppress(NoSpaceError):  # no room for the record: the next open discards the scope
            forest.scope_discard()
    if wal.live_size > replay_size_max or wal.offset >= GRID_OFFSET:
        from lsmcli.engine.packing import pack_small

        try:
            forest.flush()
            if wal.offset != WAL_OFFSET_INITIAL:
                wal_ring.resize(forest, WAL_SIZE_INITIAL)
            forest.truncate()
            pack_small(forest)
            return
        except (NoSpaceError, DamageError):
            pass  # nothing is lost: all of it is in the WAL, and the next open goes on from there
    forest.finish_checkpoint()
    forest.bar.abandon()
    forest.sync()
    with suppress(NoSpaceError):  # all is stored: the mark only makes the next open quicker
        wal.mark()
