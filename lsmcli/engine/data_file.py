"""The data file as a whole: superblock, WAL, grid and manifest log, and the checkpoint that ties them.

Invariants:
- the order of a checkpoint: blocks written, sync, superblock copies 0-2, sync, copies 3-5, sync, read
  back; only then is space in the WAL and in the grid reused;
- `superblock` is what the file durably holds; nothing it refers to changes before the next one is durable;
- a file that is opened for reading is not written to: it has no free set and no Wal, and what its
  trees append to the manifest log stays in memory.

    open:        superblock -> free set (writer) -> manifest log -> tables -> WAL records -> attach_wal
    checkpoint:  manifest log, free set -> sync 1 -> superblock (syncs 2 and 3) -> WAL and blocks reusable
                 ops may be put while a sync runs; nothing else may change until the checkpoint is made
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from lsmcli.engine import superblock as superblock_zone
from lsmcli.engine.block_cache import BlockCache
from lsmcli.engine.block_chain import read_free_set, release_chain, write_free_set
from lsmcli.engine.block_codec import codec_required
from lsmcli.engine.constants import (
    GRID_OFFSET,
    LOCK_OFFSET,
    LOCK_SIZE,
    MIB,
    WAL_OFFSET_INITIAL,
    WAL_OFFSET_SECOND,
    WAL_SIZE_INITIAL,
    WAL_SIZE_SECOND,
)
from lsmcli.engine.errors import DamageError, LsmError
from lsmcli.engine.free_set import FreeSet
from lsmcli.engine.grid import Grid
from lsmcli.engine.manifest_log import ManifestLog
from lsmcli.engine.schema import FEATURE_COMPRESSION, BlockKind, BlockReference, ChainReference, ScopeState, Superblock
from lsmcli.engine.storage import Storage
from lsmcli.engine.table_info import TableInfo
from lsmcli.engine.wal import Wal, WalPosition
from lsmcli.engine.wal_recovery import Recovery, recover


class CheckpointFields(NamedTuple):
    """What the forest adds to a superblock; the scope's part is for one that has outgrown memory."""

    start: WalPosition  # every op before it is in tables
    bytes_put: int
    scope_state: ScopeState = ScopeState.NONE
    scope_snapshot: int = 0
    scope_change_count: int = 0
    scope_began_s: int = 0


