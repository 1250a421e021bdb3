"""The interface of one tree for programs: a mutable mapping of bytes to bytes, in key order.

Invariants:
- keys and values from outside are checked here, before anything is written: see check_key, check_value;
- every method that changes something is one atomic op;
- every method holds the database's lock, so several threads may share a handle; an iterator takes it
  again for each chunk and sees the state of its beginning.
"""

from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from functools import partial
from itertools import chain, islice, repeat
from typing import TYPE_CHECKING, TypeVar, overload

from lsmcli.engine.columns import Columns
from lsmcli.engine.constants import KEY_SIZE_MIN, VALUE_SIZE_MAX, key_size_max_for, value_inline_max_for
from lsmcli.engine.errors import LimitError
from lsmcli.engine.key_range import prefix_end
from lsmcli.engine.lookup import QuickReads, TreeLookup
from lsmcli.engine.op_columns import OpColumns
from lsmcli.engine.scan import ENTRIES_FIRST
from lsmcli.engine.schema import FLAG_LARGE
from lsmcli.engine.short_scan import LIMIT_MAX, short_scan

if TYPE_CHECKING:
    from lsmcli.engine.database import Database
    from lsmcli.engine.tree import Tree

D = TypeVar("D")

_COUNT_CHUNK: int = 512


class Batch:
    """Puts and deletes that become one atomic op when the `with` block ends without an exception."""

    def __init__(self, keyspace: "Keyspace") -> None:
        self._keyspace = keyspace
        self._columns = keyspace.columns_new()

    def put(self, key: bytes, value: bytes) -> None:
        """Checks and remembers one put. Raises LimitError, TypeError."""
        if value is None:
            check_value(value)  # type: ignore[unreachable]  # says that None is no value
        self._columns.append(key, value)

    def delete(self, key: bytes) -> None:
        """Checks and remembers one delete; the key need not be there. Raises LimitError, TypeError."""
        self._columns.append(key, None)

    def __len__(self) -> int:
        return len(self._columns.keys)

    def __enter__(self) -> "Batch":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if kind is None:
            columns, self._columns = self._columns, self._keyspace.columns_new()
            self._keyspace.write_columns(columns)


def check_value(value: bytes) -> None:
    """TypeError unless bytes; LimitError past VALUE_SIZE_MAX."""
    if type(value) is not bytes:
        raise TypeError(f"a value must be bytes, not {type(value).__name__}")
    if len(value) > VALUE_SIZE_MAX:
        raise LimitError(f"the value has {len(value)} bytes, but at most {VALUE_SIZE_MAX} are allowed; split it")


def range_of(start: bytes | None, end: bytes | None, prefix: bytes | None) -> tuple[bytes | None, bytes | None]:
    """[start, end) of a range that may be given as a prefix instead. ValueError when both are given."""
    if prefix is None:
        return start, end
    if start is not None or end is not None:
        raise ValueError("give either a prefix or a start and an end, not both")
    return prefix, prefix_end(prefix)


