"""How a block of a compressed table is filled: with as many entries as take up one block once they are compressed.

Invariants:
- which entries share a block depends on the entries alone, and not on the portions in which they came: a block is
  made only when more is there than any block holds, or when nothing follows;
- a block that is stored fits; where compression does not help, the block is one without a codec, filled as such;
- a block has at most entries_max entries, so that an index block has room for all of its fingerprints.

    entries, in order     |----------------------- raw_room_max -----------------------|--
    guess by the block before                       |------ room ------|
    compressed            |------| too much: less room, once more
                          |-----|  fits: the block        the rest waits for the next one

The columns hold sizes in the place of offsets (see sized_columns), so they are cut and joined without a loop.
"""

from typing import Final, NamedTuple

from lsmcli.engine.block_codec import RAW_SHARE, BlockCodec, sized_body
from lsmcli.engine.entry_pack import pack_fingerprints
from lsmcli.engine.schema import BLOCK_HEADER, FLAG_LARGE, FLAG_TOMBSTONE, VALUE_BLOCK_HEAD, Codec
from lsmcli.engine.sized_columns import fit_sizes, offsets_of, sizes_of
from lsmcli.engine.value_block import offset_width_for, sizes_packed, value_block_size

_FINGERPRINT_SIZE: Final = 2

# Compressed once with the room that the block before tells, and again when that was too much, or far too little.
_ATTEMPTS_MAX: Final = 3

# Of an entry the index block keeps two bytes: a quarter of it at most for those of one block.
_INDEX_SHARE_OF_ENTRIES: Final = 8

_ROOM_LEAST: Final = (5, 4)  # of a plain block's room: for less than that nothing is compressed
_ROOM_FIRST: Final = 2  # plain blocks' room, as long as no block was made
_MARGIN: Final = 40  # a block is to be filled but for a fortieth, since no two compress alike


class FilledBlock(NamedTuple):
    """A value block to be written: its body as stored, and what an index block tells of it."""

    body: bytes
    codec: int
    size_decoded: int  # of header and body before compression
    key_first: bytes
    key_last: bytes
    entry_count: int
    tombstone_count: int
    large_count: int
    entries_size: int  # bytes of keys and values
    fingerprints: bytes


