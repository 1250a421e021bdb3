"""What a forest tells about itself: levels, memory, counters. For people and programs; changes nothing."""

from typing import Any

from lsmcli.engine.forest import Forest
from lsmcli.engine.manifest import table_count_max_for_level
from lsmcli.engine.schema import ScopeState
from lsmcli.engine.tree import Tree


def forest_stats(forest: Forest, *, tree_count: int) -> dict[str, Any]:
    """Counters and sizes of the file and of this handle: a flat mapping of names to numbers and texts."""
    file, sb = forest.file, forest.file.superblock
    tables = [info for tree in forest.trees.values() for level in tree.manifest.levels for info in level.tables]
    memory = [memory for tree in forest.trees.values() for memory in (tree.table_mutable, tree.table_immutable)]
    scope = forest.scope
    return {
        "file_size": file.storage.size(),
        "block_size": sb.block_size,
        "block_count": file.grid.block_count,
        "trees": tree_count,
        "op": forest.op,
        "op_checkpoint": sb.op_checkpoint,
        "superblock_sequence": sb.sequence,
        "tables": len(tables),
        "table_entries": sum(info.entry_count for info in tables),
        "table_tombstones": sum(info.tombstone_count for info in tables),
        "table_bytes": sum(info.values_size for info in tables),
        "memory_entries": sum(len(table.entries) for table in memory),
        "wal_size": file.wal.size if file.writable else sb.wal_size,
        "bytes_put": forest.bytes_put,
        "bytes_written": file.bytes_written,
        "cache_hits": file.grid.cache.hits,
        "cache_misses": file.grid.cache.misses,
        "scope": "none" if scope is None else "durable" if scope.state is ScopeState.DURABLE else "bound",
        "scope_changes": 0 if scope is None else scope.changes,
    }


def tree_levels(forest: Forest, tree: Tree, name: str, compression: str) -> dict[str, Any]:
    """One tree: its levels, its memory tables, and where the bar stands."""
    growth_factor = tree.manifest.growth_factor
    levels = []
    for number, level in enumerate(tree.manifest.levels):
        levels.append(
            {
                "level": number,
                "tables": level.count,
                "tables_max": table_count_max_for_level(growth_factor, number),
                "tables_invisible": len(level.invisible),
                "entries": sum(info.entry_count for info in level.tables),
                "tombstones": sum(info.tombstone_count for info in level.tables),
                "bytes": sum(info.values_size for info in level.tables),
                "key_min": level.tables[0].key_min if level.tables else None,
                "key_max": level.tables[-1].key_max if level.tables else None,
            }
        )
    return {
        "tree": name,
        "compression": compression,
        "levels": levels,
        "memory": {
            "mutable_entries": len(tree.table_mutable.entries),
            "mutable_weight": tree.table_mutable.weight,
            "immutable_entries": len(tree.table_immutable.entries),
            "immutable_weight": tree.table_immutable.weight,
            "memory_size": forest.memory_size,
            "bar": forest.bar.number,
            "beat": forest.bar.beat,
        },
        "bytes_put": forest.bytes_put,
        "bytes_written": forest.file.bytes_written,
    }
