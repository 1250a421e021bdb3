"""Salvage: everything that a damaged file still holds, written to a new file, and a report of what is lost.

Invariants:
- the damaged file is only read;
- what is written was stored, and is the newest that is known of its key: nothing deleted comes back, unless that
  was asked for (include_stale) or the manifest is gone, which the report tells;
- with an intact manifest everything outside of the damaged blocks is kept;
- a durable scope that was open is open in the new file, with its changes in it, to be persisted or discarded.

    survey   root, or block size and blocks that hold          salvage_survey
    tables   manifest, or tables that tell of themselves       salvage_tables
    log      ops that are newer than the tables                salvage_log
    merge    the newest entry of each key, around holes        salvage_merge
    write    committed state; then the scope's changes         here
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final, NamedTuple

from lsmcli.engine import composite_key, compression
from lsmcli.engine import superblock as superblock_zone
from lsmcli.engine.block_cache import BlockCache
from lsmcli.engine.block_chain import read_chain
from lsmcli.engine.block_codec import codec_available
from lsmcli.engine.catalog import FIELD_TREE
from lsmcli.engine.compression import COMPRESSION_NONE, Compression
from lsmcli.engine.constants import (
    GROWTH_FACTOR_DEFAULT,
    MIB,
    SNAPSHOT_LATEST,
    TREE_ID_CATALOG,
    TREE_ID_MAIN,
    TREE_ID_MAX,
    TREE_NAME_MAIN,
    TREE_NAME_SIZE_MAX,
)
from lsmcli.engine.database import Database
from lsmcli.engine.errors import DamageError, FileError, FormatError, SnapshotTooOldError, TreeError
from lsmcli.engine.grid import Grid, block_count_of
from lsmcli.engine.keyspace import Keyspace
from lsmcli.engine.salvage_log import Log, Memory, find_log, read_log
from lsmcli.engine.salvage_merge import Hole, merge_sources
from lsmcli.engine.salvage_report import Loss, SalvageReport, TreeCount
from lsmcli.engine.salvage_survey import RINGS_AT_HEAD, Root, Survey, TolerantStorage, find_root
from lsmcli.engine.salvage_tables import Source, Tables, tables_of
from lsmcli.engine.schema import CHAIN_REFERENCE, FLAG_LARGE, FLAG_TOMBSTONE, BlockKind, ScopeState
from lsmcli.engine.storage import FileStorage, Storage

_LOT_SIZE: Final = 1 * MIB
_LOT_ENTRIES: Final = 10_000
_ENTRY_OVERHEAD: Final = 64

# block size and growth factor -> the new file
Create = Callable[[int, int], Database]


def salvage_file(path: str, create: Create, *, include_stale: bool = False) -> SalvageReport:
    """salvage() of the file at this path."""
    storage = FileStorage.open(path, writable=False)
    try:
        return salvage(storage, create, name=path, include_stale=include_stale)
    finally:
        storage.close()


def salvage(storage: Storage, create: Create, *, name: str = "the file", include_stale: bool = False) -> SalvageReport:
    """Writes what can be read of a file into a new one, made by create(), and closes that.

    include_stale: also what a lost entry may have replaced or removed, and older versions of lost entries. One pass
    over what is live, and one over the whole file where an index block, the manifest or the root is gone. Memory:
    a few blocks, the log, and a few bytes for each block. Raises FormatError when nothing of this program is in
    the file, SnapshotTooOldError when a writer changes it meanwhile, and what writing the new file raises.
    """
    tolerant = storage = TolerantStorage(storage)
    root = find_root(storage, name)
    grid = Grid(
        storage,
        uuid=root.uuid,
        block_size=root.block_size,
        block_count=block_count_of(storage.size(), root.block_size),
        cache=BlockCache(0),
    )
    surveys: list[Survey] = []

    def survey() -> Survey:
        if not surveys:
            surveys.append(Survey(storage, root))
        return surveys[0]

    tables = tables_of(grid, root.superblocks, survey, include_stale=include_stale)
    if tables.superblock is not None:
        log = read_log(storage, tables.superblock)
    else:
        places = [*RINGS_AT_HEAD, *survey().gaps()]
        op_tables = max((source.info.snapshot_min - 1 for source in tables.sources), default=0)
        log = find_log(storage, root, places, op_tables=op_tables)
    if log.scope == ScopeState.BOUND:
        log.discard()
    report = _report_of(root, tables, log)
    growth_factor = tables.superblock.growth_factor if tables.superblock else GROWTH_FACTOR_DEFAULT
    with create(root.block_size, growth_factor) as out:
        _Salvage(grid, tables, log, out, report, include_stale=include_stale).run()
        _check_unmoved(storage, root, name)
    if tolerant.refused:
        report.notes.append("the disk refuses to read some sectors: look after it, and salvage again from a copy")
    return report


def _report_of(root: Root, tables: Tables, log: Log) -> SalvageReport:
    """What is known before an entry is read."""
    report = SalvageReport()
    report.root = "agreed" if root.agreed else "single copy" if root.superblocks else "none"
    report.manifest = "whole" if tables.exact else "damaged"
    if not root.agreed:
        what = "only single copies of the superblock hold" if root.superblocks else "no copy of the superblock holds"
        report.notes.append(f"{what}: the newest state that was found is taken, and a newer one may be lost")
    report.notes += tables.notes + log.notes
    if tables.superblock is None and any(source.info.snapshot_max != SNAPSHOT_LATEST for source in tables.sources):
        report.notes.append("a scope was open, or had just ended: its changes are among what was kept")
    if tables.left_out:
        report.notes.append(
            f"{tables.left_out} value blocks belong to no known table: left out without --include-stale"
        )
    for first, last in log.lost:
        ops = f"op {first}" if first == last else f"ops {first} to {last}"
        message = f"{ops} of the log cannot be read: what they wrote is lost, what they removed may be back"
        report.losses.append(Loss("", None, "wal", None, None, None, None, message))
    return report


def _check_unmoved(storage: Storage, root: Root, name: str) -> None:
    """SnapshotTooOldError when a writer went on meanwhile: blocks that it reused would count as damaged."""
    if not root.agreed:
        return
    try:
        now = superblock_zone.read(storage, name).superblock.sequence
    except (DamageError, FormatError, FileError):
        return
    if now != root.superblocks[0].sequence:
        raise SnapshotTooOldError(f"{name}: a writer changed it while it was read; end that writer, then try again")


class _View(NamedTuple):
    """One state of the trees: the tables as of an op (None: now), and what lies over them."""

    snapshot: int | None
    memory: Memory


class _Salvage:
    """One run: reads the trees and writes them."""

    def __init__(
        self, grid: Grid, tables: Tables, log: Log, out: Database, report: SalvageReport, *, include_stale: bool
    ) -> None:
        self._grid = grid
        self._tables = tables
        self._log = log
        self._out = out
        self._report = report
        self._include_stale = include_stale
        self._holes: set[tuple[int, bytes]] = set()  # that are reported already
        self._chains: set[int] = set()  # addresses of the large values of one view: each belongs to one entry
        self._withheld = 0
        self._sources: dict[int, list[Source]] = {}
        self._compressions: dict[int, Compression] = {}  # by tree id, of the catalog that was read last
        for source in tables.sources:
            self._sources.setdefault(source.info.tree_id, []).append(source)

    def run(self) -> None:
        """Writes the committed state, then the changes of an open scope."""
        log = self._log
        open_scope = log.scope == ScopeState.DURABLE
        committed = _View(log.pinned if open_scope and log.pinned is not None else log.base, log.committed())
        names = self._names(committed)
        for tree_id, name in sorted(names.items()):
            self._withheld = 0
            writer = _Writer(self._tree_out(name, tree_id))
            for key, value in self._entries(committed, tree_id, name):
                writer.put(key, value)
            writer.flush()
            self._report.trees.append(TreeCount(name, writer.count, self._withheld))
        if open_scope:
            self._out.scope_begin()
            self._report.scope_changes = self._write_changes(names, _View(log.base, log.memory))

    def _tree_out(self, name: str, tree_id: int) -> Keyspace:
        """The tree of this name in the new file, created if it is missing, with the setting of the old one."""
        try:
            tree_out = self._out.tree(name)
        except TreeError:
            tree_out = self._out.create_tree(name)
        if codec_available():
            codec, levels = self._compressions.get(tree_id, COMPRESSION_NONE).names
            self._out.set_compression(name, codec, levels=levels)
        return tree_out

    # Reading.

    def _names(self, view: _View) -> dict[int, str]:
        """The trees of a view by id. A tree that the catalog does not have was dropped, if the catalog is whole."""
        losses_before, self._withheld = len(self._report.losses), 0
        self._compressions.clear()
        names, taken = {TREE_ID_MAIN: TREE_NAME_MAIN}, {TREE_NAME_MAIN}
        for key, value in self._entries(view, TREE_ID_CATALOG, "catalog"):
            try:
                field, name = composite_key.decode(key)
            except DamageError:
                continue
            if field == compression.FIELD:
                with suppress(DamageError):
                    self._compressions[int.from_bytes(name, "big")] = compression.unpacked(value)
            text = name.decode(errors="surrogateescape")
            tree_id = int.from_bytes(value, "little")
            usable = TREE_ID_MAIN < tree_id <= TREE_ID_MAX and 1 <= len(name) <= TREE_NAME_SIZE_MAX
            if field == FIELD_TREE and usable and text not in taken:
                names[tree_id] = text
                taken.add(text)
        certain = self._tables.exact and not self._log.lost and not self._withheld
        if not certain or len(self._report.losses) > losses_before:
            found = {source.info.tree_id for source in self._tables.sources if source.visible(view.snapshot)}
            for tree_id in sorted((found | set(view.memory)) - {TREE_ID_CATALOG} - set(names)):
                name_own = f"tree-{tree_id}"
                while name_own in taken:
                    name_own += "-salvaged"
                names[tree_id] = name_own
                note = f"the catalog does not tell the name of tree {tree_id}"
                if note not in self._report.notes:
                    self._report.notes.append(note)
        return names

    def _entries(self, view: _View, tree_id: int, tree: str) -> Iterator[tuple[bytes, bytes]]:
        """The entries of a tree in key order; what is lost of it goes into the report."""
        sources = [source for source in self._sources.get(tree_id, ()) if source.visible(view.snapshot)]
        for columns, doubtful, holes, guessed in merge_sources(self._grid, sources, view.memory.get(tree_id, {})):
            self._report.guessed += guessed
            for hole in holes:
                self._lose(tree, hole)
            for key, value, flag in zip(*columns, strict=True):
                if flag & FLAG_TOMBSTONE:
                    continue
                if key in doubtful and not self._include_stale:
                    self._withheld += 1
                elif flag & FLAG_LARGE:
                    loaded = self._load(tree, key, value)
                    if loaded is not None:
                        yield key, loaded
                else:
                    yield key, value

    def _load(self, tree: str, key: bytes, packed: bytes) -> bytes | None:
        """An out-of-line value; None when it is lost, which is reported."""
        reference = CHAIN_REFERENCE.unpack(packed)
        try:
            if reference.address in self._chains:
                raise DamageError("another entry holds this value", zone="large value", address=reference.address)
            self._chains.add(reference.address)
            return read_chain(self._grid, reference, BlockKind.LARGE)
        except (DamageError, FileError) as error:
            address = error.address if isinstance(error, DamageError) else None
            hole = Hole(key, key, 1, None, 0, "large value", address or reference.address, str(error))
            self._lose(tree, hole)
            return None

    def _lose(self, tree: str, hole: Hole) -> None:
        """Reports a hole, once."""
        if (hole.address, hole.key_min) not in self._holes:
            self._holes.add((hole.address, hole.key_min))
            self._report.losses.append(
                Loss(
                    tree,
                    hole.level,
                    hole.zone,
                    hole.address,
                    hole.key_min,
                    hole.key_max,
                    hole.entry_count,
                    hole.message,
                )
            )

    # The changes of an open scope.

    def _write_changes(self, names_before: dict[int, str], view: _View) -> int:
        """Makes the new file, whose scope was begun, what the view is; the number of changes."""
        names = self._names(view)
        self._chains.clear()
        changes = 0
        for tree_id, name in names_before.items():
            if tree_id not in names:
                self._out.drop_tree(name)
                changes += 1
        for tree_id, name in sorted(names.items()):
            tree_out = self._tree_out(name, tree_id)
            writer = _Writer(tree_out)
            losses_before = len(self._report.losses)
            self._withheld = 0
            for key, value in _differences(tree_out.scan(), self._entries(view, tree_id, name)):
                # A key that is missing where something was lost need not have been removed.
                if value is not None or (len(self._report.losses) == losses_before and not self._withheld):
                    writer.put(key, value)
            writer.flush()
            changes += writer.count
        return changes


class _Writer:
    """Puts entries into a tree of the new file, in lots."""

    def __init__(self, tree: Keyspace) -> None:
        self._tree = tree
        self._lot: list[tuple[bytes, bytes | None]] = []
        self._size = 0
        self.count = 0

    def put(self, key: bytes, value: bytes | None) -> None:
        """None removes the key."""
        self._lot.append((key, value))
        self._size += len(key) + len(value or b"") + _ENTRY_OVERHEAD
        if self._size >= _LOT_SIZE or len(self._lot) >= _LOT_ENTRIES:
            self.flush()

    def flush(self) -> None:
        """Writes what waits."""
        self._tree.write(self._lot)
        self.count += len(self._lot)
        self._lot = []
        self._size = 0


def _differences(
    before: Iterator[tuple[bytes, bytes]], after: Iterator[tuple[bytes, bytes]]
) -> Iterator[tuple[bytes, bytes | None]]:
    """What turns one sorted run of pairs into the other: puts, and None for keys to remove."""
    old, new = next(before, None), next(after, None)
    while old is not None or new is not None:
        if new is None or (old is not None and old[0] < new[0]):
            assert old is not None
            yield old[0], None
            old = next(before, None)
        elif old is None or new[0] < old[0]:
            yield new
            new = next(after, None)
        else:
            if old[1] != new[1]:
                yield new
            old, new = next(before, None), next(after, None)
