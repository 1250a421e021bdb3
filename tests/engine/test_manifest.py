"""A manifest against a plain history: at which ops each table could be seen, and which pins still need it."""

import itertools
import random

import pytest

from lsmcli.engine.constants import LEVELS, SNAPSHOT_LATEST
from lsmcli.engine.errors import DamageError
from lsmcli.engine.key_range import KeyRange
from lsmcli.engine.manifest import Manifest, table_count_max_for_level, table_count_max_for_tree
from lsmcli.engine.manifest_log import ManifestLog
from lsmcli.engine.table_info import TableInfo
from tests.testing.grid import grid_new, grid_reopened
from tests.testing.levels import shown, table

TREE = 2


def manifest_new(growth_factor: int = 8) -> Manifest:
    return Manifest(TREE, ManifestLog(grid_new(400)), growth_factor)


def pictured_manifest(*pictures: str) -> Manifest:
    """A manifest with one picture for each of its first levels."""
    manifest = manifest_new()
    for level, picture in enumerate(pictures):
        for word in picture.split():
            manifest.insert_table(table(word, level=level))
    return manifest


def reopened(manifest: Manifest) -> Manifest:
    """The same manifest as the file tells it after a checkpoint."""
    grid = manifest.log._grid
    reference, block_count = manifest.log.checkpoint()
    again = Manifest(manifest.tree_id, ManifestLog(grid_reopened(grid, 1 << 30)), manifest.growth_factor)
    for record in again.log.open(reference, block_count):
        again.open_table(TableInfo.from_event(*record))
    again.open_complete()
    return again


def told(manifest: Manifest) -> list[tuple[int, bytes, int, int, int]]:
    return sorted(
        (info.level, info.key_min, info.reference.address, info.snapshot_min, info.snapshot_max)
        for info in manifest.tables()
    )


@pytest.mark.parametrize(("level", "count"), list(enumerate([8, 64, 512, 4_096, 32_768, 262_144, 2_097_152])))
def test_a_level_may_have_eight_times_the_tables_of_the_one_above(level: int, count: int) -> None:
    assert table_count_max_for_level(8, level) == count


@pytest.mark.parametrize(("levels", "count"), list(enumerate([8, 72, 584, 4_680, 37_448, 299_592, 2_396_744], 1)))
def test_a_tree_may_have_the_tables_of_its_levels(levels: int, count: int) -> None:
    assert table_count_max_for_tree(8, levels) == count


@pytest.mark.parametrize(("growth_factor", "levels"), [(8, 0), (8, 8), (1, 2), (17, 2), (0, 1)])
def test_counts_are_for_factors_and_levels_that_exist(growth_factor: int, levels: int) -> None:
    with pytest.raises(AssertionError):
        table_count_max_for_tree(growth_factor, levels)


def test_a_table_that_no_pin_needs_is_gone() -> None:
    manifest = pictured_manifest("a-c e-g")
    manifest.remove_table(manifest.levels[0].tables[0], snapshot_max=4, pinned=False)
    assert [shown(list(manifest.tables())), shown(list(reopened(manifest).tables()))] == ["e-g", "e-g"]


def test_a_pinned_table_is_kept_out_of_sight_then_revived_or_removed() -> None:
    manifest = pictured_manifest("a-c e-g")
    first, second = manifest.levels[0].tables
    for info in (first, second):
        manifest.remove_table(info, snapshot_max=4, pinned=True)
    assert manifest.level_counts == [0] * LEVELS
    assert shown(manifest.view(4)[0]) == "a-c e-g"
    assert shown(manifest.view(5)[0]) == ""
    manifest.revive_table(first)
    manifest.remove_table(second, snapshot_max=4, pinned=False)
    assert shown(list(manifest.tables())) == "a-c"
    assert told(reopened(manifest)) == told(manifest)


def test_a_revived_table_that_meets_another_is_damage_and_changes_nothing() -> None:
    manifest = pictured_manifest("a-c")
    info = manifest.levels[0].tables[0]
    manifest.remove_table(info, snapshot_max=4, pinned=True)
    manifest.insert_table(table("b-d"))
    before = told(manifest)
    with pytest.raises(DamageError, match="overlap"):
        manifest.revive_table(info)
    assert told(manifest) == before


def test_a_moved_table_is_in_its_new_level_only() -> None:
    manifest = pictured_manifest("a-c e-g", "h-i")
    manifest.move_table(manifest.levels[0].tables[0], 1)
    assert [shown(tables) for tables in manifest.view(SNAPSHOT_LATEST)][:3] == ["e-g", "a-c h-i", ""]
    assert told(reopened(manifest)) == told(manifest)


def test_lookups_go_from_the_newest_level_down() -> None:
    manifest = pictured_manifest("a-c e-g", "", "b-f", "a-z")
    assert shown(list(manifest.lookup(b"b"))) == "a-c b-f a-z"
    assert shown(list(manifest.lookup(b"d"))) == "b-f a-z"
    assert shown(list(manifest.lookup(b"y"))) == "a-z"
    assert list(manifest.lookup(b"~")) == []


def test_the_key_range_spans_all_visible_tables() -> None:
    manifest = pictured_manifest("d-f", "", "b-c x-y")
    assert manifest.key_range() == KeyRange(b"b", b"y")
    manifest.remove_table(manifest.levels[2].tables[0], snapshot_max=1, pinned=True)
    assert manifest.key_range() == KeyRange(b"d", b"y")
    assert manifest_new().key_range() is None


