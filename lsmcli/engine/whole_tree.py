"""Changes of a whole tree at once: all its entries dropped, or taken back to a pinned snapshot.

Invariants:
- what can fail, reading the tables, comes before anything is changed;
- out-of-line values go with the entries that hold them, and stay where a pinned snapshot sees them.
"""

from lsmcli.engine.compaction import CompactionContext, large_references
from lsmcli.engine.constants import SNAPSHOT_LATEST
from lsmcli.engine.large_values import LargeValues
from lsmcli.engine.tree import Tree


def drop_tree_entries(tree: Tree, context: CompactionContext, large_values: LargeValues) -> None:
    """Lets go of every entry of the tree; no compaction job may be open. Raises DamageError."""
    snapshot_min = context.snapshot_min()
    tables = [info for level in tree.manifest.levels for info in level.tables]
    chains = [chain for info in tables for chain in large_references(context.grid, info)]
    context.tables_remove(tables, snapshot_min)
    for chain in chains:
        context.drop_large(tree.config.id, snapshot_min - 1, chain)
    _drop_memory(tree, large_values)


def take_back_tree(tree: Tree, context: CompactionContext, large_values: LargeValues, snapshot: int) -> None:
    """Brings the tree back to a snapshot that was pinned until now: nothing of it is in memory, all of it in
    tables that were kept. A reader does so in memory, and has nothing to release. Raises DamageError."""
    newer = [info for info in tree.manifest.tables() if info.snapshot_min > snapshot]
    if context.grid.free_set is not None:
        chains = [chain for info in newer for chain in large_references(context.grid, info)]
        large_values.drop(chain for chain in chains if chain.op > snapshot)
    context.tables_remove(newer, 0)
    _drop_memory(tree, large_values)
    for info in [info for info in tree.manifest.tables() if info.snapshot_max != SNAPSHOT_LATEST]:
        tree.manifest.revive_table(info)
    tree.key_range_open()


def _drop_memory(tree: Tree, large_values: LargeValues) -> None:
    large_values.drop_all_of(tree.table_mutable)
    large_values.drop_all_of(tree.table_immutable)
    tree.reset()
