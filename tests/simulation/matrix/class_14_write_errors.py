"""Class 14: the disk cannot write, or stores a part; the system stores less than it was given, or is interrupted.

Injects: at every write of a run an I/O error, with nothing or half of it stored. On a real file, through the system
calls: short writes of every kind of length, EINTR, a write that stores nothing, EIO in the middle.

Must hold: an I/O error gives the handle up: every later call raises OutcomeUnknownError, nothing is tried again;
reopening finds what was acknowledged (O1), also when the power fails. Short writes go on where they stopped, byte for
byte.

Cases: every write of each run, twice; REAL patterns of short writes.
"""

import errno
import os
import random
from typing import Final
from unittest import mock

from lsmcli.engine.errors import NoSpaceError, OutcomeUnknownError
from lsmcli.engine.storage import FileStorage
from tests.testing.faulty import FaultsFrom, run_with, workload
from tests.testing.storage import Fault
from tests.testing.trial import Trial

CASES: Final = 1_500
SLICES: Final = 2

REAL: Final = 30
SIZE_MAX: Final = 9000


def run(trial: Trial) -> None:
    """One run, with an error at each of its writes; then short writes on a real file."""
    work = workload(trial.rng())
    for index in work.indexes(("write",)):
        for fault in (Fault.WRITE_FAILS, Fault.WRITE_TORN):
            if trial.begin(f"{fault.name} at call {index}", sampled=True):
                run_with(trial, work, FaultsFrom(index, fault, once=True))
    for _ in range(REAL):
        if trial.begin("short writes on a real file"):
            _short(trial, trial.rng_case())


def _short(trial: Trial, rng: random.Random) -> None:
    path = trial.directory / f"{trial.case}"
    path.write_bytes(bytes(SIZE_MAX))
    storage = FileStorage.open(str(path), writable=True)
    data = rng.randbytes(rng.randrange(1, SIZE_MAX))
    fails_after = rng.choice((None, None, rng.randrange(len(data) + 1)))
    error = rng.choice((errno.EIO, errno.ENOSPC, 0))
    stored = 0
    pwrite = os.pwrite

    def short(fd: int, part: bytes | memoryview, offset: int) -> int:
        nonlocal stored
        if fails_after is not None and stored >= fails_after:
            if error == 0 and stored:
                return 0
            raise OSError(error or errno.EIO, "simulated")
        size = min(len(part), rng.choice((1, 7, 511, 512, 4096, SIZE_MAX)))
        stored += size
        return pwrite(fd, memoryview(part)[:size], offset)

    try:
        with mock.patch("os.pwrite", short):
            storage.write(0, data)
        assert path.read_bytes() == data.ljust(SIZE_MAX, b"\0")
        trial.mark("a short write that went on")
    except NoSpaceError:
        assert error == errno.ENOSPC
        trial.mark("a full disk in the middle of a write" if stored else "a full disk before a write")
        if stored:
            _refuses(storage)
    except OutcomeUnknownError:
        trial.mark("an error in the middle of a write")
        _refuses(storage)
    finally:
        storage.close()


def _refuses(storage: FileStorage) -> None:
    """Nothing more is written through it."""
    for call in (storage.sync, lambda: storage.write(0, b"more"), lambda: storage.truncate(1)):
        try:
            call()
        except OutcomeUnknownError:
            continue
        raise AssertionError("a handle was used again after a write that failed in its middle")
