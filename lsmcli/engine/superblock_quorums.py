"""Which of the six superblock copies is the root: a pure decision, no reading, no writing.

Invariants:
- the root is the newest sequence on which at least SUPERBLOCK_QUORUM_OPEN copies agree, to the byte.
  A checkpoint is acknowledged once SUPERBLOCK_QUORUM_VERIFY copies hold it, so one that was always meets
  a reader, with a copy to spare; the single newest copy would not do: one failed read could hide it,
  and the next checkpoint would fork the sequence;
- a copy number counts once, wherever it is found: a write that went to a wrong slot is no second witness;
- two different superblocks of one sequence, that one or a newer one, are a fork: nobody can say which
  of them holds what was acknowledged, so both are refused. So is a root whose parent is not the agreed
  superblock of the sequence before it.

What a crash leaves, slots 0-2 | 3-5, for a checkpoint from sequence 7 to 8 (x: torn):

    7 7 7 | 7 7 7   before                        7
    8 x 7 | 7 7 7   in the first group            7: one copy of 8 is no quorum
    8 8 x | 7 7 7   in the first group            8: nothing was acknowledged, but all it points at is synced
    8 8 8 | 7 7 7   between the groups            8
    8 8 8 | 8 x 7   in the second group           8
"""

from collections.abc import Sequence
from typing import NamedTuple

from lsmcli.engine import constants
from lsmcli.engine.errors import DamageError
from lsmcli.engine.schema import Superblock


class SuperblockCopy(NamedTuple):
    """A copy whose checksum holds, with the copy number that is stored in it: any u32."""

    copy: int
    superblock: Superblock
    checksum: bytes


class Quorum(NamedTuple):
    """The root and the state of the slots. Both tuples together name each slot once.

    slots_to_repair come in the order in which to rewrite them: first those that do not hold the root,
    then those that hold the copy of another slot, last those whose copy that slot holds as well. So a
    witness is not overwritten before its own slot has been written.
    """

    superblock: Superblock
    checksum: bytes
    slots_intact: tuple[int, ...]
    slots_missing: tuple[int, ...]
    slots_misplaced: tuple[int, ...]

    @property
    def slots_to_repair(self) -> tuple[int, ...]:
        """Slots that do not hold their own copy of the root, most useful first."""
        return self.slots_missing + self.slots_misplaced


def choose(slots: Sequence[SuperblockCopy | None]) -> Quorum:
    """The root, from what each of the six slots holds; None stands for an unreadable or broken copy.

    DamageError, zone "superblock": no quorum, or a fork.
    """
    assert len(slots) == constants.SUPERBLOCK_COPIES
    copies = [found for found in slots if found is not None and found.copy < constants.SUPERBLOCK_COPIES]
    agreed = {found.checksum: found.superblock for found in copies if _witnesses(copies, found.checksum)}
    if not agreed:
        raise DamageError(
            f"superblock: {len(copies)} of {constants.SUPERBLOCK_COPIES} copies are intact, and no "
            f"{constants.SUPERBLOCK_QUORUM_OPEN} of them agree; use salvage to read what is left",
            zone="superblock",
        )
    checksum, root = max(agreed.items(), key=lambda item: item[1].sequence)
    _refuse_fork(copies, agreed, root)
    return _quorum(slots, root, checksum)


def _witnesses(copies: Sequence[SuperblockCopy], checksum: bytes) -> bool:
    numbers = {found.copy for found in copies if found.checksum == checksum}
    return len(numbers) >= constants.SUPERBLOCK_QUORUM_OPEN


def _refuse_fork(copies: Sequence[SuperblockCopy], agreed: dict[bytes, Superblock], root: Superblock) -> None:
    seen: dict[int, bytes] = {}
    for found in copies:
        sequence = found.superblock.sequence
        if sequence >= root.sequence and seen.setdefault(sequence, found.checksum) != found.checksum:
            raise _fork_error(sequence, "two different copies carry this number")
    for checksum, superblock in agreed.items():
        if superblock.sequence == root.sequence - 1 and checksum != root.parent:
            raise _fork_error(root.sequence, "it does not follow from the one before it")


def _fork_error(sequence: int, reason: str) -> DamageError:
    return DamageError(
        f"superblock {sequence}: {reason}, so two writers went separate ways; use salvage to read both",
        zone="superblock",
    )


def _quorum(slots: Sequence[SuperblockCopy | None], root: Superblock, checksum: bytes) -> Quorum:
    held = [found.copy if found is not None and found.checksum == checksum else None for found in slots]
    intact = tuple(slot for slot, copy in enumerate(held) if copy == slot)
    # A number out of range is no witness: there is nothing in that slot to lose.
    missing = tuple(slot for slot, copy in enumerate(held) if copy is None or copy >= len(slots))
    elsewhere = [slot for slot in range(len(slots)) if slot not in intact and slot not in missing]
    misplaced = sorted(elsewhere, key=lambda slot: held[slot] in intact)  # sorted keeps the order of equals
    assert len(intact) + len(missing) + len(misplaced) == len(slots)
    return Quorum(root, checksum, intact, missing, tuple(misplaced))
