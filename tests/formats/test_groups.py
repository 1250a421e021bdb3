"""Groups: the same rows come in the same groups, however they are cut into chunks."""

import random

from lsmcli.formats.groups import Group, groups_of
from lsmcli.formats.rows import Columns


def naive(pairs: list[tuple[bytes, bytes]], rows_max: int, size_max: int) -> list[list[tuple[bytes, bytes]]]:
    groups: list[list[tuple[bytes, bytes]]] = [[]]
    for pair in pairs:
        groups[-1].append(pair)
        if len(groups[-1]) == rows_max or sum(len(k) + len(v) for k, v in groups[-1]) >= size_max:
            groups.append([])
    return [group for group in groups if group]


def chunks(pairs: list[tuple[bytes, bytes]], rng: random.Random) -> list[Columns]:
    found: list[Columns] = []
    at = 0
    while at < len(pairs):
        part = pairs[at : at + rng.randrange(9)]
        at += len(part)
        found.append(([key for key, _ in part], [value for _, value in part]))
    return found


def test_groups_depend_on_the_rows_alone(rng: random.Random) -> None:
    for _ in range(500):
        pairs = [(b"k" * rng.randrange(1, 4), bytes(rng.randrange(6))) for _ in range(rng.randrange(40))]
        rows_max, size_max = rng.randrange(1, 12), rng.randrange(1, 40)
        groups = list(groups_of(chunks(pairs, rng), rows_max, size_max))
        assert [list(zip(*group, strict=True)) for group in groups] == naive(pairs, rows_max, size_max)


def test_no_rows_are_no_groups() -> None:
    assert list(groups_of([], 5, 5)) == []
    assert list(groups_of([([], [])], 5, 5)) == []
    assert list(groups_of([([b"a"], [b"1"])], 5, 5)) == [Group([b"a"], [b"1"])]
