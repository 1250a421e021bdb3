"""Class 19: a scope is open when the process or the power ends; its end races a checkpoint; it outgrows memory and the
log.

Injects: runs full of scopes, durable and bound, crashed before each storage call by kill and by power (none, all,
some of the unsynced sectors); and stories, in which a scope meets checkpoints, compactions, trees that come and go,
kills, and more changes than memory holds (tests/testing/stories.py): all short ones, and long ones by chance.

Must hold: a bound scope is discarded as a whole, a durable one is still open with every acknowledged change in it; a
scope is persisted or discarded as a whole; a reader that looks past it sees what was there before; its space is given
back (O1 to O4).

Cases: all crash points of the runs; every story that makes sense of two letters behind each of four beginnings.
"""

import itertools
from typing import Final

from tests.testing.acceptance import accept
from tests.testing.situations import mark_situations
from tests.testing.stories import draw_word, tell
from tests.testing.trace import Moment, Trace
from tests.testing.trial import Trial
from tests.testing.workloads import WEIGHTS_SCOPES, crash_trace

CASES: Final = 1_500
SHARE: Final = 0.5

STEPS: Final = 80
BEGINNINGS: Final = ("wtd", "wtb", "Wd", "Wb")
STORIES_LONG: Final = 10
TOLD: Final = ("wdcpww", "WdWx", "Wdcxkc", "wtdWtpWr")  # each was a mistake once


def run(trial: Trial) -> None:
    """One run with scopes, crashed at every call; then stories."""
    rng = trial.rng()
    trace = crash_trace(rng, STEPS, weights=WEIGHTS_SCOPES, memory_size=2048)
    mark_situations(trial, trace)
    for moment in trace.moments():
        _crash(trial, trace, moment)
    begin = rng.choice(BEGINNINGS)
    for letters in itertools.product("wWcpxrkt", repeat=2):
        _story(trial, begin + "".join(letters), sampled=True)
    for number in range(STORIES_LONG):
        _story(trial, draw_word(trial.rng(f"story {number}")), sampled=True)
    for word in TOLD:
        _story(trial, word, sampled=True)


def _crash(trial: Trial, trace: Trace, moment: Moment) -> None:
    change = moment.change
    history = trace.run.model.history
    if trial.begin(f"killed {moment.label}"):
        accept(moment.disk.reopen(), trace.profile, history, change.op_done, change.op_issued, trial)
        scope = history[change.op_issued]
        if scope.before is not None:
            trial.mark("killed in a durable scope" if scope.durable else "killed in a bound scope")
    for name, keep in (("none", 0), ("all", -1), ("some", trial.rng(f"{trial.case}").getrandbits(64))):
        if moment.disk.unsynced and trial.begin(f"power failed, {name} kept, {moment.label}", sampled=True):
            accept(moment.disk.crash(keep), trace.profile, history, change.op_synced, change.op_issued, trial)


def _story(trial: Trial, word: str, *, sampled: bool) -> None:
    if trial.begin(f"the story {word}", sampled=sampled):
        tell(word)
        trial.mark("a story was told")