def test_only_visible_tables_below_keep_a_tombstone() -> None:
    manifest = pictured_manifest("a-z", "m-o", "", "d-f")
    answers = [manifest.overlaps_deeper(b"c", b"e", level) for level in range(LEVELS)]
    assert answers == [True, True, True, False, False, False, False]
    assert not manifest.overlaps_deeper(b"g", b"l", 0)
    manifest.remove_table(manifest.levels[3].tables[0], snapshot_max=1, pinned=True)
    assert not manifest.overlaps_deeper(b"c", b"e", 0)


def test_a_level_over_its_count_is_found_between_bars() -> None:
    manifest = manifest_new(2)
    for word in ("aa", "bb"):
        manifest.insert_table(table(word))
    manifest.assert_level_table_counts()
    manifest.insert_table(table("cc"))
    with pytest.raises(AssertionError):
        manifest.assert_level_table_counts()


def test_the_last_level_may_grow_on() -> None:
    manifest = manifest_new(2)
    for number in range(table_count_max_for_level(2, LEVELS - 1) + 1):
        manifest.insert_table(table(b"%04d" % number, key_max=b"%04d" % number, level=LEVELS - 1))
    manifest.assert_level_table_counts()


@pytest.mark.parametrize(
    "info",
    [table("a-c", tree_id=3), table("a-c", level=LEVELS)],
    ids=["another tree's", "of no level"],
)
def test_a_table_that_does_not_belong_here_is_damage(info: TableInfo) -> None:
    with pytest.raises(DamageError, match="claims tree") as caught:
        manifest_new().open_table(info)
    assert (caught.value.zone, caught.value.address) == ("manifest", info.reference.address)


def test_tables_of_a_level_that_share_a_key_are_damage_when_opened() -> None:
    manifest = manifest_new()
    for info in (table("a-c"), table("b-d", level=1), table("c-d")):
        manifest.open_table(info)
    with pytest.raises(DamageError, match=r"level 0.*overlap"):
        manifest.open_complete()


class History:
    """Tables of one level each, replaced op by op, with pins; knows the view of each snapshot by heart."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.manifest = manifest_new()
        self.op = 1
        self.views = {0: self.view()}
        self.pins: set[int] = set()

    def view(self, snapshot: int = SNAPSHOT_LATEST) -> list[tuple[bytes, int]]:
        """What is visible, without regard to levels: a move is not seen by readers."""
        tables = itertools.chain.from_iterable(self.manifest.view(snapshot))
        return sorted((info.key_min, info.reference.address) for info in tables)

    def step(self) -> None:
        """One change at this op: replace what a range covers in a level, or move, or drop a pin."""
        step, level = self.rng.random(), self.rng.randrange(3)
        if step < 0.7:
            low = self.rng.randrange(200)
            new = table(b"%03d" % low, key_max=b"%03d" % (low + 9), level=level, snapshot_min=self.op)
            for old in self.manifest.levels[level].tables_overlapping(new.key_min, new.key_max):
                self.remove(old)
            self.manifest.insert_table(new)
        elif step < 0.9 and self.manifest.levels[level].tables:
            info = self.rng.choice(self.manifest.levels[level].tables)
            below = self.manifest.levels[level + 1]
            if not below.overlaps(info.key_min, info.key_max) and not below.overlaps_invisible(info):
                self.manifest.move_table(info, level + 1)
        elif self.pins and self.rng.random() < 0.5:
            self.pins.remove(self.rng.choice(sorted(self.pins)))
            for info in [info for info in self.manifest.tables() if info.snapshot_max != SNAPSHOT_LATEST]:
                if not any(map(info.visible, self.pins)):
                    self.manifest.remove_table(info, snapshot_max=info.snapshot_max, pinned=False)
        self.views[self.op] = self.view()
        if self.rng.random() < 0.1:
            self.pins.add(self.op)
        self.op += 1

    def remove(self, info: TableInfo) -> None:
        self.manifest.remove_table(info, snapshot_max=self.op - 1, pinned=any(map(info.visible, self.pins)))

    def discard(self, pin: int) -> None:
        """Back to the view of `pin`: what came later goes, what was hidden later is revived."""
        self.pins = {p for p in self.pins if p <= pin}
        for info in list(self.manifest.tables()):
            if info.snapshot_min > pin:
                self.manifest.remove_table(info, snapshot_max=info.snapshot_max, pinned=False)
        for info in list(self.manifest.tables()):
            if info.visible(pin) and info.snapshot_max != SNAPSHOT_LATEST:
                self.manifest.revive_table(info)


@pytest.mark.parametrize("run", range(6))
def test_every_pinned_snapshot_keeps_its_view_until_the_end(run: int, rng: random.Random) -> None:
    history = History(rng)
    seen = 0
    for step in range(300):
        history.step()
        for pin in history.pins:
            seen += 1
            assert history.view(pin) == history.views[pin]
        if step % 25 == 24:
            again = reopened(history.manifest)
            assert told(again) == told(history.manifest)
            assert again.level_counts == history.manifest.level_counts
    assert seen > 100


@pytest.mark.parametrize("run", range(6))
def test_discarding_to_a_pin_brings_its_view_back(run: int, rng: random.Random) -> None:
    history = History(rng)
    discarded = 0
    for _ in range(300):
        history.step()
        if history.pins and rng.random() < 0.05:
            pin = max(history.pins)
            history.discard(pin)
            discarded += 1
            assert history.view() == history.views[pin]
            assert told(reopened(history.manifest)) == told(history.manifest)
    assert discarded > 2
