"""An index block: the root of a table. It tells which value block may hold a key, and at which place.

Invariants:
- last keys are strictly ascending, one per value block; the last of them is the table's key_max;
- each value block has at least one entry, and a fingerprint for each of its entries, in their order;
- block flags are the union of the flags of the block's entries.

    raw:  BlockHeader | IndexBlockHead | references | entry counts | block flags | key off | last keys | fingerprints
          0           96               120

    last keys      d        k            q             a search for "g":
    block          0        1            2               bisect the last keys       -> block 1
    fingerprints   7 3 9    5 8 1 8 4    2 6             find its fingerprint, 8    -> entries 1 and 3 of block 1
                                                         compare the keys there     -> found, or absent

The fingerprint is the low half of the key's CRC-32. It takes the place of a Bloom filter and of a hash
column in the value block: one bytes.find both filters (a miss goes on to a value block in 0.4 % of the
cases, with 250 entries per block) and locates, so that a hit compares one key. It costs 2 bytes an entry.

Counts and sizes are checked against the block when it is opened; a bad block raises DamageError.
"""

import struct
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate, islice, repeat
from operator import itemgetter, lt
from typing import Final
from zlib import crc32

from lsmcli.engine.constants import KEY_SIZE_MAX
from lsmcli.engine.entry_pack import pack_fingerprints
from lsmcli.engine.errors import DamageError
from lsmcli.engine.lookup import BlockSlot, TableSearch
from lsmcli.engine.schema import (
    BLOCK_HEADER,
    BLOCK_REFERENCE,
    FLAGS_KNOWN,
    INDEX_BLOCK_HEAD,
    BlockReference,
    IndexBlockHead,
    offset_code_for,
)
from lsmcli.engine.table_info import TableInfo
from lsmcli.engine.value_block import offset_code_of, offset_column, offset_width_for, offsets_packed

FINGERPRINT_SIZE: Final = 2
FINGERPRINT_MASK: Final = 0xFFFF

_ENTRY_COUNT_SIZE: Final = 4
_ADDRESS_OF: Final = itemgetter(BlockReference._fields.index("address"))
_TWIN_OF: Final = itemgetter(BlockReference._fields.index("address_twin"))
_REFERENCES_AT: Final = BLOCK_HEADER.size + INDEX_BLOCK_HEAD.size
_BLOCK_ROW_SIZE: Final = BLOCK_REFERENCE.size + _ENTRY_COUNT_SIZE + 1  # reference, entry count, flags


def fingerprint(key: bytes) -> int:
    """16 bits of a key, 0 … 65535."""
    return crc32(key) & FINGERPRINT_MASK


def fingerprints_packed(keys: list[bytes]) -> bytes:
    """The fingerprints of keys as a column. 0.02 µs per key, interpreted 0.1."""
    return pack_fingerprints(keys)


class IndexBlock:
    """An index block over the verified bytes of grid.read(): header and body. Raises DamageError.

    Opening costs O(value blocks). Attributes, one item per value block: references, entry_counts,
    block_flags, keys_last. `entry_starts` has one more: entries before each block, and in total.
    """

    __slots__ = (
        "_fingerprint_starts",
        "_raw",
        "block_count",
        "block_flags",
        "entry_count",
        "entry_counts",
        "entry_starts",
        "keys_last",
        "large_count",
        "references",
        "table",
        "tombstone_count",
    )

    def __init__(self, raw: bytes) -> None:
        if len(raw) < _REFERENCES_AT:
            raise _damage(raw, "is too short for its head")
        head = INDEX_BLOCK_HEAD.unpack(raw, BLOCK_HEADER.size)
        count = head.block_count
        counts_at = _REFERENCES_AT + count * BLOCK_REFERENCE.size
        flags_at = counts_at + count * _ENTRY_COUNT_SIZE
        offsets_at = flags_at + count
        fingerprints_at = len(raw) - head.entry_count * FINGERPRINT_SIZE
        keys_at = fingerprints_at - head.keys_size
        code = offset_code_of(keys_at - offsets_at, count + 1)
        if count == 0 or code is None:
            raise _damage(raw, f"with {count} value blocks does not have the size that its head tells")
        if head.tombstone_count + head.large_count > head.entry_count:
            raise _damage(raw, "counts more tombstones and large values than entries")

        self.block_count: int = count
        self.entry_count: int = head.entry_count
        self.tombstone_count: int = head.tombstone_count
        self.large_count: int = head.large_count
        references = BLOCK_REFERENCE.struct.iter_unpack(memoryview(raw)[_REFERENCES_AT:counts_at])
        # As BlockReference._make() does it, without a frame of Python for each.
        self.references: list[BlockReference] = list(map(tuple.__new__, repeat(BlockReference), references))
        self.entry_counts: tuple[int, ...] = struct.unpack_from(f"<{count}I", raw, counts_at)
        self.entry_starts = list(accumulate(self.entry_counts, initial=0))
        self.block_flags = raw[flags_at:offsets_at]
        self.keys_last = _keys_of(raw, offset_column(raw, offsets_at, keys_at, code), keys_at, fingerprints_at)
        self.table: TableInfo | None = None  # with which the block was compared, see table.check_index()
        self._raw = raw
        sizes = map(FINGERPRINT_SIZE.__mul__, self.entry_counts)
        self._fingerprint_starts = list(accumulate(sizes, initial=fingerprints_at))
        self._check()

    def _check(self) -> None:
        """What the sizes alone do not tell."""
        if self.entry_starts[-1] != self.entry_count or 0 in self.entry_counts:
            raise _damage(self._raw, "has entry counts that do not add up")
        if max(self.block_flags) > FLAGS_KNOWN:
            raise _damage(self._raw, "has unknown flags")
        if not all(map(_ADDRESS_OF, self.references)) or any(map(_TWIN_OF, self.references)):
            raise _damage(self._raw, "refers to a value block that cannot be one")

    @property
    def size(self) -> int:
        """Bytes of the block as read: header and body."""
        return len(self._raw)

    def search(self, key: bytes) -> tuple[int, Sequence[int]]:
        """(value block, entries of it whose fingerprint matches); no entries: the key is not in the table.

        The block is the first whose last key is not below `key`, block_count when there is none. 1 µs.
        """
        block = bisect_left(self.keys_last, key)
        if block == self.block_count:
            return block, ()
        raw = self._raw
        crc = crc32(key)
        low, high = crc & 0xFF, (crc >> 8) & 0xFF
        start = self._fingerprint_starts[block]
        stop = self._fingerprint_starts[block + 1]
        at = raw.find(low, start, stop)  # one byte: C is ten times quicker with it than with two
        entries = []
        while at >= 0:
            if not (at - start) & 1 and raw[at + 1] == high:
                entries.append((at - start) >> 1)
            at = raw.find(low, at + 1, stop)
        return block, entries

    def fill_slot(self, slot: BlockSlot, key_min: bytes) -> TableSearch:
        """Makes the table, whose smallest key is `key_min`, ready for lookups. O(value blocks) the first time."""
        table: TableSearch | None = slot.table
        if table is None or table.key_min != key_min:
            slot.table = table = TableSearch(self._raw, key_min, self.keys_last, self._fingerprint_starts)
        return table

    def fingerprints(self, block: int) -> bytes:
        """The fingerprints of value block 0 <= block < block_count, as fingerprints_packed() gives them."""
        return self._raw[self._fingerprint_starts[block] : self._fingerprint_starts[block + 1]]

    def blocks_between(self, start: bytes | None, end: bytes | None) -> range:
        """The value blocks that may hold keys of [start, end); None: unbounded on that side."""
        first = 0 if start is None else bisect_left(self.keys_last, start)
        stop = self.block_count if end is None else min(bisect_left(self.keys_last, end) + 1, self.block_count)
        return range(first, max(first, stop))


