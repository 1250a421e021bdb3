"""Superblock copies by letters, and which of them is the root by a short reference.

slots_of("nno|ooo") is a checkpoint that was interrupted: two new copies, four old ones.
"""

from collections.abc import Sequence

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
