"""Tables: what was appended is found again, blocks are full, and damage names its table."""

import itertools
import random
from collections.abc import Callable

import pytest

from lsmcli.engine.columns import concatenate
from lsmcli.engine.constants import BLOCK_SIZE_MAX, BLOCK_SIZE_MIN, KIB, key_size_max_for, value_inline_max_for
from lsmcli.engine.errors import DamageError
from lsmcli.engine.grid import Grid
from lsmcli.engine.index_block import (
    IndexBlock,
    encode_index_block,
    fingerprints_packed,
    index_block_size,
    references_packed,
)
from lsmcli.engine.missing import MISSING, Missing
from lsmcli.engine.schema import BLOCK_HEADER, FLAG_LARGE, FLAG_TOMBSTONE, BlockKind
from lsmcli.engine.table import TableBuilder, lookup, read_index, read_value, search
from lsmcli.engine.table_info import TableInfo
from lsmcli.engine.table_iterator import TableIterator
from lsmcli.engine.value_block import StoredValue, ValueBlock, encode_value_block, value_block_size
from tests.testing.grid import MemoryStorage, grid_new, grid_reopened
from tests.testing.tables import (
    TREE_ID,
    columns_from,
    items_from,
    items_random,
    large,
    table_built,
    tables_built,
)

Find = Callable[[Grid, TableInfo, bytes], StoredValue | Missing]

DECODERS: dict[BlockKind, Callable[[bytes], IndexBlock | ValueBlock]] = {
    BlockKind.INDEX: IndexBlock,
    BlockKind.VALUE: ValueBlock,
}


def entries_of(grid: Grid, tables: list[TableInfo]) -> list[tuple[bytes, StoredValue]]:
    return items_from(concatenate([part for info in tables for part in TableIterator(grid, info).blocks()]))


def driven(grid: Grid, info: TableInfo, key: bytes) -> StoredValue | Missing:
    """One lookup(), driven as the tree does, with damage thrown in."""
    steps = lookup(info, key)
    try:
        reference, kind = next(steps)
        while True:
            try:
                block = grid.block(reference, kind, DECODERS[kind])
            except DamageError as error:
                reference, kind = steps.throw(error)
            else:
                reference, kind = steps.send(block)
    except StopIteration as stop:
        return stop.value


@pytest.mark.parametrize("block_size", [BLOCK_SIZE_MIN, 32 * KIB, BLOCK_SIZE_MAX])
@pytest.mark.parametrize("chunk", [1, 37, 10_000])
def test_entries_survive_in_order(rng: random.Random, block_size: int, chunk: int) -> None:
    items = items_random(rng, 3000, value_size_max=40)
    grid = grid_new(block_size=block_size)
    tables = tables_built(grid, columns_from(items), chunk=chunk)
    assert entries_of(grid, tables) == items
    assert sum(info.entry_count for info in tables) == 3000
    assert sum(info.tombstone_count for info in tables) == sum(value is None for _, value in items)
    assert sum(info.large_count for info in tables) == sum(isinstance(value, tuple) for _, value in items)
    columns = columns_from(items)
    assert sum(info.values_size for info in tables) == sum(map(len, columns.keys + columns.values))
    assert len(tables) > 1 or block_size > BLOCK_SIZE_MIN


def test_tables_span_their_keys_and_do_not_overlap(rng: random.Random) -> None:
    items = items_random(rng, 4000)
    grid = grid_new()
    tables = tables_built(grid, columns_from(items))
    assert len(tables) > 2
    keys = [key for key, _ in items]
    assert tables[0].key_min == keys[0] and tables[-1].key_max == keys[-1]
    for a, b in itertools.pairwise(tables):
        assert keys.index(a.key_max) + 1 == keys.index(b.key_min)


