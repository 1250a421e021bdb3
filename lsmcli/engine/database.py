"""A database: one data file, opened for reading or for writing, with the interface for programs.

Invariants:
- one writer at a time, by a lock of the operating system; readers take no lock and write nothing;
- one lock of the process guards the forest: every method takes it, an iterator once for each chunk;
- a reader answers from one committed state; when a writer has reused what it reads, it opens the newest
  state and asks again, but never mixes two states in one answer;
- after an error that leaves memory and file apart (a failed write, an interrupt in the middle of one)
  every later call raises OutcomeUnknownError: reopening tells what was stored.
"""

import os
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from lsmcli.engine import catalog
from lsmcli.engine.block_chain import read_chain
from lsmcli.engine.block_codec import codec_required
from lsmcli.engine.changes import Changes
from lsmcli.engine.constants import (
    READER_RETRIES_MAX,
    TREE_ID_CATALOG,
    TREE_ID_MAIN,
    TREE_ID_MAX,
    TREE_NAME_MAIN,
    TREE_NAME_SIZE_MAX,
    WAL_REPLAY_SIZE_MAX,
)
from lsmcli.engine.data_file import DataFile
from lsmcli.engine.errors import (
    ClosedError,
    DamageError,
    FileError,
    LimitError,
    LsmError,
    SnapshotTooOldError,
    TreeError,
)
from lsmcli.engine.forest import Forest
from lsmcli.engine.guard import HANDLES_OPEN, BoundScope, Guard
from lsmcli.engine.keyspace import Keyspace
from lsmcli.engine.op_path import OpGate
from lsmcli.engine.pin import Pin
from lsmcli.engine.replay import follow
from lsmcli.engine.scan_steps import ScanSteps
from lsmcli.engine.schema import (
    CHAIN_REFERENCE,
    BlockKind,
    ScopeState,
)
from lsmcli.engine.scope import ScopeStatus
from lsmcli.engine.statistics import forest_stats, tree_levels
from lsmcli.engine.storage import FileStorage
from lsmcli.engine.tree import Tree
from lsmcli.engine.tree_name import canonical_name

if TYPE_CHECKING:
    from lsmcli.engine.bulk_load import BulkLoad, OnConflict
    from lsmcli.engine.compression import Compression
    from lsmcli.engine.full_compaction import CompactResult

T = TypeVar("T")

SyncMode = Literal["normal", "commit"]


