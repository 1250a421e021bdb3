"""The trees of one data file: ops, scopes, bars, checkpoints.

Invariants:
- an op is in the WAL before it is in a memory table; replaying the WAL behind the checkpoint gives the
  same trees again;
- all trees share the bar: it is full when the entries put since its start weigh memory_size;
- a scope that fits in memory never spans the end of a bar: there it is spilled;
- an out-of-line value is released only when its op is at or below the checkpoint's op, so that a
  replay never finds its blocks in other use;
- a table is released only when no pinned snapshot can see it.

The end of a bar:

    bar.complete()      compaction that is due; the immutable tables are flushed to level 0
    swap                mutable tables become immutable, or are absorbed
    checkpoint          everything before the oldest entry in memory leaves the WAL; in stages, beside the puts
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

from lsmcli.engine import wal_ring
from lsmcli.engine.bar import Bar
from lsmcli.engine.checkpoint import checkpoint_stages
from lsmcli.engine.checkpoint_pace import LOOKS_PER_BAR, CheckpointPace
from lsmcli.engine.compaction_context import CompactionContext
from lsmcli.engine.constants import (
    BEATS_PER_BAR,
    ENTRY_WEIGHT,
    MIB,
    SNAPSHOT_LATEST,
    TREE_ID_CATALOG,
    TREE_ID_MAIN,
    TREE_NAME_MAIN,
    key_size_max_for,
    time_stored,
    value_inline_max_for,
)
from lsmcli.engine.data_file import DataFile
from lsmcli.engine.errors import DamageError, LsmError, NoSpaceError, ScopeError
from lsmcli.engine.large_values import LargeValues
from lsmcli.engine.manifest import Manifest
from lsmcli.engine.op_path import OpForest
from lsmcli.engine.replay import replay
from lsmcli.engine.schema import WAL_SCOPE_BEGIN, ChainReference, ScopeState, WalRecordKind, WalScopeBegin
from lsmcli.engine.scope import Mark, Scope
from lsmcli.engine.tree import Tree, TreeConfig, Value
from lsmcli.engine.wal import WalPosition
from lsmcli.engine.wal_recovery import Recovery
from lsmcli.engine.whole_tree import drop_tree_entries, take_back_tree

if TYPE_CHECKING:
    from lsmcli.engine.compression import Compression

Entry = tuple[int, bytes, Value]  # tree id, key, value as stored

_TREE_NAMES: Final = {TREE_ID_CATALOG: "catalog", TREE_ID_MAIN: TREE_NAME_MAIN}

# Immutable tables that weigh less than this share of a bar are absorbed once, not flushed.
_ABSORB_SHARE: Final = 8

# Between two jobs a checkpoint is made when this much space waits for it, so that the file stays small.
_RELEASED_SIZE_MAX: Final = 32 * MIB


class Forest(OpForest):
    """All trees of an open file; the database locks. pid and clock_s go into a scope's begin record."""

    trees: dict[int, Tree]
    bar: Bar
    scope: Scope | None

    def __init__(self, file: DataFile, *, memory_size: int, pid: int, clock_s: Callable[[], float]) -> None:
        self.file = file
        self.memory_size = memory_size
        self.trees = {}
        self.log = None
        self.scope = None
        self.recovery: Recovery | None = None  # in a reader: how far the log was read, if it may go on from there
        self.key_size_max = key_size_max_for(file.grid.block_size)
        self.value_inline_max = value_inline_max_for(file.grid.block_size)
        self.op = file.superblock.op_checkpoint
        self.bytes_put = file.superblock.bytes_put
        self.scans_open = 0
        self.large_values = LargeValues(file.grid, file.manifest_log)
        self.bar = self.bar_new(1)
        self._pid = pid
        self._clock_s = clock_s
        self._contexts: dict[int, CompactionContext] = {}
        self.marks: dict[int, Mark] = {}  # by number of the bar
        self.compaction_error: LsmError | None = None
        self._flush_all = False
        self._pace = CheckpointPace(file.storage, partial(checkpoint_stages, self, keep_free=True))
        self._quarantine_size = 0  # bytes that waited for the next but one checkpoint, at the last one

    # Opening and closing.

    def open(self, *, committed: bool, before: DataFile | None = None) -> None:
        """Reads the manifest and replays the WAL. In a writer a bound scope whose process died is discarded;
        a reader leaves out what is in such a scope and, with committed=True, in a durable one. before: what it saw.

        Raises DamageError.
        """
        sb = self.file.superblock
        for info in self.file.tables():
            if info.block_count == 0:
                self.large_values.open_kept(info)
            else:
                self.tree(info.tree_id).open_table(info)
        for tree in self.trees.values():
            tree.open_complete()
        if sb.scope_state != ScopeState.NONE:
            self.scope = Scope.spilled_from(sb)
        recovery = self.file.recovery(before)
        self.marks[1] = Mark(recovery.start, self.bytes_put, self.scope.changes if self.scope else 0)
        replay(self, recovery.steps(self.key_size_max, self.value_inline_max))
        self.op = recovery.tail.op
        if self.file.writable:
            self.file.attach_wal(recovery)
            self.log = self.file.wal
            if self.scope is not None and self.scope.state is ScopeState.BOUND:
                self.scope_discard()
            if not self.bar.full:
                self.bar.fill_next = self.bar.fill + 1  # a process with a single op has nothing to do with compaction
            return
        self.file.follow(recovery)
        if self.scope is None:
            self.recovery = recovery
        elif committed or self.scope.state is ScopeState.BOUND:
            self.scope_undo()

    def close(self, *, replay_size_max: int) -> None:
        """Syncs, and flushes when the next open would have more than replay_size_max bytes to replay."""
        if self.file.writable:
            from lsmcli.engine.closing import close_writer

            close_writer(self, replay_size_max)

    # Trees.

    def tree(self, tree_id: int) -> Tree:
        """The tree of this id, empty when it has no entries yet."""
        tree = self.trees.get(tree_id)
        if tree is None:
            manifest = Manifest(tree_id, self.file.manifest_log, self.file.superblock.growth_factor)
            tree = Tree(TreeConfig(tree_id, _TREE_NAMES.get(tree_id, str(tree_id))), self.file.grid, manifest)
            tree.open_commence()
            if self.scope is not None and not self.scope.spilled:
                tree.scope_open()
            self.trees[tree_id] = tree
            self._contexts[tree_id] = CompactionContext(
                manifest,
                self.file.grid,
                snapshot_min=self._snapshot_min,
                pinned=self._pinned,
                drop_large=self._drop_large,
                compression=self.compression_of,
            )
        return tree

    def drop_tree(self, tree: Tree) -> None:
        """Lets go of all entries of a tree that the catalog no longer has. Kept for a pinned snapshot."""
        assert self.scope is None or self.scope.spilled
        self.finish_jobs()
        drop_tree_entries(tree, self._contexts[tree.config.id], self.large_values)

    # Writing.

    def prepare(self, body_size: int) -> None:
        """Before an op: does the compaction that is due and makes room in the WAL for a body of this size.

        Raises NoSpaceError, LimitError; nothing of the op has happened then.
        """
        if self.bar.fill >= self.bar.fill_next:
            self.advance()
        if not self.file.wal.fits(body_size):
            wal_ring.make_room(self, body_size)

    def write(self, entries: list[Entry], body: bytes) -> int:
        """One atomic op, its body encoded and prepared for; returns its number. It survives kill -9 from
        here on, and a power failure after sync(). Raises OutcomeUnknownError when the write failed."""
        self.op = self.file.wal.append_op(body, len(entries))
        self.apply(entries)
        return self.op

    def apply(self, entries: list[Entry]) -> None:
        """The effect of an op record: its entries go into the memory tables."""
        trees = self.trees
        size = 0
        for tree_id, key, value in entries:
            tree = trees.get(tree_id) or self.tree(tree_id)
            if value is None:
                tree.remove(key)
                size += len(key)
            else:
                tree.put(key, value)
                size += len(key) + (value.size if isinstance(value, ChainReference) else len(value))
        self.bytes_put += size
        self.bar.fill += size + ENTRY_WEIGHT * len(entries)
        if self.scope is not None:
            self.scope.changes += len(entries)

    def sync(self) -> None:
        """Makes every op so far durable. OutcomeUnknownError when that fails."""
        wal = self.file.wal
        if wal.op_synced != wal.op:
            self.file.storage.check_identity()
            wal.sync()

    # Bars and checkpoints.

    def bar_new(self, number: int) -> Bar:
        return Bar(number, self.memory_size, half_start=self._half_start, beat_end=self._beat_end)

    def jobs(self) -> list[tuple[Tree, CompactionContext]]:
        """Every tree with what its compaction needs."""
        return [(tree, self._contexts[tree_id]) for tree_id, tree in sorted(self.trees.items())]

    def _half_start(self, half: int) -> tuple[Iterator[int], int]:
        from lsmcli.engine.compaction_plan import half_bar  # not for a one-shot get

        return half_bar(self.jobs(), half, flushes=self._flushes, job_end=self.job_end)

    def _beat_end(self) -> None:
        for tree in self.trees.values():
            tree.compact()

    def _flushes(self, tree: Tree) -> bool:
        """Whether the immutable table is flushed in this bar. All trees do or none does: a replay then never
        meets an op of one tree that is in its tables already. Little, and young, may wait to be absorbed."""
        young = self.oldest_bar() >= self.bar.number - 1
        weight = sum(each.table_immutable.weight for each in self.trees.values())
        waits = young and not self._flush_all and weight < self.memory_size // _ABSORB_SHARE
        return bool(tree.table_immutable.entries) and not waits

    def job_end(self) -> Iterator[int]:
        """Between two jobs: a checkpoint, when enough space waits for one and little is left to sync; a step for each
        look whether it is time. At the end of a bar there is one anyway, for which no put waits."""
        if self.bar.full and not self._flush_all:
            return
        if self._released_size() > _RELEASED_SIZE_MAX + self._quarantine_size:
            self._pace.want()
            if not self._pace.near():
                return
            while self._pace.waiting and not self._pace.look():
                yield 1

    def _released_size(self) -> int:
        """Bytes of the file that wait for a checkpoint to be free."""
        grid = self.file.grid
        return 0 if grid.free_set is None else grid.free_set.count_released * grid.block_size

    def advance(self) -> None:
        """Does the compaction that is due; ends the bar when it is full.

        When a job meets a full disk or damage, writing goes on as long as memory and the WAL have room, and the
        error is raised only then: a delete must be possible on a full disk.
        """
        bar = self.bar
        self.file.wal.read_ahead(self.memory_size * 2 // BEATS_PER_BAR)
        try:
            if self._pace.under_way or (self._pace.waiting and not bar.working and not bar.full):
                self._checkpoint_soon()
            elif not bar.full:
                bar.advance()
            elif self.scope is not None and not self.scope.spilled:
                self._spill()
            else:
                self._bar_end()
                self._pace.want()
                self._checkpoint_soon()
            self.compaction_error = None
        except (NoSpaceError, DamageError) as error:
            self.compaction_error = error
            self.bar.fill_next = self.bar.fill + max(1, self.memory_size // BEATS_PER_BAR)

    def _checkpoint_soon(self) -> None:
        """The checkpoint that is wanted, stage by stage. All else waits until it is made, the end of a bar too."""
        if not self._pace.look():
            self.bar.fill_next = self.bar.fill + self.memory_size // LOOKS_PER_BAR

    def _bar_end(self) -> None:
        """Completes the bar, swaps the memory tables and begins the next one."""
        self.bar_complete()
        for tree in self.trees.values():
            tree.assert_between_bars()
        self._swap()

    def _swap(self) -> None:
        """The mutable tables become the immutable ones, or are absorbed by them, and the next bar begins."""
        for tree in self.trees.values():
            tree.swap_mutable_and_immutable(self.bar.number)
        self.bar = self.bar_new(self.bar.number + 1)
        changes = self.scope.changes if self.scope else 0
        self.marks[self.bar.number] = Mark(self.file.wal.tail, self.bytes_put, changes)

    def flush(self) -> None:
        """Brings all entries in memory into tables, both memory tables of a tree as one: two flushes would write most
        of level 1 twice. An open scope that was in memory is spilled."""
        if self.scope is not None and not self.scope.spilled:
            self._spill()
        self.finish_checkpoint()
        with self.flushing_all():
            if any(tree.table_immutable.entries for tree in self.trees.values()):
                self.bar.abandon()
                self._swap()
            while any(tree.table_mutable.entries or tree.table_immutable.entries for tree in self.trees.values()):
                self._bar_end()

    def checkpoint(self, *, keep_free: bool = True) -> None:
        """Makes the present state durable, and space that it does not need reusable.

        What is in memory stays in the WAL. Raises NoSpaceError, OutcomeUnknownError.
        """
        self.finish_jobs()
        self._pace.make(checkpoint_stages(self, keep_free=keep_free))

    def finish_checkpoint(self) -> None:
        """Makes the checkpoint that is under way, if there is one: before a change that is not a put."""
        self._pace.finish()

    def checkpoint_made(self) -> None:
        """There was a checkpoint: what is before it is over."""
        self._quarantine_size = self._released_size()
        oldest = self.oldest_bar()
        for number in [number for number in self.marks if number < oldest]:
            del self.marks[number]

    def finish_jobs(self) -> None:
        """Ends the job under way, done or undone: its blocks must not be taken for used by a checkpoint. One that is
        under way is made."""
        self.finish_checkpoint()
        try:
            self.bar.finish_jobs()
        except (NoSpaceError, DamageError) as error:
            self.compaction_error = error

    def truncate(self) -> None:
        """Checkpoints until everything released is free, and cuts the free end off the file."""
        self.checkpoint(keep_free=False)
        self.checkpoint(keep_free=False)
        if not self.scans_open:
            self.file.shrink()

    def oldest_bar(self) -> int:
        """The bar in which the oldest entry in memory was put."""
        bars = [tree.immutable_bar for tree in self.trees.values() if tree.table_immutable.entries]
        return min([*bars, self.bar.number])

    def start_mark(self) -> Mark:
        """Where a replay has to begin."""
        scope = self.scope
        if any(tree.table_mutable.entries or tree.table_immutable.entries for tree in self.trees.values()):
            return self.marks[self.oldest_bar()]
        if scope is not None and not scope.spilled:
            return self.marks[self.bar.number]
        return Mark(self.file.wal.tail, self.bytes_put, scope.changes if scope else 0)

    # Scopes.

    def scope_begin(self, state: ScopeState) -> None:
        """Begins a scope. ScopeError when one is open."""
        if self.scope is not None:
            raise ScopeError("a scope is open already; persist or discard it first")
        began_s = time_stored(self._clock_s())
        body = WAL_SCOPE_BEGIN.pack(WalScopeBegin(state, 0, 0, self._pid, began_s))
        self._append(WalRecordKind.SCOPE_BEGIN, body)
        self.scope_opened(state, self.op, began_s, self.file.wal.tail)

    def scope_opened(self, state: ScopeState, op: int, began_s: int, after: WalPosition) -> None:
        """The effect of a begin record, the one before this position."""
        self.scope = Scope(state, op, began_s, after=after, spilled=False, bytes_put=self.bytes_put)
        for tree in self.trees.values():
            tree.scope_open()

    def scope_persist(self) -> None:
        """Keeps what changed since scope_begin(). ScopeError when no scope is open."""
        scope = self.scope_required()
        self.finish_jobs()
        self._append(WalRecordKind.SCOPE_PERSIST)
        self.scope_keep()
        if scope.spilled:
            self._checkpoint_later()

    def scope_discard(self) -> None:
        """Undoes what changed since scope_begin(). ScopeError when no scope is open."""
        scope = self.scope_required()
        self.finish_checkpoint()
        self._append(WalRecordKind.SCOPE_DISCARD)
        if scope.spilled:
            self.bar.abandon()
        self.scope_undo()
        if scope.spilled:
            self.bar = self.bar_new(self.bar.number + 1)
            self.marks[self.bar.number] = Mark(self.file.wal.tail, self.bytes_put, 0)
            self._checkpoint_later()

    def _checkpoint_later(self) -> None:
        """A checkpoint that is good to have now, but that the next one makes up for."""
        try:
            self.checkpoint()
        except NoSpaceError as error:
            self.compaction_error = error

    def scope_required(self) -> Scope:
        if self.scope is None:
            raise ScopeError("no scope is open; begin one first")
        return self.scope

    def _append(self, kind: WalRecordKind, body: bytes = b"") -> None:
        if not self.file.wal.fits(len(body)):
            wal_ring.make_room(self, len(body))
        self.op = self.file.wal.append(kind, body)

    def scope_keep(self) -> None:
        """The effect of a persist record."""
        scope, self.scope = self.scope_required(), None
        if not scope.spilled:
            for tree in self.trees.values():
                tree.scope_close("persist")
            return
        for tree_id, tree in self.trees.items():
            kept = [info for info in tree.manifest.tables() if info.snapshot_max != SNAPSHOT_LATEST]
            self._contexts[tree_id].tables_remove(kept, SNAPSHOT_LATEST)
        self.large_values.unpin()

    def scope_undo(self) -> None:
        """The effect of a discard record; in a reader it stays in memory."""
        scope, self.scope = self.scope_required(), None
        if not scope.spilled:
            for tree in self.trees.values():
                tree.scope_close("discard")
            return
        for tree in self.trees.values():
            tree.manifest.view(scope.op_begin)  # disjoint, or DamageError before anything is changed
        for tree_id, tree in self.trees.items():
            take_back_tree(tree, self._contexts[tree_id], self.large_values, scope.op_begin)
        self.large_values.revive()

    def _spill(self) -> None:
        """The scope has outgrown memory. Raises NoSpaceError, with the scope as it was."""
        from lsmcli.engine.spill import spill

        spill(self)
        self._checkpoint_later()

    @contextmanager
    def flushing_all(self) -> Iterator[None]:
        """In its `with` block no memory table is too small or too young to be flushed."""
        self._flush_all = True
        try:
            yield
        finally:
            self._flush_all = False

    def bar_complete(self) -> None:
        """Does all work of the bar, and brings every level down to its count."""
        from lsmcli.engine.compaction_plan import settle

        self.finish_checkpoint()
        self.bar.complete()
        for _ in settle(self.jobs(), self.job_end):
            pass

    # What compaction asks.

    def compression_of(self, tree_id: int) -> "Compression":
        from lsmcli.engine.compression import COMPRESSION_NONE, compression_of  # not for a lookup

        catalog = self.trees.get(TREE_ID_CATALOG)  # none is made: this may be in the middle of a spill
        return COMPRESSION_NONE if catalog is None else compression_of(catalog.get, tree_id)

    def _snapshot_min(self) -> int:
        """The first op at which a table that is written now is visible. A scope in memory may yet pin the
        snapshot of its beginning, and everything that is in tables by then belongs to it."""
        if self.scope is not None and not self.scope.spilled:
            return self.scope.op_begin
        return self.op + 1

    def _pinned(self, snapshot_min: int, snapshot_max: int) -> bool:
        """Whether a pinned snapshot lies in this range, both ends inclusive."""
        scope = self.scope
        return scope is not None and scope.spilled and snapshot_min <= scope.op_begin <= snapshot_max

    def _drop_large(self, tree_id: int, op: int, chain: ChainReference) -> None:
        """No table holds this value after `op`."""
        if self._pinned(chain.op, op):
            self.large_values.keep(tree_id, op, chain)
        else:
            self.large_values.drop([chain])
