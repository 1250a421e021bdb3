"""Class 31: the harness itself: bugs planted in the engine, one at a time.

Injects: each bug below, in a process of its own; then the classes that should notice it run there, no more of their
cases than `make test` runs.

Must hold: a violation is found. And with no bug planted, none is: the canary, the first round.

Cases: one for each bug, and the canary.
"""

import os
import time
from typing import Final

from tests.simulation.matrix import FaultClass, load_classes
from tests.simulation.planted import BUGS
from tests.testing.plant import Bug, plant
from tests.testing.trial import Trial, run_trial

ROUNDS: Final = len(BUGS) + 1
CASES: Final = ROUNDS
SLICES: Final = 6

SECONDS_MAX: Final = 60.0  # for one bug, on a busy machine
CANARY_CASES: Final = 150

_CAUGHT, _MISSED, _BROKEN = 0, 1, 2


def run(trial: Trial) -> None:
    """The bug of this round, or the canary."""
    bug = BUGS[trial.round - 1] if trial.round else None
    if not trial.begin("canary" if bug is None else bug.name):
        return
    child = os.fork()
    if child == 0:
        status = _BROKEN
        try:
            status = _hunt(bug, trial.seed)
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (_CAUGHT, _MISSED), f"the hunt ended with {status}"
    if bug is None:
        assert status == _MISSED, "a violation although no bug is planted"
    else:
        assert status == _CAUGHT, f"not caught by class {' or '.join(map(str, bug.classes))}"
        trial.mark("caught")


def _hunt(bug: Bug | None, seed: int) -> int:
    """Runs the classes that should notice the bug, until one does."""
    classes = load_classes()
    if bug is not None:
        plant(bug)
        hunts = (_runs_clean(classes[number], seed, classes[number].cases) for number in bug.classes)
        return _CAUGHT if _CAUGHT in hunts else _MISSED
    numbers = sorted({number for each in BUGS for number in each.classes})
    return min(_runs_clean(classes[number], seed, CANARY_CASES) for number in numbers)


def _runs_clean(fault_class: FaultClass, seed: int, cases_max: int) -> int:
    """_MISSED when this many cases of the class find nothing, _CAUGHT when one does."""
    cases = 0
    deadline_s = time.monotonic() + SECONDS_MAX
    for round_ in range(fault_class.rounds or 1000):
        trial = Trial(fault_class.number, seed + round_, round_, share=fault_class.share, deadline_s=deadline_s)
        result = run_trial(fault_class.run, trial)
        if result.violation is not None:
            return _CAUGHT
        cases += result.cases
        if cases >= cases_max or time.monotonic() > deadline_s:
            break
    return _MISSED