class Database(Changes):
    """The main tree as a mapping, and everything that concerns the file as a whole. Use open_database().

    A context manager: close() at the end of the `with` block.
    """

    def __init__(
        self,
        storage: FileStorage,
        *,
        writable: bool,
        memory_size: int,
        cache_size: int,
        sync: SyncMode,
        committed: bool,
    ) -> None:
        super().__init__(self, TREE_ID_MAIN)
        self.path = storage.name
        self.read_only = not writable
        self._storage = storage
        self._memory_size = memory_size
        self._cache_size = cache_size
        self.sync_each = sync == "commit"
        self._committed = committed
        self.lock = OpGate()
        self.unusable = None
        self.abandoned: deque[ScanSteps] = deque()
        self._trees_known: dict[str, int] | None = None
        self.pins = 0
        self._half_read = False  # in a reader: an interrupt came while an op was applied
        self.forest = self.forest_open()
        self.block_size = self.forest.file.grid.block_size
        if writable:
            self._drop_orphans()
        HANDLES_OPEN.add(self)
        self.gate_update()

    # Opening and closing.

    def forest_open(self, before: DataFile | None = None) -> Forest:
        """Reads the file anew; `before`: as this handle saw it. A reader makes sure that no writer went on meanwhile,
        or tries again."""
        self._trees_known = None
        for _ in range(1 if not self.read_only else READER_RETRIES_MAX):
            file = DataFile(self._storage, cache_size=self._cache_size, writable=not self.read_only, name=self.path)
            forest = Forest(file, memory_size=self._memory_size, pid=os.getpid(), clock_s=time.time)
            if not self.read_only:
                forest.open(committed=False)
                return forest
            try:
                forest.open(committed=self._committed, before=before)
            except DamageError:
                if not file.superblock_moved():
                    raise
                continue
            # A log that was reused while it was read lacks its end. What it lacks was overwritten behind a superblock
            # that has synced it, and that is there by now: so an op that no superblock misses is new enough.
            if forest.op >= file.superblock_now().op_synced:
                return forest
        raise self.too_old()

    def forest_renew(self) -> None:
        """In a reader: opens the newest state instead of the present one."""
        self._lookups_end()
        self.forest = self.forest_open(self.forest.file)
        self._half_read = False

    def _lookups_end(self) -> None:
        """What keyspaces hold for quick lookups is of no more use; the next one of each asks read()."""
        for tree in self.forest.trees.values():
            tree.manifest.point_lookup.fresh = False

    def _trees_changed(self) -> None:
        """Trees may have come or gone."""
        self._trees_known = None
        self._lookups_end()

    def give_up(self, reason: LsmError) -> None:
        """Every later call raises this."""
        self.unusable = reason
        self.gate_update()
        self._lookups_end()

    def too_old(self) -> SnapshotTooOldError:
        return SnapshotTooOldError(f"{self.path}: a writer goes on faster than this can be read; try again")

    def refresh(self) -> None:
        """In a reading handle: goes to the newest committed state. A writing handle always is there."""
        with self.lock:
            self.usable()
            if self.read_only and not self._follow():
                self.forest_renew()

    def _follow(self) -> bool:
        """In a reader: goes on where its log ended. False when that cannot be done."""
        names = self.forest.tree(TREE_ID_CATALOG).table_mutable
        weight = names.weight
        try:
            return follow(self.forest)
        except DamageError:
            return False  # the file is read anew, and tells whether it is
        except BaseException:
            self._half_read = True
            raise
        finally:
            if self._half_read or names.weight != weight:
                self._trees_changed()

    def pinned(self) -> Pin:
        """A context manager: in its `with` block no scan of this handle fails because a writer went on.

        Meanwhile the file of a busy writer grows instead of using space again, so keep it short. Which state is read
        is decided at the beginning; `held` of what it gives is False where the system has no such locks.
        """
        return Pin(self)

    def close(self) -> None:
        """Syncs and closes. A bound scope that is open is discarded, a durable one stays open. Safe to call twice."""
        with self.lock:
            if isinstance(self.unusable, ClosedError):
                return
            unusable = self.unusable
            self.give_up(ClosedError(f"{self.path} is closed; open it again"))
            HANDLES_OPEN.discard(self)
            try:
                if unusable is None:
                    self.forest.close(replay_size_max=WAL_REPLAY_SIZE_MAX)
            finally:
                self._storage.close()

    def __enter__(self) -> "Database":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<lsmcli.Database {self.path!r}{' read-only' if self.read_only else ''}>"

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    def usable(self) -> Forest:
        """The forest, whole and up to date. Raises what makes it unusable."""
        if self.unusable is not None:
            raise self.unusable
        while self.abandoned:
            self.abandoned.pop().close()
        if self._half_read:
            self.forest_renew()
        return self.forest

    def after_fork(self) -> None:
        """In a forked child: the file and its lock belong to the parent."""
        self.lock = OpGate()
        self.give_up(ClosedError(f"{self.path} was opened before a fork; open it again in the child"))

    # What keyspaces ask.

    def read(self, tree_id: int, question: Callable[[Tree], T]) -> T:
        """Asks a tree; a reader whose state was overtaken asks the newest one. Raises DamageError."""
        with self.lock:
            self.usable()
            for _ in range(READER_RETRIES_MAX):
                self.tree_required(tree_id)
                forest = self.forest
                try:
                    return question(forest.tree(tree_id))
                except DamageError:
                    if not (self.read_only and forest.file.superblock_moved()):
                        raise
                self.forest_renew()
            raise self.too_old()

    def load(self, packed: bytes, forest: Forest | None = None) -> bytes:
        """The bytes of an out-of-line value, from its packed reference; forest: in which that was found, None for the
        present one. In a reader another scan may have gone on to a newer one, where the value need not be any more."""
        with self.lock:
            newest = self.usable()
            forest = newest if forest is None else forest
            try:
                return read_chain(forest.file.grid, CHAIN_REFERENCE.unpack(packed), BlockKind.LARGE)
            except DamageError:
                if self.read_only and forest.file.superblock_moved():
                    raise self.too_old() from None
                raise

    def delete_existing(self, tree_id: int, key: bytes) -> bool:
        """Removes a key if it is there, and tells whether it was."""
        with self.lock:
            if self.read(tree_id, lambda tree: tree.get(key)) is None:
                return False
            self.apply([(tree_id, key, None)])
            return True

    def scan_columns(
        self, tree_id: int, start: bytes | None, end: bytes | None, *, reverse: bool, entries_first: int
    ) -> ScanSteps:
        """The entries of a range as columns, chunk by chunk: the state of this moment. See Keyspace.scan."""
        with self.lock:
            self.usable()
            self.tree_required(tree_id)
            return ScanSteps(self, tree_id, start, end, reverse=reverse, entries_first=entries_first)

    def bulk_load(self, *, memory_size: int | None = None, on_conflict: "OnConflict" = "replace") -> "BulkLoad":
        """A context manager that takes any number of entries and stores all of them, durably, or none: see BulkLoad.

        memory_size: bytes that entries may weigh in memory (224 MiB). on_conflict: what becomes of keys that are there.
        """
        from lsmcli.engine.bulk_load import BulkLoad  # not when it is not asked for

        return BulkLoad(self, memory_size=memory_size, on_conflict=on_conflict)

    # Durability.

    def sync(self) -> None:
        """Makes every op so far survive a power failure. Raises OutcomeUnknownError."""
        with self.lock, Guard(self):
            self.writer().sync()

    def checkpoint(self) -> None:
        """Brings all entries in memory into tables and makes that durable, so that the next open is quick."""
        with self.lock, Guard(self):
            forest = self.writer()
            forest.flush()
            forest.checkpoint()

    def compact(self) -> "CompactResult":
        """Merges every tree down to one level, drops what deleted entries still take up, and shrinks the file."""
        from lsmcli.engine.full_compaction import compact

        with self.lock, Guard(self):
            return compact(self.writer())

    # Scopes.

    def scope(self) -> "BoundScope":
        """A context manager: what changes in its `with` block is kept, or undone after an exception.

        Bound to this process: if that dies in between, the next open undoes it. ScopeError when one is open.
        """
        return BoundScope(self)

    def scope_begin(self) -> None:
        """Begins a durable scope: it stays open, across processes, until it is persisted or discarded."""
        self.scope_begin_as(ScopeState.DURABLE)

    def scope_begin_as(self, state: ScopeState) -> None:
        with self.lock, Guard(self):
            forest = self.writer()
            forest.scope_begin(state)
            self._after_scope(forest)

    def scope_persist(self) -> None:
        """Keeps every change since the scope began. ScopeError when none is open."""
        with self.lock, Guard(self):
            forest = self.writer()
            forest.scope_persist()
            self._after_scope(forest)
            self._drop_orphans()

    def scope_discard(self) -> None:
        """Undoes every change since the scope began. ScopeError when none is open."""
        with self.lock, Guard(self):
            forest = self.writer()
            forest.scope_discard()
            self._after_scope(forest)

    def _after_scope(self, forest: Forest) -> None:
        self._trees_changed()
        if self.sync_each:
            forest.sync()

    def scope_status(self) -> ScopeStatus | None:
        """The open scope, or None."""
        with self.lock:
            scope = self.usable().scope
            return None if scope is None else scope.status()

    # Trees.

    def tree(self, name: str) -> Keyspace:
        """The tree of this name, with the same interface. TreeError when there is none."""
        with self.lock:
            return self if name == TREE_NAME_MAIN else Keyspace(self, self.tree_id(name))

    def tree_id(self, name: str) -> int:
        """The id of the tree of this name, as blocks and tables carry it. TreeError when there is none."""
        name = canonical_name(name)
        with self.lock:
            self.usable()
            tree_id = TREE_ID_MAIN if name == TREE_NAME_MAIN else self._catalog().get(name)
            if tree_id is None:
                raise TreeError(f"there is no tree {name!r} in {self.path}; create it first")
            return tree_id

    def trees(self) -> list[str]:
        """The names of all trees, "main" first, the others in order."""
        with self.lock:
            self.usable()
            return [TREE_NAME_MAIN, *sorted(self._catalog())]

    def create_tree(self, name: str, *, compression: str = "none", levels: str = "all") -> Keyspace:
        """A new, empty tree, compressed as set_compression() says. TreeError when the name is taken, LimitError when it
        cannot be a name, LibraryError when what compresses is not installed."""
        name = canonical_name(name)
        encoded = name.encode(errors="surrogateescape")
        if not 1 <= len(encoded) <= TREE_NAME_SIZE_MAX:
            raise LimitError(f"a tree's name has 1 to {TREE_NAME_SIZE_MAX} bytes, not {len(encoded)}")
        with self.lock:
            forest = self.writer()
            if name == TREE_NAME_MAIN or name in self._catalog():
                raise TreeError(f"there is a tree {name!r} in {self.path} already; choose another name")
            next_id = forest.tree(TREE_ID_CATALOG).get(catalog.KEY_NEXT_ID)
            tree_id = catalog.TREE_ID_FIRST if next_id is None else int.from_bytes(next_id, "little")
            tree_id = max(tree_id, catalog.TREE_ID_FIRST, *(known + 1 for known in self._catalog().values()))
            if tree_id > TREE_ID_MAX:
                raise LimitError(f"{self.path} has had {TREE_ID_MAX} trees; no more can be created in it")
            self.apply(
                [
                    (TREE_ID_CATALOG, catalog.key_of(name), tree_id.to_bytes(catalog.TREE_ID_SIZE, "little")),
                    (TREE_ID_CATALOG, catalog.KEY_NEXT_ID, (tree_id + 1).to_bytes(catalog.TREE_ID_SIZE + 1, "little")),
                    *self._compression_entries(tree_id, compression, levels),
                ]
            )
            self._trees_changed()
            return Keyspace(self, tree_id)

    def drop_tree(self, name: str) -> None:
        """Removes a tree with all its entries. TreeError when there is none, and for "main"."""
        name = canonical_name(name)
        with self.lock:
            self.writer()
            if name == TREE_NAME_MAIN:
                raise TreeError("the main tree cannot be dropped; delete its entries instead")
            if name not in self._catalog():
                raise TreeError(f"there is no tree {name!r} in {self.path}")
            tree_id = self._catalog()[name]
            entries = self._compression_entries(tree_id, "none", "all")
            self.apply([(TREE_ID_CATALOG, catalog.key_of(name), None), *entries])
            self._trees_changed()
            with Guard(self):
                self._drop_orphans()

    def compression(self, name: str = TREE_NAME_MAIN) -> "Compression":
        """What tables of a tree are written with. TreeError when there is none, DamageError."""
        from lsmcli.engine.compression import key_of, unpacked  # not for a lookup

        key = key_of(self.tree_id(name))
        return unpacked(self.read(TREE_ID_CATALOG, lambda tree: tree.get(key)))

    def set_compression(self, name: str, compression: str, *, levels: str = "all") -> None:
        """From now on tables of this tree are written with "zstd", or with "none"; levels "last": only those that are
        written to the deepest level in use. compact() writes the tables anew that are not so yet.

        TreeError when there is no such tree, LibraryError when what compresses is not installed.
        """
        tree_id = self.tree_id(name)
        with self.lock:
            self.writer()
            self.apply(self._compression_entries(tree_id, compression, levels))

    def _compression_entries(self, tree_id: int, codec: str, levels: str) -> list[tuple[int, bytes, bytes | None]]:
        """What has to be put into the catalog for a setting; nothing where it says so already."""
        from lsmcli.engine.compression import compression_named, key_of, packed

        setting = compression_named(codec, levels)
        if setting.codec:
            codec_required(self.path)
        key, value = key_of(tree_id), packed(setting)
        if self.forest.tree(TREE_ID_CATALOG).get(key) == value:
            return []
        return [(TREE_ID_CATALOG, key, value)]

    def _catalog(self) -> dict[str, int]:
        """Names and ids of all trees but the main one."""
        if self._trees_known is None:
            steps = self.scan_columns(TREE_ID_CATALOG, catalog.START, None, reverse=False, entries_first=64)
            self._trees_known = catalog.trees_of(steps)
        return self._trees_known

    def tree_required(self, tree_id: int) -> None:
        """TreeError when the tree of a handle was dropped since."""
        if tree_id > TREE_ID_MAIN and tree_id not in self._catalog().values():
            raise TreeError(f"this tree of {self.path} was dropped; open it again by name")

    def _drop_orphans(self) -> None:
        """Lets go of trees that the catalog no longer has; in a scope in memory only once it is persisted."""
        forest = self.forest
        if forest.scope is not None and not forest.scope.spilled:
            return
        others = [tree for tree_id, tree in forest.trees.items() if tree_id > TREE_ID_MAIN and not tree.empty]
        if others:
            try:
                known = set(self._catalog().values())
            except (DamageError, FileError):
                return  # nobody can tell which trees are orphans; those that can be read are served all the same
            for tree in others:
                if tree.config.id not in known:
                    forest.drop_tree(tree)

    # Looking inside.

    def levels(self) -> list[dict[str, Any]]:
        """For each tree: its levels, its memory tables, and where the bar stands. For people and programs."""
        with self.lock:
            forest = self.usable()
            names = {tree_id: name for name, tree_id in self._catalog().items()} | {TREE_ID_MAIN: TREE_NAME_MAIN}
            return [
                tree_levels(forest, forest.tree(tree_id), name, str(self.compression(name)))
                for tree_id, name in sorted(names.items())
            ]

    def stats(self) -> dict[str, Any]:
        """Counters and sizes of the file and of this handle: a flat mapping of names to numbers and texts."""
        with self.lock:
            forest = self.usable()
            return forest_stats(forest, tree_count=1 + len(self._catalog())) | {"path": self.path}
