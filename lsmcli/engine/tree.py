"""One tree: an ordered key space over two memory tables and seven levels of tables on disk.

Invariants:
- the newest version of a key is found first: mutable table, immutable table, level 0, 1, ... 6;
- key_range covers every key in visible tables, so that two comparisons rule out most keys that are not in
  memory; it only ever grows while the tree is open;
- between bars no level holds more than table_count_max_for_level tables;
- a scope is a log of old values on the mutable table; the mutable table is never swapped under it.

    put/remove ---> table_mutable --swap--> table_immutable --compact--> level 0 -> 1 -> ... -> 6
                         ^ scope log              (flushed or absorbed at the end of a bar)

The steps carry the names of the reference (TigerBeetle, src/lsm/tree.zig). Differences: keys and values
are bytes of any length, so values are plain dict entries; a lookup that needs storage is a generator
that yields the references it waits for; compaction jobs belong to the forest, which paces all trees.
"""

from collections.abc import Generator
from enum import IntEnum
from typing import Any, Final, Literal, NamedTuple

from lsmcli.engine import tree_lookup
from lsmcli.engine.block_chain import read_chain
from lsmcli.engine.block_merge import COMPILED
from lsmcli.engine.constants import LEVELS
from lsmcli.engine.errors import DamageError
from lsmcli.engine.grid import Grid
from lsmcli.engine.index_block import IndexBlock
from lsmcli.engine.lookup import TreeLookup
from lsmcli.engine.manifest import Manifest
from lsmcli.engine.missing import MISSING
from lsmcli.engine.op_path import OpTree
from lsmcli.engine.schema import BlockKind, BlockReference, ChainReference
from lsmcli.engine.table import check_index, check_value, damage_in_table, lookup
from lsmcli.engine.table_info import TableInfo
from lsmcli.engine.table_memory import TableMemory
from lsmcli.engine.value_block import ValueBlock

Value = bytes | ChainReference | None  # as stored: None is a tombstone

ScopeCloseMode = Literal["persist", "discard"]


class TreeConfig(NamedTuple):
    id: int  # stable, unique in the forest, never used again
    name: str


class LookupKind(IntEnum):
    NEGATIVE = 0  # the key is not there (or a tombstone was found)
    POSITIVE = 1  # the key is there, with its value
    POSSIBLE = 2  # undecided without reading blocks of `level` or deeper


class Lookup(NamedTuple):
    kind: LookupKind
    value: Value = None  # of POSITIVE
    level: int = 0  # of POSSIBLE


NEGATIVE: Final = Lookup(LookupKind.NEGATIVE)

# A lookup that waits for blocks: yields (reference, kind), is sent the decoded block, returns the value.
LookupSteps = Generator[tuple[BlockReference, BlockKind], Any, Any]


