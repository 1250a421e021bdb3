"""A level against a plain list of tables: pictures, every small level, long seeded runs."""

import itertools
import random

import pytest
from sortedcontainers import SortedDict

from lsmcli.engine.constants import SNAPSHOT_LATEST
from lsmcli.engine.errors import DamageError
from lsmcli.engine.manifest_level import ManifestLevel
from lsmcli.engine.table_info import TableInfo
from tests.testing.levels import pictured, shown, table

LETTERS = "abcde"


def every_level() -> list[list[str]]:
    """All sets of disjoint tables whose keys are among LETTERS."""
    words = [low + high for low, high in itertools.combinations_with_replacement(LETTERS, 2)]
    levels: list[list[str]] = [[]]
    for word in words:
        levels += [[*level, word] for level in levels if not level or level[-1][1] < word[0]]
    return levels


def share_a_key(a: TableInfo, key_min: bytes, key_max: bytes) -> bool:
    return any(key_min <= bytes([key]) <= key_max for key in range(a.key_min[0], a.key_max[0] + 1))


def test_every_small_level_answers_as_a_list_of_tables_does() -> None:
    levels = every_level()
    assert len(levels) > 80
    for words in levels:
        level = pictured(" ".join(words))
        naive = [table(word) for word in words]
        for letter in "`" + LETTERS + "f":
            key = letter.encode()
            found = level.table_for(key)
            assert shown([found] if found else []) == shown([t for t in naive if t.key_min <= key <= t.key_max])
        for low, high in itertools.combinations_with_replacement("`" + LETTERS + "f", 2):
            expected = [t for t in naive if share_a_key(t, low.encode(), high.encode())]
            assert shown(level.tables_overlapping(low.encode(), high.encode())) == shown(expected)
            assert level.overlaps(low.encode(), high.encode()) == bool(expected)


@pytest.mark.parametrize(
    ("level_a", "level_b", "picked", "overlapped"),
    [
        # bcdefghijklmnopqrstuvwxyz   abcdefghijklmnopqrstuvwxyz
        ("a------h   l-------------z", "a---e      lm o---s u---y ", "a-h", "a-e"),
        ("a---e      lm             ", "b-d e--h                  ", "l-m", ""),
        ("a--d  gh  kl              ", "a-c  fg    lm             ", "a-d", "a-c"),
        ("a-------------p  rs       ", "bc ef hi kl   qr st       ", "r-s", "q-r s-t"),
        ("          k--n            ", "abc   ghi k lm n  qrs     ", "k-n", "k-k l-m n-n"),
        ("a-c e-g                   ", "                          ", "a-c", ""),
        ("m                         ", "   d---------------t      ", "m-m", "d-t"),
    ],
    ids=["fewest overlaps", "no overlap", "tie: lowest keys", "deep beats wide", "edges count", "empty b", "inside"],
)
def test_the_table_with_least_overlap(level_a: str, level_b: str, picked: str, overlapped: str) -> None:
    least = pictured(level_a).table_with_least_overlap(pictured(level_b))
    assert least is not None
    assert (shown([least.table]), shown(least.overlapped)) == (picked, overlapped)


def test_an_empty_level_has_no_table_with_least_overlap() -> None:
    assert pictured("").table_with_least_overlap(pictured("a-z")) is None


def test_least_overlap_is_what_counting_finds_in_every_pair_of_small_levels() -> None:
    levels = [[table(word) for word in words] for words in every_level()]
    for naive_a, naive_b in itertools.product(levels[1:], levels):
        level_a, level_b = ManifestLevel(), ManifestLevel()
        level_a.load(naive_a)
        level_b.load(naive_b)
        least = level_a.table_with_least_overlap(level_b)
        assert least is not None
        counts = [sum(share_a_key(b, a.key_min, a.key_max) for b in naive_b) for a in naive_a]
        assert least.table is naive_a[counts.index(min(counts))]
        assert len(least.overlapped) == min(counts)


def test_a_hidden_table_is_out_of_lookups_until_it_is_shown_again() -> None:
    level = pictured("a---e  lm")
    hidden = level.tables[0]
    level.set_snapshot_max(hidden, 7)
    assert level.table_for(b"c") is None
    assert level.count == 1
    assert shown(level.tables_at(7)) == "a-e l-m"
    assert shown(level.tables_at(8)) == "l-m"
    level.set_snapshot_max(hidden, SNAPSHOT_LATEST)
    assert level.table_for(b"c") is hidden
    assert not level.invisible


