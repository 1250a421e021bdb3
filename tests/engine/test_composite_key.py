"""Composite keys sort as their parts do: every pair of short ones, and numbers at their edges."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsmcli.engine import composite_key
from lsmcli.engine.errors import DamageError, LimitError

PARTS = [bytes(part) for size in range(4) for part in itertools.product((0x00, 0x01, 0xFF), repeat=size)]


def test_the_worked_example() -> None:
    assert composite_key.encode(b"a\x00b", b"k") == b"a\x00\xffb\x00\x00k"


def test_every_pair_of_short_parts_round_trips_and_sorts_as_the_tuple() -> None:
    pairs = sorted(itertools.product(PARTS, PARTS))
    encoded = [composite_key.encode(field, key) for field, key in pairs]
    assert encoded == sorted(set(encoded))
    assert [composite_key.decode(data) for data in encoded] == pairs


@given(st.binary(max_size=9), st.binary(max_size=9), st.binary(max_size=9), st.binary(max_size=9))
def test_any_two_pairs_sort_as_the_tuples(field_a: bytes, key_a: bytes, field_b: bytes, key_b: bytes) -> None:
    encoded_a, encoded_b = composite_key.encode(field_a, key_a), composite_key.encode(field_b, key_b)
    assert (encoded_a < encoded_b) == ((field_a, key_a) < (field_b, key_b))
    assert encoded_a.startswith(composite_key.encode_field(field_b)) == (field_a == field_b)


def test_decode_accepts_what_encode_makes_and_nothing_else() -> None:
    made = {composite_key.encode(field, key) for field, key in itertools.product(PARTS, PARTS)}
    for data in (bytes(data) for size in range(6) for data in itertools.product((0x00, 0x01, 0xFF), repeat=size)):
        try:
            assert composite_key.encode(*composite_key.decode(data)) == data
        except DamageError:
            assert data not in made


U64_EDGES = [0, 1, 255, 256, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]
I64_EDGES = [-(1 << 63), -256, -1, 0, 1, 255, 256, (1 << 63) - 1]


def test_numbers_sort_as_numbers_and_round_trip() -> None:
    unsigned = [composite_key.encode_u64(number) for number in U64_EDGES]
    signed = [composite_key.encode_i64(number) for number in I64_EDGES]
    assert unsigned == sorted(unsigned) and [composite_key.decode_u64(data) for data in unsigned] == U64_EDGES
    assert signed == sorted(signed) and [composite_key.decode_i64(data) for data in signed] == I64_EDGES


@given(st.integers(-(1 << 63), (1 << 63) - 1), st.integers(-(1 << 63), (1 << 63) - 1))
def test_any_two_signed_numbers_sort_as_numbers(a: int, b: int) -> None:
    assert (composite_key.encode_i64(a) < composite_key.encode_i64(b)) == (a < b)


@pytest.mark.parametrize("number", [-1, 1 << 64])
def test_a_number_outside_u64_is_refused(number: int) -> None:
    with pytest.raises(LimitError, match="not between"):
        composite_key.encode_u64(number)


@pytest.mark.parametrize("number", [-(1 << 63) - 1, 1 << 63])
def test_a_number_outside_i64_is_refused(number: int) -> None:
    with pytest.raises(LimitError, match="not between"):
        composite_key.encode_i64(number)


@pytest.mark.parametrize("data", [b"", bytes(7), bytes(9)])
def test_a_number_of_another_size_is_damage(data: bytes) -> None:
    with pytest.raises(DamageError):
        composite_key.decode_u64(data)
