"""Writes the write-ahead log: a ring of records, each one op or a mark, in a zone of the data file.

    | op 7 | op 8 | (free) .............. | op 4 | op 5 | op 6 | (skipped) |
    0             tail                    start                           size

Invariants:
- records between start and tail are needed by the durable superblock and are never written over;
- a record is written by one write, at tail if it fits before the ring's end, else at position 0;
- each record carries the checksum of the one before: order and completeness are proved by the chain;
- nothing about the ring's place is inside a record: a chain can be copied to another ring as it is;
- after an error from storage this object is as it was. Unless the error says that nothing was written,
  the ring behind tail is unknown, and the owner appends no more: an op number must not be given twice.

Bytes live, free and asked for are compared by `appended` alone, which never wraps:

    size 1000, start at 600, tail at 960: live 360. A record of 72 skips 40 and takes 72: live 472, tail at 72.
"""

from typing import Final

from lsmcli.engine.constants import KIB, MIB
from lsmcli.engine.errors import DamageError
from lsmcli.engine.op_path import OpLog
from lsmcli.engine.schema import CHECKSUM_SIZE, WAL_ALIGNMENT, WAL_RECORD_HEADER, WalRecordKind
from lsmcli.engine.storage import Storage
from lsmcli.engine.wal_recovery import OP_MAX, UUID_HALF_SIZE, WalPosition, record_size, recover
from lsmcli.engine.wal_run import chain_end

__all__ = ["Wal", "WalPosition", "record_size"]

_READ_AHEAD_SIZE: Final = 128 * KIB  # of the ring, in one call
_COPY_SIZE_MAX: Final = 1 * MIB
_COPY_WHOLE_SIZE_MAX: Final = 4 * MIB  # a live log up to this size is copied by one write, if it lies in one piece
_PADDING: Final = tuple(bytes(-size % WAL_ALIGNMENT) for size in range(WAL_ALIGNMENT))


