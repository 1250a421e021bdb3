"""The inspector shows every part of a file, and of a damaged one what is left."""

from pathlib import Path

import pytest

import lsmcli
from lsmcli.engine import constants
from lsmcli.engine.errors import FileError, FormatError, TreeError
from lsmcli.engine.inspector import (
    inspect_block,
    inspect_constants,
    inspect_grid,
    inspect_manifest,
    inspect_superblock,
    inspect_tables,
    inspect_wal,
    verify,
)


@pytest.fixture
def path(tmp_path: Path) -> str:
    """One table in each of two trees, and two ops in the log."""
    path = str(tmp_path / "inspected.lsm")
    with lsmcli.open(path, block_size=4096) as database:
        database.update({b"%02d" % i: b"value" for i in range(20)})
        database.create_tree("apple")[b"large"] = bytes(10_000)
        database.checkpoint()
        database.put_many([(b"one", b"1"), (b"two", b"2")])
        del database[b"07"]
    return path


def flip(path: str, offset: int) -> None:
    data = bytearray(Path(path).read_bytes())
    data[offset] ^= 1
    Path(path).write_bytes(data)


def test_the_superblock_and_its_copies(path: str) -> None:
    report = inspect_superblock(path)
    assert [copy["state"] for copy in report["copies"]] == ["intact"] * 6
    assert report["sequence"] >= 2
    assert report["block_size"] == 4096
    flip(path, constants.superblock_copy_offset(1) + 100)
    report = inspect_superblock(path)
    assert [copy["state"] for copy in report["copies"]] == ["intact", "damaged"] + ["intact"] * 4


def test_the_log(path: str) -> None:
    live = [record for record in inspect_wal(path) if record.get("live")]
    assert [record["kind"] for record in live] == ["op", "op", "mark"]
    assert live[0]["entries"] == 2 and live[0]["key_first"] == b"one"
    assert live[1]["key_first"] == b"07"


def test_the_manifest_and_the_tables(path: str) -> None:
    events = list(inspect_manifest(path))
    assert {event["event"] for event in events} == {"insert"}
    tables = list(inspect_tables(path))
    assert [table["tree"] for table in tables] == [1, 2, 3]
    (table,) = inspect_tables(path, tree="main")
    assert (table["key_min"], table["key_max"], table["entries"]) == (b"00", b"19", 20)
    (table,) = inspect_tables(path, tree="apple", level=0)
    assert table["large"] == 1
    assert list(inspect_tables(path, level=3)) == []
    with pytest.raises(TreeError):
        list(inspect_tables(path, tree="missing"))


def test_the_grid_adds_up(path: str) -> None:
    report = inspect_grid(path)
    kinds = sum(count for name, count in report.items() if name.startswith("blocks_"))
    assert kinds == report["used"]
    assert report["used"] + report["free"] == report["block_count"]
    assert report["blocks_index"] == report["blocks_value"] == 3
    assert report["blocks_damaged"] == 0


def test_every_block_can_be_shown(path: str) -> None:
    kinds = set()
    for address in range(1, inspect_grid(path)["block_count"] + 1):
        report = inspect_block(path, address)
        kinds.add(report["kind"])
        if report["kind"] == "value" and len(report.get("entries", [])) == 20:
            assert report["entries"][0]["key"] == b"00"
    assert {"value", "index", "manifest", "free_set", "large"} <= kinds
    assert "problem" in inspect_block(path, 0)
    assert "problem" in inspect_block(path, 1 << 40)


def test_a_damaged_block_is_shown_with_its_problem(path: str) -> None:
    (table,) = inspect_tables(path, tree="main")
    flip(path, constants.GRID_OFFSET + (table["address"] - 1) * 4096 + 120)
    assert "checksum" in inspect_block(path, table["address"])["problem"]
    assert inspect_grid(path)["blocks_damaged"] == 1
    assert not verify(path).ok


def test_constants_and_sizes() -> None:
    report = inspect_constants()
    assert report["key_size_max"] == 4096
    assert report["block_header_size"] == 96


def test_what_cannot_be_inspected_is_an_error(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"something else " * 50_000)
    with pytest.raises(FormatError):
        inspect_grid(str(other))
    with pytest.raises(FileError):
        inspect_superblock(str(tmp_path / "missing"))
