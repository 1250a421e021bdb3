"""Class 12: the disk is full, once or from then on.

Injects: NoSpaceError at every write, growth and allocation of a run, once and for ever; on a real file, a limit that
the system sets to its size.

Must hold: what did not fit did not happen, with a typed error; what was there can be read; deletes go on as long as
memory and log have room; when there is space again the same handle goes on; nothing that was acknowledged is lost
(O1), no block is lost (O2). A superblock that meets a full disk gives the handle up, which no ordinary disk does.

Cases: every such call of each run, twice; REAL real files.
"""

import random
import resource
from contextlib import suppress
from typing import Final

import lsmcli
from lsmcli.engine.errors import NoSpaceError, OutcomeUnknownError
from tests.testing.faulty import FaultsFrom, run_with, workload
from tests.testing.storage import Fault
from tests.testing.trial import Trial

CASES: Final = 900
SLICES: Final = 2

REAL: Final = 6
PUTS_MAX: Final = 300


def run(trial: Trial) -> None:
    """One run, with a full disk at each of its calls."""
    work = workload(trial.rng())
    for index in work.indexes(("allocate", "write")):
        for once in (True, False):
            if trial.begin(f"no space at call {index}{'' if once else ' and later'}", sampled=True):
                run_with(trial, work, FaultsFrom(index, Fault.NO_SPACE, once=once))
    for _ in range(REAL):
        if trial.begin("a limit on the size of a real file"):
            _limited(trial, trial.rng_case())


def _limited(trial: Trial, rng: random.Random) -> None:
    """The system stores a part of a write, or refuses it, where the file would grow past a limit."""
    path = trial.directory / f"{trial.case}.lsm"
    wanted: dict[bytes, bytes] = {}
    database = lsmcli.open(path, "n", block_size=4096, memory_size=4096)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + rng.randrange(200_000), hard))
    attempt: tuple[bytes, bytes] | None = None
    try:
        for number in range(PUTS_MAX):
            attempt = b"key %04d" % rng.randrange(500), b"%d " % number * rng.choice((1, 50, 3000))
            database.put(*attempt)
            wanted[attempt[0]] = attempt[1]
            attempt = None
    except NoSpaceError:
        trial.mark("the limit was met")
    except OutcomeUnknownError:
        trial.mark("the limit was met in the middle of a write")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    if database.unusable is None:
        assert dict(database.scan()) == wanted
        database.put(b"there is", b"space again")
        wanted[b"there is"] = b"space again"
        attempt = None
    with suppress(NoSpaceError, OutcomeUnknownError):  # of a handle that was given up
        database.close()
    with lsmcli.open(path, "r") as reader:
        found = dict(reader.scan())
    assert found == wanted or (attempt is not None and found == wanted | dict([attempt]))
