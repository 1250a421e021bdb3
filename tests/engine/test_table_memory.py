"""The memory table against a plain dict and copies of it: order, undo logs, and what becomes of large values."""

import itertools
import random
from collections.abc import Iterable

import pytest

from lsmcli.engine.constants import ENTRY_WEIGHT
from lsmcli.engine.missing import MISSING
from lsmcli.engine.schema import CHAIN_REFERENCE, ChainReference
from lsmcli.engine.table_memory import RUN_MERGE_SIZE_MAX, Log, TableMemory
from lsmcli.engine.value_block import StoredValue
from tests.testing.tables import items_from, large

Model = dict[bytes, StoredValue]


def write(table: TableMemory, key: bytes, value: StoredValue) -> None:
    if value is None:
        table.remove(key)
    else:
        table.put(key, value)


def table_of(items: Iterable[tuple[bytes, StoredValue]]) -> TableMemory:
    table = TableMemory()
    for key, value in items:
        write(table, key, value)
    return table


def large_in(values: Iterable[object]) -> list[ChainReference]:
    return [value for value in values if isinstance(value, ChainReference)]


# Entries and weight.


def test_the_last_write_of_a_key_wins() -> None:
    table = table_of([(b"a", b"1"), (b"b", b"2"), (b"a", b"3"), (b"b", None)])
    assert table.get(b"a") == b"3"
    assert table.get(b"b") is None
    assert table.get(b"c") is MISSING
    assert table.get(b"c", b"else") == b"else"
    assert items_from(table.columns()) == [(b"a", b"3"), (b"b", None)]


def test_the_weight_rises_with_every_write() -> None:
    table = TableMemory()
    table.put(b"key", b"value")
    table.put(b"key", b"v")
    table.remove(b"key")
    table.put(b"key", large(1))
    assert table.weight == 4 * (3 + ENTRY_WEIGHT) + 5 + 1 + CHAIN_REFERENCE.size


def test_columns_of_every_kind_of_value() -> None:
    items: list[tuple[bytes, StoredValue]] = [(b"a", b""), (b"b", None), (b"c", large(1)), (b"d", b"x")]
    for size in range(5):
        for chosen in itertools.permutations(items, size):
            assert items_from(table_of(chosen).columns()) == sorted(chosen)


def test_columns_of_some_keys() -> None:
    table = table_of([(b"c", None), (b"a", b"1"), (b"b", b"2")])
    assert items_from(table.columns([b"a", b"c"])) == [(b"a", b"1"), (b"c", None)]


# Order.


def test_keys_are_sorted_however_often_the_suffix_was(rng: random.Random) -> None:
    table = TableMemory()
    model: set[bytes] = set()
    for _ in range(300):
        for _ in range(rng.choice([0, 1, 1, 2, 50])):
            key = rng.randbytes(rng.randint(1, 3))
            model.add(key)
            table.put(key, b"")
        match rng.randrange(3):
            case 0:
                table.sort_suffix()
            case 1:
                assert table.keys_sorted() == sorted(model)
            case _:
                start, end = rng.randbytes(1), rng.choice([None, rng.randbytes(2)])
                assert table.range_keys(start, end) == sorted(k for k in model if k >= start and (not end or k < end))
    assert table.keys_sorted() == sorted(model)


def test_a_list_of_keys_that_was_handed_out_never_changes() -> None:
    table = TableMemory()
    handed_out = []
    for i in (5, 3, 9, 1):
        table.put(b"%d" % i, b"")
        keys = table.keys_sorted()
        handed_out.append((keys, list(keys)))
    log = table.observe()
    table.put(b"7", b"")
    keys = table.keys_sorted()
    handed_out.append((keys, list(keys)))
    table.restore(log)
    table.keys_sorted()
    assert all(keys == copy for keys, copy in handed_out)
    assert table.keys_sorted() is table.keys_sorted()


