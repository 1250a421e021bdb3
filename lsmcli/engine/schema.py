"""Every byte of the data file, declared once: writer, reader, inspector and docs use these records.

Invariants:
- all integers are little-endian and unsigned; a record is packed without gaps;
- reserved bytes are zero when written and ignored when read;
- a checksum is XXH3-128 and covers everything behind it in its record, up to the stated size.

The file:

    +-----------------+-------------+------------+------------+-----------------+---------------------
    | superblock 0-2  | lock sector | first WAL  | second WAL | superblock 3-5  | grid: blocks 1, 2, 3
    | 3 x 4 KiB       | 4 KiB       | 64 KiB     | 420 KiB    | 3 x 4 KiB       | block_size each
    +-----------------+-------------+------------+------------+-----------------+---------------------
    0                 12 KiB        16 KiB       80 KiB       500 KiB           512 KiB

The WAL's ring is in one of its two zones or, when more is written, in blocks of the grid.

A grid block:

    +---------------------+-------------------------------+------------------+
    | BlockHeader (96 B)  | body, `size` - 96 bytes       | zeros            |
    +---------------------+-------------------------------+------------------+

Bodies, by kind (off = u16 where block_size <= 64 KiB, else u32; offsets count from the start of the
column they point into, and have one more element than there are items):

    VALUE     ValueBlockHead, key off[n+1], value off[n+1], flags u8[n], keys, values
              with a codec, before compression: ValueBlockHead, key sizes off[n], value sizes off[n], flags u8[n],
              keys, values
    INDEX     IndexBlockHead, references BlockReference[b], entry counts u32[b], block flags u8[b],
              key off[b+1], last keys, fingerprints u16[n]
    MANIFEST  ChainHead, then `entry_count` x (TableEvent, key_min, key_max)
    FREE_SET  ChainHead, then run lengths u32: free, used, free, ... from block 1 on
    LARGE     ChainHead, then bytes of one value

No assertion here depends on the content of a file.
"""

import struct
from collections.abc import Callable
from enum import IntEnum
from typing import Annotated, Any, Final, Generic, NamedTuple, TypeVar

from lsmcli.engine import constants

U8 = Annotated[int, "B"]
U16 = Annotated[int, "H"]
U32 = Annotated[int, "I"]
U64 = Annotated[int, "Q"]
Bytes8 = Annotated[bytes, "8s"]
Bytes16 = Annotated[bytes, "16s"]

FORMAT_VERSION: Final = 1
FORMAT_VERSION_OLDEST: Final = 1
MAGIC: Final = b"lsmcli database\n"
FEATURE_COMPRESSION: Final = 1  # some value blocks have a codec
FEATURES_INCOMPATIBLE_KNOWN: Final = FEATURE_COMPRESSION
FEATURES_READ_ONLY_KNOWN: Final = 0

CHECKSUM_SIZE: Final = 16
UUID_SIZE: Final = 16


T = TypeVar("T", bound=tuple[Any, ...])


class Layout(Generic[T]):
    """The packed form of one record type, a NamedTuple whose annotations carry struct codes.

    pack() raises struct.error when a number does not fit its field: ranges are checked where they are
    encoded. unpack() never fails on `size` bytes, whatever they are; the caller checks the meaning.
    """

    def __init__(self, record: type[T]) -> None:
        codes = [annotation.__metadata__[0] for annotation in record.__annotations__.values()]
        self.struct = struct.Struct("<" + "".join(codes))
        self.size = self.struct.size
        self.record = record
        self.fields = tuple(zip(record.__annotations__, codes, strict=True))
        self._make: Callable[[tuple[Any, ...]], T] = record._make  # type: ignore[attr-defined]  # a NamedTuple

    def offset(self, field: str) -> int:
        """Where a field begins in the record, in bytes."""
        names = [name for name, _ in self.fields]
        return struct.calcsize("<" + "".join(code for _, code in self.fields[: names.index(field)]))

    def pack(self, record: T) -> bytes:
        return self.struct.pack(*record)

    def unpack(self, data: bytes | bytearray | memoryview, offset: int = 0) -> T:
        """The record at `offset`; the caller has checked that `size` bytes are there."""
        return self._make(self.struct.unpack_from(data, offset))


