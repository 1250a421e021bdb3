"""The bugs that class 31 plants, each of which one of its classes must notice: the one that does so soonest is first.

A hunt for a bug that few runs meet begins at a seed of its own, behind which one does.
"""

from typing import Final

from tests.testing.plant import Bug


def _bug(name: str, module: str, old: str, new: str, *classes: int, seed: int = 1, pure: bool = False) -> Bug:
    return Bug(name, f"lsmcli.engine.{module}", old, new, classes, seed, pure)


BUGS: Final = (
    # The order of a checkpoint.
    _bug("sync 1 is left out", "data_file", "        self.wal.sync()  # sync 1: blocks and log\n", "", 2),
    _bug(
        "syncs 2 and 3 are left out",
        "superblock",
        "encode_copy(superblock, copy))\n    storage.sync()",
        "encode_copy(superblock, copy))",
        2,
    ),
    _bug(
        "all six copies are written before sync 2",
        "superblock",
        "_write_copies(storage, superblock, COPIES[: constants.SUPERBLOCK_GROUP_COPIES])",
        "_write_copies(storage, superblock, COPIES)",
        2,
    ),
    _bug(
        "the second group of copies is never written",
        "superblock",
        "        _write_copies(storage, superblock, COPIES[constants.SUPERBLOCK_GROUP_COPIES :])\n",
        "",
        2,
        29,
    ),
    _bug(
        "copies are not read back",
        "superblock",
        "    if count < constants.SUPERBLOCK_QUORUM_VERIFY:",
        "    if count < 0:",
        5,
    ),
    _bug("one copy is a quorum", "superblock_quorums", ">= constants.SUPERBLOCK_QUORUM_OPEN", ">= 1", 5),
    _bug("a fork is no damage", "superblock_quorums", "    _refuse_fork(copies, agreed, root)\n", "", 5),
    _bug("the oldest quorum wins", "superblock_quorums", "max(agreed.items()", "min(agreed.items()", 5, 2),
    # Acknowledgements.
    _bug(
        "an op is acknowledged before it is synced",
        "changes",
        "                if self.sync_each:\n                    forest.sync()\n            except",
        "                if False:\n                    forest.sync()\n            except",
        2,
    ),
    _bug(
        "an op is acknowledged but not written",
        "op_path",
        "    log.storage.write(log.offset + position, record)",
        "    op % 5 and log.storage.write(log.offset + position, record)",
        1,
        2,
    ),
    _bug(
        "a sync is noted that was not made",
        "wal",
        "        op = self.op\n        self.storage.sync()",
        "        op = self.op",
        2,
    ),
    # The log.
    _bug(
        "the log's space is reused too early",
        "data_file",
        "        self.wal.release(fields.start)",
        "        self.wal.release(self.wal.tail)",
        2,
        seed=1001,
    ),
    _bug("the log's space is never given back", "data_file", "        self.wal.release(fields.start)\n", "", 2, 29),
    _bug("a hole in the log ends it", "wal_recovery", "if self.op_synced <= self.tail.op:", "if True:", 6, 9, 10),
    _bug(
        "records do not say what is synced",
        "op_path",
        "    op_synced: cython.ulonglong = log.op_synced\n    if not",
        "    op_synced: cython.ulonglong = 0\n    if not",
        6,
    ),
    _bug(
        "a dropped tail is not sealed", "data_file", "        if recovery.dropped:", "        if False:", 4, seed=1006
    ),
    _bug(
        "a recovered log is not written again",
        "data_file",
        "        if not recovery.closed_cleanly:\n            self._write_again",
        "        if False:\n            self._write_again",
        15,
        seed=1001,
    ),
    _bug(
        "records of an earlier lap are taken",
        "wal_recovery",
        "if chain is not None and self.data[",
        "if False and self.data[",
        6,
        1,
    ),
    _bug(
        "a record's checksum is not checked",
        "wal_recovery",
        "if checksum(self.view[begin + CHECKSUM_SIZE : end]) != header.checksum:",
        "if False:",
        6,
        2,
    ),
    _bug(
        "a record goes over the ring's end",
        "op_path",
        "        log.skip_end(appended)\n        position = 0\n",
        "        log.skip_end(appended)\n",
        1,
        2,
    ),
    _bug(
        "a moved log loses its last record", "wal", "while before != self.tail:", "while before.op < self.op - 1:", 2, 1
    ),
    # Replay and marks.
    _bug(
        "a replay begins behind what is in memory",
        "forest",
        "            return self.marks[self._oldest_bar()]",
        "            return Mark(self.file.wal.tail, self.bytes_put, 0)",
        1,
    ),
    _bug(
        "a replay leaves out an op",
        "replay",
        "        forest.apply(entries)",
        "        forest.apply(entries if header.op % 7 else [])",
        1,
    ),
    _bug(
        "a replay leaves out deletes",
        "replay",
        "        forest.apply(entries)",
        "        forest.apply([entry for entry in entries if entry[2] is not None])",
        1,
    ),
    _bug(
        "large values in the log are not counted as used",
        "replay",
        "                    _mark_acquired(forest, value)",
        "                    pass",
        1,
        2,
    ),
    # Blocks.
    _bug(
        "a released block is free at once",
        "free_set",
        "self._states[address - 1] = RELEASED",
        "self._states[address - 1] = FREE",
        2,
        29,
    ),
    _bug(
        "a block is leaked by each merge",
        "compaction",
        "self.grid.release_all(removal.addresses)",
        "self.grid.release_all(removal.addresses[1:])",
        29,
        2,
    ),
    _bug(
        "a merge that failed keeps its blocks",
        "compaction",
        "        for address in self.acquired:\n            self._grid.release(address)\n",
        "",
        12,
    ),
    _bug("a block's body is not checked", "grid", "problem = _body_problem(header, data)", 'problem = ""', 7, 9, 10),
    _bug(
        "whose block it is is not checked",
        "grid",
        "problem = _reference_problem(header, reference, kind) or _header_problem(",
        "problem = _header_problem(",
        9,
        10,
    ),
    _bug(
        "second copies are not written",
        "grid",
        "for copy in (address, address_twin) if address_twin else (address,):",
        "for copy in (address,):",
        2,
        10,
    ),
    _bug(
        "second copies are not read",
        "grid",
        "data = self.read_copy(reference, kind, reference.address_twin, prefix_size)",
        "raise error",
        7,
    ),
    _bug("a writer looks at first copies only", "data_file", "looks_at_twins = writable", "looks_at_twins = False", 7),
    _bug(
        "the free set counts reserved blocks as used",
        "free_set",
        "used = self._states.translate(_TO_USED)",
        "used = self._states.translate(bytes([0, 1, 1]) + bytes(253))",
        2,
        29,
    ),
    _bug(
        "an overwritten large value is given back though a scope may restore it",
        "table_memory",
        "            if log.get(key, MISSING) is value:\n                return\n",
        "            pass\n",
        19,
        29,
    ),
    _bug(
        "overwritten large values are never given back",
        "table_memory",
        "        self.dropped_large.append(value)",
        "        pass",
        29,
    ),
    # Levels.
    _bug(
        "deletes are forgotten above older entries",
        "compaction",
        "keep_tombstones = manifest.overlaps_deeper(",
        "keep_tombstones = manifest is None and manifest.overlaps_deeper(",
        29,
    ),
    _bug(
        "the older entry wins a merge",
        "compaction",
        "merge(a.cut(0, cut_a), b.cut(0, cut_b))",
        "merge(b.cut(0, cut_b), a.cut(0, cut_a))",
        29,
        pure=True,
    ),
    _bug(
        "the older entry wins a scan",
        "scan",
        "for source, columns in pending:\n            cut = bisect_right",
        "for source, columns in reversed(pending):\n            cut = bisect_right",
        29,
    ),
    _bug(
        "deep levels are asked first",
        "tree",
        "for manifest_level in self.manifest.levels[level_min:]:",
        "for manifest_level in reversed(self.manifest.levels[level_min:]):",
        29,
    ),
    _bug(
        "a delete in memory does not hide",
        "tree",
        "        if value is MISSING:\n            if not self.key_range_contains(key):",
        "        if value is MISSING or value is None:\n            if not self.key_range_contains(key):",
        29,
    ),
    _bug(
        "the immutable table is not asked",
        "tree",
        "            value = self.table_immutable.entries.get(key, MISSING)",
        "            pass",
        29,
    ),
    _bug("the key range is too narrow", "tree", "        elif key > self.key_max:", "        elif False:", 29),
    _bug(
        "a scan gives an entry twice between chunks of memory",
        "scan",
        '                start = keys[-1] + b"\\0"',
        "                start = keys[-1]",
        29,
    ),
    _bug(
        "a scan sees what was put after it began",
        "table_memory",
        "        for log in self._logs:\n            if key not in log:\n",
        "        for log in self._holding:\n            if key not in log:\n",
        29,
    ),
    # Scopes.
    _bug(
        "a discarded scope is not undone",
        "forest",
        '                tree.scope_close("discard")',
        '                tree.scope_close("persist")',
        19,
        29,
    ),
    _bug(
        "only one tree of a scope is undone",
        "forest",
        '                tree.scope_close("discard")\n            return',
        '                tree.scope_close("discard")\n                break\n            return',
        19,
        29,
    ),
    _bug(
        "a bound scope survives its process",
        "forest",
        "if self.scope is not None and self.scope.state is ScopeState.BOUND:\n                self.scope_discard()\n"
        "            return",
        "if False:\n                self.scope_discard()\n            return",
        1,
        19,
    ),
    _bug(
        "a reader sees an open scope",
        "forest",
        "        if self.scope is not None and (committed or self.scope.state is ScopeState.BOUND):",
        "        if False:",
        19,
        29,
    ),
    _bug(
        "a pinned snapshot's tables are dropped",
        "forest",
        "return scope is not None and scope.spilled and snapshot_min <= scope.op_begin <= snapshot_max",
        "return False",
        19,
    ),
    # The file under its name.
    _bug(
        "a file that was replaced is written on",
        "storage",
        "        if opened.st_nlink == 0 or (opened.st_dev, opened.st_ino) != (named.st_dev, named.st_ino):",
        "        if False:",
        16,
    ),
    _bug("a file that was cut is written on", "storage", "if opened.st_size < self._size_least:", "if False:", 16),
    _bug("a short write is taken for a whole one", "storage", "if stored != len(data):", "if False:", 14),
    # Readers.
    _bug(
        "a reader does not look whether it was overtaken",
        "data_file",
        "return superblock_zone.read(self.storage).checksum != self.superblock_checksum",
        "return False",
        18,
    ),
    _bug(
        "a reader's scan goes on in another state",
        "scan_steps",
        "                    if self._yielded:\n",
        "                    if False:\n",
        18,
    ),
    _bug(
        "blocks go back while the process scans",
        "forest",
        "graduate=not self.scans_open",
        "graduate=True",
        29,
        18,
        seed=1003,
    ),
)
