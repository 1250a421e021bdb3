"""Packing of entries, interpreted and compiled: there and back, and crafted columns that lie about every offset."""

import random
import struct
from itertools import pairwise
from types import ModuleType
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.testing.twins import twins

both = pytest.mark.parametrize("pack", twins("lsmcli.engine.entry_pack"))

Entries = tuple[list[bytes], list[bytes], bytes]


def entries_random(rng: random.Random, count: int) -> Entries:
    keys = sorted({rng.randbytes(rng.randint(1, 12)) for _ in range(count)})
    values = [rng.randbytes(rng.choice([0, 1, rng.randint(0, 90)])) for _ in keys]
    return keys, values, bytes(rng.choices([0, 0, 1, 2], k=len(keys)))


def packed_naively(keys: list[bytes], values: list[bytes], flags: bytes, width: int) -> bytes:
    def offsets(items: list[bytes]) -> bytes:
        sizes = [len(b"".join(items[:i])) for i in range(len(items) + 1)]
        return b"".join(size.to_bytes(width, "little") for size in sizes)

    return offsets(keys) + offsets(values) + flags + b"".join(keys) + b"".join(values)


def unpacked_naively(
    raw: bytes, at: int, count: int, width: int, start: int, stop: int, key_size_max: int
) -> tuple[list[bytes], list[bytes]] | None:
    """With plain slices, which cannot leave the block, and every rule as a comparison of its own."""
    columns_at = at + 2 * (count + 1) * width + count
    if columns_at > len(raw):
        return None
    numbers = struct.unpack_from(f"<{2 * (count + 1)}{'H' if width == 2 else 'I'}", raw, at)
    key_offsets, value_offsets = numbers[: count + 1], numbers[count + 1 :]
    values_at = columns_at + key_offsets[-1]
    if values_at > len(raw):
        return None
    keys, values = [], []
    for i in range(start, stop):
        a, b = key_offsets[i : i + 2]
        c, d = value_offsets[i : i + 2]
        if not a < b <= key_offsets[-1] or not c <= d <= len(raw) - values_at or b - a > key_size_max:
            return None
        keys.append(raw[columns_at + a : columns_at + b])
        values.append(raw[values_at + c : values_at + d])
    return (keys, values) if all(a < b for a, b in pairwise(keys)) else None


@both
@pytest.mark.parametrize("width", [2, 4])
def test_pack(pack: ModuleType, width: int, rng: random.Random) -> None:
    for count in (0, 1, 2, 50):
        keys, values, flags = entries_random(rng, count)
        sizes = len(b"".join(keys)), len(b"".join(values))
        expected = (*sizes, packed_naively(keys, values, flags, width))
        assert pack.pack_entries(keys, values, flags, width) == expected


@both
@pytest.mark.parametrize("width", [2, 4])
def test_unpack_is_the_way_back(pack: ModuleType, width: int, rng: random.Random) -> None:
    keys, values, flags = entries_random(rng, 60)
    count = len(keys)
    raw = b"head" + packed_naively(keys, values, flags, width)
    for start in range(0, count + 1, 6):
        for stop in range(start, count + 1, 7):
            answer = pack.unpack_entries(raw, 4, count, width, start, stop, 12)
            assert answer == ((keys[start:stop], values[start:stop]) if pack.COMPILED else None)
    longest = max(map(len, keys))
    assert pack.unpack_entries(raw, 4, count, width, 0, count, longest - 1) is None


@both
@pytest.mark.parametrize("width", [2, 4])
def test_a_lie_in_any_byte_is_answered_as_the_naive_reader_does(pack: ModuleType, width: int) -> None:
    keys, values, flags = [b"a", b"bb", b"c", b"dd"], [b"one", b"", b"three", b"x"], bytes(4)
    raw = packed_naively(keys, values, flags, width)
    for at in range(len(raw)):
        for byte in {0, 1, 2, 7, 0x7F, 0x80, 0xFF, raw[at] ^ 1} - {raw[at]}:
            lie = raw[:at] + bytes((byte,)) + raw[at + 1 :]
            for start, stop in ((0, 4), (1, 3), (3, 4), (4, 4)):
                answer = pack.unpack_entries(lie, 0, 4, width, start, stop, 9)
                assert answer in (None, unpacked_naively(lie, 0, 4, width, start, stop, 9))
                assert answer is not None or not pack.COMPILED or not unpacked_naively(lie, 0, 4, width, start, stop, 9)


