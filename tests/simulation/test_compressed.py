"""Crafted files with compressed blocks: whatever their fields say, with right checksums, they do no harm.

What class 20 of the matrix does with files of all zones, for the fields that stand in compressed blocks.
"""

import random

import pytest

from tests.simulation.matrix.class_20_hostile_files import Forger, harmless
from tests.testing.model import MAIN, Model
from tests.testing.operations import Operation, Profile, Run, draw_profile, new_storage
from tests.testing.storage import SimulatedStorage

CASES = 40
FIELDS = ("BlockHeader", "ValueBlockHead", "value column", "Superblock.features_incompatible")


@pytest.fixture(scope="module")
def file() -> tuple[Profile, Forger]:
    """A file of two trees, one compressed in all levels, one in the last."""
    rng = random.Random(20)
    profile = draw_profile(rng, memory_size=8192, growth_factor=2, value_size_max=300, cache_size=1 << 20)
    run = Run(new_storage(profile), profile, Model())
    run.do(Operation("create_tree", ("apple",)))
    for name, levels in ((MAIN, "all"), ("apple", "last")):
        run.do(Operation("compress", (name, "zstd", levels)))
        for _ in range(6):
            items = [(b"%05d" % rng.randrange(3000), b"v%d " % i * (i % 30)) for i in range(150)]
            run.do(Operation("batch", (name, items)))
    run.do(Operation("checkpoint"))
    run.do(Operation("put", (MAIN, [(b"in the log", b"value")])))
    assert run.database.forest.file.grid.compresses
    run.database.sync()
    return profile, Forger(run.storage.reopen().image)


@pytest.mark.parametrize("case", range(CASES))
def test_a_crafted_field_of_a_compressed_block_does_no_harm(case: int, file: tuple[Profile, Forger]) -> None:
    profile, forger = file
    rng = random.Random(case)
    disk = SimulatedStorage(forger.forged(forger.choose(rng, FIELDS), lambda: rng))
    harmless(profile, disk, writes=rng.random() < 0.5)
