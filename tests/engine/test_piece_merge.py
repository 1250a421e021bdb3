"""Merging in pieces: the blocks that lists of entries give, whoever does the work, and however it ends."""

import gc
import os
import random
from collections.abc import Iterator
from typing import Any

import pytest

from lsmcli.engine import piece_merge
from lsmcli.engine.columns import Columns, drop_tombstones, merge
from lsmcli.engine.constants import KEY_SIZE_MAX
from lsmcli.engine.data_file import DataFile
from lsmcli.engine.entry_order import sort_order
from lsmcli.engine.entry_pack import pack_entries, pack_fingerprints, unpack_entries
from lsmcli.engine.errors import DamageError
from lsmcli.engine.forest import Forest
from lsmcli.engine.memory_runs import MemoryRuns
from lsmcli.engine.piece_merge import FEED_BLOCKS, PIECE_BLOCKS, PieceMerge
from lsmcli.engine.schema import CHAIN_REFERENCE
from lsmcli.engine.superblock import format_file
from lsmcli.engine.table import read_index
from lsmcli.engine.value_block import StoredValue
from lsmcli.engine.wal_entry import encode_entries
from tests.testing.storage import SimulatedStorage
from tests.testing.tables import columns_from, items_random, large

pytestmark = pytest.mark.skipif(not piece_merge.COMPILED, reason="not compiled here")

HEAD = 24
LARGE_SIZE = CHAIN_REFERENCE.size


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


def cut(rng: random.Random, columns: Columns) -> Iterator[tuple[bytes, int, int, int]]:
    """The columns as blocks of any size, to be fed."""
    start = 0
    while start < len(columns.keys):
        part = columns.cut(start, start + rng.randrange(1, 30))
        start += len(part.keys)
        at, width = rng.randrange(5), rng.choice((2, 4))
        yield bytes(at) + pack_entries(*part, width)[2], at, len(part.keys), width


def runs_of(rng: random.Random, columns: Columns, shared: int = 0) -> MemoryRuns:
    """The columns as a memory table has them: each entry in any of some runs, in any order."""
    count = rng.randrange(1, 20)
    parts: list[list[int]] = [[] for _ in range(count)]
    for i in range(len(columns.keys)):
        rng.choice(parts).append(i)
    runs = MemoryRuns(len(columns.keys), count)
    for part in filter(None, parts):
        rng.shuffle(part)
        keys, values = [columns.keys[i] for i in part], [columns.values[i] for i in part]
        runs.add(keys, values, bytes(columns.flags[i] for i in part), sort_order(keys)[0])
    runs.begin(shared)
    return runs


def fingerprints_of(packed: bytes, count: int, width: int) -> bytes:
    """Those of the keys in what pack_entries() gave."""
    unpacked = unpack_entries(packed, 0, count, width, 0, count, KEY_SIZE_MAX)
    assert unpacked is not None
    return pack_fingerprints(unpacked[0])


