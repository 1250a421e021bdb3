"""Changes of a whole tree at once: all its entries dropped, or taken back to a pinned snapshot.

Invariants:
- damage in a table that is thrown away stops nothing: what it alone refers to is lost until the file is copied;
- out-of-line values go with the entries that hold them, and stay where a pinned snapshot sees them.
"""

from lsmcli.engine.compaction_context import CompactionContext, large_references
from lsmcli.engine.constants import SNAPSHOT_LATEST
from lsmcli.engine.errors import DamageError, FileError
from lsmcli.engine.large_values import LargeValues
from lsmcli.engine.schema import ChainReference
from lsmcli.engine.table_info import TableInfo
from lsmcli.engine.tree import Tree


def drop_tree_entries(tree: Tree, context: CompactionContext, large_values: LargeValues) -> None:
    """Lets go of every entry of the tree; no compaction job may be open."""
    snapshot_min = context.snapshot_min()
    tables = [info for level in tree.manifest.levels for info in level.tables]
    chains = _chains_of(context, tables)
    context.tables_remove(tables, snapshot_min)
    for chain in chains:
        context.drop_large(tree.config.id, snapshot_min - 1, chain)
    _drop_memory(tree, large_values)


def take_back_tree(tree: Tree, context: CompactionContext, large_values: LargeValues, snapshot: int) -> None:
    """Brings the tree back to a snapshot that was pinned until now: nothing of it is in memory, all of it in
    tables that were kept. A reader does so in memory, and has nothing to release."""
    newer = [info for info in tree.manifest.tables() if info.snapshot_min > snapshot]
    if context.grid.free_set is not None:
        large_values.drop(chain for chain in _chains_of(context, newer) if chain.op > snapshot)
    context.tables_remove(newer, 0)
    _drop_memory(tree, large_values)
    for info in [info for info in tree.manifest.tables() if info.snapshot_max != SNAPSHOT_LATEST]:
        tree.manifest.revive_table(info)
    tree.key_range_open()


def _chains_of(context: CompactionContext, tables: list[TableInfo]) -> list[ChainReference]:
    """The out-of-line values that these tables hold, as far as the tables can be read."""
    chains: list[ChainReference] = []
    for info in tables:
        try:
            chains += large_references(context.grid, info)
        except (DamageError, FileError):
            continue
    return chains


def _drop_memory(tree: Tree, large_values: LargeValues) -> None:
    large_values.drop_all_of(tree.table_mutable)
    large_values.drop_all_of(tree.table_immutable)
    tree.reset()
