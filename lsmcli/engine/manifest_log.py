"""The manifest log: the durable record of every change to the tables of all trees of one file.

Invariants:
- the newest event of a table counts; the log never drops it before the table's REMOVE is in the log;
- a REMOVE is kept as long as an older event of its table is, so that this one cannot come back;
- blocks are dropped from the oldest end only, so dropping changes no block: only the count in the
  superblock tells where the chain ends, and the oldest block may point at one that is long reused;
- after a checkpoint, block_count <= block_count_max(), about twice what the live tables need;
- each block is written twice; a checkpoint that fails leaves all its events buffered.

    superblock: newest, count = 4
                  |
                  v
    index 9      index 8      index 7      index 6      . . . . .
    [ newest ]-->[        ]-->[        ]-->[ oldest ]-->: dropped :
     fresh and                              its events that are still current are
     re-appended events  <----------------- re-appended, then it is dropped

How the log stays short: a checkpoint whose fresh events fill F blocks (the last one perhaps in part) drops
1. the oldest 2 F blocks; those of their events that are still current join the fresh ones;
2. more of the oldest blocks, while their current events fit into the room left in the last new block,
   which is written anyway (a block without any is dropped for nothing);
3. more of them, while the log would still be longer than 2 ceil(live / capacity) + 2 blocks.

The bound holds after each checkpoint. Either step 3 ended because it holds, or no old block is left: then
the log is what was just written, the live events packed one after the other. Two neighbours of it
hold more than one capacity together, or the second block's first event would be in the first, so there are at
most 2 live / capacity + 1 of them. (Removals that no older block needs any more are left out after the
plan is made; leaving out an event never makes a packing longer.)

The work is bounded too: steps 1 and 2 re-append at most 2 F + 1 blocks. Step 3 is for what they miss, as when
most tables go at once. Each event is re-appended once while the log is walked from end to end, so L blocks of
live events in N > 2 L of log cost at most one block re-appended for each two dropped.
"""

from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Final, NamedTuple

from lsmcli.engine.block_header import HEADER_SIZE, block_damage
from lsmcli.engine.constants import KEY_SIZE_MIN, LEVELS, key_size_max_for
from lsmcli.engine.errors import DamageError
from lsmcli.engine.grid import Grid
from lsmcli.engine.schema import (
    CHAIN_HEAD,
    REFERENCE_NONE,
    TABLE_EVENT,
    BlockKind,
    BlockReference,
    ChainHead,
    TableEvent,
    TableEventKind,
)
from lsmcli.engine.table_info import TableInfo

ZONE: Final = "manifest"
BLOCKS_SLACK: Final = 2  # at least 1, or the bound would not hold for a log that was just rewritten
DROPPED_PER_FRESH: Final = 2
INDEX_COUNT: Final = 1 << 32  # ChainHead.index wraps

_KINDS_KNOWN: Final = frozenset(int(kind) for kind in TableEventKind)

TableKey = tuple[int, int]  # tree_id, address of the index block


class LoggedTable(NamedTuple):
    """One record of the log. Both keys are empty for an out-of-line value (event.block_count 0)."""

    event: TableEvent
    key_min: bytes
    key_max: bytes

    def pack(self) -> bytes:
        """The record as it stands in a block."""
        return TABLE_EVENT.pack(self.event) + self.key_min + self.key_max


class LogBlock(NamedTuple):
    """A decoded block of the log: its link to the next older one, and its records, oldest first."""

    head: ChainHead
    records: list[LoggedTable]

    @property
    def older(self) -> BlockReference:
        """The block before this one; meaningless in the last block that the superblock counts."""
        return BlockReference(self.head.next_address, self.head.next_address_twin, self.head.next_checksum)


