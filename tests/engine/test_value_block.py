"""Value blocks: what was encoded is read back in every way, and a crafted block is DamageError, never a traceback."""

import bisect
import random
import sys

import pytest

from lsmcli.engine.columns import Columns
from lsmcli.engine.constants import BLOCK_SIZE_MAX, BLOCK_SIZE_MIN, KIB
from lsmcli.engine.errors import DamageError
from lsmcli.engine.schema import BLOCK_HEADER, VALUE_BLOCK_HEAD, BlockKind, ValueBlockHead
from lsmcli.engine.value_block import (
    StoredValue,
    ValueBlock,
    encode_value_block,
    offset_column,
    offsets_packed,
    value_block_size,
)
from tests.testing.tables import columns_from, items_from, items_random, large, raw_block

Items = list[tuple[bytes, StoredValue]]
SMALL: Items = [(b"a", b"one"), (b"bb", None), (b"c", b""), (b"dd", large(4)), (b"e", b"five")]


def block_of(items: Items, block_size: int = 32 * KIB) -> ValueBlock:
    return ValueBlock(raw_block(BlockKind.VALUE, encode_value_block(*columns_from(items), block_size)))


def crafted(
    *, head: ValueBlockHead, key_offsets: list[int], value_offsets: list[int], flags: bytes, keys: bytes, values: bytes
) -> bytes:
    offsets = b"".join(offset.to_bytes(2, "little") for offset in key_offsets + value_offsets)
    return raw_block(BlockKind.VALUE, VALUE_BLOCK_HEAD.pack(head) + offsets + flags + keys + values)


def use(raw: bytes) -> None:
    """Calls everything that a block can do."""
    block = ValueBlock(raw)
    for i in range(min(block.count, 100)):
        block.key(i)
        block.value(i)
    for key in (b"", b"a", b"bb", b"cc", b"\xff" * 9):
        assert 0 <= block.bisect_left(key) <= block.count
    block.keys()
    keys, values, flags = block.columns()
    assert len(keys) == len(values) == len(flags) == block.count


@pytest.mark.parametrize("block_size", [BLOCK_SIZE_MIN, 32 * KIB, 64 * KIB, BLOCK_SIZE_MAX])
def test_every_entry_is_read_back(rng: random.Random, block_size: int) -> None:
    items = items_random(rng, 60, value_size_max=20)
    block = block_of(items, block_size)
    assert block.count == 60
    assert [(block.key(i), block.value(i)) for i in range(60)] == items
    assert block.keys() == [key for key, _ in items]
    assert items_from(Columns(*block.columns())) == items
    columns = columns_from(items)
    payload = sum(map(len, columns.keys)), sum(map(len, columns.values))
    assert block.size == value_block_size(60, *payload, block_size)


def test_a_part_of_the_columns_is_a_slice_of_all() -> None:
    block = block_of(SMALL)
    for start in range(6):
        for stop in range(start, 6):
            assert items_from(Columns(*block.columns(start, stop))) == SMALL[start:stop]


def test_bisect_left_agrees_with_the_list(rng: random.Random) -> None:
    items = items_random(rng, 200, value_size_max=3)
    keys = [key for key, _ in items]
    block = block_of(items)
    for key in keys + [rng.randbytes(rng.randint(0, 6)) for _ in range(200)]:
        assert block.bisect_left(key) == bisect.bisect_left(keys, key)


def test_the_head_counts_the_flags() -> None:
    head = block_of(SMALL).head
    assert (head.entry_count, head.tombstone_count, head.large_count) == (5, 1, 1)


def test_an_entry_that_is_not_there_is_damage() -> None:
    block = block_of(SMALL)
    for i in (5, 6, 1000):
        with pytest.raises(DamageError, match="value block 17 has 5 entries"):
            block.key(i)
        with pytest.raises(DamageError, match="value block 17 has 5 entries"):
            block.value(i)


def test_each_byte_changed_gives_an_answer_or_damage() -> None:
    raw = raw_block(BlockKind.VALUE, encode_value_block(*columns_from(SMALL), BLOCK_SIZE_MIN))
    refused = 0
    for at in range(BLOCK_HEADER.size, len(raw)):
        for value in {0x00, 0x01, 0x02, 0x7F, 0xFF, raw[at] ^ 0x01, raw[at] ^ 0x80} - {raw[at]}:
            try:
                use(raw[:at] + bytes((value,)) + raw[at + 1 :])
            except DamageError as error:
                assert error.zone == "value" and error.address == 17
                refused += 1
    assert refused > 250


def test_each_truncation_is_damage() -> None:
    raw = raw_block(BlockKind.VALUE, encode_value_block(*columns_from(SMALL), BLOCK_SIZE_MIN))
    for size in range(len(raw)):
        with pytest.raises(DamageError):
            ValueBlock(raw[:size])


