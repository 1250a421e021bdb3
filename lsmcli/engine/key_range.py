"""Ranges of keys: the inclusive range of a table, and the half-open range of a prefix.

Invariants:
- a KeyRange holds at least one key: key_min <= key_max, both inclusive;
- prefix_end() is the first key behind every key with the prefix, so that scans can use [prefix, end).

         key_min         key_max
            v               v
    . . . . [ d . . g . . m ] . . . .
"""

from typing import NamedTuple


class KeyRange(NamedTuple):
    """The keys from key_min to key_max, both inclusive, in bytes order."""

    key_min: bytes
    key_max: bytes

    def contains(self, key: bytes) -> bool:
        """Whether the key lies within the range."""
        return self.key_min <= key <= self.key_max

    def overlaps(self, key_min: bytes, key_max: bytes) -> bool:
        """Whether the range shares a key with [key_min, key_max], both inclusive."""
        return self.key_min <= key_max and key_min <= self.key_max


def prefix_end(prefix: bytes) -> bytes | None:
    """The smallest key above every key that starts with the prefix; None: there is no such key.

    (b"ab") = b"ac", (b"a\\xff") = b"b", (b"\\xff") = None, (b"") = None.
    """
    stem = prefix.rstrip(b"\xff")
    if not stem:
        return None
    return stem[:-1] + bytes((stem[-1] + 1,))