def test_chunking_does_not_change_a_byte(rng: random.Random) -> None:
    columns = columns_from(items_random(rng, 2000))
    written = []
    for chunk in (1, 13, 500, 5000):
        grid = grid_new()
        tables_built(grid, columns, chunk=chunk)
        assert isinstance(grid.storage, MemoryStorage)
        written.append(bytes(grid.storage.data))
    assert all(data == written[0] for data in written)


def test_value_blocks_are_full_and_so_are_tables(rng: random.Random) -> None:
    items = items_random(rng, 5000, key_size_max=8, value_size_max=30)
    largest_entry = 8 + 56 + 5
    grid = grid_new()
    tables = tables_built(grid, columns_from(items))
    for info in tables:
        index = read_index(grid, info)
        blocks = [read_value(grid, info, index, block) for block in range(index.block_count)]
        full = blocks if info is not tables[-1] else blocks[:-1]
        assert all(BLOCK_SIZE_MIN - largest_entry < block.size <= BLOCK_SIZE_MIN for block in full)
        if info is not tables[-1]:
            entries_next = max(index.entry_counts)
            assert index.size <= BLOCK_SIZE_MIN < index.size + 2 * entries_next + 32 + 4 + 1 + 2 + 8 + 100


def test_index_flags_say_which_blocks_have_tombstones_and_large_values(rng: random.Random) -> None:
    items: list[tuple[bytes, StoredValue]] = [(b"%05d" % i, rng.randbytes(100)) for i in range(300)]
    items[40] = (items[40][0], None)
    items[200] = (items[200][0], large(9))
    grid = grid_new()
    for info in tables_built(grid, columns_from(items)):
        index = read_index(grid, info)
        for block in range(index.block_count):
            flags = TableIterator(grid, info).block_columns(block).flags
            expected = (FLAG_TOMBSTONE in flags) * FLAG_TOMBSTONE | (FLAG_LARGE in flags) * FLAG_LARGE
            assert index.block_flags[block] == expected


def test_the_largest_keys_and_values_fit_any_block_size() -> None:
    for block_size in (BLOCK_SIZE_MIN, 32 * KIB, BLOCK_SIZE_MAX):
        key_size, value_size = key_size_max_for(block_size), value_inline_max_for(block_size)
        items: list[tuple[bytes, StoredValue]] = [
            (bytes((i,)) * key_size, b"v" * (value_size if i % 2 else 0)) for i in range(1, 30)
        ]
        grid = grid_new(block_size=block_size)
        assert entries_of(grid, tables_built(grid, columns_from(items))) == items


def test_the_smallest_entries_fit() -> None:
    items: list[tuple[bytes, StoredValue]] = [(bytes((a, b)), b"") for a in range(20) for b in range(256)]
    grid = grid_new()
    tables = tables_built(grid, columns_from(items))
    assert entries_of(grid, tables) == items


def test_no_entries_make_no_table() -> None:
    grid = grid_new()
    assert tables_built(grid, columns_from([])) == []


def test_entries_out_of_order_are_refused() -> None:
    builder = TableBuilder(grid_new(), tree_id=TREE_ID, level=0, snapshot_min=1, acquire=lambda: 1)
    builder.append(columns_from([(b"b", b"")]))
    with pytest.raises(AssertionError):
        builder.append(columns_from([(b"b", b"")]))


def test_a_table_and_its_blocks_carry_where_they_belong() -> None:
    grid = grid_new()
    (info,) = tables_built(grid, columns_from([(b"a", b"1"), (b"b", None)]), level=3)
    assert (info.tree_id, info.level, info.snapshot_min) == (TREE_ID, 3, 7)
    assert (info.block_count, info.entry_count, info.key_range) == (1, 2, (b"a", b"b"))
    for reference, kind in [
        (info.reference, BlockKind.INDEX),
        (read_index(grid, info).references[0], BlockKind.VALUE),
    ]:
        header = BLOCK_HEADER.unpack(grid.read(reference, kind))
        assert (header.tree_id, header.level, header.snapshot, header.kind) == (TREE_ID, 3, 7, kind)


