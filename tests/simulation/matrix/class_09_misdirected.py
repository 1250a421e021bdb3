"""Class 9: the disk writes to, or reads from, another place than it was told.

Injects: of a run every write in turn goes to another place, of the same zone or of another one, so that its own place
keeps what was there and a victim is overwritten; then the file is opened at the end of the run or at a crash soon
after it. And of opening a file and reading all of it, every read in turn gives the bytes of another place.

Must hold (O5): every answer is right, or a DamageError or FormatError. A block is known by address, checksum and
file, a record by its place in the chain. The newest records of the log, with all that tells of them, are the
documented limit.

Cases: every write twice, every read three times.
"""

import random
from typing import Final

from lsmcli.engine import constants
from lsmcli.engine.errors import FormatError
from tests.simulation.matrix.class_10_lost_writes import zone_of
from tests.testing.damage import Claim, claims_of, play_image, right_or_damage, told
from tests.testing.operations import BLOCK_SIZE, UUID
from tests.testing.pages import Pages
from tests.testing.storage import SimulatedStorage
from tests.testing.trace import Change, Trace
from tests.testing.trial import Trial
from tests.testing.workloads import crash_trace

CASES: Final = 1_200
SHARE: Final = 0.4

STEPS: Final = 100
READS: Final = 3


class MisdirectedReads(SimulatedStorage):
    """The read of one number gives what lies at another offset."""

    number = -1
    other = 0

    def read(self, offset: int, size: int) -> bytes:
        """As on any disk, but for that one."""
        return super().read(self.other if self.operations == self.number else offset, size)


def run(trial: Trial) -> None:
    """One run, each of its writes misdirected; then each read of its file."""
    rng = trial.rng()
    trace = crash_trace(rng, STEPS)
    claims = claims_of(trace.changes, UUID)
    image = Pages(trace.start.image)
    count = len(trace.changes)
    for number, change in enumerate(trace.changes):
        if change.kind == "write":
            for end in (count, rng.randint(number + 1, min(count, number + 40))):
                target = _elsewhere(rng, change, len(image))
                label = f"write {number} at {change.offset} went to {target}, opened before call {end}"
                if trial.begin(label, sampled=True):
                    _misdirected(trial, trace, claims, Pages(image), number, target, end)
        play_image(image, [change])
    _reads(trial, trace, image)


def _elsewhere(rng: random.Random, change: Change, size: int) -> int:
    """Another place with room for as many bytes, aligned as this one is."""
    if change.offset % BLOCK_SIZE == 0 and len(change.data) == BLOCK_SIZE:
        copy = constants.superblock_copy_offset(rng.randrange(constants.SUPERBLOCK_COPIES))
        places = [copy, BLOCK_SIZE * rng.randrange(size // BLOCK_SIZE), constants.GRID_OFFSET]
        if size > constants.GRID_OFFSET:
            places += [BLOCK_SIZE * rng.randrange(constants.GRID_OFFSET // BLOCK_SIZE, size // BLOCK_SIZE)] * 3
    else:
        ring = (constants.WAL_OFFSET_INITIAL, constants.WAL_OFFSET_INITIAL + constants.WAL_SIZE_INITIAL)
        near = [change.offset + 8 * step for step in (-40, -11, -1, 1, 11, 40)]
        places = [place for place in near if ring[0] <= place < ring[1]] + [8 * rng.randrange(size // 8)]
    places = [place for place in places if place != change.offset and 0 <= place <= size - len(change.data)]
    return rng.choice(places) if places else 0


def _misdirected(
    trial: Trial, trace: Trace, claims: list[Claim], image: Pages, number: int, target: int, end: int
) -> None:
    change = trace.changes[number]
    image.write(target, change.data)
    play_image(image, trace.changes[number + 1 : end])
    stop = target + len(change.data)

    def gone(claim: Claim) -> bool:
        begin = claim.change.offset
        hit = claim.number < number and begin < stop and target < begin + len(claim.change.data)
        return hit or claim.number == number

    op_min = told(claims, end, gone)
    op_max = trace.change(end).op_issued
    writable = trial.rng_case().random() < 0.5
    damages = _answers(SimulatedStorage(image), trace, op_min, op_max, writable=writable)
    trial.mark(f"write of {zone_of(change)} misdirected: {'told of' if damages else 'all answers right'}")


def _answers(disk: SimulatedStorage, trace: Trace, op_min: int, op_max: int, *, writable: bool) -> int:
    history = trace.run.model.history
    try:
        return right_or_damage(disk, trace.profile, history, op_min, op_max, writable=writable, op_known=trace.op_start)
    except FormatError:
        return 1


def _reads(trial: Trial, trace: Trace, image: Pages) -> None:
    """Opens what the run has left, reads everything, and lets each of those reads go astray."""
    rng = trial.rng("reads")
    op = trace.run.model.op
    plain = SimulatedStorage(image)
    reads: list[tuple[int, int]] = []
    plain.hook = lambda _, kind, offset, size: reads.append((offset, size)) if kind == "read" else None
    right_or_damage(plain, trace.profile, trace.run.model.history, 0, op, writable=False)
    for number, (offset, size) in enumerate(reads):
        for _ in range(READS):
            disk = MisdirectedReads(image)
            disk.number, disk.other = number, BLOCK_SIZE * rng.randrange(len(image) // BLOCK_SIZE)
            if trial.begin(f"read {number} at {offset} came from {disk.other}", sampled=True):
                # A log that is not seen at all is one whose end nothing tells of.
                op_min = trace.run.op_synced if size <= BLOCK_SIZE else 0
                damages = _answers(disk, trace, op_min, op, writable=False)
                trial.mark(f"read misdirected: {'told of' if damages else 'all answers right'}")
