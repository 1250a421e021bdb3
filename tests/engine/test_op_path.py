"""The short way of an op, interpreted and compiled: the same bytes and entries as the long way, or nothing at all."""

import random
import struct
import threading
import time
from types import ModuleType
from typing import Any

import pytest

from lsmcli.engine.checksum import checksum
from lsmcli.engine.constants import ENTRY_WEIGHT, TREE_ID_MAIN
from lsmcli.engine.entry_map import entries_new
from lsmcli.engine.errors import LsmError, NoSpaceError, OutcomeUnknownError
from lsmcli.engine.schema import WAL_RECORD_HEADER, WalRecordHeader
from lsmcli.engine.table_memory import TableMemory
from lsmcli.engine.wal_entry import encode_entries
from tests.testing.storage import Fault, SimulatedStorage
from tests.testing.twins import twins

both = pytest.mark.parametrize("path", twins("lsmcli.engine.op_path"))

OFFSET = 512  # of the ring in the file
UUID_HALF = b"half one"
CHAIN_FIRST = checksum(b"first")
KEY_SIZE_MAX, VALUE_INLINE_MAX = 64, 100
Entry = tuple[bytes, bytes | None]


def forest_of(path: ModuleType, *, size: int = 4096, position: int = 0, forest: Any = None) -> Any:
    """The parts of a forest, with an empty log at this position of its ring."""
    log = path.OpLog()
    log.storage = SimulatedStorage(bytes(OFFSET + size))
    log.offset, log.size, log.position = OFFSET, size, position
    log.op = log.op_synced = log.op_told = log.appended = log.appended_start = 0
    log.chain, log.uuid_half = CHAIN_FIRST, UUID_HALF
    tree = path.OpTree()
    tree.table_mutable = path.OpMemory()
    tree.table_mutable.entries, tree.table_mutable.weight = entries_new(), 0
    tree.table_mutable.plain, tree.table_mutable.watched = True, False
    forest = forest or path.OpForest()
    forest.trees, forest.log, forest.bar, forest.scope = {TREE_ID_MAIN: tree}, log, path.OpBar(), None
    forest.bar.fill, forest.bar.fill_next = 0, 1 << 40
    forest.op = forest.bytes_put = 0
    forest.key_size_max, forest.value_inline_max = KEY_SIZE_MAX, VALUE_INLINE_MAX
    return forest


class Gated:
    """What put() and delete() need of a database; `slow` is what went the long way."""

    path = "some.lsm"
    unusable: LsmError | None = None

    def __init__(self, gate: Any) -> None:
        self.lock = gate
        self.slow: list[object] = []

    def put_slowly(self, key: bytes, value: bytes) -> None:
        self.slow.append((key, value))

    def delete_slowly(self, key: bytes) -> None:
        self.slow.append(key)

    def give_up(self, reason: LsmError) -> None:
        self.unusable = reason


def memory_of(forest: Any) -> Any:
    return forest.trees[TREE_ID_MAIN].table_mutable


def state_of(forest: Any) -> tuple[Any, ...]:
    log, memory = forest.log, memory_of(forest)
    ends = (log.op, log.position, log.chain, log.appended, log.op_told)
    return (*ends, dict(memory.entries), memory.weight, memory.plain, forest.op, forest.bytes_put, forest.bar.fill)


def record_naively(op: int, chain: bytes, entries: list[Entry], op_synced: int = 0) -> bytes:
    body = encode_entries([(TREE_ID_MAIN, key, value) for key, value in entries])
    header = WalRecordHeader(bytes(16), chain, UUID_HALF, op, op_synced, len(body), len(entries), 1, 0, 0)
    covered = WAL_RECORD_HEADER.pack(header)[16:] + body
    return checksum(covered) + covered + bytes(-(len(covered) + 16) % 8)


def entry_random(rng: random.Random) -> Entry:
    key = rng.randbytes(rng.choice([1, 2, rng.randint(1, KEY_SIZE_MAX), KEY_SIZE_MAX]))
    return key, None if rng.random() < 0.2 else rng.randbytes(rng.choice([0, 1, rng.randint(0, VALUE_INLINE_MAX)]))