class BlockKind(IntEnum):
    FREE_SET = 1
    MANIFEST = 2
    INDEX = 3
    VALUE = 4
    LARGE = 5


class Codec(IntEnum):
    NONE = 0
    ZSTD = 1  # a Zstandard frame that tells the size of its content


class BlockHeader(NamedTuple):
    checksum: Bytes16  # of the header behind this field
    checksum_body: Bytes16  # of the body as stored, `size` - 96 bytes
    uuid: Bytes16  # of the file
    address: U64  # 1-based, of this block or, in a second copy, of the first
    address_twin: U64  # of the second copy, 0 when there is none
    size: U32  # header + body as stored
    size_decoded: U32  # header + body after the codec; equals `size` for codec 0
    tree_id: U16  # 0: belongs to no tree
    kind: U8
    codec: U8  # a Codec; other than 0 for value blocks only
    level: U8  # of the table when it was written; 0 for other kinds
    reserved_a: U8
    reserved_b: U16
    snapshot: U64  # snapshot_min of the table, or the op that wrote the chain
    reserved_c: U64


BLOCK_HEADER: Final = Layout(BlockHeader)
assert BLOCK_HEADER.size == 96


class BlockReference(NamedTuple):
    """How anything points at a block: never by address alone. `checksum` is the header's."""

    address: U64
    address_twin: U64  # 0 when the block has one copy
    checksum: Bytes16


BLOCK_REFERENCE: Final = Layout(BlockReference)
assert BLOCK_REFERENCE.size == 32
REFERENCE_NONE: Final = BlockReference(0, 0, bytes(16))


class ChainHead(NamedTuple):
    """First in the body of every block that is a link of a chain."""

    next_address: U64  # 0 at the end of the chain
    next_address_twin: U64
    next_checksum: Bytes16
    entry_count: U32  # records in this block (MANIFEST), else 0
    index: U32  # type: ignore[assignment]  # hides tuple.index. 0 for the link that ends the chain, rising towards its head
    reserved: U64


CHAIN_HEAD: Final = Layout(ChainHead)
assert CHAIN_HEAD.size == 48


class ChainReference(NamedTuple):
    """Points at the head of a chain: an out-of-line value, the free set, the manifest log."""

    address: U64  # 0: no chain
    address_twin: U64
    checksum: Bytes16
    size: U64  # payload bytes of the whole chain
    block_count: U32  # links, not counting second copies
    reserved: U32
    op: U64  # the op that wrote it


CHAIN_REFERENCE: Final = Layout(ChainReference)
assert CHAIN_REFERENCE.size == 56
CHAIN_NONE: Final = ChainReference(0, 0, bytes(16), 0, 0, 0, 0)


class ValueBlockHead(NamedTuple):
    entry_count: U32
    tombstone_count: U32
    large_count: U32  # entries whose value is out of line
    keys_size: U32
    values_size: U32
    reserved: U32


VALUE_BLOCK_HEAD: Final = Layout(ValueBlockHead)
assert VALUE_BLOCK_HEAD.size == 24


class IndexBlockHead(NamedTuple):
    block_count: U32  # value blocks
    entry_count: U32
    tombstone_count: U32
    large_count: U32
    keys_size: U32  # of the last keys
    reserved: U32


INDEX_BLOCK_HEAD: Final = Layout(IndexBlockHead)
assert INDEX_BLOCK_HEAD.size == 24

# Flags of an entry, and of a value block as a whole (block flags in the index block).
FLAG_TOMBSTONE: Final = 1  # no value
FLAG_LARGE: Final = 2  # the stored value is a packed ChainReference
FLAGS_KNOWN: Final = FLAG_TOMBSTONE | FLAG_LARGE


