"""Class 10: a write that the disk acknowledged, and a sync behind it too, but never stored.

Injects: of a run every write in turn is left out, with everything else stored; then the file is opened: at the end of
the run, and at a crash at some later call.

Must hold (O5): every answer is right, or a DamageError; superblock, manifest and free set are repaired from their
copies. The newest records of the log, when nothing that is left tells of them, are the documented limit: then an
earlier state is found, as a whole.

Cases: every write of the run, twice.
"""

from typing import Final

from lsmcli.engine.block_header import ZONE_BY_KIND
from lsmcli.engine.schema import BLOCK_HEADER, BlockKind
from tests.testing.damage import Claim, claims_of, play_image, right_or_damage, told
from tests.testing.operations import BLOCK_SIZE, UUID
from tests.testing.pages import Pages
from tests.testing.storage import SimulatedStorage
from tests.testing.trace import Change, Trace
from tests.testing.trial import Trial
from tests.testing.workloads import crash_trace

CASES: Final = 1_200
SHARE: Final = 0.5

STEPS: Final = 100


def run(trial: Trial) -> None:
    """One run, each of its writes lost."""
    rng = trial.rng()
    trace = crash_trace(rng, STEPS)
    claims = claims_of(trace.changes, UUID)
    image = Pages(trace.start.image)
    count = len(trace.changes)
    for number, change in enumerate(trace.changes):
        if change.kind == "write":
            for end in (count, rng.randint(number + 1, min(count, number + 40))):
                if trial.begin(f"write {number} at {change.offset} lost, opened before call {end}", sampled=True):
                    _lost(trial, trace, claims, Pages(image), number, end)
        play_image(image, [change])


def _lost(trial: Trial, trace: Trace, claims: list[Claim], image: Pages, number: int, end: int) -> None:
    """The image is that before the lost write."""
    play_image(image, trace.changes[number + 1 : end])
    # All else is stored: so the last op that was issued may be there, and what the rest tells of must be.
    op_min = max(told(claims, end, lambda claim: claim.number == number), trace.op_start)
    op_max = trace.change(end).op_issued
    writable = trial.rng_case().random() < 0.5
    history = trace.run.model.history
    damages = right_or_damage(SimulatedStorage(image), trace.profile, history, op_min, op_max, writable=writable)
    trial.mark(f"lost in {zone_of(trace.changes[number])}: {'told of' if damages else 'all answers right'}")


def zone_of(change: Change) -> str:
    """What a write stores."""
    if len(change.data) != BLOCK_SIZE or change.offset % BLOCK_SIZE:
        return "wal"
    header = BLOCK_HEADER.unpack(change.data)
    return ZONE_BY_KIND[BlockKind(header.kind)] if header.kind in set(BlockKind) else "superblock"
