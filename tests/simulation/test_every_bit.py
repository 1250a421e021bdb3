"""The long run over every bit, cut short: some bits of each zone and of what lies between."""

from collections import Counter

from tests.simulation.every_bit import FILLING, RESTORED, RIGHT, TOLD, Flipped, report
from tests.testing.sample import ZONES

EVERY = 8 * 37


def test_bits_of_every_zone_are_flipped_and_counted() -> None:
    flipped = Flipped(seed=2)
    parts = flipped.parts()
    outcomes: Counter[tuple[str, str]] = Counter()
    for zone, part in parts:
        outcomes += flipped.flip_all(zone, part, EVERY)
    assert {zone for zone, _ in outcomes} == {*ZONES, FILLING}
    assert {outcome for zone, outcome in outcomes if zone in ("index", "value", "large value")} == {TOLD}
    assert {outcome for zone, outcome in outcomes if zone in ("manifest", "free set")} <= {RIGHT, RESTORED}
    assert flipped.disk.image == flipped.sample.image
    assert report(outcomes, 5).splitlines()[-2].split()[1] == f"{outcomes.total():,}"


def test_no_two_parts_overlap() -> None:
    taken: set[int] = set()
    for _, part in Flipped(seed=2).parts():
        assert taken.isdisjoint(part)
        taken.update(part)