@pytest.mark.parametrize("find", [search, driven])
def test_every_key_is_found_and_no_other(rng: random.Random, find: Find) -> None:
    items = items_random(rng, 1500, key_size_max=4)
    model = dict(items)
    grid = grid_new()
    tables = tables_built(grid, columns_from(items))
    for info in tables:
        inside = [key for key in model if info.key_range.contains(key)]
        for key in inside:
            assert find(grid, info, key) == model[key]
        for key in (rng.randbytes(rng.randint(1, 4)) for _ in range(300)):
            expected = model.get(key, MISSING) if info.key_range.contains(key) else MISSING
            assert find(grid, info, key) == expected


def test_a_miss_reads_the_index_only(rng: random.Random) -> None:
    items: list[tuple[bytes, StoredValue]] = [(b"%04d" % i, b"v") for i in range(0, 300, 2)]
    grid = grid_new()
    info = table_built(grid, columns_from(items))
    misses = 0
    for i in range(1, 299, 2):
        steps = lookup(info, b"%04d" % i)
        next(steps)
        try:
            steps.send(read_index(grid, info))
        except StopIteration as stop:
            assert stop.value is MISSING
            misses += 1
    assert misses >= 148  # of 149; a fingerprint may match by chance


@pytest.mark.parametrize("find", [search, driven])
def test_damage_names_level_tree_and_keys(find: Find) -> None:
    grid = grid_new()
    info = table_built(grid, columns_from([(b"apple", b"1")]))
    assert isinstance(grid.storage, MemoryStorage)
    reference = read_index(grid, info).references[0]
    offset = grid.offset(reference.address)
    grid.storage.data[offset + 130] ^= 1
    with pytest.raises(DamageError, match=r"\(tree 2, level 0, keys b'apple' to b'apple'\)$") as caught:
        find(grid_reopened(grid), info, b"apple")
    assert caught.value.zone == "value" and caught.value.address == reference.address
    grid.storage.data[grid.offset(info.reference.address) + 130] ^= 1
    with pytest.raises(DamageError, match=r"\(tree 2, level 0, keys b'apple' to b'apple'\)$") as caught:
        find(grid_reopened(grid), info, b"apple")
    assert caught.value.zone == "index" and caught.value.address == info.reference.address


def test_control_characters_and_long_keys_are_not_shown_as_they_are() -> None:
    grid = grid_new()
    info = table_built(grid, columns_from([(b"\x1b[31m", b"2"), (b"pear" * 20, b"3")]))
    info.entry_count += 1
    with pytest.raises(DamageError) as caught:
        read_index(grid, info)
    assert "\x1b" not in str(caught.value) and "\n" not in str(caught.value)
    assert "…" in str(caught.value) and len(str(caught.value)) < 250


@pytest.mark.parametrize("field", ["entry_count", "block_count", "tombstone_count", "large_count", "key_max"])
def test_an_index_that_is_not_what_the_manifest_says_is_damage(field: str) -> None:
    grid = grid_new()
    info = table_built(grid, columns_from([(b"a", b"1")]))
    wrong = TableInfo(**{name: getattr(info, name) for name in TableInfo.__slots__})
    setattr(wrong, field, b"b" if field == "key_max" else getattr(info, field) + 1)
    for find in (search, driven):
        with pytest.raises(DamageError, match="not what the manifest says"):
            find(grid, wrong, b"a")
    assert search(grid, info, b"a") == b"1"  # the same cached block, with the right info


