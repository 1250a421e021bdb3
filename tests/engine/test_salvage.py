"""Salvage against the model: nothing kept is wrong, and what is missing lies in a place that was reported.

Files are made by seeded operations on the simulated disk; damage is a block of zeros, or a few.
"""

import random
import struct
from collections.abc import Iterator
from functools import cache

import pytest

from lsmcli.engine import superblock as superblock_zone
from lsmcli.engine.block_cache import BlockCache
from lsmcli.engine.checksum import checksum
from lsmcli.engine.compaction import table_addresses
from lsmcli.engine.constants import (
    GRID_OFFSET,
    SUPERBLOCK_COPIES,
    SUPERBLOCK_COPY_SIZE,
    TREE_ID_CATALOG,
    superblock_copy_offset,
)
from lsmcli.engine.data_file import DataFile
from lsmcli.engine.errors import FileError, FormatError, LsmError, ReadOnlyError, SnapshotTooOldError
from lsmcli.engine.free_set import FreeSet
from lsmcli.engine.grid import HEADER_SIZE, Grid, block_count_of
from lsmcli.engine.salvage import salvage
from lsmcli.engine.salvage_log import Found, chains_of
from lsmcli.engine.salvage_merge import key_before
from lsmcli.engine.salvage_report import SalvageReport
from lsmcli.engine.salvage_survey import TolerantStorage, find_root
from lsmcli.engine.schema import BLOCK_HEADER, CHECKSUM_SIZE, BlockKind, Superblock, WalRecordHeader
from tests.testing.model import MAIN, Model, Trees
from tests.testing.operations import (
    BLOCK_SIZE,
    Draw,
    Operation,
    Profile,
    Run,
    contents,
    draw_profile,
    new_storage,
    open_database_on,
)
from tests.testing.storage import SimulatedStorage

WEIGHTS = {"put": 40, "remove": 15, "batch": 8, "checkpoint": 1, "create_tree": 1, "drop_tree": 0.3, "reopen": 1}


class Outcome:
    """A salvaged file: the report, and what the new file holds."""

    def __init__(self, report: SalvageReport, storage: SimulatedStorage, profile: Profile) -> None:
        self.report = report
        with open_database_on(storage.reopen(), profile) as database:
            self.scope = database.scope_status()
            self.trees = contents(database)
            if self.scope is not None:
                database.scope_discard()
            self.committed = contents(database)


def salvaged(image: bytes | bytearray, *, include_stale: bool = False) -> Outcome:
    """Salvages an image into a new file."""
    profile = draw_profile(random.Random(1), memory_size=1 << 16, growth_factor=2, cache_size=0)
    out = new_storage(profile)
    source = SimulatedStorage(image, writable=False)
    report = salvage(source, lambda *_: open_database_on(out, profile), include_stale=include_stale)
    assert source.image == image
    return Outcome(report, out, profile)


@cache
def made(
    seed: int, steps: int = 300, *, large_share: float = 0.02, scopes: bool = False, killed: bool = False
) -> tuple[bytes, Model]:
    """A file after random operations, closed or as a killed writer leaves it, and its model."""
    rng = random.Random(seed)
    weights = WEIGHTS | dict.fromkeys(("begin_durable", "begin_bound", "persist", "discard"), 1 if scopes else 0)
    profile = draw_profile(
        rng, memory_size=6000, growth_factor=2, value_size_max=200, weights=weights, large_share=large_share
    )
    model = Model()
    run = Run(new_storage(profile), profile, model)
    draw = Draw(rng, profile, model)
    for _ in range(steps):
        run.do(draw.operation())
    if not killed:
        run.close()
    return bytes(run.storage.image), model


def blocks(image: bytes, kind: BlockKind) -> list[int]:
    """Addresses at which a block of a kind stands, live or not."""
    return [
        (offset - GRID_OFFSET) // BLOCK_SIZE + 1
        for offset in range(GRID_OFFSET, len(image) - BLOCK_SIZE + 1, BLOCK_SIZE)
        if BLOCK_HEADER.unpack(image, offset).kind == kind
    ]


def live_tables(image: bytes) -> Iterator[list[int]]:
    """The blocks of each live table, its index block last; the catalog's are left out."""
    file = DataFile(SimulatedStorage(image), cache_size=0, writable=False)
    for info in file.tables():
        if info.block_count and info.tree_id != TREE_ID_CATALOG:
            yield table_addresses(file.grid, info)


