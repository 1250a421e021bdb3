"""A bulk load: any number of entries become part of the file as a whole, or not at all.

Invariants:
- until the `with` block has ended without an exception nobody sees anything of the load, and a crash leaves nothing;
- of entries with one key the one that was added last counts;
- memory is bounded by memory_size, whatever is added;
- after an error in add() the load can only be given up.

    add ──> gathered, sorted, spilled (bulk_sort) ──> end of the block ──> puts in a scope of their own
"""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from itertools import compress
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from lsmcli.engine.block_chain import read_chain
from lsmcli.engine.bulk_sort import ExternalSort, merge_runs
from lsmcli.engine.columns import Columns
from lsmcli.engine.constants import KEY_SIZE_MIN, KIB, MIB, TREE_ID_CATALOG, VALUE_SIZE_MAX, key_size_max_for
from lsmcli.engine.errors import ConflictError, LimitError, StateError, TreeError
from lsmcli.engine.guard import BoundScope
from lsmcli.engine.schema import CHAIN_REFERENCE, FLAG_LARGE, FLAG_TOMBSTONE, BlockKind

if TYPE_CHECKING:
    from lsmcli.engine.database import Database

OnConflict = Literal["replace", "skip", "fail"]

LOAD_MEMORY_SIZE_DEFAULT: Final = 128 * MIB
LOAD_MEMORY_SIZE_MIN: Final = 16 * KIB

# Entries of one op when a load goes the way of puts, by weight.
_OP_SIZE: Final = 1 * MIB


class BulkResult(NamedTuple):
    """What a load has done, in distinct keys of all trees together."""

    added: int  # entries that were given to add(), repeated keys included
    imported: int  # keys that have the load's value now
    replaced: int  # of these, keys that had a value before
    skipped: int  # keys that were there before and were left as they were
    deleted: int  # keys that had a value before, and were removed
    bytes_written: int  # to the data file and to scratch files


class _Counts:
    """The numbers of a BulkResult while they grow."""

    def __init__(self) -> None:
        self.imported = self.replaced = self.skipped = self.deleted = 0


