"""Runs of plain ops, interpreted and compiled, against what is read of the same log record by record."""

import random
from types import ModuleType
from typing import Any

import pytest

from lsmcli.engine.schema import CHAIN_NONE, WAL_RECORD_HEADER, WalRecordHeader, WalRecordKind
from lsmcli.engine.wal_entry import decode_entries, encode_entries
from lsmcli.engine.wal_recovery import WalPosition, recover
from lsmcli.engine.wal_run import OpRun
from tests.testing.twins import twins
from tests.testing.wal import OFFSET, UUID, Log

both = pytest.mark.parametrize("runs", twins("lsmcli.engine.wal_run"))

KEY_SIZE_MAX, VALUE_SIZE_MAX = 8, 3000
RING_SIZE = 1 << 20


def append_by_chance(log: Log, rng: random.Random) -> None:
    """One record, mostly a plain op."""
    tree_id = rng.choice((2, 2, 2, 2, 3))
    value: Any = rng.choice((b"", b"v", rng.randbytes(rng.randint(0, 40)), None, rng.randbytes(2500)))
    entries = [(tree_id, rng.randbytes(rng.randint(1, KEY_SIZE_MAX)), value) for _ in range(rng.choice((1, 1, 1, 3)))]
    match rng.randrange(30):
        case 0:
            log.mark()
        case 1:
            log.sync()
        case 2:
            log.wal.append(WalRecordKind.SCOPE_PERSIST)
        case 3:
            entries.append((5 - tree_id, b"other", b"tree"))
        case 4:
            entries.append((tree_id, b"k" * (KEY_SIZE_MAX + 1), b""))
        case 5:
            entries.append((tree_id, b"k", b"v" * (VALUE_SIZE_MAX + 1)))
        case 6:
            entries.append((tree_id, b"k", CHAIN_NONE))
        case 7:
            entries = []
    log.wal.append_op(encode_entries(entries), len(entries))


def log_by_chance(rng: random.Random, count: int) -> Log:
    log = Log(RING_SIZE)
    for _ in range(count):
        append_by_chance(log, rng)
    return log


def records_of(log: Log) -> list[tuple[WalRecordHeader, bytes, WalPosition]]:
    recovery = recover(log.storage, uuid=UUID, offset=OFFSET, size=RING_SIZE, start=log.start, op_synced=0)
    return list(recovery.records())


def is_plain(header: WalRecordHeader, body: bytes, tree_id: int) -> bool:
    if header.kind != WalRecordKind.OP or header.entry_count == 0:
        return False
    return all(
        entry_tree == tree_id
        and len(key) <= KEY_SIZE_MAX
        and (value is None or (isinstance(value, bytes) and len(value) <= VALUE_SIZE_MAX))
        for entry_tree, key, value in decode_entries(body, header.entry_count)
    )


def run_naively(records: list[tuple[WalRecordHeader, bytes, WalPosition]]) -> OpRun | None:
    """The plain ops at the beginning of these records."""
    keys: list[bytes] = []
    values: list[bytes | None] = []
    tree_id = size = op_synced = 0
    last: WalPosition | None = None
    for header, body, after in records:
        tree_id = tree_id or int.from_bytes(body[:2], "little")
        if not is_plain(header, body, tree_id):
            break
        for _, key, value in decode_entries(body, header.entry_count):
            assert value is None or isinstance(value, bytes)
            keys.append(key)
            values.append(value)
            size += len(key) + len(value or b"")
        op_synced, last = max(op_synced, header.op_synced), after
    return OpRun(tree_id, keys, values, size, last.position, last.op, op_synced, last.chain) if last else None


def run_at(runs: ModuleType, data: bytes, tail: WalPosition) -> Any:
    return runs.op_run(data, tail.position, tail.chain, UUID[:8], tail.op, KEY_SIZE_MAX, VALUE_SIZE_MAX)


@both
def test_a_run_is_the_plain_ops_up_to_the_first_other_record(runs: ModuleType, rng: random.Random) -> None:
    lengths = set()
    for _ in range(10):
        log = log_by_chance(rng, 60)
        records = records_of(log)
        ring = log.storage.read(OFFSET, RING_SIZE)
        tails = [log.start, *(after for _, _, after in records)]
        for i, tail in enumerate(tails):
            found = run_at(runs, ring, tail)
            assert found == run_naively(records[i:])
            lengths.add(0 if found is None else found.op - tail.op)
            # The same, however much of the ring is at hand.
            cut = rng.randint(tail.position, tails[-1].position)
            whole = [record for record in records[i:] if record[2].position - 7 <= cut]
            part = run_at(runs, ring[:cut], tail)
            assert part is None or part == run_naively(records[i : i + part.op - tail.op])
            assert (0 if part is None else part.op) <= max((after.op for _, _, after in whole), default=0)
    assert lengths >= {0, 1, 2, 3, 10}


@both
def test_no_changed_byte_is_taken_for_data(runs: ModuleType, rng: random.Random) -> None:
    log = Log(RING_SIZE)
    for i in range(6):
        log.wal.append_op(encode_entries([(2, b"key %d" % i, b"value %d" % i)] * (1 + i % 2)), 1 + i % 2)
    headers = records_of(log)
    data = log.storage.read(OFFSET, headers[-1][2].position)
    begins = [0, *(after.position for _, _, after in headers)]
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 1 << rng.randrange(8)
        number = max(i for i, begin in enumerate(begins) if begin <= at)
        header = headers[number][0]
        padding = at >= begins[number] + WAL_RECORD_HEADER.size + header.size
        found = run_at(runs, bytes(changed), log.start)
        assert (0 if found is None else found.op) == (len(headers) if padding else number)