class Wal(OpLog):
    """The writer's end of the log; its appends are in OpLog. `start`, `tail` and `op_synced` come from recover()."""

    def __init__(
        self,
        storage: Storage,
        uuid: bytes,
        offset: int,
        size: int,
        start: WalPosition,
        tail: WalPosition,
        op_synced: int,
    ) -> None:
        assert size > 0 and size % WAL_ALIGNMENT == 0
        assert 0 <= tail.appended - start.appended <= size
        assert start.op <= tail.op <= OP_MAX
        self.storage = storage
        self.offset = offset
        self.size = size
        self.start = start
        self.appended_start = start.appended
        self.op, self.position, self.chain, self.appended = tail
        self.op_synced = op_synced
        self.op_told = op_synced  # the largest op_synced that the ring or the superblock has
        self.uuid = uuid
        self.uuid_half = uuid[:UUID_HALF_SIZE]
        self._piece_read = -1  # the last one that was read ahead
        self._moved_from = (start.appended, start.appended, 0)  # base, where a ring's end was skipped, by how much

    @property
    def tail(self) -> WalPosition:
        """Where the next record goes."""
        return WalPosition(self.op, self.position, self.chain, self.appended)

    @property
    def live_size(self) -> int:
        """Bytes between start and tail, a skipped end of the ring included."""
        return self.appended - self.appended_start

    def fits(self, body_size: int) -> bool:
        """Whether a record with this body can be appended without touching a live one.

        A record of up to half the ring fits whenever nothing is live.
        """
        return self._appended_after(record_size(body_size)) - self.appended_start <= self.size

    def append_op(self, body: bytes, entry_count: int) -> int:
        """Write the next op and return its number; not synced. The caller has asked fits()."""
        return self.append_record(int(WalRecordKind.OP), self.op + 1, body, entry_count)

    def read_ahead(self, distance: int) -> None:
        """Has the ring read up to so many bytes behind the tail, beside the caller. Where a page of an earlier lap is
        in memory no more, a record that covers a part of it would wait for the disk. Nothing in the first lap, nor in a
        ring that is smaller than the distance."""
        if self.appended + distance <= self.size or self.size <= distance:
            return
        count = -(-self.size // _READ_AHEAD_SIZE)
        first = self.position // _READ_AHEAD_SIZE
        last = first + min(count, distance // _READ_AHEAD_SIZE + 2) - 1
        if last % count == self._piece_read:
            return
        pieces = [piece % count for piece in range(first, last + 1)]
        if self._piece_read in pieces:
            pieces = pieces[pieces.index(self._piece_read) + 1 :]
        for piece in pieces:
            at = piece * _READ_AHEAD_SIZE
            self.storage.prefetch(self.offset + at, min(_READ_AHEAD_SIZE, self.size - at))
            self._piece_read = piece

    def append(self, kind: WalRecordKind, body: bytes = b"", entry_count: int = 0) -> int:
        """Write a record of any kind and return its op; every kind but MARK takes the next op number."""
        op = self.op if kind == WalRecordKind.MARK else self.op + 1
        return self.append_record(int(kind), op, body, entry_count)

    def mark(self) -> None:
        """Leave op_synced where the next open finds it, unless it is known there or the ring is full; not synced."""
        if self.op_synced > self.op_told and self.fits(0):
            self.append(WalRecordKind.MARK)

    def seal(self, dropped_digest: bytes) -> None:
        """Part what is appended from now on from a dropped tail: first of all after a recovery that dropped one.

        The reason is in wal_recovery. In a ring too full for one more mark it wipes bytes instead; that holds
        from the next sync on.
        """
        assert len(dropped_digest) == CHECKSUM_SIZE
        if self.fits(CHECKSUM_SIZE):
            self.append(WalRecordKind.MARK, dropped_digest)
            return
        # Two records find place here only around the ring's end; so the second one lies at the beginning.
        room = self.size - self.position
        free = self.size - self.live_size
        assert free < record_size(CHECKSUM_SIZE) + min(room, record_size(CHECKSUM_SIZE))
        if free > room:
            self.storage.write(self.offset, bytes(free - room))

    def sync(self) -> None:
        """Make every op so far durable. An error is final: see storage."""
        op = self.op
        self.storage.sync()
        self.synced(op)

    def synced(self, op: int) -> None:
        """A sync that began when this was the last op has ended."""
        self.op_synced = max(self.op_synced, op)

    def release(self, start: WalPosition) -> None:
        """Free what is before `start`: a durable superblock, read back, begins there (and has its op_synced)."""
        assert self.start.appended <= start.appended <= self.appended
        assert self.start.op <= start.op <= self.op
        self.start = start
        self.appended_start = start.appended
        if start.op > self.op_told:
            self.op_told = start.op

    def relocate(self, offset: int, size: int) -> WalPosition:
        """Copy the live records to the beginning of another ring, go on there, and return the start in it.

        Costs one read and one write of the live bytes; the copy is not synced, and nothing may be appended
        before a superblock with the new ring is durable. Other positions from before: see moved().
        Raises DamageError when a live record cannot be read; then nothing has changed.

        The old ring is synced first: were an op lost there that the copy has kept, a later copy to the
        same place could end right before it and bring it back.
        """
        assert size % WAL_ALIGNMENT == 0 and size > self.live_size
        assert offset + size <= self.offset or self.offset + self.size <= offset
        self.sync()
        start = self.start
        if self.live_size <= _COPY_WHOLE_SIZE_MAX and self.position - start.position == self.live_size:
            live = self.storage.read(self.offset + start.position, self.live_size)
            if chain_end(live, start.chain) == self.chain:
                self.storage.write(offset, live)
                return self._moved_to(offset, size, skip_at=self.appended, skipped=0)
        skip_at, skipped = self.appended, 0
        before, written = start, 0
        batch: list[bytes] = []
        batch_size = 0
        records = recover(
            self.storage, uuid=self.uuid, offset=self.offset, size=self.size, start=start, op_synced=self.op_synced
        ).records()
        while before != self.tail:
            header, body, after = next(records, (None, b"", before))
            if header is None:
                raise DamageError(f"write-ahead log: the record behind op {before.op} is gone", zone="wal")
            stored_size = record_size(len(body))
            if after.appended - before.appended > stored_size:
                skip_at, skipped = before.appended, after.appended - before.appended - stored_size
            batch += (WAL_RECORD_HEADER.pack(header), body, _PADDING[len(body) % WAL_ALIGNMENT])
            batch_size += stored_size
            before = after
            if batch_size >= _COPY_SIZE_MAX or before == self.tail:
                self.storage.write(offset + written, b"".join(batch))
                written += batch_size
                batch, batch_size = [], 0
        assert written == self.live_size - skipped
        return self._moved_to(offset, size, skip_at, skipped)

    def _moved_to(self, offset: int, size: int, skip_at: int, skipped: int) -> WalPosition:
        """The live records stand in this ring now, without the bytes skipped in the old one; returns the start."""
        self._moved_from = (self.start.appended, skip_at, skipped)
        self.offset, self.size = offset, size
        tail = self.moved(self.tail)
        self.start = self.moved(self.start)
        self.appended_start = self.start.appended
        self.position, self.appended = tail.position, tail.appended
        return self.start

    def moved(self, position: WalPosition) -> WalPosition:
        """Where a position from before the last relocate() lies now; it must have been live then."""
        base, skip_at, skipped = self._moved_from
        appended = position.appended - base - (skipped if position.appended > skip_at else 0)
        assert 0 <= appended <= self.size
        return WalPosition(position.op, appended, position.chain, appended)

    def _appended_after(self, stored_size: int) -> int:
        room = self.size - self.position
        return self.appended + stored_size + (room if stored_size > room else 0)
