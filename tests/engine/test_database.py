"""A data file as a whole: opening, durability, scopes, trees, readers, forks and threads."""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lsmcli
from lsmcli.engine.constants import TREE_ID_MAIN
from lsmcli.engine.database import Database
from lsmcli.engine.errors import (
    ClosedError,
    FileError,
    FormatError,
    LimitError,
    LockedError,
    OutcomeUnknownError,
    ReadOnlyError,
    ScopeError,
    TreeError,
)
from lsmcli.engine.inspector import verify


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "database.lsm"


def test_what_is_put_is_there_when_it_is_opened_again(path: Path) -> None:
    with lsmcli.open(path) as database:
        database[b"a"] = b"1"
    with lsmcli.open(path, "r") as database:
        assert dict(database.items()) == {b"a": b"1"}


def test_a_small_file_is_small(path: Path) -> None:
    with lsmcli.open(path) as database:
        for i in range(10):
            database[b"%d" % i] = b"value"
    assert path.stat().st_size < 2 << 20


@pytest.mark.parametrize(
    ("flag", "exists", "found"),
    [
        ("c", False, {}),
        ("c", True, {b"a": b"1"}),
        ("w", True, {b"a": b"1"}),
        ("r", True, {b"a": b"1"}),
        ("n", True, {}),
    ],
)
def test_flags_are_those_of_dbm(path: Path, flag: str, exists: bool, found: dict[bytes, bytes]) -> None:
    if exists:
        with lsmcli.open(path, "n") as database:
            database[b"a"] = b"1"
    with lsmcli.open(path, flag) as database:  # type: ignore[arg-type]  # one of the four
        assert dict(database.scan()) == found


@pytest.mark.parametrize("flag", ["r", "w"])
def test_a_missing_file_is_an_error(path: Path, flag: str) -> None:
    with pytest.raises(FileError):
        lsmcli.open(path, flag)  # type: ignore[arg-type]  # one of the two
    assert not path.exists()


def test_another_file_is_neither_opened_nor_replaced(path: Path) -> None:
    path.write_bytes(b"something else " * 100)
    for flag in ("r", "w", "c", "n"):
        with pytest.raises(FormatError):
            lsmcli.open(path, flag)
    assert path.read_bytes() == b"something else " * 100


@pytest.mark.parametrize(
    "settings",
    [{"block_size": 5000}, {"block_size": 1024}, {"growth_factor": 1}, {"memory_size": 10}, {"cache_size": -1}],
)
def test_settings_outside_their_range_are_refused(path: Path, settings: dict[str, Any]) -> None:
    with pytest.raises(LimitError):
        lsmcli.open(path, **settings)
    assert not path.exists()


def test_one_writer_at_a_time(path: Path) -> None:
    with lsmcli.open(path, command="the first") as database:
        with pytest.raises(LockedError) as caught:
            lsmcli.open(path, "w")
        assert caught.value.pid == os.getpid()
        assert caught.value.command == "the first"
        with lsmcli.open(path, "r") as reader:
            assert len(reader) == 0
        database[b"still"] = b"works"
    lsmcli.open(path, "w").close()


def test_a_reader_sees_what_was_there_and_refreshes(path: Path) -> None:
    with lsmcli.open(path) as database:
        database[b"a"] = b"1"
        with lsmcli.open(path, "r") as reader:
            database[b"a"] = b"2"
            assert reader[b"a"] == b"1"
            reader.refresh()
            assert reader[b"a"] == b"2"
            with pytest.raises(ReadOnlyError):
                reader[b"a"] = b"3"


def test_reading_changes_no_byte(path: Path) -> None:
    with lsmcli.open(path) as database:
        database.update({b"%d" % i: b"x" * i for i in range(200)})
    before = path.read_bytes()
    with lsmcli.open(path, "r") as reader:
        assert len(list(reader.scan())) == 200
        reader.stats()
        reader.levels()
    assert path.read_bytes() == before


def test_a_bound_scope_is_kept_or_undone(path: Path) -> None:
    with lsmcli.open(path) as database:
        database[b"a"] = b"1"
        with database.scope():
            database[b"a"] = b"2"
        assert database[b"a"] == b"2"
        with pytest.raises(ZeroDivisionError), database.scope():
            database[b"a"] = b"3"
            raise ZeroDivisionError
        assert database[b"a"] == b"2"
        with database.scope() as scope:
            database[b"a"] = b"4"
            scope.discard()
            assert database[b"a"] == b"2"
        assert database.scope_status() is None
        with database.scope(), pytest.raises(ScopeError):
            database.scope_begin()


def test_a_durable_scope_waits_for_its_end(path: Path) -> None:
    with lsmcli.open(path) as database:
        database[b"a"] = b"1"
        database.scope_begin()
        database[b"a"] = b"2"
    with lsmcli.open(path, "r") as reader:
        assert reader[b"a"] == b"1"
    with lsmcli.open(path, "r", committed=False) as reader:
        assert reader[b"a"] == b"2"
    with lsmcli.open(path, "w") as database:
        status = database.scope_status()
        assert status is not None and status.durable and status.changes == 1
        database[b"b"] = b"2"
        database.scope_discard()
        assert dict(database.scan()) == {b"a": b"1"}


