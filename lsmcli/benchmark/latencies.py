"""Latencies of very many operations in little memory, and their exact percentiles.

    nanoseconds   0 ... 65,535     one counter for each
                  65,536 ...       few: a list of them

So ten million puts take 256 KiB here, where a list of their latencies would be most of what the process weighs.
"""

from array import array
from collections.abc import Iterable
from typing import Final

_COUNTED: Final = 1 << 16


class Latencies:
    """A multiset of nanoseconds."""

    def __init__(self) -> None:
        self.count = 0
        self._counts = array("I", bytes(4 * _COUNTED))
        self._slow: list[int] = []

    def add(self, latencies_ns: Iterable[int]) -> None:
        """Take some more."""
        counts = self._counts
        for latency_ns in latencies_ns:
            if latency_ns < _COUNTED:
                counts[latency_ns] += 1
            else:
                self._slow.append(latency_ns)
            self.count += 1

    def percentile_us(self, percent: float) -> float:
        """The smallest latency that at least so many percent do not exceed. ValueError if there are none.

        Of 1, 2, 3 and 4: 25 is 1, 50 is 2, 51 is 3, 100 is 4.
        """
        if not self.count:
            raise ValueError("no latencies were taken")
        rank = max(1, -int(-self.count * percent // 100))
        for latency_ns, count in enumerate(self._counts):
            rank -= count
            if rank <= 0:
                return latency_ns / 1000
        return sorted(self._slow)[rank - 1] / 1000
