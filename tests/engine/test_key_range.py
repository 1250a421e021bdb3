"""Key ranges, and the end of a prefix, against every short key."""

import itertools

import pytest

from lsmcli.engine.key_range import KeyRange, prefix_end

KEYS = [bytes(key) for size in range(4) for key in itertools.product((0x00, 0x61, 0xFE, 0xFF), repeat=size)]


@pytest.mark.parametrize(("prefix", "end"), [(b"ab", b"ac"), (b"a\xff", b"b"), (b"\xff", None), (b"", None)])
def test_prefix_end_examples(prefix: bytes, end: bytes | None) -> None:
    assert prefix_end(prefix) == end


@pytest.mark.parametrize("prefix", KEYS)
def test_keys_with_the_prefix_are_those_between_it_and_its_end(prefix: bytes) -> None:
    end = prefix_end(prefix)
    for key in KEYS:
        assert key.startswith(prefix) == (key >= prefix and (end is None or key < end))


def test_contains_and_overlaps_include_both_ends() -> None:
    letters = [bytes((letter,)) for letter in b"abcdef"]
    ranges = [KeyRange(a, b) for a, b in itertools.combinations_with_replacement(letters, 2)]
    for one in ranges:
        inside = {letter for letter in letters if one.contains(letter)}
        assert inside == set(letters[letters.index(one.key_min) : letters.index(one.key_max) + 1])
        for other in ranges:
            shares = any(other.contains(letter) for letter in inside)
            assert one.overlaps(other.key_min, other.key_max) == shares
