"""What a compaction job needs of its tree, and how a table leaves it.

Invariants:
- a job never sees the tree itself;
- what can fail of a removal is done before anything changes: removal() reads, remove() does not fail;
- the blocks of a table are given back only where no pinned snapshot needs them.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from lsmcli.engine import schema
from lsmcli.engine.errors import DamageError, FileError
from lsmcli.engine.grid import Grid
from lsmcli.engine.manifest import Manifest
from lsmcli.engine.schema import BlockKind, ChainReference, Codec
from lsmcli.engine.table import read_index
from lsmcli.engine.table_info import TableInfo
from lsmcli.engine.table_iterator import TableIterator

if TYPE_CHECKING:
    from lsmcli.engine.compression import Compression


class Removal(NamedTuple):
    """How one table leaves the latest snapshot."""

    info: TableInfo
    snapshot_max: int  # the last op at which it is visible
    pinned: bool  # a pinned snapshot needs it, so it stays
    addresses: list[int]  # of its blocks, when they are given back


class CompactionContext:
    """What a job needs of its tree: it never sees the tree itself.

    snapshot_min() is the first op at which outputs are visible; pinned(min, max) tells whether a
    snapshot in that range (both inclusive) still needs a table; drop_large(tree id, last op, reference)
    takes an out-of-line value that no table holds after that op; compression(tree id) is the tree's setting.
    """

    __slots__ = ("compression", "drop_large", "grid", "manifest", "pinned", "snapshot_min")

    def __init__(
        self,
        manifest: Manifest,
        grid: Grid,
        *,
        snapshot_min: Callable[[], int],
        pinned: Callable[[int, int], bool],
        drop_large: Callable[[int, int, ChainReference], None],
        compression: "Callable[[int], Compression]",
    ) -> None:
        self.manifest = manifest
        self.grid = grid
        self.snapshot_min = snapshot_min
        self.pinned = pinned
        self.drop_large = drop_large
        self.compression = compression

    def codec_for(self, level: int) -> Codec:
        """What a table that is written to this level now is compressed with."""
        last = not any(deeper.count for deeper in self.manifest.levels[level + 1 :])
        return self.compression(self.manifest.tree_id).codec_for(last=last)

    def recodes(self, info: TableInfo, level: int) -> bool:
        """Whether a table that is to stand in this level should be written anew because of how it is compressed.

        Reads the headers of its value blocks, if any table of the file may have a codec, and perhaps one block. A
        table that cannot be read is left as it is.
        """
        grid, codec = self.grid, self.codec_for(level)
        if codec is Codec.NONE and not grid.compresses:
            return False
        try:
            references = read_index(grid, info).references
            if any(grid.read_header(reference, BlockKind.VALUE).codec for reference in references):
                return codec is Codec.NONE
            if codec is Codec.NONE or len(references) == 1:
                return False
            return grid.codec.pays(grid.read(references[0], BlockKind.VALUE))
        except (DamageError, FileError):
            return False

    def tables_remove(self, tables: list[TableInfo], snapshot_min: int) -> None:
        """Takes tables out of every snapshot from snapshot_min on, and their blocks back where no pin needs them."""
        for removal in self.removals(tables, snapshot_min):
            self.remove(removal)

    def removals(self, tables: list[TableInfo], snapshot_min: int) -> list[Removal]:
        """What tables_remove() will do: all that can fail of it."""
        seen: set[int] = set()
        return [self.removal(info, snapshot_min, seen) for info in tables]

    def removal(self, info: TableInfo, snapshot_min: int, seen: set[int]) -> Removal:
        """What remove() will do for one table; `seen` gathers the blocks of those before it.

        Of a table whose index block is damaged only that block is given back. The others are lost until the
        file is copied: better than a file that cannot be opened because of a table that nobody wants. For the
        same reason a block that is not in use, or that two tables claim, is passed over.
        """
        snapshot_max = min(snapshot_min - 1, info.snapshot_max)
        pinned = self.pinned(info.snapshot_min, snapshot_max)
        # A reader undoes a scope in memory only: it has no blocks to give back.
        releases = not pinned and self.grid.free_set is not None
        try:
            addresses = table_addresses(self.grid, info) if releases else []
        except (DamageError, FileError):
            addresses = [info.reference.address]
        in_use = [address for address in addresses if address not in seen and self.grid.in_use(address)]
        seen.update(in_use)
        return Removal(info, snapshot_max, pinned, in_use)

    def remove(self, removal: Removal) -> None:
        """Carries out one removal."""
        self.take_out(removal)
        self.release(removal)

    def take_out(self, removal: Removal) -> None:
        """Its first half: takes the table out of the manifest."""
        self.manifest.remove_table(removal.info, snapshot_max=removal.snapshot_max, pinned=removal.pinned)

    def release(self, removal: Removal) -> None:
        """Its second half: gives the blocks back."""
        if removal.addresses:
            self.grid.release_all(removal.addresses)


def table_addresses(grid: Grid, info: TableInfo) -> list[int]:
    """Addresses of every block of a table, the index block last."""
    index = read_index(grid, info)
    addresses = [reference.address for reference in index.references]
    addresses.append(info.reference.address)
    return addresses


def large_references(grid: Grid, info: TableInfo) -> Iterator[ChainReference]:
    """References of the out-of-line values that a table's entries hold; reads only blocks with such."""
    if info.large_count == 0:
        return
    index = read_index(grid, info)
    for block, flags in enumerate(index.block_flags):
        if flags & schema.FLAG_LARGE:
            columns = TableIterator(grid, info).block_columns(block)
            for value, flag in zip(columns.values, columns.flags, strict=True):
                if flag & schema.FLAG_LARGE:
                    yield schema.CHAIN_REFERENCE.unpack(value)