class Merging:
    """One merge of columns, its inputs fed as they are wanted, and what came out: pieces of blocks."""

    def __init__(self, rng: random.Random, *, threaded: bool, drops: bool = False) -> None:
        self.rng = random.Random(rng.randrange(1 << 30))
        self.threaded = threaded
        self.drops = drops
        self.dropped: list[bytes] = []
        self.pieces: list[list[bytes]] = []
        self.totals = (0, 0)

    def run(self, newer: Columns, older: Columns, room: int, width: int, memory: MemoryRuns | None = None) -> None:
        merging = PieceMerge(memory, room, width, HEAD, self.drops, LARGE_SIZE)
        if self.threaded:
            merging.start()
        feeds = [(merging.newer, cut(self.rng, newer)), (merging.older, cut(self.rng, older))]
        while not merging.done:
            merging.begin()
            for feed, blocks in feeds:
                while feed.has_room():
                    block = next(blocks, None)
                    if block is None:
                        feed.end()
                    else:
                        feed.put(*block)
                    merging.help()
            self.pieces.append([self.packed(block) for block in merging.collect(self.dropped)])
        self.totals = merging.entries_lost, merging.entries_dropped
        merging.stop()

    def packed(self, block: Any) -> bytes:
        body = bytes(block.buffer[block.at : block.at + block.size])
        assert body[:HEAD] == bytes(HEAD)
        assert len(body) == HEAD + 2 * (block.count + 1) * self.width_of(block) + block.count + (
            block.keys_size + block.values_size
        )
        assert block.key_first <= block.key_last
        assert block.key_first in body
        assert block.key_last in body
        assert block.fingerprints == fingerprints_of(body[HEAD:], block.count, self.width_of(block))
        return body[HEAD:]

    def width_of(self, block: Any) -> int:
        rest: int = block.size - HEAD - block.count - block.keys_size - block.values_size
        return rest // (2 * (block.count + 1))

    @property
    def blocks(self) -> list[bytes]:
        return [block for piece in self.pieces for block in piece]


@pytest.mark.parametrize("threaded", [False, True])
@pytest.mark.parametrize("from_memory", [False, True])
def test_pieces_are_the_blocks_that_lists_of_entries_give(
    rng: random.Random, from_memory: bool, threaded: bool
) -> None:
    for _ in range(80):
        newer = columns_from(items_random(rng, rng.randrange(120), key_size_max=rng.choice((1, 2, 12))))
        older = columns_from(items_random(rng, rng.randrange(400), key_size_max=rng.choice((2, 12))))
        room, width, drops = rng.randrange(200, 1500), rng.choice((2, 4)), rng.random() < 0.5
        memory = runs_of(rng, newer) if from_memory else None
        done = Merging(rng, threaded=threaded, drops=drops)
        done.run(newer, older, room, width, memory)
        columns, dropped = merge(newer, older)
        kept = drop_tombstones(columns) if drops else columns
        assert done.blocks == blocks_expected(kept, room, width)
        assert done.dropped == dropped
        lost = len(newer.keys) + len(older.keys) - len(columns.keys)
        assert done.totals == (lost, len(columns.keys) - len(kept.keys))
        assert max(map(len, done.pieces)) <= PIECE_BLOCKS


def test_a_piece_is_the_same_whoever_does_it(rng: random.Random) -> None:
    newer = columns_from(items_random(rng, 700))
    older = columns_from(items_random(rng, 3000))
    seed = rng.randrange(1 << 30)
    alone, beside = (Merging(random.Random(seed), threaded=threaded) for threaded in (False, True))
    for merging in (alone, beside):
        merging.run(newer, older, 1000, 2)
    assert alone.pieces == beside.pieces
    assert len(alone.pieces) > 20


@pytest.mark.parametrize("shared", [b"", b"all keys begin with this, or nearly so "])
def test_keys_that_are_much_alike_come_in_their_order(rng: random.Random, shared: bytes) -> None:
    heads = (b"", b"\0", b"same eight", b"same eight\0")
    tails = {rng.choice(heads) + bytes(rng.choices(b"\0\1a", k=rng.randrange(12))) for _ in range(900)}
    keys = sorted(shared + tail for tail in tails if shared + tail)
    columns = Columns(keys, [b"v%d" % i for i in range(len(keys))], bytes(len(keys)))
    merging = Merging(rng, threaded=False)
    merging.run(columns, columns_from([]), 4000, 2, runs_of(rng, columns, len(shared)))
    assert merging.blocks == blocks_expected(columns, 4000, 2)


@pytest.mark.parametrize("threaded", [False, True])
def test_any_number_of_large_values_may_lose(rng: random.Random, threaded: bool) -> None:
    """More than there is a place for in one piece."""
    items: list[tuple[bytes, StoredValue]] = [(b"%04d" % i, large(1 + i)) for i in range(1000)]
    columns = columns_from(items)
    newer = columns_from([(key, b"") for key, _ in items])
    merging = Merging(rng, threaded=threaded)
    merging.run(newer, columns, 30_000, 2)
    assert merging.blocks == blocks_expected(newer, 30_000, 2)
    assert merging.dropped == columns.values


