"""Class 8: several flipped bits, or whole sectors that hold something else. A file of all zones, closed cleanly.

Injects, in one to three places that are in use: 2 to 8 flipped bits, a sector of zeros, a sector of 0xFF, a sector of
another place of the same file.

Must hold: no wrong value, no key that is not there; where a question is not answered, the error names a zone that was
hit. A zone with copies answers everything as long as one copy of each block, or two superblocks, are whole. The log
ends early only when nothing that is left tells of its end. The verifier, asked now and then, names no zone but those
that were hit.

Cases: CASES_OF_A_SAMPLE for each sample.
"""

import random
from typing import Final, NamedTuple

from lsmcli.engine import constants
from lsmcli.engine.data_file import DataFile
from lsmcli.engine.verifier import verify
from tests.testing.pages import Pages
from tests.testing.sample import HARMLESS, REPAIRED, Sample, damages_met, sample_of
from tests.testing.storage import UNIT_SIZE, SimulatedStorage
from tests.testing.trial import Trial

CASES: Final = 4_000
SLICES: Final = 2

CASES_OF_A_SAMPLE: Final = 500
SOMETIMES: Final = 0.05
CACHE_SIZE: Final = 1 << 20


class _Told(NamedTuple):
    """A record of the log, and the op that it says is stored."""

    used: range
    op_synced: int


def run(trial: Trial) -> None:
    """One sample, damaged in many ways."""
    rng = trial.rng()
    sample = sample_of(rng)
    records, op_told = _log_of(sample)
    zones = [(zone, used) for zone, used in sample.zones if zone != "wal"]
    zones += [("wal", record.used) for record in records]
    for _ in range(CASES_OF_A_SAMPLE):
        places = rng.sample(zones, rng.choice((1, 1, 2, 3)))
        kind = rng.choice(("bits", "zeros", "ones", "sectors"))
        if trial.begin(f"{kind} in {', '.join(zone for zone, _ in places)}"):
            disk = SimulatedStorage(sample.image)
            for _, used in places:
                _spoil(disk, trial.rng_case(), kind, used)
            _examine(trial, sample, disk, zones, records, op_told)


def _log_of(sample: Sample) -> tuple[list[_Told], int]:
    """The live records, and up to which op the superblock says that all is stored."""
    file = DataFile(SimulatedStorage(sample.image), cache_size=0, writable=False)
    recovery = file.recovery()
    records = []
    begin = recovery.start.position
    for header, _, after in recovery.records():
        records.append(
            _Told(
                range(file.superblock.wal_offset + begin, file.superblock.wal_offset + after.position), header.op_synced
            )
        )
        begin = after.position
    return records, max(file.superblock.op_synced, file.superblock.op_checkpoint)


def _spoil(disk: SimulatedStorage, rng: random.Random, kind: str, used: range) -> None:
    if kind == "bits":
        for _ in range(rng.randint(2, 8)):
            disk.flip(8 * rng.choice(used) + rng.randrange(8))
        return
    sector = rng.choice(used) // UNIT_SIZE * UNIT_SIZE
    other = rng.randrange(0, len(disk.image), UNIT_SIZE)
    if rng.random() < 0.5:  # a neighbouring block's, at the same place in it
        other = (sector + rng.choice((-2, -1, 1, 2)) * constants.BLOCK_SIZE_MIN) % len(disk.image)
    found = disk.image.read(other, UNIT_SIZE)
    disk.corrupt(sector, {"zeros": bytes(UNIT_SIZE), "ones": b"\xff" * UNIT_SIZE, "sectors": found}[kind])


def _examine(
    trial: Trial,
    sample: Sample,
    disk: SimulatedStorage,
    zones: list[tuple[str, range]],
    records: list[_Told],
    op_told: int,
) -> None:
    rng = trial.rng_case()
    hit = [(zone, used) for zone, used in zones if _differ(disk.image, sample.image, used)]
    explained = {zone for zone, _ in hit if zone not in REPAIRED | HARMLESS}
    for zone in REPAIRED:
        copies = {used.start // constants.BLOCK_SIZE_MIN for name, used in hit if name == zone}
        if len(copies) > (
            constants.SUPERBLOCK_COPIES - constants.SUPERBLOCK_QUORUM_OPEN if zone == "superblock" else 1
        ):
            explained.add(zone)
    told = max([op_told, *(each.op_synced for each in records if ("wal", each.used) not in hit)])
    before = Pages(disk.image)
    damages = damages_met(
        sample, disk, thorough=rng.random() < SOMETIMES, op_min=told, cache_size=rng.choice((0, CACHE_SIZE, CACHE_SIZE))
    )
    for damage in damages:
        assert damage.zone in explained, f"damage in {sorted(explained)} is called {damage}"
    trial.mark("told of" if damages else "right")
    if told < sample.model.op and not damages:
        trial.mark("nothing tells of the end of the log")
    if rng.random() < SOMETIMES and told == sample.model.op:
        hit_zones = {zone for zone, _ in hit} - HARMLESS
        named = {problem.zone for problem in verify(disk).problems}
        assert named <= hit_zones, f"the verifier names {named}, of {hit_zones}"
        assert named or not hit_zones - {"wal"}, f"the verifier does not see damage in {hit_zones}"
    assert disk.image == before, "reading has changed the file"


def _differ(image: Pages, other: Pages, used: range) -> bool:
    return image.read(used.start, len(used)) != other.read(used.start, len(used))
