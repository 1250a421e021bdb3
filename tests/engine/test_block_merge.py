"""Merging packed entries: the same blocks as merging lists of entries, and no byte of a bad block is believed."""

import random
from types import ModuleType
from typing import Any

import pytest

from lsmcli.engine.columns import Columns, drop_tombstones, merge
from lsmcli.engine.entry_pack import fingerprints_of_packed, pack_entries, pack_fingerprints
from lsmcli.engine.schema import CHAIN_REFERENCE, FLAG_LARGE
from tests.testing.tables import columns_from, items_random
from tests.testing.twins import compiled, interpreted, twins

MODULE = "lsmcli.engine.block_merge"
LARGE_SIZE = CHAIN_REFERENCE.size

fast = compiled(MODULE)
compiled_only = pytest.mark.skipif(fast is None, reason="not compiled here")


def run(loops: ModuleType, columns: Columns, width: int = 2) -> Any:
    _, _, packed = pack_entries(*columns, width)
    return loops.run_of(packed, 0, len(columns.keys), width, 4096, LARGE_SIZE)


def blocks_expected(columns: Columns, room: int, width: int) -> list[bytes]:
    """The columns as blocks of which each is as full as the next entry allows, packed."""
    blocks, start, used = [], 0, 0
    for i, (key, value) in enumerate(zip(columns.keys, columns.values, strict=True)):
        size = len(key) + len(value) + 2 * width + 1
        if used + size > room:
            blocks.append(pack_entries(*columns.cut(start, i), width)[2])
            start, used = i, 0
        used += size
    if columns.keys:
        blocks.append(pack_entries(*columns.cut(start), width)[2])
    return blocks


def runs_of(rng: random.Random, columns: Columns) -> list[Any]:
    """The columns as a stream of runs of any size."""
    runs, start = [], 0
    while start < len(columns.keys):
        stop = start + rng.randrange(1, 30)
        runs.append(run(fast, columns.cut(start, stop), rng.choice((2, 4))))  # type: ignore[arg-type]
        start = stop
    return runs


def blocks_merged(stage: Any, newer: list[Any], older: list[Any], dropped: list[bytes]) -> list[bytes]:
    """What a merge of two streams leaves, block by block."""
    assert fast is not None
    blocks = []
    newer, older = newer[::-1], older[::-1]
    while newer or older:
        stopped = stage.merge(newer[-1] if newer else None, older[-1] if older else None, dropped)
        if stopped == fast.FULL:
            blocks.append(bytes(stage.take(0)))
        if stopped & fast.NEWER_USED:
            newer.pop()
        if stopped & fast.OLDER_USED:
            older.pop()
    if stage.figures()[0]:
        blocks.append(bytes(stage.take(0)))
    return blocks


@compiled_only
@pytest.mark.parametrize("drops", [False, True])
@pytest.mark.parametrize("width", [2, 4])
def test_packed_entries_merge_into_the_blocks_that_lists_of_entries_give(
    rng: random.Random, width: int, drops: bool
) -> None:
    assert fast is not None
    for _ in range(60):
        newer = columns_from(items_random(rng, rng.randrange(120), key_size_max=rng.choice((1, 2, 12))))
        older = columns_from(items_random(rng, rng.randrange(120), key_size_max=rng.choice((1, 2, 12))))
        stage = fast.BlockStage(room := rng.randrange(200, 1500), width, drops)
        dropped: list[bytes] = []
        blocks = blocks_merged(stage, runs_of(rng, newer), runs_of(rng, older), dropped)
        columns, dropped_expected = merge(newer, older)
        kept = drop_tombstones(columns) if drops else columns
        assert blocks == blocks_expected(kept, room, width)
        assert dropped == dropped_expected
        lost = len(newer.keys) + len(older.keys) - len(columns.keys)
        assert stage.totals() == (lost, len(columns.keys) - len(kept.keys))


@compiled_only
def test_a_stage_tells_what_is_in_it(rng: random.Random) -> None:
    assert fast is not None
    columns = columns_from(items_random(rng, 40))
    stage = fast.BlockStage(1 << 20, 4, False)
    assert stage.merge(None, run(fast, columns), []) == fast.OLDER_USED
    assert stage.figures() == (
        40, columns.flags.count(1), columns.flags.count(2), len(b"".join(columns.keys)), len(b"".join(columns.values)),
    )  # fmt: skip
    assert stage.edges() == (columns.keys[0], columns.keys[-1])
    body = stage.take(24)
    assert body[:24] == bytes(24)
    assert bytes(body[24:]) == pack_entries(*columns, 4)[2]
    assert fingerprints_of_packed(body, 24, 40, 4) == pack_fingerprints(columns.keys)
    assert stage.figures() == (0, 0, 0, 0, 0)