@pytest.mark.parametrize("reverse", [False, True])
def test_a_limited_range_is_the_edge_of_the_whole(rng: random.Random, reverse: bool) -> None:
    table = TableMemory()
    for i in rng.sample(range(1000), 500):
        table.put(b"%03d" % i, b"")
        if i % 50 == 0:
            table.sort_suffix()
    for _ in range(200):
        start = rng.choice([None, b"%03d" % rng.randrange(1000)])
        end = rng.choice([None, b"%03d" % rng.randrange(1000)])
        limit = rng.choice([1, 2, 10, 600])
        whole = table.range_keys(start, end)
        expected = whole[-limit:] if reverse else whole[:limit]
        assert table.range_keys(start, end, limit=limit, reverse=reverse) == expected


def test_a_scan_after_every_put_leaves_few_runs() -> None:
    table = TableMemory()
    for i in range(3 * RUN_MERGE_SIZE_MAX):
        table.put(i.to_bytes(4, "little"), b"")
        table.sort_suffix()
    assert len(table._runs) < 30


# Logs.


def test_a_log_holds_the_values_before_the_first_change() -> None:
    table = table_of([(b"a", b"1"), (b"b", None)])
    log = table.observe()
    for key, value in [(b"a", b"2"), (b"a", b"3"), (b"b", b"4"), (b"c", b"5"), (b"c", None)]:
        write(table, key, value)
    assert log == {b"a": b"1", b"b": None, b"c": MISSING}
    assert [table.log_value(log, key) for key in (b"a", b"b", b"c", b"d")] == [b"1", None, MISSING, MISSING]


def test_restore_puts_everything_back_and_later_keys_sort_right() -> None:
    table = table_of([(b"b", b"1"), (b"d", None)])
    table.sort_suffix()
    log = table.observe()
    for key in (b"a", b"b", b"c", b"d", b"e"):
        table.put(key, b"inside")
        table.sort_suffix()
    table.restore(log)
    assert table.entries == {b"b": b"1", b"d": None}
    table.put(b"c", b"again")
    table.put(b"a", b"again")
    assert items_from(table.columns()) == [(b"a", b"again"), (b"b", b"1"), (b"c", b"again"), (b"d", None)]


def test_restore_keeps_the_weight_that_the_log_on_disk_has() -> None:
    table = TableMemory()
    log = table.observe()
    table.put(b"a", b"1")
    weight = table.weight
    table.restore(log)
    assert table.weight == weight > 0 and not table.entries


def test_two_equal_logs_are_told_apart() -> None:
    table = TableMemory()
    first, second = table.observe(), table.observe()
    table.commit(second)
    table.put(b"a", b"1")
    assert first == {b"a": MISSING} and second == {}


def test_a_log_ends_once() -> None:
    table = TableMemory()
    log = table.observe()
    table.commit(log)
    with pytest.raises(AssertionError):
        table.restore(log)


def test_a_scan_sees_keys_that_a_discarded_scope_took_away() -> None:
    table = table_of([(b"a", b"1")])
    scope = table.observe()
    table.put(b"b", b"2")
    scan = table.observe(holds=False)
    table.restore(scope)
    table.put(b"c", b"3")
    keys = table.range_keys(None, None)
    assert keys == [b"a", b"b", b"c"]
    assert [table.log_value(scan, key) for key in keys] == [b"1", b"2", MISSING]
    table.put(b"b", b"again")
    assert table.range_keys(b"b", None) == [b"b", b"c"]
    assert table.log_value(scan, b"b") == b"2"
    table.unobserve(scan)
    assert table.range_keys(None, None) == [b"a", b"b", b"c"]


def test_keys_taken_away_are_forgotten_when_nobody_looks() -> None:
    table = TableMemory()
    scope, scan = table.observe(), table.observe(holds=False)
    table.put(b"a", b"1")
    table.restore(scope)
    assert table.range_keys(None, None) == [b"a"]
    table.unobserve(scan)
    assert table.range_keys(None, None) == []


