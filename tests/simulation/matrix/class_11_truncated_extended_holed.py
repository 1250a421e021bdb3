"""Class 11: a file that was cut, that has bytes behind its end, or that has holes.

Injects: a file of all zones, closed cleanly, cut at every sector boundary and at odd sizes; the same with bytes
behind its end; with one run of sectors replaced by zeros, as a sparse copy leaves them.

Must hold: what was cut is refused with a DamageError or FormatError, by readers and writers, before anything is
written; bytes behind the end are never used; a hole is answered right, or with a DamageError. (A hole over the whole
end of the log, with all that tells of it, is the one loss that nothing can notice: then an earlier state is right.)

Cases: every sector boundary and 200 odd sizes, as many extensions, every hole of one sector and many longer ones.
"""

from typing import Final

import pytest

from lsmcli.engine.errors import DamageError, FormatError
from tests.testing.operations import open_database_on
from tests.testing.pages import Pages
from tests.testing.sample import Sample, assert_right_or_damage, sample_of
from tests.testing.storage import UNIT_SIZE, SimulatedStorage
from tests.testing.trial import Trial

CASES: Final = 3_000
SHARE: Final = 0.4
SLICES: Final = 2

ODD_SIZES: Final = 200


def run(trial: Trial) -> None:
    """A sample file, cut, extended and holed in every way."""
    rng = trial.rng()
    sample = sample_of(rng)
    size = len(sample.image)
    cuts = {*range(0, size, UNIT_SIZE), *(rng.randrange(size) for _ in range(ODD_SIZES))}
    for cut in sorted(cuts):
        if trial.begin(f"cut to {cut} of {size} bytes", sampled=cut % UNIT_SIZE == 0):
            _refused(sample, cut)
            trial.mark("an empty file" if cut == 0 else "cut inside the head" if cut < 4096 else "cut")
    for _ in range(ODD_SIZES // 2):
        extra = rng.randbytes(rng.choice((1, 511, UNIT_SIZE, 4096, rng.randrange(1, 20_000))))
        if trial.begin(f"{len(extra)} bytes behind the end"):
            _ignored(sample, extra)
            trial.mark("bytes behind the end")
    for begin in range(0, size, UNIT_SIZE):
        length = UNIT_SIZE * rng.choice((1, 1, 2, 8, 64))
        if trial.begin(f"a hole of {length} bytes at {begin}", sampled=True):
            _holed(trial, sample, begin, length)


def _refused(sample: Sample, cut: int) -> None:
    disk = SimulatedStorage(sample.image)
    disk.image.resize(cut)
    before = Pages(disk.image)
    for writable in (False, True):
        with pytest.raises((DamageError, FormatError)):
            open_database_on(disk.reopen(), sample.profile, writable=writable)
    storage = disk.reopen()
    with pytest.raises((DamageError, FormatError)):
        open_database_on(storage, sample.profile)
    assert storage.image == before, "something was written to a file that was cut"


def _ignored(sample: Sample, extra: bytes) -> None:
    disk = SimulatedStorage(sample.image)
    disk.image.extend(extra)
    assert assert_right_or_damage(sample, disk.reopen(), thorough=False) == 0
    writer = open_database_on(storage := disk.reopen(), sample.profile)
    writer.put(b"new", b"entry")
    writer.checkpoint()
    writer.close()
    again = open_database_on(SimulatedStorage(storage.image), sample.profile, writable=False)
    assert dict(again.scan()) == {**sample.model.trees["main"], b"new": b"entry"}


def _holed(trial: Trial, sample: Sample, begin: int, length: int) -> None:
    disk = SimulatedStorage(sample.image)
    length = min(length, len(disk.image) - begin)
    disk.corrupt(begin, bytes(length))
    log_cut = begin < sample.zones[0][1].stop <= begin + length
    damages = assert_right_or_damage(sample, disk, thorough=False, log_cut=log_cut)
    if log_cut:
        trial.mark("a hole over the end of the log")
    trial.mark("a hole that does no harm" if damages == 0 else "a hole that is told of")
