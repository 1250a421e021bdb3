"""Salvage against the model: nothing kept is wrong, and what is missing lies in a place that was reported.

Files are made by seeded operations on the simulated disk; damage is a block of zeros, or a few.
"""

import random

import pytest

from lsmcli.engine.block_cache import BlockCache
from lsmcli.engine.constants import GRID_OFFSET
from lsmcli.engine.errors import FileError, ReadOnlyError, SnapshotTooOldError
from lsmcli.engine.free_set import FreeSet
from lsmcli.engine.grid import Grid, block_count_of
from lsmcli.engine.salvage import salvage
from lsmcli.engine.salvage_merge import key_before
from lsmcli.engine.salvage_survey import TolerantStorage, find_root
from lsmcli.engine.schema import BLOCK_HEADER, BlockKind
from tests.testing.lost_parts import (
    Outcome,
    assert_nothing_wrong,
    blocks,
    live_tables,
    made,
    salvaged,
    without,
    without_superblock,
)
from tests.testing.model import MAIN, Model
from tests.testing.operations import BLOCK_SIZE, Operation, Run, draw_profile, new_storage, open_database_on
from tests.testing.storage import SimulatedStorage


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
