"""Out-of-line values that no entry holds any more: when their blocks are given back.

Invariants:
- a value is released only when its op is at or below the checkpoint's op: a replay of the WAL marks
  the blocks of every value that it meets, and must not find them in other use;
- a value that a pinned snapshot still sees is kept, as a record of the manifest log with block_count 0,
  until the snapshot is unpinned (then it is dropped) or the trees go back to it (then an entry holds it
  again).

    dropped ---- checkpoint at or behind its op ----> released
       ^
       | unpin
     kept ------ revive ----> held by an entry again
"""

from collections.abc import Iterable

from lsmcli.engine.block_chain import release_chain, write_chain
from lsmcli.engine.data_file import DataFile
from lsmcli.engine.errors import DamageError, FileError
from lsmcli.engine.grid import Grid
from lsmcli.engine.manifest_log import ManifestLog
from lsmcli.engine.schema import BlockKind, BlockReference, ChainReference, TableEventKind
from lsmcli.engine.table_info import TableInfo
from lsmcli.engine.table_memory import TableMemory


class LargeValues:
    """The values that wait to be released."""

    def __init__(self, grid: Grid, log: ManifestLog) -> None:
        self._grid = grid
        self._log = log
        self._dropped: list[ChainReference] = []
        self._kept: dict[int, TableInfo] = {}  # by address

    def open_kept(self, info: TableInfo) -> None:
        """A record of the manifest log that stands for a kept value."""
        assert info.block_count == 0
        self._kept[info.reference.address] = info

    @property
    def waiting(self) -> bool:
        """Whether there are values to be released."""
        return bool(self._dropped)

    def drop(self, chains: Iterable[ChainReference]) -> None:
        """No entry holds these values any more, and no pinned snapshot sees them."""
        self._dropped += chains

    def drop_from(self, memory: TableMemory) -> None:
        """Takes over the values that were overwritten in a memory table."""
        self._dropped += memory.dropped_large
        memory.dropped_large.clear()

    def drop_all_of(self, memory: TableMemory) -> None:
        """The table is thrown away: drops the values of all its entries."""
        self.drop_from(memory)
        self._dropped += [value for value in memory.entries.values() if type(value) is ChainReference]

    def keep(self, tree_id: int, op: int, chain: ChainReference) -> None:
        """No entry holds the value after `op`, but a pinned snapshot sees it."""
        info = TableInfo(
            tree_id=tree_id,
            level=0,
            reference=BlockReference(chain.address, 0, chain.checksum),
            key_min=b"",
            key_max=b"",
            block_count=0,
            entry_count=chain.block_count,
            tombstone_count=0,
            large_count=0,
            values_size=chain.size,
            snapshot_min=chain.op,
            snapshot_max=op,
        )
        self._kept[chain.address] = info
        self._log.append(info, TableEventKind.INSERT)

    def unpin(self) -> None:
        """No snapshot is pinned any more: what was kept is dropped."""
        for info in self._forget_kept():
            self._dropped.append(chain_of(info))

    def revive(self) -> None:
        """The trees went back to the pinned snapshot: what was kept is held by entries again."""
        self._forget_kept()

    def _forget_kept(self) -> list[TableInfo]:
        kept = list(self._kept.values())
        self._kept.clear()
        for info in kept:
            self._log.append(info, TableEventKind.REMOVE)
        return kept

    def release(self, op_checkpoint: int) -> None:
        """Before a checkpoint: gives back the blocks of values that no replay from this op on can meet.

        A damaged chain is not given back, its space is lost until the file is copied.
        """
        waiting = []
        for chain in self._dropped:
            if chain.op > op_checkpoint:
                waiting.append(chain)
                continue
            try:
                release_chain(self._grid, chain, BlockKind.LARGE)
            except (DamageError, FileError):
                continue
        self._dropped = waiting


def write_large(file: DataFile, tree_id: int, value: bytes, *, op: int) -> ChainReference:
    """Stores a value out of line, synced, for the op that comes next and is prepared for: no checkpoint may
    come between, which would take its blocks for granted. Raises NoSpaceError."""
    chain = write_chain(file.grid, BlockKind.LARGE, value, twins=False, tree_id=tree_id, op=op)
    file.storage.sync()
    return chain


def chain_of(info: TableInfo) -> ChainReference:
    """The value that a record of the manifest log with block_count 0 stands for."""
    address, _, checksum = info.reference
    return ChainReference(address, 0, checksum, info.values_size, info.entry_count, 0, info.snapshot_min)
