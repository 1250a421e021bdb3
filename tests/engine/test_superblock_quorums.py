"""Which copies make the root: every content of six slots against a short reference, and every crash of a checkpoint."""

import itertools
from collections.abc import Iterator, Sequence

import pytest

from lsmcli.engine import schema, superblock_quorums
from lsmcli.engine.errors import DamageError
from lsmcli.engine.superblock_quorums import SuperblockCopy

ZERO = schema.SUPERBLOCK.unpack(bytes(schema.SUPERBLOCK.size))

# A letter is a superblock: sequence, parent. Its checksum is the letter itself.
SUPERBLOCKS = {
    "s": (6, "-"),
    "o": (7, "s"),  # old
    "p": (7, "s"),  # written by somebody else in place of "o"
    "n": (8, "o"),  # new
    "m": (8, "o"),  # written by somebody else in place of "n"
    "z": (9, "n"),  # newer still
}


def copy_of(name: str, copy: int) -> SuperblockCopy:
    sequence, parent = SUPERBLOCKS[name]
    return SuperblockCopy(copy, ZERO._replace(sequence=sequence, parent=parent.encode()), name.encode())


def slots_of(picture: str) -> list[SuperblockCopy | None]:
    """A picture: one letter per slot, "." broken, a digit behind it the copy number where that is wrong."""
    names: list[tuple[str, int]] = []
    for letter in picture.replace(" ", "").replace("|", ""):
        if letter.isdigit():
            names[-1] = (names[-1][0], int(letter))
        else:
            names.append((letter, len(names)))
    return [None if name == "." else copy_of(name, copy) for name, copy in names]


def chosen(slots: Sequence[SuperblockCopy | None]) -> str:
    """The letter of the root, "fork" or "none"."""
    try:
        return superblock_quorums.choose(slots).checksum.decode()
    except DamageError as error:
        assert error.zone == "superblock"
        return "fork" if "separate ways" in str(error) else "none"


def reference(slots: Sequence[SuperblockCopy | None]) -> str:
    """The rules once more, by sets of names."""
    seen = {(found.checksum.decode(), found.copy) for found in slots if found is not None and found.copy in range(6)}
    names = {name for name, _ in seen}
    agreed = {name for name in names if sum(name == other for other, _ in seen) >= 2}
    if not agreed:
        return "none"
    newest = max(SUPERBLOCKS[name][0] for name in agreed)
    for sequence in range(newest, 10):
        if len([name for name in names if SUPERBLOCKS[name][0] == sequence]) > 1:
            return "fork"
    (root,) = [name for name in agreed if SUPERBLOCKS[name][0] == newest]
    parents = {name for name in agreed if SUPERBLOCKS[name][0] == newest - 1}
    return root if parents <= {SUPERBLOCKS[root][1]} else "fork"


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


def test_every_content_of_six_slots_against_the_reference() -> None:
    contents = [
        [
            None,
            copy_of("n", slot),
            copy_of("n", (slot + 1) % 6),
            copy_of("m", slot),
            copy_of("o", slot),
            copy_of("p", slot),
        ]
        for slot in range(6)
    ]
    outcomes = set()
    for slots in itertools.product(*contents):
        outcome = reference(slots)
        outcomes.add(outcome)
        assert chosen(slots) == outcome, slots
    assert outcomes == {"none", "fork", "n", "m", "o", "p"}


def test_every_multiset_of_contents_against_the_reference() -> None:
    """Each name in its own slot and in a wrong one, and one under a number that no slot has."""
    kinds = [(name, shift) for name in "sopnmz" for shift in (0, 1)] + [("n", 40), (".", 0)]
    for chosen_kinds in itertools.combinations_with_replacement(kinds, 6):
        slots = [
            None if name == "." else copy_of(name, (slot + shift) if shift > 1 else (slot + shift) % 6)
            for slot, (name, shift) in enumerate(chosen_kinds)
        ]
        assert chosen(slots) == reference(slots), chosen_kinds


def states_of_a_checkpoint() -> Iterator[tuple[str, bool]]:
    """What a power failure may leave of a checkpoint from "o" to "n", and whether it was acknowledged."""
    for group in itertools.product("on.", repeat=3):
        yield "".join(group) + "ooo", False
        yield "nnn" + "".join(group), False
    yield "nnnnnn", True


def faults_in(picture: str) -> Iterator[list[SuperblockCopy | None]]:
    """The slots as they are, and with one more fault anywhere."""
    yield slots_of(picture)
    for slot in range(6):
        slots = slots_of(picture)
        for content in (None, copy_of("o", slot), copy_of("s", slot), *slots):  # rot, lost writes, misdirected ones
            yield [*slots[:slot], content, *slots[slot + 1 :]]


def test_a_crashed_checkpoint_opens_even_with_one_more_fault() -> None:
    for picture, acknowledged in states_of_a_checkpoint():
        for slots in faults_in(picture):
            assert chosen(slots) in ("n" if acknowledged else "no"), (picture, slots)


def test_repair_may_crash_anywhere_without_changing_the_root() -> None:
    for picture, _ in states_of_a_checkpoint():
        for slots in faults_in(picture):
            quorum = superblock_quorums.choose(slots)
            root = quorum.checksum.decode()
            for phase in (quorum.slots_missing, quorum.slots_misplaced):
                for written in itertools.product(("kept", "torn", "done"), repeat=len(phase)):
                    crashed = list(slots)
                    for slot, state in zip(phase, written, strict=True):
                        crashed[slot] = {"kept": slots[slot], "torn": None, "done": copy_of(root, slot)}[state]
                    assert chosen(crashed) == root, (picture, slots, written)
                slots = [copy_of(root, slot) if slot in phase else found for slot, found in enumerate(slots)]
            assert superblock_quorums.choose(slots).slots_intact == (0, 1, 2, 3, 4, 5)


def test_a_lost_quorum_says_what_to_do() -> None:
    with pytest.raises(DamageError, match=r"superblock: 1 of 6 copies are intact, .*use salvage"):
        superblock_quorums.choose(slots_of("n....."))