def without(image: bytes | bytearray, addresses: list[int]) -> bytearray:
    """The image with zeros at these blocks."""
    damaged = bytearray(image)
    for address in addresses:
        at = GRID_OFFSET + (address - 1) * BLOCK_SIZE
        damaged[at : at + BLOCK_SIZE] = bytes(BLOCK_SIZE)
    return damaged


def without_superblock(image: bytes | bytearray, copies: range = range(SUPERBLOCK_COPIES)) -> bytearray:
    damaged = bytearray(image)
    for copy in copies:
        at = superblock_copy_offset(copy)
        damaged[at : at + SUPERBLOCK_COPY_SIZE] = bytes(SUPERBLOCK_COPY_SIZE)
    return damaged


def assert_nothing_wrong(outcome: Outcome, trees: Trees) -> None:
    """Every entry kept is the model's; every entry missing is in a place that the report names."""
    report = outcome.report
    for name, tree in outcome.committed.items():
        assert tree.items() <= trees[name].items(), name
    missing = [(name, key) for name, tree in trees.items() for key in set(tree) - set(outcome.committed.get(name, ()))]
    for name, key in missing:
        ranges = [loss for loss in report.losses if loss.tree == name and loss.key_min is not None]
        assert any(loss.key_min <= key <= loss.key_max for loss in ranges), (name, key)  # type: ignore[operator]
    assert len(missing) <= report.lost + report.withheld
    assert report.kept == sum(map(len, outcome.committed.values()))
    if missing:
        assert not report.complete


@pytest.mark.parametrize("number", range(5))
def test_of_a_whole_file_everything_is_kept(seed: int, number: int) -> None:
    image, model = made(seed + number, scopes=True)
    state = model.state
    outcome = salvaged(image)
    assert outcome.report.complete
    assert outcome.trees == state.trees
    assert outcome.committed == state.committed
    assert (outcome.scope is not None) == (state.before is not None)
    if state.before is not None:
        assert outcome.report.scope_changes is not None


@pytest.mark.parametrize("number", range(6))
def test_of_a_killed_writer_everything_acknowledged_is_kept(seed: int, number: int) -> None:
    image, model = made(seed + number, scopes=True, killed=True)
    state = model.state.surviving
    for outcome in (salvaged(image), salvaged(without_superblock(image, range(1, 6)))):
        assert outcome.trees == state.trees
        assert outcome.committed == state.committed
        assert (outcome.scope is not None) == (state.before is not None)


@pytest.mark.parametrize("end", ["persist", "discard", "killed"])
@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize("spilled", [False, True])
def test_a_scope_that_ends_in_the_log_has_ended(end: str, durable: bool, spilled: bool) -> None:
    profile = draw_profile(random.Random(1), memory_size=6000 if spilled else 1 << 20, growth_factor=2, cache_size=0)
    run = Run(new_storage(profile), profile, Model())
    run.do(Operation("batch", (MAIN, [(b"%03d" % i, b"old" * 9) for i in range(60)])))
    run.do(Operation("begin_durable" if durable else "begin_bound"))
    for i in range(0, 200 if spilled else 20, 2):
        run.do(Operation("put", (MAIN, [(b"%03d" % i, b"new" * 20), (b"%03d" % (i + 1), None)])))
    if end != "killed":
        run.do(Operation(end))
        run.do(Operation("put", (MAIN, [(b"000", b"newest"), (b"002", None)])))
    state = run.model.state.surviving
    outcome = salvaged(run.storage.image)
    assert outcome.report.complete
    assert outcome.trees == state.trees
    assert outcome.committed == state.committed


