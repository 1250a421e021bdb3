"""The writer's end of the log, against a list of bodies: wrapping, filling up, failing, moving, and crashing."""

import itertools
import random

import pytest

from lsmcli.engine import wal as wal_module
from lsmcli.engine.errors import DamageError, NoSpaceError, OutcomeUnknownError
from lsmcli.engine.schema import WAL_RECORD_HEADER, WalRecordHeader, WalRecordKind
from lsmcli.engine.wal import Wal, WalPosition, record_size
from tests.testing.storage import Crash, Fault, SimulatedStorage
from tests.testing.wal import CHAIN_FIRST, OFFSET, UUID, Log

HEADER = WAL_RECORD_HEADER.size


def state(wal: Wal) -> tuple[object, ...]:
    return (wal.offset, wal.size, wal.start, wal.tail, wal.op_synced, wal.op_told)


def test_the_bytes_of_a_record_are_fixed() -> None:
    log = Log(256).put(b"body")
    log.wal.op_synced = 1
    log.wal.append(WalRecordKind.SCOPE_BEGIN, b"x" * 8)
    image = bytes(log.storage.image[OFFSET:])
    first = WAL_RECORD_HEADER.unpack(image)
    second = WAL_RECORD_HEADER.unpack(image, 80)
    assert first == WalRecordHeader(first.checksum, CHAIN_FIRST, UUID[:8], 1, 0, 4, 1, 1, 0, 0)
    assert second == WalRecordHeader(second.checksum, first.checksum, UUID[:8], 2, 1, 8, 0, 3, 0, 0)
    assert image[72:80] == b"body\0\0\0\0"
    assert image[152:] == b"x" * 8 + bytes(256 - 160)
    assert first.checksum.hex() == "e770767009ccf5ea500c8ef2b7cb48e4"
    assert log.wal.tail == WalPosition(2, 160, second.checksum, 160)


@pytest.mark.parametrize(("body", "stored"), [(0, 72), (1, 80), (8, 80), (9, 88), (1000, 1072)])
def test_record_size(body: int, stored: int) -> None:
    assert record_size(body) == stored
    assert Log(2048).put(bytes(body)).wal.live_size == stored


def test_every_kind_but_a_mark_takes_an_op_number() -> None:
    wal = Log(1024).wal
    assert wal.append_op(b"", 0) == 1
    assert wal.append(WalRecordKind.MARK) == 1
    assert wal.append(WalRecordKind.SCOPE_BEGIN) == 2
    assert wal.append(WalRecordKind.OP) == 3
    assert wal.append(WalRecordKind.SCOPE_PERSIST) == 4
    assert wal.append(WalRecordKind.SCOPE_DISCARD) == 5
    assert wal.op == 5


def test_one_append_is_one_write() -> None:
    log = Log(1024)
    log.put(b"one", b"two").mark()
    assert log.storage.operations == 2


# The ring.


def test_a_record_that_does_not_fit_at_the_end_goes_to_the_beginning() -> None:
    log = Log(400, position=240).put(b"1", b"2", b"3")
    assert log.positions() == [(OFFSET + 240, 73), (OFFSET + 320, 73), (OFFSET, 73)]
    log.checkpoint().put(b"4", b"5").checkpoint().put(b"6" * 100)  # takes 176, and 160 are left
    assert log.positions() == [(OFFSET, 172)]
    assert log.wal.live_size == 160 + 176
    assert log.reread().bodies == [b"6" * 100]


def test_live_size_counts_a_skipped_end() -> None:
    log = Log(400, position=240).put(b"6" * 60)
    assert (log.wal.tail.position, log.wal.live_size) == (376, 136)
    log.put(b"7")
    assert (log.wal.tail.position, log.wal.live_size) == (80, 136 + 24 + 80)
    assert log.reread().bodies == [b"6" * 60, b"7"]


def test_a_ring_can_be_filled_to_the_last_byte() -> None:
    for position in range(0, 320 + 1, 80):
        log = Log(320, position=position).put(b"1", b"2", b"3")
        assert log.wal.fits(8) and not log.wal.fits(9)
        log.put(b"4")
        assert log.wal.live_size == 320
        assert not log.wal.fits(0)
        assert log.reread().bodies == [b"1", b"2", b"3", b"4"]


def test_an_append_that_does_not_fit_is_our_own_mistake() -> None:
    log = Log(320).put(b"1", b"2", b"3")
    before, image = state(log.wal), bytes(log.storage.image)
    with pytest.raises(AssertionError):
        log.put(b"123456789")
    assert state(log.wal) == before
    assert log.storage.image == image


def test_what_takes_half_the_ring_fits_when_nothing_is_live() -> None:
    for position in range(0, 512 + 1, 8):
        log = Log(512, position=position)
        assert log.wal.fits(256 - HEADER)
        assert log.put(bytes(256 - HEADER)).reread().tail == log.wal.tail