def crafted_table(grid: Grid, blocks: list[list[bytes]], last: list[bytes], counts: list[int]) -> TableInfo:
    """A table whose index block may say other last keys and counts than its value blocks have."""
    reservation = grid.reserve(len(blocks) + 1)
    references = []
    for keys in blocks:
        body = encode_value_block(keys, [b"v"] * len(keys), bytes(len(keys)), grid.block_size)
        references.append(grid.write(grid.acquire(reservation), BlockKind.VALUE, body, tree_id=TREE_ID))
    marks = b"".join(fingerprints_packed((keys * 3)[:count]) for keys, count in zip(blocks, counts, strict=True))
    body = encode_index_block(
        references_packed(references),
        counts,
        bytes(len(blocks)),
        last,
        marks,
        tombstone_count=0,
        large_count=0,
        block_size=grid.block_size,
    )
    return TableInfo(
        tree_id=TREE_ID,
        level=0,
        reference=grid.write(grid.acquire(reservation), BlockKind.INDEX, body, tree_id=TREE_ID),
        key_min=b"a",
        key_max=last[-1],
        block_count=len(blocks),
        entry_count=sum(counts),
        tombstone_count=0,
        large_count=0,
        values_size=0,
        snapshot_min=1,
    )


@pytest.mark.parametrize(
    ("blocks", "last", "counts"),
    [
        ([[b"a", b"b"], [b"c", b"d"]], [b"b", b"d"], [2, 3]),
        ([[b"a", b"b"], [b"c", b"d"]], [b"b", b"d"], [1, 2]),
        ([[b"a", b"b"], [b"b", b"d"]], [b"b", b"d"], [2, 2]),
        ([[b"a", b"b"], [b"c", b"d"]], [b"b", b"e"], [2, 2]),
        ([[b"a", b"c"], [b"c", b"d"]], [b"b", b"d"], [2, 2]),
        ([[b"0", b"b"], [b"c", b"d"]], [b"b", b"d"], [2, 2]),
        ([[b"a", b"b"], [b"d", b"c"]], [b"b", b"d"], [2, 2]),
        ([[b"a", b"b"], [b"c" * 600, b"d"]], [b"b", b"d"], [2, 2]),
    ],
    ids=[
        "more entries told",
        "fewer entries told",
        "first key in the block before",
        "other last key",
        "other last key in the middle",
        "first key below key_min",
        "keys not sorted",
        "key past the limit of this block size",
    ],
)
def test_value_blocks_that_are_not_what_the_index_says_are_damage(
    blocks: list[list[bytes]], last: list[bytes], counts: list[int]
) -> None:
    grid = grid_new()
    info = crafted_table(grid, blocks, last, counts)
    with pytest.raises(DamageError, match="tree 2, level 0"):
        entries_of(grid, [info])
    for key in (b"a", b"b", b"c", b"d"):
        for find in (search, driven):
            try:
                assert find(grid, info, key) in (b"v", MISSING)
            except DamageError as error:
                assert "tree 2, level 0" in str(error)


def test_a_crafted_table_that_does_not_lie_is_read() -> None:
    grid = grid_new()
    info = crafted_table(grid, [[b"a", b"b"], [b"c", b"d"]], [b"b", b"d"], [2, 2])
    assert entries_of(grid, [info]) == [(key, b"v") for key in (b"a", b"b", b"c", b"d")]


def test_an_index_block_always_has_room_for_five_value_blocks() -> None:
    """With the largest key in each, and with as many entries as the smallest ones make."""
    for block_size in (BLOCK_SIZE_MIN, 32 * KIB, 64 * KIB, BLOCK_SIZE_MAX):
        entry_count = block_size // value_block_size_of_entry(3, block_size)
        assert index_block_size(5, 5 * key_size_max_for(block_size), 5, block_size) <= block_size
        assert index_block_size(5, 5 * 3, 5 * entry_count, block_size) <= 2 * block_size
        assert index_block_size(1, 3, entry_count, block_size) <= block_size


def value_block_size_of_entry(key_size: int, block_size: int) -> int:
    """What one more entry with an empty value takes in a value block."""
    return value_block_size(2, 2 * key_size, 0, block_size) - value_block_size(1, key_size, 0, block_size)
