"""The verifier: silent on every good file, and every kind of harm is named by zone."""

import random

import pytest

from lsmcli.engine import constants
from lsmcli.engine.block_chain import release_chain
from lsmcli.engine.constants import TREE_ID_MAIN
from lsmcli.engine.errors import FormatError
from lsmcli.engine.schema import BLOCK_HEADER, BlockKind, BlockReference, ChainReference
from lsmcli.engine.verifier import verify
from lsmcli.engine.wal_entry import encode_entry
from tests.testing.model import MAIN, Model
from tests.testing.operations import BLOCK_SIZE, Operation, Run, draw_profile, new_storage, open_database_on
from tests.testing.storage import SimulatedStorage


def whole_file() -> SimulatedStorage:
    """A file with tables in two trees, large values, and a log."""
    profile = draw_profile(random.Random(3), memory_size=1 << 20, growth_factor=2, cache_size=1 << 20)
    run = Run(new_storage(profile), profile, Model())
    run.do(Operation("create_tree", ("apple",)))
    for name in (MAIN, "apple"):
        run.do(Operation("batch", (name, [(b"%d" % i, b"value") for i in range(50)])))
        run.do(Operation("put", (name, [(b"large", bytes(9000))])))
    run.do(Operation("checkpoint"))
    run.do(Operation("put", (MAIN, [(b"in the log", bytes(9000))])))
    run.close()
    return run.storage.reopen()


def address_of(storage: SimulatedStorage, kind: BlockKind) -> int:
    for offset in range(constants.GRID_OFFSET, storage.size(), BLOCK_SIZE):
        if BLOCK_HEADER.unpack(storage.image[offset : offset + BLOCK_HEADER.size]).kind == kind:
            return (offset - constants.GRID_OFFSET) // BLOCK_SIZE + 1
    raise AssertionError(f"no block of kind {kind}")


def test_a_whole_file_has_no_problems() -> None:
    report = verify(whole_file())
    assert report.ok and report.problems == []
    assert report.counts["entries"] == 102 + 2  # and two of the catalog
    assert report.counts["large_values"] == 3
    assert report.counts["wal_records"] == 2
    assert report.counts["superblock_copies"] == 6


def test_a_new_file_has_no_problems() -> None:
    assert verify(new_storage(draw_profile(random.Random(1)))).ok


def test_verifying_writes_nothing() -> None:
    storage = whole_file()
    before = bytes(storage.image)
    storage.writable = False
    verify(storage)
    assert storage.image == before


@pytest.mark.parametrize(
    ("kind", "zone"),
    [
        (BlockKind.VALUE, "value"),
        (BlockKind.INDEX, "index"),
        (BlockKind.LARGE, "large value"),
        (BlockKind.MANIFEST, "manifest"),
        (BlockKind.FREE_SET, "free set"),
    ],
)
def test_a_damaged_block_is_named(kind: BlockKind, zone: str) -> None:
    storage = whole_file()
    address = address_of(storage, kind)
    storage.flip(8 * (constants.GRID_OFFSET + (address - 1) * BLOCK_SIZE + BLOCK_HEADER.size))
    assert (zone, address) in {(problem.zone, problem.address) for problem in verify(storage).problems}


def test_a_damaged_superblock_copy_is_a_problem_that_repairs_itself() -> None:
    storage = whole_file()
    storage.flip(8 * constants.superblock_copy_offset(4) + 400)
    (problem,) = verify(storage).problems
    assert problem.zone == "superblock"
    assert "copy 4" in problem.message


def test_a_damaged_log_is_a_problem() -> None:
    storage = whole_file()
    found = bytes(storage.image).rindex(b"in the log", 0, constants.GRID_OFFSET)
    storage.flip(8 * found)
    assert "wal" in {problem.zone for problem in verify(storage).problems}


def test_a_block_that_nobody_uses_is_a_problem() -> None:
    profile = draw_profile(random.Random(3), memory_size=1 << 20, growth_factor=2, cache_size=1 << 20)
    run = Run(new_storage(profile), profile, Model())
    run.do(Operation("put", (MAIN, [(b"k", b"v")])))
    grid = run.database.forest.file.grid
    reservation = grid.reserve(2)
    lost = grid.acquire(reservation)
    grid.forfeit(reservation)
    run.do(Operation("checkpoint"))
    run.close()
    (problem,) = verify(run.storage.reopen()).problems
    assert (problem.zone, problem.address) == ("free set", lost)


def test_a_block_in_use_that_the_free_set_calls_free_is_a_problem() -> None:
    profile = draw_profile(random.Random(3), memory_size=1 << 20, growth_factor=2, cache_size=1 << 20)
    run = Run(new_storage(profile), profile, Model())
    run.do(Operation("put", (MAIN, [(b"k", bytes(3000))])))
    forest = run.database.forest
    (chain,) = forest.tree(2).table_mutable.entries.values()
    forest.flush()
    release_chain(forest.file.grid, chain, BlockKind.LARGE)
    forest.checkpoint()
    run.close()
    problems = verify(run.storage.reopen()).problems
    # Who calls it free gave it away: by now it may hold something else.
    assert {problem.zone for problem in problems} <= {"free set", "large value"} and problems


def test_what_is_no_data_file_is_refused() -> None:
    with pytest.raises(FormatError):
        verify(SimulatedStorage(b"something else " * 50_000))


def test_values_that_claim_the_blocks_of_one_chain_cost_no_more_than_these_blocks() -> None:
    profile = draw_profile(random.Random(3), memory_size=1 << 20, growth_factor=2, cache_size=0)
    storage = new_storage(profile)
    database = open_database_on(storage, profile)
    database.put(b"large", bytes(40 * BLOCK_SIZE))
    forest = database.forest
    grid = forest.file.grid
    ((_, chain),) = forest.trees[TREE_ID_MAIN].table_mutable.entries.items()
    assert isinstance(chain, ChainReference)
    head = grid.read(BlockReference(chain.address, 0, chain.checksum), BlockKind.LARGE)[BLOCK_HEADER.size :]
    for number in range(60):
        address = grid.acquire(grid.reserve(1))
        link = grid.write(address, BlockKind.LARGE, head, tree_id=TREE_ID_MAIN, snapshot=forest.op + 1)
        forged = chain._replace(address=address, checksum=link.checksum)
        key = b"forged %d" % number
        forest.write([(TREE_ID_MAIN, key, forged)], encode_entry(TREE_ID_MAIN, key, forged))
    database.sync()
    reads = 0

    def count(_operation: int, kind: str, offset: int, _size: int) -> None:
        nonlocal reads
        reads += kind == "read" and offset >= constants.GRID_OFFSET

    crafted = storage.reopen()
    crafted.hook = count
    report = verify(crafted)
    assert sum("belongs to the value" in problem.message for problem in report.problems) == 60
    assert reads < 3 * (60 + 41)
