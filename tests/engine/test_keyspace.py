"""The mapping of one tree: what a program that uses the library can rely on."""

from collections.abc import Iterator, MutableMapping
from pathlib import Path

import pytest

import lsmcli
from lsmcli.engine.database import Database
from lsmcli.engine.errors import ClosedError, LimitError, TreeError
from tests.testing.model import entries_between


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with lsmcli.open(tmp_path / "keyspace.lsm", block_size=4096) as database:
        yield database


def test_it_is_a_mutable_mapping(database: Database) -> None:
    assert isinstance(database, MutableMapping)
    database[b"b"] = b"2"
    database[b"a"] = b"1"
    database.update({b"c": b"3"})
    assert list(database) == [b"a", b"b", b"c"]
    assert list(reversed(database)) == [b"c", b"b", b"a"]
    assert len(database) == 3 and b"b" in database and b"x" not in database and database.get(b"x") is None
    assert database.pop(b"b") == b"2"
    assert database.setdefault(b"d", b"4") == b"4"
    assert dict(database.items()) == {b"a": b"1", b"c": b"3", b"d": b"4"}
    with pytest.raises(KeyError):
        database[b"b"]
    with pytest.raises(KeyError):
        del database[b"b"]
    del database[b"a"]
    database.clear()
    assert len(database) == 0 and bool(database)


def test_get_has_a_default(database: Database) -> None:
    assert database.get(b"a") is None
    assert database.get(b"a", b"none") == b"none"
    database.put(b"a", b"")
    assert database.get(b"a", b"none") == b""


def test_get_many_keeps_the_order_of_the_keys(database: Database) -> None:
    database.put_many([(b"a", b"1"), (b"b", b"2")])
    assert database.get_many([b"b", b"x", b"a", b"b"]) == [b"2", None, b"1", b"2"]


def test_of_equal_keys_in_one_op_the_last_counts(database: Database) -> None:
    database.put_many([(b"a", b"1"), (b"a", b"2")])
    assert database[b"a"] == b"2"
    database.write([(b"a", b"3"), (b"a", None)])
    assert b"a" not in database


@pytest.mark.parametrize("size", [0, 1, 2047, 2048, 2049, 4096, 20_000, 300_000])
def test_values_of_any_size_come_back(database: Database, size: int) -> None:
    value = bytes(i % 251 for i in range(size))
    database[b"key"] = value
    assert database[b"key"] == value
    database.checkpoint()
    assert database[b"key"] == value
    assert list(database.scan()) == [(b"key", value)]
    assert list(database.scan(keys_only=True)) == [(b"key", b"")]


@pytest.mark.parametrize("key", [b"\0", b"\xff" * 512, bytes(range(256))])
def test_keys_of_any_bytes(database: Database, key: bytes) -> None:
    database[key] = key
    assert list(database.scan(prefix=key)) == [(key, key)]


@pytest.mark.parametrize(
    ("key", "value", "error"),
    [
        (b"", b"", LimitError),
        (b"k" * 513, b"", LimitError),
        ("text", b"", TypeError),
        (b"k", "text", TypeError),
        (b"k", None, TypeError),
        (bytearray(b"k"), b"", TypeError),
    ],
)
def test_what_cannot_be_stored_is_refused(database: Database, key: bytes, value: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        database.put(key, value)
    with pytest.raises(error):
        database.put_many([(b"good", b""), (key, value)])
    with pytest.raises(error):
        database.batch().put(key, value)
    assert len(database) == 0
    assert database.forest.op == 0


def test_a_batch_is_one_op_or_nothing(database: Database) -> None:
    with database.batch() as batch:
        batch.put(b"a", b"1")
        batch.delete(b"b")
        assert len(batch) == 2
    assert database.forest.op == 1
    with pytest.raises(ZeroDivisionError), database.batch() as batch:
        batch.put(b"c", b"1")
        raise ZeroDivisionError
    assert b"c" not in database
    with database.batch():
        pass
    assert database.forest.op == 1


BOUNDS = [None, b"a", b"b", b"bb", b"c", b"z"]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("limit", [None, -1, 0, 1, 2, 100])
def test_scans_take_ranges_prefixes_and_limits(database: Database, reverse: bool, limit: int | None) -> None:
    tree = {key: key.upper() for key in (b"a", b"aa", b"b", b"ba", b"bb", b"c")}
    database.update(tree)
    for start in BOUNDS:
        for end in BOUNDS:
            expected = entries_between(tree, start, end, reverse=reverse, limit=limit)
            assert list(database.scan(start, end, reverse=reverse, limit=limit)) == expected
            if limit is None:
                assert database.count(start, end) == len(expected)
    expected = entries_between(tree, b"b", b"c", reverse=reverse, limit=limit)
    assert list(database.scan(prefix=b"b", reverse=reverse, limit=limit)) == expected


def test_a_range_is_a_prefix_or_two_ends(database: Database) -> None:
    with pytest.raises(ValueError, match="not both"):
        database.scan(start=b"a", prefix=b"a")
    database[b"\xff\xff"] = b"last"
    assert database.count(prefix=b"\xff") == database.count(prefix=b"") == 1


def test_delete_range_tells_how_many(database: Database) -> None:
    database.update({b"%02d" % i: b"" for i in range(20)})
    assert database.delete_range(b"05", b"10") == 5
    assert database.delete_range(prefix=b"1") == 10
    assert database.delete_range(prefix=b"1") == 0
    assert len(database) == 5


def test_trees_are_apart(database: Database) -> None:
    apple = database.create_tree("apple")
    apple[b"k"] = b"in apple"
    database[b"k"] = b"in main"
    assert database.tree("apple")[b"k"] == b"in apple"
    assert database.tree("main")[b"k"] == b"in main"
    database.drop_tree("apple")
    with pytest.raises(TreeError):
        apple.get(b"k")
    with pytest.raises(TreeError):
        apple.put(b"k", b"")
    assert len(database.create_tree("apple")) == 0


def test_after_close_everything_says_so(tmp_path: Path) -> None:
    database = lsmcli.open(tmp_path / "closed.lsm")
    database[b"a"] = b"1"
    pairs = database.scan()
    database.close()
    database.close()
    for call in (
        lambda: database.get(b"a"),
        lambda: database.put(b"a", b""),
        lambda: list(database.scan()),
        lambda: next(pairs),
        database.trees,
        database.sync,
    ):
        with pytest.raises(ClosedError):
            call()
