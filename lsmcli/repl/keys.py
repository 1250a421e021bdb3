"""Real keys of the open file, as suggestions: by path segment, in a bounded number of seeks.

    keys  user:1:mail  user:1:name  user:2:mail  zoo        "us" -> user:        "user:" -> user:1:  user:2:

Invariant: a step reads at most STEP_KEYS keys; there are at most STEPS_MAX steps, however large the file is.
"""

from collections.abc import Iterable
from typing import Final, Protocol

DELIMITERS: Final = b":/|."
STEP_KEYS: Final = 64
STEPS_MAX: Final = 12


class Keys(Protocol):
    """A tree, as far as suggestions need it."""

    def scan(
        self, start: bytes | None = None, end: bytes | None = None, prefix: bytes | None = None,
        reverse: bool = False, limit: int | None = None, keys_only: bool = False,
    ) -> Iterable[tuple[bytes, bytes]]: ...  # fmt: skip


def key_end(prefix: bytes) -> bytes | None:
    """The first key behind all that begin with a prefix, None if there is none."""
    head = prefix.rstrip(b"\xff")
    return head[:-1] + bytes([head[-1] + 1]) if head else None


def segment_of(key: bytes, size: int) -> bytes:
    """The key up to its first delimiter behind `size` bytes, that included; the whole key if there is none."""
    for at in range(size, len(key)):
        if key[at] in DELIMITERS:
            return key[: at + 1]
    return key


def next_segments(tree: Keys, prefix: bytes, count_max: int) -> list[bytes]:
    """What keys with this prefix go on with, in key order: whole keys, and beginnings up to a delimiter."""
    found: list[bytes] = []
    end = key_end(prefix)
    start: bytes | None = prefix
    for _ in range(STEPS_MAX):
        keys = [key for key, _ in tree.scan(start=start, end=end, limit=STEP_KEYS, keys_only=True)]
        for key in keys:
            segment = segment_of(key, len(prefix))
            if not found or found[-1] != segment:
                found.append(segment)
        if len(keys) < STEP_KEYS or len(found) >= count_max:
            break
        start = key_end(found[-1]) if found[-1] != keys[-1] else keys[-1] + b"\0"
        if start is None or (end is not None and start >= end):
            break
    return found[:count_max]