@pytest.mark.parametrize("spilled", [False, True])
def test_an_open_scope_stays_open(spilled: bool) -> None:
    rng = random.Random(1)
    profile = draw_profile(rng, memory_size=6000 if spilled else 1 << 20, growth_factor=2, cache_size=0)
    model = Model()
    run = Run(new_storage(profile), profile, model)
    run.do(Operation("create_tree", ("apple",)))
    run.do(Operation("batch", (MAIN, [(b"%03d" % i, b"old" * 9) for i in range(100)])))
    run.do(Operation("begin_durable"))
    run.do(Operation("create_tree", ("berry",)))
    run.do(Operation("put", ("berry", [(b"a", bytes(9000))])))
    run.do(Operation("drop_tree", ("apple",)))
    for i in range(0, 300 if spilled else 20, 2):
        run.do(Operation("put", (MAIN, [(b"%03d" % i, b"new" * 20), (b"%03d" % (i + 1), None)])))
    assert run.database.forest.scope is not None
    assert run.database.forest.scope.spilled == spilled
    run.close()
    outcome = salvaged(run.storage.image)
    assert outcome.report.complete
    assert outcome.scope is not None
    assert outcome.trees == model.state.trees
    assert outcome.committed == model.state.committed


@pytest.mark.parametrize("number", range(3))
def test_a_lost_value_block_costs_its_own_entries(seed: int, number: int) -> None:
    image, model = made(seed + number, large_share=0.0)
    for addresses in live_tables(image):
        for address in addresses[:-1]:
            outcome = salvaged(without(image, [address]))
            if outcome.report.complete:  # a table of a tree that was dropped, and that no checkpoint has released yet
                assert outcome.trees == model.trees
            else:
                assert address in [loss.address for loss in outcome.report.losses]
                assert_nothing_wrong(outcome, model.trees)


@pytest.mark.parametrize("number", range(3))
def test_a_lost_index_block_costs_nothing(seed: int, number: int) -> None:
    image, model = made(seed + number)
    tables = list(live_tables(image))
    assert tables
    for addresses in tables:
        outcome = salvaged(without(image, addresses[-1:]))
        assert outcome.report.complete
        assert outcome.trees == model.trees
    every = salvaged(without(image, [addresses[-1] for addresses in tables]))
    assert every.report.complete
    assert every.trees == model.trees


def test_a_table_without_index_and_a_value_block_keeps_the_others(seed: int) -> None:
    image, model = made(seed, steps=600, large_share=0.0)
    for addresses in live_tables(image):
        outcome = salvaged(without(image, [addresses[0], addresses[-1]]))
        assert_nothing_wrong(outcome, model.trees)


@pytest.mark.parametrize("kind", [BlockKind.MANIFEST, BlockKind.FREE_SET])
def test_one_copy_of_what_has_two_costs_nothing(seed: int, kind: BlockKind) -> None:
    image, model = made(seed)
    for address in blocks(image, kind):
        outcome = salvaged(without(image, [address]))
        assert outcome.report.complete
        assert outcome.trees == model.trees


def test_copies_of_the_superblock_cost_nothing_while_two_are_left(seed: int) -> None:
    image, model = made(seed)
    for copies in (range(1), range(3), range(2, 6)):
        outcome = salvaged(without_superblock(image, copies))
        assert outcome.report.complete
        assert outcome.trees == model.trees


@pytest.mark.parametrize("number", range(4))
def test_without_any_superblock_everything_is_found(seed: int, number: int) -> None:
    image, model = made(seed + number)
    for copies, root in ((range(1, 6), "single copy"), (range(6), "none")):
        outcome = salvaged(without_superblock(image, copies))
        assert outcome.report.root == root
        assert not outcome.report.complete, "nobody can know that it is the newest"
        assert outcome.trees == model.trees


@pytest.mark.parametrize("number", range(4))
def test_without_a_manifest_every_key_is_found(seed: int, number: int) -> None:
    image, model = made(seed + number, large_share=0.0)
    lost = blocks(image, BlockKind.MANIFEST)
    for damaged in (without(image, lost), without_superblock(without(image, lost))):
        outcome = salvaged(damaged)
        if lost:
            assert outcome.report.manifest == "damaged"
            assert not outcome.report.complete
        for name, tree in model.trees.items():
            found = outcome.trees.get(name, {})
            assert set(tree) <= set(found)
            if not outcome.report.guessed:
                assert found == tree


@pytest.mark.parametrize("number", range(4))
def test_without_superblock_and_free_set_every_key_is_found(seed: int, number: int) -> None:
    image, model = made(seed + number)
    outcome = salvaged(without_superblock(without(image, blocks(image, BlockKind.FREE_SET))))
    tree = outcome.trees[MAIN]
    written = {pair for state in model.history for pair in state.trees[MAIN].items()}
    assert set(model.trees[MAIN]) <= set(tree)
    assert tree.items() <= written


