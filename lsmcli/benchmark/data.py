"""The entries of a benchmark, and what a store must answer: made from a seed, the same on any machine.

    number      0     1     2     3     4   ...  2n - 1
    key         0000  0001  0002  0003  0004     of key_size digits, so keys are in the order of their numbers
    loaded      yes         yes         yes      the even numbers, n of them; the odd ones are absent keys, and
                                                 those that a workload inserts later

    value       half of it random, the other half the same again: a compressor gets it to about one half

Invariant: `generations` says what was put last under each number, 0 for nothing, so every answer can be checked.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from random import Random
from typing import Final

ENTRIES_MIN: Final = 1_000
ENTRIES_MAX: Final = 100_000_000
KEY_SIZE_MIN: Final = 8  # the digits of any number
KEY_SIZE_MAX: Final = 512
VALUE_SIZE_MAX: Final = 1 << 20
GENERATION_MAX: Final = 255

_POOL_SIZE: Final = 4 << 20
_VALUES_MAX: Final = 10_007  # a prime, as is what numbers and generations are multiplied with
_NUMBER_STEP: Final = 7_919
_GENERATION_STEP: Final = 104_729


class Data:
    """Keys, values and what is stored. entries: how many are loaded; sizes in bytes."""

    def __init__(self, entries: int, key_size: int, value_size: int, seed: int) -> None:
        self.entries = entries
        self.key_size = key_size
        self.value_size = value_size
        self.seed = seed
        self.generations = bytearray(2 * entries)
        self.inserted = 0  # odd numbers that were, in the order of `order`
        self._key_form = b"%%0%dd" % key_size
        rng = Random(f"{seed}/order")
        order = list(range(entries))
        rng.shuffle(order)
        self.order: Final = array("I", order)
        half = value_size // 2
        values = max(2, min(_VALUES_MAX, _POOL_SIZE // max(1, value_size)))
        halves = (rng.randbytes(half) for _ in range(values))
        self._values: Final = [(data + data + b"\0")[:value_size] if value_size else b"" for data in halves]

    @property
    def entry_size(self) -> int:
        return self.key_size + self.value_size

    def rng(self, name: str) -> Random:
        """A source of chance of a workload's own."""
        return Random(f"{self.seed}/{name}")

    def reset(self) -> None:
        """Nothing is stored any more."""
        self.generations = bytearray(2 * self.entries)
        self.inserted = 0

    def keys(self, numbers: Iterable[int]) -> list[bytes]:
        """The keys of these numbers."""
        form = self._key_form
        return [form % number for number in numbers]

    def put_values(self, numbers: Sequence[int]) -> list[bytes]:
        """New values for these numbers, which count as stored from now on."""
        generations = self.generations
        for number in numbers:
            generations[number] = generations[number] % GENERATION_MAX + 1
        return [self.value(number) for number in numbers]

    def forget(self, numbers: Sequence[int]) -> None:
        """These numbers are removed."""
        for number in numbers:
            self.generations[number] = 0

    def value(self, number: int) -> bytes:
        """The value that is stored under a number now, whether or not there is one."""
        return self.value_of(number, self.generations[number])

    def value_of(self, number: int, generation: int) -> bytes:
        """The value that was put under a number as the first, second, ... one."""
        values = self._values
        return values[(number * _NUMBER_STEP + generation * _GENERATION_STEP) % len(values)]

    def answers(self, numbers: Sequence[int]) -> list[bytes | None]:
        """What a store must answer for these numbers now."""
        generations, value = self.generations, self.value
        return [value(number) if generations[number] else None for number in numbers]

    def insert_next(self) -> int:
        """The next number that was never stored; it counts as stored only once `put_values` says so."""
        number = 2 * self.order[self.inserted % self.entries] + 1
        self.inserted += 1
        return number

    def stored(self, start: int = 0, *, reverse: bool = False) -> Iterator[int]:
        """The numbers that are stored, in their order: from `start` on, or all of them backwards."""
        generations = self.generations
        numbers = reversed(range(len(generations))) if reverse else range(start, len(generations))
        return (number for number in numbers if generations[number])

    def pairs_after(self, number: int, count: int) -> list[tuple[bytes, bytes]]:
        """The first entries at or after the key of a number."""
        found = list(islice(self.stored(number), count))
        return list(zip(self.keys(found), map(self.value, found), strict=True))

    def stored_count(self) -> int:
        """How many numbers are stored."""
        return len(self.generations) - self.generations.count(0)


class Zipf:
    """Ranks from 0 on, of which the first are by far the most frequent, as YCSB draws them.

    By J. Gray et al., "Quickly generating billion-record synthetic databases" (1994): with THETA = 0.99 and a
    million ranks, rank 0 comes up in 6.5 % of the draws and the first hundred together in a third of them.
    """

    THETA: Final = 0.99
    _EXACT: Final = 10_000

    def __init__(self, count: int, rng: Random) -> None:
        self._count = count
        self._random = rng.random
        self._zeta = self._zeta_of(count)
        self._alpha = 1 / (1 - self.THETA)
        self._second = 1 + 0.5**self.THETA
        self._eta = (1 - (2 / count) ** (1 - self.THETA)) / (1 - self._second / self._zeta)

    def _zeta_of(self, count: int) -> float:
        """1 + 1/2^theta + ... + 1/count^theta; behind the first ten thousand terms by their integral."""
        exact = min(count, self._EXACT)
        total: float = sum(1 / rank**self.THETA for rank in range(1, exact + 1))
        if count > exact:
            power = 1 - self.THETA
            total += ((count + 0.5) ** power - (exact + 0.5) ** power) / power
        return total

    def rank(self) -> int:
        """The next one, 0 ... count - 1."""
        u = self._random()
        scaled = u * self._zeta
        if scaled < 1:
            return 0
        if scaled < self._second:
            return 1
        return min(self._count - 1, int(self._count * (self._eta * u - self._eta + 1) ** self._alpha))
