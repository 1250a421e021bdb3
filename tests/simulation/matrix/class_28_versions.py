"""Class 28: the file is of an older or a newer format, or uses features that this program does not know.

Injects: files in every state (new, closed cleanly, crashed, in the middle of a checkpoint, with an open scope, the kept
file of each released format), whose superblock is that of another program: another version; a feature bit "do not
open", or "only read"; in none to all of the six copies, as that program's own checkpoint may have left them. And the
first opening of a kept file by the program of today, with the power failing at each of its storage calls.

Must hold: what a newer program has made its own (two copies of its superblock) is refused, NewerFormatError, or with an
"only read" bit answered from right and not written (ReadOnlyError); an older version than this program knows is
refused, FormatError; a single copy of it is a stray, and the file is what it was. A refusal changes no byte and is told
to readers and writers alike. A kept file opens, has its entries, and is whole after any crash of its first writer.

Cases: every state, with every version and feature bit drawn, in every number of copies; every call of the opening.
"""

import gzip
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from lsmcli.engine import constants, superblock
from lsmcli.engine.errors import FormatError, NewerFormatError, ReadOnlyError
from lsmcli.engine.schema import FEATURES_INCOMPATIBLE_KNOWN, FORMAT_VERSION, FORMAT_VERSION_OLDEST, Superblock
from tests.testing.model import Model, State, Trees
from tests.testing.operations import Operation, Profile, Run, assert_verified, contents, open_database_on
from tests.testing.pages import Pages
from tests.testing.storage import SimulatedStorage
from tests.testing.trace import RecordingStorage, Trace, record
from tests.testing.trial import Trial
from tests.testing.workloads import WEIGHTS_SCOPES, crash_trace, small_profile

CASES: Final = 2_500
SLICES: Final = 2
SITUATIONS: Final = ("refused: newer", "refused: older", "only read", "a stray copy")

STEPS: Final = 60
STATES: Final = 12  # of a run
GOLDEN: Final = Path(__file__).resolve().parents[2] / "engine" / "golden"
U32_MAX: Final = (1 << 32) - 1


class Kept(NamedTuple):
    """A data file, and what is in it."""

    name: str
    image: Pages
    profile: Profile
    trees: Trees


def run(trial: Trial) -> None:
    """Files of a run and the kept ones, each made another program's; then the kept ones' first opening."""
    rng = trial.rng()
    trace = crash_trace(rng, STEPS, weights=WEIGHTS_SCOPES)
    kept = list(_kept())
    for file in [*_states_of(trace, rng), *kept]:
        for fields, copies in _others(rng):
            text = " ".join(f"{name} {value:#x}" for name, value in fields.items())
            if trial.begin(f"{file.name}, {text} in copies {copies}"):
                _examine(trial, file, fields, copies)
    for file in kept:
        _first_opening(trial, file)


def _states_of(trace: Trace, rng: random.Random) -> Iterator[Kept]:
    """The file at some moments of a run, killed there, and what a reader finds in it before anybody touches it."""
    numbers = sorted(rng.sample(range(len(trace.changes)), min(STATES - 1, len(trace.changes))))
    for moment in trace.moments():
        if moment.number in numbers or moment.number == len(trace.changes):
            trees = contents(open_database_on(moment.disk.reopen(), trace.profile, writable=False))
            yield Kept(f"killed {moment.label}", Pages(moment.disk.image), trace.profile, trees)


def _kept() -> Iterator[Kept]:
    """The files that earlier releases have left."""
    profile = small_profile(random.Random(1), memory_size=8192)
    for path in sorted(GOLDEN.glob("format_*.lsm.gz")):
        image = Pages(gzip.decompress(path.read_bytes()))
        trees = contents(open_database_on(SimulatedStorage(image), profile, writable=False))
        assert trees["main"], path.name
        yield Kept(path.name, image, profile, trees)


def _others(rng: random.Random) -> Iterator[tuple[dict[str, int], tuple[int, ...]]]:
    """Fields that another program would set, and the copies that have them."""
    bit = 1 << rng.randrange(32)
    versions = [FORMAT_VERSION + 1, FORMAT_VERSION_OLDEST - 1, rng.randint(FORMAT_VERSION + 2, U32_MAX), U32_MAX]
    fields: list[dict[str, int]] = [{"version": version} for version in versions]
    unknown = 1 << 31 if bit & FEATURES_INCOMPATIBLE_KNOWN else bit
    fields += [{"features_incompatible": unknown}, {"features_read_only": bit}, {"features_incompatible": U32_MAX}]
    for each in fields:
        for count in range(1, constants.SUPERBLOCK_COPIES + 1):
            ordered = tuple(range(count))  # as a checkpoint writes them
            yield each, ordered if rng.random() < 0.5 else tuple(sorted(rng.sample(superblock.COPIES, count)))


