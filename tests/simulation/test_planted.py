"""The bugs of class 31, before any is hunted: each can be planted, and what it changes is seen to run, or not to."""

import os

import pytest

from lsmcli.engine import entry_order, key_range
from tests.simulation.matrix import load_classes
from tests.simulation.planted import BUGS
from tests.testing.plant import Bug, changed_source, is_interpreted, plant

BUGS_MIN = 40


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_bug_has_its_place_and_its_hunters(bug: Bug) -> None:
    compile(changed_source(bug), bug.module, "exec")
    is_interpreted(bug)  # fails when no function changes
    assert bug.classes
    assert set(bug.classes) <= load_classes().keys()


def test_there_are_enough_bugs_each_with_a_name_of_its_own() -> None:
    assert len({bug.name for bug in BUGS}) == len(BUGS) >= BUGS_MIN


STEM = Bug("", "lsmcli.engine.key_range", "stem[:-1] +", "stem +", (29,))


@pytest.mark.parametrize("used", [True, False])
def test_changed_code_is_seen_to_run(used: bool) -> None:
    child = os.fork()
    if child == 0:
        reached = plant(STEM)
        changed = not used or key_range.prefix_end(b"a") == b"ab"
        os._exit(0 if changed and reached() == used else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert key_range.prefix_end(b"a") == b"b", "the bug stays in its process"


def test_changed_code_is_seen_to_run_in_a_child() -> None:
    child = os.fork()
    if child == 0:
        reached = plant(STEM)
        if os.fork() == 0:
            key_range.prefix_end(b"a")
            os._exit(0)
        os.wait()
        os._exit(0 if reached() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [("no such place", "", "is there 0 times"), ("key", "k", "times"), ("stem[:-1] +", "stem[:-1] + ", "no function")],
)
def test_what_cannot_be_planted_says_so(old: str, new: str, why: str) -> None:
    with pytest.raises(AssertionError, match=why):
        plant(Bug("", "lsmcli.engine.key_range", old, new, (29,)))


def test_compiled_code_is_told_from_interpreted() -> None:
    bug = Bug("", "lsmcli.engine.entry_order", "sorted(newest)", "list(newest)", (29,))
    assert is_interpreted(bug) != entry_order.COMPILED
