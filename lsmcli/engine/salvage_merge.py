"""What is left of one tree: its sources merged by key, the newest entry of each, around holes.

Invariants:
- an entry counts only if no hole in a newer source may have held its key; otherwise it is withheld, since the lost
  entry may have replaced or removed it;
- where an index block tells the fingerprints of the lost keys, only keys with one of these are withheld;
- memory: one value block of each source that spans the present key, and never more than ACTIVE_SIZE_MAX of blocks.

    level 0    |  e   g   |                          newer
    level 1    | b  [ lost: c … h ]  i  |            fingerprints: 3 9 4
    level 2    | a  c  d  f  h  k       |            older

    c d f h are older than the hole: those with fingerprint 3, 9 or 4 are withheld, the others were not in it;
    e g are newer, so nothing is wrong with them.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from lsmcli.engine.block_header import verify_block
from lsmcli.engine.columns import Columns
from lsmcli.engine.constants import KEY_SIZE_MAX, MIB, key_size_max_for
from lsmcli.engine.errors import DamageError, FileError
from lsmcli.engine.grid import Grid
from lsmcli.engine.index_block import FINGERPRINT_SIZE, IndexBlock, fingerprint
from lsmcli.engine.salvage_survey import read_padded
from lsmcli.engine.salvage_tables import Piece, Rank, Source
from lsmcli.engine.schema import ChainReference
from lsmcli.engine.table import columns_of, read_index, read_value
from lsmcli.engine.table_memory import columns_of_stored
from lsmcli.engine.value_block import ValueBlock

ACTIVE_SIZE_MAX: Final = 32 * MIB
_MEMORY_CHUNK_ENTRIES: Final = 512
_RANK_MEMORY: Final[Rank] = (-(1 << 64), 0)

Memory = dict[bytes, bytes | ChainReference | None]


class Hole(NamedTuple):
    """A range of keys of one source that cannot be read; both ends inclusive.

    entry_count: how many entries it had, tombstones included, None if nobody knows. fingerprints: of their keys,
    as index blocks have them; None: any key of the range may have been there.
    """

    key_min: bytes
    key_max: bytes
    entry_count: int | None
    fingerprints: frozenset[int] | None
    level: int
    zone: str
    address: int
    message: str

    def may_hold(self, key: bytes) -> bool:
        """Whether the lost entries may include this key."""
        if not self.key_min <= key <= self.key_max:
            return False
        return self.fingerprints is None or fingerprint(key) in self.fingerprints


class Merged(NamedTuple):
    """Entries in key order. doubtful: keys among them that a newer hole may have held."""

    columns: Columns
    doubtful: frozenset[bytes]
    holes: list[Hole]  # that begin here, before the entries
    guessed: int  # keys that had several versions, of which the newest is a guess


class _Active:
    """A source that is being read: its next chunk."""

    __slots__ = ("chunk", "chunks", "guessed", "rank", "replaced", "told")

    def __init__(self, chunks: Iterator[Columns | Hole], rank: Rank, *, guessed: bool, replaced: bool) -> None:
        self.chunks = chunks
        self.rank = rank
        self.guessed = guessed
        self.replaced = replaced
        self.chunk = next(chunks, None)
        self.told = False  # the chunk is a hole, and was given out

    def advance(self) -> None:
        self.chunk = next(self.chunks, None)
        self.told = False

    @property
    def key_last(self) -> bytes:
        assert self.chunk is not None
        return self.chunk.key_max if isinstance(self.chunk, Hole) else self.chunk.keys[-1]


def merge_sources(grid: Grid, sources: Iterable[Source], memory: Memory) -> Iterator[Merged]:
    """The entries of one tree, tombstones included, in bounded portions."""
    waiting = sorted(sources, key=lambda source: source.info.key_min, reverse=True)
    active: list[_Active] = []
    if memory:
        active.append(_Active(_memory_chunks(memory), _RANK_MEMORY, guessed=False, replaced=False))
    active_max = max(16, ACTIVE_SIZE_MAX // grid.block_size)
    while waiting or active:
        bound = min((each.key_last for each in active), default=None)
        while waiting and (bound is None or waiting[-1].info.key_min <= bound):
            source = waiting.pop()
            chunks = source_chunks(grid, source) if len(active) < active_max else _crowded_out(source)
            opened = _Active(chunks, source.rank, guessed=source.guessed, replaced=source.replaced)
            if opened.chunk is not None:
                active.append(opened)
                bound = opened.key_last if bound is None else min(bound, opened.key_last)
        if bound is None:
            continue
        active.sort(key=lambda each: each.rank, reverse=True)
        yield _round(active, bound)
        active = [each for each in active if each.chunk is not None]


def _round(active: list[_Active], bound: bytes) -> Merged:
    """All entries up to `bound`, and what is left of each chunk behind it. `active` stands from old to new."""
    merged: dict[bytes, tuple[bytes, int]] = {}
    replaced: set[bytes] = set()
    doubtful: set[bytes] = set()
    holes: list[Hole] = []
    taken = 0
    for each in active:
        chunk = each.chunk
        if isinstance(chunk, Hole):
            lost = [key for key in merged if chunk.may_hold(key)]
            doubtful.update(lost)
            replaced.difference_update(lost)
            if not each.told:
                holes.append(chunk)
                each.told = True
            if chunk.key_max <= bound:
                each.advance()
            continue
        assert chunk is not None
        cut = bisect_right(chunk.keys, bound)
        keys = chunk.keys[:cut]
        merged.update(zip(keys, zip(chunk.values, chunk.flags, strict=True), strict=False))
        if each.guessed and not each.replaced:
            taken += cut
        if each.replaced:
            replaced.update(keys)
        else:
            replaced.difference_update(keys)
        doubtful.difference_update(keys)
        if cut < len(chunk.keys):
            each.chunk = chunk.cut(cut)
        else:
            each.advance()
    for key in replaced:
        del merged[key]
    keys = sorted(merged)
    entries = [merged[key] for key in keys]
    columns = Columns(keys, [value for value, _ in entries], bytes(flag for _, flag in entries))
    return Merged(columns, frozenset(doubtful), holes, max(0, taken - len(keys)))


def _memory_chunks(memory: Memory) -> Iterator[Columns]:
    keys_all = sorted(memory)
    for start in range(0, len(keys_all), _MEMORY_CHUNK_ENTRIES):
        keys = keys_all[start : start + _MEMORY_CHUNK_ENTRIES]
        yield columns_of_stored(keys, [memory[key] for key in keys])


def source_chunks(grid: Grid, source: Source) -> Iterator[Columns | Hole]:
    """The entries of a source in key order, a value block at a time, with holes where one cannot be read."""
    if source.pieces is not None:
        yield from _piece_chunks(grid, source, source.pieces)
        return
    info = source.info
    try:
        index = read_index(grid, info)
    except (DamageError, FileError) as error:  # it held when the tables were looked up: the disk is failing
        yield _hole_of(source, str(error))
        return
    for block in range(index.block_count):
        try:
            value_block = read_value(grid, info, index, block)
            chunk = columns_of(grid, info, index, block, value_block, 0, value_block.count)
        except (DamageError, FileError) as error:
            yield _block_hole(source, index, block, str(error))
            continue
        yield chunk


def _block_hole(source: Source, index: IndexBlock, block: int, message: str) -> Hole:
    packed = index.fingerprints(block)
    width = FINGERPRINT_SIZE
    marks = frozenset(int.from_bytes(packed[at : at + width], "little") for at in range(0, len(packed), width))
    return Hole(
        key_min=index.keys_last[block - 1] + b"\0" if block else source.info.key_min,
        key_max=index.keys_last[block],
        entry_count=index.entry_counts[block],
        fingerprints=marks,
        level=source.info.level,
        zone="value",
        address=index.references[block].address,
        message=message,
    )


def _hole_of(source: Source, message: str) -> Hole:
    """The whole source as a hole."""
    info = source.info
    address = info.reference.address
    return Hole(info.key_min, info.key_max, info.entry_count, None, info.level, "index", address, message)


def _crowded_out(source: Source) -> Iterator[Columns | Hole]:
    yield _hole_of(source, "more tables claim the same keys than any file of this program has")


def _piece_chunks(grid: Grid, source: Source, pieces: list[Piece]) -> Iterator[Columns | Hole]:
    """The value blocks of a table without an index block; when some are missing, the gaps are holes."""
    info = source.info
    if not pieces:
        yield _hole_of(source, source.problem)
        return
    missing = None
    if not source.whole:
        missing = max(0, info.entry_count - sum(piece.entry_count for piece in pieces))
    key_next = info.key_min
    for piece in pieces:
        if missing is not None and key_next < piece.key_min:
            gap = _hole_of(source, source.problem)
            yield gap._replace(key_min=key_next, key_max=key_before(piece.key_min), entry_count=missing)
            missing = 0
        data = read_padded(grid.storage, grid.offset(piece.address), grid.block_size)
        try:
            header = verify_block(data, grid.uuid, piece.address)
            block = ValueBlock(grid.codec.decoded(data[: header.size]))
            yield Columns(*block.columns(key_size_max=key_size_max_for(grid.block_size)))
        except DamageError as error:
            yield _hole_of(source, str(error))._replace(
                key_min=piece.key_min, key_max=piece.key_max, entry_count=piece.entry_count, address=piece.address
            )
        key_next = piece.key_max + b"\0"
    if missing is not None and key_next <= info.key_max:
        yield _hole_of(source, source.problem)._replace(key_min=key_next, entry_count=missing)


def key_before(key: bytes) -> bytes:
    """The largest key below this one, which is not empty: (b"b") = b"a" and 0xff up to the longest key."""
    if key[-1] == 0:
        return key[:-1]
    return (key[:-1] + bytes([key[-1] - 1])).ljust(KEY_SIZE_MAX, b"\xff")
