"""A trial: one round of one fault class. It counts cases, decides which are run, and names them for a replay.

    def run(trial: Trial) -> None:                     # what a class file offers, see tests/simulation/matrix
        rng = trial.rng("workload")
        for offset in range(9):
            if trial.begin(f"cut at {offset}"):        # a case begins; False: it is left out
                examine(cut(offset), trial.rng_case())
                trial.mark("cut in a header")          # a rare situation was met

Invariants:
- a class draws everything from rng() and rng_case(): class, seed and number of a case replay it;
- which cases are left out changes nothing in those that are run: not their numbers, not their chance;
- what a case must hold is asserted; an exception that leaves run() is a violation, of the case begun last.
"""

import random
import resource
import shutil
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from lsmcli.engine import free_set

_HASH_FACTOR = 0x9E37_79B1


class TimeIsUpError(Exception):
    """The trial is not to begin another case."""


class Violation(NamedTuple):
    """A promise that did not hold, and how to see it again."""

    number: int  # of the class
    seed: int
    case: int
    label: str
    error: str  # the last line of the traceback
    details: str

    @property
    def replay(self) -> str:
        return f"{self.number}:{self.seed}:{self.case}"


class Result(NamedTuple):
    """What a round came to."""

    number: int
    cases: int
    marks: Counter[str]
    violation: Violation | None
    seconds: float


class Trial:
    """share: of the cases that may be sampled, the part to run. only: the number of the one case to run.

    deadline_s: on the monotonic clock. round: for classes that have a list of things to go through.
    """

    def __init__(
        self,
        number: int,
        seed: int,
        round_: int = 0,
        *,
        share: float = 1.0,
        only: int | None = None,
        deadline_s: float | None = None,
    ) -> None:
        self.number = number
        self.seed = seed
        self.round = round_
        self.share = share
        self.only = only
        self.deadline_s = deadline_s
        self.case = -1  # the number of the case begun last
        self.cases = 0  # that were run
        self.label = ""
        self.marks: Counter[str] = Counter()
        self._directory: Path | None = None
        self._share_of_hash = int(share * (1 << 32))

    def rng(self, name: str = "") -> random.Random:
        """A source of chance for the whole round."""
        return random.Random(f"{self.number}/{self.seed}/{name}")

    def rng_case(self) -> random.Random:
        """A source of chance for this case alone."""
        return random.Random(self.seed * 1_000_003 + self.case)

    def begin(self, label: str, *, sampled: bool = False) -> bool:
        """Begins a case; whether to run it. sampled: one of many alike, of which the share is enough.

        Raises TimeIsUpError.
        """
        self.case += 1
        self.label = label
        if self.only is not None:
            if self.case > self.only:
                raise TimeIsUpError
            wanted = self.case == self.only
        else:
            wanted = not sampled or self._is_in_share()
            if self.deadline_s is not None and time.monotonic() > self.deadline_s:
                raise TimeIsUpError
        self.cases += wanted
        return wanted

    def _is_in_share(self) -> bool:
        mixed = (self.case ^ self.seed) * _HASH_FACTOR & 0xFFFF_FFFF
        return (mixed ^ mixed >> 15) * _HASH_FACTOR & 0xFFFF_FFFF < self._share_of_hash

    def mark(self, situation: str) -> None:
        """Notes that a rare situation was met."""
        self.marks[situation] += 1

    @property
    def directory(self) -> Path:
        """A directory on the real disk, for this round."""
        if self._directory is None:
            self._directory = Path(tempfile.mkdtemp(prefix="lsmcli-matrix-"))
        return self._directory

    def clean(self) -> None:
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)


def run_trial(run: Callable[[Trial], None], trial: Trial) -> Result:
    """Runs a round to its end, to its time, or to a violation. The free set verifies itself meanwhile."""
    start_s = _cpu_s()
    verify_before, free_set.VERIFY = free_set.VERIFY, True
    violation = None
    try:
        run(trial)
    except TimeIsUpError:
        pass
    except Exception as error:  # noqa: BLE001  # whatever it is: it should not have happened
        details = "".join(traceback.format_exception(error))
        text = " / ".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", [])])
        violation = Violation(trial.number, trial.seed, trial.case, trial.label, text, details)
    finally:
        free_set.VERIFY = verify_before
        trial.clean()
    return Result(trial.number, trial.cases, trial.marks, violation, _cpu_s() - start_s)


def _cpu_s() -> float:
    """CPU seconds of this process and of its children that have ended: many cases run in processes of their own."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime
