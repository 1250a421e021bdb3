"""Salvage of the log: scopes, killed writers, holes, and a log without anything else."""

import random

import pytest

from lsmcli.engine.constants import GRID_OFFSET
from lsmcli.engine.salvage_log import Found, chains_of
from lsmcli.engine.schema import WalRecordHeader
from tests.testing.lost_parts import made, salvaged, without_superblock
from tests.testing.model import MAIN, Model
from tests.testing.operations import Operation, Run, draw_profile, new_storage


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
    outcome = salvaged(bytes(run.storage.image))
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
    outcome = salvaged(bytes(run.storage.image))
    assert outcome.report.complete
    assert outcome.scope is not None
    assert outcome.trees == model.state.trees
    assert outcome.committed == model.state.committed


def test_a_hole_in_the_log_is_named_and_the_ops_behind_it_count() -> None:
    profile = draw_profile(random.Random(3), memory_size=1 << 20, growth_factor=2, cache_size=0)
    run = Run(new_storage(profile), profile, Model())
    for i in range(20):
        run.do(Operation("put", (MAIN, [(b"key %d" % i, b"here is value %d." % i)])))
    run.do(Operation("sync"))
    run.close()
    image = bytearray(bytes(run.storage.image))
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
    image = bytearray(bytes(run.storage.image))
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
    assert salvaged(without_superblock(bytes(run.storage.image))).trees == run.model.trees


def test_a_log_in_the_grid_of_a_killed_writer_is_found() -> None:
    profile = draw_profile(random.Random(3), memory_size=1 << 20, growth_factor=2, cache_size=0)
    run = Run(new_storage(profile), profile, Model())
    for i in range(2500):
        run.do(Operation("put", (MAIN, [(b"%04d" % i, b"value" * 60)])))
    assert run.database.forest.file.wal.offset >= GRID_OFFSET
    outcome = salvaged(without_superblock(bytes(run.storage.image)))
    assert outcome.trees == run.model.trees
