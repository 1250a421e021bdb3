"""Where a load goes, in pictures: a word is a table, or a range of the load, from its first to its last letter."""

import random

import pytest

from lsmcli.engine.bulk_target import choose_level, choose_tables, tables_estimate
from lsmcli.engine.constants import LEVELS
from lsmcli.engine.key_range import KeyRange
from lsmcli.engine.manifest_level import ManifestLevel
from lsmcli.engine.table_info import TableInfo
from tests.testing.levels import pictured, shown, table


def levels_of(*pictures: str) -> list[ManifestLevel]:
    return [pictured(picture) for picture in (*pictures, *[""] * (LEVELS - len(pictures)))]


def ranges_of(picture: str) -> list[KeyRange]:
    return [KeyRange(word[0].encode(), word[-1].encode()) for word in picture.split()]


def loaded_of(picture: str) -> list[TableInfo]:
    tables = [table(word) for word in picture.split()]
    for info in tables:
        info.tombstone_count = 0
    return tables


@pytest.mark.parametrize(
    ("load", "pictures", "merged"),
    [
        ("a-c", ("", "", ""), ["", "", ""]),
        ("a-c", ("", "d-f", ""), ["", "", ""]),
        ("a-d", ("", "d-f x-z", ""), ["", "d-f", ""]),
        # What is merged from above takes along what is older and shares keys with it.
        ("a-b", ("b--------k", "c-d    x-z", "j---------p"), ["b-k", "c-d", "j-p"]),
        # Not the other way round: what is newer stays where it is.
        ("x-z", ("b--------k", "j---------y", ""), ["", "j-y", ""]),
        ("a-b x-y", ("", "a-b h-k  y-z", "a-z"), ["", "a-b y-z", "a-z"]),
    ],
    ids=["empty", "beside", "overlapping", "downward", "not upward", "two ranges"],
)
def test_choose_tables(load: str, pictures: tuple[str, ...], merged: list[str]) -> None:
    target = choose_tables(levels_of(*pictures), ranges_of(load), [])
    assert [shown(tables) for tables in target.merged][:3] == merged


@pytest.mark.parametrize(
    ("load", "loaded", "pictures", "kept", "merged"),
    [
        ("", "a-c d-f g-i", ("", ""), "a-c d-f g-i", ""),
        ("", "a-c d-f g-i", ("", "e-e"), "a-c g-i", "e-e"),
        ("e-e", "a-c d-f g-i", ("", ""), "a-c g-i", ""),
        # The merged table reaches into the next one of the load.
        ("", "a-c d-f g-i", ("", "f-g"), "a-c", "f-g"),
        ("", "a-c d-f j-k", ("f-g", "g-j"), "a-c", "g-j"),
    ],
)
def test_tables_of_the_load_that_overlap_nothing_are_kept(
    load: str, loaded: str, pictures: tuple[str, ...], kept: str, merged: str
) -> None:
    tables = loaded_of(loaded)
    target = choose_tables(levels_of(*pictures), ranges_of(load), tables)
    assert shown(target.kept) == kept
    assert target.kept + target.rewritten == sorted(tables, key=tables.index) or set(
        target.kept + target.rewritten
    ) == (set(tables))
    assert shown(target.merged[1]) == merged


@pytest.mark.parametrize(
    ("pictures", "tables", "level", "fences"),
    [
        (("", "", ""), 4, 1, ""),
        (("", "", ""), 5, 2, ""),
        (("", "a-b c-d e-f", ""), 1, 1, "a c e"),
        (("", "a-b c-d e-f", "l-m"), 2, 2, "l"),
        (("x-x", "", "", "x-x y-y"), 1, 3, "y"),
    ],
)
def test_choose_level(pictures: tuple[str, ...], tables: int, level: int, fences: str) -> None:
    levels = levels_of(*pictures)
    target = choose_tables(levels, ranges_of("x-x"), [])
    found, keys = choose_level(levels, target, tables, growth_factor=2)
    assert (found, b" ".join(keys).decode()) == (level, fences)


@pytest.mark.parametrize("number", range(200))
def test_nothing_is_put_below_something_older(number: int, seed: int) -> None:
    """The invariants at the head of the module, over levels and loads by chance."""
    rng = random.Random(f"{seed}/{number}")

    def picture(count: int) -> str:
        letters = sorted(rng.sample("abcdefghijklmnopqrstuvwxyz", 2 * count))
        return " ".join(f"{letters[i]}-{letters[i + 1]}" for i in range(0, 2 * count, 2))

    levels = levels_of(*(picture(rng.randrange(5)) for _ in range(5)))
    loaded, ranges = loaded_of(picture(rng.randrange(5))), ranges_of(picture(rng.randrange(3)))
    target = choose_tables(levels, ranges, loaded)
    everything = [*ranges, *(info.key_range for info in loaded)]
    stays = [[i for i in level.tables if i not in merged] for level, merged in zip(levels, target.merged, strict=True)]
    for level, tables in enumerate(stays):
        for info in tables:
            assert not any(info.key_range.overlaps(*each) for each in everything)
            above = [other for merged in target.merged[: level + 1] for other in merged]
            assert not any(info.key_range.overlaps(other.key_min, other.key_max) for other in above)
    for info in target.kept:
        others = [*ranges, *(i.key_range for merged in target.merged for i in merged)]
        others += [other.key_range for other in target.rewritten]
        assert not any(info.key_range.overlaps(*each) for each in others)
    level, _ = choose_level(levels, target, 3, growth_factor=2)
    assert 0 < level and all(not tables for tables in target.merged[level + 1 :])


def test_tables_estimate() -> None:
    assert tables_estimate(0, 0, 0, 32768) == 0
    assert tables_estimate(1, 10, 100, 32768) == 1
    assert tables_estimate(1_000_000, 16_000_000, 116_000_000, 32768) in range(60, 75)
