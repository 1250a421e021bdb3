"""Class 31: the harness itself: bugs planted in the engine, one at a time.

Injects: each bug of tests/simulation/planted.py, in a process of its own; then the classes that should notice it run
there, at most twice the cases that `make test` runs of them. A bug in code that is compiled here is planted in a
process that runs all code interpreted.

Must hold: a violation is found, and the changed code has run. And with no bug planted, none is: the canary, the first
round.

Cases: one for each bug, and the canary.
"""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from tests.simulation.matrix import load_classes
from tests.simulation.planted import BUGS
from tests.testing.plant import Bug, is_interpreted, plant
from tests.testing.trial import Trial, run_trial

ROUNDS: Final = len(BUGS) + 1
SLICES: Final = 6
CASES: Final = ROUNDS // SLICES * SLICES  # in each slice alike; all rounds are run

SECONDS_MAX: Final = 60.0  # of CPU, for one bug
ROUNDS_MAX: Final = 1000
SHARE_OF_SHARE: Final = 0.3  # many rounds with fewer cases each find more than few
CANARY_SECONDS: Final = 0.5  # in each class

# The hunts are the same on every commit (Bug.seed): what is asked is whether a class's share is enough to notice a bug,
# and other seeds would let the answer depend on chance.
CANARY_SEED: Final = 1
SHARES_MAX: Final = 2  # of what `make test` runs of a class

# How a hunt ends. Not 1 and 2: with these an interpreter ends that cannot do what it was told.
_CAUGHT, _MISSED, _UNREACHED, _BROKEN = 0, 10, 11, 12
ROOT: Final = Path(__file__).resolve().parent.parent.parent.parent


def run(trial: Trial) -> None:
    """The bug of this round, or the canary."""
    bug = BUGS[trial.round - 1] if trial.round else None
    if not trial.begin("canary" if bug is None else bug.name):
        return
    forks = bug is None or (not bug.pure and is_interpreted(bug))
    status = _hunt_forked(bug) if forks else _hunt_interpreted(trial.round)
    if bug is None:
        assert status == _MISSED, f"a violation although no bug is planted ({status})"
        return
    assert status in (_CAUGHT, _MISSED, _UNREACHED), f"the hunt ended with {status}"
    assert status != _UNREACHED, "the changed code was never run"
    assert status == _CAUGHT, f"not caught by class {' or '.join(map(str, bug.classes))}"
    trial.mark("caught")


def _hunt_forked(bug: Bug | None) -> int:
    load_classes()  # once, not in every child
    child = os.fork()
    if child == 0:
        status = _BROKEN
        try:
            status = _hunt(bug, bug.seed if bug is not None else CANARY_SEED)
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _hunt_interpreted(round_: int) -> int:
    command = [sys.executable, "-m", __name__, str(round_)]
    return subprocess.run(command, cwd=ROOT, env=os.environ | {"LSMCLI_PURE": "1"}, check=False).returncode


def _no_bug() -> bool:
    return True


def _hunt(bug: Bug | None, seed: int) -> int:
    """Runs the classes that should notice the bug, a round of each in turn, until one does or all had their cases."""
    classes = load_classes()
    reached = plant(bug) if bug is not None else _no_bug
    if bug is None:
        left = {number: 1 for each in BUGS for number in each.classes}
    else:
        left = {number: SHARES_MAX * classes[number].cases for number in bug.classes}
    cpu_max_s = time.process_time() + SECONDS_MAX
    for round_ in range(ROUNDS_MAX):
        for number in [number for number, count in left.items() if count > 0]:
            fault_class = classes[number]
            deadline_s = time.monotonic() + CANARY_SECONDS if bug is None else None
            share = SHARE_OF_SHARE * fault_class.share
            trial = Trial(number, seed + round_, round_, share=share, deadline_s=deadline_s)
            result = run_trial(fault_class.run, trial)
            if result.violation is not None:
                return _CAUGHT if reached() else _UNREACHED
            left[number] -= max(1, result.cases)
            if fault_class.rounds is not None and round_ + 1 >= fault_class.rounds:
                left[number] = 0
        if max(left.values()) <= 0 or time.process_time() > cpu_max_s:
            break
    return _MISSED if reached() else _UNREACHED


if __name__ == "__main__":
    bug_planted = BUGS[int(sys.argv[1]) - 1]
    sys.exit(_hunt(bug_planted, bug_planted.seed))
