"""What compaction does next: pure functions of counts and of the manifest, which they never change.

Invariants:
- each function is pure: the same levels and counts give the same decision;
- a table is moved only where no reader at any snapshot would see two tables of a level share a key;
- after a bar that sheds what tables_to_shed() says, no level but the last is over its count.

A bar has two halves, so that no level is input and output of two jobs at once:

    first half     0 -> 1    2 -> 3    4 -> 5             even level a
    second half    1 -> 2    3 -> 4    5 -> 6             odd level a
                   immutable table -> 0

The immutable table may be several tables wide, so level 0 is brought down in the first half by as many
tables as the flush will bring, before the flush comes. One that is wider than all of level 0 goes straight into
level 1: it would be merged with all of level 1 in any case, and level 0 would only have it written once more.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from lsmcli.engine.constants import LEVELS
from lsmcli.engine.manifest import table_count_max_for_level
from lsmcli.engine.manifest_level import ManifestLevel
from lsmcli.engine.table_info import TableInfo

HALVES: Final = 2


class DoNothing(NamedTuple):
    """The level holds no more tables than it should."""


class MoveTable(NamedTuple):
    """The table goes to the next level as it is: a manifest event, no block is written."""

    table: TableInfo


class MergeTables(NamedTuple):
    """The table is merged with these tables of the next level; with none, it is written anew there."""

    table: TableInfo
    overlapped: list[TableInfo]


Decision = DoNothing | MoveTable | MergeTables
DO_NOTHING: Final = DoNothing()


def select(level_a: ManifestLevel, level_b: ManifestLevel, *, table_count_target: int) -> Decision:
    """The next step that brings level a down to `table_count_target` visible tables, into level b = a + 1.

    The table that overlaps the fewest tables of level b costs the least: a table's worth of writing for each
    overlapped one. One that overlaps none is moved, unless a pinned snapshot sees it beside an
    invisible table of level b that shares keys with it: then it is written anew, so that the snapshot keeps
    the old copy in level a.
    """
    assert table_count_target >= 0
    if level_a.count <= table_count_target:
        return DO_NOTHING
    least = level_a.table_with_least_overlap(level_b)
    assert least is not None
    if least.overlapped or level_b.overlaps_invisible(least.table):
        return MergeTables(least.table, least.overlapped)
    return MoveTable(least.table)


def select_flush(level_b: ManifestLevel, key_min: bytes, key_max: bytes) -> list[TableInfo]:
    """The tables of its level that a flush of an immutable table of this key range (inclusive) merges with."""
    return level_b.tables_overlapping(key_min, key_max)


def level_of_flush(incoming: int, growth_factor: int) -> int:
    """The level into which a flush goes that brings `incoming` tables: (8, 8) = 0, (9, 8) = 1. Level 0 must be
    empty when it is level 1.

    Worked example, growth_factor 8, level 1 full with 64 tables, bytes written per byte of the flush:

        incoming    through level 0                                              straight into level 1
        4           8/4 into level 0, then 1 + 64/8 into level 1:  11            1 + 64/4: 17
        10          1 into level 0, then 1 + 64/8 into level 1:    10            1 + 64/10: 7.4
    """
    return 1 if incoming > table_count_max_for_level(growth_factor, 0) else 0


def levels_of_half(half: int) -> range:
    """The levels a that compact into a + 1 in this half of a bar: (0) = 0, 2, 4; (1) = 1, 3, 5."""
    assert 0 <= half < HALVES
    return range(half, LEVELS - 1, HALVES)


class Shed(NamedTuple):
    """Tables that a level passes on in one bar: in its half, and after the flush at the bar's end."""

    in_half: int
    after_flush: int


def tables_to_shed(counts: Sequence[int], incoming: int, growth_factor: int) -> list[Shed]:
    """How many tables each level passes on in a bar, so that no level but the last is over its count after it.

    counts: visible tables of each level at the start of the bar. incoming: tables that the flush will add to its
    level, see level_of_flush(). A merge of one table into the next level is taken to add one table there.

    Worked example, growth_factor 2 (at most 2, 4, 8 ... tables), incoming 2:

        counts           2  4  3          level 0 has no room for 2 more: it sheds 2
        first half       0  6  3          level 1 now has 2 over its 4: it sheds 2
        second half      2  4  5          the flush fills level 0 again; level 2 stays below 8
        result           Shed(2, 0), Shed(2, 0), Shed(0, 0)

    With incoming 3 the flush goes into level 1, and level 0 sheds all that it has:

        first half       0  6  3
        second half      0  4  8          level 1 sheds 5 of its 6 before the 3 come

    Only when more comes in than its level may hold at all is something left for after the flush: with
    incoming 5 and empty levels, level 1 sheds 1 of the 5 then. Those go on level by level, 0 first.

    The counts are a plan. Where merged entries pack worse than before, a merge adds one table more; where
    keys were overwritten, fewer. So the half's end is decided by select() with the level's target, not by these.
    """
    assert len(counts) == LEVELS
    assert incoming >= 0
    sheds = []
    level_flush = level_of_flush(incoming, growth_factor)
    arriving, arriving_early = 0, 0
    for level, count in enumerate(counts):
        if level == LEVELS - 1:
            sheds.append(Shed(0, 0))  # the last level has nowhere to go
            break
        if level == level_flush:
            arriving += incoming
        count_max = table_count_max_for_level(growth_factor, level) if level >= level_flush else 0
        shed = max(0, count + arriving - count_max)
        # An odd level already has what its even neighbour passed on in the first half; an even level gets its
        # share only in the second half, after its own turn.
        present = count + (arriving_early if level % HALVES else 0)
        in_half = min(shed, present)
        sheds.append(Shed(in_half, shed - in_half))
        arriving, arriving_early = shed, in_half
    return sheds


__all__ = [
    "DO_NOTHING",
    "HALVES",
    "Decision",
    "DoNothing",
    "MergeTables",
    "MoveTable",
    "Shed",
    "level_of_flush",
    "levels_of_half",
    "select",
    "select_flush",
    "tables_to_shed",
]