def test_nothing_but_tables_is_still_a_file(seed: int) -> None:
    image, model = made(seed, large_share=0.0)
    kinds = (BlockKind.MANIFEST, BlockKind.FREE_SET)
    damaged = without_superblock(without(image, [address for kind in kinds for address in blocks(image, kind)]))
    outcome = salvaged(damaged)
    written = {pair for state in model.history for pair in state.trees[MAIN].items()}
    assert outcome.trees[MAIN].items() <= written
    assert len(outcome.trees[MAIN]) >= len(model.trees[MAIN]) // 2
    assert outcome.report.notes
    assert not outcome.report.complete


def test_a_large_value_is_whole_or_lost() -> None:
    profile = draw_profile(random.Random(3), memory_size=1 << 16, growth_factor=2, cache_size=0)
    run = Run(new_storage(profile), profile, Model())
    values = {b"%d" % i: bytes([i]) * (BLOCK_SIZE * 3) for i in range(5)}
    run.do(Operation("batch", (MAIN, list(values.items()))))
    run.do(Operation("checkpoint"))
    run.close()
    for address in blocks(bytes(run.storage.image), BlockKind.LARGE):
        outcome = salvaged(without(bytes(run.storage.image), [address]))
        (loss,) = outcome.report.losses
        assert loss.key_min is not None
        assert (loss.zone, loss.entries) == ("large value", 1)
        assert outcome.trees[MAIN] == {key: value for key, value in values.items() if key != loss.key_min}


@pytest.mark.parametrize("number", range(24))
def test_whatever_is_lost_nothing_kept_is_wrong(seed: int, number: int) -> None:
    """Several blocks at once, of any kind but the manifest."""
    image, model = made(seed + number % 4)
    rng = random.Random(f"{seed}/{number}")
    spared = set(blocks(image, BlockKind.MANIFEST))
    every = [address for address in range(1, block_count_of(len(image), BLOCK_SIZE) + 1) if address not in spared]
    damaged = without(image, rng.sample(every, min(len(every), rng.choice((1, 2, 4, 10, 40)))))
    outcome = salvaged(damaged, include_stale=False)
    for name, tree in outcome.trees.items():
        if name in model.trees:
            assert tree.items() <= model.trees[name].items()
    missing = sum(len(tree) for tree in model.trees.values()) - outcome.report.kept
    assert missing <= 0 or not outcome.report.complete


def stale_file() -> tuple[bytes, dict[bytes, bytes], dict[bytes, bytes]]:
    """Old values of all keys in one level, newer ones of some above them: the image, both states."""
    profile = draw_profile(random.Random(3), memory_size=1 << 20, growth_factor=2, cache_size=0)
    run = Run(new_storage(profile), profile, Model())
    old = {b"%04d" % i: b"old %d" % i for i in range(1000)}
    new = dict.fromkeys(list(old)[100:160], b"new")
    run.do(Operation("batch", (MAIN, list(old.items()))))
    run.do(Operation("compact"))
    run.do(Operation("batch", (MAIN, list(new.items()))))
    run.do(Operation("checkpoint"))
    run.close()
    return bytes(run.storage.image), old, new


def test_what_a_lost_entry_may_have_replaced_is_withheld_unless_asked_for() -> None:
    image, old, new = stale_file()
    tables = sorted(live_tables(image), key=len)
    upper = next(addresses for addresses in tables if len(addresses) == 2)
    assert len(tables) > 1
    kept = salvaged(without(image, upper[:1]))
    assert kept.report.withheld >= len(new)
    assert kept.report.withheld < len(new) + 10, "fingerprints tell which keys were in the block"
    assert kept.trees[MAIN].items() <= {key: value for key, value in old.items() if key not in new}.items()
    stale = salvaged(without(image, upper[:1]), include_stale=True)
    assert stale.trees[MAIN] == old
    assert not stale.report.complete


