"""The kept hostile files do no harm: see hostile_corpus for what they are, and class 20 for what must hold."""

import pytest

from tests.simulation.hostile_corpus import BASES, base_image, corpus, differences, profile_of_bases
from tests.simulation.matrix.class_20_hostile_files import harmless
from tests.testing.storage import SimulatedStorage

CORPUS = corpus()
SLICES = 8
KEPT_MIN = 40


@pytest.mark.parametrize("slice_", range(SLICES))
def test_a_kept_file_does_no_harm(slice_: int) -> None:
    profile = profile_of_bases()
    for number, kept in enumerate(CORPUS[slice_::SLICES]):
        try:
            harmless(profile, SimulatedStorage(kept.image()), writes=True)
        except Exception as error:
            raise AssertionError(f"line {slice_ + SLICES * number + 1} of the corpus: {kept.label}: {error}") from error


@pytest.mark.parametrize("base", BASES)
def test_the_whole_files_are_taken_for_what_they_say(base: str) -> None:
    assert harmless(profile_of_bases(), SimulatedStorage(base_image(base)), writes=True) == 0


def test_the_corpus_is_large_and_every_file_of_it_another() -> None:
    assert len({(kept.base, kept.patches) for kept in CORPUS}) == len(CORPUS) >= KEPT_MIN
    assert any(kept.patches for kept in CORPUS)


@pytest.mark.parametrize(("before", "after", "found"), [
    (b"aaaa", b"aaaa", []), (b"abcd", b"aBcD", [(1, b"BcD")]),
    (b"a" * 30, b"b" + b"a" * 28 + b"c", [(0, b"b"), (29, b"c")]),
    (b"ab", b"Ab", [(0, b"A")]), (bytes(5000), bytes(4999) + b"1", [(4999, b"1")]),
])  # fmt: skip
def test_differences(before: bytes, after: bytes, found: list[tuple[int, bytes]]) -> None:
    assert list(differences(before, after)) == found
