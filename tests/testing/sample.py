"""A small file with every zone in use, closed cleanly, for classes that damage it; does it still tell the truth?

Invariants:
- whatever is wrong with the file, a question is answered right or by a DamageError; what a scan gives before
  an error is a correct beginning.
"""

import random
from typing import NamedTuple

from lsmcli.engine import constants
from lsmcli.engine.block_header import ZONE_BY_KIND
from lsmcli.engine.errors import DamageError
from lsmcli.engine.free_set import FreeSet
from lsmcli.engine.schema import BLOCK_HEADER, SUPERBLOCK, SUPERBLOCK_COPY_HEAD, BlockKind
from tests.testing.model import MAIN, Model
from tests.testing.operations import BLOCK_SIZE, Profile, Run, draw_profile, new_storage, open_database_on
from tests.testing.pages import Pages
from tests.testing.storage import SimulatedStorage

ZONES = {"superblock", "lock", "wal", *ZONE_BY_KIND.values()}
REPAIRED = {"superblock", "manifest", "free set"}  # there are copies: every answer is right
HARMLESS = {"lock", "unused"}
_RESERVED = range(20, 24)  # of a superblock copy
ABSENT = (b"\0", b"absent", b"key 07\0", b"\xff" * 9)


class Sample(NamedTuple):
    """A file, what it holds, and which bytes of it are in use for what.

    The first zone is the log, the next one the mark that ends it.
    """

    image: Pages
    profile: Profile
    model: Model
    zones: list[tuple[str, range]]


def sample_of(rng: random.Random) -> Sample:
    """A sample file. All have the same zones; keys and values are drawn."""
    profile = draw_profile(
        random.Random(1), memory_size=4096, growth_factor=2, cache_size=0, keys=[b"k"], keys_hot=[b"k"]
    )
    model = Model()
    run = Run(new_storage(profile), profile, model)
    for name in ("apple", "berry"):
        run._create_tree(name)
    for i in range(30):
        run._put(MAIN, [(b"key %02d" % i, b"value %d " % i + rng.randbytes(rng.randrange(6)))])
    run._put("apple", [(b"large", rng.randbytes(2049)), (b"empty", b""), (b"gone", b"soon")])
    run._checkpoint()
    run._put(MAIN, [(b"key 03", None), (b"key 04", b"new")])
    run._put("apple", [(b"gone", None)])
    run._checkpoint()
    for i in range(28, 33):
        run._put(MAIN, [(b"key %02d" % i, b"in the log %d" % i)])
    run._put("berry", [(b"large", rng.randbytes(2051)), (b"small", b"one")])
    run._put(MAIN, [(b"key 05", None)])
    log = run.database.forest.file.wal
    zones = [("wal", range(log.offset + log.start.position, log.offset + log.position))]
    mark = log.position
    run.close()
    zones.append(("wal", range(log.offset + mark, log.offset + log.position)))
    # A writer has marked what the log alone refers to as well.
    free_set = open_database_on(run.storage.reopen(), profile).forest.file.grid.free_set
    assert free_set is not None
    sample = Sample(run.storage.image, profile, model, zones + _zones(run.storage.image, free_set))
    assert {zone for zone, _ in sample.zones} == ZONES
    return sample


def _zones(image: Pages, free_set: FreeSet) -> list[tuple[str, range]]:
    zones = []
    for copy in range(constants.SUPERBLOCK_COPIES):
        offset = constants.superblock_copy_offset(copy)
        # Four bytes between the copy's number and the checksum are reserved: nobody looks at them.
        end = offset + SUPERBLOCK_COPY_HEAD.size + SUPERBLOCK.size
        zones.append(("superblock", range(offset, offset + _RESERVED.start)))
        zones.append(("superblock", range(offset + _RESERVED.stop, end)))
    zones.append(("lock", range(constants.LOCK_OFFSET, constants.LOCK_OFFSET + 64)))
    for address in free_set.acquired_addresses():
        offset = constants.GRID_OFFSET + (address - 1) * BLOCK_SIZE
        header = BLOCK_HEADER.unpack(image.read(offset, BLOCK_HEADER.size))
        if header.size:
            zones.append((ZONE_BY_KIND[BlockKind(header.kind)], range(offset, offset + header.size)))
    return zones


class Damage(NamedTuple):
    """A question that was answered by a DamageError."""

    tree: str  # "": nothing of the file could be asked
    zone: str


def assert_right_or_damage(
    sample: Sample, storage: SimulatedStorage, *, thorough: bool = True, log_cut: bool = False
) -> int:
    """Asks for everything; returns how many questions were answered by a DamageError: see damages_met."""
    return len(damages_met(sample, storage, thorough=thorough, op_min=0 if log_cut else None))


def damages_met(
    sample: Sample,
    storage: SimulatedStorage,
    *,
    thorough: bool = True,
    op_min: int | None = None,
    cache_size: int = 0,
) -> list[Damage]:
    """Asks for everything, thoroughly in all ways; the questions that were answered by a DamageError.

    op_min: the damage takes the end of the log with all that tells of it, the one loss that nothing can notice:
    then the state from this op on is right as well. A wrong answer is an AssertionError.
    """
    state = sample.model.state
    try:
        database = open_database_on(storage, sample.profile._replace(cache_size=cache_size), writable=False)
        names = database.trees()
    except DamageError as error:
        return [Damage("", error.zone)]
    if op_min is not None:
        assert op_min <= database.forest.op <= sample.model.op, f"op {database.forest.op} was found, {op_min} was told"
        state = sample.model.history[database.forest.op]
    assert set(names) == set(state.trees)
    damages = []
    for name, tree in state.trees.items():
        keyspace = database.tree(name)
        for reverse in (False, True) if thorough else (False,):
            wanted = sorted(tree.items(), reverse=reverse)
            found = []
            try:
                for pair in keyspace.scan(reverse=reverse):
                    found.append(pair)  # noqa: PERF402  # what came before the error counts
                assert len(found) == len(wanted)
            except DamageError as error:
                damages.append(Damage(name, error.zone))
            assert found == wanted[: len(found)]
        for key in (*tree, *ABSENT) if thorough else ():
            try:
                assert keyspace.get(key) == tree.get(key)
            except DamageError as error:
                damages.append(Damage(name, error.zone))
        try:
            assert keyspace.get_many([*ABSENT, *tree]) == [None] * len(ABSENT) + list(tree.values())
        except DamageError as error:
            damages.append(Damage(name, error.zone))
    return damages