class BulkLoad:
    """A context manager; see Database.bulk_load(). `result` is there once the block has ended well."""

    def __init__(self, database: "Database", *, memory_size: int | None, on_conflict: OnConflict) -> None:
        if on_conflict not in ("replace", "skip", "fail"):
            raise ValueError(f"on_conflict must be 'replace', 'skip' or 'fail', not {on_conflict!r}")
        memory_size = LOAD_MEMORY_SIZE_DEFAULT if memory_size is None else memory_size
        if memory_size < LOAD_MEMORY_SIZE_MIN:
            raise LimitError(f"memory_size is {memory_size}, but at least {LOAD_MEMORY_SIZE_MIN} is needed")
        database.writer()
        self._database = database
        self._memory_size = memory_size
        self._on_conflict = on_conflict
        self._key_size_max = key_size_max_for(database.block_size)
        self._sorts: dict[int, ExternalSort] = {}
        self._tree_ids: dict[str, int] = {}
        self._state: Literal["open", "failed", "ended"] = "open"
        self._scratch_size = 0
        self._result: BulkResult | None = None

    @property
    def result(self) -> BulkResult:
        """What was done. StateError before the block has ended well."""
        if self._result is None:
            raise StateError("a bulk load has a result only after its block has ended without an error")
        return self._result

    def add(self, tree: str | int, keys: Sequence[bytes], values: Sequence[bytes | None]) -> None:
        """Takes over entries in the order of arrival; the value None removes its key. tree: a name, or an id.

        Raises TreeError, LimitError, TypeError, with nothing taken over; NoSpaceError and other FileErrors, after
        which the load can only be given up. 0.3 µs per entry, and the sorting and writing of a run when memory is full.
        """
        if self._state != "open":
            raise StateError(f"the bulk load has {self._state}; begin a new one")
        tree_id = self._tree_id(tree)
        size, flags = self._checked(keys, values)
        try:
            self._gather(tree_id, keys, values, flags, size)
        except BaseException:
            self._state = "failed"
            raise

    def _tree_id(self, tree: str | int) -> int:
        if isinstance(tree, int):
            if tree <= TREE_ID_CATALOG:
                raise TreeError(f"there is no tree with the id {tree} that can be loaded into")
            if tree not in self._sorts:
                self._database.tree_required(tree)
            return tree
        tree_id = self._tree_ids.get(tree)
        if tree_id is None:
            tree_id = self._tree_ids[tree] = self._database.tree_id(tree)
        return tree_id

    def _checked(self, keys: Sequence[bytes], values: Sequence[bytes | None]) -> tuple[int, bytes | None]:
        """The size of keys and values together, and the flags; None: all 0. Raises TypeError, LimitError."""
        if len(keys) != len(values):
            raise ValueError(f"{len(keys)} keys, but {len(values)} values")
        kinds = set(map(type, keys)) - {bytes}
        if kinds:
            raise TypeError(f"a key must be bytes, not {kinds.pop().__name__}")
        kinds = set(map(type, values))
        if not kinds <= {bytes, type(None)}:
            raise TypeError(f"a value must be bytes, not {(kinds - {bytes, type(None)}).pop().__name__}")
        if not keys:
            return 0, None
        key_sizes = list(map(len, keys))
        if min(key_sizes) < KEY_SIZE_MIN or max(key_sizes) > self._key_size_max:
            size = next(size for size in key_sizes if not KEY_SIZE_MIN <= size <= self._key_size_max)
            raise LimitError(f"a key has {size} bytes; a key has 1 to {self._key_size_max} bytes in this file")
        flags = None
        present: Sequence[Any] = values
        if type(None) in kinds:
            flags = bytes(FLAG_TOMBSTONE if value is None else 0 for value in values)
            present = [value for value in values if value is not None]
        value_sizes = list(map(len, present))
        if value_sizes and max(value_sizes) > VALUE_SIZE_MAX:
            raise LimitError(
                f"a value has {max(value_sizes)} bytes, but at most {VALUE_SIZE_MAX} are allowed; split it"
            )
        return sum(key_sizes) + sum(value_sizes), flags

    def _gather(
        self, tree_id: int, keys: Sequence[bytes], values: Sequence[Any], flags: bytes | None, size: int
    ) -> None:
        sort = self._sorts.get(tree_id)
        if sort is None:
            sort = self._sorts[tree_id] = ExternalSort(self._database.forest.file.storage.scratch)
        stored = list(values) if flags is None else [b"" if value is None else value for value in values]
        sort.add(list(keys), stored, flags, size)
        if sum(each.weight for each in self._sorts.values()) >= self._memory_size:
            for each in self._sorts.values():
                self._scratch_size += each.spill([])

    # Ending.

    def __enter__(self) -> "BulkLoad":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            if kind is None:
                self._commit()
        finally:
            self._state = "ended"
            for sort in self._sorts.values():
                sort.close()

    def _commit(self) -> None:
        if self._state == "failed":
            raise StateError("the bulk load has failed before; nothing of it was stored: begin a new one")
        database = self._database
        with database.lock:
            forest = database.writer()
            written = forest.file.bytes_written
            for tree_id, sort in self._sorts.items():
                database.tree_required(tree_id)
                sort.settle([])
            counts = self._put()
            database.sync()
            written = forest.file.bytes_written - written + self._scratch_size
        added = sum(sort.count for sort in self._sorts.values())
        self._result = BulkResult(added, counts.imported, counts.replaced, counts.skipped, counts.deleted, written)

    def _put(self) -> _Counts:
        """The way of puts: one op, or many in a scope of their own."""
        if self._on_conflict == "fail":
            for tree_id, sort in self._sorts.items():
                for columns in merge_runs(sort.streams(), []):
                    if any(live := self._live(tree_id, columns.keys)):
                        key = next(compress(columns.keys, live))
                        raise ConflictError(
                            f"{self._database.path}: the key {key[:64]!r} is there already; nothing was stored",
                            tree_id=tree_id,
                            key=key,
                        )
        counts = _Counts()
        database = self._database
        weight = sum(sort.weight for sort in self._sorts.values())
        spilled = any(sort.spilled for sort in self._sorts.values())
        if not spilled and (weight <= _OP_SIZE or database.scope_status() is not None):
            database.apply([entry for entries in self._entries(counts) for entry in entries])
            return counts
        with nullcontext() if database.scope_status() is not None else BoundScope(database):
            for entries in self._entries(counts):
                database.apply(entries)
        return counts

    def _entries(self, counts: _Counts) -> Iterator[list[Any]]:
        """What there is to put, in the chunks of the runs: (tree id, key, value or None)."""
        grid = self._database.forest.file.grid
        for tree_id, sort in self._sorts.items():
            for columns in merge_runs(sort.streams(), []):
                columns = self._resolved(tree_id, columns, counts)
                if not any(columns.flags):
                    yield [(tree_id, key, value) for key, value in zip(columns.keys, columns.values, strict=True)]
                    continue
                entries: list[Any] = []
                for key, value, flag in zip(*columns, strict=True):
                    if flag == FLAG_LARGE:
                        value = read_chain(grid, CHAIN_REFERENCE.unpack(value), BlockKind.LARGE)
                    entries.append((tree_id, key, None if flag == FLAG_TOMBSTONE else value))
                yield entries

    def _resolved(self, tree_id: int, columns: Columns, counts: _Counts) -> Columns:
        """The entries without those that are skipped; counts what they do."""
        live = self._live(tree_id, columns.keys)
        if self._on_conflict == "skip" and any(live):
            kept = [not each for each in live]
            counts.skipped += live.count(True)
            columns = Columns(
                list(compress(columns.keys, kept)),
                list(compress(columns.values, kept)),
                bytes(compress(columns.flags, kept)),
            )
            live = [False] * len(columns.keys)
        deleted = sum(1 for each in compress(columns.flags, live) if each == FLAG_TOMBSTONE)
        counts.deleted += deleted
        counts.replaced += live.count(True) - deleted
        counts.imported += len(columns.keys) - columns.flags.count(FLAG_TOMBSTONE)
        return columns

    def _live(self, tree_id: int, keys: list[bytes]) -> list[bool]:
        """Which of these keys have a value now."""
        tree = self._database.forest.tree(tree_id)
        return [value is not None for value in tree.lookup_many(keys)]
