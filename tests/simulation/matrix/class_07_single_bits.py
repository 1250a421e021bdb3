"""Class 7: one flipped bit, anywhere. A file of all zones, closed cleanly, one bit of which is another.

Injects: a flip in every byte that is in use, each time in one bit of it, and in some bytes that are not.

Must hold: no wrong value, no key that is not there; where a question is not answered, the error names the zone of the
bit, and no tree but the one that the block belongs to is affected. By zone:

    superblock                          every answer is right, and a writer that opens the file restores the bytes
    manifest, free set                  the same, in either copy
    WAL, index, value, large value      right, or a DamageError
    lock sector, unused bytes           every answer is right

and the verifier, asked now and then, sees every flip in a byte that a checksum covers, and names its zone; but for the
mark at the end of the log, which nobody misses.

Cases: every used byte, and UNUSED others. `python -m tests.simulation.every_bit` flips all bits of one file.
"""

from typing import Final

from lsmcli.engine.block_header import ZONE_BY_KIND
from lsmcli.engine.constants import GRID_OFFSET
from lsmcli.engine.schema import BLOCK_HEADER
from lsmcli.engine.verifier import verify
from tests.testing.operations import BLOCK_SIZE, open_database_on
from tests.testing.pages import Pages
from tests.testing.sample import HARMLESS, REPAIRED, Damage, Sample, damages_met, sample_of
from tests.testing.storage import SimulatedStorage
from tests.testing.trial import Trial

CASES: Final = 4_000
SHARE: Final = 0.3
SLICES: Final = 3

UNUSED: Final = 300
SOMETIMES: Final = 0.05
CACHE_SIZE: Final = 1 << 20

# The catalog of the trees, by which all others are found.
_TREE_ID_CATALOG: Final = 1
_BLOCK_ZONES: Final = frozenset(ZONE_BY_KIND.values())


def run(trial: Trial) -> None:
    """One sample, each of its bytes once."""
    rng = trial.rng()
    sample = sample_of(rng)
    names = tree_names(sample)
    used = {byte for _, bytes_ in sample.zones for byte in bytes_}
    size = len(sample.image)
    unused = [byte for byte in (rng.randrange(size) for _ in range(UNUSED)) if byte not in used]
    for zone, bytes_ in [*sample.zones, *(("unused", range(byte, byte + 1)) for byte in unused)]:
        tree = tree_of(sample, names, zone, bytes_)
        for byte in bytes_:
            bit = 8 * byte + rng.randrange(8)
            if trial.begin(f"bit {bit % 8} of byte {byte} ({zone})", sampled=True):
                _examine(trial, sample, zone, tree, bit, repaired=zone in REPAIRED)


def tree_names(sample: Sample) -> dict[int, str]:
    """The trees of a sample by their id."""
    database = open_database_on(SimulatedStorage(sample.image), sample.profile, writable=False)
    return {database.tree_id(name): name for name in database.trees()}


def tree_of(sample: Sample, names: dict[int, str], zone: str, used: range) -> str | None:
    """The one tree that damage here may affect; None: any."""
    if zone not in _BLOCK_ZONES - REPAIRED:
        return None
    tree_id = BLOCK_HEADER.unpack(sample.image.read(used.start, BLOCK_HEADER.size)).tree_id
    return None if tree_id == _TREE_ID_CATALOG else names[tree_id]


def judge(damages: list[Damage], zone: str, tree: str | None) -> None:
    """Asserts that the questions without an answer are those that damage in this zone explains."""
    if zone in REPAIRED | HARMLESS:
        assert not damages, f"not answered: {damages[0]}"
    for damage in damages:
        assert damage.zone == zone, f"damage in {zone} is called {damage}"
        assert tree is None or damage.tree == tree, f"damage in a block of {tree} is met in {damage}"


def is_second_copy(sample: Sample, zone: str, used: range) -> bool:
    """Whether these are the bytes of a block that a reader reads only when another one is bad."""
    if zone not in _BLOCK_ZONES:
        return False
    header = BLOCK_HEADER.unpack(sample.image.read(used.start, BLOCK_HEADER.size))
    return header.address != (used.start - GRID_OFFSET) // BLOCK_SIZE + 1


def restored(sample: Sample, disk: SimulatedStorage) -> bool:
    """Whether a writer that opens the file has put every byte right."""
    open_database_on(disk, sample.profile)
    return disk.image == sample.image


def _examine(trial: Trial, sample: Sample, zone: str, tree: str | None, bit: int, *, repaired: bool) -> None:
    rng = trial.rng_case()
    disk = SimulatedStorage(sample.image)
    disk.flip(bit)
    before = Pages(disk.image)
    thorough = rng.random() < SOMETIMES
    damages = damages_met(sample, disk, thorough=thorough, cache_size=rng.choice((0, CACHE_SIZE, CACHE_SIZE)))
    judge(damages, zone, tree)
    trial.mark(f"{zone}: {'told of' if damages else 'right'}")
    if rng.random() < SOMETIMES:
        zones = {problem.zone for problem in verify(disk).problems}
        # Records are filled up to 8 bytes; and a log without the mark at its end looks like one that was not closed.
        unseen = zone in HARMLESS or (zone == "wal" and not damages)
        # What fills a superblock's copy is of no use to anybody, but its checksum covers it.
        filling = {"superblock"} if zone == "unused" else set()
        assert zones in ((set(), filling) if unseen else ({zone},)), f"the verifier names {zones or 'nothing'}"
    assert disk.image == before, "reading has changed the file"
    if repaired:
        assert restored(sample, disk), "a writer has not repaired it"
        trial.mark(f"{zone}: repaired")