def decode_block(data: bytes, address: int, block_size: int) -> LogBlock:
    """Parses a verified block, header included. Raises DamageError: a checksum proves no good intentions."""
    offset = HEADER_SIZE + CHAIN_HEAD.size
    if len(data) < offset:
        raise block_damage(ZONE, address, f"{len(data)} bytes are too few for its head")
    head = CHAIN_HEAD.unpack(data, HEADER_SIZE)
    if not 0 < head.entry_count <= (len(data) - offset) // TABLE_EVENT.size:
        raise block_damage(ZONE, address, f"{head.entry_count} records do not fit it")
    key_size_max = key_size_max_for(block_size)
    records = []
    for position in range(head.entry_count):
        keys_at = offset + TABLE_EVENT.size
        if keys_at > len(data):
            raise block_damage(ZONE, address, f"record {position} of {head.entry_count} is cut off")
        event = TABLE_EVENT.unpack(data, offset)
        key_max_at = keys_at + event.key_min_size
        offset = key_max_at + event.key_max_size
        if offset > len(data):
            raise block_damage(ZONE, address, f"the keys of record {position} are cut off")
        record = LoggedTable(event, data[keys_at:key_max_at], data[key_max_at:offset])
        if problem := _record_problem(record, key_size_max):
            raise block_damage(ZONE, address, f"record {position}: {problem}")
        records.append(record)
    if offset != len(data):
        raise block_damage(ZONE, address, f"{len(data) - offset} bytes follow its last record")
    return LogBlock(head, records)


def _record_problem(record: LoggedTable, key_size_max: int) -> str:
    """What is wrong with a record by itself; "" when nothing is."""
    event = record.event
    if event.event not in _KINDS_KNOWN:
        return f"its kind, {event.event}, is unknown"
    if event.level >= LEVELS:
        return f"its level, {event.level}, is not below {LEVELS}"
    if event.tree_id == 0 or event.address == 0:
        return "it names no tree or no block"
    if event.snapshot_min > event.snapshot_max:
        return f"its snapshots, {event.snapshot_min} to {event.snapshot_max}, are out of order"
    if event.block_count == 0:
        return "an out-of-line value has no keys" if event.key_min_size or event.key_max_size else ""
    if not KEY_SIZE_MIN <= event.key_min_size <= key_size_max or not KEY_SIZE_MIN <= event.key_max_size <= key_size_max:
        return f"its keys have {event.key_min_size} and {event.key_max_size} bytes"
    if record.key_min > record.key_max:
        return "its keys are out of order"
    if event.entry_count == 0 or event.tombstone_count > event.entry_count or event.large_count > event.entry_count:
        return f"its counts of entries are {event.entry_count}, {event.tombstone_count}, {event.large_count}"
    return ""


class _Block:
    """A block that is in the log. `keys` of all its records; `current` are the records that still count."""

    __slots__ = ("current", "index", "keys", "reference")

    def __init__(
        self, reference: BlockReference, index: int, keys: list[TableKey], current: dict[TableKey, bytes]
    ) -> None:
        self.reference = reference
        self.index = index
        self.keys = keys
        self.current = current


class _Packing:
    """Counts the blocks that records take when they are packed one after the other."""

    __slots__ = ("block_count", "capacity", "room")

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.block_count = 0
        self.room = 0  # left in the last block

    def add(self, size: int) -> bool:
        """Adds a record; whether it begins a new block."""
        assert size <= self.capacity
        begins = size > self.room
        if begins:
            self.block_count += 1
            self.room = self.capacity
        self.room -= size
        return begins


