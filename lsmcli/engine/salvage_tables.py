"""Which tables a damaged file has, in what order they count, and which blocks still belong to them.

Invariants:
- where the manifest is whole, only what it names is read: nothing stale comes back;
- every value block belongs to one table at most, so that a made-up file cannot be read over and over;
- a table that lost its index block is put together from the value blocks that say they belong to it: tree, op, key
  range, and in use by the free set. Its manifest record tells how many entries it must have.

How the order is known:

    manifest whole                 by level: of two tables with one key the upper level is newer
    manifest damaged, free set     tables in use, by the level that the newest record found of each tells, else that
                                   which its header tells; then by age. A guess where tables have moved: told so.
    both gone                      by age alone: what a merge wrote last is what it made of all before
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from lsmcli.engine.block_header import verify_block
from lsmcli.engine.constants import SNAPSHOT_LATEST, key_size_max_for
from lsmcli.engine.errors import DamageError, FileError
from lsmcli.engine.free_set import FreeSet
from lsmcli.engine.grid import Grid
from lsmcli.engine.index_block import IndexBlock
from lsmcli.engine.manifest_log import LoggedTable, decode_block
from lsmcli.engine.salvage_manifest import Manifest, find_state, free_set_of, in_use, read_manifest, was_released
from lsmcli.engine.salvage_survey import Survey, read_padded
from lsmcli.engine.schema import BlockHeader, BlockKind, BlockReference, Superblock
from lsmcli.engine.table import read_index
from lsmcli.engine.table_info import TableInfo
from lsmcli.engine.value_block import ValueBlock

Rank = tuple[int, int]  # lower is newer

_RANK_STALE: Final = 1 << 64  # older than all else


class Piece(NamedTuple):
    """A value block of a table that has no index block any more."""

    address: int
    key_min: bytes
    key_max: bytes
    entry_count: int


class Source:
    """A table to read from.

    rank: of two sources with one key the one of lower rank is newer. guessed: the rank is not certain.
    pieces: its value blocks in key order, where its index block is lost; whole: they are all there.
    replaced: it is dead, or seems so: it counts only for keys that a newer source lost.
    """

    __slots__ = ("guessed", "info", "pieces", "problem", "rank", "replaced", "whole")

    def __init__(self, info: TableInfo, rank: Rank, *, guessed: bool) -> None:
        self.info = info
        self.rank = rank
        self.guessed = guessed
        self.pieces: list[Piece] | None = None
        self.whole = True
        self.replaced = False
        self.problem = ""

    def visible(self, snapshot: int | None) -> bool:
        """Whether it counts at this op; None: now."""
        if snapshot is None or self.replaced:
            return self.info.snapshot_max == SNAPSHOT_LATEST
        return self.info.visible(snapshot)


class Tables(NamedTuple):
    """What was found. exact: the manifest is whole, and `sources` is what it says. superblock: whose manifest.

    left_out: value blocks that hold but belong to nothing that is known to be live.
    """

    sources: list[Source]
    exact: bool
    superblock: Superblock | None
    left_out: int
    notes: list[str]


def tables_of(
    grid: Grid, superblocks: list[Superblock], survey: Callable[[], Survey], *, include_stale: bool
) -> Tables:
    """The tables of the file. superblocks: those that may be its root, best first; survey: made when it is needed.

    include_stale: also value blocks that are known, or seem, to be replaced, as the oldest of all.
    """
    notes: list[str] = []
    manifest = Manifest([], set(), whole=False)
    free_set: FreeSet | None = None
    chosen: Superblock | None = None
    for superblock in superblocks:
        reference = BlockReference(
            superblock.manifest_address, superblock.manifest_address_twin, superblock.manifest_checksum
        )
        read = read_manifest(grid, reference, superblock.manifest_block_count)
        if chosen is None or read.whole:
            chosen, manifest, free_set = superblock, read, free_set_of(grid, superblock)
        if read.whole:
            break
        notes.append(f"the manifest of superblock {superblock.sequence} is damaged: both copies of a block of it")
    if not superblocks:
        manifest, free_set = find_state(grid, survey(), notes)
    finder = _Finder(grid, survey, free_set)
    sources = finder.indexed(
        Source(info, (info.level, -info.snapshot_min), guessed=not manifest.whole)
        for info in manifest.tables
        if info.block_count
    )
    if not manifest.whole and (free_set is not None or not manifest.tables):
        sources += finder.indexed(finder.guesses(manifest.seen))
    finder.complete()
    left_out = 0
    if include_stale or not manifest.whole:
        for orphan in finder.orphans(every=include_stale):
            live = not manifest.whole and free_set is not None and in_use(free_set, orphan.info.reference.address)
            orphan.replaced = manifest.whole or (free_set is not None and not live)
            if not live:
                orphan.rank = (_RANK_STALE, -orphan.info.snapshot_min)
            if live or include_stale:
                sources.append(orphan)
            else:
                left_out += 1
    return Tables(sources, manifest.whole, chosen, left_out, notes + finder.notes)


class _Finder:
    """Finds the blocks of tables, and keeps account of which table each value block belongs to."""

    def __init__(self, grid: Grid, survey: Callable[[], Survey], free_set: FreeSet | None) -> None:
        self._grid = grid
        self._survey = survey
        self._free_set = free_set
        self._claimed: set[int] = set()
        self._broken: list[Source] = []
        self.notes: list[str] = []

    def indexed(self, sources: Iterable[Source]) -> list[Source]:
        """The same sources, each with its value blocks claimed; those whose index block is lost are remembered."""
        kept = []
        for source in sources:
            kept.append(source)
            try:
                index = read_index(self._grid, source.info)
            except (DamageError, FileError) as error:
                source.problem = str(error)
                self._broken.append(source)
                continue
            addresses = {reference.address for reference in index.references}
            if len(addresses) < len(index.references) or not self._claimed.isdisjoint(addresses):
                source.problem = f"index block {source.info.reference.address} claims blocks of another table"
                source.pieces, source.whole = [], False
                continue
            self._claimed |= addresses
        return kept

    def guesses(self, seen: set[tuple[int, int]]) -> list[Source]:
        """Tables of which only the index block tells: in use, and not mentioned by what is left of the log."""
        survey = self._survey()
        evidence = self._evidence()
        sources = []
        for address in survey.addresses(BlockKind.INDEX):
            header = survey.header(address)
            if (header.tree_id, address) in seen or not in_use(self._free_set, address):
                continue
            info = self._info_of(header)
            if info is None or (self._free_set is None and was_released(self._grid, survey, info)):
                continue
            logged = evidence.get(header.checksum)
            if logged is not None:
                info.level, info.snapshot_max = logged.event.level, logged.event.snapshot_max
            age = -header.snapshot
            rank = (age, info.level) if self._free_set is None else (info.level, age)
            sources.append(Source(info, rank, guessed=True))
        return sources

    def _evidence(self) -> dict[bytes, LoggedTable]:
        """The newest record found anywhere of each table, by the checksum of its index block.

        A table only ever moves down, and its removal is the last that happens to it.
        """
        found: dict[bytes, LoggedTable] = {}
        for address in self._survey().addresses(BlockKind.MANIFEST):
            try:
                data = read_padded(self._grid.storage, self._grid.offset(address), self._grid.block_size)
                header = verify_block(data, self._grid.uuid, address)
                block = decode_block(data[: header.size], address, self._grid.block_size)
            except DamageError:
                continue
            for record in block.records:
                known = found.get(record.event.checksum)
                if known is None or known.event.level <= record.event.level:
                    found[record.event.checksum] = record
        return found

    def _info_of(self, header: BlockHeader) -> TableInfo | None:
        """A table as its own blocks describe it."""
        reference = BlockReference(header.address, 0, header.checksum)
        try:
            index = IndexBlock(self._grid.read(reference, BlockKind.INDEX))
        except (DamageError, FileError):
            return None
        try:
            key_min = ValueBlock(self._grid.read(index.references[0], BlockKind.VALUE)).key(0)
        except (DamageError, FileError):
            key_min = b"\0"  # nobody can tell it any more: the smallest that there is
        return TableInfo(
            tree_id=header.tree_id,
            level=header.level,
            reference=reference,
            key_min=key_min,
            key_max=index.keys_last[-1],
            block_count=index.block_count,
            entry_count=index.entry_count,
            tombstone_count=index.tombstone_count,
            large_count=index.large_count,
            values_size=0,
            snapshot_min=header.snapshot,
        )

    # Tables without an index block.

    def complete(self) -> None:
        """Gives every table that lost its index block the value blocks that are its own."""
        if not self._broken:
            return
        wanted = {(source.info.tree_id, source.info.snapshot_min) for source in self._broken}
        groups: dict[tuple[int, int], list[Piece]] = {}
        for address, header in self._unclaimed():
            if (header.tree_id, header.snapshot) in wanted:
                piece = self._piece(address)
                if piece is not None:
                    groups.setdefault((header.tree_id, header.snapshot), []).append(piece)
        for source in self._broken:
            info = source.info
            group = groups.get((info.tree_id, info.snapshot_min), [])
            pieces = [piece for piece in group if info.key_min <= piece.key_min and piece.key_max <= info.key_max]
            source.pieces = _disjoint(pieces)
            self._claimed.update(piece.address for piece in source.pieces)
            count = sum(piece.entry_count for piece in source.pieces)
            source.whole = count == info.entry_count and len(source.pieces) == info.block_count
            if source.whole:
                lost = info.reference.address
                self.notes.append(f"index block {lost} is lost, but all value blocks of its table were found")

    def orphans(self, *, every: bool) -> Iterator[Source]:
        """Value blocks that hold and belong to no table, each as a table of its own. every: free ones too."""
        for address, header in self._unclaimed(every=every):
            piece = self._piece(address)
            if piece is None:
                continue
            info = TableInfo(
                tree_id=header.tree_id,
                level=header.level,
                reference=BlockReference(address, 0, header.checksum),
                key_min=piece.key_min,
                key_max=piece.key_max,
                block_count=1,
                entry_count=piece.entry_count,
                tombstone_count=0,
                large_count=0,
                values_size=0,
                snapshot_min=header.snapshot,
            )
            source = Source(info, (header.level, -header.snapshot), guessed=True)
            source.pieces = [piece]
            yield source

    def _unclaimed(self, *, every: bool = False) -> Iterator[tuple[int, BlockHeader]]:
        survey = self._survey()
        for address in survey.addresses(BlockKind.VALUE):
            if address not in self._claimed and (every or in_use(self._free_set, address)):
                yield address, survey.header(address)

    def _piece(self, address: int) -> Piece | None:
        """What an intact value block holds; None for one that makes no sense."""
        data = read_padded(self._grid.storage, self._grid.offset(address), self._grid.block_size)
        try:
            header = verify_block(data, self._grid.uuid, address)
            block = ValueBlock(self._grid.codec.decoded(data[: header.size]))
            keys, _, _ = block.columns(key_size_max=key_size_max_for(self._grid.block_size))
        except DamageError:
            return None
        return Piece(address, keys[0], keys[-1], len(keys))


def _disjoint(pieces: list[Piece]) -> list[Piece]:
    """The pieces in key order, without those that claim the same keys: nobody can say which of them is right."""
    pieces.sort(key=lambda piece: piece.key_min)
    kept: list[Piece] = []
    end: bytes = b""
    crossed = False
    for piece in pieces:
        if kept and piece.key_min <= end:
            crossed = True
        else:
            if crossed and kept:
                kept.pop()
            crossed = False
            kept.append(piece)
        end = max(end, piece.key_max)
    if crossed and kept:
        kept.pop()
    return kept
