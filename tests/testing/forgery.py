"""A data file with any field of it changed, and all checksums right: what only a crafted file can hold.

    forgery = Forgery(image)
    forgery.change(place, b"...")      # a place is one field of one record, see places()
    forgery.image()                    # the checksums above it are made right, up to the superblock

Invariants:
- a reference carries the checksum of the block it points at: whoever holds the old checksum gets the new one, and has
  changed itself then; so the repair ends at the superblock, or at a record of the log and all those behind it;
- second copies are made equal to the first ones; all six superblock copies are equal.
"""

import random
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from lsmcli.engine import superblock as superblock_zone
from lsmcli.engine.checksum import checksum
from lsmcli.engine.constants import GRID_OFFSET, superblock_copy_offset
from lsmcli.engine.data_file import DataFile
from lsmcli.engine.schema import (
    BLOCK_HEADER,
    BLOCK_REFERENCE,
    CHAIN_HEAD,
    CHAIN_REFERENCE,
    CHECKSUM_SIZE,
    FLAG_LARGE,
    INDEX_BLOCK_HEAD,
    SUPERBLOCK,
    SUPERBLOCK_COPY_HEAD,
    TABLE_EVENT,
    VALUE_BLOCK_HEAD,
    WAL_ENTRY,
    WAL_RECORD_HEADER,
    BlockKind,
    Layout,
    WalRecordKind,
)
from tests.testing.operations import BLOCK_SIZE
from tests.testing.pages import Pages
from tests.testing.storage import SimulatedStorage

HEADER_SIZE: Final = BLOCK_HEADER.size
SUPERBLOCK_ITSELF: Final = 0  # as the address of a place
LOG: Final = -1


class Place(NamedTuple):
    """A field: in a block (by its address), in the superblock, or in the live log; offset from where that begins."""

    address: int
    offset: int
    size: int
    name: str  # "TableEvent.level"
    number: bool


