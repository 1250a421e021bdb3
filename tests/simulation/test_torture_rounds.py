"""Which class of the matrix gets the next round of a long run."""

from collections import Counter

from tests.simulation.matrix import FaultClass
from tests.simulation.torture import Tally
from tests.testing.trial import Result

_CLASSES = {
    number: FaultClass(number, name, name, 1, lambda trial: None, 1.0, 1, None, situations)
    for number, name, situations in ((1, "plain", ()), (2, "rare", ("the rare one",)))
}


def _rounds(tally: Tally, count: int, marks: Counter[str]) -> Counter[int]:
    """Rounds that each class gets out of so many, of one second each; what class 2 meets in each."""
    given: Counter[int] = Counter()
    for _ in range(count):
        number, _ = tally.next_round("seed")
        given[number] += 1
        tally.add(Result(number, 1, marks if number == 2 else Counter(), None, 1.0))
    return given


def test_a_class_with_situations_left_gets_eight_times_the_time() -> None:
    tally = Tally(_CLASSES)
    assert _rounds(tally, 90, Counter()) == {1: 10, 2: 80}
    assert tally.never_met() == [(2, "the rare one")]


def test_once_they_are_met_the_other_classes_catch_up() -> None:
    tally = Tally(_CLASSES)
    _rounds(tally, 90, Counter())
    _rounds(tally, 72, Counter({"the rare one": 1}))
    assert tally.never_met() == []
    assert tally.seconds == {1: 81.0, 2: 81.0}
