"""What the manifest keeps of a table survives its record, and is told apart by tree and address."""

import pytest

from lsmcli.engine.constants import SNAPSHOT_LATEST
from lsmcli.engine.schema import TABLE_EVENT, BlockReference, TableEventKind
from lsmcli.engine.table_info import TableInfo


def table(tree_id: int = 2, address: int = 9, snapshot_min: int = 4, snapshot_max: int = SNAPSHOT_LATEST) -> TableInfo:
    return TableInfo(
        tree_id=tree_id,
        level=3,
        reference=BlockReference(address, 0, b"c" * 16),
        key_min=b"apple",
        key_max=b"pear",
        block_count=5,
        entry_count=100,
        tombstone_count=7,
        large_count=3,
        values_size=12_345,
        snapshot_min=snapshot_min,
        snapshot_max=snapshot_max,
    )


@pytest.mark.parametrize("kind", list(TableEventKind))
def test_a_record_gives_back_every_field(kind: TableEventKind) -> None:
    info = table(snapshot_max=10)
    record = info.to_event(kind)
    event = TABLE_EVENT.unpack(record)
    assert event.event == kind
    keys = record[TABLE_EVENT.size :]
    assert keys == b"applepear"
    again = TableInfo.from_event(event, keys[: event.key_min_size], keys[event.key_min_size :])
    assert all(getattr(again, name) == getattr(info, name) for name in TableInfo.__slots__)


@pytest.mark.parametrize(("snapshot", "visible"), [(3, False), (4, True), (7, True), (10, True), (11, False)])
def test_visible_from_snapshot_min_to_snapshot_max(snapshot: int, visible: bool) -> None:
    assert table(snapshot_max=10).visible(snapshot) is visible


def test_a_table_that_is_not_deleted_is_visible_at_the_latest_snapshot() -> None:
    assert table().visible(SNAPSHOT_LATEST)


def test_tables_are_equal_by_tree_and_address() -> None:
    moved = table(snapshot_max=10)
    moved.level = 4
    assert table() == moved
    assert len({table(), moved, table(tree_id=3), table(address=10)}) == 3
    assert table() != table(tree_id=3)
    assert table() != table(address=10)
    assert table() != "a table"


def test_its_key_range_and_its_name_for_people() -> None:
    assert table().key_range == (b"apple", b"pear")
    assert "address=9" in repr(table())
