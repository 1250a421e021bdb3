"""Compressed tables: what was appended is found again, blocks are full once compressed, however the entries came."""

import random

import pytest

from lsmcli.engine import block_fill
from lsmcli.engine.block_codec import BlockCodec
from lsmcli.engine.block_fill import BlockFill
from lsmcli.engine.columns import Columns, concatenate
from lsmcli.engine.constants import BLOCK_SIZE_MAX, BLOCK_SIZE_MIN, KIB, key_size_max_for, value_inline_max_for
from lsmcli.engine.entry_pack import pack_entries, pack_fingerprints
from lsmcli.engine.grid import Grid
from lsmcli.engine.missing import MISSING
from lsmcli.engine.schema import BlockKind, Codec, TableEventKind
from lsmcli.engine.table import read_index, search
from lsmcli.engine.table_info import TableInfo
from lsmcli.engine.table_iterator import TableIterator
from lsmcli.engine.value_block import offset_width_for
from tests.testing.grid import MemoryStorage, grid_new, grid_reopened
from tests.testing.tables import columns_from, items_from, items_random, tables_built
from tests.testing.twins import interpreted

ZSTD = Codec.ZSTD


def entries(count: int, *, random_share: float = 0.5, size: int = 100, seed: int = 1) -> Columns:
    """Values of which so much is random, so that a compressor can do nothing about it."""
    rng = random.Random(seed)
    part = int(size * random_share)
    values = [rng.randbytes(part) + b"=" * (size - part) for _ in range(count)]
    return Columns([b"key %08d" % i for i in range(count)], values, bytes(count))


def blocks_of(grid: Grid, tables: list[TableInfo]) -> list[tuple[int, int, int]]:
    """Codec, size as stored and entries of each value block."""
    found = []
    for info in tables:
        index = read_index(grid, info)
        for reference, count in zip(index.references, index.entry_counts, strict=True):
            header = grid.read_header(reference, BlockKind.VALUE)
            found.append((header.codec, header.size, count))
    return found


def entries_of(grid: Grid, tables: list[TableInfo]) -> Columns:
    return concatenate([part for info in tables for part in TableIterator(grid, info).blocks()])


def image_of(grid: Grid) -> bytes:
    assert isinstance(grid.storage, MemoryStorage)
    return bytes(grid.storage.data)


