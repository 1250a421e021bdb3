"""Which copies make the root, and what is repaired: cases worth a name. Class 5 of the fault matrix has all of them."""

import pytest

from lsmcli.engine import superblock_quorums
from lsmcli.engine.errors import DamageError
from tests.testing.superblocks import chosen, reference, slots_of


@pytest.mark.parametrize(
    ("picture", "root"),
    [
        ("ooo|ooo", "o"),
        ("n.o|ooo", "o"),
        ("nno|ooo", "n"),
        ("nnn|ooo", "n"),
        ("nnn|n.o", "n"),
        ("nnn|nnn", "n"),
        ("...|nn.", "n"),
        ("...|n..", "none"),
        ("...|...", "none"),
        ("n.n0|...", "none"),
        ("n.n1|...", "n"),
        ("nn7o|ooo", "o"),
        ("nnm|mmm", "fork"),
        ("nnn|nnm", "fork"),
        ("nm.|ooo", "fork"),
        ("nnn|ppp", "fork"),
        ("nnn|op.", "n"),
        ("zoo|npo", "fork"),
        ("nnz|nsp", "n"),
    ],
    ids=[
        "all agree",
        "a single new copy is a crash before anything was acknowledged",
        "two new copies are a quorum",
        "crash between the groups: the new one",
        "crash in the second group",
        "checkpoint complete",
        "two are enough",
        "one is not",
        "nothing left",
        "a copy found twice is one witness",
        "a copy in a wrong slot is a witness",
        "a copy number out of range is none",
        "two superblocks of one sequence, both agreed on",
        "two superblocks of one sequence, one a stray",
        "two superblocks of a sequence newer than the agreed one",
        "the agreed parent is another one",
        "a stray of the parent's sequence says nothing",
        "the agreed root is itself contradicted",
        "older strays say nothing",
    ],
)
def test_choice(picture: str, root: str) -> None:
    slots = slots_of(picture)
    assert chosen(slots) == root
    assert reference(slots) == root


@pytest.mark.parametrize(
    ("picture", "intact", "missing", "misplaced"),
    [
        ("nnn|nnn", (0, 1, 2, 3, 4, 5), (), ()),
        ("n.n|oon", (0, 2, 5), (1, 3, 4), ()),
        ("nnn5|nn.", (0, 1, 3, 4), (5,), (2,)),
        ("nn0n5|nn.", (0, 3, 4), (5,), (2, 1)),
        ("nn9n|nnn", (0, 2, 3, 4, 5), (1,), ()),
        ("n1n0n|...", (2,), (3, 4, 5), (0, 1)),
    ],
    ids=[
        "nothing to do",
        "broken and stale alike",
        "a misplaced copy after the slot it belongs to",
        "a duplicate after a misplaced one",
        "a number out of range is nothing to keep",
        "swapped",
    ],
)
def test_repair_order(
    picture: str, intact: tuple[int, ...], missing: tuple[int, ...], misplaced: tuple[int, ...]
) -> None:
    quorum = superblock_quorums.choose(slots_of(picture))
    assert (quorum.slots_intact, quorum.slots_missing, quorum.slots_misplaced) == (intact, missing, misplaced)
    assert quorum.slots_to_repair == missing + misplaced


def test_a_lost_quorum_says_what_to_do() -> None:
    with pytest.raises(DamageError, match=r"superblock: 1 of 6 copies are intact, .*use salvage"):
        superblock_quorums.choose(slots_of("n....."))