class Forgery:
    """See the top of this file. `blocks` are the first copies of the blocks in use, header and body."""

    def __init__(self, image: Pages) -> None:
        self._image = Pages(image)
        file = DataFile(SimulatedStorage(image), cache_size=0, writable=False)
        self.superblock = bytearray(SUPERBLOCK.pack(file.superblock))
        self.blocks: dict[int, bytearray] = {}
        for offset in range(GRID_OFFSET, len(image), BLOCK_SIZE):
            header = BLOCK_HEADER.unpack(image.read(offset, HEADER_SIZE))
            address = (offset - GRID_OFFSET) // BLOCK_SIZE + 1
            if header.size and header.address == address:
                self.blocks[address] = bytearray(image.read(offset, header.size))
        recovery = file.recovery()
        self.log_at = file.superblock.wal_offset + recovery.start.position
        self.records: list[tuple[int, int, int]] = []  # offset in the log, size without padding, end
        for _, body, after in recovery.records():
            end = file.superblock.wal_offset + after.position - self.log_at
            begin = self.records[-1][2] if self.records else 0
            self.records.append((begin, WAL_RECORD_HEADER.size + len(body), end))
        self.log = bytearray(image.read(self.log_at, self.records[-1][2]))
        self._dirty: list[int] = []

    def copy(self) -> "Forgery":
        """Another one of the same file, as it is now."""
        copy = Forgery.__new__(Forgery)
        copy._image = Pages(self._image)
        copy.superblock, copy.log = bytearray(self.superblock), bytearray(self.log)
        copy.blocks = {address: bytearray(block) for address, block in self.blocks.items()}
        copy.log_at, copy.records, copy._dirty = self.log_at, self.records, list(self._dirty)
        return copy

    # Places.

    def places(self) -> Iterator[Place]:
        """Every field that the format knows."""
        yield from _fields(SUPERBLOCK, SUPERBLOCK_ITSELF, 0)
        for begin, _, _ in self.records:
            yield from _fields(WAL_RECORD_HEADER, LOG, begin)
            yield from self._entries(begin)
        for address, block in self.blocks.items():
            yield from _fields(BLOCK_HEADER, address, 0)
            yield from self._body(address, block)

    def _entries(self, begin: int) -> Iterator[Place]:
        header = WAL_RECORD_HEADER.unpack(self.log, begin)
        at = begin + WAL_RECORD_HEADER.size
        for _ in range(header.entry_count if header.kind == WalRecordKind.OP else 0):
            entry = WAL_ENTRY.unpack(self.log, at)
            yield from _fields(WAL_ENTRY, LOG, at)
            at += WAL_ENTRY.size + entry.key_size
            if entry.flags == FLAG_LARGE:
                yield from _fields(CHAIN_REFERENCE, LOG, at)
            at += entry.value_size

    def _body(self, address: int, block: bytearray) -> Iterator[Place]:
        kind = BLOCK_HEADER.unpack(block).kind
        if kind in (BlockKind.FREE_SET, BlockKind.MANIFEST, BlockKind.LARGE):
            yield from _fields(CHAIN_HEAD, address, HEADER_SIZE)
            at = HEADER_SIZE + CHAIN_HEAD.size
            if kind == BlockKind.MANIFEST:
                for _ in range(CHAIN_HEAD.unpack(block, HEADER_SIZE).entry_count):
                    event = TABLE_EVENT.unpack(block, at)
                    yield from _fields(TABLE_EVENT, address, at)
                    at += TABLE_EVENT.size
                    yield Place(address, at, event.key_min_size, "TableEvent key_min", number=False)
                    at += event.key_min_size
                    yield Place(address, at, event.key_max_size, "TableEvent key_max", number=False)
                    at += event.key_max_size
            elif kind == BlockKind.FREE_SET:
                yield from (Place(address, each, 4, "free set run", number=True) for each in range(at, len(block), 4))
        elif kind == BlockKind.INDEX:
            yield from _fields(INDEX_BLOCK_HEAD, address, HEADER_SIZE)
            at = HEADER_SIZE + INDEX_BLOCK_HEAD.size
            for _ in range(INDEX_BLOCK_HEAD.unpack(block, HEADER_SIZE).block_count):
                yield from _fields(BLOCK_REFERENCE, address, at)
                at += BLOCK_REFERENCE.size
            yield from _shorts(address, at, len(block), "index column")
        elif kind == BlockKind.VALUE:
            yield from _fields(VALUE_BLOCK_HEAD, address, HEADER_SIZE)
            yield from _shorts(address, HEADER_SIZE + VALUE_BLOCK_HEAD.size, len(block), "value column")

    # Changes.

    def read(self, place: Place) -> bytes:
        """What stands there."""
        return bytes(self._holder(place.address)[place.offset : place.offset + place.size])

    def change(self, place: Place, data: bytes) -> None:
        """Puts these bytes there."""
        assert len(data) == place.size
        self._holder(place.address)[place.offset : place.offset + place.size] = data
        if place.address > 0:
            self._dirty.append(place.address)

    def _holder(self, address: int) -> bytearray:
        if address == SUPERBLOCK_ITSELF:
            return self.superblock
        return self.log if address == LOG else self.blocks[address]

    def image(self) -> Pages:
        """The file, all of whose checksums are right."""
        steps = 0
        while self._dirty and steps < 1000:  # two blocks that hold each other's checksum would never end
            self._seal_block(self._dirty.pop(0))
            steps += 1
        self._seal_log()
        for address, block in self.blocks.items():
            self._image.write(GRID_OFFSET + (address - 1) * BLOCK_SIZE, bytes(block[:BLOCK_SIZE]))
            twin = BLOCK_HEADER.unpack(block).address_twin
            if 0 < twin <= (len(self._image) - GRID_OFFSET) // BLOCK_SIZE and twin not in self.blocks:
                self._image.write(GRID_OFFSET + (twin - 1) * BLOCK_SIZE, bytes(block[:BLOCK_SIZE]))
        self._image.write(self.log_at, bytes(self.log))
        body = bytes(self.superblock).ljust(superblock_zone.BODY_SIZE, b"\0")
        for copy in superblock_zone.COPIES:
            head = SUPERBLOCK_COPY_HEAD.unpack(
                self._image.read(superblock_copy_offset(copy), SUPERBLOCK_COPY_HEAD.size)
            )
            head = head._replace(checksum=checksum(body))
            self._image.write(superblock_copy_offset(copy), SUPERBLOCK_COPY_HEAD.pack(head) + body)
        return self._image

    def _seal_block(self, address: int) -> None:
        block = self.blocks[address]
        old = bytes(block[:CHECKSUM_SIZE])
        size = BLOCK_HEADER.unpack(block).size
        block[CHECKSUM_SIZE : 2 * CHECKSUM_SIZE] = checksum(bytes(block[HEADER_SIZE : max(size, HEADER_SIZE)]))
        new = checksum(bytes(block[CHECKSUM_SIZE:HEADER_SIZE]))
        block[:CHECKSUM_SIZE] = new
        for holder, data in [*self.blocks.items(), (SUPERBLOCK_ITSELF, self.superblock), (LOG, self.log)]:
            at = data.find(old, CHECKSUM_SIZE)
            while at >= 0:
                data[at : at + CHECKSUM_SIZE] = new
                if holder > 0 and holder not in self._dirty:
                    self._dirty.append(holder)
                at = data.find(old, at + 1)

    def _seal_log(self) -> None:
        """Chains the records anew, as far as their sizes are still those of before."""
        previous = None
        for begin, size, _ in self.records:
            if previous is not None:
                self.log[begin + CHECKSUM_SIZE : begin + 2 * CHECKSUM_SIZE] = previous
            claimed = WAL_RECORD_HEADER.unpack(self.log, begin).size
            end = begin + WAL_RECORD_HEADER.size + claimed
            covered = bytes(self.log[begin + CHECKSUM_SIZE : end if end <= len(self.log) else begin + size])
            previous = checksum(covered)
            self.log[begin : begin + CHECKSUM_SIZE] = previous


def _fields(layout: Layout[Any], address: int, offset: int) -> Iterator[Place]:
    """The fields of a record but its own checksums, which are made right anyway."""
    for name, code in layout.fields:
        size = {"B": 1, "H": 2, "I": 4, "Q": 8, "8s": 8, "16s": 16}[code]
        if name not in ("checksum", "checksum_body") or layout.record.__name__ not in (
            "BlockHeader",
            "WalRecordHeader",
        ):
            yield Place(address, offset, size, f"{layout.record.__name__}.{name}", not code.endswith("s"))
        offset += size


def _shorts(address: int, begin: int, end: int, name: str) -> Iterator[Place]:
    return (Place(address, at, 2, name, number=True) for at in range(begin, end - 1, 2))


def number_drawn(rng: random.Random, old: int, size: int) -> int:
    """A number that somebody who wants to do harm would write instead."""
    end = 1 << 8 * size
    candidates = (
        0, 1, 2, old + 1, old - 1, old * 2, old // 2, end - 1, end - 2, end >> 1, (end >> 1) - 1, end >> 2,
        old ^ 1 << rng.randrange(8 * size), rng.randrange(end), rng.randrange(256), BLOCK_SIZE, (1 << 31) - 1,
    )  # fmt: skip
    return rng.choice(candidates) % end