class Keyspace(QuickReads, MutableMapping[bytes, bytes]):
    """One tree of a database. Raises ClosedError once the database is closed."""

    def __init__(self, database: "Database", tree_id: int) -> None:
        self._database = database
        self._tree_id = tree_id
        self._lookup = TreeLookup()  # that of the tree, once it was asked; until then it knows nothing

    # Single keys.

    def check_key(self, key: bytes) -> None:
        """TypeError unless bytes; LimitError when empty or too long for this file."""
        if type(key) is not bytes:
            raise TypeError(f"a key must be bytes, not {type(key).__name__}")
        key_size_max = key_size_max_for(self._database.block_size)
        if not KEY_SIZE_MIN <= len(key) <= key_size_max:
            if not key:
                raise LimitError(f"the key is empty; a key has 1 to {key_size_max} bytes")
            raise LimitError(f"the key has {len(key)} bytes; a key has 1 to {key_size_max} bytes in this file")

    if TYPE_CHECKING:

        @overload
        def get(self, key: bytes, default: None = None) -> bytes | None: ...
        @overload
        def get(self, key: bytes, default: bytes) -> bytes: ...
        @overload
        def get(self, key: bytes, default: D) -> bytes | D: ...
        def get(self, key: bytes, default: object = None) -> object: ...

    def get_slowly(self, key: bytes) -> bytes | None:
        """get() by the ordinary way."""
        self.check_key(key)
        return self._database.read(self._tree_id, lambda tree: self._ready(tree).get(key))

    def get_many(self, keys: Iterable[bytes]) -> list[bytes | None]:
        """The values of these keys in their order, None where absent. Their reads overlap."""
        wanted = list(keys)
        values, places = self._lookup.get_many(wanted)
        if places:
            for place in places:
                self.check_key(wanted[place])
            # All keys anew: the state may have changed since, and all of them are to be of one.
            values = self._database.read(self._tree_id, partial(self._get_many, wanted))
        return values

    def _get_many(self, keys: list[bytes], tree: "Tree") -> list[bytes | None]:
        self._ready(tree)
        values, places = self._lookup.get_many(keys)
        found = tree.get_many([keys[place] for place in places])
        for place, value in zip(places, found, strict=True):
            values[place] = value
        return values

    def _ready(self, tree: "Tree") -> "Tree":
        """The tree; from now on get() asks its lookup first."""
        self._lookup = tree.lookup_ready(self._database.lock)
        return tree

    def put(self, key: bytes, value: bytes) -> None:
        """Sets the value of the key, as one op. Raises LimitError, TypeError, FileError."""
        self.check_key(key)
        check_value(value)
        self._database.apply_one(self._tree_id, key, value)

    def delete(self, key: bytes) -> None:
        """Removes the key, as one op; it need not be there."""
        self.check_key(key)
        self._database.apply_one(self._tree_id, key, None)

    # Several keys.

    def write(self, entries: Sequence[tuple[bytes, bytes | None]]) -> None:
        """One atomic op of puts and deletes (value None), in their order. Raises LimitError, TypeError."""
        columns = self.columns_new()
        for key, value in entries:
            columns.append(key, value)
        self.write_columns(columns)

    def write_columns(self, columns: OpColumns) -> None:
        """One atomic op of what columns_new() has collected, which is not to be changed any more."""
        self._database.apply_columns(self._tree_id, columns)

    def columns_new(self) -> OpColumns:
        """Collects puts and deletes of one op, with the checks of this tree."""
        block_size = self._database.block_size
        return OpColumns(key_size_max_for(block_size), value_inline_max_for(block_size), self._check_entry)

    def _check_entry(self, key: bytes, value: bytes) -> None:
        self.check_key(key)
        check_value(value)

    def put_many(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        """Sets many values as one atomic op of any size; of equal keys the last counts.

        Holds all pairs in memory until they are written. When the iterable raises, nothing is changed.
        """
        columns = self.columns_new()
        columns.extend(pairs)
        self.write_columns(columns)

    def batch(self) -> Batch:
        """A context manager that collects puts and deletes into one atomic op."""
        return Batch(self)

    def delete_range(self, start: bytes | None = None, end: bytes | None = None, prefix: bytes | None = None) -> int:
        """Removes every key of [start, end) or with this prefix, as one atomic op; returns how many.

        Holds the keys in memory.
        """
        removes = self.columns_new()
        for columns in self._columns(start, end, prefix):
            for key in columns.keys:
                removes.append(key, None)
        self.write_columns(removes)
        return len(removes.keys)

    # Ranges.

    def _columns(self, start: bytes | None, end: bytes | None, prefix: bytes | None) -> Iterator[Columns]:
        start, end = range_of(start, end, prefix)
        return self._database.scan_columns(self._tree_id, start, end, reverse=False, entries_first=_COUNT_CHUNK)

    def scan(
        self,
        start: bytes | None = None,
        end: bytes | None = None,
        prefix: bytes | None = None,
        reverse: bool = False,
        limit: int | None = None,
        keys_only: bool = False,
    ) -> Iterator[tuple[bytes, bytes]]:
        """The entries of [start, end), or with this prefix, in key order; descending when reverse.

        The iterator sees the state of this moment, whatever is written meanwhile, and needs little memory. With
        keys_only every value is b"", and large values are not read. Raises DamageError, and in a reading
        handle SnapshotTooOldError when a writer went on for too long.
        """
        if prefix is not None:
            start, end = range_of(start, end, prefix)
        if limit is not None and limit <= LIMIT_MAX:
            if limit <= 0:
                return iter(())
            # By far the most frequent case, and the quickest: nothing but pairs is made.
            if (start if reverse else end) is None and not keys_only:
                first = self._lookup.first_pairs(end if reverse else start, limit, reverse)
                if first is not None:
                    return iter(first)
            if not self._lookup.fresh:
                self._database.read(self._tree_id, self._ready)  # for the next time
            found = short_scan(self._database, self._tree_id, start, end, limit, reverse, keys_only)
            if found is not None:
                return found
        columns = self._database.scan_columns(
            self._tree_id, start, end, reverse=reverse, entries_first=min(ENTRIES_FIRST, limit or ENTRIES_FIRST)
        )
        pairs_of = partial(_pairs, load=columns.load, reverse=reverse, keys_only=keys_only)
        pairs: Iterator[tuple[bytes, bytes]] = chain.from_iterable(map(pairs_of, columns))
        return pairs if limit is None else islice(pairs, limit)

    def count(self, start: bytes | None = None, end: bytes | None = None, prefix: bytes | None = None) -> int:
        """How many keys are in [start, end) or have this prefix: exact, so it reads them all."""
        return sum(len(columns.keys) for columns in self._columns(start, end, prefix))

    # The mapping.

    def __getitem__(self, key: bytes) -> bytes:
        value = self.get(key)
        if value is None:
            raise KeyError(key)
        return value

    def __setitem__(self, key: bytes, value: bytes) -> None:
        self.put(key, value)

    def __delitem__(self, key: bytes) -> None:
        self.check_key(key)
        if not self._database.delete_existing(self._tree_id, key):
            raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, bytes) and self.get(key) is not None

    def __iter__(self) -> Iterator[bytes]:
        for key, _ in self.scan(keys_only=True):
            yield key

    def __reversed__(self) -> Iterator[bytes]:
        for key, _ in self.scan(keys_only=True, reverse=True):
            yield key

    def __len__(self) -> int:
        """Exact, so it reads every key: the number is kept nowhere."""
        return self.count()

    def __bool__(self) -> bool:
        return True

    def clear(self) -> None:
        """Removes every key, as one atomic op."""
        self.delete_range()


def _pairs(
    columns: Columns, *, load: Callable[[bytes], bytes], reverse: bool, keys_only: bool
) -> Iterator[tuple[bytes, bytes]]:
    """The entries of one chunk in the order that is asked for; load() reads a large value."""
    keys, values, flags = columns
    if keys_only:
        return zip(reversed(keys) if reverse else keys, repeat(b""), strict=False)
    pairs: Iterator[tuple[bytes, bytes]]
    pairs = zip(reversed(keys), reversed(values), strict=True) if reverse else zip(keys, values, strict=True)
    if FLAG_LARGE in flags:
        # One at a time, as they are asked for: a chunk of them may be larger than memory.
        flags_in_order = reversed(flags) if reverse else iter(flags)
        return (
            (key, load(value) if flag & FLAG_LARGE else value)
            for (key, value), flag in zip(pairs, flags_in_order, strict=True)
        )
    return pairs
