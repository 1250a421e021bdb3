"""The external sort gives each key once, with its last value, in order; whatever was spilled in between."""

import random
from collections.abc import Callable

import pytest

from lsmcli.engine import bulk_sort
from lsmcli.engine.bulk_sort import ExternalSort, cut_columns, decode_chunk, encode_chunk, merge_runs
from lsmcli.engine.columns import Columns
from lsmcli.engine.constants import MIB
from lsmcli.engine.errors import FileError
from lsmcli.engine.schema import CHAIN_REFERENCE, FLAG_LARGE, FLAG_TOMBSTONE
from tests.testing.storage import SimulatedScratch, SimulatedStorage

Entry = tuple[bytes, bytes, int]  # key, value, flags


def columns_of(entries: list[Entry]) -> Columns:
    return Columns([key for key, _, _ in entries], [value for _, value, _ in entries], bytes(e[2] for e in entries))


def entries_of(columns: Columns) -> list[Entry]:
    return list(zip(*columns, strict=True))


def add(sort: ExternalSort, entries: list[Entry]) -> None:
    keys_size = sum(len(key) for key, _, _ in entries)
    sort.add(columns_of(entries), keys_size, keys_size + sum(len(value) for _, value, _ in entries))


def sorted_out(sort: ExternalSort, dropped: list[bytes]) -> list[Entry]:
    found: list[Entry] = []
    for columns in merge_runs(sort.streams(dropped), dropped):
        assert found == [] or columns.keys == [] or columns.keys[0] > found[-1][0]
        found += entries_of(columns)
    return found


@pytest.fixture
def make_scratch() -> Callable[[], SimulatedScratch]:
    return SimulatedStorage().scratch


@pytest.mark.parametrize("number", range(40))
def test_it_sorts_as_a_dict_and_sorted_do(
    number: int, seed: int, make_scratch: Callable[[], SimulatedScratch], monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(f"{seed}/{number}")
    monkeypatch.setattr(bulk_sort, "BATCH_ENTRIES", rng.choice((1, 7, 1000)))
    monkeypatch.setattr(bulk_sort, "ROUND_ENTRIES", rng.choice((1, 10, 1000)))
    monkeypatch.setattr(bulk_sort, "CHUNK_SIZE_MAX", rng.choice((1, 100, 10_000)))
    monkeypatch.setattr(bulk_sort, "RUNS_MAX", rng.choice((2, 3, 10)))
    kinds = rng.choice(((0,), (0, FLAG_TOMBSTONE), (0, FLAG_TOMBSTONE, FLAG_LARGE)))
    sort = ExternalSort(make_scratch, MIB)
    everything: list[Entry] = []
    for _ in range(rng.randrange(12)):
        some: list[Entry] = []
        for _ in range(rng.randrange(60)):
            flag = rng.choice(kinds)
            value = {0: rng.randbytes(rng.randrange(9)), FLAG_TOMBSTONE: b""}.get(flag) or b""
            if flag == FLAG_LARGE:
                value = b"%056d" % len(everything + some)
                assert len(value) == CHAIN_REFERENCE.size
            some.append((b"%d" % rng.randrange(100), value, flag))
        add(sort, some)
        everything += some
        if rng.random() < 0.4:
            sort.spill()
    expected = sorted({key: (key, value, flag) for key, value, flag in everything}.values())
    sort.settle()
    for _ in range(2):  # as often as wanted
        dropped = list(sort.dropped_large)
        assert sorted_out(sort, dropped) == expected
        lost = {value for _, value, flag in everything if flag == FLAG_LARGE} - {value for _, value, _ in expected}
        assert sorted(dropped) == sorted(lost), "each of them once"
    assert sort.count == len(everything)
    ranges = sort.ranges()
    assert all(any(each.contains(key) for each in ranges) for key, _, _ in expected)
    sort.close()


def test_what_comes_in_order_is_noticed(make_scratch: Callable[[], SimulatedScratch]) -> None:
    sort = ExternalSort(make_scratch, MIB)
    add(sort, [(b"a", b"1", 0), (b"b", b"2", 0)])
    add(sort, [(b"c", b"3", 0)])
    assert sort.ascending
    assert [key for columns in sort.take() for key in columns.keys] == [b"a", b"b", b"c"]
    assert sort.weight == 0
    add(sort, [(b"c", b"4", 0)])
    assert not sort.ascending, "not above the last one"


def test_a_chunk_is_what_it_was() -> None:
    columns = columns_of([(b"a", b"", 0), (b"k" * 4096, b"v" * 70_000, 0), (b"l", b"", FLAG_TOMBSTONE)])
    assert decode_chunk(encode_chunk(columns)) == columns


@pytest.mark.parametrize(("count", "sizes"), [(0, []), (3, [3]), (5, [5]), (6, [3, 3]), (9, [5, 4]), (11, [4, 4, 3])])
def test_chunks_have_no_short_rest(count: int, sizes: list[int]) -> None:
    columns = columns_of([(b"%04d" % i, b"", 0) for i in range(count)])
    assert [len(each.keys) for each in cut_columns(columns, 4)] == sizes


def test_a_scratch_file_that_lies_is_an_error(make_scratch: Callable[[], SimulatedScratch]) -> None:
    sort = ExternalSort(make_scratch, MIB)
    add(sort, [(b"b", b"2", 0), (b"a", b"1", 0)])
    sort.spill()
    scratch = sort._scratches[0]
    assert isinstance(scratch, SimulatedScratch)
    scratch.data[-1] ^= 1
    with pytest.raises(FileError, match="did not give back what was written"):
        sorted_out(sort, [])
