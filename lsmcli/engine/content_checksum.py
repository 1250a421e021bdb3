"""A checksum of what a tree holds, whatever way it is stored: equal contents, and only those, have equal checksums.

It does not depend on levels, blocks, compaction, scopes or the history of the file, so that a copy, an import of an
export, or a compaction can be shown to have lost nothing. Four streams, each hashed with XXH3-128, in key order:

    entries      a = 1             bc = (empty)
    key sizes    01 00 00 00       02 00 00 00          u32, little-endian
    keys         61                62 63
    value sizes  01 00 00 00       00 00 00 00          u32, little-endian
    values       31

    checksum of a tree     XXH3-128 of the four digests, 16 bytes each, one behind the other, in this order
    checksum of a file     XXH3-128 of, for each tree in the order of the names' bytes:
                           size of the name (u32, little-endian), the name in UTF-8, the checksum of the tree

A digest is written high byte first, as `xxh128sum` prints it. Sizes and bytes apart, and not one stream: so each
stream takes whole columns at once, which is three times as fast.
"""

from collections.abc import Iterable, Sequence
from struct import pack

from xxhash import xxh3_128, xxh3_128_digest

from lsmcli.engine.packed_entries import PackedEntries


class ContentChecksum:
    """The checksum of one tree while its entries come by in key order; also counts them and their bytes."""

    __slots__ = ("_key_sizes", "_keys", "_value_sizes", "_values", "entries", "size")

    def __init__(self) -> None:
        self._key_sizes = xxh3_128()
        self._keys = xxh3_128()
        self._value_sizes = xxh3_128()
        self._values = xxh3_128()
        self.entries = 0
        self.size = 0  # bytes of keys and values

    def add(self, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        """The next entries. 0.1 µs each, and the hashing of their bytes."""
        count = len(keys)
        key_bytes = b"".join(keys)
        value_bytes = b"".join(values)
        self._key_sizes.update(pack(f"<{count}I", *map(len, keys)))
        self._keys.update(key_bytes)
        self._value_sizes.update(pack(f"<{count}I", *map(len, values)))
        self._values.update(value_bytes)
        self.entries += count
        self.size += len(key_bytes) + len(value_bytes)

    def add_packed(self, packed: PackedEntries) -> None:
        """The same for entries that are packed: their columns are the streams. The hashing of their bytes, no more."""
        block = memoryview(packed.raw)
        self._key_sizes.update(packed.key_sizes)
        self._keys.update(block[packed.keys_at : packed.values_at])
        self._value_sizes.update(packed.value_sizes)
        self._values.update(block[packed.values_at :])
        self.entries += packed.count
        self.size += packed.size

    def add_large(self, key: bytes, value_size: int, pieces: Iterable[bytes | memoryview]) -> None:
        """The next entry, its value in pieces of value_size bytes together."""
        self._key_sizes.update(pack("<I", len(key)))
        self._keys.update(key)
        self._value_sizes.update(pack("<I", value_size))
        for piece in pieces:
            self._values.update(piece)
        self.entries += 1
        self.size += len(key) + value_size

    def digest(self) -> bytes:
        """The checksum of all entries so far, 16 bytes."""
        parts = (self._key_sizes, self._keys, self._value_sizes, self._values)
        return xxh3_128_digest(b"".join(part.digest() for part in parts))


def checksum_of_file(trees: Iterable[tuple[str, bytes]]) -> bytes:
    """The checksum of all trees together: names, and the checksums of the trees."""
    named = sorted((name.encode(errors="surrogateescape"), digest) for name, digest in trees)
    return xxh3_128_digest(b"".join(pack("<I", len(name)) + name + digest for name, digest in named))