def test_stale_blocks_fill_only_what_is_lost() -> None:
    """The versions before a merge are still in free blocks: they come back for lost keys, and for no other."""
    profile = draw_profile(random.Random(3), memory_size=1 << 20, growth_factor=2, cache_size=0)
    run = Run(new_storage(profile), profile, Model())
    entries = {b"%04d" % i: b"value %d" % i for i in range(600)}
    run.do(Operation("batch", (MAIN, [*entries.items(), (b"9 gone", b"deleted later")])))
    run.do(Operation("checkpoint"))
    run.do(Operation("put", (MAIN, [(b"9 gone", None), (b"0000", b"newer")])))
    run.do(Operation("checkpoint"))
    run.close()
    image = bytes(run.storage.image)
    (table,) = live_tables(image)
    assert len(blocks(image, BlockKind.VALUE)) > len(table) - 1
    lost = without(image, table[:1])
    assert len(salvaged(lost).trees[MAIN]) < 600
    stale = salvaged(lost, include_stale=True).trees[MAIN]
    assert b"9 gone" not in stale
    assert stale == entries | {b"0000": stale[b"0000"]}


def test_a_hole_in_the_log_is_named_and_the_ops_behind_it_count() -> None:
    profile = draw_profile(random.Random(3), memory_size=1 << 20, growth_factor=2, cache_size=0)
    run = Run(new_storage(profile), profile, Model())
    for i in range(20):
        run.do(Operation("put", (MAIN, [(b"key %d" % i, b"here is value %d." % i)])))
    run.do(Operation("sync"))
    run.close()
    image = bytearray(run.storage.image)
    at = image.index(b"here is value 7.")
    image[at] ^= 1
    outcome = salvaged(image)
    (loss,) = outcome.report.losses
    assert loss.zone == "wal"
    assert "op 8 of the log" in loss.message
    assert set(run.model.trees[MAIN]) - set(outcome.trees[MAIN]) == {b"key 7"}
    assert not outcome.report.complete


def log_with_a_hole() -> tuple[bytearray, Model]:
    """Twenty puts in the log, of which the eighth is damaged, over a table with the first."""
    profile = draw_profile(random.Random(3), memory_size=1 << 20, growth_factor=2, cache_size=0)
    run = Run(new_storage(profile), profile, Model())
    run.do(Operation("put", (MAIN, [(b"key 0", b"in a table")])))
    run.do(Operation("checkpoint"))
    for i in range(1, 20):
        run.do(Operation("put", (MAIN, [(b"key %d" % i, b"here is value %d." % i)])))
    run.close()
    image = bytearray(run.storage.image)
    image[image.index(b"here is value 7.")] ^= 1
    return image, run.model


def test_without_a_root_ops_newer_than_all_tables_count_on_both_sides_of_a_hole() -> None:
    image, model = log_with_a_hole()
    outcome = salvaged(without_superblock(image))
    assert set(model.trees[MAIN]) - set(outcome.trees[MAIN]) == {b"key 7"}
    assert "op 8 of the log" in next(loss for loss in outcome.report.losses if loss.zone == "wal").message


def test_a_lost_end_of_the_log_is_named() -> None:
    image, model = log_with_a_hole()
    at = image.index(b"here is value 8.")
    image[at : at + 4096] = bytes(4096)  # the closing mark goes too, but the superblock or a record knows better
    outcome = salvaged(image)
    assert outcome.trees[MAIN].items() <= model.trees[MAIN].items()
    assert set(outcome.trees[MAIN]) == {b"key %d" % i for i in range(7)}


def test_chains_are_told_apart() -> None:
    def record(op: int, own: bytes, previous: bytes) -> Found:
        return Found(WalRecordHeader(own, previous, b"", op, 0, 0, 0, 1, 0, 0), 0)

    records = [record(3, b"c", b"b"), record(9, b"z", b"y"), record(2, b"b", b"a"), record(12, b"q", b"z")]
    chains = [[found.header.op for found in chain] for chain in chains_of(records)]
    assert chains == [[9], [2, 3]]
    loop = [record(1, b"a", b"b"), record(2, b"b", b"a")]
    assert chains_of(loop) == []


def test_a_log_alone_is_enough() -> None:
    profile = draw_profile(random.Random(3), memory_size=1 << 20, growth_factor=2, cache_size=0)
    run = Run(new_storage(profile), profile, Model())
    run.do(Operation("create_tree", ("apple",)))
    run.do(Operation("batch", ("apple", [(b"%d" % i, b"value") for i in range(50)])))
    run.close()
    assert salvaged(without_superblock(run.storage.image)).trees == run.model.trees