def _with_copies(file: Kept, fields: dict[str, int], copies: tuple[int, ...]) -> Pages:
    """The file with another program's next superblock in some of its slots."""
    image = Pages(file.image)
    root = superblock.read(SimulatedStorage(image)).superblock
    other: Superblock = root._replace(sequence=root.sequence + 1, parent=superblock.superblock_checksum(root))
    other = other._replace(**fields)  # type: ignore[arg-type]  # all of them are numbers
    for copy in superblock.COPIES:  # opening the file, that program has repaired the others first
        held = other if copy in copies else root
        image.write(constants.superblock_copy_offset(copy), superblock.encode_copy(held, copy))
    return image


def _examine(trial: Trial, file: Kept, fields: dict[str, int], copies: tuple[int, ...]) -> None:
    image = _with_copies(file, fields, copies)
    if len(copies) >= constants.SUPERBLOCK_QUORUM_OPEN:
        if "features_read_only" in fields:
            _only_read(file, image)
            trial.mark("only read")
            return
        kind = FormatError if fields.get("version", FORMAT_VERSION) < FORMAT_VERSION_OLDEST else NewerFormatError
        for writable in (False, True):
            _refused(file, image, kind, writable=writable)
        trial.mark("refused: older" if kind is FormatError else "refused: newer")
    else:
        assert contents(open_database_on(SimulatedStorage(image), file.profile, writable=False)) == file.trees
        disk = SimulatedStorage(image)
        open_database_on(disk, file.profile).close()
        assert_verified(disk, lost_allowed=True)
        trial.mark("a stray copy")


def _refused(file: Kept, image: Pages, kind: type[FormatError], *, writable: bool) -> None:
    disk = SimulatedStorage(image)
    try:
        open_database_on(disk, file.profile, writable=writable)
    except FormatError as error:
        assert type(error) is kind, repr(error)
        assert "update lsmcli" in str(error) or "earlier lsmcli" in str(error), error
        assert disk.image == image, "a refusal has changed the file"
        return
    raise AssertionError("another program's file was opened")


def _only_read(file: Kept, image: Pages) -> None:
    disk = SimulatedStorage(image)
    assert contents(open_database_on(disk, file.profile, writable=False)) == file.trees
    try:
        open_database_on(disk, file.profile)
    except ReadOnlyError as error:
        assert "update lsmcli" in str(error), error
    else:
        raise AssertionError("a file that may only be read was opened for writing")
    assert disk.image == image, "reading has changed the file"


def _first_opening(trial: Trial, file: Kept) -> None:
    """The program of today opens the file, changes it, closes it: the power fails before each storage call."""
    model = Model()
    database = open_database_on(SimulatedStorage(file.image), file.profile, writable=False)
    scope = database.scope_status()
    before = contents(open_database_on(SimulatedStorage(file.image), file.profile, writable=False, committed=True))
    model.resume(State(file.trees, before if scope is not None else None, scope is not None), database.forest.op)
    storage = RecordingStorage(file.image)
    run = Run(storage, file.profile, model)
    entries: list[tuple[bytes, bytes | None]] = [(b"key 00001", b"of today"), (b"key 00002", None)]
    trace = record(run, iter([Operation("put", ("main", entries[:1])), Operation("batch", ("main", entries))]))
    for moment in trace.moments():
        for name, keep in (("none", 0), ("all", -1), ("some", trial.rng(f"{moment.number}").getrandbits(64))):
            if trial.begin(f"{file.name}, opened first by a writer, {name} kept, {moment.label}"):
                disk = moment.disk.crash(keep)
                change = moment.change
                again = open_database_on(disk, file.profile)
                op = again.forest.op
                assert change.op_synced <= op <= change.op_issued, f"op {op} was found"
                assert contents(again) == model.history[op].trees
                again.close()
                assert_verified(disk)
                trial.mark("a first opening that crashed")