@pytest.mark.parametrize("block_size", [BLOCK_SIZE_MIN, 32 * KIB, BLOCK_SIZE_MAX])
def test_everything_is_found_again(block_size: int, rng: random.Random) -> None:
    items = items_random(rng, 3000, key_size_max=30, value_size_max=80)
    items += [(b"\xff" * 31 + b"%05d" % i, b"%d" % (i % 3) * (block_size // 2048)) for i in range(8000)]
    grid = grid_new(block_size=block_size)
    tables = tables_built(grid, columns_from(items), codec=ZSTD)
    reader = grid_reopened(grid)
    assert items_from(entries_of(reader, tables)) == items
    assert sum(info.entry_count for info in tables) == len(items)
    assert any(codec == ZSTD for codec, _, _ in blocks_of(reader, tables))
    for key, value in rng.sample(items, 100):
        (info,) = [info for info in tables if info.key_min <= key <= info.key_max]
        assert search(reader, info, key) == value
        assert search(reader, info, key + b"\0") is MISSING


@pytest.mark.parametrize(("random_share", "per_block"), [(0.05, 3.8), (0.3, 2.4), (0.5, 1.7), (0.7, 1.2)], ids=str)
def test_blocks_are_full_once_they_are_compressed(random_share: float, per_block: float) -> None:
    grid = grid_new(block_size=32 * KIB)
    columns = entries(20_000, random_share=random_share)
    blocks = blocks_of(grid, tables_built(grid, columns, codec=ZSTD))
    plain = blocks_of(grid_plain := grid_new(block_size=32 * KIB), tables_built(grid_plain, columns))
    assert len(plain) / len(blocks) > per_block
    if per_block < 3:  # else what a block may hold at most is what ends it
        full = [size for codec, size, _ in blocks[:-1] if codec == ZSTD and size > 0.9 * 32 * KIB]
        assert len(full) >= 0.8 * (len(blocks) - 1)


def test_what_cannot_be_compressed_is_stored_as_without_a_codec() -> None:
    columns = entries(3000, random_share=1.0)
    grid, grid_plain = grid_new(), grid_new()
    tables, plain = tables_built(grid, columns, codec=ZSTD), tables_built(grid_plain, columns)
    assert blocks_of(grid, tables) == blocks_of(grid_plain, plain)
    assert [info.to_event(TableEventKind.INSERT)[:8] for info in tables] == [
        info.to_event(TableEventKind.INSERT)[:8] for info in plain
    ]
    assert not grid.compresses
    assert image_of(grid) == image_of(grid_plain)


def test_little_is_not_compressed() -> None:
    grid = grid_new()
    ((codec, _, count),) = blocks_of(grid, tables_built(grid, entries(20), codec=ZSTD))
    assert (codec, count) == (Codec.NONE, 20)


def test_data_that_changes_its_kind_is_followed() -> None:
    """Blocks shrink and grow with what they hold; none is lost, none is too large."""
    parts = [
        entries(4000, random_share=share, seed=seed).values for seed, share in enumerate((0.0, 1.0, 0.3, 0.9, 0.05))
    ]
    values = [value for part in parts for value in part]
    columns = Columns([b"%08d" % i for i in range(len(values))], values, bytes(len(values)))
    grid = grid_new(block_size=16 * KIB)
    tables = tables_built(grid, columns, codec=ZSTD)
    assert entries_of(grid, tables) == columns
    codecs = [codec for codec, _, _ in blocks_of(grid, tables)]
    assert codecs.count(Codec.NONE) > 20 and codecs.count(ZSTD) > 20


@pytest.mark.parametrize("chunk", [1, 7, 500, 2999])
def test_the_portions_in_which_entries_come_change_nothing(chunk: int) -> None:
    columns = entries(3000, random_share=0.3)
    whole, cut = grid_new(), grid_new()
    tables_built(whole, columns, codec=ZSTD)
    tables_built(cut, columns, codec=ZSTD, chunk=chunk)
    assert image_of(cut) == image_of(whole)


def test_packed_entries_are_taken_like_lists(rng: random.Random) -> None:
    """What write_stage() hands over, also where code is interpreted and there is no stage."""
    columns = columns_from(items_random(rng, 1500))
    codec = BlockCodec(BLOCK_SIZE_MIN)
    lists, packed = BlockFill(codec, BLOCK_SIZE_MIN), BlockFill(codec, BLOCK_SIZE_MIN)
    lists.add(*columns)
    start = 0
    while start < len(columns.keys):
        part = columns.cut(start, start + rng.randrange(1, 300))
        keys_size, values_size, body = pack_entries(*part, offset_width_for(BLOCK_SIZE_MIN))
        marks = pack_fingerprints(part.keys)
        packed.add_packed(bytearray(b"head" + body + b"more"), 4, len(part.keys), keys_size, values_size, marks)
        start += len(part.keys)
    while lists.entry_count:
        assert lists.take() == packed.take()
    assert not packed.entry_count


@pytest.mark.parametrize("attempts", [1, 2])
def test_a_guess_that_is_never_right_costs_only_space(attempts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_fill, "_ATTEMPTS_MAX", attempts)
    parts = [entries(300, random_share=share, seed=seed).values for seed, share in enumerate((0.05, 0.9) * 6)]
    values = [value for part in parts for value in part]
    columns = Columns([b"%08d" % i for i in range(len(values))], values, bytes(len(values)))
    grid = grid_new()
    assert entries_of(grid, tables_built(grid, columns, codec=ZSTD)) == columns


def test_interpreted_and_compiled_columns_give_the_same_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = entries(3000, random_share=0.4)
    one, other = grid_new(), grid_new()
    tables_built(one, columns, codec=ZSTD)
    loops = interpreted("lsmcli.engine.sized_columns")
    for name in ("fit_sizes", "offsets_of"):
        monkeypatch.setattr(block_fill, name, getattr(loops, name))
    tables_built(other, columns, codec=ZSTD)
    assert image_of(one) == image_of(other)


@pytest.mark.parametrize("block_size", [BLOCK_SIZE_MIN, 16 * KIB])
def test_the_index_block_has_room_for_the_fingerprints_of_any_block(block_size: int) -> None:
    """The smallest entries there are, of which a compressed block would hold the most."""
    keys = sorted({i.to_bytes(2, "big") for i in range(0, 65536, 3)})
    columns = Columns(keys, [b""] * len(keys), bytes(len(keys)))
    grid = grid_new(block_size=block_size)
    tables = tables_built(grid, columns, codec=ZSTD)
    assert entries_of(grid, tables) == columns
    assert max(count for _, _, count in blocks_of(grid, tables)) <= block_size // 8


def test_the_largest_entries_fit() -> None:
    size = key_size_max_for(BLOCK_SIZE_MIN)
    keys = [bytes([i]) * size for i in range(40)]
    columns = Columns(keys, [b"v" * value_inline_max_for(BLOCK_SIZE_MIN)] * 40, bytes(40))
    grid = grid_new()
    tables = tables_built(grid, columns, codec=ZSTD)
    assert entries_of(grid, tables) == columns
    assert len(blocks_of(grid, tables)) <= 40 // 4