class ManifestLog:
    """See the module's docstring. One for all trees of a file.

    Memory: one packed record (72 bytes and two keys) for each live table, and the identity of each record.
    """

    __slots__ = ("_blocks", "_buffer", "_buffer_removed", "_capacity", "_grid", "_newest", "live_size")

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._capacity = grid.block_size - HEADER_SIZE - CHAIN_HEAD.size
        self._blocks: deque[_Block] = deque()  # oldest first
        self._newest: dict[TableKey, _Block] = {}  # the newest block that has any record of the table
        self._buffer: dict[TableKey, bytes] = {}  # records since the last checkpoint, one for each table
        self._buffer_removed: dict[TableKey, bytes] = {}
        self.live_size = 0  # bytes of the records that count, buffered ones included

    @property
    def block_count(self) -> int:
        """Blocks in the log, not counting second copies, as of the last checkpoint."""
        return len(self._blocks)

    @property
    def head(self) -> BlockReference:
        """The newest block as of the last checkpoint; REFERENCE_NONE when the log is empty."""
        return self._blocks[-1].reference if self._blocks else REFERENCE_NONE

    @property
    def waiting(self) -> bool:
        """Whether the next checkpoint has anything to write."""
        return bool(self._buffer or self._buffer_removed)

    def references(self) -> list[BlockReference]:
        """Every block of the log, oldest first."""
        return [block.reference for block in self._blocks]

    def block_count_max(self) -> int:
        """Blocks that the log has at most after a checkpoint, by what the live tables need."""
        return 2 * -(-self.live_size // self._capacity) + BLOCKS_SLACK

    # Opening.

    def open(self, reference: BlockReference, block_count: int) -> Iterator[LoggedTable]:
        """Reads the log, newest block first, and yields the newest record of each table that is not removed.

        Takes over the log for appending; must be read to its end before that. Reads block_count blocks.
        Raises DamageError.
        """
        assert not self._blocks
        assert not self._newest
        if (reference.address == 0) != (block_count == 0) or block_count > self._grid.block_count:
            raise DamageError(
                f"manifest: the superblock counts {block_count} blocks from block {reference.address} on, in a grid "
                f"of {self._grid.block_count}; run verify, or salvage into a new file",
                zone=ZONE,
                address=reference.address or None,
            )
        addresses: set[int] = set()
        index = None
        for position in range(block_count):
            if reference.address == 0:
                raise block_damage(
                    ZONE, self._blocks[0].reference.address, f"the log ends at {position} of {block_count}"
                )
            data = self._grid.read(reference, BlockKind.MANIFEST)
            head, records = decoded = decode_block(data, reference.address, self._grid.block_size)
            if index is not None and head.index != (index - 1) % INDEX_COUNT:
                raise block_damage(ZONE, reference.address, f"its position is {head.index}, behind {index}")
            index = head.index
            block = _Block(reference, index, [], {})
            self._blocks.appendleft(block)
            yield from self._open_records(block, records, addresses)
            reference = decoded.older

    def _open_records(self, block: _Block, records: list[LoggedTable], addresses: set[int]) -> Iterator[LoggedTable]:
        """Of a block's records, newest first, those that count. `addresses` are those of live tables so far."""
        for record in reversed(records):
            event = record.event
            key = (event.tree_id, event.address)
            block.keys.append(key)
            if key in self._newest:
                continue
            self._newest[key] = block
            if event.event == TableEventKind.REMOVE:
                continue
            if event.address > self._grid.block_count:
                raise block_damage(ZONE, block.reference.address, f"it names block {event.address}, outside the grid")
            if event.address in addresses:
                raise block_damage(ZONE, block.reference.address, f"block {event.address} belongs to two tables")
            addresses.add(event.address)
            block.current[key] = packed = record.pack()
            self.live_size += len(packed)
            yield record

    # Appending.

    def append(self, info: TableInfo, kind: TableEventKind) -> None:
        """Notes a change of a table; it is written by the next checkpoint. Never fails."""
        key = (info.tree_id, info.reference.address)
        block = self._newest.get(key)
        superseded = self._buffer.pop(key, b"")
        if not superseded and block is not None:
            superseded = block.current.pop(key, b"")
        self.live_size -= len(superseded)
        self._buffer_removed.pop(key, None)
        packed = info.to_event(kind)
        if kind != TableEventKind.REMOVE:
            self._buffer[key] = packed
            self.live_size += len(packed)
        elif block is not None:
            self._buffer_removed[key] = packed

    def checkpoint(self, *, op: int = 0) -> tuple[BlockReference, int]:
        """Writes what was appended, not synced: the newest block and the block count for the superblock.

        op: goes into the blocks' headers. Blocks that are dropped are released to the grid, so this comes before the
        free set is encoded. Raises NoSpaceError and other FileErrors, with the log as it was, and
        DamageError when a dropped block was not in use.
        """
        if self._buffer or self._buffer_removed:
            dropped = list(islice(self._blocks, self._drop_count()))
            kept = self._blocks[-1] if len(dropped) < len(self._blocks) else None
            written = self._write(self._records(dropped), kept, op)
            self._take_over(dropped, written)
            assert self.block_count <= self.block_count_max()
            for block in dropped:
                self._grid.release_reference(block.reference)
        return self.head, self.block_count

    def _drop_count(self) -> int:
        """How many of the oldest blocks this checkpoint drops, by the three steps of the module's docstring."""
        packing = _Packing(self._capacity)
        for buffer in (self._buffer, self._buffer_removed):
            for packed in buffer.values():
                packing.add(len(packed))
        paced = DROPPED_PER_FRESH * packing.block_count
        block_count_max = self.block_count_max()
        for count, block in enumerate(self._blocks):
            sizes = [len(packed) for packed in block.current.values()]
            too_long = len(self._blocks) - count + packing.block_count > block_count_max
            if count >= paced and sum(sizes) > packing.room and not too_long:
                return count
            for size in sizes:
                packing.add(size)
        return len(self._blocks)

    def _records(self, dropped: list[_Block]) -> dict[TableKey, bytes]:
        """What is to be written when these blocks are dropped, in the order in which _drop_count() packed it."""
        gone = {id(block) for block in dropped}
        needed = {key: packed for key, packed in self._buffer_removed.items() if id(self._newest[key]) not in gone}
        records = self._buffer | needed
        for block in dropped:
            records.update(block.current)
        return records

    def _write(self, records: dict[TableKey, bytes], older: _Block | None, op: int) -> list[_Block]:
        """Writes the records as blocks on top of `older`. On failure every block goes back to the grid."""
        packing = _Packing(self._capacity)
        contents: list[list[tuple[TableKey, bytes]]] = []
        for item in records.items():
            if packing.add(len(item[1])):
                contents.append([])
            contents[-1].append(item)
        if not contents:
            return []
        reservation = self._grid.reserve(2 * len(contents))
        addresses: list[int] = []
        blocks: list[_Block] = []
        try:
            addresses.extend(self._grid.acquire(reservation) for _ in range(2 * len(contents)))
            for position, items in enumerate(contents):
                # First copies and second copies lie apart where there are several: damage is mostly local.
                address, address_twin = addresses[position], addresses[position + len(contents)]
                index = (older.index + 1) % INDEX_COUNT if older else 0
                next_ = older.reference if older else REFERENCE_NONE
                head = ChainHead(next_.address, next_.address_twin, next_.checksum, len(items), index, 0)
                body = b"".join((CHAIN_HEAD.pack(head), *(packed for _, packed in items)))
                reference = self._grid.write(address, BlockKind.MANIFEST, body, snapshot=op, address_twin=address_twin)
                current = {key: packed for key, packed in items if packed[0] != TableEventKind.REMOVE}
                older = _Block(reference, index, [key for key, _ in items], current)
                blocks.append(older)
        except BaseException:
            self._grid.forfeit(reservation)
            self._grid.release_all(addresses)
            raise
        return blocks

    def _take_over(self, dropped: list[_Block], written: list[_Block]) -> None:
        """The blocks are written: from here on the log is the new one. Nothing here can fail."""
        for block in dropped:
            assert self._blocks.popleft() is block
            for key in block.keys:
                if self._newest.get(key) is block:
                    del self._newest[key]
        for block in written:
            self._blocks.append(block)
            for key in block.keys:
                self._newest[key] = block
        self._buffer.clear()
        self._buffer_removed.clear()


__all__ = ["LogBlock", "LoggedTable", "ManifestLog", "decode_block"]