# Large values.


def test_a_large_value_is_dropped_when_it_is_overwritten() -> None:
    table = table_of([(b"a", large(1)), (b"a", large(2)), (b"a", b"small"), (b"a", large(3)), (b"a", None)])
    assert table.dropped_large == [large(1), large(2), large(3)]


def test_a_scope_that_is_discarded_drops_what_was_written_inside() -> None:
    table = table_of([(b"a", large(1))])
    log = table.observe()
    table.put(b"a", large(2))
    table.put(b"a", large(3))
    table.put(b"b", large(4))
    assert table.dropped_large == [large(2)]
    table.restore(log)
    assert sorted(table.dropped_large) == [large(2), large(3), large(4)]
    assert table.entries == {b"a": large(1)}


def test_a_scope_that_is_persisted_drops_what_was_there_before() -> None:
    table = table_of([(b"a", large(1)), (b"b", large(2))])
    log = table.observe()
    table.put(b"a", large(3))
    assert table.dropped_large == []
    table.commit(log)
    assert table.dropped_large == [large(1)]


def test_a_scan_holds_nothing() -> None:
    table = table_of([(b"a", large(1))])
    scan = table.observe(holds=False)
    table.put(b"a", b"small")
    assert table.dropped_large == [large(1)]
    table.unobserve(scan)
    assert table.dropped_large == [large(1)]


def test_a_scan_that_holds_gives_back_what_it_held() -> None:
    table = table_of([(b"a", large(1))])
    scan = table.observe()
    table.put(b"a", b"small")
    assert table.dropped_large == []
    table.unobserve(scan)
    assert table.dropped_large == [large(1)]


def test_a_value_that_a_scope_put_back_is_not_dropped_with_another_log() -> None:
    table = table_of([(b"a", large(1))])
    scope, scan = table.observe(), table.observe()
    table.put(b"a", b"small")
    table.restore(scope)
    table.unobserve(scan)
    assert table.entries == {b"a": large(1)}
    assert table.dropped_large == []


# Two tables.


def test_absorb_is_writing_the_newer_table_after_the_older(rng: random.Random) -> None:
    for _ in range(50):
        items: list[list[tuple[bytes, StoredValue]]] = [
            [(rng.randbytes(1), rng.choice([b"v", None, large(rng.randrange(1, 10**9))])) for _ in range(200)]
            for _ in range(2)
        ]
        older, newer = map(table_of, items)
        older.sort_suffix()
        weight = older.weight + newer.weight
        dropped = len(older.dropped_large) + len(newer.dropped_large)
        assert older.absorb(newer) is older
        model = dict(items[0]) | dict(items[1])
        assert items_from(older.columns()) == sorted(model.items())
        assert older.weight == weight
        put = large_in(value for item in items for _, value in item)
        assert sorted(older.dropped_large + large_in(model.values())) == sorted(put)
        assert len(older.dropped_large) >= dropped
        older.put(b"a", b"")
        older.remove(b"b")
        assert sorted(older.dropped_large + large_in(older.entries.values())) == sorted(put)


def test_absorb_is_heard_of_by_a_scan_of_the_older_table() -> None:
    older, newer = table_of([(b"a", b"1")]), table_of([(b"a", b"2"), (b"b", b"3")])
    scan = older.observe(holds=False)
    older.absorb(newer)
    assert scan == {b"a": b"1", b"b": MISSING}


def test_split_parts_what_was_before_from_what_was_changed() -> None:
    table = table_of([(b"a", large(1)), (b"b", b"2"), (b"c", None)])
    log = table.observe()
    changes: list[tuple[bytes, StoredValue]] = [(b"a", b"new"), (b"c", large(4)), (b"d", None), (b"d", b"5")]
    for key, value in changes:
        write(table, key, value)
    weight = table.weight
    before, changed = table.split(log)
    assert before is table
    assert items_from(before.columns()) == [(b"a", large(1)), (b"b", b"2"), (b"c", None)]
    assert items_from(changed.columns()) == [(b"a", b"new"), (b"c", large(4)), (b"d", b"5")]
    assert before.weight + changed.weight == weight
    assert before.dropped_large == changed.dropped_large == []
    changed.put(b"c", b"")
    assert changed.dropped_large == [large(4)]
    assert sorted(before.absorb(changed).dropped_large) == [large(1), large(4)]


