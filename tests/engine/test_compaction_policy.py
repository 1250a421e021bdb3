"""What compaction decides: pictures of levels, and every small bar played through with plain numbers."""

import itertools
import random

import pytest

from lsmcli.engine.compaction_policy import (
    DO_NOTHING,
    MergeTables,
    MoveTable,
    Shed,
    level_of_flush,
    levels_of_half,
    select,
    select_flush,
    tables_to_shed,
)
from lsmcli.engine.constants import LEVELS
from lsmcli.engine.manifest import table_count_max_for_level
from tests.testing.levels import pictured, shown, table


@pytest.mark.parametrize(
    ("level_a", "level_b", "target", "decision"),
    [
        ("a-c e-g", "a-z", 2, "nothing"),
        ("       ", "a-z", 0, "nothing"),
        ("a-c e-g", "b--f", 1, "merge a-c with b-f"),
        ("a-c e-g", "bc  x", 1, "move e-g"),
        ("a-c e-g", "     ", 1, "move a-c"),
        ("a-c e-g", "a b f", 1, "merge e-g with f-f"),
    ],
)
def test_select(level_a: str, level_b: str, target: int, decision: str) -> None:
    match select(pictured(level_a), pictured(level_b), table_count_target=target):
        case MoveTable(moved):
            said = f"move {shown([moved])}"
        case MergeTables(merged, overlapped):
            said = f"merge {shown([merged])} with {shown(overlapped)}"
        case nothing:
            assert nothing is DO_NOTHING
            said = "nothing"
    assert said == decision


def test_a_table_that_a_snapshot_sees_beside_a_hidden_one_is_written_anew_instead_of_moved() -> None:
    level_a, level_b = pictured("c-d"), pictured("")
    level_b.insert(table("a-z", snapshot_max=9))
    decision = select(level_a, level_b, table_count_target=0)
    assert decision == MergeTables(level_a.tables[0], [])


def test_a_flush_merges_with_the_tables_it_overlaps() -> None:
    assert shown(select_flush(pictured("ab d-f hi"), b"c", b"h")) == "d-f h-i"


def test_each_level_but_the_last_has_its_half() -> None:
    assert sorted([*levels_of_half(0), *levels_of_half(1)]) == list(range(LEVELS - 1))
    assert all(level % 2 == half for half in (0, 1) for level in levels_of_half(half))


def play_bar(counts: list[int], incoming: int, sheds: list[Shed], growth_factor: int) -> list[int]:
    """The counts after a bar in which each level does what it is told, when each merge adds one table."""
    counts = list(counts)

    def shed(level: int, count: int) -> None:
        assert 0 <= count <= counts[level], "only what is there can be shed"
        counts[level] -= count
        counts[level + 1] += count

    for half in (0, 1):
        for level in levels_of_half(half):
            shed(level, sheds[level].in_half)
    counts[level_of_flush(incoming, growth_factor)] += incoming
    for level in range(LEVELS - 1):
        shed(level, sheds[level].after_flush)
    return counts


def check_bar(counts: list[int], incoming: int, growth_factor: int) -> None:
    limits = [table_count_max_for_level(growth_factor, level) for level in range(LEVELS)]
    sheds = tables_to_shed(counts, incoming, growth_factor)
    after = play_bar(counts, incoming, sheds, growth_factor)
    assert all(count <= limit for count, limit in zip(after[:-1], limits, strict=False))
    assert sum(after) == sum(counts) + incoming
    level_flush = level_of_flush(incoming, growth_factor)
    if level_flush:
        assert counts[0] == sheds[0].in_half, "what is in level 0 is older than a flush into level 1"
    for level, shed in enumerate(sheds[:-1]):
        if sum(shed) and level >= level_flush:
            assert after[level] == limits[level], "no level sheds more than it must"


def test_no_level_is_over_its_count_after_any_small_bar() -> None:
    for head in itertools.product(range(5), range(0, 8, 2), range(0, 12, 3), (0, 16, 17), (0, 33)):
        for incoming in (0, 1, 2, 3, 9):
            check_bar([*head, 64, 5], incoming, 2)


def test_no_level_is_over_its_count_after_long_runs_of_bars(rng: random.Random) -> None:
    for growth_factor in (2, 4, 8):
        counts = [0] * LEVELS
        for _ in range(2_000):
            incoming = rng.choice((0, 1, 3, 10, 25))
            check_bar(counts, incoming, growth_factor)
            sheds = tables_to_shed(counts, incoming, growth_factor)
            counts = play_bar(counts, incoming, sheds, growth_factor)
        assert counts[2] > 0


def test_the_worked_examples() -> None:
    none = Shed(0, 0)
    assert tables_to_shed([2, 4, 3, 0, 0, 0, 0], 2, 2) == [Shed(2, 0), Shed(2, 0), none, none, none, none, none]
    assert tables_to_shed([2, 4, 3, 0, 0, 0, 0], 3, 2)[:3] == [Shed(2, 0), Shed(5, 0), none]
    assert tables_to_shed([0] * LEVELS, 5, 2)[1] == Shed(0, 1)
    assert (level_of_flush(8, 8), level_of_flush(9, 8)) == (0, 1)
    assert tables_to_shed([8] + [0] * 6, 0, 8) == [none] * LEVELS
