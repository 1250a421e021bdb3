"""Index blocks: a search names the block and the places that the keys have, and crafted blocks are DamageError."""

import bisect
import itertools
import random
import struct
import zlib

import pytest

from lsmcli.engine.constants import BLOCK_SIZE_MAX, BLOCK_SIZE_MIN, KIB
from lsmcli.engine.errors import DamageError
from lsmcli.engine.index_block import (
    IndexBlock,
    encode_index_block,
    fingerprint,
    fingerprints_packed,
    index_block_size,
    references_packed,
)
from lsmcli.engine.schema import BLOCK_HEADER, INDEX_BLOCK_HEAD, BlockKind, BlockReference, IndexBlockHead
from tests.testing.tables import raw_block


def encoded(blocks: list[list[bytes]], block_size: int = BLOCK_SIZE_MAX) -> bytes:
    """An index block, header included, over value blocks with these keys."""
    body = encode_index_block(
        references_packed(BlockReference(100 + i, 0, bytes((i % 256,)) * 16) for i in range(len(blocks))),
        [len(keys) for keys in blocks],
        bytes(i % 4 for i in range(len(blocks))),
        [keys[-1] for keys in blocks],
        b"".join(map(fingerprints_packed, blocks)),
        tombstone_count=1,
        large_count=0,
        block_size=block_size,
    )
    return raw_block(BlockKind.INDEX, body)


def blocks_random(rng: random.Random, count: int, key_size: int = 5) -> list[list[bytes]]:
    keys = sorted({rng.randbytes(rng.randint(1, key_size)) for _ in range(40 * count)})
    edges = [0, *sorted(rng.sample(range(1, len(keys)), count - 1)), len(keys)]
    return [keys[a:b] for a, b in itertools.pairwise(edges)]


def use(raw: bytes) -> None:
    """Calls everything that an index block can do."""
    index = IndexBlock(raw)
    for key in (b"", b"a", b"bb", b"m", b"\xff" * 9):
        block, entries = index.search(key)
        assert block <= index.block_count
        assert all(0 <= entry < index.entry_counts[block] for entry in entries)
        assert set(index.blocks_between(key, None)) <= set(range(index.block_count))


def test_the_fingerprint_is_the_low_half_of_the_crc() -> None:
    keys = [b"", b"a", b"hello", b"\xff" * 40]
    assert [fingerprint(key) for key in keys] == [zlib.crc32(key) % 65536 for key in keys]
    assert fingerprints_packed(keys) == struct.pack("<4H", *map(fingerprint, keys))


@pytest.mark.parametrize("block_size", [32 * KIB, BLOCK_SIZE_MAX])
def test_what_was_encoded_is_read_back(rng: random.Random, block_size: int) -> None:
    blocks = blocks_random(rng, 20)
    raw = encoded(blocks, block_size)
    index = IndexBlock(raw)
    assert index.block_count == 20
    assert index.entry_count == sum(map(len, blocks))
    assert index.entry_counts == tuple(map(len, blocks))
    assert index.keys_last == [keys[-1] for keys in blocks]
    assert index.references[3] == BlockReference(103, 0, b"\x03" * 16)
    assert index.block_flags == bytes(i % 4 for i in range(20))
    assert (index.tombstone_count, index.large_count) == (1, 0)
    assert index.entry_starts[2] == len(blocks[0]) + len(blocks[1])
    keys_size = sum(map(len, index.keys_last))
    assert index.size == len(raw) == index_block_size(20, keys_size, index.entry_count, block_size)


def test_a_search_finds_every_key_at_its_place(rng: random.Random) -> None:
    blocks = blocks_random(rng, 30)
    index = IndexBlock(encoded(blocks))
    for i, keys in enumerate(blocks):
        for place, key in enumerate(keys):
            block, entries = index.search(key)
            assert block == i and place in entries


def test_a_search_for_an_absent_key_names_only_places_with_its_fingerprint(rng: random.Random) -> None:
    blocks = blocks_random(rng, 10)
    index = IndexBlock(encoded(blocks))
    last = [keys[-1] for keys in blocks]
    marks = [list(map(fingerprint, keys)) for keys in blocks]
    found = 0
    for key in (rng.randbytes(6) for _ in range(20_000)):
        block, entries = index.search(key)
        assert block == bisect.bisect_left(last, key)
        if block < len(blocks):
            expected = [i for i, mark in enumerate(marks[block]) if mark == fingerprint(key)]
            assert list(entries) == expected
            found += bool(expected)
        else:
            assert not entries
    assert 0 < found < 100  # about 40 keys a block: 0.06 %


def test_halves_of_neighbouring_fingerprints_are_not_a_match() -> None:
    """Fingerprints 0x1122 and 0x3344 are the bytes 22 11 44 33: 0x4411 stands between them."""
    keys = [b"k%d" % i for i in range(4)]
    body = bytearray(encoded([keys]))
    sought = b"k2x"
    low, high = fingerprint(sought).to_bytes(2, "little")
    body[-8:] = bytes((0x99, low, high, 0x99, low, high, low, high))
    assert IndexBlock(bytes(body)).search(b"k2x") == (0, [2, 3])


