"""The map of a memory table's entries, interpreted and compiled, against a dict; and what the compiled one promises."""

import gc
import random
import sys
import time
from types import ModuleType
from typing import Any

import pytest

from lsmcli.engine.missing import MISSING
from tests.testing.twins import compiled, twins

both = pytest.mark.parametrize("maps", twins("lsmcli.engine.entry_map"))

COMPILED: Any = compiled("lsmcli.engine.entry_map")
compiled_only = pytest.mark.skipif(COMPILED is None, reason="not compiled here")


def key_of(rng: random.Random) -> bytes:
    return rng.choice([rng.randbytes(rng.randint(1, 2)), b"key %d" % rng.randrange(3000), rng.randbytes(16)])


def check(maps: ModuleType, entries: Any, model: dict[bytes, Any]) -> None:
    """All that the map can be asked says the same as the dict, also in which order."""
    keys, values = list(model), list(model.values())
    assert len(entries) == len(model) and bool(entries) == bool(model) and entries == model
    assert list(entries) == list(entries.keys()) == keys
    assert list(entries.values()) == values == maps.values_of(entries, keys)
    assert list(entries.items()) == list(model.items()) and dict(entries) == model
    third = len(keys) // 3
    assert maps.entries_between(entries, third, 2 * third) == (keys[third : 2 * third], values[third : 2 * third])
    assert maps.entries_between(entries, third, 2 * len(keys)) == (keys[third:], values[third:])
    for count in (0, third, len(keys)):
        assert sorted(maps.keys_since(entries, count)) == sorted(keys[count:])


@both
def test_it_is_a_dict_in_order_of_first_insertion(maps: ModuleType, rng: random.Random) -> None:
    entries: Any = maps.entries_new()
    model: dict[bytes, Any] = {}
    check(maps, entries, model)
    for size in (1, 2, 10, 100, 1000, 5000, 4096, 8192):
        for _ in range(size):
            key, value = key_of(rng), rng.choice([None, b"", rng.randbytes(5)])
            entries[key] = value
            model[key] = value
            probe = key_of(rng)
            assert entries.get(probe, 7) == model.get(probe, 7)
            assert (probe in entries) == (probe in model)
        check(maps, entries, model)


@both
def test_removing_keys_leaves_the_others_in_their_order(maps: ModuleType, rng: random.Random) -> None:
    entries: Any = maps.entries_new()
    model: dict[bytes, Any] = {}
    for _ in range(20):
        pairs = [(key_of(rng), rng.randbytes(3)) for _ in range(rng.choice([0, 1, 500]))]
        entries.update(pairs)
        model.update(pairs)
        gone = [key for key in model if rng.random() < 0.3]
        maps.remove_all(entries, gone)
        for key in gone:
            del model[key]
        check(maps, entries, model)
    maps.remove_all(entries, list(model))
    check(maps, entries, {})


@both
@pytest.mark.parametrize("count", [0, 1, 255, 256, 4096, 4097, 9000])
def test_dropping_ends_with_nothing(maps: ModuleType, count: int) -> None:
    entries: Any = maps.entries_new()
    values = [b"value %d" % i for i in range(count)]
    counts_before = [sys.getrefcount(value) for value in values]
    entries.update((b"%d" % i, value) for i, value in enumerate(values))
    left = []
    while entries:
        maps.drop_last(entries, 256)
        left.append(len(entries))
    maps.drop_last(entries, 256)
    assert left == [max(0, count - 256 * (i + 1)) for i in range(-(-count // 256))]
    assert [sys.getrefcount(value) for value in values] == counts_before


@both
def test_a_map_that_is_forgotten_lets_go_of_keys_and_values(maps: ModuleType) -> None:
    keys, values = [b"key %d" % i for i in range(5000)], [b"value %d" % i for i in range(5000)]
    before = [sys.getrefcount(each) for each in (*keys, *values)]
    entries: Any = maps.entries_new()
    entries.update(zip(keys, values, strict=True))
    entries.update((key, b"new") for key in keys[:100])
    maps.remove_all(entries, keys[1000:2000])
    entries.update(zip(keys, values, strict=True))
    del entries
    assert [sys.getrefcount(each) for each in (*keys, *values)] == before


@compiled_only
def test_what_is_not_there_is_missing_and_keys_are_bytes() -> None:
    entries: Any = COMPILED.entries_new()
    assert entries[b"a"] is MISSING
    entries[b"a"] = None
    assert entries[b"a"] is None and entries[b"b"] is MISSING
    for wrong in ("a", None, 1, bytearray(b"a")):
        with pytest.raises(TypeError):
            entries[wrong]
        with pytest.raises(TypeError):
            entries[wrong] = b""
        with pytest.raises(TypeError):
            entries.get(wrong)
    assert len(entries) == 1


@compiled_only
def test_the_garbage_collector_has_nothing_to_look_at() -> None:
    assert not gc.is_tracked(COMPILED.entries_new())


@compiled_only
def test_no_put_pays_for_the_growth_of_the_whole() -> None:
    """A dict takes 10 ms for one of so many. The best of some runs: the machine has other things to do."""
    keys = [i.to_bytes(8, "big") for i in range(400_000)]
    slowest_s = []
    for _ in range(3):
        entries: Any = COMPILED.entries_new()
        slowest = 0.0
        for start in range(0, len(keys), 64):
            began = time.thread_time()
            for key in keys[start : start + 64]:
                entries[key] = None
            slowest = max(slowest, time.thread_time() - began)
        slowest_s.append(slowest)
    assert min(slowest_s) < 0.003
