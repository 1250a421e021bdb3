"""Bodies of OP records: the puts and removes of one op, one behind the other.

    | WalEntry 9 B | key | value | WalEntry 9 B | key | ...

Invariants:
- a body holds exactly as many entries as its record's header says, and no byte more;
- a tombstone has no value bytes; an out-of-line value has exactly a packed ChainReference;
- order is the order of the calls: of two entries with one key, the later one counts.
"""

import struct
from collections.abc import Iterable

from lsmcli.engine.constants import KEY_SIZE_MAX, TREE_ID_MAX
from lsmcli.engine.errors import DamageError
from lsmcli.engine.schema import CHAIN_REFERENCE, FLAG_LARGE, FLAG_TOMBSTONE, WAL_ENTRY, ChainReference

_PACK = WAL_ENTRY.struct.pack
_UNPACK_FROM = WAL_ENTRY.struct.unpack_from
_ENTRY_SIZE = WAL_ENTRY.size
_LARGE_SIZE = CHAIN_REFERENCE.size


def encode_entry(tree_id: int, key: bytes, value: bytes | ChainReference | None) -> bytes:
    """One entry as stored; None is a tombstone. The caller has checked the sizes of key and value."""
    assert 0 < tree_id <= TREE_ID_MAX
    assert 0 < len(key) <= KEY_SIZE_MAX
    if value.__class__ is bytes:
        return _PACK(tree_id, 0, len(key), len(value)) + key + value
    if value is None:
        return _PACK(tree_id, FLAG_TOMBSTONE, len(key), 0) + key
    assert isinstance(value, ChainReference)
    return _PACK(tree_id, FLAG_LARGE, len(key), _LARGE_SIZE) + key + CHAIN_REFERENCE.pack(value)


def encode_entries(entries: Iterable[tuple[int, bytes, bytes | ChainReference | None]]) -> bytes:
    """The body of one op with these entries (tree id, key, value), in their order."""
    return b"".join([encode_entry(tree_id, key, value) for tree_id, key, value in entries])


def decode_entries(body: bytes, entry_count: int) -> list[tuple[int, bytes, bytes | ChainReference | None]]:
    """The entries (tree id, key, value) of a body.

    Raises DamageError when the body is not exactly `entry_count` well-formed entries. Time and
    memory are bounded by the body's size, whatever `entry_count` says.
    """
    entries: list[tuple[int, bytes, bytes | ChainReference | None]] = []
    append = entries.append
    position = 0
    try:
        for _ in range(entry_count):
            tree_id, flags, key_size, value_size = _UNPACK_FROM(body, position)
            key_end = position + _ENTRY_SIZE + key_size
            key = body[key_end - key_size : key_end]
            position = key_end + value_size
            if not tree_id or not 0 < key_size <= KEY_SIZE_MAX:
                raise _damage(f"entry {len(entries)} has tree id {tree_id} and a key of {key_size} bytes")
            if not flags:
                append((tree_id, key, body[key_end:position]))
            elif flags == FLAG_TOMBSTONE and not value_size:
                append((tree_id, key, None))
            elif flags == FLAG_LARGE and value_size == _LARGE_SIZE:
                append((tree_id, key, CHAIN_REFERENCE.unpack(body, key_end)))
            else:
                raise _damage(f"entry {len(entries)} has flags {flags} and a value of {value_size} bytes")
    except struct.error:
        raise _damage(f"the body of {len(body)} bytes ends in entry {len(entries)} of {entry_count}") from None
    # A slice past the end comes out short without a word; but then `position` is past the end for good.
    if position != len(body):
        raise _damage(f"{entry_count} entries take {position} bytes, but the body has {len(body)}")
    return entries


def _damage(what: str) -> DamageError:
    return DamageError(f"write-ahead log: malformed op record: {what}; run salvage to save what is intact", zone="wal")