@pytest.mark.parametrize("size", [256, 264])
def test_wrapping_at_every_alignment(size: int) -> None:
    for position in range(0, size + 1, 8):
        for body_size in range(0, 64, 8):
            log = Log(size, position=position)
            kept: list[bytes] = []
            for op in range(1, 8):
                body = bytes([op]) * body_size
                while not log.wal.fits(body_size):
                    log.checkpoint(log.reread().places[0])
                    kept.pop(0)
                log.put(body)
                kept.append(body)
                assert log.reread().bodies == kept
                assert log.reread().tail == log.wal.tail


# Marks and seals.


@pytest.mark.parametrize(("position", "wiped"), [(80, True), (160, False)])
def test_one_dropped_record_in_a_ring_too_full_for_a_seal(position: int, wiped: bool) -> None:
    log = Log(400, position=position).put(b"1", b"2", b"3", b"4", b"5")  # of 80 bytes each: not one more
    offset, size = log.positions()[4]
    log.storage.corrupt(offset + size - 1, b"?")
    assert log.reopen().bodies == [b"1", b"2", b"3", b"4"]
    assert not log.wal.fits(16)
    assert (log.storage.image[OFFSET : OFFSET + 80] == bytes(80)) == wiped
    assert log.put(b"").reread().bodies == [b"1", b"2", b"3", b"4", b""]


def test_a_mark_is_written_once_for_news_and_only_where_it_fits() -> None:
    log = Log(320)
    assert log.mark().wal.live_size == 0
    assert log.put(b"1").mark().wal.live_size == 80
    assert log.sync().mark().wal.live_size == 80 + 72
    assert log.mark().sync().mark().wal.live_size == 80 + 72
    assert log.put(b"2").sync().put(b"3").wal.live_size == 80 + 72 + 160
    assert log.mark().wal.live_size == 80 + 72 + 160  # op 3 carries the news; and there is no room
    assert log.sync().mark().wal.live_size == 80 + 72 + 160


def test_a_mark_is_no_news_where_a_checkpoint_has_told() -> None:
    log = Log(320).put(b"1").checkpoint()
    assert log.mark().wal.live_size == 0


def test_after_reopening_a_mark_is_no_news() -> None:
    log = Log(320).put(b"1").sync().mark()
    log.reopen()
    assert log.mark().wal.live_size == 80 + 72


def test_a_seal_tells_one_dropped_tail_from_another() -> None:
    chains = set()
    for bodies in ([b"2", b"3"], [b"2", b"4"], [b"3", b"3", b"3"]):
        log = Log(1024).put(b"1").sync().put(*bodies)
        log.storage.flip(8 * log.positions()[1][0])
        assert log.reopen().bodies == [b"1"]
        chains.add(log.put(b"2").wal.chain)
    assert len(chains) == 3


def test_a_dropped_tail_in_a_full_ring_does_not_come_back() -> None:
    wiped = 0
    for fill, position in itertools.product(range(0, 240, 8), range(0, 400 + 1, 8)):
        log = Log(400, position=position)
        if not log.wal.fits(fill):
            continue
        log.put(b"1" * fill).sync()
        while log.wal.fits(0):
            log.put(b"")
        places = log.positions()
        if len(places) < 3:
            continue
        log.storage.corrupt(places[1][0], bytes(HEADER))
        reread = log.reopen()
        assert reread.bodies == [b"1" * fill]
        assert reread.dropped
        wiped += log.wal.tail == reread.tail
        if log.wal.fits(0):
            assert log.put(b"").reread().bodies == [b"1" * fill, b""]
    assert wiped > 0


# Errors.


@pytest.mark.parametrize("fault", [Fault.WRITE_FAILS, Fault.WRITE_TORN, Fault.NO_SPACE])
@pytest.mark.parametrize("position", [0, 200], ids=["in the ring", "at its end"])
def test_a_failed_write_leaves_the_object_as_it_was(fault: Fault, position: int) -> None:
    for operation in range(2):
        log = Log(400, position=position).put(b"1" * 60)
        before = state(log.wal)
        log.storage.faults[log.storage.operations + operation] = fault
        try:
            log.put(b"2" * 60)
        except (OutcomeUnknownError, NoSpaceError):
            assert state(log.wal) == before
            assert log.reread().bodies == [b"1" * 60]


def test_a_full_disk_can_be_tried_again() -> None:
    log = Log(400).put(b"1")
    log.storage.faults[1] = Fault.NO_SPACE
    with pytest.raises(NoSpaceError):
        log.put(b"2")
    assert log.put(b"3").reread().bodies == [b"1", b"3"]