def begun(rng: random.Random) -> PieceMerge:
    """A merge in the middle of a piece, with a second thread."""
    merging = PieceMerge(None, 20_000, 2, HEAD, False, LARGE_SIZE)
    merging.start()
    for feed in (merging.newer, merging.older):
        for _ in range(FEED_BLOCKS):
            columns = columns_from(items_random(rng, 300))
            feed.put(pack_entries(*columns, 4)[2], 0, 300, 4)
    merging.begin()
    return merging


def test_a_merge_may_end_in_the_middle_of_a_piece(rng: random.Random) -> None:
    for _ in range(20):
        begun(rng).stop()
        merging = begun(rng)
        merging.stop()
        merging.stop()
        del merging
        begun(rng)  # and is forgotten
    knot: list[Any] = [begun(rng)]
    knot.append(knot)
    del knot
    gc.collect()


def test_a_forked_child_ends_it_without_waiting(rng: random.Random) -> None:
    merging = begun(rng)
    pid = os.fork()
    if pid == 0:
        try:
            merging.collect([])
        except RuntimeError:
            merging.stop()
            del merging
            os._exit(7)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    merging.stop()


# The whole of a file.


BLOCK_SIZE = 4096


def image_new() -> bytes:
    _, head = format_file(uuid=bytes(range(16)), created_s=1, block_size=BLOCK_SIZE, growth_factor=2)
    return bytes(head)


class Writer:
    """Ops on a forest over a simulated disk, for which so many threads may work."""

    def __init__(self, cores: int) -> None:
        self.storage = SimulatedStorage(image_new())
        self.storage.cores = cores
        file = DataFile(self.storage, cache_size=1 << 20, writable=True)
        self.forest = Forest(file, memory_size=60_000, pid=1, clock_s=lambda: 0.0)
        self.forest.open(committed=False)

    def op(self, key: bytes, value: bytes | None) -> None:
        body = encode_entries([(2, key, value)])
        self.forest.prepare(len(body))
        self.forest.write([(2, key, value)], body)

    def ops(self, rng: random.Random, count: int) -> None:
        for _ in range(count):
            key = b"%d" % rng.randrange(4000)
            self.op(key, None if rng.random() < 0.1 else rng.randbytes(rng.randrange(120)))


@pytest.mark.parametrize("count", [3_000, 7_777])
def test_with_a_second_thread_the_file_has_the_same_bytes(rng: random.Random, count: int) -> None:
    """Also where it is closed in the middle of a job."""
    seed = rng.randrange(1 << 30)
    images = []
    for cores in (1, 2):
        writer = Writer(cores)
        writer.ops(random.Random(seed), count)
        images.append(bytes(writer.storage.image))
        writer.forest.close(replay_size_max=1 << 30)
        images.append(bytes(writer.storage.image))
    assert images[:2] == images[2:]


def test_a_damaged_block_ends_the_job_with_a_second_thread_too(rng: random.Random) -> None:
    writer = Writer(2)
    writer.ops(rng, 3_000)
    writer.forest.flush()
    grid = writer.forest.file.grid
    info = next(info for info in writer.forest.trees[2].manifest.tables() if info.block_count > 10)
    address = read_index(grid, info).references[9].address
    raw = bytearray(writer.storage.image[grid.offset(address) : grid.offset(address + 1)])
    raw[200] ^= 1
    writer.storage.image[grid.offset(address) : grid.offset(address + 1)] = raw
    grid.cache.clear()
    with pytest.raises(DamageError):
        for _ in range(20):
            writer.ops(rng, 1_000)
    assert isinstance(writer.forest.compaction_error, DamageError)
