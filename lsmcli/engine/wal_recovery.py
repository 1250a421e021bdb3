"""Reads the write-ahead log: for a writer that opens the file, for readers beside it, for inspection. Writes nothing.

    ring   | op 7 | op 8 | MARK 8 | (free) ...... | op 4 | op 5 | op 6 | (too short for op 7) |
           0                      tail            start                                      size

A chain of records begins at the superblock's position: each carries the checksum of the one before,
so a record of an earlier lap, of a dropped tail, or of another file never continues it. A record that
does not fit before the ring's end lies at position 0; no other record may.

Where the chain ends, the log ends there (a torn tail, dropped), or a record that was promised to be
stored is damaged. The watermark decides: the largest op_synced of the superblock, of the chain, and of
every intact record found elsewhere in the ring.

    chain ends at op    watermark    verdict
    k                   <= k         torn tail, or the end: go on from k
    k                   >  k         DamageError: op k + 1 was acknowledged and cannot be read

Why op_synced of a found record may be believed, though the record may be of a future that was dropped:
let r be such a record, dropped by a recovery that ended at op j. That recovery found r intact too, so it
would have refused if r.op_synced > j; hence r.op_synced <= j. The history of r and the present one are the
same up to j. So "every op up to r.op_synced is on disk" was said about ops of the present history, and was true.

Why a dropped record never comes back: record k + 1 of a dropped tail was broken, but k + 2 may be intact
behind it. Were the new k + 1 the same bytes as the old one (an import run once more), k + 2 would chain
to it. So a writer that learns `dropped` puts a MARK with `dropped_digest` in between (Wal.seal). The digest
covers the checksums of all intact dropped records; a record that was written behind an earlier seal is itself
among those that the later digest covers, so no two seals with such a record between them are the same.

Memory is bounded by a chunk, or by the largest record.
"""

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple, TypeAlias, cast

from lsmcli.engine.checksum import checksum
from lsmcli.engine.constants import KIB, MIB
from lsmcli.engine.errors import DamageError
from lsmcli.engine.schema import CHECKSUM_SIZE, WAL_ALIGNMENT, WAL_RECORD_HEADER, WalRecordHeader, WalRecordKind
from lsmcli.engine.storage import Storage
from lsmcli.engine.wal_run import OpRun, op_run

HEADER_SIZE: Final = WAL_RECORD_HEADER.size
UUID_HALF_SIZE: Final = 8
OP_MAX: Final = 1 << 63  # no file gets there; keeps op + 1 inside a u64 whatever a superblock says

_CHUNK_SIZE: Final = 1 * MIB
_NEAR_SIZE: Final = 64 * KIB  # what is read behind a tail by who looks whether there is more
_TORN_LOOKS: Final = 4
_UUID_OFFSET: Final = 2 * CHECKSUM_SIZE
_OP_OFFSET: Final = _UUID_OFFSET + UUID_HALF_SIZE
_OP: Final = struct.Struct("<Q")
_UNPACK_FROM: Final = WAL_RECORD_HEADER.struct.unpack_from
_KINDS: Final = frozenset(int(kind) for kind in WalRecordKind)
_MARK: Final = int(WalRecordKind.MARK)
assert _UUID_OFFSET % WAL_ALIGNMENT == 0

# Intact records do not overlap, so a search checks little more than the ring once. A crafted ring could
# make it check each byte many times: past this many ring sizes it is called damaged.
_SEARCH_RINGS_MAX: Final = 16
_SEARCH_SIZE_MIN: Final = 16 * MIB


class WalPosition(NamedTuple):
    """A place between two records."""

    op: int  # the last op before this position
    position: int  # in the ring, where the next record is expected; the ring's size means 0
    chain: bytes  # checksum of the record before
    appended: int  # bytes ever appended up to here, skipped ring ends included; only differences count


WalRecord: TypeAlias = tuple[WalRecordHeader, bytes, WalPosition]  # header, body, the position behind it


class RingRecord(NamedTuple):
    """An intact record, wherever in the ring it was found."""

    position: int
    header: WalRecordHeader
    body: bytes


def record_size(body_size: int) -> int:
    """Bytes in the ring of a record with a body of this size: (0) = 72, (1) = 80."""
    return (HEADER_SIZE + body_size + WAL_ALIGNMENT - 1) & -WAL_ALIGNMENT