@pytest.mark.parametrize("fault", [Fault.SYNC_KEEPS, Fault.SYNC_REVERTS])
def test_a_failed_sync_acknowledges_nothing(fault: Fault) -> None:
    log = Log(400).put(b"1").sync().put(b"2")
    log.storage.faults[log.storage.operations] = fault
    with pytest.raises(OutcomeUnknownError):
        log.sync()
    assert log.wal.op_synced == 1


def test_an_append_interrupted_behind_its_write_does_not_win_over_the_next() -> None:
    log = Log(400, position=240)
    before = state(log.wal)
    log.put(b"1")
    log.wal = log._wal_at(log.start, 0)  # as if the interrupt had come before the bookkeeping
    assert state(log.wal) == before
    log.put(b"2" * 100)
    assert log.reread().bodies == [b"2" * 100]


# Another ring.


@pytest.mark.parametrize("copy_size_max", [1, 200, 1 << 20])
def test_relocate_keeps_every_live_record(copy_size_max: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wal_module, "_COPY_SIZE_MAX", copy_size_max)
    for position in range(0, 480 + 1, 8):
        log = Log(480, position=position)
        places = [log.wal.tail]
        for body in (b"1", b"2" * 70, b"3"):
            log.put(body)
            places.append(log.wal.tail)
        log.relocate(OFFSET + 480, 520)
        assert log.start == WalPosition(0, 0, CHAIN_FIRST, 0)
        assert log.reread().bodies == [b"1", b"2" * 70, b"3"]
        assert log.wal.live_size == 80 + 144 + 80
        assert [log.wal.moved(place).position for place in places] == [0, 80, 224, 304]
        assert log.wal.moved(places[-1]) == log.wal.tail
        log.put(b"4")
        assert log.reread().bodies == [b"1", b"2" * 70, b"3", b"4"]
        log.checkpoint(log.wal.moved(places[1]))
        assert log.reread().bodies == [b"2" * 70, b"3", b"4"]


def test_relocate_of_an_empty_log() -> None:
    log = Log(400).put(b"1").checkpoint().relocate(OFFSET + 400, 800)
    assert log.start.op == 1
    assert log.put(b"2").reread().bodies == [b"2"]


def test_relocate_writes_only_to_the_new_ring() -> None:
    log = Log(400, position=240).put(b"1", b"2", b"3").sync().mark()
    before = bytes(log.storage.image)
    old = log.reread()
    log.wal.relocate(OFFSET + 800, 400)
    assert log.storage.image[: len(before)] == before
    assert log.reread() == old  # what the durable superblock still points at


def test_relocate_refuses_to_copy_damage_and_changes_nothing() -> None:
    log = Log(400).put(b"1", b"2", b"3").sync()
    log.storage.flip(8 * log.positions()[1][0])
    before = state(log.wal)
    with pytest.raises(DamageError):
        log.wal.relocate(OFFSET + 400, 400)
    assert state(log.wal) == before


def test_relocate_refuses_where_the_end_of_the_log_is_gone() -> None:
    log = Log(400).put(b"1", b"2").sync().mark()
    offset, size = log.positions()[2]
    log.storage.corrupt(offset, bytes(size))  # the mark: no op is missing, so a reader would not miss it
    before = state(log.wal)
    with pytest.raises(DamageError, match="the record behind op 2 is gone"):
        log.wal.relocate(OFFSET + 400, 400)
    assert state(log.wal) == before


def test_a_lost_copy_does_not_come_back_when_the_ring_moves_again() -> None:
    log = Log(400).put(b"1").sync().put(b"2", b"3")
    log.wal.relocate(OFFSET + 400, 400)
    lost = log.storage.crash(-1)  # the superblock was not written; the copy has reached the disk
    assert log.reread(lost).bodies == [b"1", b"2", b"3"]
    lost = log.storage.crash(0)
    assert log.reread(lost).bodies == [b"1", b"2", b"3"]


# Long runs.


