"""Decoded blocks that were used lately, bounded by bytes.

Invariants:
- young and old together weigh at most `size_max`;
- an address is in one of the two generations at most;
- an object is only returned for the checksum and the kind under which it was put: a block that was
  reused, or one that a crafted file refers to as two kinds, is a miss;
- a slot by which lookups reach a block without asking here is of use as long as the block is in young: one that
  is asked for moves there, and one that is forgotten has its slot shut.

    get hit in young: nothing moves          put -> +---------+  full   +---------+
    get hit in old:   moves to young               | young   | ------> | old     | -> dropped whole
                                                   +---------+         +---------+

Two generations instead of one list in order of use: a hit in the young generation, which is the
common case, changes nothing and costs two thirds of a hit that has to reorder an OrderedDict. The
price is that between a half and all of `size_max` is in use.
"""

from typing import Final

from lsmcli.engine.lookup import BlockSlot, CacheAge
from lsmcli.engine.schema import BlockKind

# What an entry adds to its object: the tuple, the dict slot and the key, in bytes.
ENTRY_OVERHEAD: Final = 256

_Entry = tuple[bytes, BlockKind, object, int, BlockSlot]  # checksum, kind, object, weight in bytes, slot


class BlockCache:
    """Maps the address of a block to what was decoded from it. A size_max of 0 turns it off."""

    __slots__ = ("_hits", "_old", "_old_size", "_young", "_young_size", "age", "misses", "size_max")

    def __init__(self, size_max: int) -> None:
        assert size_max >= 0
        self.size_max = size_max  # bytes
        self.age = CacheAge()
        self.misses = 0
        self._hits = 0
        self._young: dict[int, _Entry] = {}
        self._old: dict[int, _Entry] = {}
        self._young_size = 0
        self._old_size = 0

    @property
    def size(self) -> int:
        """Bytes in use, at most size_max."""
        return self._young_size + self._old_size

    @property
    def hits(self) -> int:
        """Blocks that were found, here or through their slots."""
        hits: int = self._hits + self.age.hits
        return hits

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def __contains__(self, address: int) -> bool:
        """Whether something is kept of this address; counts as no use of it."""
        return address in self._young or address in self._old

    def get(self, address: int, checksum: bytes, kind: BlockKind) -> object | None:
        """What was put under all three, or None. O(1)."""
        entry = self._young.get(address)
        if entry is None:
            entry = self._promote(address)
        if entry is not None and entry[0] == checksum and entry[1] is kind:
            self._hits += 1
            return entry[2]
        self.misses += 1
        return None

    def slot(self, address: int, checksum: bytes, kind: BlockKind) -> BlockSlot | None:
        """The slot of a block that was just put or got; None when it is not in the young generation. O(1)."""
        entry = self._young.get(address)
        if entry is not None and entry[0] == checksum and entry[1] is kind:
            return entry[4]
        return None

    def put(self, address: int, checksum: bytes, kind: BlockKind, decoded: object, size: int) -> None:
        """Keeps `decoded`, which weighs `size` bytes, in the place of what the address had before.

        Something heavier than half of the cache is not kept.
        """
        assert decoded is not None and size >= 0
        self.remove(address)
        weight = size + ENTRY_OVERHEAD
        if weight <= self.size_max // 2:
            self._put_young(address, (checksum, kind, decoded, weight, BlockSlot(self.age.generation)))

    def remove(self, address: int) -> None:
        """Forgets a block, if it is there."""
        if (entry := self._young.pop(address, None)) is not None:
            self._young_size -= entry[3]
            entry[4].shut()
        elif (entry := self._old.pop(address, None)) is not None:
            self._old_size -= entry[3]
            entry[4].shut()

    def clear(self) -> None:
        """Forgets all blocks; the counters stay."""
        for entry in (*self._young.values(), *self._old.values()):
            entry[4].shut()
        self._young = {}
        self._old = {}
        self._young_size = 0
        self._old_size = 0

    def _promote(self, address: int) -> _Entry | None:
        entry = self._old.pop(address, None)
        if entry is not None:
            self._old_size -= entry[3]
            self._put_young(address, entry)
        return entry

    def _put_young(self, address: int, entry: _Entry) -> None:
        if self._young_size + entry[3] > self.size_max // 2:
            for forgotten in self._old.values():
                forgotten[4].shut()
            self._old = self._young
            self._old_size = self._young_size
            self._young = {}
            self._young_size = 0
            self.age.generation += 1
        entry[4].generation = self.age.generation
        self._young[address] = entry
        self._young_size += entry[3]
        assert self._young_size + self._old_size <= self.size_max