class DataFile:
    """One open file. `wal` is set by attach_wal(), and only in a writer."""

    def __init__(self, storage: Storage, *, cache_size: int, writable: bool, name: str = "the file") -> None:
        """Reads the superblock; a writer repairs its copies and reads the free set. `name` is for messages.

        Raises FormatError, NewerFormatError, DamageError, FileError; LibraryError where a writer could not read all of
        the file, since then it could not compact it.
        """
        self.ring_searched = False  # in a reader: nothing was behind the log's end, in all of the ring
        self._writer_note = b"" if writable else storage.read(LOCK_OFFSET, LOCK_SIZE)
        read = superblock_zone.read(storage, name)
        if writable:
            superblock_zone.require_writable(read.superblock, name)
            if read.superblock.features_incompatible & FEATURE_COMPRESSION:
                codec_required(name)
        self.storage = storage
        self.writable = writable
        self.superblock: Superblock = read.superblock
        self.superblock_checksum: bytes = read.checksum
        self._slots_checksum = read.slots_checksum
        if writable and read.slots_to_repair:
            superblock_zone.repair(storage, read)
        sb = self.superblock
        self.grid = Grid(
            storage,
            uuid=sb.uuid,
            block_size=sb.block_size,
            block_count=sb.block_count,
            cache=BlockCache(cache_size),
            free_set=None,
        )
        self.grid.looks_at_twins = writable
        self.grid.compresses = bool(sb.features_incompatible & FEATURE_COMPRESSION)
        if writable:
            free_set = self.free_set_open()
            if not all(map(free_set.is_acquired, self.ring_addresses())):
                raise DamageError("write-ahead log: its ring lies in free blocks; run salvage", zone="wal")
            self.grid.attach_free_set(free_set)
        self.manifest_log = ManifestLog(self.grid)
        self._wal: Wal | None = None
        self._bytes_written_base = 0

    @property
    def wal(self) -> Wal:
        assert self._wal is not None
        return self._wal

    @property
    def bytes_written(self) -> int:
        """Bytes written to the file since its creation."""
        if self._wal is None:
            return self._bytes_written_base
        return self._bytes_written_base + self.grid.bytes_written + self._wal.appended

    def superblock_moved(self) -> bool:
        """Whether a writer has made a newer superblock since this one was read. 10 µs as long as not."""
        slots = superblock_zone.slots_checksum(self.storage)
        if slots == self._slots_checksum and self.storage.size() >= self.superblock.storage_size:
            return False
        return superblock_zone.read(self.storage).checksum != self.superblock_checksum

    def is_same(self) -> bool:
        """In a reader: whether neither a newer superblock nor another writer has come since this one was read."""
        return not self.superblock_moved() and self._writer_note == self.storage.read(LOCK_OFFSET, LOCK_SIZE)

    def superblock_now(self) -> Superblock:
        """The newest superblock in the file."""
        return superblock_zone.read(self.storage).superblock

    def free_set_reference(self) -> ChainReference:
        """The chain that holds the free set; address 0: every block is free."""
        sb = self.superblock
        return ChainReference(
            sb.free_set_address,
            sb.free_set_address_twin,
            sb.free_set_checksum,
            sb.free_set_size,
            sb.free_set_block_count,
            0,
            sb.op_checkpoint,
        )

    def free_set_open(self) -> FreeSet:
        """The free set as of the checkpoint. Raises DamageError."""
        return read_free_set(self.grid, self.free_set_reference())

    def tables(self) -> Iterator[TableInfo]:
        """Every live table of the manifest log, in any order. Raises DamageError."""
        sb = self.superblock
        newest = BlockReference(sb.manifest_address, sb.manifest_address_twin, sb.manifest_checksum)
        for event, key_min, key_max in self.manifest_log.open(newest, sb.manifest_block_count):
            yield TableInfo.from_event(event, key_min, key_max)

    def recovery(self, before: "DataFile | None" = None) -> Recovery:
        """The WAL behind the checkpoint, to be iterated. `before`: the same file, as a reader saw it earlier."""
        recovery = recovery_of(self.storage, self.superblock)
        if before is not None and before.ring_searched and before._writer_note == self._writer_note:
            old, new = before.superblock, self.superblock
            recovery.near = (old.wal_offset, old.wal_size) == (new.wal_offset, new.wal_size)
        return recovery

    def follow(self, recovery: Recovery) -> None:
        """In a reader: takes note of what the recovered log adds."""
        self.ring_searched = not recovery.dropped
        live_size = recovery.tail.appended - recovery.start.appended
        self._bytes_written_base = self.superblock.bytes_written + live_size

    def attach_wal(self, recovery: Recovery) -> None:
        """Goes on writing where the recovered log ends. After an unclean end the log is written again
        and synced first: a failed sync of a dead process may have left pages that only look stored.
        Bad copies of blocks that were met so far, first or second ones, are repaired from their twins."""
        sb = self.superblock
        self._wal = Wal(
            self.storage,
            sb.uuid,
            sb.wal_offset,
            sb.wal_size,
            recovery.start,
            recovery.tail,
            recovery.op_synced,
        )
        self._bytes_written_base = sb.bytes_written - self.grid.bytes_written - recovery.start.appended
        if recovery.dropped:
            self._wal.seal(recovery.dropped_digest)
        repaired = self.grid.repair()
        self.grid.looks_at_twins = False
        if not recovery.closed_cleanly:
            self._write_again(recovery.start, recovery.tail)
        if repaired or not recovery.closed_cleanly:
            self._wal.sync()
        if self.storage.pinned():
            # The reader may look at any state before this one, and what was given back since counts as free here.
            assert self.grid.free_set is not None
            self.grid.free_set.quarantine_free()

    def _write_again(self, start: WalPosition, tail: WalPosition) -> None:
        """Writes the live bytes of the ring over themselves."""
        for begin, end in self.log_parts(start, tail):
            for offset in range(begin, end, MIB):
                self.storage.write(offset, self.storage.read(offset, min(MIB, end - offset)))

    def log_parts(self, start: WalPosition, tail: WalPosition) -> list[tuple[int, int]]:
        """Where in the file the log from start to tail lies: one part of the ring, or two, each [begin, end)."""
        sb = self.superblock
        if start.appended == tail.appended:
            return []
        base = sb.wal_offset
        if tail.position > start.position:
            return [(base + start.position, base + tail.position)]
        return [(base + start.position, base + sb.wal_size), (base, base + tail.position)]

    def checkpoint(self, fields: CheckpointFields, *, graduates: Callable[[], bool], keep_free: bool) -> Iterator[None]:
        """Makes everything that was written so far durable, as of fields.start. Yields three times: it goes on once
        all that was written before is synced.

        Ops may be put meanwhile, with their large values; but nobody else may give a block back, or change a manifest
        or the log's ring, before it is made. graduates(): whether blocks released before the last checkpoint may be
        reused, as far as this process is concerned; a reader's pin keeps them too. keep_free: free blocks at the end
        of the file stay in it.
        Raises NoSpaceError before anything was changed, OutcomeUnknownError when a write fails.
        """
        new = self._superblock_new(fields, keep_free=keep_free)
        yield  # sync 1: blocks and log
        self.wal.synced(new.op_synced)
        yield from superblock_zone.write_in_stages(self.storage, new)
        assert not self.manifest_log.waiting, "the manifest of a checkpoint changed before it was made"
        self.superblock_checksum = superblock_zone.superblock_checksum(new)
        self.superblock = new
        self.wal.release(fields.start)
        free_set_now = self.grid.free_set
        assert free_set_now is not None
        # Asked now, not before: a pin that is taken from here on is taken by one who reads the new superblock.
        graduate = graduates() and not self.storage.pinned()
        free_set_now.checkpoint_durable(graduate=graduate)
        if graduate and not keep_free:
            free_set_now.checkpoint_durable(graduate=True)  # closing: nobody falls back to the old state

    def _superblock_new(self, fields: CheckpointFields, *, keep_free: bool) -> Superblock:
        """Writes the manifest log and the free set, not synced; returns the superblock that refers to them. What it
        says of the log and of the file's size is there once these blocks are synced."""
        old = self.superblock
        manifest, manifest_block_count = self.manifest_log.checkpoint()
        if old.free_set_address:
            release_chain(self.grid, self.free_set_reference(), BlockKind.FREE_SET)
            # Released once, whatever fails below.
            self.superblock = old = old._replace(free_set_address=0)
        keep = self.grid.block_count if keep_free else 0
        free_set = write_free_set(self.grid, op=self.wal.op, keep=keep)
        return old._replace(
            sequence=old.sequence + 1,
            parent=self.superblock_checksum,
            features_incompatible=FEATURE_COMPRESSION if self.grid.compresses else 0,
            op_checkpoint=fields.start.op,
            op_synced=self.wal.op,
            wal_offset=self.wal.offset,
            wal_size=self.wal.size,
            wal_position=fields.start.position,
            wal_chain=fields.start.chain,
            manifest_address=manifest.address,
            manifest_address_twin=manifest.address_twin,
            manifest_checksum=manifest.checksum,
            manifest_block_count=manifest_block_count,
            free_set_address=free_set.address,
            free_set_address_twin=free_set.address_twin,
            free_set_checksum=free_set.checksum,
            free_set_size=free_set.size,
            free_set_block_count=free_set.block_count,
            block_count=self.grid.block_count,
            storage_size=self.grid.offset(self.grid.block_count + 1),
            scope_state=fields.scope_state,
            scope_snapshot=fields.scope_snapshot,
            scope_change_count=fields.scope_change_count,
            scope_began_s=fields.scope_began_s,
            bytes_put=fields.bytes_put,
            bytes_written=self.bytes_written - (self.wal.appended - fields.start.appended),
        )

    def wal_relocate(self, size: int) -> WalPosition:
        """Copies the live log into another ring of at least `size` bytes, one of the two at the head of the file or
        one in the grid, and gives the old one back. The caller checkpoints at once, with the start that is
        returned. Raises NoSpaceError, with nothing changed."""
        old_offset, old_size = self.wal.offset, self.wal.size
        appended = self.wal.appended
        if size <= WAL_SIZE_INITIAL and old_offset != WAL_OFFSET_INITIAL:
            start = self.wal.relocate(WAL_OFFSET_INITIAL, WAL_SIZE_INITIAL)
        elif size <= WAL_SIZE_SECOND and old_offset != WAL_OFFSET_SECOND:
            start = self.wal.relocate(WAL_OFFSET_SECOND, WAL_SIZE_SECOND)
        else:
            block_count = -(-size // self.grid.block_size)
            address = self.grid.acquire_extent(block_count)
            try:
                start = self.wal.relocate(self.grid.offset(address), block_count * self.grid.block_size)
            except LsmError:
                self.grid.release_all(range(address, address + block_count))
                raise
        # The new ring counts from 0 again, and the copy was written beside what had been before.
        self._bytes_written_base += appended
        self.grid.release_all(list(self._ring_addresses(old_offset, old_size)))
        return start

    def _ring_addresses(self, offset: int, size: int) -> range:
        """The grid blocks that a ring takes up; none when it is the initial one."""
        if offset < GRID_OFFSET:
            return range(0)
        first = (offset - GRID_OFFSET) // self.grid.block_size + 1
        return range(first, first + size // self.grid.block_size)

    def ring_addresses(self) -> range:
        """The grid blocks that the WAL of the superblock takes up."""
        return self._ring_addresses(self.superblock.wal_offset, self.superblock.wal_size)

    def shrink(self) -> None:
        """Gives the free end of the file back; only right after a checkpoint with keep_free=False."""
        self.grid.shrink_finish()


def recovery_of(storage: Storage, superblock: Superblock) -> Recovery:
    """The WAL behind the checkpoint of this superblock, to be iterated."""
    return recover(
        storage,
        uuid=superblock.uuid,
        offset=superblock.wal_offset,
        size=superblock.wal_size,
        start=WalPosition(superblock.op_checkpoint, superblock.wal_position, superblock.wal_chain, 0),
        op_synced=superblock.op_synced,
    )