def index_block_size(block_count: int, keys_size: int, entry_count: int, block_size: int) -> int:
    """Header and body of an index block over that many value blocks with last keys of keys_size bytes."""
    offsets_size = (block_count + 1) * offset_width_for(block_size)
    return _REFERENCES_AT + block_count * _BLOCK_ROW_SIZE + offsets_size + keys_size + entry_count * FINGERPRINT_SIZE


def references_packed(references: Iterable[BlockReference]) -> bytes:
    """References of value blocks as a column."""
    return b"".join(map(BLOCK_REFERENCE.pack, references))


def encode_index_block(
    references: bytes | bytearray,
    entry_counts: list[int],
    block_flags: bytes,
    keys_last: list[bytes],
    fingerprints: bytes | bytearray,
    *,
    tombstone_count: int,
    large_count: int,
    block_size: int,
) -> bytes:
    """The body of an index block. One item per value block in each list, and in references_packed(); the fingerprints
    are those of fingerprints_packed(), of all blocks in order. Must fit (index_block_size())."""
    block_count = len(entry_counts)
    entry_count = sum(entry_counts)
    assert 0 < block_count == len(block_flags) == len(keys_last)
    assert len(references) == block_count * BLOCK_REFERENCE.size
    assert len(fingerprints) == entry_count * FINGERPRINT_SIZE
    keys_joined = b"".join(keys_last)
    head = IndexBlockHead(
        block_count=block_count,
        entry_count=entry_count,
        tombstone_count=tombstone_count,
        large_count=large_count,
        keys_size=len(keys_joined),
        reserved=0,
    )
    body = b"".join(
        (
            INDEX_BLOCK_HEAD.pack(head),
            references,
            struct.pack(f"<{block_count}I", *entry_counts),
            block_flags,
            offsets_packed(keys_last, offset_code_for(block_size)),
            keys_joined,
            fingerprints,
        )
    )
    size = BLOCK_HEADER.size + len(body)
    assert size == index_block_size(block_count, len(keys_joined), entry_count, block_size)
    assert size <= block_size
    return body


def _keys_of(raw: bytes, offsets: Sequence[int], keys_at: int, keys_stop: int) -> list[bytes]:
    """The last keys. DamageError unless they fill their column, ascend, and have allowed sizes."""
    if offsets[0] != 0 or offsets[-1] != keys_stop - keys_at:
        raise _damage(raw, "has offsets that do not span its keys")
    region = raw[keys_at:keys_stop]
    keys = [region[a:b] for a, b in zip(offsets, islice(offsets, 1, None), strict=False)]
    if not keys[0] or not all(map(lt, keys, islice(keys, 1, None))):
        raise _damage(raw, "has keys that are not in ascending order")
    if len(max(keys, key=len)) > KEY_SIZE_MAX:
        raise _damage(raw, f"has a key of more than {KEY_SIZE_MAX} bytes")
    return keys


def _damage(raw: bytes, what: str) -> DamageError:
    address = BLOCK_HEADER.unpack(raw).address if len(raw) >= BLOCK_HEADER.size else None
    return DamageError(f"index block {address} {what}; run verify to see what is lost", zone="index", address=address)
