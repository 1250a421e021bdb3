"""Which blocks of the grid are free. Pure: nothing here reads or writes a file.

Invariants:
- each block 1 … block_count is in exactly one state, and the counts agree with the states;
- a block that the last durable superblock may refer to is never handed out: a released block waits
  until the checkpoint after the one that no longer needs it, so that readers without locks and a
  fall-back to the superblock before find it unchanged a little longer;
- no free block lies below the hint at which a search starts.

The life of a block; every other step is a mistake of our own and asserted:

    FREE --reserve--> RESERVED --acquire--> ACQUIRED --release--> RELEASED --checkpoint--> QUARANTINED
     ^ ^                 |                   ^                                                 |
     | +----forfeit------+                   |                                                 |
     |                                       | mark_acquired, acquire_extent (from FREE)       |
     +--------------------------------- checkpoint --------------------------------------------+
     +--------------------------------- quarantine_free ---------------------------------------^

A reserved block may be written to: until it is acquired it is free in the eyes of the next process, so what a job
writes there is gone with the job, whatever checkpoints come in between.

One byte per block holds its state, so that every search and every count is one call into C.
"""

import struct
from collections.abc import Iterator
from typing import Final

from lsmcli.engine.errors import DamageError

# A state byte per block must fit in memory: 256 MiB for 8 TiB of 32 KiB blocks. A superblock that
# claims more blocks is refused before anything is allocated for it.
BLOCK_COUNT_MAX: Final = 1 << 28

FREE: Final = 0
RESERVED: Final = 1
ACQUIRED: Final = 2
RELEASED: Final = 3  # since the last checkpoint
QUARANTINED: Final = 4  # before the last checkpoint
_STATES: Final = (FREE, RESERVED, ACQUIRED, RELEASED, QUARANTINED)

_FREE_BYTE: Final = bytes([FREE])
_RUN_PAIR: Final = struct.Struct("<II")  # free blocks, then used blocks

# For encode(): what is in use in the eyes of the next process that opens the file.
_TO_USED: Final = bytes(1 if state == ACQUIRED else 0 for state in range(256))


def _mapping(changes: dict[int, int]) -> bytes:
    return bytes(changes.get(state, state) for state in range(256))


_GRADUATE: Final = _mapping({QUARANTINED: FREE, RELEASED: QUARANTINED})
_KEEP: Final = _mapping({RELEASED: QUARANTINED})
_QUARANTINE_FREE: Final = _mapping({FREE: QUARANTINED})

# The second tier of checks, O(block_count) after every step. Tests turn it on.
VERIFY: bool = False


class Reservation:
    """Blocks set aside for one job, so that it cannot run out of space half way."""

    __slots__ = ("addresses", "count_acquired")

    def __init__(self, addresses: list[int]) -> None:
        self.addresses = addresses  # ascending; those before count_acquired are acquired
        self.count_acquired = 0

    def __len__(self) -> int:
        """Blocks that can still be acquired."""
        return len(self.addresses) - self.count_acquired