def test_a_snapshot_sees_what_was_there_at_its_time() -> None:
    level = pictured("")
    level.insert(table("a-f", snapshot_min=1, snapshot_max=4))
    level.insert(table("c-d", snapshot_min=5, snapshot_max=9))
    level.insert(table("b-e", snapshot_min=10))
    seen = [shown(level.tables_at(snapshot)) for snapshot in (0, 1, 4, 5, 9, 10, SNAPSHOT_LATEST)]
    assert seen == ["", "a-f", "a-f", "c-d", "c-d", "b-e", "b-e"]


@pytest.mark.parametrize(
    ("word", "snapshot_min", "blocked"),
    [("c-d", 1, True), ("c-d", 9, True), ("c-d", 10, False), ("f-g", 1, False), ("e-g", 1, True), ("a-a", 1, False)],
    ids=["seen together", "seen together last", "later than it", "other keys", "one key", "keys below"],
)
def test_an_invisible_table_blocks_whoever_is_seen_beside_it(word: str, snapshot_min: int, blocked: bool) -> None:
    level = pictured("")
    level.insert(table("b-e", snapshot_min=3, snapshot_max=9))
    assert level.overlaps_invisible(table(word, snapshot_min=snapshot_min)) == blocked


@pytest.mark.parametrize("picture", ["a-c c-e", "a-z b-c", "a-a a-a", "c-e a-c"])
def test_tables_that_share_a_key_are_damage(picture: str) -> None:
    with pytest.raises(DamageError, match=r"tree 2 level 0: the tables at blocks \d+ and \d+ overlap") as caught:
        pictured(picture)
    assert caught.value.zone == "manifest"
    assert "\n" not in str(caught.value)


def test_tables_that_share_a_key_at_an_old_snapshot_only_are_damage_there() -> None:
    level = pictured("a-c")
    level.insert(table("b-e", snapshot_max=5))
    assert shown(level.tables_at(6)) == "a-c"
    with pytest.raises(DamageError, match="overlap"):
        level.tables_at(5)


def test_long_runs_of_changes_against_a_list(rng: random.Random) -> None:
    level, naive = ManifestLevel(), list[TableInfo]()
    for _ in range(3_000):
        visible = [t for t in naive if t.snapshot_max == SNAPSHOT_LATEST]
        low = rng.randrange(1000)
        new = table(b"%04d" % low, key_max=b"%04d" % (low + rng.randrange(8)))
        step = rng.random()
        clear = not any(t.key_min <= new.key_max and new.key_min <= t.key_max for t in visible)
        assert level.overlaps(new.key_min, new.key_max) != clear
        if step < 0.5 and clear:
            level.insert(new)
            naive.append(new)
        elif step < 0.7 and naive:
            level.remove(naive.pop(rng.randrange(len(naive))))
        elif step < 0.8 and visible:
            level.set_snapshot_max(rng.choice(visible), rng.randrange(1, 100))
        key = b"%04d" % rng.randrange(1010)
        expected = [t for t in naive if t.snapshot_max == SNAPSHOT_LATEST and t.key_min <= key <= t.key_max]
        assert level.table_for(key) is (expected[0] if expected else None)
    assert sorted(level, key=hash) == sorted(naive, key=hash)
    assert level.key_mins == [t.key_min for t in level.tables] == sorted(level.key_mins)
    assert level.key_maxes == [t.key_max for t in level.tables] == sorted(level.key_maxes)
    assert len(level.tables) > 20


def test_a_level_finds_what_a_sorted_dict_of_its_tables_finds(rng: random.Random) -> None:
    level = ManifestLevel()
    sorted_dict: SortedDict[bytes, TableInfo] = SortedDict()  # by key_max
    for _ in range(3000):
        if sorted_dict and rng.random() < 0.4:
            info = sorted_dict.pop(rng.choice(sorted_dict.keys()))
            level.remove(info)
        else:
            start = rng.randrange(10_000) * 10
            info = table(b"%06d" % start, key_max=b"%06d" % (start + rng.randrange(10)))
            if any(other.key_min[:5] == info.key_min[:5] for other in sorted_dict.values()):
                continue
            sorted_dict[info.key_max] = info
            level.insert(info)
        key = b"%06d" % rng.randrange(100_000)
        index = sorted_dict.bisect_left(key)
        candidate = sorted_dict.values()[index] if index < len(sorted_dict) else None
        assert level.table_for(key) is (candidate if candidate is not None and candidate.key_min <= key else None)
    assert level.tables == list(sorted_dict.values())