@both
def test_an_op_is_one_record_and_one_entry(path: ModuleType, rng: random.Random) -> None:
    forest = forest_of(path, size=1 << 20)
    log, storage, model = forest.log, forest.log.storage, dict[bytes, bytes | None]()
    expected, chain, weight = b"", CHAIN_FIRST, 0
    for op in range(1, 300):
        log.op_synced = op // 3
        key, value = entry_random(rng)
        operations = storage.operations
        assert forest.put_quick(TREE_ID_MAIN, key, value)
        assert storage.operations == operations + 1
        record = record_naively(op, chain, [(key, value)], op_synced=op // 3)
        model[key], chain, expected = value, record[:16], expected + record
        weight += len(key) + len(value or b"") + ENTRY_WEIGHT
        assert (forest.op, log.op, log.chain, log.op_told) == (op, op, chain, op // 3)
        assert log.position == log.appended == len(expected)
    assert storage.image.read(OFFSET, len(expected) + 1) == expected + b"\0"
    assert list(memory_of(forest).entries.items()) == list(model.items())
    assert memory_of(forest).weight == forest.bar.fill == weight
    assert forest.bytes_put == weight - 299 * ENTRY_WEIGHT
    assert not memory_of(forest).plain


@both
def test_columns_are_one_record(path: ModuleType, rng: random.Random) -> None:
    forest, chain, position, model = forest_of(path, size=1 << 20), CHAIN_FIRST, 0, dict[bytes, bytes | None]()
    for op, count in enumerate([1, 2, 3, 50, 400], 1):
        entries = [entry_random(rng) for _ in range(count)]
        keys, values = [key for key, _ in entries], [value for _, value in entries]
        size = sum(len(key) + len(value or b"") for key, value in entries)
        weight = memory_of(forest).weight
        assert forest.write_columns(TREE_ID_MAIN, keys, values, size) == forest.op == op
        record = record_naively(op, chain, entries)
        assert forest.log.storage.image.read(OFFSET + position, len(record)) == record
        chain, position = record[:16], position + len(record)
        model.update(entries)
        assert memory_of(forest).weight == weight + size + ENTRY_WEIGHT * count
    assert memory_of(forest).entries == model
    assert memory_of(forest).weight == forest.bar.fill


@both
def test_columns_stay_plain_without_removes(path: ModuleType) -> None:
    forest = forest_of(path)
    forest.write_columns(TREE_ID_MAIN, [b"a", b"b"], [b"", b"1"], 3)
    assert memory_of(forest).plain
    forest.write_columns(TREE_ID_MAIN, [b"a", b"c"], [None, b"1"], 3)
    assert not memory_of(forest).plain


@both
@pytest.mark.parametrize(("key", "value"), [
    ("text", b""), (None, b""), (bytearray(b"k"), b""), (b"", b"v"), (b"k" * (KEY_SIZE_MAX + 1), b"v"),
    (b"k", "text"), (b"k", bytearray(b"v")), (b"k", 7), (b"k", b"v" * (VALUE_INLINE_MAX + 1)),
])  # fmt: skip
def test_what_is_not_plain_goes_the_long_way(path: ModuleType, key: Any, value: Any) -> None:
    forest = forest_of(path)
    before = state_of(forest)
    assert not forest.put_quick(TREE_ID_MAIN, key, value)
    assert state_of(forest) == before
    assert forest.log.storage.operations == 0


@both
def test_what_has_more_to_do_goes_the_long_way(path: ModuleType) -> None:
    forest = forest_of(path)
    assert not forest.put_quick(TREE_ID_MAIN + 1, b"k", b"v")
    forest.bar.fill_next = 0
    assert not forest.put_quick(TREE_ID_MAIN, b"k", b"v")
    forest.bar.fill_next, forest.log, log = 1, None, forest.log
    assert not forest.put_quick(TREE_ID_MAIN, b"k", b"v")
    forest.log = log
    assert forest.put_quick(TREE_ID_MAIN, b"k", b"v")


@both
def test_a_full_ring_goes_the_long_way_and_its_end_is_skipped_when_the_start_has_room(path: ModuleType) -> None:
    size = len(record_naively(1, CHAIN_FIRST, [(b"k", b"v")]))
    forest = forest_of(path, size=3 * size + 80)
    assert [forest.put_quick(TREE_ID_MAIN, b"k", b"v") for _ in range(4)] == [True, True, True, False]
    forest.log.appended_start = size - 8  # the end counts as used as well
    assert not forest.put_quick(TREE_ID_MAIN, b"k", b"v")
    forest.log.appended_start = size
    chain = forest.log.chain
    assert forest.put_quick(TREE_ID_MAIN, b"k", b"w")
    assert (forest.log.position, forest.log.appended) == (size, 4 * size + 80)
    image = forest.log.storage.image
    assert image.read(OFFSET, size) == record_naively(4, chain, [(b"k", b"w")])
    assert image.read(OFFSET + 3 * size, 80) == bytes(80)


@both
def test_a_watched_table_is_told_of_each_entry(path: ModuleType) -> None:
    class Watched(path.OpMemory):  # type: ignore[name-defined, misc]  # either form's
        def __init__(self) -> None:
            self.watched, self.told = True, list[Entry]()

        def put(self, key: bytes, value: bytes) -> None:
            self.told.append((key, value))

        def remove(self, key: bytes) -> None:
            self.told.append((key, None))

    forest = forest_of(path)
    forest.trees[TREE_ID_MAIN].table_mutable = memory = Watched()
    assert forest.put_quick(TREE_ID_MAIN, b"a", b"1") and forest.put_quick(TREE_ID_MAIN, b"b", None)
    forest.write_columns(TREE_ID_MAIN, [b"c", b"d"], [b"2", None], 3)
    assert memory.told == [(b"a", b"1"), (b"b", None), (b"c", b"2"), (b"d", None)]


@both
def test_a_scope_counts_changes(path: ModuleType) -> None:
    class Scope:
        changes = 5

    forest = forest_of(path)
    forest.scope = Scope()
    forest.put_quick(TREE_ID_MAIN, b"a", b"1")
    forest.write_columns(TREE_ID_MAIN, [b"c", b"d"], [b"2", None], 3)
    assert forest.scope.changes == 8


@both
@pytest.mark.parametrize(("fault", "error"), [
    (Fault.NO_SPACE, NoSpaceError), (Fault.WRITE_FAILS, OutcomeUnknownError), (Fault.WRITE_TORN, OutcomeUnknownError),
])  # fmt: skip
def test_an_op_that_is_not_written_has_not_happened(path: ModuleType, fault: Fault, error: type[LsmError]) -> None:
    forest = forest_of(path)
    forest.put_quick(TREE_ID_MAIN, b"a", b"1")
    before = state_of(forest)
    forest.log.storage.faults = {1: fault}
    with pytest.raises(error):
        forest.put_quick(TREE_ID_MAIN, b"b", b"2")
    assert state_of(forest) == before
    with pytest.raises(error) if error is OutcomeUnknownError else pytest.raises(AssertionError):
        assert not forest.write_columns(TREE_ID_MAIN, [b"b"], [b"2"], 2)


@both
def test_a_real_memory_table_takes_columns_of_both_kinds(path: ModuleType) -> None:
    """Whichever form the engine itself uses."""
    memory = TableMemory()
    log = memory.observe()
    memory.put(b"a", b"1")
    assert memory.watched and memory.plain
    memory.commit(log)
    memory.remove(b"a")
    assert not memory.watched and not memory.plain
    assert memory.weight == 2 * (1 + ENTRY_WEIGHT) + 1


class TestGate:
    """The lock: one thread at a time, as deep as it likes."""

    @both
    def test_is_reentrant(self, path: ModuleType) -> None:
        gate = path.OpGate()
        for _ in range(3):
            with gate, gate:
                pass
            with gate:
                assert not free(gate)
            assert free(gate)

    @both
    def test_cannot_be_released_by_who_does_not_own_it(self, path: ModuleType) -> None:
        gate = path.OpGate()
        with pytest.raises(RuntimeError):
            gate.__exit__(None, None, None)
        gate.__enter__()
        errors = in_thread(lambda: gate.__exit__(None, None, None))
        assert [type(error) for error in errors] == [RuntimeError]
        gate.__exit__(None, None, None)

    @both
    def test_lets_one_thread_in_at_a_time(self, path: ModuleType) -> None:
        gate, inside, entered = path.OpGate(), [], [0]

        def work() -> None:
            rng = random.Random(threading.get_ident())
            for _ in range(200):
                with gate:
                    inside.append(threading.get_ident())
                    if rng.random() < 0.2:
                        time.sleep(0.0001)
                    with gate:
                        entered[0] += 1
                    assert inside == [threading.get_ident()]
                    inside.pop()

        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert entered == [6 * 200]
        assert free(gate)

    @both
    def test_waits_for_the_owner(self, path: ModuleType) -> None:
        gate, order = path.OpGate(), []

        def work() -> None:
            with gate:
                order.append("second")

        with gate:
            threads = [threading.Thread(target=work) for _ in range(2)]
            for thread in threads:
                thread.start()
            time.sleep(0.05)
            order.append("first")
        for thread in threads:
            thread.join()
        assert order == ["first", "second", "second"]

    @both
    def test_is_shut_until_it_has_a_forest(self, path: ModuleType) -> None:
        gate, forest = path.OpGate(), forest_of(path)
        database = Gated(gate)
        path.put(database, b"a", b"1")
        path.delete(database, b"a")
        gate.forest = forest
        path.put(database, b"a", None)
        assert database.slow == [(b"a", b"1"), b"a", (b"a", None)]
        path.put(database, b"a", b"1")
        path.delete(database, b"b")
        assert len(database.slow) == 3
        assert memory_of(forest).entries == {b"a": b"1", b"b": None}
        assert free(gate)

    @both
    def test_a_slice_that_is_due_is_done_before_the_op(self, path: ModuleType) -> None:
        class Due(path.OpForest):  # type: ignore[misc, name-defined]  # of either form
            slices = step = 0

            def advance(self) -> None:
                assert not memory_of(self).entries
                self.slices += 1
                self.bar.fill_next = self.bar.fill + self.step

        for step in (0, 1):
            gate, forest = path.OpGate(), forest_of(path, forest=Due())
            gate.forest, forest.step, forest.bar.fill_next = forest, step, forest.bar.fill
            database = Gated(gate)
            path.put(database, b"a", b"1")
            assert database.slow == ([] if step else [(b"a", b"1")]), "where more is due it goes the long way"
            assert forest.slices == 1
            assert memory_of(forest).entries == ({b"a": b"1"} if step else {})
            assert free(gate)

    @both
    @pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, struct.error])
    def test_gives_the_database_up_when_an_op_is_interrupted(self, path: ModuleType, error: type[Exception]) -> None:
        class Storage:
            def write(self, offset: int, data: bytes) -> None:
                raise error

        gate, forest = path.OpGate(), forest_of(path)
        database = Gated(gate)
        gate.forest, forest.log.storage = forest, Storage()
        with pytest.raises(error):
            path.put(database, b"a", b"1")
        assert isinstance(database.unusable, OutcomeUnknownError)
        assert free(gate)


def in_thread(function: Any) -> list[Exception]:
    """What it raised in a thread of its own."""
    errors: list[Exception] = []

    def run() -> None:
        try:
            function()
        except Exception as error:  # noqa: BLE001  # it is looked at
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return errors


def free(gate: Any) -> bool:
    """Whether another thread could have it at once."""
    entered = threading.Event()

    def enter() -> None:
        with gate:
            entered.set()

    thread = threading.Thread(target=enter, daemon=True)
    thread.start()
    return entered.wait(0.05)