class Tree(OpTree):
    """See the module's docstring. Not safe for several threads by itself; the database locks."""

    table_mutable: TableMemory

    def __init__(self, config: TreeConfig, grid: Grid, manifest: Manifest) -> None:
        self.config = config
        self.grid = grid
        self.manifest = manifest
        self.reset()

    def reset(self) -> None:
        """Empty memory tables, no key range, no scope; the manifest is left as it is."""
        self.manifest.point_lookup.fresh = False
        self.table_mutable = TableMemory()
        self.table_immutable = TableMemory()
        self.immutable_bar = 0  # the bar in which the oldest entry of table_immutable was put
        self.key_min: bytes | None = None
        self.key_max = b""
        self._scope_log: dict[bytes, Any] | None = None

    def close(self) -> None:
        """Forgets all entries in memory; the file is the forest's to close."""
        self.reset()

    # Opening.

    def open_commence(self) -> None:
        """Before the manifest log is read: nothing is known yet."""
        assert self.key_min is None
        assert not self.table_mutable.entries

    def open_table(self, info: TableInfo) -> None:
        """One live table out of the manifest log. DamageError when it does not fit what is there."""
        self.manifest.open_table(info)

    def open_complete(self) -> None:
        """All tables are known: verifies the levels and takes over their key range."""
        self.manifest.open_complete()
        self.key_range_open()

    def key_range_open(self) -> None:
        """Widens the key range to that of the visible tables."""
        key_range = self.manifest.key_range()
        if key_range is not None:
            self.key_range_update(key_range[0])
            self.key_range_update(key_range[1])

    # Writing.

    def put(self, key: bytes, value: bytes | ChainReference) -> None:
        self.table_mutable.put(key, value)

    def remove(self, key: bytes) -> None:
        self.table_mutable.remove(key)

    def key_range_update(self, key: bytes) -> None:
        """Widens the key range so that it contains the key."""
        if self.key_min is None:
            self.key_min = self.key_max = key
        elif key < self.key_min:
            self.key_min = key
        elif key > self.key_max:
            self.key_max = key

    def key_range_contains(self, key: bytes) -> bool:
        """False: the key is surely in no table. True: it may be there."""
        return self.key_min is not None and self.key_min <= key <= self.key_max

    # Scopes.

    def scope_open(self) -> None:
        """From here on changes can be kept or undone as a whole. One scope at a time."""
        assert self._scope_log is None
        self._scope_log = self.table_mutable.observe()

    def scope_close(self, mode: ScopeCloseMode) -> None:
        """Keeps ("persist") or undoes ("discard") every change since scope_open()."""
        log = self._scope_log
        assert log is not None
        self._scope_log = None
        if mode == "persist":
            self.table_mutable.commit(log)
        else:
            self.table_mutable.restore(log)

    @property
    def scope_active(self) -> bool:
        return self._scope_log is not None

    def scope_spill(self, bar: int) -> None:
        """Parts the mutable table in two: what was before the scope becomes the immutable table (which
        must be empty), and what the scope changed stays. The log ends; a pinned snapshot takes over."""
        log = self._scope_log
        assert log is not None
        assert not self.table_immutable.entries
        self._scope_log = None
        self.manifest.point_lookup.fresh = False
        dropped = self.table_immutable.dropped_large  # no checkpoint has come since its flush
        self.table_immutable, self.table_mutable = self.table_mutable.split(log)
        self.table_immutable.dropped_large += dropped
        self.immutable_bar = bar

    def scope_unspill(self) -> None:
        """Takes scope_spill() back: the flush that was to follow it failed, in this tree or in another."""
        changed = self.table_mutable
        self.manifest.point_lookup.fresh = False
        self.table_mutable, self.table_immutable = self.table_immutable, TableMemory()
        self.table_mutable.dropped_large += changed.dropped_large
        weight = self.table_mutable.weight + changed.weight
        self._scope_log = self.table_mutable.observe()
        for key, value in changed.entries.items():
            if value is None:
                self.table_mutable.remove(key)
            else:
                self.table_mutable.put(key, value)
        self.table_mutable.weight = weight

    # Lookups.

    def lookup_from_memory(self, key: bytes) -> Any:
        """The stored value (None: tombstone), or MISSING when memory says nothing of the key."""
        value = self.table_mutable.entries.get(key, MISSING)
        if value is MISSING:
            value = self.table_immutable.entries.get(key, MISSING)
        return value

    def lookup_from_levels_cache(self, key: bytes) -> Lookup:
        """What the blocks in the cache tell of the key; reads nothing."""
        for level, manifest_level in enumerate(self.manifest.levels):
            info = manifest_level.table_for(key)
            if info is None:
                continue
            index = self.grid.cached(info.reference, BlockKind.INDEX)
            if index is None:
                return Lookup(LookupKind.POSSIBLE, None, level)
            try:
                check_index(info, index)
                found = self.cached_value_block_search(index, key)
            except DamageError as error:
                raise damage_in_table(error, info) from error
            if found is MISSING:
                continue
            if found is _NOT_CACHED:
                return Lookup(LookupKind.POSSIBLE, None, level)
            return NEGATIVE if found is None else Lookup(LookupKind.POSITIVE, found)
        return NEGATIVE

    def cached_value_block_search(self, index: IndexBlock, key: bytes) -> Any:
        """The stored value (None: tombstone) from a cached value block of this index, MISSING when the
        key is not in it, or the mark _NOT_CACHED when the block that may hold it is not cached."""
        block, candidates = index.search(key)
        if not candidates:
            return MISSING
        value_block: ValueBlock | None = self.grid.cached(index.references[block], BlockKind.VALUE)
        if value_block is None:
            return _NOT_CACHED
        check_value(index, block, value_block)
        for position in candidates:
            if value_block.key(position) == key:
                return value_block.value(position)
        return MISSING

    def lookup_from_levels_storage(self, key: bytes, level_min: int = 0) -> LookupSteps:
        """Looks on from a level: yields each reference it waits for, is sent the decoded block, and
        returns the stored value (None: tombstone) or MISSING. Many can run side by side."""
        for manifest_level in self.manifest.levels[level_min:]:
            info = manifest_level.table_for(key)
            if info is not None:
                found = yield from lookup(info, key)
                if found is not MISSING:
                    return found
        return MISSING

    def get(self, key: bytes) -> bytes | None:
        """The value, or None when the key is absent. Reads at most one index block and one value block
        of a level, and the chain of a large value. Raises DamageError."""
        value = self.lookup_from_memory(key)
        if value is MISSING:
            if not self.key_range_contains(key):
                return None
            value = tree_lookup.search(self.manifest, self.grid, key)
        return self.load(unwrap_tombstone(value))

    def lookup_ready(self, lock: Any) -> TreeLookup:
        """What answers get() without a step of ours, up to date; `lock` guards the tree. See lookup.py."""
        return tree_lookup.load(self.manifest, self.grid, self.table_mutable, self.table_immutable, lock)

    def _step(self, steps: LookupSteps, reference: BlockReference, kind: BlockKind) -> tuple[BlockReference, BlockKind]:
        """Gives a lookup the block that it waits for, or the damage, to which it adds the table's place."""
        try:
            block = self.grid.block(reference, kind, DECODERS[kind])
        except DamageError as error:
            return steps.throw(error)
        return steps.send(block)

    def get_many(self, keys: list[bytes]) -> list[bytes | None]:
        """The values of keys, None where absent, in their order."""
        values = [self.load(value) for value in self.lookup_many(keys)]
        for key in keys:
            if self.lookup_from_memory(key) is MISSING:
                tree_lookup.search(self.manifest, self.grid, key)  # leaves what was read at hand
        return values

    def lookup_many(self, keys: list[bytes]) -> list[Value]:
        """The stored values of keys, None where absent, in their order. Lookups that wait for blocks run side by
        side: each round asks for all blocks at once, then reads them in address order."""
        values: list[Any] = [MISSING] * len(keys)
        waiting: list[tuple[int, LookupSteps, BlockReference, BlockKind]] = []
        for i, key in enumerate(keys):
            values[i] = self.lookup_from_memory(key)
            if values[i] is MISSING and self.key_range_contains(key):
                found = self.lookup_from_levels_cache(key)
                if found.kind is LookupKind.POSSIBLE:
                    steps = self.lookup_from_levels_storage(key, found.level)
                    reference, kind = next(steps)
                    waiting.append((i, steps, reference, kind))
                else:
                    values[i] = found.value
        while waiting:
            waiting.sort(key=_address_of)
            self.grid.prefetch([reference for _, _, reference, _ in waiting])
            still = []
            for i, steps, reference, kind in waiting:
                try:
                    reference, kind = self._step(steps, reference, kind)
                    still.append((i, steps, reference, kind))
                except StopIteration as stop:
                    values[i] = stop.value
            waiting = still
        return [unwrap_tombstone(value) for value in values]

    def load(self, value: bytes | ChainReference | None) -> bytes | None:
        """The bytes of a stored value: reads the chain of one that is out of line."""
        if type(value) is ChainReference:
            return read_chain(self.grid, value, BlockKind.LARGE)
        return value  # type: ignore[return-value]  # the type test above is exact, for speed

    # Compaction.

    def compact(self) -> None:
        """The end of a beat: sorts what was put since the last one. Compiled code need not: the flush sorts then."""
        if not COMPILED:
            self.table_mutable.sort_suffix()

    def swap_mutable_and_immutable(self, bar: int) -> None:
        """The end of a bar: the mutable table becomes the immutable one or, when that still waits to be
        flushed, is absorbed into it. `bar` is the one that ends."""
        assert self._scope_log is None
        self.manifest.point_lookup.fresh = False
        mutable = self.table_mutable
        if self.table_immutable.entries:
            self.table_immutable = self.table_immutable.absorb(mutable)
        else:
            mutable.dropped_large += self.table_immutable.dropped_large
            self.table_immutable = mutable
            self.immutable_bar = bar
        self.table_mutable = TableMemory()

    def immutable_flushed(self) -> TableMemory:
        """The immutable table is on disk now; returns it. Values overwritten in it are still to be released."""
        self.manifest.point_lookup.fresh = False
        flushed, self.table_immutable = self.table_immutable, TableMemory()
        self.table_mutable.dropped_large += flushed.dropped_large
        self.key_range_open()
        return flushed

    def assert_between_bars(self) -> None:
        """No level is over its count of tables."""
        self.manifest.assert_level_table_counts()

    @property
    def empty(self) -> bool:
        """True when neither memory nor any table holds an entry of this tree."""
        return not (
            self.table_mutable.entries
            or self.table_immutable.entries
            or any(self.manifest.levels[level].count for level in range(LEVELS))
        )


def unwrap_tombstone(value: Any) -> bytes | ChainReference | None:
    """None for a tombstone and for MISSING, which users cannot tell apart; else the value."""
    return None if value is MISSING else value


class _NotCached:
    """The mark that a block which may hold the key is not in the cache."""


_NOT_CACHED: Final = _NotCached()

DECODERS: Final[dict[BlockKind, Any]] = {BlockKind.INDEX: IndexBlock, BlockKind.VALUE: ValueBlock}


def _address_of(waiting: tuple[int, LookupSteps, BlockReference, BlockKind]) -> int:
    return waiting[2].address
