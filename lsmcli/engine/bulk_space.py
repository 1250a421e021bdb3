"""The blocks that a bulk load writes before anything refers to them.

Invariants:
- until acquire() the blocks are only reserved: no checkpoint, of whatever else goes on in the file, takes them for
  used, and a crash leaves them free;
- after acquire() or abandon() the space is used up.

    take ──> reserved, written ──── acquire ──> acquired: tables and values of the file
                                └── abandon ──> free
"""

from typing import Final

from lsmcli.engine.block_chain import chain_block_count, write_links
from lsmcli.engine.free_set import Reservation
from lsmcli.engine.grid import Grid
from lsmcli.engine.schema import BlockKind, ChainReference

# Blocks are set aside in lots: one search of the free set for many.
_LOT_BLOCKS: Final = 64


class BulkSpace:
    """See the module's docstring. Not safe for several threads by itself."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._lots: list[Reservation] = []
        self._left = 0  # of the last lot
        self.count = 0  # blocks taken

    def take(self) -> int:
        """The address of one more block to write. Raises NoSpaceError."""
        if self._left == 0:
            self._lots.append(self._grid.reserve(_LOT_BLOCKS))
            self._left = _LOT_BLOCKS
        address = self._lots[-1].addresses[-self._left]
        self._left -= 1
        self.count += 1
        return address

    def write_value(self, tree_id: int, value: bytes, op: int) -> ChainReference:
        """Stores a value out of line, not synced. Raises NoSpaceError and what Storage.write raises."""
        count = chain_block_count(len(value), self._grid.block_size)
        addresses = [(self.take(), 0) for _ in range(count)]
        reference = write_links(self._grid, BlockKind.LARGE, value, addresses, tree_id, op)
        return ChainReference(*reference, size=len(value), block_count=count, reserved=0, op=op)

    def acquire(self) -> None:
        """All that was taken is in use from here on. Changes memory only, so it cannot fail."""
        for number, lot in enumerate(self._lots):
            left = self._left if number == len(self._lots) - 1 else 0
            for _ in range(len(lot) - left):
                self._grid.acquire(lot)
        self.abandon()

    def abandon(self) -> None:
        """Gives back what is not acquired. Safe to call twice."""
        for lot in self._lots:
            self._grid.forfeit(lot)
        self._lots.clear()
        self._left = 0
