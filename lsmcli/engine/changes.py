"""The changing half of a database: how puts and removes become ops of the forest, by the shortest way that will do.

    put, delete     of the main tree ---- the gate ----> OpForest.put_quick()          almost always
                       |                    '-- shut, no room, ... -------.
                       '-- of another tree ------------------------------> apply_one()
    put_many, write, batch, delete_range --> columns --> apply_columns()
    values out of line, several trees ----------------> apply()

Invariants:
- every change is made with the lock held, and with what a Guard stands for around it;
- the gate is open only while a put has nothing to do but itself: the handle writes and is usable, nobody
  observes it, and no op waits for a sync.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lsmcli.engine import op_path
from lsmcli.engine.block_chain import release_chain
from lsmcli.engine.errors import LsmError, ReadOnlyError
from lsmcli.engine.forest import Entry, Forest
from lsmcli.engine.guard import Guard, give_up_after
from lsmcli.engine.keyspace import Keyspace
from lsmcli.engine.large_values import write_large
from lsmcli.engine.op_columns import OpColumns
from lsmcli.engine.op_path import OpGate
from lsmcli.engine.schema import CHAIN_REFERENCE, WAL_ENTRY, BlockKind, ChainReference
from lsmcli.engine.wal_entry import encode_entries


class Changes(Keyspace):
    """What a Database inherits; it sets the attributes, and says what is usable."""

    path: str
    read_only: bool
    sync_each: bool  # every op is synced before its call returns
    lock: OpGate
    forest: Forest
    unusable: LsmError | None  # what every call raises from now on
    _observer: Callable[[list[Entry] | None], None] | None = None

    if TYPE_CHECKING:

        def usable(self) -> Forest: ...
        def tree_required(self, tree_id: int) -> None: ...
        def give_up(self, reason: LsmError) -> None: ...

    @property
    def observer(self) -> Callable[[list[Entry] | None], None] | None:
        """Is told what an op is about to change; None for one that changes more than could be told."""
        return self._observer

    @observer.setter
    def observer(self, observer: Callable[[list[Entry] | None], None] | None) -> None:
        self._observer = observer
        self.gate_update()

    def gate_update(self) -> None:
        """Puts may go the short way as long as nobody asks for more than the op itself."""
        plain = not (self.read_only or self.sync_each or self.unusable or self._observer)
        self.lock.forest = self.forest if plain else None

    def writer(self) -> Forest:
        forest = self.usable()
        if self.read_only:
            raise ReadOnlyError(f"{self.path} is open for reading only; open it for writing")
        return forest

    put_slowly, delete_slowly = Keyspace.put, Keyspace.delete
    if not TYPE_CHECKING:
        put, delete = op_path.put, op_path.delete

    def apply(self, entries: list[Any]) -> None:
        """One atomic op of checked entries (tree id, key, value or None), synced in mode "commit"."""
        if not entries:
            return
        with self.lock:
            forest = self.writer()
            for tree_id in {tree_id for tree_id, _, _ in entries}:
                self.tree_required(tree_id)
            if self.observer is not None:
                self.observer(entries)
            inline_max = forest.value_inline_max
            if all(value is None or len(value) <= inline_max for _, _, value in entries):
                body = encode_entries(entries)
                with Guard(self):
                    forest.prepare(len(body))
                    forest.write(entries, body)
            else:
                self._write_large(forest, entries)
            if self.sync_each:
                with Guard(self):
                    forest.sync()

    def apply_one(self, tree_id: int, key: bytes, value: bytes | None) -> None:
        """apply() of one entry, with all that may have to be done before it."""
        with self.lock:
            forest = self.writer()
            self.tree_required(tree_id)
            if value is not None and len(value) > forest.value_inline_max:
                self.apply([(tree_id, key, value)])
                return
            if self.observer is not None:
                self.observer([(tree_id, key, value)])
            size = len(key) + len(value or b"")
            try:
                forest.tree(tree_id)
                forest.prepare(size + WAL_ENTRY.size)
                forest.write_columns(tree_id, [key], [value], size)
                if self.sync_each:
                    forest.sync()
            except BaseException as error:
                give_up_after(self, error)
                raise

    def apply_columns(self, tree_id: int, columns: OpColumns) -> None:
        """apply() of the checked entries of one tree."""
        keys, values = columns.keys, columns.values
        if columns.large:
            self.apply([(tree_id, key, value) for key, value in zip(keys, values, strict=True)])
            return
        if not keys:
            return
        with self.lock:
            forest = self.writer()
            self.tree_required(tree_id)
            if self.observer is not None:
                self.observer([(tree_id, key, value) for key, value in zip(keys, values, strict=True)])
            with Guard(self):
                forest.tree(tree_id)
                forest.prepare(columns.size + WAL_ENTRY.size * len(keys))
                forest.write_columns(tree_id, keys, values, columns.size)
                if self.sync_each:
                    forest.sync()

    def _write_large(self, forest: Forest, entries: list[Any]) -> None:
        """apply() with values that are stored out of line: their blocks first, then the op that refers to them."""
        inline_max = forest.value_inline_max
        chains: list[ChainReference] = []
        with Guard(self):
            sizes = (len(key) + min(len(value or b""), inline_max) + WAL_ENTRY.size for _, key, value in entries)
            forest.prepare(sum(sizes) + CHAIN_REFERENCE.size * len(entries))
            stored: list[Entry] = []
            try:
                for tree_id, key, value in entries:
                    if value is not None and len(value) > inline_max:
                        chains.append(write_large(forest.file, tree_id, value, op=forest.op + 1))
                        stored.append((tree_id, key, chains[-1]))
                    else:
                        stored.append((tree_id, key, value))
                forest.write(stored, encode_entries(stored))
            except LsmError:
                for chain in chains:
                    release_chain(forest.file.grid, chain, BlockKind.LARGE)
                raise