class TableEventKind(IntEnum):
    INSERT = 1  # the table is (now) in `level`, also after a move
    UPDATE = 2  # its snapshot_max changed
    REMOVE = 3  # no snapshot needs it any more


class TableEvent(NamedTuple):
    """One record of the manifest log; key_min and key_max follow it. The newest one of a table counts.

    A table is known by its tree and by the address of its index block. A record with
    block_count 0 stands for an out-of-line value that was dropped while a snapshot can still
    see it: `address` and `checksum` point at its chain, and it has no keys.
    """

    event: U8
    level: U8
    tree_id: U16
    block_count: U32  # value blocks; 0: an out-of-line value
    entry_count: U32
    tombstone_count: U32
    large_count: U32
    key_min_size: U16
    key_max_size: U16
    values_size: U64  # payload: keys and values as stored, in bytes
    snapshot_min: U64  # the first op at which the table is visible
    snapshot_max: U64  # the last op at which it is visible; SNAPSHOT_LATEST: not deleted
    address: U64
    checksum: Bytes16


TABLE_EVENT: Final = Layout(TableEvent)
assert TABLE_EVENT.size == 72


class ScopeState(IntEnum):
    NONE = 0
    DURABLE = 1  # survives its process, waits to be persisted or discarded
    BOUND = 2  # discarded when its process dies


class Superblock(NamedTuple):
    """The root, behind SuperblockCopyHead in each of the six copies."""

    version: U32
    block_size: U32
    growth_factor: U8
    scope_state: U8  # of a scope that has outgrown memory; smaller ones are in the WAL only
    reserved_a: U16
    features_incompatible: U32
    features_read_only: U32
    reserved_b: U32
    uuid: Bytes16
    sequence: U64  # rises by one with each checkpoint, from 1
    parent: Bytes16  # checksum of the superblock before this one; zeros in the first
    op_checkpoint: U64  # every op up to this one is in tables (of a scope or not)
    op_synced: U64  # every op up to this one was on disk when this was written
    wal_offset: U64  # of the ring, in the file
    wal_size: U64
    wal_position: U64  # in the ring, of the record behind op_checkpoint
    wal_chain: Bytes16  # checksum of the record before that position
    manifest_address: U64  # newest block of the manifest log; 0: empty
    manifest_address_twin: U64
    manifest_checksum: Bytes16
    manifest_block_count: U32
    free_set_block_count: U32
    free_set_address: U64  # 0: every block up to block_count is free
    free_set_address_twin: U64
    free_set_checksum: Bytes16
    free_set_size: U64
    block_count: U64  # blocks of the grid, used or free
    storage_size: U64  # the file is at least this long
    scope_snapshot: U64  # the pinned op, when scope_state is not NONE
    scope_change_count: U64
    bytes_put: U64  # keys and values taken since creation
    bytes_written: U64  # written to the file since creation, WAL and copies included
    created_s: U64  # seconds since 1970
    scope_began_s: U64


SUPERBLOCK: Final = Layout(Superblock)


class SuperblockCopyHead(NamedTuple):
    magic: Bytes16
    copy: U32  # 0 … 5; outside of the checksum, so that all copies have the same
    reserved: U32
    checksum: Bytes16  # of the Superblock behind this head, padded with zeros to the copy's end


SUPERBLOCK_COPY_HEAD: Final = Layout(SuperblockCopyHead)
assert SUPERBLOCK_COPY_HEAD.size == 40
assert SUPERBLOCK_COPY_HEAD.size + SUPERBLOCK.size <= constants.SUPERBLOCK_COPY_SIZE


class LockHolder(NamedTuple):
    """First in the lock sector: who holds the writer's lock, or held it last. Its command line follows.

    Has no checksum and is never synced: it is text to show to people, nothing is decided by it.
    """

    pid: U32  # 0: nobody has held the lock yet
    command_size: U32  # bytes of UTF-8 behind this record
    since_s: U64  # seconds since 1970


