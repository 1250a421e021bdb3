"""Class 5: superblock copies that are old, new, broken, misplaced, foreign or forked.

Injects: every content of the six slots; and on a disk a checkpoint from one superblock to the next that is interrupted
at every storage call, with one more fault in any slot, repaired, interrupted again; and writes of copies that get lost
or land in another slot.

Must hold: the root is the one that the reference of tests/testing/superblocks.py chooses, or opening refuses. An
interrupted checkpoint opens as the old or the new one, as the new one once it was acknowledged, with one more fault
anywhere; a repair does not change it wherever it is interrupted, and leaves six copies. A checkpoint is acknowledged
only when at least five copies can be read back.

Cases: all multisets of 14 contents, the 7^6 arrangements of 7 of them, of which a share is run; every storage call of a
checkpoint with FAULTS in each slot; every set of writes that get lost or misdirected.
"""

import itertools
import random
from collections.abc import Iterator
from typing import Final

from lsmcli.engine import constants, superblock
from lsmcli.engine.errors import OutcomeUnknownError
from lsmcli.engine.schema import Superblock
from lsmcli.engine.superblock_quorums import SuperblockCopy
from tests.testing.storage import UNIT_SIZE, Crash, Fault, SimulatedStorage
from tests.testing.superblocks import chosen, copy_of, reference
from tests.testing.trial import Trial

CASES: Final = 50_000
SHARE: Final = 0.2
SLICES: Final = 2

COPIES: Final = range(constants.SUPERBLOCK_COPIES)
FAULTS: Final = ("none", "rot", "zeros", "old", "older", "foreign", "another slot's", "unreadable")
MASKS_OF_A_CALL: Final = 6


def run(trial: Trial) -> None:
    """All contents against the reference; then one checkpoint on a disk."""
    _verified(trial)
    _schedules(trial)
    _contents(trial)


# Contents.


def _content(kind: tuple[str, int], slot: int) -> SuperblockCopy | None:
    """A letter with a copy number: its own (0), a neighbour's (1), or one that no slot has."""
    name, shift = kind
    if name == ".":
        return None
    return copy_of(name, (slot + shift) % 6 if shift <= 1 else slot + shift)


def _contents(trial: Trial) -> None:
    kinds = [(name, shift) for name in "sopnmz" for shift in (0, 1)] + [("n", 40), (".", 0)]
    for multiset in itertools.combinations_with_replacement(kinds, 6):
        if trial.begin("a multiset"):
            _compare(trial, multiset)
    few = [("n", 0), ("n", 1), ("m", 0), ("o", 0), ("p", 0), ("z", 0), (".", 0)]
    for arrangement in itertools.product(few, repeat=6):
        if trial.begin("an arrangement", sampled=True):
            _compare(trial, arrangement)


def _compare(trial: Trial, kinds: tuple[tuple[str, int], ...]) -> None:
    slots = [_content(kind, slot) for slot, kind in enumerate(kinds)]
    wanted = reference(slots)
    assert chosen(slots) == wanted, kinds
    trial.mark({"none": "no quorum", "fork": "a fork"}.get(wanted, "a root"))


# A checkpoint on a disk.


def _superblocks(rng: random.Random) -> list[Superblock]:
    """Three that follow each other: older, old, new."""
    first, _ = superblock.format_file(
        uuid=rng.randbytes(16), created_s=rng.randrange(1 << 32), block_size=4096, growth_factor=2
    )
    line = [first._replace(sequence=rng.randrange(2, 1 << 40))]
    for _ in range(2):
        before = line[-1]
        parent = superblock.superblock_checksum(before)
        line.append(
            before._replace(sequence=before.sequence + 1, parent=parent, op_checkpoint=before.op_checkpoint + 9)
        )
    return line


def _disk_with(root: Superblock) -> SimulatedStorage:
    disk = SimulatedStorage(bytes(constants.GRID_OFFSET))
    superblock.write(disk, root)
    return SimulatedStorage(disk.image)