# Everything at once.


class Driver:
    """A table, its model, and for each active log a copy of the model from when it began."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.table = TableMemory()
        self.model: Model = {}
        self.scopes: list[tuple[Log, Model]] = []
        self.scans: list[tuple[Log, Model]] = []
        self.put: list[ChainReference] = []

    def step(self) -> None:
        rng = self.rng
        action = rng.choices(
            ["write", "sort", "keys", "scope", "persist", "discard", "scan", "end"], [60, 5, 5, 3, 3, 3, 3, 3]
        )
        match action[0]:
            case "write":
                values: list[StoredValue] = [b"%d" % rng.randrange(100), None, large(len(self.put) + 1)]
                value = rng.choice(values)
                self.put += large_in([value])
                key = bytes((rng.randrange(12),))
                write(self.table, key, value)
                self.model[key] = value
            case "sort":
                self.table.sort_suffix()
            case "keys":
                assert self.table.keys_sorted() == sorted(self.model)
            case "scope" if not self.scopes:
                self.scopes.append((self.table.observe(), dict(self.model)))
            case "persist" if self.scopes:
                self.table.commit(self.scopes.pop()[0])
            case "discard" if self.scopes:
                log, before = self.scopes.pop()
                self.table.restore(log)
                self.model = before
            case "scan":
                self.scans.append((self.table.observe(holds=False), dict(self.model)))
            case "end" if self.scans:
                self.table.unobserve(self.scans.pop(rng.randrange(len(self.scans)))[0])

    def check(self) -> None:
        table = self.table
        assert table.entries == self.model
        for log, before in self.scopes + self.scans:
            keys = table.range_keys(None, None)
            assert keys == sorted(set(keys))
            seen = {key: table.log_value(log, key) for key in keys}
            assert {key: value for key, value in seen.items() if value is not MISSING} == before
        # Each large value that was put is in exactly one place: an entry, a scope's log, or dropped.
        held = [value for log, _ in self.scopes for value in large_in(log.values())]
        assert sorted(table.dropped_large + large_in(table.entries.values()) + held) == sorted(self.put)
        assert table._large_count == len(large_in(table.entries.values()))


def test_any_course_of_events_agrees_with_the_model(rng: random.Random) -> None:
    for _ in range(60):
        driver = Driver(rng)
        for _ in range(150):
            driver.step()
            driver.check()


def test_who_reads_a_range_finds_few_runs(rng: random.Random, monkeypatch: pytest.MonkeyPatch) -> None:
    """Putting leaves many, since a merge is a pause of a put; reading merges until each is far longer than the next."""
    monkeypatch.setattr("lsmcli.engine.table_memory.RUN_MERGE_SIZE_MAX", 1)
    table = TableMemory()
    keys = [b"%05d" % i for i in rng.sample(range(100_000), 3000)]
    for i, key in enumerate(keys):
        table.put(key, b"v")
        if i % 30 == 0:
            table.sort_suffix()
    assert len(table._runs) > 90
    assert table.range_keys(b"1", b"2") == sorted(key for key in keys if b"1" <= key < b"2")
    assert [len(run) for run in table._runs] == [3000]
    for count in range(1, 200):
        table.put(b"new %03d" % count, b"v")
        assert len(table.range_keys(None, None)) == 3000 + count
        sizes = [len(run) for run in table._runs]
        assert sum(sizes) == 3000 + count and all(a >= 8 * b for a, b in itertools.pairwise(sizes))