class Run:
    """Random steps on a tiny ring; `ops` is all that was issued, `synced` how many of them must survive."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.log = Log(rng.randrange(256, 1200, 8), position=0)
        self.ops: list[bytes] = []
        self.synced = 0
        self.places = [self.log.wal.tail]  # from the start on, one behind each record that is still live

    def body(self) -> bytes:
        """Few different ones: a repeated op is often the same bytes."""
        return bytes([len(self.ops) % 256]) * self.rng.choice((0, 0, 3, 8, 40, 100))

    def append(self) -> None:
        body = self.body()
        if self.log.wal.fits(len(body)):
            self.log.put(body)
            self.ops.append(body)
            self.places.append(self.log.wal.tail)
        elif self.rng.random() < 0.5:
            self.release()

    def sync(self) -> None:
        self.log.sync()
        self.synced = len(self.ops)

    def release(self) -> None:
        keep = self.rng.randrange(len(self.places))
        self.log.checkpoint(self.places[keep])
        del self.places[:keep]
        self.synced = len(self.ops)

    def mark(self) -> None:
        before = self.log.wal.tail
        self.log.mark()
        if self.log.wal.tail != before:
            self.places.append(self.log.wal.tail)

    def relocate(self) -> None:
        size = self.rng.randrange(self.log.wal.live_size + 128, self.log.wal.live_size + 1200) // 8 * 8
        offset = OFFSET if self.log.offset - OFFSET >= size else self.log.offset + self.log.size
        self.log.relocate(offset, size)
        self.places = [self.log.wal.moved(place) for place in self.places]
        self.synced = len(self.ops)

    def end(self, *, power: bool) -> None:
        """The process is killed, or power fails; another one takes over."""
        storage = self.log.storage.crash(self.rng) if power else self.log.storage.reopen()
        start, sealed_from = self.log.start, self.log.wal.tail
        reread = self.log.reopen(storage)
        ops = self.ops[: start.op] + reread.bodies
        assert ops == self.ops[: len(ops)], "a prefix of what was issued"
        assert len(ops) >= (self.synced if power else len(self.ops))
        assert reread.op_synced <= max(self.synced, start.op)
        assert power or reread.tail == sealed_from
        self.ops = ops
        self.synced = len(ops)
        self.places = [self.log.start, self.log.wal.tail]

    def check(self) -> None:
        reread = self.log.reread()
        assert self.ops[self.log.start.op :] == reread.bodies
        assert reread.tail == self.log.wal.tail
        assert reread.op_synced <= self.log.wal.op_synced == self.synced


@pytest.mark.parametrize("run", range(10))
def test_ten_thousand_steps_against_a_list(run: int, seed: int) -> None:
    rng = random.Random(f"{seed}/{run}")
    weights = [30, 4, 4, 4, 1, rng.choice((0, 1)), rng.choice((1, 3, 6))]
    state = Run(rng)
    for _ in range(1_000):
        step = rng.choices(("append", "sync", "release", "mark", "relocate", "kill", "power"), weights)[0]
        if step in ("kill", "power"):
            state.end(power=step == "power")
        else:
            getattr(state, step)()
        if rng.random() < 0.3:
            state.check()


def test_a_kill_at_every_write_leaves_what_was_written(rng: random.Random) -> None:
    def work(log: Log) -> list[bytes]:
        issued: list[bytes] = []
        try:
            for op in range(60):
                body = bytes([op]) * (op * 7 % 50)
                if not log.wal.fits(len(body)):
                    log.checkpoint()
                issued.append(body)
                log.put(body)
                if op % 4 == 3:
                    log.sync().mark()
        except Crash:
            pass
        return issued

    whole = Log(600)
    bodies = work(whole)
    for operation in range(whole.storage.operations):

        def stop(index: int, _kind: str, _offset: int, _size: int, at: int = operation) -> None:
            if index == at:
                raise Crash

        log = Log(600)
        log.storage.hook = stop
        issued = work(log)
        for disk in (log.storage.reopen(), log.storage.crash(rng), log.storage.crash(rng)):
            found = log.reread(disk)
            ops = bodies[: log.start.op] + found.bodies
            assert ops == bodies[: len(ops)]
            assert log.wal.op_synced <= len(ops) <= len(issued)
        assert log.reread().tail == log.wal.tail


def test_a_log_on_a_disk_of_zeros_is_empty() -> None:
    log = Log(512)
    log.storage = SimulatedStorage(bytes(OFFSET + 512))
    assert log.reread().closed_cleanly


def test_the_ring_is_read_ahead_from_the_second_lap_on(rng: random.Random) -> None:
    piece = 128 * 1024
    size = 3 * piece + 64 * 1024
    log = Log(size)
    read: list[tuple[int, int]] = []
    log.storage.prefetch = lambda offset, size: read.append((offset - log.wal.offset, size))  # type: ignore[method-assign]
    pieces = [(0, piece), (piece, piece), (2 * piece, piece), (3 * piece, size - 3 * piece)]
    laps = 0
    while laps < 3:
        before = log.wal.position
        log.put(bytes(rng.randrange(500, 3000))).checkpoint()
        laps += log.wal.position < before
        log.wal.read_ahead(piece // 2)
        if laps == 0 and log.wal.position + piece // 2 <= size:
            assert read == []
        else:
            ahead = (log.wal.position + piece // 2) % size // piece
            assert pieces[ahead] in read[-3:], "it is read before it is written to"
    assert set(read) == set(pieces)
    assert len(read) < 4 * len(pieces), "each once in a lap"
