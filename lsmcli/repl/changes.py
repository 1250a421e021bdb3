"""What differs between two states of a tree: an ordered walk over both. Pure.

before   a=1      c=3  d=4
after    a=1 b=2  c=9           ->  + b 2,  - c 3,  + c 9,  - d 4
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

Pair = tuple[bytes, bytes]


class Difference(NamedTuple):
    """An entry that only the state before has (removed) or only the state after (added)."""

    added: bool
    key: bytes
    value: bytes


def differences(before: Iterable[Pair], after: Iterable[Pair]) -> Iterator[Difference]:
    """The differences of two runs of entries in key order, in key order; what was removed before what was added.

    Memory: one entry of each.
    """
    olds, news = iter(before), iter(after)
    old, new = next(olds, None), next(news, None)
    while old is not None or new is not None:
        if old == new:
            old, new = next(olds, None), next(news, None)
            continue
        if old is not None and (new is None or old[0] <= new[0]):
            yield Difference(False, *old)
            if new is not None and new[0] == old[0]:
                yield Difference(True, *new)
                new = next(news, None)
            old = next(olds, None)
        else:
            assert new is not None
            yield Difference(True, *new)
            new = next(news, None)
