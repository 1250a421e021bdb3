"""What two trees differ in: an ordered walk over both, that passes over what is surely the same.

Invariants:
- what the walk yields is in key order, and complete: a range is passed over only if the very same tables, of the
  same levels, make it up on both sides, and nothing in memory belongs to it;
- memory: a chunk of each side; values that are stored out of line are compared block by block.

A copy of a file shares tables with it, and a table never changes, so equal checksums of two index blocks mean equal
tables. Where tables begin and end the range of keys is cut; `=` is passed over, `?` is read on both sides:

    old    [A────────────][B──────]     [C────]          memory:  p
    new    [A────────────][D─────────────][C────]
            ======= ?====  ???????????????  ====         ? where p is
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from lsmcli.engine.columns import Columns
from lsmcli.engine.content_checksum import ContentChecksum
from lsmcli.engine.contents import large_pieces
from lsmcli.engine.errors import LsmError
from lsmcli.engine.scan_steps import ScanSteps
from lsmcli.engine.schema import CHAIN_REFERENCE, FLAG_LARGE
from lsmcli.engine.tree import Tree

if TYPE_CHECKING:
    from lsmcli.engine.database import Database

KeyBounds = tuple[bytes | None, bytes | None]  # from the first on, to before the second; None: no bound

_ENTRIES_FIRST: Final = 512


class LargeValue:
    """A value that is stored out of line, read when it is needed. Equal to the bytes that it holds."""

    __slots__ = ("_database", "_packed", "size")
    __hash__ = None  # type: ignore[assignment]  # it equals bytes whose hash is not known without reading it

    def __init__(self, database: "Database", packed: bytes) -> None:
        self._database = database
        self._packed = packed
        self.size: int = CHAIN_REFERENCE.unpack(packed).size

    def load(self) -> bytes:
        """All of it. Raises DamageError, SnapshotTooOldError."""
        return self._database.load(self._packed)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, LargeValue):
            if self.size != other.size:
                return False
            return self._packed == other._packed or self._digest() == other._digest()
        return isinstance(other, bytes) and len(other) == self.size and self.load() == other

    def _digest(self) -> bytes:
        content = ContentChecksum()
        content.add_large(b"", self.size, large_pieces(self._database, self._packed))
        return content.digest()


Value = bytes | LargeValue


class Difference(NamedTuple):
    """A key whose values differ; None: the key is not there."""

    key: bytes
    old: Value | None
    new: Value | None


def value_bytes(value: Value) -> bytes:
    """The bytes of a value of a Difference."""
    return value if isinstance(value, bytes) else value.load()


def ranges_that_may_differ(old: Tree, new: Tree, start: bytes | None, end: bytes | None) -> Iterator[KeyBounds]:
    """The parts of [start, end) that have to be read to compare the trees, in key order, no two of them adjacent."""
    events: list[tuple[bytes, int, tuple[int, bytes]]] = []
    for tree, side in ((old, 1), (new, -1)):
        for level_index, level in enumerate(tree.manifest.levels):
            for info in level.tables:
                table = (level_index, info.reference.checksum)
                events.append((info.key_min, side, table))
                events.append((info.key_max + b"\0", -side, table))
    events.sort()
    differing: Counter[tuple[int, bytes]] = Counter()
    pending: KeyBounds | None = None  # adjacent parts so far
    begin: bytes | None = None
    for index in range(len(events) + 1):
        cut = events[index][0] if index < len(events) else None
        if (cut is None or cut != begin) and (part := _within(begin, cut, start, end)) is not None:
            if differing or _in_memory(old, part) or _in_memory(new, part):
                pending = part if pending is None else (pending[0], part[1])
            elif pending is not None:
                yield pending
                pending = None
        if index < len(events):
            begin, side, table = events[index]
            differing[table] += side
            if not differing[table]:
                del differing[table]
    if pending is not None:
        yield pending


def _within(begin: bytes | None, cut: bytes | None, start: bytes | None, end: bytes | None) -> KeyBounds | None:
    """The part of [begin, cut) that lies in [start, end); None when it is empty."""
    low = begin if start is None else start if begin is None else max(begin, start)
    high = cut if end is None else end if cut is None else min(cut, end)
    return None if low is not None and high is not None and low >= high else (low, high)


def _in_memory(tree: Tree, part: KeyBounds) -> bool:
    start, end = part
    return any(
        memory.range_keys(start, end, limit=1, reverse=False) for memory in (tree.table_mutable, tree.table_immutable)
    )


class Side:
    """One of the two trees of a comparison. A missing tree (id None) is an empty one."""

    def __init__(self, database: "Database", tree_id: int | None) -> None:
        self._database = database
        self._tree_id = tree_id
        self._columns: Iterator[Columns] = iter(())
        self.keys: list[bytes] = []
        self.values: list[Value] = []

    def tree(self) -> Tree | None:
        """The tree as it is now."""
        return None if self._tree_id is None else self._database.forest.tree(self._tree_id)

    def seek(self, part: KeyBounds) -> None:
        """Begins to read these keys."""
        assert not self.keys
        if self._tree_id is not None:
            self._columns = ScanSteps(
                self._database, self._tree_id, *part, reverse=False, entries_first=_ENTRIES_FIRST, restarts=False
            )

    def fill(self) -> bool:
        """Makes sure that there are entries; False at the end."""
        if self.keys:
            return True
        try:
            columns = next(self._columns, None)
        except LsmError as error:
            error.add_note(self._database.path)  # of the two files
            raise
        if columns is None:
            return False
        values: list[Value] = list(columns.values)
        if FLAG_LARGE in columns.flags:
            for index, flags in enumerate(columns.flags):
                if flags & FLAG_LARGE:
                    values[index] = LargeValue(self._database, columns.values[index])
        self.keys, self.values = columns.keys, values
        return True

    def take(self, count: int) -> dict[bytes, Value]:
        """The next entries."""
        taken = dict(zip(self.keys[:count], self.values[:count], strict=True))
        self.skip(count)
        return taken

    def skip(self, count: int) -> None:
        """Passes over the next entries."""
        self.keys, self.values = self.keys[count:], self.values[count:]


def differences(old: Side, new: Side, start: bytes | None = None, end: bytes | None = None) -> Iterator[Difference]:
    """What differs in [start, end), in key order. 0.1 µs per equal entry that has to be read. Raises what scans raise.

    Both handles must stay as they are meanwhile: readers by a pin, and nothing is written through them.
    """
    tree_old, tree_new = old.tree(), new.tree()
    parts: Iterator[KeyBounds] = iter([(start, end)])
    if tree_old is not None and tree_new is not None:
        parts = ranges_that_may_differ(tree_old, tree_new, start, end)
    for part in parts:
        old.seek(part)
        new.seek(part)
        yield from _walk(old, new)


def _walk(old: Side, new: Side) -> Iterator[Difference]:
    while True:
        some_old, some_new = old.fill(), new.fill()
        if not (some_old and some_new):
            break
        count = min(len(old.keys), len(new.keys))
        if old.keys[:count] == new.keys[:count] and old.values[:count] == new.values[:count]:
            old.skip(count)
            new.skip(count)
            continue
        bound = min(old.keys[-1], new.keys[-1])
        before = old.take(bisect_right(old.keys, bound))
        after = new.take(bisect_right(new.keys, bound))
        changed = before.keys() ^ after.keys()
        changed |= {key for key in before.keys() & after.keys() if before[key] != after[key]}
        for key in sorted(changed):
            yield Difference(key, before.get(key), after.get(key))
    while old.fill():
        for key, value in old.take(len(old.keys)).items():
            yield Difference(key, value, None)
    while new.fill():
        for key, value in new.take(len(new.keys)).items():
            yield Difference(key, None, value)
