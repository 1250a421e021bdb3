"""Sorting and merging of entries, interpreted and compiled: against a dict, exhaustively, then at random."""

import itertools
import random
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.testing.twins import twins

both = pytest.mark.parametrize("order", twins("lsmcli.engine.entry_order"))

# Few different bytes, and lengths around those of the prefixes that the compiled sort compares.
keys_close = st.lists(st.sampled_from(b"\x00\x01a\xff"), max_size=18).map(bytes)
keys_shared = st.builds(lambda shared, rest: b"x" * shared + rest, st.sampled_from([0, 6, 7, 8, 15, 40]), keys_close)


def check_sort(order: ModuleType, keys: list[bytes]) -> None:
    values = list(range(len(keys)))
    flags = bytes(i % 251 for i in values)
    sorted_keys, sorted_values, sorted_flags, lost = order.sort_entries(keys, values, flags)
    model = dict(zip(keys, values, strict=True))
    assert sorted_keys == sorted(model)
    assert sorted_values == [model[key] for key in sorted_keys]
    assert sorted_flags == bytes(flags[value] for value in sorted_values)
    last = set(model.values())  # each value is its place
    assert lost == sorted((value for value in values if value not in last), key=lambda value: (keys[value], value))


def check_merge(order: ModuleType, newer: list[bytes], older: list[bytes]) -> None:
    entries = [(keys, [(name, key) for key in keys], bytes([flag]) * len(keys)) for name, flag, keys in
               (("newer", 1, newer), ("older", 2, older))]  # fmt: skip
    keys, values, flags, lost = order.merge_entries(*entries)
    assert keys == sorted({*newer, *older})
    assert values == [("newer" if key in newer else "older", key) for key in keys]
    assert flags == bytes(1 if key in newer else 2 for key in keys)
    assert lost == [place for place, key in enumerate(older) if key in newer]


@both
def test_sort_of_every_short_list(order: ModuleType) -> None:
    for count in range(5):
        for keys in itertools.product([b"", b"a", b"a\0", b"b"], repeat=count):
            check_sort(order, list(keys))


@both
@given(keys=st.lists(keys_shared, max_size=90))
def test_sort_of_keys_that_differ_late(order: ModuleType, keys: list[bytes]) -> None:
    check_sort(order, keys)


@both
@pytest.mark.parametrize("count", [63, 64, 65, 66, 1000, 20_000])
@pytest.mark.parametrize("kind", ["random", "few", "ascending", "descending", "same", "numbers", "long"])
def test_sort_of_long_lists(order: ModuleType, kind: str, count: int, rng: random.Random) -> None:
    numbers = [rng.randrange(count) for _ in range(count)]
    check_sort(order, {
        "random": lambda: [rng.randbytes(rng.randint(1, 20)) for _ in range(count)],
        "few": lambda: [b"key %d" % (number % 7) for number in numbers],
        "ascending": lambda: [b"%016d" % number for number in range(count)],
        "descending": lambda: [b"%016d" % number for number in reversed(range(count))],
        "same": lambda: [b"the same key"] * count,
        "numbers": lambda: [b"%020d" % number for number in numbers],
        "long": lambda: [b"p" * 300 + b"%d" % (number % 50) + b"q" * 300 + b"%d" % number for number in numbers],
    }[kind]())  # fmt: skip


@both
def test_the_keys_of_a_sort_may_be_as_long_as_any_key(order: ModuleType, rng: random.Random) -> None:
    check_sort(order, [b"\0" * rng.randint(1, 4096) for _ in range(500)])


@both
def test_sort_leaves_its_arguments_alone(order: ModuleType, rng: random.Random) -> None:
    keys = [rng.randbytes(2) for _ in range(500)]
    values = list(range(500))
    before = keys.copy(), values.copy()
    order.sort_entries(keys, values, bytes(500))
    assert (keys, values) == before


@both
def test_sort_refuses_keys_that_are_not_bytes(order: ModuleType) -> None:
    for wrong in (None, "text", 7):
        with pytest.raises(TypeError):
            order.sort_entries([b"a", wrong, b"b"], [1, 2, 3], bytes(3))
    with pytest.raises(AssertionError):
        order.sort_entries([b"a"], [], b"")


@both
def test_merge_of_every_pair_of_short_runs(order: ModuleType) -> None:
    runs = [list(run) for count in range(4) for run in itertools.combinations([b"a", b"a\0", b"b", b"c"], count)]
    for newer, older in itertools.product(runs, runs):
        check_merge(order, newer, older)


@both
@given(newer=st.sets(keys_shared, max_size=60), older=st.sets(keys_shared, max_size=60))
def test_merge_of_keys_that_differ_late(order: ModuleType, newer: set[bytes], older: set[bytes]) -> None:
    check_merge(order, sorted(newer), sorted(older))


@both
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_merge_of_long_runs(order: ModuleType, share: float, rng: random.Random) -> None:
    newer = sorted({rng.randbytes(rng.randint(1, 9)) for _ in range(2000)})
    older = {rng.randbytes(rng.randint(1, 9)) for _ in range(2000)}
    check_merge(order, newer, sorted(older | set(rng.sample(newer, int(share * len(newer))))))


@both
def test_a_part_of_an_order_is_that_part_of_the_entries(order: ModuleType, rng: random.Random) -> None:
    keys = [rng.randbytes(rng.randint(0, 2)) for _ in range(300)]
    values = list(range(300))
    flags = bytes(rng.choices([0, 1, 2], k=300))
    every = order.sort_entries(keys, values, flags)
    places, lost = order.sort_order(keys)
    assert lost == every[3]
    count = len(places) // 4
    for start, stop in [
        (0, 0),
        (0, 1),
        (0, count),
        (count, count),
        *(sorted(rng.choices(range(count), k=2)) for _ in "ab"),
    ]:
        gathered = order.gather_entries(keys, values, flags, places, start, stop)
        assert gathered == tuple(column[start:stop] for column in every[:3])
    with pytest.raises(IndexError):
        order.gather_entries(keys[:5], values[:5], flags[:5], places, 0, count)
