"""A write-ahead log on a simulated disk, with what a superblock would remember of it.

log = Log(size=1024).put(b"one", b"two").sync()
log.reread().bodies == [b"one", b"two"]
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from lsmcli.engine.checksum import checksum
from lsmcli.engine.schema import WAL_RECORD_HEADER, WalRecordHeader, WalRecordKind
from lsmcli.engine.wal import Wal
from lsmcli.engine.wal_recovery import WalPosition, recover
from tests.testing.storage import SimulatedStorage

UUID = bytes(range(100, 116))
CHAIN_FIRST = checksum(UUID)
OFFSET = 512  # of the ring in the file: not 0, so that a mixed-up position shows


class Reread(NamedTuple):
    """What a recovery gave."""

    bodies: list[bytes]  # of the ops; marks have none
    headers: list[WalRecordHeader]  # of all records
    places: list[WalPosition]  # behind each record
    tail: WalPosition
    op_synced: int
    closed_cleanly: bool
    dropped: bool
    dropped_digest: bytes


class Log:
    """`start` and `op_synced` are the superblock's; checkpoint() moves them, as a durable one would."""

    def __init__(self, size: int, *, position: int = 0, storage: SimulatedStorage | None = None) -> None:
        self.storage = storage or SimulatedStorage(bytes(OFFSET + size))
        self.offset, self.size = OFFSET, size
        self.start = WalPosition(0, position, CHAIN_FIRST, 0)
        self.op_synced = 0
        self.wal = self._wal_at(self.start, 0)

    def _wal_at(self, tail: WalPosition, op_synced: int) -> Wal:
        return Wal(self.storage, UUID, self.offset, self.size, self.start, tail, op_synced)

    def put(self, *bodies: bytes) -> "Log":
        for body in bodies:
            self.wal.append_op(body, 1)
        return self

    def sync(self) -> "Log":
        self.wal.sync()
        return self

    def mark(self) -> "Log":
        self.wal.mark()
        return self

    def checkpoint(self, start: WalPosition | None = None) -> "Log":
        """A superblock that starts at this position, or at the tail, has become durable."""
        self.wal.sync()
        self.start = start or self.wal.tail
        self.op_synced = self.wal.op_synced
        self.wal.release(self.start)
        return self

    def relocate(self, offset: int, size: int) -> "Log":
        self.start = self.wal.relocate(offset, size)
        self.offset, self.size = offset, size
        self.wal.sync()
        self.op_synced = self.wal.op_synced
        return self

    def reread(self, storage: SimulatedStorage | None = None) -> Reread:
        """What a program that only reads finds, now or on this other disk."""
        disk = (storage or self.storage).reopen()
        disk.writable = False
        recovery = recover(
            disk, uuid=UUID, offset=self.offset, size=self.size, start=self.start, op_synced=self.op_synced
        )
        bodies, headers, places, before = [], [], [], self.start
        for header, body, after in recovery.records():
            assert after.op == header.op == before.op + (header.kind != WalRecordKind.MARK)
            assert header.checksum_previous == before.chain and after.chain == header.checksum
            assert header.size == len(body)
            assert after.appended > before.appended
            headers.append(header)
            places.append(after)
            if header.kind != WalRecordKind.MARK:
                bodies.append(body)
            before = after
        assert recovery.tail == before
        assert recovery.op_synced <= recovery.tail.op or recovery.tail.op == self.start.op
        return Reread(
            bodies,
            headers,
            places,
            recovery.tail,
            recovery.op_synced,
            recovery.closed_cleanly,
            recovery.dropped,
            recovery.dropped_digest,
        )

    def reopen(self, storage: SimulatedStorage | None = None) -> Reread:
        """A new writer takes over, as the engine would: recover, seal what was dropped, sync."""
        self.storage = storage or self.storage.reopen()
        reread = self.reread()
        self.wal = self._wal_at(reread.tail, reread.op_synced)
        if reread.dropped:
            self.wal.seal(reread.dropped_digest)
        self.wal.sync()
        return reread

    def positions(self) -> list[tuple[int, int]]:
        """(offset in the file, size without padding) of each live record, in order."""
        recovery = recover(
            self.storage.reopen(), uuid=UUID, offset=self.offset, size=self.size, start=self.start, op_synced=0
        )
        sizes = [(after.position, len(body)) for _, body, after in recovery.records()]
        return [
            (self.offset + end - (WAL_RECORD_HEADER.size + size + 7) // 8 * 8, WAL_RECORD_HEADER.size + size)
            for end, size in sizes
        ]


def forged(body: bytes = b"", /, **fields: int | bytes) -> bytes:
    """A record whose checksum holds, with any header."""
    header = WalRecordHeader(bytes(16), CHAIN_FIRST, UUID[:8], 1, 0, len(body), 1, int(WalRecordKind.OP), 0, 0)
    covered = WAL_RECORD_HEADER.pack(header._replace(**fields))[16:] + body  # type: ignore[arg-type]  # any field
    return checksum(covered) + covered


@contextmanager
def unchanged(storage: SimulatedStorage) -> Iterator[None]:
    """What happens inside must not change one byte."""
    before = bytes(storage.image)
    yield
    assert bytes(storage.image) == before