class Recovery:
    """One pass over the log. Iterate records() to its end; only then are the other attributes final.

    tail: behind the last record of the chain; the next append goes here
    op_synced: every op up to this one is known to be on disk
    near: set before: all of the ring was searched behind an earlier end, beside the same writer: now a part will do
    doubtful: follow() has met what only a recovery from the start can judge
    closed_cleanly: nothing was cut off: the log ends with a MARK that covers it, or is empty
    dropped: the remains of a torn tail were seen behind the chain
    dropped_digest: tells this torn tail from every other one; a writer passes it to Wal.seal
    """

    def __init__(self, ring: "_Ring", start: WalPosition, op_synced: int) -> None:
        self.start = start
        self.tail = start
        self.op_synced = op_synced
        self.closed_cleanly = False
        self.dropped = False
        self.dropped_digest = bytes(CHECKSUM_SIZE)
        self.near = False
        self.doubtful = False
        self._marked_op = start.op
        self._any_behind = False
        self._ring = ring

    def records(self) -> Iterator[WalRecord]:
        """Header, body, and the position behind it, of each record in order.

        Raises DamageError, at the end, when an acknowledged op is missing: what was given out before
        is then a correct but incomplete prefix.
        """
        return cast("Iterator[WalRecord]", self.steps(0, 0))

    def steps(self, key_size_max: int, value_size_max: int) -> Iterator[WalRecord | OpRun]:
        """As records(); plain ops with keys and values up to these sizes come in runs."""
        looks = 0
        while True:
            yield from self._chain(key_size_max, value_size_max)
            if self._is_more() and looks < _TORN_LOOKS:
                looks += 1
                continue
            self._search_tail()
            if self.op_synced <= self.tail.op:
                break
            # Perhaps a writer went on while we read: what a found record calls synced was whole
            # before that record was written, so now a fresh look must show it.
            self._ring.forget()
            if self._ring.record_after(self.tail) is None:
                raise _damage(
                    f"op {self.tail.op + 1} was acknowledged as stored, but its record is damaged"
                    f" (ops up to {self.op_synced} were stored)"
                )
        clean_op = self._marked_op if self.tail != self.start else self.op_synced
        self.closed_cleanly = not self.dropped and clean_op >= self.tail.op

    def follow(self, key_size_max: int, value_size_max: int) -> Iterator[WalRecord | OpRun]:
        """Goes on behind an end that was reached before, beside a writer that appends: as steps(), from `tail` on.

        `doubtful` at the end: there is more behind the tail than a writer leaves that is alive, or a record is broken.
        Only the next bytes are looked at for that; all of the ring is looked at by whoever recovers from the start.
        """
        self._ring.chunk_size = _NEAR_SIZE
        self.near, self.doubtful = True, False
        self._ring.forget()
        yield from self._chain(key_size_max, value_size_max)
        for _ in range(_TORN_LOOKS):
            if not self._ring.is_torn_after(self.tail) and not self._is_any_behind():
                return
            # What is being written now is broken for a moment; then it goes on, or it stays broken.
            tail = self.tail
            self._ring.forget()
            yield from self._chain(key_size_max, value_size_max)
            if self.tail != tail:
                return
        self.doubtful = True

    def _chain(self, key_size_max: int, value_size_max: int) -> Iterator[WalRecord | OpRun]:
        """What continues the chain, up to where it ends."""
        ring = self._ring
        while True:
            run = ring.run_after(self.tail, key_size_max, value_size_max) if key_size_max else None
            if run is not None:
                size = run.end - (self.tail.position - ring.base)
                after = WalPosition(run.op, self.tail.position + size, run.chain, self.tail.appended + size)
                self._goes_on(after, run.op_synced)
                yield run
            record = ring.record_after(self.tail)
            if record is None:
                return
            header, _, after = record
            if header.kind == _MARK and header.op_synced == header.op:
                self._marked_op = header.op
            self._goes_on(after, header.op_synced)
            yield record

    def _goes_on(self, after: WalPosition, op_synced: int) -> None:
        if after.appended - self.start.appended > self._ring.size:
            raise _damage(f"the records behind op {self.start.op} are longer than their ring")
        if op_synced > self.op_synced:
            self.op_synced = op_synced
        self.tail = after

    def _search_tail(self) -> None:
        """Look for intact records behind the chain's end, and take their watermark into account."""
        self.dropped_digest = bytes(CHECKSUM_SIZE)
        if not self._any_behind:
            return
        # Rare: take the slow way that knows which bytes are the inside of a record, since a value may
        # hold what looks like one.
        for record in self._ring.records(self.tail.op + 1):
            self.dropped = True
            self.dropped_digest = checksum(self.dropped_digest + record.header.checksum)
            if record.header.op_synced > self.op_synced:
                self.op_synced = record.header.op_synced

    def _is_more(self) -> bool:
        """Whether a writer has gone on while we read. Learns what is behind the tail, from what was read with it."""
        self.dropped = self._ring.is_torn_after(self.tail)
        self._any_behind = self._is_any_behind()
        if not (self.dropped or self._any_behind):
            return False
        self._ring.forget()
        return self._ring.record_after(self.tail) is not None

    def _is_any_behind(self) -> bool:
        """Whether the ring outside of the chain seems to hold an intact record of a later op."""
        ring, tail = self._ring, self.tail
        reach = _NEAR_SIZE if self.near else ring.size
        ahead = min(ring.size, tail.position + reach)
        for begin, end in ((tail.position, ahead), (0, min(self.start.position, tail.position + reach - ahead))):
            position = ring.find(begin, end, tail.op + 1)
            while position >= 0:
                if ring.record_at(position) is not None:
                    return True
                position = ring.find(position + WAL_ALIGNMENT, end, tail.op + 1)
        return False


