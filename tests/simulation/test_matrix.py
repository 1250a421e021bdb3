"""The share of the fault matrix that every run of the tests goes through, class by class.

Each class is cut into slices, so that processes can share the work; a slice runs whole rounds until it has its part of
the class's cases. The seeds are the same every time, unless --seed is given.
`python -m tests.simulation.torture` runs more of the same.
"""

import re
from pathlib import Path

import pytest

from tests.conftest import SEED_DEFAULT
from tests.simulation import seeds
from tests.simulation.matrix import CLASSES_EXPECTED, load_classes, table
from tests.simulation.torture import replay
from tests.testing.trial import Trial, run_trial

CASES_MIN = 100_000  # in all classes together

# The same rounds on every commit, so that a failure is of the commit. Torture draws other seeds, from the commit.
BASE = "784283483748f1cee8f2f389dd501bd5a13d05ec"
ROUNDS_MAX = 10_000  # of one slice: a class whose rounds have no cases is broken

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "internals" / "testing.md"
TABLE = re.compile(r"(?P<mark><!-- matrix -->\n).*?(?=<!-- end -->)", re.S)

CLASSES = load_classes()
SLICES = [(number, slice_) for number, each in CLASSES.items() for slice_ in range(each.slices)]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # injected into a __del__ as well
@pytest.mark.parametrize(
    ("number", "slice_"), SLICES, ids=[f"{number}-{CLASSES[number].name}-{slice_}" for number, slice_ in SLICES]
)
def test_fault_class(number: int, slice_: int, seed: int) -> None:
    fault_class = CLASSES[number]
    base = BASE if seed == SEED_DEFAULT else str(seed)
    quota = -(-fault_class.cases // fault_class.slices)
    cases = 0
    for round_ in range(slice_, min(fault_class.rounds or ROUNDS_MAX, ROUNDS_MAX), fault_class.slices):
        round_seed = seeds.seed_of_round(base, number, round_, fault_class.rounds)
        trial = Trial(number, round_seed, round_seed % (fault_class.rounds or 1), share=fault_class.share)
        result = run_trial(fault_class.run, trial)
        if result.violation is not None:
            pytest.fail(
                f"{result.violation.details}\n{result.violation.label}\n"
                f"python -m tests.simulation.torture --replay {result.violation.replay}"
            )
        cases += result.cases
        if cases >= quota and fault_class.rounds is None:
            break
    assert cases >= quota, f"{cases} cases were run, {quota} are promised"


@pytest.mark.parametrize("text", seeds.kept())
def test_what_was_found_once(text: tuple[int, int, int]) -> None:
    result = replay(CLASSES, ":".join(map(str, text)))
    assert result.violation is None, result.violation.details
    assert result.cases == 1 or text[2] < 0


def test_the_page_shows_the_matrix(rewrite: bool) -> None:
    page = PAGE.read_text("utf-8")
    expected = TABLE.sub(lambda found: found["mark"] + table(CLASSES), page)
    if rewrite:
        PAGE.write_text(expected, "utf-8")
    else:
        assert page == expected, "run: pytest --rewrite tests/simulation/test_matrix.py -k page"


@pytest.mark.skipif(len(CLASSES) < len(CLASSES_EXPECTED), reason="other classes are on their way")
def test_every_class_is_there_and_the_share_is_large_enough() -> None:
    assert set(CLASSES) == set(CLASSES_EXPECTED)
    assert sum(fault_class.cases for fault_class in CLASSES.values()) >= CASES_MIN