def test_random_bytes_are_an_answer_or_damage(rng: random.Random) -> None:
    for _ in range(2000):
        count = rng.choice([0, 1, 2, 5, 1 << 31, (1 << 32) - 1])
        head = ValueBlockHead(count, 0, 0, rng.randrange(9), rng.randrange(9), 0)
        body = VALUE_BLOCK_HEAD.pack(head) + bytes(rng.choices(range(4), k=rng.randrange(60)))
        try:
            use(raw_block(BlockKind.VALUE, body))
        except DamageError:
            continue


@pytest.mark.parametrize(
    ("why", "key_offsets", "value_offsets", "flags", "values"),
    [
        ("ascending order", [0, 1, 1, 3], [0, 0, 0, 0], bytes(3), b""),
        ("ascending order", [0, 3, 2, 3], [0, 0, 0, 0], bytes(3), b""),
        ("ascending order", [0, 9, 2, 3], [0, 0, 0, 0], bytes(3), b""),
        ("do not span", [1, 1, 2, 3], [0, 0, 0, 0], bytes(3), b""),
        ("do not span", [0, 1, 2, 2], [0, 0, 0, 0], bytes(3), b""),
        ("do not span", [0, 1, 2, 3], [0, 0, 0, 1], bytes(3), b""),
        ("negative size", [0, 1, 2, 3], [0, 2, 1, 2], bytes(3), b"xy"),
        ("negative size|past its end", [0, 1, 2, 3], [0, 9, 9, 2], bytes(3), b"xy"),
        ("flags 1 with|flags 1 and", [0, 1, 2, 3], [0, 2, 2, 2], b"\1\0\0", b"xy"),
        ("flags 2", [0, 1, 2, 3], [0, 2, 2, 2], b"\2\0\0", b"xy"),
        ("flags 3", [0, 1, 2, 3], [0, 2, 2, 2], b"\0\3\0", b"xy"),
        ("flags 128", [0, 1, 2, 3], [0, 2, 2, 2], b"\0\x80\0", b"xy"),
        ("its head counts", [0, 1, 2, 3], [0, 2, 2, 2], b"\0\1\0", b"xy"),
    ],
)
def test_a_crafted_block_is_damage(
    why: str, key_offsets: list[int], value_offsets: list[int], flags: bytes, values: bytes
) -> None:
    head = ValueBlockHead(3, 0, 0, 3, len(values), 0)
    raw = crafted(
        head=head, key_offsets=key_offsets, value_offsets=value_offsets, flags=flags, keys=b"abc", values=values
    )
    with pytest.raises(DamageError, match=why):
        use(raw)


@pytest.mark.parametrize("value_offsets", [[0, 2, 1, 2], [0, 9, 9, 2]])
def test_values_of_negative_size_are_damage_alone_and_in_columns(value_offsets: list[int]) -> None:
    head = ValueBlockHead(3, 0, 0, 3, 2, 0)
    raw = crafted(
        head=head, key_offsets=[0, 1, 2, 3], value_offsets=value_offsets, flags=bytes(3), keys=b"abc", values=b"xy"
    )
    block = ValueBlock(raw)
    with pytest.raises(DamageError, match="negative size"):
        block.columns()
    with pytest.raises(DamageError, match=r"(negative size|past its end) in entry"):
        [block.value(i) for i in range(3)]


def test_keys_out_of_order_or_too_long_are_damage() -> None:
    columns = columns_from([(b"b", b""), (b"a", b"")])
    with pytest.raises(DamageError, match="ascending"):
        ValueBlock(raw_block(BlockKind.VALUE, encode_value_block(*columns, BLOCK_SIZE_MIN))).columns()
    block = block_of([(b"a", b""), (b"b" * 100, b"")])
    assert block.columns(key_size_max=100)
    with pytest.raises(DamageError, match="more than 99 bytes"):
        block.columns(key_size_max=99)


def test_an_empty_key_is_damage() -> None:
    columns = columns_from([(b"", b""), (b"a", b"")])
    with pytest.raises(DamageError, match="ascending"):
        ValueBlock(raw_block(BlockKind.VALUE, encode_value_block(*columns, BLOCK_SIZE_MIN))).columns()


@pytest.mark.parametrize("code", ["H", "I"])
def test_offsets_are_little_endian_on_any_machine(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    packed = offsets_packed([b"x" * 300, b"yy"], code)
    assert packed[:4].startswith(b"\0\0") and packed.endswith((302).to_bytes(len(packed) // 3, "little"))
    assert list(offset_column(packed, 0, len(packed), code)) == [0, 300, 302]
    other = {"little": "big", "big": "little"}[sys.byteorder]
    monkeypatch.setattr(sys, "byteorder", other)
    swapped = offsets_packed([b"x" * 300, b"yy"], code)
    width = len(packed) // 3
    big = b"".join(swapped[at : at + width][::-1] for at in range(0, len(swapped), width))
    assert list(offset_column(big, 0, len(big), code)) == [0, 300, 302]
