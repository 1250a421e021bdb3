"""Files of which a part is lost, and what salvage makes of them."""

import random
from collections.abc import Iterator
from functools import cache

from lsmcli.engine.compaction_context import table_addresses
from lsmcli.engine.constants import (
    GRID_OFFSET,
    SUPERBLOCK_COPIES,
    SUPERBLOCK_COPY_SIZE,
    TREE_ID_CATALOG,
    superblock_copy_offset,
)
from lsmcli.engine.data_file import DataFile
from lsmcli.engine.salvage import salvage
from lsmcli.engine.salvage_report import SalvageReport
from lsmcli.engine.schema import BLOCK_HEADER, BlockKind
from tests.testing.model import Model, Trees
from tests.testing.operations import (
    BLOCK_SIZE,
    Draw,
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