@compiled_only
def test_a_heap_of_runs_gives_all_entries_in_order(rng: random.Random) -> None:
    assert fast is not None
    for _ in range(60):
        start = b"shared" if rng.random() < 0.5 else b""
        items = [(start + key, value) for key, value in items_random(rng, rng.randrange(1, 300))]
        columns = columns_from(items)
        parts: list[list[Any]] = [[] for _ in range(rng.randrange(1, 20))]
        for item in items:
            rng.choice(parts).append(item)
        heap = fast.RunHeap([run(fast, columns_from(part)) for part in parts if part], len(start))
        stage = fast.BlockStage(room := rng.randrange(200, 1500), 2, False)
        blocks, more = [], True
        while more:
            while (more := heap.fill(stage, entries_max := stage.figures()[0] + 7)) and stage.figures()[
                0
            ] == entries_max:
                pass
            blocks.append(bytes(stage.take(0)))
        assert blocks == blocks_expected(columns, room, 2)


@compiled_only
def test_sound_columns_are_a_run_and_no_others(rng: random.Random) -> None:
    assert fast is not None
    columns = columns_from(items_random(rng, 20))
    _, _, packed = pack_entries(*columns, 2)
    sound = fast.run_of(packed, 0, 20, 2, 4096, LARGE_SIZE)
    assert sound.figures() == (20, columns.flags.count(1), columns.flags.count(FLAG_LARGE))
    assert sound.edges() == (columns.keys[0], columns.keys[-1])
    assert fast.run_of(packed + b"x", 0, 20, 2, 4096, LARGE_SIZE) is None
    assert fast.run_of(packed[:-1], 0, 20, 2, 4096, LARGE_SIZE) is None
    assert fast.run_of(packed, 0, 1 << 40, 2, 4096, LARGE_SIZE) is None
    assert fast.run_of(packed, 0, 20, 2, max(map(len, columns.keys)) - 1, LARGE_SIZE) is None
    assert fast.run_of(packed, 0, 20, 2, 4096, LARGE_SIZE + 1) is None or not columns.flags.count(FLAG_LARGE)
    swapped = Columns([b"b", b"a"], [b"", b""], b"\0\0")
    assert run(fast, swapped) is None
    assert run(fast, Columns([b""], [b""], b"\0")) is None
    assert run(fast, Columns([b"a"], [b"1"], b"\1")) is None, "a tombstone with a value"
    assert run(fast, Columns([b"a"], [b"1"], b"\3")) is None, "unknown flags"


@compiled_only
def test_no_bytes_make_a_run_read_outside_of_them(rng: random.Random) -> None:
    """What is accepted merges to what the lists of the same bytes say; most of it is refused."""
    assert fast is not None
    columns = columns_from([(b"a%d" % i, b"v" * i) for i in range(8)])
    _, _, packed = pack_entries(*columns, 2)
    refused = 0
    for _ in range(3_000):
        bad = bytearray(packed)
        for _ in range(rng.randrange(1, 4)):
            bad[rng.randrange(len(bad))] = rng.choice((0, 1, 2, 255, rng.randrange(256)))
        found = fast.run_of(bytes(bad), 0, 8, 2, 4096, LARGE_SIZE)
        if found is None:
            refused += 1
            continue
        stage = fast.BlockStage(4096, 2, False)
        assert stage.merge(found, None, []) == fast.NEWER_USED
        assert stage.figures()[0] == 8
        assert bytes(stage.take(0)) == bytes(bad)
    assert 0 < refused < 3_000


def test_interpreted_there_are_no_runs(rng: random.Random) -> None:
    assert run(interpreted(MODULE), columns_from(items_random(rng, 20))) is None


@pytest.mark.parametrize("loops", twins("lsmcli.engine.entry_pack"))
def test_fingerprints_of_packed_keys_are_those_of_the_keys(rng: random.Random, loops: ModuleType) -> None:
    for width in (2, 4):
        keys = sorted({rng.randbytes(rng.randrange(1, 40)) for _ in range(50)})
        packed = bytearray(b"head" + pack_entries(keys, [b"v"] * len(keys), bytes(len(keys)), width)[2])
        assert loops.fingerprints_of_packed(packed, 4, len(keys), width) == pack_fingerprints(keys)
