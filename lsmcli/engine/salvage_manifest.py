"""The manifest and the free set of a damaged file: those of its root or, without one, the newest that fit each other.

Invariants:
- what a manifest that is read to its end says is authoritative; a part of one says only what is newest;
- nothing is read more than once for each free set that is tried, and of those only so many are.
"""

from typing import Final, NamedTuple

from lsmcli.engine.block_chain import PAYLOAD_OFFSET, read_free_set
from lsmcli.engine.block_header import HEADER_SIZE
from lsmcli.engine.constants import SNAPSHOT_LATEST
from lsmcli.engine.errors import DamageError, FileError
from lsmcli.engine.free_set import FreeSet
from lsmcli.engine.grid import Grid
from lsmcli.engine.index_block import IndexBlock
from lsmcli.engine.manifest_log import decode_block
from lsmcli.engine.salvage_survey import Survey, read_padded
from lsmcli.engine.schema import (
    CHAIN_HEAD,
    REFERENCE_NONE,
    BlockHeader,
    BlockKind,
    BlockReference,
    ChainReference,
    Superblock,
    TableEventKind,
)
from lsmcli.engine.table_info import TableInfo

STATES_TRIED_MAX: Final = 64  # of a file without a root: free sets that are tried, newest first


class Manifest(NamedTuple):
    """What could be read of the manifest log; seen: every table that it mentions, removed ones too."""

    tables: list[TableInfo]
    seen: set[tuple[int, int]]
    whole: bool


def read_manifest(grid: Grid, reference: BlockReference, block_count: int) -> Manifest:
    """The manifest log from its newest block on, as far as it holds."""
    tables: list[TableInfo] = []
    seen: set[tuple[int, int]] = set()
    for _ in range(block_count):
        try:
            block = decode_block(grid.read(reference, BlockKind.MANIFEST), reference.address, grid.block_size)
        except (DamageError, FileError):
            return Manifest(tables, seen, whole=False)
        for record in reversed(block.records):
            key = (record.event.tree_id, record.event.address)
            if key not in seen:
                seen.add(key)
                if record.event.event != TableEventKind.REMOVE:
                    tables.append(TableInfo.from_event(*record))
        reference = block.older
    return Manifest(tables, seen, whole=True)


def free_set_of(grid: Grid, superblock: Superblock) -> FreeSet | None:
    """The free set of this superblock, None if it does not hold."""
    reference = ChainReference(
        superblock.free_set_address,
        superblock.free_set_address_twin,
        superblock.free_set_checksum,
        superblock.free_set_size,
        superblock.free_set_block_count,
        0,
        superblock.op_checkpoint,
    )
    block_count, grid.block_count = grid.block_count, superblock.block_count
    try:
        return read_free_set(grid, reference)
    except (DamageError, FileError):
        return None
    finally:
        grid.block_count = block_count


def find_state(grid: Grid, survey: Survey, notes: list[str]) -> tuple[Manifest, FreeSet | None]:
    """Without a superblock: the newest free set that holds and the manifest that fits it, as far as there are such.

    They fit when the blocks of the log that are in use make a whole log, which names just the tables in use.
    """
    heads = [(survey.header(address), _chain_index(grid, address)) for address in survey.addresses(BlockKind.FREE_SET)]
    heads.sort(key=lambda head: (head[0].snapshot, head[1], head[0].address), reverse=True)
    logs = {}
    for address in survey.addresses(BlockKind.MANIFEST):
        header = survey.header(address)
        logs[header.address] = (
            _chain_index(grid, address),
            BlockReference(header.address, header.address_twin, header.checksum),
        )
    indexes = set(survey.addresses(BlockKind.INDEX))
    seen: set[bytes] = set()
    free_set_newest: FreeSet | None = None
    for header, index in heads:
        if header.checksum in seen or len(seen) == STATES_TRIED_MAX:
            continue
        seen.add(header.checksum)
        free_set = _free_set_from(grid, header, index, survey)
        if free_set is None:
            continue
        free_set_newest = free_set_newest or free_set
        used = [logged for address, logged in logs.items() if in_use(free_set, address)]
        manifest = read_manifest(grid, max(used)[1] if used else REFERENCE_NONE, len(used))
        addresses = {info.reference.address for info in manifest.tables if info.block_count}
        used_tables = {address for address in indexes if in_use(free_set, address)}
        if manifest.whole and used_tables <= addresses and all(in_use(free_set, address) for address in addresses):
            return manifest, free_set
    if free_set_newest is not None:
        notes.append("no manifest fits the free set: tables in use are taken, by level and age")
        return Manifest([], set(), whole=False), free_set_newest
    if logs:
        notes.append("no free set holds: the newest manifest that was found is taken")
        heads_newest = sorted(logs.values(), reverse=True)[:STATES_TRIED_MAX]
        newest = max(heads_newest, key=lambda logged: (_op_of(grid, logged), logged[0]))
        manifest = read_manifest(grid, newest[1], survey.block_count)
        tables = [info for info in manifest.tables if not was_released(grid, survey, info)]
        return manifest._replace(tables=_latest_of(tables), whole=False), None
    notes.append("no manifest and no free set hold: tables are taken in the order in which they were written")
    return Manifest([], set(), whole=False), None