def test_a_match_right_behind_a_pair_of_halves_is_found() -> None:
    """A fingerprint of two equal bytes: 99 bb bb bb has it at byte 1, which is no place, and at byte 2, which is."""
    sought = next(
        key for key in (b"%d" % i for i in range(10_000)) if len(set(fingerprint(key).to_bytes(2, "big"))) == 1
    )
    same = fingerprint(sought) & 0xFF
    raw = bytearray(encoded([[b"a", b"b", b"z"]]))
    raw[-6:] = bytes((same ^ 1, same, same, same, same ^ 1, same ^ 1))
    assert IndexBlock(bytes(raw)).search(sought) == (0, [1])


def test_blocks_between_agrees_with_the_keys(rng: random.Random) -> None:
    blocks = blocks_random(rng, 8, key_size=2)
    index = IndexBlock(encoded(blocks))
    bounds = [None, b"", b"\xff\xff\xff", *(rng.randbytes(rng.randint(1, 2)) for _ in range(30)), blocks[2][-1]]
    for start in bounds:
        for end in bounds:
            span = index.blocks_between(start, end)
            needed = {
                i
                for i, keys in enumerate(blocks)
                if any((start is None or key >= start) and (end is None or key < end) for key in keys)
            }
            assert needed <= set(span) and len(span) <= len(needed) + 2


def test_each_byte_changed_gives_an_answer_or_damage() -> None:
    raw = encoded([[b"a", b"bb"], [b"c"], [b"dd", b"ee", b"m"]], BLOCK_SIZE_MIN)
    refused = 0
    for at in range(BLOCK_HEADER.size, len(raw)):
        for value in {0x00, 0x01, 0x02, 0x7F, 0xFF, raw[at] ^ 0x01, raw[at] ^ 0x80} - {raw[at]}:
            try:
                use(raw[:at] + bytes((value,)) + raw[at + 1 :])
            except DamageError as error:
                assert error.zone == "index" and error.address == 17
                refused += 1
    assert refused > 250


def test_each_truncation_is_damage() -> None:
    raw = encoded([[b"a", b"bb"], [b"c"], [b"dd", b"ee", b"m"]], BLOCK_SIZE_MIN)
    for size in range(len(raw)):
        with pytest.raises(DamageError):
            IndexBlock(raw[:size])


def crafted(
    *,
    head: tuple[int, int, int, int, int] = (2, 3, 1, 0, 2),
    addresses: tuple[int, int] = (5, 6),
    twin: int = 0,
    counts: tuple[int, int] = (2, 1),
    flags: bytes = b"\1\0",
    offsets: tuple[int, int, int] = (0, 1, 2),
    keys: bytes = b"bc",
) -> bytes:
    body = INDEX_BLOCK_HEAD.pack(IndexBlockHead(*head, 0))
    body += b"".join(struct.pack("<QQ16s", address, twin, bytes(16)) for address in addresses)
    body += struct.pack("<2I", *counts) + flags + struct.pack("<3H", *offsets) + keys + bytes(6)
    return raw_block(BlockKind.INDEX, body)


def test_the_crafted_block_is_right_when_nothing_is_wrong() -> None:
    use(crafted())


@pytest.mark.parametrize(
    ("why", "lie"),
    [
        ("size that its head", {"head": (0, 3, 1, 0, 2)}),
        ("size that its head", {"head": (3, 3, 1, 0, 2)}),
        ("size that its head", {"head": (2**32 - 1, 3, 1, 0, 2)}),
        ("size that its head", {"head": (2, 2**32 - 1, 1, 0, 2)}),
        ("size that its head", {"head": (2, 3, 1, 0, 2**32 - 1)}),
        ("more tombstones", {"head": (2, 3, 2, 2, 2)}),
        ("add up", {"counts": (2, 2)}),
        ("add up", {"counts": (3, 0)}),
        ("unknown flags", {"flags": b"\1\4"}),
        ("cannot be one", {"addresses": (5, 0)}),
        ("cannot be one", {"twin": 9}),
        ("span its keys", {"offsets": (1, 1, 2)}),
        ("span its keys", {"offsets": (0, 1, 1)}),
        ("ascending", {"offsets": (0, 2, 2)}),
        ("ascending", {"offsets": (0, 0, 2)}),
        ("ascending", {"keys": b"cb"}),
        ("ascending", {"keys": b"bb"}),
    ],
)
def test_a_crafted_block_is_damage(why: str, lie: dict) -> None:
    with pytest.raises(DamageError, match=why):
        use(crafted(**lie))


def test_a_key_past_the_limit_is_damage() -> None:
    with pytest.raises(DamageError, match="more than 4096 bytes"):
        IndexBlock(encoded([[b"k" * 4097]]))