class FreeSet:
    """The states of the blocks 1 … block_count, all free at first.

    Addresses are 1-based. The caller has checked that an address from the file is in range.
    """

    __slots__ = (
        "_free_hint",
        "_states",
        "block_count",
        "count_acquired",
        "count_free",
        "count_released",
        "count_reserved",
    )

    def __init__(self, block_count: int) -> None:
        assert 0 <= block_count <= BLOCK_COUNT_MAX
        self.block_count = block_count
        self.count_free = block_count
        self.count_reserved = 0
        self.count_acquired = 0
        self.count_released = 0  # the quarantined ones included
        self._states = bytearray(block_count)  # of block `index + 1`
        self._free_hint = 0  # an index

    @classmethod
    def open(cls, block_count: int, encoded: bytes) -> "FreeSet":
        """The set that `encode` wrote for a grid that has `block_count` blocks now.

        Raises DamageError when the run lengths do not add up, or the file claims more blocks than
        this program can track.
        """
        if block_count > BLOCK_COUNT_MAX:
            raise _damage(f"the superblock counts {block_count} blocks, of at most {BLOCK_COUNT_MAX}")
        if len(encoded) % _RUN_PAIR.size:
            raise _damage(f"its size, {len(encoded)} bytes, is no multiple of {_RUN_PAIR.size}")
        free_set = cls(block_count)
        end = 0
        acquired = 0
        for free, used in _RUN_PAIR.iter_unpack(encoded):
            start = end + free
            if used == 0 or (free == 0 and end > 0):
                raise _damage(f"an empty run at block {start + 1}")
            end = start + used
            if end > block_count:
                raise _damage(f"its runs reach block {end} of a grid of {block_count}")
            free_set._states[start:end] = bytes([ACQUIRED]) * used
            acquired += used
        free_set.count_acquired = acquired
        free_set.count_free = block_count - acquired
        free_set._verify()
        return free_set

    def encode(self) -> bytes:
        """Run lengths for a process that opens the superblock written next, which `open` takes.

        Only acquired blocks are used in its eyes: it has no reservations, and no reader of
        superblocks before its own. Pairs (free, used) as u32; the free run at the end is left
        out, so an empty result means that all blocks are free. O(block_count), in C per run.

        Example: blocks "..AAAR.A.." encode as (2, 3) (2, 1): 2 free, 3 used, 2 free, 1 used.
        """
        used = self._states.translate(_TO_USED)
        runs: list[bytes] = []
        end = 0
        while (start := used.find(1, end)) >= 0:
            free = start - end
            end = used.find(0, start)
            if end < 0:
                end = self.block_count
            runs.append(_RUN_PAIR.pack(free, end - start))
        encoded = b"".join(runs)
        assert len(encoded) <= self.encoded_size_max()
        return encoded

    def encoded_size_max(self) -> int:
        """Bytes that `encode` takes at most, as long as no further block is acquired. O(1)."""
        runs_max = min(self.count_acquired, self.block_count - self.count_acquired + 1)
        return runs_max * _RUN_PAIR.size

    def reserve(self, count: int) -> Reservation | None:
        """Sets `count` free blocks aside, the lowest ones; None when there are not enough of them."""
        assert count >= 0
        if count > self.count_free:
            return None
        states = self._states
        addresses: list[int] = []
        index = self._free_hint - 1
        for _ in range(count):
            index = states.find(_FREE_BYTE, index + 1)
            states[index] = RESERVED
            addresses.append(index + 1)
        if count:
            self._free_hint = index + 1
        self.count_free -= count
        self.count_reserved += count
        self._verify()
        return Reservation(addresses)

    def acquire(self, reservation: Reservation) -> int:
        """The next address of the reservation; they ascend. The reservation must not be used up."""
        address = reservation.addresses[reservation.count_acquired]
        reservation.count_acquired += 1
        assert self._states[address - 1] == RESERVED
        self._states[address - 1] = ACQUIRED
        self.count_reserved -= 1
        self.count_acquired += 1
        self._verify()
        return address

    def forfeit(self, reservation: Reservation) -> None:
        """Gives back what was not acquired; the reservation is used up."""
        rest = reservation.addresses[reservation.count_acquired :]
        del reservation.addresses[reservation.count_acquired :]
        for address in rest:
            assert self._states[address - 1] == RESERVED
            self._states[address - 1] = FREE
        if rest:
            self._free_hint = min(self._free_hint, rest[0] - 1)
        self.count_reserved -= len(rest)
        self.count_free += len(rest)
        self._verify()

    def acquire_extent(self, count: int) -> int | None:
        """Acquires `count` neighbouring blocks at once: the first address, or None when no gap is wide enough."""
        assert count > 0
        index = self._states.find(_FREE_BYTE * count, self._free_hint)
        if index < 0:
            return None
        self._states[index : index + count] = bytes([ACQUIRED]) * count
        self.count_free -= count
        self.count_acquired += count
        self._verify()
        return index + 1

    def mark_acquired(self, address: int) -> None:
        """Recovery: something durable outside the encoded set refers to this free block."""
        assert self._states[address - 1] == FREE
        self._states[address - 1] = ACQUIRED
        self.count_free -= 1
        self.count_acquired += 1
        self._verify()

    def release(self, address: int) -> None:
        """The coming superblock no longer needs this block; it is free again two checkpoints later."""
        assert self._states[address - 1] == ACQUIRED
        self._states[address - 1] = RELEASED
        self.count_acquired -= 1
        self.count_released += 1
        self._verify()

    def checkpoint_durable(self, *, graduate: bool) -> None:
        """To be called when a superblock is durable and verified. O(block_count), in C.

        Blocks released before the previous checkpoint become free; those released since go into
        quarantine. With graduate=False (a reader still looks at an older state)
        all of them stay in quarantine, until the next call that graduates.
        """
        if graduate:
            self._states = self._states.translate(_GRADUATE)
            self._free_hint = 0
            count_quarantined = self._states.count(QUARANTINED)
            self.count_free += self.count_released - count_quarantined
            self.count_released = count_quarantined
        else:
            self._states = self._states.translate(_KEEP)
        self._verify()

    def quarantine_free(self) -> None:
        """Puts every free block into quarantine: somebody may look at a state that still has it.

        For a writer that opens a file while a reader holds a pin: which state that one reads is not known,
        and what an earlier writer gave back counts as free here.
        """
        assert self.count_reserved == 0
        self._states = self._states.translate(_QUARANTINE_FREE)
        self.count_released += self.count_free
        self.count_free = 0
        self._verify()

    def grow(self, block_count: int) -> None:
        """Adds free blocks at the end, up to `block_count`."""
        assert self.block_count <= block_count <= BLOCK_COUNT_MAX
        self.count_free += block_count - self.block_count
        self._states.extend(bytes(block_count - self.block_count))
        self.block_count = block_count
        self._verify()

    def trailing_free(self) -> int:
        """Free blocks behind the last block that is not free."""
        return self.block_count - len(self._states.rstrip(_FREE_BYTE))

    def shrink(self, count: int) -> None:
        """Takes `count` blocks, all free, off the end."""
        assert 0 <= count <= self.trailing_free()
        self.block_count -= count
        self.count_free -= count
        del self._states[self.block_count :]
        assert self._free_hint <= self.block_count
        self._verify()

    def is_free(self, address: int) -> bool:
        """Whether nobody has, reserved or waits for this block."""
        return self._states[address - 1] == FREE

    def is_acquired(self, address: int) -> bool:
        """Whether the block holds something that the coming superblock may need."""
        return self._states[address - 1] == ACQUIRED

    def is_writable(self, address: int) -> bool:
        """Whether somebody may write to the block: it is acquired, or set aside for a job."""
        return self._states[address - 1] in (RESERVED, ACQUIRED)

    def acquired_addresses(self) -> Iterator[int]:
        """Ascending; the set must not change meanwhile."""
        index = -1
        while (index := self._states.find(ACQUIRED, index + 1)) >= 0:
            yield index + 1

    def _verify(self) -> None:
        if not VERIFY:
            return
        count = [self._states.count(state) for state in _STATES]
        assert sum(count) == len(self._states) == self.block_count
        assert count[FREE] == self.count_free
        assert count[RESERVED] == self.count_reserved
        assert count[ACQUIRED] == self.count_acquired
        assert count[RELEASED] + count[QUARANTINED] == self.count_released
        assert self._states.find(_FREE_BYTE, 0, self._free_hint) < 0


def _damage(what: str) -> DamageError:
    return DamageError(f"the free set is damaged: {what}; copy what is readable into a new file", zone="free set")