def test_a_scope_holds_trees_too(path: Path) -> None:
    with lsmcli.open(path) as database:
        database.create_tree("kept")[b"k"] = b"v"
        database.scope_begin()
        database.drop_tree("kept")
        database.create_tree("new")
        assert database.trees() == ["main", "new"]
        database.scope_discard()
        assert database.trees() == ["main", "kept"]
        assert database.tree("kept")[b"k"] == b"v"


def test_one_name_of_a_tree_in_two_locales(path: Path) -> None:
    name, escaped = "дерево", "дерево".encode().decode("ascii", "surrogateescape")
    with lsmcli.open(path) as database:
        database.create_tree(escaped)[b"k"] = b"v"
        assert database.trees() == ["main", name]
        assert database.tree(name)[b"k"] == database.tree(escaped)[b"k"] == b"v"
        for other in (name, escaped):
            with pytest.raises(TreeError, match="already"):
                database.create_tree(other)
        for use in (database.create_tree, database.tree, database.drop_tree):
            with pytest.raises(LimitError, match="surrogate"):
                use("\ud800")
        database.drop_tree(escaped)
        assert database.trees() == ["main"]


def test_names_of_trees(path: Path) -> None:
    with lsmcli.open(path) as database:
        for name in ("b", "a", "\N{SNOWMAN}", "with space"):
            database.create_tree(name)
        assert database.trees() == ["main", "a", "b", "with space", "\N{SNOWMAN}"]
        for name in ("", "x" * 256):
            with pytest.raises(LimitError):
                database.create_tree(name)
        for name in ("main", "a"):
            with pytest.raises(TreeError):
                database.create_tree(name)
        for name in ("main", "missing"):
            with pytest.raises(TreeError):
                database.drop_tree(name)
        with pytest.raises(TreeError):
            database.tree("missing")
        with pytest.raises(TreeError):
            database.tree_id("missing")


def test_compact_gives_space_back(path: Path) -> None:
    with lsmcli.open(path, memory_size=64 * 1024) as database:
        for i in range(2000):
            database[b"%06d" % i] = bytes(500)
        database.delete_range(b"000100", None)
        size = path.stat().st_size
        result = database.compact()
        assert path.stat().st_size == size - result.bytes_freed
        assert result.bytes_freed > size // 2
        assert len(database) == 100
    assert verify(str(path)).ok


@pytest.mark.parametrize("change", [
    lambda database: database.put(b"b", b"2"),
    lambda database: database.put_many([(b"b", b"2")]),
    lambda database: database.apply_one(TREE_ID_MAIN, b"b", b"2"),
], ids=["put", "put_many", "the long way"])  # fmt: skip
def test_an_interrupted_change_gives_the_handle_up(
    path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Database], None]
) -> None:
    database = lsmcli.open(path)
    database[b"a"] = b"1"
    storage = database.forest.log.storage

    class Interrupted:
        def write(self, offset: int, data: bytes) -> None:
            storage.write(offset, data)
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(database.forest.log, "storage", Interrupted())
        with pytest.raises(KeyboardInterrupt):
            change(database)
    with pytest.raises(OutcomeUnknownError, match="reopen"):
        database.get(b"a")
    database.close()
    with lsmcli.open(path, "w") as database:
        assert dict(database.scan()) == {b"a": b"1", b"b": b"2"}


def test_a_forked_child_cannot_use_the_handle(path: Path) -> None:
    with lsmcli.open(path) as database:
        child = os.fork()
        if child == 0:
            try:
                database.put(b"a", b"1")
            except ClosedError:
                os._exit(42)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42
        database[b"b"] = b"2"


def test_threads_share_a_handle(path: Path) -> None:
    with lsmcli.open(path, block_size=4096, memory_size=16 * 1024) as database:
        failures: list[Exception] = []

        def work(number: int) -> None:
            try:
                for i in range(200):
                    database[b"%d %d" % (number, i)] = b"%d" % i
                    assert database.get(b"%d %d" % (number, i)) == b"%d" % i
                    if i % 50 == 0:
                        keys = [key for key, _ in database.scan(prefix=b"%d " % number)]
                        assert len(keys) == i + 1
            except Exception as error:  # noqa: BLE001  # told by the test's own thread
                failures.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert len(database) == 800


def test_each_op_is_synced_in_mode_commit(path: Path) -> None:
    with lsmcli.open(path, sync="commit") as database:
        database[b"a"] = b"1"
        assert database.forest.file.wal.op_synced == 1
    with lsmcli.open(path) as database:
        database[b"a"] = b"2"
        assert database.forest.file.wal.op_synced == 1
        database.sync()
        assert database.forest.file.wal.op_synced == 2


def test_a_file_that_was_replaced_is_noticed(path: Path) -> None:
    database = lsmcli.open(path)
    database[b"a"] = b"1"
    path.rename(path.with_name("moved"))
    with pytest.raises(FileError):
        database.sync()


def test_stats_and_levels_count(path: Path) -> None:
    with lsmcli.open(path) as database:
        database.update({b"%d" % i: b"x" for i in range(50)})
        database.checkpoint()
        stats = database.stats()
        assert stats["table_entries"] == 50 and stats["memory_entries"] == 0 and stats["trees"] == 1
        assert stats["file_size"] == path.stat().st_size
        (tree,) = database.levels()
        assert tree["tree"] == "main"
        assert sum(level["entries"] for level in tree["levels"]) == 50
        assert repr(database).startswith("<lsmcli.Database")
