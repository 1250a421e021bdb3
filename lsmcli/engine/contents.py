"""What trees hold, as chunks of keys and values, all of one state of the file: for exports, checksums, comparisons.

Invariants:
- all scans are begun at once, so that all trees are of one state, whatever is written meanwhile;
- a chunk is what one value block holds: larger ones were slower, since they leave the processor's cache; large values
  come in chunks of about CHUNK_SIZE, or alone;
- rows travel as columns: nothing is done per row here, unless values are stored out of line.

    Contents("main")    keys [a b c …]  values [1 2 3 …]    keys […]  values […]    …
    Contents("users")   …
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from lsmcli.engine.block_chain import iterate_chain
from lsmcli.engine.columns import Columns
from lsmcli.engine.constants import KIB
from lsmcli.engine.content_checksum import ContentChecksum
from lsmcli.engine.errors import DamageError
from lsmcli.engine.packed_entries import PackedEntries
from lsmcli.engine.scan_steps import ScanSteps
from lsmcli.engine.schema import CHAIN_REFERENCE, FLAG_LARGE, BlockKind

if TYPE_CHECKING:
    from lsmcli.engine.database import Database

CHUNK_SIZE: Final = 256 * KIB
_ENTRIES_FIRST: Final = 512

Chunk: TypeAlias = tuple[Sequence[bytes], Sequence[bytes]] | PackedEntries  # keys and values


class Contents:
    """The entries of one tree, or of a range of it, to be iterated once. `entry_count_max`: of the whole tree."""

    def __init__(self, database: "Database", name: str, columns: Iterator[Columns | PackedEntries]) -> None:
        self.name = name
        self.entry_count_max = 0
        self._database = database
        self._columns = columns

    def chunks(self) -> Iterator[Chunk]:
        """Keys and values, large ones read one at a time. Raises what a scan raises."""
        for step in self._columns:
            if isinstance(step, PackedEntries):
                yield step
                continue
            keys, values, flags = step
            if FLAG_LARGE in flags:
                yield from self._with_large(keys, values, flags)
            else:
                yield keys, values

    def _with_large(self, keys: list[bytes], values: list[bytes], flags: bytes) -> Iterator[Chunk]:
        """The same entries, cut so that the values that are read weigh little, or are alone."""
        begin = size = 0
        loaded: list[bytes] = []
        for index, value in enumerate(values):
            if flags[index] & FLAG_LARGE:
                size += CHAIN_REFERENCE.unpack(value).size
                if size > CHUNK_SIZE and loaded:
                    yield keys[begin:index], loaded
                    begin, size, loaded = index, CHAIN_REFERENCE.unpack(value).size, []
                value = self._database.load(value)
            loaded.append(value)
        yield keys[begin:], loaded

    def checksum(self) -> ContentChecksum:
        """Iterates all of it. Large values are hashed block by block, so memory does not grow with them."""
        checksum = ContentChecksum()
        for step in self._columns:
            if isinstance(step, PackedEntries):
                checksum.add_packed(step)
                continue
            keys, values, flags = step
            begin = 0
            while (index := flags.find(FLAG_LARGE, begin)) >= 0:
                checksum.add(keys[begin:index], values[begin:index])
                size = CHAIN_REFERENCE.unpack(values[index]).size
                checksum.add_large(keys[index], size, large_pieces(self._database, values[index]))
                begin = index + 1
            checksum.add(keys[begin:], values[begin:])
        return checksum


def contents_of(
    database: "Database", names: Sequence[str], start: bytes | None = None, end: bytes | None = None
) -> list[Contents]:
    """The entries of [start, end) of these trees, as they are now. Raises TreeError for a name that is none.

    In a reading handle without a pin a busy writer can end the iteration with SnapshotTooOldError.
    """
    with database.lock:
        found: list[Contents] = []
        for name in names:
            tree_id = database.tree_id(name)
            columns = ScanSteps(
                database, tree_id, start, end, reverse=False, entries_first=_ENTRIES_FIRST, restarts=len(names) == 1,
                packed=True,
            )  # fmt: skip
            found.append(Contents(database, name, columns))
            tree = database.forest.tree(tree_id)
            found[-1].entry_count_max = len(tree.table_mutable.entries) + len(tree.table_immutable.entries)
            found[-1].entry_count_max += sum(
                info.entry_count for level in tree.manifest.levels for info in level.tables
            )
        return found


def large_pieces(database: "Database", packed: bytes) -> Iterator[memoryview]:
    """A value that is stored out of line, block by block, from its packed reference. As Database.load()."""
    forest = database.forest
    pieces = iterate_chain(forest.file.grid, CHAIN_REFERENCE.unpack(packed), BlockKind.LARGE)
    while True:
        with database.lock:
            database.usable()
            try:
                piece = next(pieces, None)
            except DamageError:
                if database.read_only and forest.file.superblock_moved():
                    raise database.too_old() from None
                raise
        if piece is None:
            return
        yield piece
