"""The records of imports in batches: what is stored is found again, and nothing that makes no sense is believed."""

from pathlib import Path

import pytest

import lsmcli
from lsmcli.engine import import_progress
from lsmcli.engine.constants import TREE_ID_CATALOG, TREE_ID_MAIN
from lsmcli.engine.errors import DamageError
from lsmcli.engine.schema import IMPORT_NAME_SIZE_MAX, IMPORT_PROGRESS, ImportProgress, ImportState
from lsmcli.engine.storage import FileStorage
from lsmcli.engine.verifier import verify

PROGRESS = ImportProgress(
    digest=bytes(range(16)), size_source=1000, size_read=500, rows=40, line=41, imported=38, replaced=3, skipped=1,
    deleted=1, state=ImportState.UNDER_WAY, reserved_a=0, name_size=0,
)  # fmt: skip
KEY = import_progress.key_of(b"main", b"rows.csv")


def test_a_record_is_stored_with_the_rows_of_its_op_and_found_after_a_new_open(tmp_path: Path) -> None:
    path = tmp_path / "t.lsm"
    with lsmcli.open(path, "c") as database:
        assert import_progress.find(database, KEY) is None
        database.create_tree("users")
        database.apply([(TREE_ID_MAIN, b"a", b"1"), import_progress.entry_of(KEY, PROGRESS, b"rows.csv")])
    with lsmcli.open(path, "r") as database:
        assert import_progress.find(database, KEY) == PROGRESS._replace(name_size=8)
        assert [record.name for record in import_progress.records(database)] == [b"rows.csv"]
        assert database.trees() == ["main", "users"]
        assert dict(database.scan()) == {b"a": b"1"}
    storage = FileStorage.open(str(path), writable=False)
    assert verify(storage).problems == []
    storage.close()


def test_a_removed_record_is_gone(tmp_path: Path) -> None:
    with lsmcli.open(tmp_path / "t.lsm", "c") as database:
        database.apply([import_progress.entry_of(KEY, PROGRESS, b"rows.csv")])
        database.apply([import_progress.entry_removed(KEY)])
        assert import_progress.find(database, KEY) is None
        assert import_progress.records(database) == []


def test_each_tree_and_each_source_has_a_record_of_its_own() -> None:
    pairs = [(b"main", b"a"), (b"main", b"b"), (b"users", b"a"), (b"user", b"sa")]
    assert len({import_progress.key_of(*pair) for pair in pairs}) == len(pairs)


def test_a_long_name_is_cut(tmp_path: Path) -> None:
    with lsmcli.open(tmp_path / "t.lsm", "c", block_size=4096) as database:
        database.apply([import_progress.entry_of(KEY, PROGRESS, b"n" * 4000)])
        assert import_progress.records(database)[0].name == b"n" * IMPORT_NAME_SIZE_MAX


@pytest.mark.parametrize(
    "value",
    [
        b"",
        IMPORT_PROGRESS.pack(PROGRESS)[:-1],
        IMPORT_PROGRESS.pack(PROGRESS) + b"a name that is not counted",
        IMPORT_PROGRESS.pack(PROGRESS._replace(name_size=5)) + b"four",
        IMPORT_PROGRESS.pack(PROGRESS._replace(state=0)),
        IMPORT_PROGRESS.pack(PROGRESS._replace(state=3)),
    ],
)
def test_a_record_that_makes_no_sense_is_damage(tmp_path: Path, value: bytes) -> None:
    with lsmcli.open(tmp_path / "t.lsm", "c") as database:
        database.apply([(TREE_ID_CATALOG, KEY, value)])
        with pytest.raises(DamageError, match="makes no sense"):
            import_progress.find(database, KEY)
        with pytest.raises(DamageError):
            import_progress.records(database)
        assert database.trees() == ["main"]
