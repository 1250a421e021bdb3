"""Compressed blocks that lie: whatever is in them, with right checksums, is damage in one line, and never large."""

import random
import struct
import sys
from collections.abc import Callable

import pytest
import zstandard

from lsmcli.engine.block_codec import RAW_SHARE, codec_available, codec_required
from lsmcli.engine.block_header import HEADER_SIZE
from lsmcli.engine.errors import DamageError, LibraryError
from lsmcli.engine.grid import Grid
from lsmcli.engine.schema import VALUE_BLOCK_HEAD, BlockKind, BlockReference, Codec
from lsmcli.engine.value_block import ValueBlock, encode_value_block, sizes_packed
from tests.testing.grid import BLOCK_SIZE, grid_new, grid_reopened

VALUE = BlockKind.VALUE
KEYS = [b"key %04d" % i for i in range(300)]
VALUES = [b"value %d " % (i % 7) * 3 for i in range(300)]
FLAGS = bytes(300)


def sized(
    keys: list[bytes] = KEYS,
    values: list[bytes] = VALUES,
    *,
    count: int | None = None,
    keys_size: int | None = None,
    values_size: int | None = None,
) -> bytes:
    """A body before compression; its head may lie."""
    joined_keys, joined_values = b"".join(keys), b"".join(values)
    head = VALUE_BLOCK_HEAD.struct.pack(
        len(keys) if count is None else count,
        0,
        0,
        len(joined_keys) if keys_size is None else keys_size,
        len(joined_values) if values_size is None else values_size,
        0,
    )
    columns = sizes_packed(keys, 2), sizes_packed(values, 2), bytes(len(keys)), joined_keys, joined_values
    return head + b"".join(columns)


def stored(grid: Grid, body: bytes, size_decoded: int, kind: BlockKind = VALUE) -> BlockReference:
    """Writes these bytes as a block with a codec; all checksums are right."""
    address = grid.acquire(grid.reserve(1))
    return grid.write(address, kind, body, codec=Codec.ZSTD, size_decoded=size_decoded)


def frame(body: bytes, *, write_content_size: bool = True) -> bytes:
    return zstandard.ZstdCompressor(level=3, write_content_size=write_content_size).compress(body)


def block_of(body: bytes) -> tuple[Grid, BlockReference]:
    """A block as it should be, of this body."""
    grid = grid_new(4)
    return grid, stored(grid, frame(body), HEADER_SIZE + len(body))


def damage(grid: Grid, reference: BlockReference) -> str:
    with pytest.raises(DamageError) as caught:
        ValueBlock(grid.read(reference, VALUE))
    assert caught.value.zone == "value" and caught.value.address == reference.address
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_compressed_block_is_read_as_if_it_were_none() -> None:
    grid, reference = block_of(sized())
    block = ValueBlock(grid_reopened(grid).read(reference, VALUE))
    assert block.columns() == (KEYS, VALUES, FLAGS)
    plain = ValueBlock(bytes(HEADER_SIZE) + encode_value_block(KEYS, VALUES, FLAGS, 4 * BLOCK_SIZE))
    assert plain.columns() == block.columns()
    assert len(frame(sized())) < BLOCK_SIZE < block.size


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body[:-1],
        lambda body: body[: len(body) // 2],
        lambda body: b"",
        lambda body: body + b"x",
        lambda body: body + frame(b"one more"),
        lambda body: b"garbage " * 40,
        lambda body: bytes(len(body)),
        lambda body: b"\x50\x2a\x4d\x18\x08\x00\x00\x00" + bytes(8),  # a frame to be skipped
        lambda body: frame(sized(), write_content_size=False),
    ],
    ids=["cut", "half", "empty", "longer", "two frames", "garbage", "zeros", "skippable", "no size"],
)
def test_stored_bytes_that_are_no_frame_are_damage(change: Callable[[bytes], bytes]) -> None:
    grid = grid_new(4)
    body = sized()
    damage(grid, stored(grid, change(frame(body)), HEADER_SIZE + len(body)))


