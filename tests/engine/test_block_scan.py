"""Entries next to a key: interpreted and compiled, against those of a list, and crafted columns that lie."""

import random
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.engine.test_entry_pack import entries_random, packed_naively, unpacked_naively
from tests.testing.twins import twins

both = pytest.mark.parametrize("loops", twins("lsmcli.engine.block_scan"))

Near = tuple[list[bytes], list[bytes], bytes, int]


def near_naively(keys: list[bytes], values: list[bytes], flags: bytes, bound: bytes | None, limit: int) -> Near:
    places = [i for i, key in enumerate(keys) if bound is None or key >= bound][:limit]
    first = places[0] if places else sum(bound is not None and key < bound for key in keys)
    return [keys[i] for i in places], [values[i] for i in places], bytes(flags[i] for i in places), first


def near_backward_naively(
    keys: list[bytes], values: list[bytes], flags: bytes, bound: bytes | None, limit: int
) -> Near:
    places = [i for i, key in enumerate(keys) if bound is None or key < bound]
    places = places[max(0, len(places) - limit) :]
    first = places[0] if places else sum(bound is None or key < bound for key in keys)
    return [keys[i] for i in places], [values[i] for i in places], bytes(flags[i] for i in places), first


@both
@pytest.mark.parametrize("width", [2, 4])
def test_the_entries_near_a_key_are_those_of_the_list(loops: ModuleType, width: int, rng: random.Random) -> None:
    for count in (1, 2, 3, 40):
        keys, values, flags = entries_random(rng, count)
        raw = b"head" + packed_naively(keys, values, flags, width)
        block = raw, 4, len(keys), width
        for bound in (None, b"", b"\xff" * 13, *keys, *(key + b"\0" for key in keys), *(key[:-1] for key in keys)):
            for limit in (0, 1, 3, 50):
                forward = near_naively(keys, values, flags, bound, limit)
                backward = near_backward_naively(keys, values, flags, bound, limit)
                found = loops.entries_near(*block, bound, limit, 12), loops.entries_near(*block, bound, limit, 12, True)
                assert found == ((forward, backward) if loops.COMPILED else (None, None))
            if bound is not None:
                expected = sum(key < bound for key in keys)
                assert loops.bisect_entries(*block, bound) == (expected if loops.COMPILED else -1)


@both
def test_a_bound_that_is_no_bytes_is_for_the_ordinary_way(loops: ModuleType) -> None:
    raw = packed_naively([b"a"], [b"1"], bytes(1), 2)
    for bound in (bytearray(b"a"), "a", 7):
        assert loops.entries_near(raw, 0, 1, 2, bound, 1, 9) is None
        assert loops.bisect_entries(raw, 0, 1, 2, bound) == -1


@both
@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("width", [2, 4])
def test_a_lie_in_any_byte_is_found_or_out_of_sight(loops: ModuleType, width: int, backward: bool) -> None:
    """What is given out is what a naive reader finds at the same place; nothing else of the block is vouched for."""
    keys, values, flags = [b"a", b"bb", b"c", b"dd", b"e"], [b"one", b"", b"three", b"x", b""], bytes(5)
    raw = packed_naively(keys, values, flags, width)
    answered = refused = 0
    for at in range(len(raw)):
        for byte in {0, 1, 2, 7, 0x7F, 0x80, 0xFF, raw[at] ^ 1} - {raw[at]}:
            lie = raw[:at] + bytes((byte,)) + raw[at + 1 :]
            for bound in (None, b"b", b"c", b"f"):
                found = loops.entries_near(lie, 0, 5, width, bound, 2, 9, backward)
                if found is None:
                    refused += 1
                    continue
                answered += 1
                *columns, marks, first = found
                assert tuple(columns) == unpacked_naively(lie, 0, 5, width, first, first + len(marks), 9)
                assert marks == lie[12 * width + first : 12 * width + first + len(marks)]
                assert -1 <= loops.bisect_entries(lie, 0, 5, width, bound or b"") <= 5
    assert refused > 50 and (answered > 50) == loops.COMPILED


@both
@given(
    raw=st.lists(st.sampled_from(b"\x00\x01\x02\x03\x04\x05\x08\xff"), max_size=70).map(bytes),
    at=st.integers(0, 80),
    count=st.sampled_from([0, 1, 2, 3, 5, 8, 1 << 16, (1 << 32) - 1]),
    width=st.sampled_from([2, 4]),
    bound=st.sampled_from([None, b"", b"\x02", b"\xff\xff"]),
    backward=st.booleans(),
)
def test_random_bytes_are_never_left(
    loops: ModuleType, raw: bytes, at: int, count: int, width: int, bound: bytes | None, backward: bool
) -> None:
    found = loops.entries_near(raw, at, count, width, bound, 3, 9, backward)
    place = loops.bisect_entries(raw, at, count, width, bound or b"")
    assert -1 <= place <= count
    if count < 10 and found is not None:
        *columns, marks, first = found
        assert tuple(columns) == unpacked_naively(raw, at, count, width, first, first + len(marks), 9)
    else:
        assert found is None
