"""A bulk load: any number of entries become part of the file as a whole, or not at all.

Invariants:
- until the `with` block has ended without an exception nobody sees anything of the load, and a crash leaves nothing;
- of entries with one key the one that was added last counts;
- memory is bounded by memory_size, whatever is added;
- after an error in add() the load can only be given up;
- the blocks that it has written are free again when it is given up (bulk_space).

    add ──> memory ──> tables, as long as keys ascend  ──┐   end of the block
                └────> sorted runs in scratch files    ──┴──> bulk_install: merged, straight to tables, one checkpoint
                                                         └──> bulk_puts: as ops; little into much, and inside of scopes
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from lsmcli.engine import bulk_install
from lsmcli.engine.bulk_merge import Counts, OnConflict
from lsmcli.engine.bulk_puts import PUTS_SIZE_MAX, put_loads
from lsmcli.engine.bulk_space import BulkSpace
from lsmcli.engine.bulk_tree import TreeLoad
from lsmcli.engine.columns import Columns
from lsmcli.engine.constants import (
    KEY_SIZE_MIN,
    KIB,
    MIB,
    TREE_ID_CATALOG,
    VALUE_SIZE_MAX,
    key_size_max_for,
    value_inline_max_for,
)
from lsmcli.engine.entry_pack import measure_entries
from lsmcli.engine.errors import LimitError, StateError, TreeError
from lsmcli.engine.forest import Forest
from lsmcli.engine.guard import Guard
from lsmcli.engine.schema import CHAIN_REFERENCE, FLAG_LARGE, FLAG_TOMBSTONE

if TYPE_CHECKING:
    from lsmcli.engine.database import Database

LOAD_MEMORY_SIZE_DEFAULT: Final = 224 * MIB
LOAD_MEMORY_SIZE_MIN: Final = 16 * KIB

# Entries that arrive in key order are written to tables when they weigh this much: little, so that it stays in the
# processor's cache; but more than a load of which puts make one op.
_EARLY_SIZE_MAX: Final = 8 * MIB
assert _EARLY_SIZE_MAX > PUTS_SIZE_MAX


class BulkResult(NamedTuple):
    """What a load has done, in distinct keys of all trees together."""

    added: int  # entries that were given to add(), repeated keys included
    imported: int  # keys that have the load's value now
    replaced: int  # of these, keys that had a value before
    skipped: int  # keys that were there before and were left as they were
    deleted: int  # keys that had a value before, and were removed
    bytes_written: int  # to the data file and to scratch files


class BulkLoad:
    """A context manager; see Database.bulk_load(). `result` is there once the block has ended well.

    Ending the block raises ConflictError when on_conflict is "fail" and a key is there already, TreeError when a tree
    was dropped meanwhile, NoSpaceError, DamageError and other FileErrors: nothing was stored then.
    OutcomeUnknownError: all of it was stored or nothing, and opening the file anew tells.
    """

    def __init__(self, database: "Database", *, memory_size: int | None, on_conflict: OnConflict) -> None:
        if on_conflict not in ("replace", "skip", "fail"):
            raise ValueError(f"on_conflict must be 'replace', 'skip' or 'fail', not {on_conflict!r}")
        memory_size = LOAD_MEMORY_SIZE_DEFAULT if memory_size is None else memory_size
        if memory_size < LOAD_MEMORY_SIZE_MIN:
            raise LimitError(f"memory_size is {memory_size}, but at least {LOAD_MEMORY_SIZE_MIN} is needed")
        self._database = database
        self._grid = database.writer().file.grid
        self._memory_size = memory_size
        self._early_size = min(memory_size, _EARLY_SIZE_MAX)
        self._on_conflict = on_conflict
        self._key_size_max = key_size_max_for(database.block_size)
        self._value_inline_max = value_inline_max_for(database.block_size)
        self._space = BulkSpace(self._grid)
        self._loads: dict[int, TreeLoad] = {}
        self._tree_ids: dict[str, int] = {}
        self._state: Literal["open", "failed", "ended"] = "open"
        self._bytes_written = 0
        self._result: BulkResult | None = None

    @property
    def result(self) -> BulkResult:
        """What was done. StateError before the block has ended well."""
        if self._result is None:
            raise StateError("a bulk load has a result only after its block has ended without an error")
        return self._result

    # Adding.

    def add(self, tree: str | int, keys: Sequence[bytes], values: Sequence[bytes | None]) -> None:
        """Takes over entries in the order of arrival; the value None removes its key. tree: a name, or an id.

        Raises TreeError, LimitError, TypeError, with nothing taken over; NoSpaceError and other FileErrors, after
        which the load can only be given up. 0.05 µs per entry, interpreted 0.3, and the sorting and writing of a run
        when memory is full.
        """
        if self._state != "open":
            raise StateError(f"the bulk load has {self._state}; begin a new one")
        tree_id = self._tree_id(tree)
        keys = keys if type(keys) is list else list(keys)
        values = values if type(values) is list else list(values)
        sizes = self._checked(keys, values)
        if not keys:
            return
        try:
            self._gather(tree_id, keys, values, sizes)
        except BaseException:
            self._state = "failed"
            raise

    def _tree_id(self, tree: str | int) -> int:
        if isinstance(tree, int):
            if tree <= TREE_ID_CATALOG:
                raise TreeError(f"there is no tree with the id {tree} that can be loaded into")
            if tree not in self._loads:
                self._database.tree_required(tree)
            return tree
        tree_id = self._tree_ids.get(tree)
        if tree_id is None:
            tree_id = self._tree_ids[tree] = self._database.tree_id(tree)
        return tree_id

    def _checked(self, keys: list[bytes], values: list[Any]) -> tuple[int, int, int, int]:
        """Bytes of all keys, of the largest value, of all values; how many are None. TypeError, LimitError."""
        if len(keys) != len(values):
            raise ValueError(f"{len(keys)} keys, but {len(values)} values")
        measured = measure_entries(keys, values)
        if measured is None:
            wrong = [("key", each) for each in keys if type(each) is not bytes]
            wrong += [("value", each) for each in values if type(each) not in (bytes, type(None))]
            raise TypeError(f"a {wrong[0][0]} must be bytes, not {type(wrong[0][1]).__name__}")
        key_size_min, key_size_max, keys_size, value_size_max, values_size, absent = measured
        if keys and not KEY_SIZE_MIN <= key_size_min <= key_size_max <= self._key_size_max:
            size = next(len(key) for key in keys if not KEY_SIZE_MIN <= len(key) <= self._key_size_max)
            raise LimitError(f"a key has {size} bytes; a key has 1 to {self._key_size_max} bytes in this file")
        if value_size_max > VALUE_SIZE_MAX:
            raise LimitError(f"a value has {value_size_max} bytes, but at most {VALUE_SIZE_MAX} are allowed; split it")
        return keys_size, value_size_max, values_size, absent

    def _gather(self, tree_id: int, keys: list[bytes], values: list[Any], sizes: tuple[int, int, int, int]) -> None:
        keys_size, value_size_max, values_size, absent = sizes
        load = self._loads.get(tree_id)
        if load is None:
            codec = self._database.forest.compression_of(tree_id).codec_for(last=True)
            load = self._loads[tree_id] = TreeLoad(tree_id, self._grid, self._space, self._memory_size, codec)
        flags = bytes(len(values))
        stored: list[bytes] = values
        if absent:
            flags = bytes(FLAG_TOMBSTONE if value is None else 0 for value in values)
            stored = [b"" if value is None else value for value in values]
        if value_size_max > self._value_inline_max:
            stored = list(stored)
            flags = self._store_large(tree_id, stored, flags)
            values_size = sum(map(len, stored))
        load.sort.add(Columns(keys, stored, flags), keys_size, keys_size + values_size)
        weight = sum(each.sort.weight for each in self._loads.values())
        if weight >= self._early_size:
            self._make_room(weight)

    def _store_large(self, tree_id: int, values: list[bytes], flags: bytes) -> bytes:
        """Stores the values that are too large to stand beside their keys, and puts references in their places."""
        marks = bytearray(flags)
        database = self._database
        with database.lock, Guard(database):
            forest = database.writer()
            before = forest.file.bytes_written
            # No record of the WAL refers to them, so when they are dropped they need not wait for a later checkpoint.
            op = forest.file.superblock.op_checkpoint
            for i, value in enumerate(values):
                if len(value) > self._value_inline_max:
                    chain = self._space.write_value(tree_id, value, op)
                    values[i] = CHAIN_REFERENCE.pack(chain)
                    marks[i] = FLAG_LARGE
            self._bytes_written += forest.file.bytes_written - before
        return bytes(marks)

    def _make_room(self, weight: int) -> None:
        """Writes what is in memory: as tables where it came in key order, else as runs once memory is full."""
        database = self._database
        for load in self._loads.values():
            if load.sort.ascending and load.sort.weight >= self._early_size // 2:
                weight -= load.sort.weight
                with database.lock, Guard(database):
                    forest = database.writer()
                    before = forest.file.bytes_written
                    load.write_early(forest.op + 1)
                    self._bytes_written += forest.file.bytes_written - before
        if weight >= self._memory_size:
            for load in self._loads.values():
                self._bytes_written += load.sort.spill()

    # Ending.

    def __enter__(self) -> "BulkLoad":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            if kind is None:
                self._commit()
        finally:
            self._state = "ended"
            with self._database.lock:
                if self._database.unusable is None:
                    self._space.abandon()
            for load in self._loads.values():
                load.sort.close()

    def _commit(self) -> None:
        if self._state == "failed":
            raise StateError("the bulk load has failed before, nothing of it was stored; begin a new one")
        database = self._database
        loads = list(self._loads.values())
        counts = Counts()
        with database.lock:
            forest = database.writer()
            for load in loads:
                database.tree_required(load.tree_id)
            before = forest.file.bytes_written
            with Guard(database):
                for load in loads:
                    load.settle()
            if self._goes_as_puts(forest, loads):
                put_loads(database, loads, self._on_conflict, counts)
                database.sync()
            else:
                if database.observer is not None:
                    database.observer(None)
                with Guard(database):
                    bulk_install.flush_overlapping(forest, loads)
                    built = [bulk_install.build(forest, load, self._on_conflict, counts) for load in loads]
                    size = sum(load.sort.size for load in loads)
                    bulk_install.install(forest, built, self._space, size)
            self._bytes_written += forest.file.bytes_written - before
        self._result = BulkResult(
            sum(load.sort.count for load in loads),
            counts.imported,
            counts.replaced,
            counts.skipped,
            counts.deleted,
            self._bytes_written,
        )

    def _goes_as_puts(self, forest: Forest, loads: list[TreeLoad]) -> bool:
        """Whether the load becomes ops rather than tables."""
        if forest.scope is not None:
            return True
        small = self._space.count == 0 and not any(load.sort.spilled for load in loads)
        if small and sum(load.sort.weight for load in loads) <= PUTS_SIZE_MAX:
            return True
        return bulk_install.merges_much(forest, loads)


__all__ = ["LOAD_MEMORY_SIZE_DEFAULT", "BulkLoad", "BulkResult", "OnConflict"]