def recover(storage: Storage, *, uuid: bytes, offset: int, size: int, start: WalPosition, op_synced: int) -> Recovery:
    """The log of the ring at `offset`, from `start` on; both, and op_synced, as the superblock has them.

    Raises DamageError when the superblock's numbers cannot be meant. Reads nothing yet.
    """
    if size <= 0 or size % WAL_ALIGNMENT or not 0 <= start.position <= size or start.position % WAL_ALIGNMENT:
        raise _damage(f"position {start.position} is not in a ring of {size} bytes")
    if max(start.op, op_synced) > OP_MAX:
        raise _damage(f"op {max(start.op, op_synced)} is out of range")
    return Recovery(_Ring(storage, uuid, offset, size), start, op_synced)


def scan_ring(storage: Storage, *, uuid: bytes, offset: int, size: int) -> Iterator[RingRecord]:
    """Every intact record of this file in the ring, live or not, by position. Damage is passed over.

    For inspection and salvage; raises DamageError only for a ring crafted to keep the search busy.
    """
    return _Ring(storage, uuid, offset, size).records(0)


class _Ring:
    """A window of bytes that moves over the ring. `base` is the position of its first byte, aligned."""

    def __init__(self, storage: Storage, uuid: bytes, offset: int, size: int) -> None:
        self.storage = storage
        self.uuid_half = uuid[:UUID_HALF_SIZE]
        self.offset = offset
        self.size = size
        self.data = b""
        self.view = memoryview(self.data)
        self.base = 0
        self.search_size = 0
        self.chunk_size = _CHUNK_SIZE

    def forget(self) -> None:
        self.data = b""

    def load(self, position: int, size: int) -> bool:
        """Move the window so that it has these bytes; False where the ring or the file ends before."""
        if self.base <= position and position + size <= self.base + len(self.data):
            return True
        if position + size > self.size:
            return False
        self.data = self.storage.read(self.offset + position, min(max(size, self.chunk_size), self.size - position))
        self.view = memoryview(self.data)
        self.base = position
        return len(self.data) >= size

    def run_after(self, tail: WalPosition, key_size_max: int, value_size_max: int) -> OpRun | None:
        """The plain ops that continue the chain, as far as the window goes, if there are some."""
        if not self.load(tail.position, HEADER_SIZE):
            return None
        begin = tail.position - self.base
        return op_run(self.data, begin, tail.chain, self.uuid_half, tail.op, key_size_max, value_size_max)

    def record_after(self, tail: WalPosition) -> WalRecord | None:
        """The record that continues the chain; None where it ends."""
        op, position, chain, appended = tail
        record = self._intact_at(position, chain)
        if record is None:
            window = self.data, self.view, self.base
            record = self._intact_at(0, chain)
            if record is None or record_size(record[0].size) <= self.size - position:
                # What is behind the end is judged by what was read with it: a writer may be going on.
                self.data, self.view, self.base = window
                return None  # a record at 0 that fits at `position` was not written from this place of the chain
            appended += self.size - position
            position = 0
        header, body = record
        kind = header.kind
        if header.op != (op if kind == _MARK else op + 1) or header.op_synced > header.op or kind not in _KINDS:
            raise _damage(f"the record behind op {op} is of op {header.op}, kind {kind}: this is no valid log")
        stored_size = record_size(header.size)
        return header, body, WalPosition(header.op, position + stored_size, header.checksum, appended + stored_size)

    def is_torn_after(self, tail: WalPosition) -> bool:
        """Whether the header of a record that continues the chain is there, though the record is broken."""
        window = self.data, self.view, self.base
        torn = False
        for position in (tail.position, 0):
            if self.load(position, HEADER_SIZE):
                begin = position - self.base + CHECKSUM_SIZE
                torn = torn or self.data[begin : begin + CHECKSUM_SIZE] == tail.chain
        self.data, self.view, self.base = window
        return torn

    def _intact_at(self, position: int, chain: bytes | None = None) -> tuple[WalRecordHeader, bytes] | None:
        """The record at this position, if its checksum holds, it is of this file, and it continues this chain."""
        if not self.load(position, HEADER_SIZE):
            return None
        begin = position - self.base
        if chain is not None and self.data[begin + CHECKSUM_SIZE : begin + _UUID_OFFSET] != chain:
            return None
        header = WalRecordHeader._make(_UNPACK_FROM(self.data, begin))
        if header.uuid != self.uuid_half or not self.load(position, HEADER_SIZE + header.size):
            return None
        begin = position - self.base
        end = begin + HEADER_SIZE + header.size
        if checksum(self.view[begin + CHECKSUM_SIZE : end]) != header.checksum:
            return None
        return header, self.data[begin + HEADER_SIZE : end]

    def record_at(self, position: int) -> RingRecord | None:
        """An intact record at a position that find() gave; counts what the search costs."""
        record = self._intact_at(position)
        self.search_size += len(record[1]) if record is not None else self._claimed_size(position)
        if self.search_size > max(_SEARCH_RINGS_MAX * self.size, _SEARCH_SIZE_MIN):
            raise _damage("the ring holds more headers of records than can be meant")
        if record is None or record[0].op_synced > record[0].op or record[0].kind not in _KINDS:
            return None
        return RingRecord(position, *record)

    def _claimed_size(self, position: int) -> int:
        if not self.load(position, HEADER_SIZE):
            return 0
        size: int = _UNPACK_FROM(self.data, position - self.base)[5]
        return size if size <= self.size - position else 0

    def find(self, begin: int, end: int, op_min: int) -> int:
        """Where between begin and end the next header of this file with at least this op seems to be, or -1.

        A header is known by the file's uuid: a few nanoseconds for each hundred bytes of the ring, a
        quarter of a microsecond for each header.
        """
        uuid_half = self.uuid_half
        op_at = _OP.unpack_from
        while begin < end and self.load(begin, HEADER_SIZE):
            data, base = self.data, self.base
            find_end = min(len(data) - HEADER_SIZE, end - 1 - base) + _OP_OFFSET
            found = data.find(uuid_half, begin - base + _UUID_OFFSET, find_end)
            while found >= 0:
                if op_at(data, found + UUID_HALF_SIZE)[0] >= op_min and not found % WAL_ALIGNMENT:
                    return base + found - _UUID_OFFSET
                found = data.find(uuid_half, found + WAL_ALIGNMENT - found % WAL_ALIGNMENT, find_end)
            begin = base + (len(data) - HEADER_SIZE + WAL_ALIGNMENT) // WAL_ALIGNMENT * WAL_ALIGNMENT
        return -1

    def records(self, op_min: int) -> Iterator[RingRecord]:
        """The intact records from this op on, by position. What lies inside an intact record is its body."""
        position = self.find(0, self.size, 0)
        while position >= 0:
            record = self.record_at(position)
            if record is None:
                position += WAL_ALIGNMENT
            else:
                position += record_size(record.header.size)
                if record.header.op >= op_min:
                    yield record
            position = self.find(position, self.size, 0)


def _damage(what: str) -> DamageError:
    return DamageError(f"write-ahead log: {what}; nothing was changed: run salvage to save what is intact", zone="wal")