def test_any_bit_of_a_frame_may_flip(rng: random.Random) -> None:
    """With a right checksum over it: damage, or entries, but nothing else."""
    body = sized()
    good = frame(body)
    for _ in range(300):
        bit = rng.randrange(8 * len(good))
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        grid = grid_new(2)
        reference = stored(grid, bytes(bad), HEADER_SIZE + len(body))
        try:
            columns = ValueBlock(grid.read(reference, VALUE)).columns()
        except DamageError:
            continue
        assert len(columns[0]) == len(columns[1]) == len(columns[2])


def test_a_bomb_gets_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = frame(bytes(64 << 20))
    monkeypatch.setattr(zstandard, "ZstdDecompressor", None)  # is not even asked for
    grid = grid_new(4, block_size=4 * BLOCK_SIZE)
    assert "not as large" in damage(grid, stored(grid, bomb, grid.codec.raw_size_max))


@pytest.mark.parametrize("size", [0, 1, 9000, 100_000])
def test_a_frame_that_lies_about_its_size_is_damage(size: int) -> None:
    real = 70_000
    bomb = bytearray(frame(bytes(real)))
    at = bomb.index(struct.pack("<I", real))
    assert at < 8  # in the head of the frame
    struct.pack_into("<I", bomb, at, size)
    assert zstandard.frame_content_size(bytes(bomb)) == size
    grid = grid_new(4, block_size=8 * BLOCK_SIZE)
    with pytest.raises(DamageError):
        grid.read(stored(grid, bytes(bomb), max(HEADER_SIZE + size, HEADER_SIZE + len(bomb))), VALUE)


@pytest.mark.parametrize("size_decoded", [HEADER_SIZE, RAW_SHARE * BLOCK_SIZE + 1, 0xFFFF_FFFF])
def test_a_size_that_no_block_has_is_damage_before_anything_is_decompressed(size_decoded: int) -> None:
    grid = grid_new(4)
    reference = stored(grid, frame(sized()), size_decoded)
    assert "before compression" in damage(grid, reference)
    with pytest.raises(DamageError):
        grid.read_header(reference, VALUE)


@pytest.mark.parametrize("more", [-1, 1, 100])
def test_a_frame_of_another_size_than_the_header_tells_is_damage(more: int) -> None:
    grid = grid_new(4)
    body = sized()
    assert "not as large" in damage(grid, stored(grid, frame(body), HEADER_SIZE + len(body) + more))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        bytes(23),
        sized(count=299),
        sized(count=301),
        sized(count=0xFFFF_FFFF),
        sized(keys_size=0),
        sized(keys_size=0xFFFF_FFFF),
        sized(values_size=1),
        sized(keys_size=len(b"".join(KEYS)) + 1, values_size=len(b"".join(VALUES)) - 1),
        sized() + b"x",
        sized(keys=KEYS[::-1]),
    ],
    ids=lambda body: str(len(body)),
)
def test_columns_that_do_not_fit_their_head_are_damage(body: bytes) -> None:
    grid = grid_new(4)
    padded = frame(body)
    reference = stored(grid, padded, HEADER_SIZE + max(len(body), len(padded)))
    with pytest.raises(DamageError):
        ValueBlock(grid.read(reference, VALUE)).columns()


def test_only_value_blocks_may_be_compressed() -> None:
    grid = grid_new(4)
    reference = stored(grid, frame(sized()), HEADER_SIZE + len(sized()), kind=BlockKind.INDEX)
    with pytest.raises(DamageError, match="which only value blocks may be"):
        grid.read(reference, BlockKind.INDEX)


def test_without_the_package_the_error_tells_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    grid, reference = block_of(sized())
    assert codec_available()
    monkeypatch.setitem(sys.modules, "zstandard", None)
    assert not codec_available()
    with pytest.raises(LibraryError, match=r"pip install 'lsmcli\[zstd\]'"):
        grid_reopened(grid).read(reference, VALUE)
    with pytest.raises(LibraryError, match=r"my\.lsm: .*pip install 'lsmcli\[zstd\]'"):
        codec_required("my.lsm")


def test_the_package_is_found_without_importing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "zstandard", raising=False)
    assert codec_available()
    assert "zstandard" not in sys.modules
