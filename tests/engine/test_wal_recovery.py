"""Reading the log back: where it ends, and whether that end is a torn tail or damage.

Fates of a record: "." intact, "x" a flipped bit, "0" zeros, "t" its second half is gone.
"""

import itertools
import random
from collections.abc import Iterator

import pytest

from lsmcli.engine import wal_recovery
from lsmcli.engine.errors import DamageError, FileError
from lsmcli.engine.schema import WAL_RECORD_HEADER, WalRecordKind
from lsmcli.engine.wal_recovery import OP_MAX, WalPosition, recover, scan_ring
from tests.testing.storage import Fault, SimulatedStorage
from tests.testing.wal import CHAIN_FIRST, OFFSET, UUID, Log, Reread, forged, unchanged

HEADER = WAL_RECORD_HEADER.size
START = WalPosition(0, 0, CHAIN_FIRST, 0)


def outcome(log: Log, storage: SimulatedStorage | None = None) -> Reread | DamageError:
    try:
        return log.reread(storage)
    except DamageError as error:
        assert error.zone == "wal"
        assert "\n" not in str(error)
        return error


def spoil(storage: SimulatedStorage, offset: int, size: int, fate: str) -> None:
    if fate == "x":
        storage.flip(8 * (offset + size // 2))
    elif fate == "0":
        storage.corrupt(offset, bytes(size))
    elif fate == "t":
        storage.corrupt(offset + size // 2, bytes(size - size // 2))


def disk_with(*records: bytes, size: int = 1024) -> SimulatedStorage:
    """A ring whose beginning holds these bytes."""
    return SimulatedStorage(bytes(OFFSET) + b"".join(records).ljust(size, b"\0"))


def recovered(disk: SimulatedStorage, *, size: int = 1024, start: WalPosition = START, op_synced: int = 0) -> list[int]:
    recovery = recover(disk, uuid=UUID, offset=OFFSET, size=size, start=start, op_synced=op_synced)
    return [header.op for header, _, _ in recovery.records()]


# The end of the log.


def test_an_empty_log_is_closed_cleanly() -> None:
    reread = Log(256).reread()
    assert (reread.bodies, reread.tail, reread.closed_cleanly, reread.dropped) == ([], START, True, False)


def test_a_log_without_a_mark_at_its_end_was_not_closed_cleanly() -> None:
    log = Log(1024).put(b"one").sync().put(b"two").sync()
    assert log.reread().bodies == [b"one", b"two"]
    assert log.reread().op_synced == 1
    assert not log.reread().closed_cleanly
    log.mark()
    assert log.reread().op_synced == 2
    assert log.reread().closed_cleanly
    log.put(b"three")
    assert not log.reread().closed_cleanly


def test_a_mark_of_an_older_sync_does_not_close_the_log() -> None:
    log = Log(1024).put(b"one").sync().put(b"two")
    log.wal.append(WalRecordKind.MARK)
    assert log.reread().op_synced == 1
    assert not log.reread().closed_cleanly


def test_a_mark_with_a_torn_tail_behind_it_does_not_close_the_log() -> None:
    log = Log(1024).put(b"one").sync().mark()
    log.put(b"two", b"three")
    spoil(log.storage, *log.positions()[2], "0")
    reread = log.reread()
    assert [header.kind for header in reread.headers] == [WalRecordKind.OP, WalRecordKind.MARK]
    assert reread.dropped and not reread.closed_cleanly


def test_a_log_that_a_checkpoint_has_emptied_is_closed_cleanly() -> None:
    assert Log(1024).put(b"one", b"two").checkpoint().reread().closed_cleanly


def test_every_kind_of_record_comes_back_in_order() -> None:
    log = Log(1024).put(b"one")
    log.wal.append(WalRecordKind.SCOPE_BEGIN, b"begin")
    log.put(b"two").sync().mark()
    log.wal.append(WalRecordKind.SCOPE_DISCARD)
    assert [(header.op, header.kind) for header in log.reread().headers] == [(1, 1), (2, 3), (3, 1), (3, 2), (4, 5)]


def test_the_superblock_alone_can_tell_of_damage() -> None:
    log = Log(512).put(b"one", b"two").sync()
    log.op_synced = 2
    log.storage.flip(8 * log.positions()[-1][0])
    with pytest.raises(DamageError, match="op 2 was acknowledged"):
        log.reread()


@pytest.mark.parametrize("flip", [0x01, 0x80, 0xFF])
@pytest.mark.parametrize("position", [0, 200, 400], ids="from {}".format)
def test_one_wrong_byte_anywhere_never_gives_a_wrong_or_shorter_log(position: int, flip: int) -> None:
    bodies = [b"first", b"", b"third " * 5, b"fourth"]
    log = Log(512, position=position).put(*bodies).sync().mark()
    places = log.positions()
    op_mark = len(places) - 1
    for offset in range(OFFSET, OFFSET + log.size):
        disk = log.storage.reopen()
        disk.corrupt(offset, bytes([disk.image[offset] ^ flip]))
        hit = next((i for i, (begin, size) in enumerate(places) if begin <= offset < begin + size), None)
        found = outcome(log, disk)
        if hit is None:
            assert isinstance(found, Reread)
            assert found.bodies == bodies and found.closed_cleanly
        elif hit == op_mark:
            assert isinstance(found, Reread)
            assert found.bodies == bodies and not found.closed_cleanly
        else:
            assert isinstance(found, DamageError)
            assert f"op {hit + 1} was acknowledged" in str(found)


@pytest.mark.parametrize("position", [0, 96, 200])
def test_a_last_write_cut_at_any_byte_leaves_all_before_it(position: int) -> None:
    log = Log(304, position=position).put(b"one").sync().put(b"two")
    before = bytes(log.storage.image)
    log.put(b"three")
    after = bytes(log.storage.image)
    offset, size = log.positions()[-1]
    for cut in range(size + 1):
        torn = SimulatedStorage(before[:offset] + after[offset : offset + cut] + before[offset + cut :])
        reread = log.reread(torn)
        assert reread.bodies == ([b"one", b"two", b"three"] if cut == size else [b"one", b"two"])


# What lies in the ring and does not belong to the log.


def test_records_of_earlier_laps_are_not_taken_for_a_dropped_tail() -> None:
    log = Log(512)
    for op in range(1, 40):
        log.put(b"%d" % op).checkpoint()
        reread = log.put(b"tail").reread()
        assert reread.bodies == [b"tail"]
        assert not reread.dropped
        log.checkpoint()


def test_a_file_of_another_uuid_is_not_read() -> None:
    disk = disk_with(forged(uuid=b"another!"))
    assert recovered(disk) == []


def test_a_value_that_looks_like_a_record_is_not_evidence() -> None:
    fake = forged(op=50, op_synced=49)
    log = Log(1024).put(fake).checkpoint().put(b"two")
    assert fake in bytes(log.storage.image)
    reread = log.reread()
    assert reread.bodies == [b"two"]
    assert not reread.dropped


@pytest.mark.parametrize("shift", range(16))
def test_only_what_lies_at_a_record_s_alignment_is_evidence(shift: int) -> None:
    disk = disk_with(b"?" * shift, forged(op=50, op_synced=49))
    found = list(scan_ring(disk, uuid=UUID, offset=OFFSET, size=1024))
    assert [record.position for record in found] == ([] if shift % 8 else [shift])


def test_a_record_found_behind_a_hole_brings_its_watermark() -> None:
    log = Log(1024).put(b"one", b"two", b"three").sync().put(b"four")
    offset, size = log.positions()[1]
    log.storage.corrupt(offset, bytes(size))
    with pytest.raises(DamageError, match=r"op 2 was acknowledged .* \(ops up to 3 were stored\)"):
        log.reread()


def test_a_dropped_record_does_not_come_back_behind_a_repeated_op() -> None:
    log = Log(1024).put(b"one").sync().put(b"two", b"three", b"four")
    spoil(log.storage, *log.positions()[1], "0")
    assert log.reopen().bodies == [b"one"]
    log.put(b"two")  # the same op again, as when an import is run once more
    assert log.reread().bodies == [b"one", b"two"]


def test_without_a_seal_it_would_come_back() -> None:
    log = Log(1024).put(b"one").sync().put(b"two", b"three", b"four")
    disk = log.storage.reopen()
    spoil(disk, *log.positions()[1], "0")
    log.storage = disk
    reread = log.reread()
    assert reread.dropped
    log.wal = log._wal_at(reread.tail, reread.op_synced)
    log.put(b"two")
    assert log.reread().bodies == [b"one", b"two", b"three", b"four"]


def test_a_torn_tail_that_left_one_header_is_seen_as_dropped() -> None:
    log = Log(512).put(b"one").sync().put(b"two")
    spoil(log.storage, *log.positions()[1], "t")
    reread = log.reread()
    assert reread.dropped
    assert reread.tail.op == 1


@pytest.mark.parametrize("fields", [{"kind": 9}, {"op_synced": 51}], ids=str)
def test_a_record_that_makes_no_sense_is_no_evidence_behind_a_hole(fields: dict[str, int]) -> None:
    sound = {"op": 50, "op_synced": 3, "size": 0}
    with pytest.raises(DamageError, match="op 1 was acknowledged"):
        recovered(disk_with(bytes(80), forged(**sound)))
    assert recovered(disk_with(bytes(80), forged(**sound | fields))) == []


def test_a_file_that_ends_inside_of_a_header_has_no_record_there() -> None:
    head = forged(op=50, op_synced=3)[: HEADER - 8]
    disk = SimulatedStorage(bytes(OFFSET + 80) + head)
    assert recovered(disk) == []
    ring = wal_recovery._Ring(disk, UUID, OFFSET, 1024)
    assert ring.record_at(80) is None  # as for a search that a change of the file's length overtakes
    assert ring.search_size == 0


# Inspection.


def test_scan_ring_gives_every_intact_record_by_position() -> None:
    log = Log(512, position=200).put(b"one", b"two" * 9, b"three", b"four").sync().mark()
    found = list(scan_ring(log.storage, uuid=UUID, offset=OFFSET, size=log.size))
    assert [(record.position + OFFSET, HEADER + len(record.body)) for record in found] == sorted(log.positions())
    assert [record.position for record in found] == sorted(record.position for record in found)
    spoil(log.storage, *log.positions()[1], "x")
    assert [record.body for record in scan_ring(log.storage, uuid=UUID, offset=OFFSET, size=log.size)] == [
        record.body for record in found if record.body != b"two" * 9
    ]


@pytest.mark.parametrize("chunk_size", [72, 80, 96, 128, 1024])
def test_scan_ring_finds_them_at_every_place_and_chunk(chunk_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wal_recovery, "_CHUNK_SIZE", chunk_size)
    for position in range(0, 512 - 80 + 1, 8):
        disk = disk_with(bytes(position), forged(b"body", op=9), size=512)
        found = list(scan_ring(disk, uuid=UUID, offset=OFFSET, size=512))
        assert [(record.position, record.header.op, record.body) for record in found] == [(position, 9, b"body")]


def test_scan_ring_passes_over_a_file_that_ends_early() -> None:
    log = Log(512).put(b"one", b"two")
    log.storage.truncate(log.positions()[1][0] + 40)
    assert [record.body for record in scan_ring(log.storage, uuid=UUID, offset=OFFSET, size=512)] == [b"one"]


# Numbers that cannot be meant.


@pytest.mark.parametrize("position", [-8, 4, 1032, 1 << 40])
def test_a_start_outside_of_the_ring_is_damage(position: int) -> None:
    with pytest.raises(DamageError):
        recovered(disk_with(), start=START._replace(position=position))


@pytest.mark.parametrize(("op", "op_synced"), [(OP_MAX + 1, 0), (0, OP_MAX + 1), ((1 << 64) - 1, 0)])
def test_an_op_past_all_reason_is_damage(op: int, op_synced: int) -> None:
    with pytest.raises(DamageError):
        recovered(disk_with(), start=START._replace(op=op), op_synced=op_synced)


@pytest.mark.parametrize("size", [0, -8, 1020])
def test_a_ring_of_no_size_is_damage(size: int) -> None:
    with pytest.raises(DamageError):
        recovered(disk_with(), size=size)


@pytest.mark.parametrize(
    "fields",
    [
        {"op": 2}, {"op": 0}, {"op_synced": 2}, {"kind": 0}, {"kind": 6}, {"kind": 2},
        {"kind": 2, "op": 0, "op_synced": 1},
    ],
    ids=str,
)  # fmt: skip
def test_an_intact_record_that_makes_no_sense_is_damage(fields: dict[str, int]) -> None:
    with pytest.raises(DamageError):
        recovered(disk_with(forged(b"", **fields)))


@pytest.mark.parametrize("size", [1, 1024 - HEADER + 1, 1 << 40, (1 << 64) - 1])
def test_a_body_that_the_ring_cannot_hold_ends_the_chain(size: int) -> None:
    disk = disk_with(forged(size=size))
    assert recovered(disk) == []
    assert list(scan_ring(disk, uuid=UUID, offset=OFFSET, size=1024)) == []


def test_a_record_at_the_ring_s_beginning_that_fits_at_its_end_is_not_the_next() -> None:
    disk = disk_with(forged(b"body"))
    assert recovered(disk, start=START._replace(position=1024)) == [1]
    assert recovered(disk, start=START._replace(position=1024 - 72)) == [1]
    assert recovered(disk, start=START._replace(position=1024 - 80)) == []


def test_a_file_that_ends_in_the_ring_is_read_up_to_there() -> None:
    log = Log(512).put(b"one", b"two").sync().mark()
    whole = bytes(log.storage.image)
    one, two, mark = log.positions()
    for length in range(OFFSET, len(whole), 3):
        found = outcome(log, SimulatedStorage(whole[:length]))
        if length >= sum(mark):
            assert isinstance(found, Reread) and found.closed_cleanly
        else:
            # The mark is gone; op 2 is, with its record, where no other witness of its sync is left.
            assert isinstance(found, Reread)
            assert found.bodies == [b"one", b"two"][: (length >= sum(one)) + (length >= sum(two))]


def test_a_search_that_a_crafted_ring_prolongs_is_cut_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wal_recovery, "_SEARCH_SIZE_MIN", 0)
    size = 64 * 1024
    headers = b"".join(forged(op=9, size=size - at - HEADER) for at in range(0, size - HEADER, HEADER))
    with pytest.raises(DamageError, match="more headers"):
        recovered(disk_with(headers[:size], size=size), size=size)


def test_any_bytes_in_the_ring_give_a_prefix_or_damage(rng: random.Random) -> None:
    bodies = [bytes([op]) * rng.randrange(40) for op in range(1, 7)]
    log = Log(768, position=400).put(*bodies[:3]).sync().put(*bodies[3:])
    outcomes: set[type] = set()
    for _ in range(3_000):
        disk = log.storage.reopen()
        for _ in range(rng.randint(1, 6)):
            offset = OFFSET + rng.randrange(log.size)
            source = OFFSET + rng.randrange(log.size)
            moved = rng.choice((bytes(disk.image[source : source + rng.randrange(120)]), rng.randbytes(3), bytes(16)))
            disk.corrupt(offset, moved[: OFFSET + log.size - offset])
        found = outcome(log, disk)
        outcomes.add(type(found))
        if isinstance(found, Reread):
            assert found.bodies == bodies[: len(found.bodies)]
    assert outcomes == {Reread, DamageError}


def test_a_read_that_fails_is_an_error_of_the_file() -> None:
    log = Log(512).put(b"one")
    log.storage.faults[log.storage.operations] = Fault.READ_FAILS
    with pytest.raises(FileError):
        list(recover(log.storage, uuid=UUID, offset=OFFSET, size=512, start=START, op_synced=0).records())


# Memory, and a writer at the same time.


@pytest.mark.parametrize("chunk_size", [72, 104, 256, 4096])
def test_small_chunks_give_the_same_log(chunk_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    bodies = [bytes([op]) * size for op, size in enumerate((0, 300, 1, 7, 8, 9, 150))]
    log = Log(1400, position=720).put(*bodies).sync().mark()
    monkeypatch.setattr(wal_recovery, "_CHUNK_SIZE", chunk_size)
    reread = log.reread()
    assert reread.bodies == bodies and reread.closed_cleanly
    spoil(log.storage, *log.positions()[3], "x")
    assert isinstance(outcome(log), DamageError)


def test_no_read_is_larger_than_a_chunk_or_a_record(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log(4096).put(*[b"v" * 20] * 20, b"v" * 1000, *[b"v" * 20] * 9).sync().mark()
    monkeypatch.setattr(wal_recovery, "_CHUNK_SIZE", 256)
    sizes: list[int] = []
    log.storage.hook = lambda _operation, _kind, _offset, size: sizes.append(size)
    list(recover(log.storage, uuid=UUID, offset=OFFSET, size=4096, start=START, op_synced=0).records())
    assert sorted(set(sizes))[-1] == HEADER + 1000
    assert sorted(set(sizes))[-2] == 256


@pytest.mark.parametrize("steps", ["pppp", "psps", "p.ps", "..ps", "pps.", "ppsp"])
@pytest.mark.parametrize("chunk_size", [72, 136, 512])
def test_a_reader_beside_a_writer_is_never_told_of_damage(
    steps: str, chunk_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wal_recovery, "_CHUNK_SIZE", chunk_size)
    log = Log(2048, position=1504).put(b"0").sync()
    plan: Iterator[str] = itertools.cycle(steps)
    body = iter(range(1, 10_000))

    def write_between_reads(_operation: int, kind: str, _offset: int, _size: int) -> None:
        if kind != "read" or not log.wal.fits(8):
            return
        step = next(plan)
        if step == "p":
            log.put(b"%d" % next(body))
        elif step == "s":
            log.sync()

    log.storage.hook = write_between_reads
    recovery = recover(
        log.storage, uuid=UUID, offset=OFFSET, size=log.size, start=log.start, op_synced=log.wal.op_synced
    )
    read = [body for _, body, _ in recovery.records()]
    assert read == [b"%d" % i for i in range(len(read))]
    assert recovery.op_synced <= recovery.tail.op


@pytest.mark.parametrize("reads", [1, 2, 3])  # the chain, a fresh look at its end, the search behind it
def test_reads_that_a_write_overtakes_are_repeated(reads: int) -> None:
    log = Log(512).put(b"one").sync().put(b"two").sync().put(b"three")
    offset, size = log.positions()[1]

    class Overtaken(SimulatedStorage):
        """The first reads see the third record, but not yet the second."""

        def read(self, at: int, count: int) -> bytes:
            data = super().read(at, count)
            if self.operations > reads or not at <= offset < at + count:
                return data
            return data[: offset - at] + bytes(size) + data[offset - at + size :]

    disk = Overtaken(log.storage.image)
    recovery = recover(disk, uuid=UUID, offset=OFFSET, size=512, start=START, op_synced=1)
    assert [body for _, body, _ in recovery.records()] == [b"one", b"two", b"three"]
    assert not recovery.dropped


def test_a_reader_that_a_writer_laps_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wal_recovery, "_CHUNK_SIZE", 72)
    log = Log(512).put(b"1", b"2", b"3")

    def run_ahead(_operation: int, kind: str, _offset: int, _size: int) -> None:
        if kind == "read":
            log.put(b"more").checkpoint()

    log.storage.hook = run_ahead
    with pytest.raises(DamageError):
        list(recover(log.storage, uuid=UUID, offset=OFFSET, size=512, start=START, op_synced=0).records())


def test_a_reader_in_step_with_a_writer_does_not_go_round_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wal_recovery, "_CHUNK_SIZE", 80)
    log = Log(800)

    def keep_one_ahead(_operation: int, kind: str, _offset: int, _size: int) -> None:
        if kind == "read":
            log.wal.release(log.wal.tail)
            log.put(b"8 bytes.")

    log.storage.hook = keep_one_ahead
    with pytest.raises(DamageError, match="longer than their ring"):
        list(recover(log.storage, uuid=UUID, offset=OFFSET, size=800, start=START, op_synced=0).records())


def test_reading_changes_nothing() -> None:
    log = Log(512).put(b"one").sync().put(b"two", b"three")
    spoil(log.storage, *log.positions()[1], "x")
    with unchanged(log.storage):
        assert log.reread().dropped
