"""Class 20: a crafted file, all of whose checksums are right, is refused or read, and does no harm.

Injects: in a file of all zones, in half of them with an open scope, one to four fields that say something else (counts,
sizes, addresses, levels, snapshots, keys, flags, versions: every field of the schema), or that hold what the same field
of another record holds, with every checksum above made right.

Must hold: readers, the verifier and writers that put, compact and checkpoint raise nothing but the engine's own errors,
in SECONDS_MAX of CPU and MEMORY_MAX; readers and the verifier write nothing.

Cases: CASES_OF_A_SAMPLE of each sample. Those that once led somewhere new are kept, see hostile_corpus.
"""

import random
import resource
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from lsmcli.engine.constants import MIB
from lsmcli.engine.errors import LsmError
from lsmcli.engine.verifier import verify
from tests.testing.forgery import Forgery, Place, number_drawn
from tests.testing.operations import Profile, open_database_on
from tests.testing.pages import Pages
from tests.testing.sample import Sample, sample_of
from tests.testing.storage import SimulatedStorage
from tests.testing.trial import Trial

CASES: Final = 1_500
SLICES: Final = 2

CASES_OF_A_SAMPLE: Final = 500
WRITERS: Final = 0.5  # of the cases, those in which a writer opens the file as well
SECONDS_MAX: Final = 2.0
MEMORY_MAX: Final = 256 * MIB


def run(trial: Trial) -> None:
    """One sample, forged in many ways."""
    rng = trial.rng()
    sample = sample_of(rng)
    image = in_a_scope(sample) if rng.random() < 0.5 else sample.image
    forger = Forger(image)
    for _ in range(CASES_OF_A_SAMPLE):
        chosen = forger.choose(rng)
        if trial.begin(named(chosen)):
            disk = SimulatedStorage(forger.forged(chosen, trial.rng_case))
            refused = harmless(sample.profile, disk, writes=trial.rng_case().random() < WRITERS)
            trial.mark("refused" if refused else "taken for what it says")


class Forger:
    """Draws forgeries of one file."""

    def __init__(self, image: Pages) -> None:
        self._whole = Forgery(image)
        assert self._whole.image() == image, "the forger changes what it was not asked to"
        self._places: dict[str, list[Place]] = {}
        for place in self._whole.places():
            self._places.setdefault(place.name, []).append(place)
        self._names = sorted(self._places)

    def choose(self, rng: random.Random, prefixes: tuple[str, ...] = ("",)) -> list[Place]:
        """The fields to change, one to four, of those whose names begin so."""
        names = [name for name in self._names if name.startswith(prefixes)]
        return [rng.choice(self._places[rng.choice(names)]) for _ in range(rng.choice((1, 1, 1, 2, 4)))]

    def forged(self, chosen: list[Place], rng_of_place: Callable[[], random.Random]) -> Pages:
        """The file with other bytes in these fields."""
        forgery = self._whole.copy()
        for place in chosen:
            _change(forgery, place, self._places[place.name], rng_of_place())
        return forgery.image()


def named(chosen: list[Place]) -> str:
    """The names of the fields."""
    return ", ".join(place.name for place in chosen)


def in_a_scope(sample: Sample) -> Pages:
    """The sample with an open scope that has outgrown memory: tables are kept for it, and values."""
    disk = SimulatedStorage(sample.image)
    database = open_database_on(disk, sample.profile)
    database.scope_begin()
    for number in range(60):
        database.put(b"key %02d" % number, b"in the scope %d" % number)
    database.tree("apple").put(b"large", b"short")
    database.tree("berry").put(b"large", b"v" * 3000)
    database.checkpoint()
    database.put(b"key 01", b"last")
    assert database.forest.scope is not None and database.forest.scope.spilled
    database.close()
    return disk.image


def _change(forgery: Forgery, place: Place, alike: list[Place], rng: random.Random) -> None:
    old = forgery.read(place)
    if len(alike) > 1 and rng.random() < 0.3:
        other = forgery.read(rng.choice(alike))
        data = other[: place.size].ljust(place.size, b"\0")
    elif place.number:
        data = number_drawn(rng, int.from_bytes(old, "little"), place.size).to_bytes(place.size, "little")
    else:
        data = rng.choice((bytes(place.size), b"\xff" * place.size, rng.randbytes(place.size), old[::-1]))
    forgery.change(place, data)


def harmless(profile: Profile, disk: SimulatedStorage, *, writes: bool, seconds_max: float = SECONDS_MAX) -> int:
    """Reads the file, and writes to it, in bounds; how many questions were refused. AssertionError, or what is no error
    of the engine."""
    start_s = time.process_time()
    memory_before = _memory_peak()
    before = disk.image.key()
    refused = _read(profile, disk)
    with suppress(LsmError):
        verify(disk)
    assert disk.image.key() == before, "reading has changed the file"
    if writes:
        _write(profile, disk.reopen())
    took_s = time.process_time() - start_s
    assert took_s < seconds_max, f"it took {took_s:.1f} s"
    memory = _memory_peak() - memory_before
    assert memory < MEMORY_MAX, f"it took {memory // MIB} MiB"
    return refused


def _memory_peak() -> int:
    """The most memory that this process has had so far: a file that takes more than all before it is seen."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _read(profile: Profile, disk: SimulatedStorage) -> int:
    """How many questions were refused."""
    refused = 0
    for committed in (False, True):
        try:
            database = open_database_on(disk, profile, writable=False, committed=committed)
            names = database.trees()
        except LsmError:
            refused += 1
            continue
        for name in names:
            try:
                keyspace = database.tree(name)
                list(keyspace.scan())
                list(keyspace.scan(reverse=True))
                keyspace.get_many([b"key 03", b"large", b"absent"])
            except LsmError:
                refused += 1
    return refused


def _write(profile: Profile, disk: SimulatedStorage) -> None:
    try:
        database = open_database_on(disk, profile)
    except LsmError:
        return
    steps = (
        lambda: database.put_many((b"new %03d" % number, b"v" * 40) for number in range(60)),
        lambda: database.put(b"large", b"v" * 5000),
        lambda: database.delete(b"key 04"),
        database.checkpoint,
        database.compact,
        database.scope_discard,
        database.scope_begin,
        lambda: database.put(b"key 05", b"in a scope"),
        database.scope_persist,
        database.compact,
        database.close,
    )
    for step in steps:
        with suppress(LsmError):
            step()
