"""Columns of sizes, interpreted and compiled: offsets and back, sums that lie, and how many entries fit."""

import random
import struct
from itertools import accumulate
from types import ModuleType

import pytest

from tests.testing.twins import twins

both = pytest.mark.parametrize("loops", twins("lsmcli.engine.sized_columns"))
CODES = {2: "H", 4: "I"}


def column(numbers: list[int], width: int) -> bytes:
    return struct.pack(f"<{len(numbers)}{CODES[width]}", *numbers)


@both
@pytest.mark.parametrize("width", [2, 4])
@pytest.mark.parametrize("width_out", [2, 4])
def test_sizes_become_offsets_and_offsets_sizes(
    loops: ModuleType, width: int, width_out: int, rng: random.Random
) -> None:
    for count in (0, 1, 2, 300):
        sizes = [rng.choice((0, 1, 255, 256, 257, rng.randrange(200))) for _ in range(count)]
        offsets = list(accumulate(sizes, initial=0))
        packed = column(offsets, width_out)
        assert loops.offsets_of(column(sizes, width), width, width_out, offsets[-1]) == packed
        front = rng.randbytes(5)
        assert loops.sizes_of(bytearray(front + packed + b"more"), 5, count, width_out) == column(sizes, width_out)


@both
@pytest.mark.parametrize(
    ("sizes", "width", "total"),
    [
        ([1, 2, 3], 2, 5),
        ([1, 2, 3], 2, 7),
        ([], 2, 1),
        ([0xFFFF] * 3, 2, 0x2FFFD & 0xFFFF),
        ([0xFFFF_FFFF, 2], 4, 1),
        ([0xFFFF_FFFF] * 5000, 4, (0xFFFF_FFFF * 5000) & 0xFFFF_FFFF),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_sum_that_is_not_the_total_is_refused(loops: ModuleType, sizes: list[int], width: int, total: int) -> None:
    for width_out in (2, 4):
        if total < 1 << 8 * width_out:
            assert loops.offsets_of(column(sizes, width), width, width_out, total) is None


@both
@pytest.mark.parametrize("width", [2, 4])
def test_as_many_entries_fit_as_have_room(loops: ModuleType, width: int, rng: random.Random) -> None:
    for _ in range(50):
        count = rng.randrange(30)
        keys = [rng.randrange(20) for _ in range(count)]
        values = [rng.randrange(300) for _ in range(count)]
        room, count_max = rng.randrange(3000), rng.randint(0, count)
        fits = 0
        while fits < count_max and sum(keys[: fits + 1] + values[: fits + 1]) + (2 * width + 1) * (fits + 1) <= room:
            fits += 1
        found = loops.fit_sizes(
            bytearray(column(keys, width)), bytearray(column(values, width)), width, count_max, room
        )
        assert found == (fits, sum(keys[:fits]), sum(values[:fits]))