def _crashed(
    disk: SimulatedStorage, step: Superblock | superblock.SuperblockRead, rng: random.Random
) -> Iterator[tuple[SimulatedStorage, str, bool]]:
    """What each interruption of a write, or of a repair, may leave on disk; how it came; whether it had ended."""
    for call in itertools.count():

        def interrupt(operation: int, _kind: str, _offset: int, _size: int, end: int = call) -> None:
            if operation == end:
                raise Crash

        storage = SimulatedStorage(disk.image)
        storage.hook = interrupt
        ended = False
        try:
            if isinstance(step, Superblock):
                superblock.write(storage, step)
            else:
                superblock.repair(storage, step)
            ended = True
        except Crash:
            pass
        units = len(storage.units())
        masks = {0, (1 << units) - 1, *(rng.getrandbits(units) for _ in range(MASKS_OF_A_CALL if units else 0))}
        # A copy whose first sector alone is missing, or there, is torn where it matters.
        masks |= {1 << unit for unit in range(0, units, constants.SUPERBLOCK_COPY_SIZE // UNIT_SIZE)}
        for mask in sorted(masks):
            yield storage.crash(mask), f"call {call}, mask {mask:x}", ended
        if ended:
            return


def _schedules(trial: Trial) -> None:
    rng = trial.rng()
    older, old, new = _superblocks(rng)
    foreign = _superblocks(rng)[2]
    disk = _disk_with(old)
    for crashed, label, acknowledged in _crashed(disk, new, rng):
        for slot, fault in itertools.product(COPIES, FAULTS):
            if trial.begin(f"checkpoint interrupted at {label}; {fault} in slot {slot}", sampled=True):
                hurt = SimulatedStorage(crashed.image)
                _hurt(hurt, slot, fault, {"old": old, "older": older, "foreign": foreign}, trial.rng_case())
                _opened_and_repaired(trial, hurt, [new] if acknowledged else [old, new], fault)


def _hurt(disk: SimulatedStorage, slot: int, fault: str, others: dict[str, Superblock], rng: random.Random) -> None:
    offset = constants.superblock_copy_offset(slot)
    if fault == "rot":
        disk.flip(8 * (offset + rng.randrange(superblock.BODY_OFFSET + 200)) + rng.randrange(8))
    elif fault == "zeros":
        disk.corrupt(offset, bytes(constants.SUPERBLOCK_COPY_SIZE))
    elif fault == "unreadable":
        disk.faults[slot] = Fault.READ_FAILS
    elif fault == "another slot's":
        other = constants.superblock_copy_offset(rng.choice([copy for copy in COPIES if copy != slot]))
        disk.corrupt(offset, disk.image.read(other, constants.SUPERBLOCK_COPY_SIZE))
    elif fault in others:
        disk.corrupt(offset, superblock.encode_copy(others[fault], slot))


def _opened_and_repaired(trial: Trial, disk: SimulatedStorage, allowed: list[Superblock], fault: str) -> None:
    found = superblock.read(disk)
    root = found.superblock
    assert root in allowed, f"superblock {root.sequence} was chosen, of {[each.sequence for each in allowed]}"
    trial.mark(f"{fault} in an interrupted checkpoint")
    if not found.slots_to_repair:
        return
    disk.faults.clear()
    again = disk.reopen()
    superblock.repair(again, found)
    assert superblock.read(again).slots_to_repair == ()
    assert superblock.read(again).superblock == root
    # A slot that can be read again may bring the other root back, as long as nothing was acknowledged on this one:
    # a writer goes on only behind its repair.
    possible = allowed if fault == "unreadable" else [root]
    rng = trial.rng_case()
    for crashed, label, _ in rng.sample(list(_crashed(disk, found, rng)), 2):
        assert superblock.read(crashed).superblock in possible, f"the repair was interrupted at {label}"


# Reading back.


class _Unfaithful(SimulatedStorage):
    """Acknowledges the writes of some slots, and loses them or stores them in the next slot."""

    def __init__(self, image: bytes, lost: set[int], *, misdirected: bool) -> None:
        super().__init__(image)
        self.lost = {constants.superblock_copy_offset(slot) for slot in lost}
        self.misdirected = misdirected

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        if offset not in self.lost:
            super().write(offset, data)
        elif self.misdirected:
            slots = [constants.superblock_copy_offset(slot) for slot in COPIES]
            super().write(slots[(slots.index(offset) + 1) % len(slots)], data)


def _verified(trial: Trial) -> None:
    _, old, new = _superblocks(trial.rng("verified"))
    before = bytes(_disk_with(old).image)
    for lost in itertools.chain.from_iterable(itertools.combinations(COPIES, count) for count in range(7)):
        for misdirected in (False, True):
            if trial.begin(f"copies {lost} are {'misdirected' if misdirected else 'lost'}"):
                disk = _Unfaithful(before, set(lost), misdirected=misdirected)
                _write(trial, disk, new)


def _write(trial: Trial, disk: SimulatedStorage, new: Superblock) -> None:
    try:
        superblock.write(disk, new)
    except OutcomeUnknownError:
        trial.mark("a checkpoint was not acknowledged")
        found = [
            superblock.decode_copy(disk.image.read(constants.superblock_copy_offset(slot), 4096)) for slot in COPIES
        ]
        intact = sum(
            copy is not None and copy.superblock == new and copy.copy == slot for slot, copy in enumerate(found)
        )
        assert intact < constants.SUPERBLOCK_QUORUM_VERIFY
        return
    # What was acknowledged opens with one more fault anywhere.
    for slot in COPIES:
        hurt = SimulatedStorage(disk.image)
        hurt.corrupt(constants.superblock_copy_offset(slot), bytes(constants.SUPERBLOCK_COPY_SIZE))
        assert superblock.read(hurt).superblock == new
    found_slots = superblock.read(SimulatedStorage(disk.image)).quorum.slots_intact
    assert len(found_slots) >= constants.SUPERBLOCK_QUORUM_VERIFY, "too few copies, and it was acknowledged"
    trial.mark("a checkpoint was acknowledged")
