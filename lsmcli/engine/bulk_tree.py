"""What a bulk load has of one tree: a sort, and the tables that were written while entries arrived in key order.

Invariants:
- as long as entries arrive in key order they become tables at once, and need no sorting; with the first that does
  not, what is in tables is one more run, older than all others.

    in order:       add ─> memory ─> tables ────────────────> streams()[0]
    from then on:   add ─> memory ─> runs in scratch files ─> streams()[1 ...]
"""

from collections.abc import Iterator

from lsmcli.engine.block_merge import Run
from lsmcli.engine.bulk_sort import ExternalSort
from lsmcli.engine.bulk_space import BulkSpace
from lsmcli.engine.columns import Columns
from lsmcli.engine.compaction import table_runs, table_stream
from lsmcli.engine.grid import Grid
from lsmcli.engine.key_range import KeyRange
from lsmcli.engine.schema import Codec
from lsmcli.engine.table import TableBuilder
from lsmcli.engine.table_info import TableInfo


class TreeLoad:
    """See the module's docstring."""

    def __init__(self, tree_id: int, grid: Grid, space: BulkSpace, memory_size: int, codec: Codec = Codec.NONE) -> None:
        """codec: of all tables of the load, since they go as deep as any."""
        self.tree_id = tree_id
        self._codec = codec
        self.sort = ExternalSort(grid.storage.scratch, memory_size)
        self.tables: list[TableInfo] = []  # complete after settle()
        self.block_size = grid.block_size
        self._grid = grid
        self._space = space
        self._builder: TableBuilder | None = None

    @property
    def early(self) -> bool:
        """Whether something was written to tables already."""
        return self._builder is not None or bool(self.tables)

    def make_builder(self, level: int, snapshot_min: int) -> TableBuilder:
        """A builder of tables of this tree in the load's space."""
        return TableBuilder(
            self._grid,
            tree_id=self.tree_id,
            level=level,
            snapshot_min=snapshot_min,
            acquire=self._space.take,
            codec=self._codec,
        )

    def write_early(self, snapshot_min: int) -> None:
        """Writes what is in memory as tables; all entries so far arrived in key order. Raises NoSpaceError."""
        assert self.sort.ascending
        if self._builder is None:
            self._builder = self.make_builder(1, snapshot_min)
        for columns in self.sort.take():
            self._builder.append(columns)

    def settle(self) -> None:
        """All entries are there. Raises NoSpaceError."""
        if self._builder is not None:
            builder, self._builder = self._builder, None
            self.tables = builder.finish()
        self.sort.settle()

    def ranges(self) -> list[KeyRange]:
        """Ranges that hold the keys of all entries that are not in tables."""
        return self.sort.ranges()

    def streams(self, tables: list[TableInfo], dropped_large: list[bytes]) -> list[Iterator[Columns]]:
        """The runs of the load, from old to new: these of its tables, and the streams of the sort, which see."""
        return [table_stream(self._grid, tables), *self.sort.streams(dropped_large)]

    def packed(self, tables: list[TableInfo], dropped_large: list[bytes]) -> list[Iterator[Run]]:
        """The same, packed. Compiled only."""
        return [table_runs(self._grid, tables), *self.sort.packed(dropped_large)]