def test_a_log_in_the_grid_of_a_killed_writer_is_found() -> None:
    profile = draw_profile(random.Random(3), memory_size=1 << 20, growth_factor=2, cache_size=0)
    run = Run(new_storage(profile), profile, Model())
    for i in range(2500):
        run.do(Operation("put", (MAIN, [(b"%04d" % i, b"value" * 60)])))
    assert run.database.forest.file.wal.offset >= GRID_OFFSET
    outcome = salvaged(without_superblock(run.storage.image))
    assert outcome.trees == run.model.trees


def test_sectors_that_cannot_be_read_are_lost_and_no_more(seed: int) -> None:
    image, model = made(seed, large_share=0.0)
    table = next(live_tables(image))
    offset = GRID_OFFSET + (table[0] - 1) * BLOCK_SIZE
    bad = [0, offset]  # a copy of the superblock, and a value block
    source = SimulatedStorage(image, writable=False)

    def refuse(_: int, kind: str, at: int, size: int) -> None:
        if kind == "read" and any(at <= place < at + size for place in bad):
            raise FileError("simulated")

    source.hook = refuse
    profile = draw_profile(random.Random(1), memory_size=1 << 16, growth_factor=2, cache_size=0)
    out = new_storage(profile)
    report = salvage(source, lambda *_: open_database_on(out, profile))
    assert "the disk refuses to read some sectors" in report.notes[-1]
    assert_nothing_wrong(Outcome(report, out, profile), model.trees)
    with pytest.raises(ReadOnlyError):
        TolerantStorage(source).write(0, b"x")


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_of_a_file_that_was_cut_short_the_rest_is_kept(seed: int, share: float) -> None:
    image, model = made(seed, large_share=0.0)
    outcome = salvaged(image[: GRID_OFFSET + int(share * (len(image) - GRID_OFFSET))])
    assert outcome.report.root == "agreed"
    kept = outcome.trees[MAIN]
    assert kept.items() <= model.trees[MAIN].items()
    assert len(kept) == len(model.trees[MAIN]) or not outcome.report.complete


def test_a_tree_whose_name_is_lost_is_called_by_its_number(seed: int) -> None:
    profile = draw_profile(random.Random(3), memory_size=1 << 20, growth_factor=2, cache_size=0)
    run = Run(new_storage(profile), profile, Model())
    run.do(Operation("create_tree", ("apple",)))
    run.do(Operation("batch", ("apple", [(b"%d" % i, b"value") for i in range(50)])))
    run.do(Operation("checkpoint"))
    run.close()
    image = bytes(run.storage.image)
    catalog = [
        address
        for address in blocks(image, BlockKind.VALUE)
        if BLOCK_HEADER.unpack(image, GRID_OFFSET + (address - 1) * BLOCK_SIZE).tree_id == 1
    ]
    outcome = salvaged(without(image, catalog))
    assert outcome.trees == {MAIN: {}, "tree-3": run.model.trees["apple"]}
    assert not outcome.report.complete


@pytest.mark.parametrize("block_size", [4096, 8192, 32768, 524288])
def test_the_block_size_is_found_by_probing(block_size: int) -> None:
    image = bytearray(GRID_OFFSET + 12 * block_size)
    storage = SimulatedStorage(image)
    grid = Grid(storage, uuid=b"u" * 16, block_size=block_size, block_count=12, cache=BlockCache(0))
    grid.attach_free_set(FreeSet(12))
    reservation = grid.reserve(12)
    addresses = [grid.acquire(reservation) for _ in range(12)]
    for address in addresses[5:]:
        grid.write(address, BlockKind.VALUE, b"body")
    root = find_root(storage)
    assert (root.uuid, root.block_size, root.superblocks) == (b"u" * 16, block_size, [])


@pytest.mark.parametrize("image", [b"", b"text\n" * 1000, bytes(1 << 20), b"\xff" * (1 << 20)], ids=len)
def test_what_is_no_data_file_is_refused(image: bytes) -> None:
    with pytest.raises(FormatError, match="nothing that this program wrote"):
        salvaged(image)


