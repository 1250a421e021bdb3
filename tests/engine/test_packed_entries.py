"""Packed entries: the same as the lists of a block, for blocks that are plain and sound, and for no others."""

import random
from pathlib import Path

import pytest

import lsmcli
from lsmcli.engine import entry_pack
from lsmcli.engine.content_checksum import ContentChecksum
from lsmcli.engine.contents import Contents, contents_of
from lsmcli.engine.database import Database
from lsmcli.engine.entry_pack import pack_entries, unpack_entries
from lsmcli.engine.packed_entries import PackedEntries, packed_entries

compiled_only = pytest.mark.skipif(not entry_pack.COMPILED, reason="entries are packed by compiled code only")


def block_of(keys: list[bytes], values: list[bytes], flags: bytes, width: int) -> tuple[bytes, int]:
    """A block with four bytes before its columns, and where its values begin."""
    _, values_size, packed = pack_entries(keys, values, flags, width)
    return b"head" + packed, 4 + len(packed) - values_size


def entries_random(rng: random.Random, count: int) -> tuple[list[bytes], list[bytes]]:
    keys = sorted({rng.randbytes(rng.randint(1, 12)) for _ in range(count)})
    return keys, [rng.randbytes(rng.choice([0, 1, 300])) for _ in keys]


@compiled_only
@pytest.mark.parametrize("width", [2, 4])
def test_they_are_the_lists_and_have_their_checksum(width: int, rng: random.Random) -> None:
    for count in (1, 2, 100):
        keys, values = entries_random(rng, count)
        raw, values_at = block_of(keys, values, bytes(len(keys)), width)
        packed = packed_entries(raw, 4, len(keys), width, values_at, 12)
        assert packed is not None
        assert tuple(packed) == (keys, values)
        assert (packed.count, packed.key_first, packed.key_last) == (len(keys), keys[0], keys[-1])
        ours, theirs = ContentChecksum(), ContentChecksum()
        ours.add_packed(packed)
        theirs.add(keys, values)
        assert (ours.digest(), ours.entries, ours.size) == (theirs.digest(), theirs.entries, theirs.size)


@pytest.mark.parametrize("flag", [1, 2, 255])
def test_entries_that_are_not_plain_stay_unpacked(flag: int) -> None:
    for place in range(3):
        flags = bytearray(3)
        flags[place] = flag
        raw, values_at = block_of([b"a", b"b", b"c"], [b"", b"", b""], bytes(flags), 2)
        assert packed_entries(raw, 4, 3, 2, values_at, 12) is None


@compiled_only
@pytest.mark.parametrize("width", [2, 4])
def test_a_lie_in_any_byte_is_found_as_it_is_for_lists(width: int) -> None:
    keys, values = [b"a", b"bb", b"c", b"dd"], [b"one", b"", b"three", b"x"]
    raw, values_at = block_of(keys, values, bytes(4), width)
    found = 0
    for at in range(4, len(raw)):
        for byte in {0, 1, 2, 7, 0x7F, 0x80, 0xFF, raw[at] ^ 1} - {raw[at]}:
            lie = raw[:at] + bytes((byte,)) + raw[at + 1 :]
            offset = 4 + 4 * width
            if at < 4 + width or offset <= at < 4 + 6 * width or 4 + 9 * width <= at < 4 + 10 * width:
                continue  # offsets that a value block compares with its head before
            columns = unpack_entries(lie, 4, 4, width, 0, 4, 9)
            packed = packed_entries(lie, 4, 4, width, values_at, 9)
            plain = lie[4 + 10 * width : 8 + 10 * width] == bytes(4)
            assert (None if packed is None else tuple(packed)) == (columns if plain else None)
            found += packed is None
    assert found > 20


@pytest.mark.parametrize("rows_after", [0, 1, 40], ids=["one source", "a memory table", "many newer entries"])
def test_contents_are_the_same_packed_or_merged(tmp_path: Path, rng: random.Random, rows_after: int) -> None:
    model = {rng.randbytes(6): rng.randbytes(rng.choice([0, 20, 200])) for _ in range(4000)}
    with lsmcli.open(tmp_path / "a.lsm", block_size=4096) as database:
        for key, value in model.items():
            database[key] = value
        database.compact()
        for key in rng.sample(sorted(model), rows_after):
            if rng.random() < 0.5:
                del database[key]
                del model[key]
            else:
                database[key] = model[key] = b"newer"
        ordered = sorted(model)
        for start, end in ((None, None), (ordered[700], ordered[3000]), (ordered[5], None), (None, ordered[-1])):
            expected = [(k, model[k]) for k in ordered if (not start or k >= start) and (not end or k < end)]
            rows: list[tuple[bytes, bytes]] = []
            packed = 0
            for chunk in contents_at(database, start, end).chunks():
                packed += isinstance(chunk, PackedEntries)
                keys, values = chunk
                rows += zip(keys, values, strict=True)
            assert rows == expected
            assert rows_after or bool(packed) == entry_pack.COMPILED
            checksum = ContentChecksum()
            checksum.add([key for key, _ in expected], [value for _, value in expected])
            assert contents_at(database, start, end).checksum().digest() == checksum.digest()


def contents_at(database: Database, start: bytes | None, end: bytes | None) -> Contents:
    return contents_of(database, ["main"], start, end)[0]
