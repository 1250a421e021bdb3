"""Bodies of OP records: what goes in comes out, and nothing else is taken for it."""

import itertools
import random

import pytest

from lsmcli.engine.constants import KEY_SIZE_MAX, TREE_ID_MAX
from lsmcli.engine.errors import DamageError
from lsmcli.engine.schema import CHAIN_REFERENCE, WAL_ENTRY, ChainReference, WalEntry
from lsmcli.engine.wal_entry import decode_entries, encode_entries, encode_entry

Entry = tuple[int, bytes, bytes | ChainReference | None]
LARGE = ChainReference(7, 0, bytes(range(16)), 1 << 30, 40_000, 0, 12)


def raw(tree_id: int, flags: int, key: bytes, value: bytes, *, key_size: int = -1, value_size: int = -1) -> bytes:
    """An entry with whatever head."""
    head = WalEntry(
        tree_id, flags, len(key) if key_size < 0 else key_size, len(value) if value_size < 0 else value_size
    )
    return WAL_ENTRY.pack(head) + key + value


def assert_damaged(body: bytes, entry_count: int) -> None:
    with pytest.raises(DamageError) as caught:
        decode_entries(body, entry_count)
    assert caught.value.zone == "wal"
    assert "\n" not in str(caught.value)


def test_the_bytes_of_an_entry_are_fixed() -> None:
    assert encode_entry(2, b"key", b"value") == bytes.fromhex("0200 00 0300 05000000") + b"keyvalue"
    assert encode_entry(258, b"key", None) == bytes.fromhex("0201 01 0300 00000000") + b"key"
    assert encode_entry(2, b"key", LARGE) == bytes.fromhex("0200 02 0300 38000000") + b"key" + CHAIN_REFERENCE.pack(
        LARGE
    )


def test_every_short_run_of_entries_comes_back() -> None:
    trees, keys, values = (1, TREE_ID_MAX), (b"\0", b"k" * KEY_SIZE_MAX), (b"", b"v", None, LARGE)
    kinds: list[Entry] = list(itertools.product(trees, keys, values))
    for count in range(3):
        for entries in itertools.product(kinds, repeat=count):
            assert decode_entries(encode_entries(entries), count) == list(entries)


def test_the_order_of_calls_is_kept_also_for_one_key() -> None:
    entries: list[Entry] = [(2, b"k", b"1"), (2, b"k", None), (2, b"a", b"2"), (2, b"k", b"3")]
    assert decode_entries(encode_entries(entries), 4) == entries


@pytest.mark.parametrize(
    "body",
    [
        raw(0, 0, b"k", b"v"),
        raw(2, 0, b"", b"v"),
        raw(2, 0, b"k" * (KEY_SIZE_MAX + 1), b"v"),
        raw(2, 1, b"k", b"v"),
        raw(2, 2, b"k", b"v" * 55),
        raw(2, 2, b"k", b"v" * 57),
        raw(2, 2, b"k", b"v" * 20, value_size=56),
        raw(2, 3, b"k", b""),
        raw(2, 4, b"k", b"v"),
        raw(2, 0, b"k", b"v", value_size=2),
        raw(2, 0, b"k", b"v", value_size=0xFFFF_FFFF),
        raw(2, 0, b"k", b"v", key_size=3),
        raw(2, 0, b"k", b"v") + b"\0",
        raw(2, 0, b"k", b"v") + raw(2, 0, b"l", b"w"),
        b"",
    ],
    ids=[
        "tree 0", "empty key", "long key", "tombstone with a value", "short reference", "long reference",
        "cut reference", "both flags", "unknown flag", "cut value", "huge value", "cut key",
        "trailing byte", "one entry more", "no entry",
    ],
)  # fmt: skip
def test_a_malformed_entry_is_damage(body: bytes) -> None:
    assert_damaged(body, 1)


def test_every_other_count_and_every_cut_is_damage() -> None:
    entries: list[Entry] = [(2, b"key", b"value"), (3, b"k", None), (2, b"large", LARGE), (2, b"e", b"")]
    body = encode_entries(entries)
    for count in (0, 1, 2, 3, 5, 1 << 32):
        assert_damaged(body, count)
    for size in range(len(body)):
        assert_damaged(body[:size], len(entries))


def test_any_bytes_give_entries_that_encode_to_the_same_bytes_or_damage(rng: random.Random) -> None:
    body = encode_entries([(2, b"key", b"value"), (3, b"k", None), (2, b"large", LARGE), (2, b"e", b"")])
    decoded = 0
    for _ in range(20_000):
        mutated = bytearray(body)
        for _ in range(rng.randint(1, 3)):
            mutated[rng.randrange(len(mutated))] = rng.choice((0, 1, 2, 255, rng.randrange(256)))
        try:
            entries = decode_entries(bytes(mutated), 4)
        except DamageError:
            continue
        decoded += 1
        assert encode_entries(entries) == mutated
    assert 0 < decoded < 20_000