@pytest.mark.parametrize("number", range(18))
def test_rubbish_ends_in_a_report_or_a_typed_error(seed: int, number: int) -> None:
    image, _ = made(seed + number % 3)
    rng = random.Random(f"{seed}/rubbish {number}")
    damaged = bytearray(image)
    for _ in range(rng.choice((1, 10, 300))):
        at = rng.randrange(len(damaged))
        damaged[at : at + 64] = rng.randbytes(min(64, len(damaged) - at))
    if number % 4 == 0:
        del damaged[rng.randrange(len(damaged)) :]
    try:
        salvaged(damaged)
    except LsmError:
        pass


def forged(rng: random.Random, image: bytes | bytearray, address: int) -> bytearray:
    """The image with a block that was altered by someone who knows how checksums are made."""
    forgery = bytearray(image)
    at = GRID_OFFSET + (address - 1) * BLOCK_SIZE
    header = BLOCK_HEADER.unpack(forgery, at)
    if not HEADER_SIZE <= header.size <= BLOCK_SIZE:
        return forgery
    for _ in range(rng.choice((1, 3, 20))):
        # The columns of counts and offsets stand first.
        place = rng.randrange(HEADER_SIZE, min(header.size, HEADER_SIZE + rng.choice((24, 200, BLOCK_SIZE))))
        forgery[at + place] = rng.choice((0, 1, 0x7F, 0xFF, rng.randrange(256)))
    if rng.random() < 0.3:
        header = header._replace(
            tree_id=rng.randrange(6), level=rng.choice((0, 3, 255)), snapshot=rng.choice((0, 1 << 63))
        )
    header = header._replace(checksum_body=checksum(forgery[at + HEADER_SIZE : at + header.size]))
    packed = BLOCK_HEADER.pack(header)[CHECKSUM_SIZE:]
    forgery[at : at + HEADER_SIZE] = checksum(packed) + packed
    return forgery


@pytest.mark.parametrize("number", range(30))
def test_forged_blocks_do_no_harm(seed: int, number: int) -> None:
    """Without a root and a manifest every block is taken at its word: a report or a typed error, and soon."""
    image, _ = made(seed + number % 3)
    rng = random.Random(f"{seed}/forged {number}")
    every = range(1, block_count_of(len(image), BLOCK_SIZE) + 1)
    forgery: bytes | bytearray = image
    for address in rng.sample(every, min(len(every), 30)):
        forgery = forged(rng, forgery, address)
    forgery = without_superblock(forgery)
    if number % 2:
        forgery = without(forgery, blocks(bytes(forgery), BlockKind.MANIFEST))
    try:
        salvaged(forgery, include_stale=number % 3 == 0)
    except LsmError:
        pass


@pytest.mark.parametrize("number", range(20))
def test_a_forged_root_does_no_harm(seed: int, number: int) -> None:
    image, _ = made(seed + number % 3)
    rng = random.Random(f"{seed}/root {number}")
    root = superblock_zone.read(SimulatedStorage(image)).superblock
    fields = [name for name, value in root._asdict().items() if isinstance(value, int)]
    for name in rng.sample(fields, rng.choice((1, 2, 5))):
        try:
            changed = Superblock(**root._asdict() | {name: rng.choice((0, 1, 2, 1 << 31, getattr(root, name) + 1))})
            superblock_zone.encode_copy(changed, 0)
        except struct.error:
            continue
        root = changed
    forgery = bytearray(image)
    for copy in range(SUPERBLOCK_COPIES):
        at = superblock_copy_offset(copy)
        forgery[at : at + SUPERBLOCK_COPY_SIZE] = superblock_zone.encode_copy(root, copy)
    try:
        salvaged(forgery)
    except LsmError:
        pass


def test_a_writer_beside_is_noticed(seed: int) -> None:
    image, _ = made(seed)
    newer, _ = made(seed, steps=600)
    profile = draw_profile(random.Random(1), growth_factor=2)
    source = SimulatedStorage(image)

    def create(*_: int) -> object:
        source.image[:] = newer
        return open_database_on(new_storage(profile), profile)

    with pytest.raises(SnapshotTooOldError, match="a writer changed it"):
        salvage(source, create)  # type: ignore[arg-type]


def test_the_key_before() -> None:
    assert key_before(b"a\0") == b"a"
    assert key_before(b"b") == b"a" + b"\xff" * 4095
    assert b"a\xff" < key_before(b"b") < b"b"
