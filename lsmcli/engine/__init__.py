"""The storage engine: files import only what stands before them in the order
errors, constants, key_range, checksum, composite_key, schema, storage, superblock, wal,
free_set, grid, tables, manifest, compaction, tree, forest, database.
"""