LOCK_HOLDER: Final = Layout(LockHolder)
LOCK_COMMAND_SIZE_MAX: Final = 1024
assert LOCK_HOLDER.size == 16
assert LOCK_HOLDER.size + LOCK_COMMAND_SIZE_MAX <= constants.LOCK_SIZE


class WalRecordKind(IntEnum):
    OP = 1  # a batch of puts and removes, atomic
    MARK = 2  # no op: carries op_synced to where the next open finds it
    SCOPE_BEGIN = 3  # body: WalScopeBegin
    SCOPE_PERSIST = 4
    SCOPE_DISCARD = 5


class WalRecordHeader(NamedTuple):
    """A record is this header and `size` bytes of body, padded to WAL_ALIGNMENT, never split by the
    ring's end. `uuid` is the first half of the file's. A MARK has the op of the record before it."""

    checksum: Bytes16  # of the header behind this field, and of the body
    checksum_previous: Bytes16  # of the record before, so that the records form a chain
    uuid: Bytes8
    op: U64
    op_synced: U64  # the last op known to be on disk when this was written
    size: U64  # of the body
    entry_count: U32
    kind: U8
    reserved_a: U8
    reserved_b: U16


WAL_RECORD_HEADER: Final = Layout(WalRecordHeader)
WAL_ALIGNMENT: Final = 8
assert WAL_RECORD_HEADER.size == 72
assert WAL_RECORD_HEADER.size % WAL_ALIGNMENT == 0


class WalEntry(NamedTuple):
    """Before the key and the value of each entry of an OP record; a removed key has no value."""

    tree_id: U16
    flags: U8
    key_size: U16
    value_size: U32  # of the bytes that follow: the value, or a packed ChainReference


WAL_ENTRY: Final = Layout(WalEntry)
assert WAL_ENTRY.size == 9
assert WAL_RECORD_HEADER.size + WAL_ENTRY.size + WAL_ALIGNMENT - 1 < constants.ENTRY_WEIGHT


class WalScopeBegin(NamedTuple):
    state: U8  # a ScopeState other than NONE
    reserved_a: U8
    reserved_b: U16
    pid: U32
    began_s: U64


WAL_SCOPE_BEGIN: Final = Layout(WalScopeBegin)
assert WAL_SCOPE_BEGIN.size == 16


class ImportProgress(NamedTuple):
    """The value of an entry of the catalog: how far an import in batches has come. The source's name follows."""

    digest: Bytes16  # of the options of the import and the first `size_read` bytes of the source, decompressed
    size_source: U64  # of the source as it is stored; 0 when that is not known
    size_read: U64  # bytes of the source, decompressed, that had been read by then: they hold all rows so far
    rows: U64  # that were taken and are stored, or were skipped
    line: U64  # of the last of them, from 1; 0 before the first
    imported: U64
    replaced: U64
    skipped: U64
    deleted: U64
    state: U8  # an ImportState
    reserved_a: U8
    name_size: U16


class CompressedLevels(IntEnum):
    ALL = 0
    LAST = 1  # only tables that are written to the deepest level in use


class TreeCompression(NamedTuple):
    """The value of an entry of the catalog: what tables of a tree are written with from now on."""

    codec: U8  # a Codec
    levels: U8  # a CompressedLevels


TREE_COMPRESSION: Final = Layout(TreeCompression)
assert TREE_COMPRESSION.size == 2


class ImportState(IntEnum):
    UNDER_WAY = 1
    COMPLETE = 2


IMPORT_PROGRESS: Final = Layout(ImportProgress)
assert IMPORT_PROGRESS.size == 84
IMPORT_NAME_SIZE_MAX: Final = 1024


def offset_code_for(block_size: int) -> str:
    """Struct code of the offsets in blocks of this size: "H" up to 64 KiB, else "I"."""
    return "H" if block_size <= 64 * constants.KIB else "I"