@both
def test_a_record_that_does_not_continue_the_chain_is_no_part_of_it(runs: ModuleType) -> None:
    log = Log(RING_SIZE).put(encode_entries([(2, b"a", b"1")]))
    data = log.storage.read(OFFSET, 4096)
    start = log.start
    assert run_at(runs, data, start).op == 1
    assert run_at(runs, data, start._replace(chain=bytes(16))) is None
    assert run_at(runs, data, start._replace(op=1)) is None
    assert runs.op_run(data, 0, start.chain, bytes(8), 0, KEY_SIZE_MAX, VALUE_SIZE_MAX) is None
    assert run_at(runs, data, start._replace(position=len(data))) is None


def test_the_steps_of_a_recovery_are_its_records(rng: random.Random) -> None:
    """Around the end of a ring, too: whatever comes as a run, and whatever does not."""
    log = Log(1 << 13)
    runs_seen = 0
    for _ in range(400):
        value = rng.randbytes(rng.randint(0, 60))
        body = encode_entries([(rng.choice((2, 2, 2, 2, 2, 3)), rng.randbytes(4), value)])
        if not log.wal.fits(len(body)):
            log.checkpoint()
        log.put(body)
        if rng.random() < 0.05:
            log.sync().mark()
        if rng.random() < 0.2:
            each = [
                recover(log.storage, uuid=UUID, offset=OFFSET, size=log.size, start=log.start, op_synced=log.op_synced)
                for _ in range(2)
            ]
            found: list[Any] = []
            for step in each[0].steps(KEY_SIZE_MAX, VALUE_SIZE_MAX):
                if isinstance(step, OpRun):
                    runs_seen += 1
                    found += [(step.tree_id, *entry) for entry in zip(step.keys, step.values, strict=True)]
                elif step[0].kind == WalRecordKind.OP:
                    found += decode_entries(step[1], step[0].entry_count)
            wanted = []
            for header, body, _ in each[1].records():
                wanted += decode_entries(body, header.entry_count) if header.kind == WalRecordKind.OP else []
            assert found == wanted
            ends = [(r.tail, r.op_synced, r.closed_cleanly, r.dropped, r.dropped_digest) for r in each]
            assert ends[0] == ends[1]
    assert runs_seen > 50


def test_following_goes_on_behind_the_end_and_doubts_what_is_broken(rng: random.Random) -> None:
    log = Log(1 << 13)
    recovery = recover(log.storage, uuid=UUID, offset=OFFSET, size=log.size, start=log.start, op_synced=0)
    assert list(recovery.records()) == []
    ops = 0
    while True:
        for _ in range(rng.randint(0, 4)):
            log.put(encode_entries([(2, b"%d" % ops, b"v")]))
            ops += 1
        steps = list(recovery.follow(KEY_SIZE_MAX, VALUE_SIZE_MAX))
        assert not recovery.doubtful and recovery.tail == log.wal.tail
        assert sum(len(step.keys) if isinstance(step, OpRun) else 1 for step in steps) <= 4
        if log.wal.live_size > 6000:
            break
    tail = recovery.tail
    log.put(*(encode_entries([(2, b"%d" % i, b"v")]) for i in range(3)))
    log.storage.corrupt(OFFSET + tail.position + 80, b"?")  # the first of them: acknowledged, and broken
    assert list(recovery.follow(KEY_SIZE_MAX, VALUE_SIZE_MAX)) == []
    assert recovery.doubtful and recovery.tail == tail


@both
def test_a_chain_ends_where_its_last_record_does(runs: ModuleType, rng: random.Random) -> None:
    for count in (0, 1, 2, 30):
        log = log_by_chance(rng, count)
        live = log.storage.read(OFFSET, log.wal.position)
        assert runs.chain_end(live, log.start.chain) == log.wal.chain
        assert runs.chain_end(live + bytes(8), log.start.chain) in (b"", log.wal.chain if not live else b"")
        if live:
            assert runs.chain_end(live, bytes(16)) == b""
            assert runs.chain_end(live[:-8], log.start.chain) != log.wal.chain
            for _ in range(300):
                changed = bytearray(live)
                changed[rng.randrange(len(live))] ^= 1 << rng.randrange(8)
                assert runs.chain_end(bytes(changed), log.start.chain) in (b"", log.wal.chain)  # it may be padding
            changed = bytearray(live)
            changed[56:64] = (1 << 63).to_bytes(8, "little")  # the size of a body
            assert runs.chain_end(bytes(changed), log.start.chain) == b""


@pytest.mark.parametrize("pace", [1, 2, 3])
def test_a_writer_that_goes_on_is_no_torn_tail(pace: int, rng: random.Random) -> None:
    """With every few reads of the reader the writer appends some ops; what is found is what was there, or newer."""
    log = Log(1 << 19)
    reads = 0

    def put(count: int) -> None:
        for _ in range(count):
            log.wal.append_op(encode_entries([(2, rng.randbytes(8), rng.randbytes(100))]), 1)

    def write_beside(index: int, kind: str, offset: int, size: int) -> None:
        nonlocal reads
        reads += kind == "read"
        if kind == "read" and reads % pace == 0 and log.wal.live_size < log.size - 4096:
            put(rng.randint(1, 3))

    put(20)
    log.storage.hook = write_beside
    recovery = recover(log.storage, uuid=UUID, offset=OFFSET, size=log.size, start=log.start, op_synced=0)
    for _ in range(100):
        op_least = log.wal.op
        list(recovery.steps(200, 200) if recovery.tail == log.start else recovery.follow(200, 200))
        assert op_least <= recovery.tail.op <= log.wal.op
        assert not recovery.dropped and not recovery.doubtful