class BlockFill:
    """Gathers entries that come in key order, and makes blocks of them."""

    __slots__ = (
        "_body_size_max",
        "_codec",
        "_entries_max",
        "_fingerprints",
        "_flags",
        "_key_sizes",
        "_keys",
        "_room",
        "_room_max",
        "_room_plain",
        "_value_sizes",
        "_values",
        "_width",
    )

    def __init__(self, codec: BlockCodec, block_size: int) -> None:
        self._codec = codec
        self._width = offset_width_for(block_size)
        self._body_size_max = block_size - BLOCK_HEADER.size
        self._entries_max = block_size // _INDEX_SHARE_OF_ENTRIES
        empty = value_block_size(0, 0, 0, block_size)
        self._room_plain = block_size - empty
        self._room_max = RAW_SHARE * block_size - empty
        self._room = _ROOM_FIRST * self._room_plain
        self._key_sizes = bytearray()
        self._value_sizes = bytearray()
        self._flags = bytearray()
        self._keys = bytearray()
        self._values = bytearray()
        self._fingerprints = bytearray()

    @property
    def entry_count(self) -> int:
        """Entries that wait for their block."""
        return len(self._flags)

    @property
    def full(self) -> bool:
        """Whether more is there than any block holds."""
        size = len(self._keys) + len(self._values) + (2 * self._width + 1) * len(self._flags)
        return size > self._room_max or len(self._flags) > self._entries_max

    def add(self, keys: list[bytes], values: list[bytes], flags: bytes) -> None:
        """Takes entries over. 0.1 µs each."""
        self._key_sizes += sizes_packed(keys, self._width)
        self._value_sizes += sizes_packed(values, self._width)
        self._flags += flags
        self._keys += b"".join(keys)
        self._values += b"".join(values)
        self._fingerprints += pack_fingerprints(keys)

    def add_packed(
        self, packed: bytearray, at: int, count: int, keys_size: int, values_size: int, fingerprints: bytes
    ) -> None:
        """Takes over what pack_entries() gave for `count` entries, with offsets as wide as the file's: packed[at:]."""
        width = self._width
        values_at = at + (count + 1) * width
        flags_at = values_at + (count + 1) * width
        values_end = flags_at + count + keys_size + values_size
        self._key_sizes += sizes_of(packed, at, count, width)
        self._value_sizes += sizes_of(packed, values_at, count, width)
        with memoryview(packed) as view:
            self._flags += view[flags_at : flags_at + count]
            self._keys += view[flags_at + count : flags_at + count + keys_size]
            self._values += view[values_end - values_size : values_end]
        self._fingerprints += fingerprints

    def take(self) -> FilledBlock:
        """The next block, of the first entries, of which there is at least one. Raises LibraryError."""
        assert self._flags
        best: FilledBlock | None = None
        for _ in range(_ATTEMPTS_MAX):
            room = self._room
            count, keys_size, values_size = self._fit(room)
            raw = self._sized(count, keys_size, values_size)
            if self._plain_fits(count, keys_size, values_size):
                break
            stored = self._codec.compressed(raw)
            self._room = self._room_next(len(raw), len(stored))
            if len(stored) <= self._body_size_max:
                best = self._filled(stored, Codec.ZSTD, len(raw), count, keys_size, values_size)
                if count == self._count_max or 4 * len(stored) > 3 * self._body_size_max or self._room <= room:
                    break
            elif best is not None or self._room == self._room_least:
                break
        return self._drop(best or self._plain())

    @property
    def _count_max(self) -> int:
        return min(len(self._flags), self._entries_max)

    @property
    def _room_least(self) -> int:
        return self._room_plain * _ROOM_LEAST[0] // _ROOM_LEAST[1]

    def _room_next(self, size_raw: int, size_stored: int) -> int:
        """The room that would have filled the block, were all entries like these."""
        room = size_raw * self._body_size_max // size_stored
        return min(max(room - room // _MARGIN, self._room_least), self._room_max)

    def _fit(self, room: int) -> tuple[int, int, int]:
        return fit_sizes(self._key_sizes, self._value_sizes, self._width, self._count_max, room)

    def _plain_fits(self, count: int, keys_size: int, values_size: int) -> bool:
        return count * (2 * self._width + 1) + keys_size + values_size <= self._room_plain

    def _sized(self, count: int, keys_size: int, values_size: int) -> bytes:
        """The body of the first entries before compression."""
        flags = bytes(self._flags[:count])
        tombstones, large = flags.count(FLAG_TOMBSTONE), flags.count(FLAG_LARGE)
        sizes_size = count * self._width
        columns = (
            self._key_sizes[:sizes_size],
            self._value_sizes[:sizes_size],
            flags,
            self._keys[:keys_size],
            self._values[:values_size],
        )
        return sized_body(count, tombstones, large, keys_size, values_size, *columns)

    def _plain(self) -> FilledBlock:
        """The block without a codec: as value_block.encode_value_block() makes it of the same entries."""
        count, keys_size, values_size = self._fit(self._room_plain)
        body = self._sized(count, keys_size, values_size)
        sizes_size = count * self._width
        head_end = VALUE_BLOCK_HEAD.size
        flags_at = head_end + 2 * sizes_size
        key_offsets = offsets_of(body[head_end : head_end + sizes_size], self._width, self._width, keys_size)
        value_offsets = offsets_of(body[head_end + sizes_size : flags_at], self._width, self._width, values_size)
        assert key_offsets is not None and value_offsets is not None
        packed = b"".join((body[:head_end], key_offsets, value_offsets, body[flags_at:]))
        return self._filled(packed, Codec.NONE, len(packed), count, keys_size, values_size)

    def _filled(
        self, body: bytes, codec: int, size_raw: int, count: int, keys_size: int, values_size: int
    ) -> FilledBlock:
        width = self._width
        key_first_size = int.from_bytes(self._key_sizes[:width], "little")
        key_last_size = int.from_bytes(self._key_sizes[(count - 1) * width : count * width], "little")
        return FilledBlock(
            body=body,
            codec=codec,
            size_decoded=BLOCK_HEADER.size + size_raw,
            key_first=bytes(self._keys[:key_first_size]),
            key_last=bytes(self._keys[keys_size - key_last_size : keys_size]),
            entry_count=count,
            tombstone_count=self._flags.count(FLAG_TOMBSTONE, 0, count),
            large_count=self._flags.count(FLAG_LARGE, 0, count),
            entries_size=keys_size + values_size,
            fingerprints=bytes(self._fingerprints[: count * _FINGERPRINT_SIZE]),
        )

    def _drop(self, block: FilledBlock) -> FilledBlock:
        """Forgets the entries of a block that was made."""
        count, width = block.entry_count, self._width
        _, keys_size, values_size = fit_sizes(self._key_sizes, self._value_sizes, width, count, self._room_max)
        del self._key_sizes[: count * width], self._value_sizes[: count * width], self._flags[:count]
        del self._keys[:keys_size], self._values[:values_size], self._fingerprints[: count * _FINGERPRINT_SIZE]
        return block