def _op_of(grid: Grid, logged: tuple[int, BlockReference]) -> int:
    """The newest op that the log from this block on knows of, as far as it holds; its position bounds the length."""
    op = 0
    index, reference = logged
    for _ in range(min(index, grid.block_count) + 1):
        try:
            block = decode_block(grid.read(reference, BlockKind.MANIFEST), reference.address, grid.block_size)
        except (DamageError, FileError):
            break
        ends = [event.snapshot_max for event, _, _ in block.records if event.snapshot_max != SNAPSHOT_LATEST]
        op = max([op, *ends, *(event.snapshot_min for event, _, _ in block.records)])
        reference = block.older
    return op


def was_released(grid: Grid, survey: Survey, info: TableInfo) -> bool:
    """Whether a block of the table was given to something else since: then nobody needs the table."""
    reference = info.reference
    if survey.holds(reference.address) and survey.header(reference.address).checksum != reference.checksum:
        return True
    try:
        index = IndexBlock(grid.read(reference, BlockKind.INDEX))
    except (DamageError, FileError):
        return False
    return any(
        survey.holds(block.address) and survey.header(block.address).checksum != block.checksum
        for block in index.references
    )


def _latest_of(tables: list[TableInfo]) -> list[TableInfo]:
    """Of tables of one tree and level that share keys, only those that were written last.

    A log without its superblock does not tell where it ends: behind its end are tables whose removal was forgotten.
    """
    kept: list[TableInfo] = []
    ends: dict[tuple[int, int], TableInfo] = {}
    for info in sorted(tables, key=lambda info: info.key_min):
        place = (info.tree_id, info.level)
        before = ends.get(place)
        crosses = before is not None and info.block_count and info.key_min <= before.key_max
        if crosses and before is not None and before.snapshot_max == info.snapshot_max:
            if before.snapshot_min >= info.snapshot_min:
                continue
            kept.remove(before)
        kept.append(info)
        if info.block_count:
            ends[place] = info
    return kept


def _chain_index(grid: Grid, address: int) -> int:
    data = read_padded(grid.storage, grid.offset(address), PAYLOAD_OFFSET)
    return CHAIN_HEAD.unpack(data, HEADER_SIZE).index


def _free_set_from(grid: Grid, header: BlockHeader, index: int, survey: Survey) -> FreeSet | None:
    """The free set whose newest link this is; None if it is not whole. `index` links follow."""
    link = BlockReference(header.address, header.address_twin, header.checksum)
    size = 0
    if index >= survey.block_count:
        return None
    try:
        for _ in range(index + 1):
            data = grid.read(link, BlockKind.FREE_SET)
            if len(data) < PAYLOAD_OFFSET:
                return None
            head = CHAIN_HEAD.unpack(data, HEADER_SIZE)
            size += len(data) - PAYLOAD_OFFSET
            link = BlockReference(head.next_address, head.next_address_twin, head.next_checksum)
        reference = ChainReference(
            header.address, header.address_twin, header.checksum, size, index + 1, 0, header.snapshot
        )
        return read_free_set(grid, reference)
    except (DamageError, FileError):
        return None


def in_use(free_set: FreeSet | None, address: int) -> bool:
    """Whether the free set calls the block used; without a free set everything may be."""
    if free_set is None:
        return True
    return 1 <= address <= free_set.block_count and free_set.is_acquired(address)