@both
@given(
    raw=st.lists(st.sampled_from(b"\x00\x01\x02\x03\x04\x05\x08\xff"), max_size=70).map(bytes),
    at=st.integers(0, 80),
    count=st.sampled_from([0, 1, 2, 3, 5, 8, 1 << 16, (1 << 32) - 1]),
    width=st.sampled_from([2, 4]),
)
def test_random_bytes_are_never_left(pack: ModuleType, raw: bytes, at: int, count: int, width: int) -> None:
    for start, stop in ((0, count), (count // 2, count), (count, count), (0, min(count, 1))):
        answer = pack.unpack_entries(raw, at, count, width, start, stop, 9)
        if count < 10:
            assert answer in (None, unpacked_naively(raw, at, count, width, start, stop, 9))
        else:
            assert answer is None


@both
@pytest.mark.parametrize("overhead", [0, 1, 5])
def test_fit(pack: ModuleType, overhead: int, rng: random.Random) -> None:
    keys, values, _ = entries_random(rng, 1500)
    sizes = [len(key) + len(value) + overhead for key, value in zip(keys, values, strict=True)]
    for start in (0, 1, 700, len(keys) - 1, len(keys)):
        for room in (0, 1, 100, 101, 20_000, max(0, sum(sizes[start:]) - 1), sum(sizes[start:]), 1 << 40):
            stop, room_left = pack.fit_entries(keys, values, start, room, overhead)
            assert start <= stop <= len(keys)
            assert sum(sizes[start:stop]) + room_left == room and room_left >= 0
            assert stop == len(keys) or sum(sizes[start : stop + 1]) > room


@both
def test_fingerprints_are_the_low_halves_of_the_crc(pack: ModuleType, rng: random.Random) -> None:
    keys = [rng.randbytes(size) for size in [*range(1, 40), 4096]]
    assert list(struct.unpack("<40H", pack.pack_fingerprints(keys))) == [crc32(key) & 0xFFFF for key in keys]
    assert pack.pack_fingerprints([]) == b""


@both
def test_what_is_not_bytes_is_refused(pack: ModuleType) -> None:
    for wrong in (None, "text", 7):
        with pytest.raises(TypeError):
            pack.pack_entries([b"a", wrong], [b"", b""], bytes(2), 2)
        with pytest.raises(TypeError):
            pack.pack_entries([b"a", b"b"], [wrong, b""], bytes(2), 2)
        with pytest.raises(TypeError):
            pack.pack_fingerprints([wrong])
    with pytest.raises(TypeError):
        pack.fit_entries([b"a"], [None], 0, 10, 1)
    for values, flags in (([], b"\0"), ([b"b"], b"")):
        with pytest.raises(AssertionError):
            pack.pack_entries([b"a"], values, flags, 2)


@both
def test_measure(pack: ModuleType, rng: random.Random) -> None:
    keys, values, _ = entries_random(rng, 500)
    some = [None if rng.random() < 0.1 else value for value in values]
    key_sizes, value_sizes = [len(key) for key in keys], [len(value) for value in some if value is not None]
    assert pack.measure_entries(keys, some) == (
        min(key_sizes), max(key_sizes), sum(key_sizes), max(value_sizes), sum(value_sizes), some.count(None)
    )  # fmt: skip
    assert pack.measure_entries([], []) == (0, 0, 0, 0, 0, 0)
    assert pack.measure_entries([b"abc", b""], [None, None]) == (0, 3, 3, 0, 0, 2)
    assert pack.measure_entries([b"a", b"b"], [b"", b"12"]) == (1, 1, 2, 2, 2, 0)
    for wrong in ("a", bytearray(b"a"), 1, ["a"]):
        assert pack.measure_entries([b"a", wrong], [b"1", b"2"]) is None
        assert pack.measure_entries([b"a", b"b"], [b"1", wrong]) is None
    assert pack.measure_entries([None], [b"1"]) is None
