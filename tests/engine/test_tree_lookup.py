"""Lookups of an open database, warm ones: whatever happens to tree, cache and handle, the next get tells of it."""

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

import lsmcli
from lsmcli.engine.database import Database
from lsmcli.engine.errors import ClosedError, DamageError, OutcomeUnknownError, TreeError
from lsmcli.engine.lookup_interpreted import PERHAPS

KEYS = [b"%04d" % i for i in range(400)]


def warm(database: Database) -> None:
    """Every key is asked for twice: by the ordinary way, and by the quick one that this has prepared."""
    for key in KEYS * 2:
        database.get(key)


def quick(database: Database) -> int:
    """How many keys are answered without the ordinary way."""
    return sum(database._lookup.get(key) is not PERHAPS for key in KEYS)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with all keys in tables, in several levels."""
    path = tmp_path / "lookup.lsm"
    with lsmcli.open(path, block_size=4096, growth_factor=2, memory_size=1 << 14) as database:
        for generation in (b"old", b"new"):
            for key in KEYS:
                database[key] = generation + b" value of " + key
        database.checkpoint()
    return path


def test_a_second_lookup_needs_no_other_way(path: Path) -> None:
    with lsmcli.open(path) as database:
        assert quick(database) == 0
        warm(database)
        assert quick(database) == len(KEYS)
        cache = database.forest.file.grid.cache
        misses, hits = cache.misses, cache.hits
        assert database.get_many(KEYS) == [b"new value of " + key for key in KEYS]
        assert b"0007" in database and database[b"0399"] == b"new value of 0399"
        assert cache.misses == misses and cache.hits >= hits + 2 * len(KEYS)
        assert b"0007+" not in database and b"0007+" not in database


def test_get_many_prepares_the_next_one(path: Path) -> None:
    with lsmcli.open(path) as database:
        assert database.get_many(KEYS) == [b"new value of " + key for key in KEYS]
        assert quick(database) == len(KEYS)


@pytest.mark.parametrize("cache_size", [0, 10_000, 60_000, 1 << 20])
@pytest.mark.parametrize("memory_size", [4000, 40_000])
def test_every_state_of_a_database_answers_like_a_dict(
    tmp_path: Path, cache_size: int, memory_size: int, rng: random.Random
) -> None:
    naive: dict[bytes, bytes] = {}
    other: dict[bytes, bytes] = {}
    path = tmp_path / "naive.lsm"
    database = lsmcli.open(path, block_size=4096, growth_factor=2, memory_size=memory_size, cache_size=cache_size)
    tree = database.create_tree("other")
    before: tuple[dict[bytes, bytes], dict[bytes, bytes]] | None = None

    def change() -> None:
        for _ in range(rng.randrange(80)):
            keyspace, expected = rng.choice([(database, naive), (database, naive), (tree, other)])
            key = rng.choice(KEYS)
            if rng.random() < 0.2:
                keyspace.delete(key)
                expected.pop(key, None)
            else:
                keyspace[key] = expected[key] = rng.randbytes(rng.choice([0, 5, 100, 100, 3000]))

    for _ in range(40):
        step = rng.randrange(10)
        if step == 0:
            database.checkpoint()
        elif step == 1 and before is None:
            database.compact()
        elif step == 2 and before is None:
            database.close()
            database = lsmcli.open(path, memory_size=memory_size, cache_size=cache_size)
            tree = database.tree("other")
        elif step == 3:
            if before is None:
                before = (dict(naive), dict(other))
                database.scope_begin()
            elif rng.random() < 0.5:
                database.scope_persist()
                before = None
            else:
                database.scope_discard()
                (naive, other), before = before, None
        else:
            change()
        asked = rng.sample(KEYS, 60)
        assert [database.get(key) for key in asked] == [naive.get(key) for key in asked]
        assert tree.get_many(asked) == [other.get(key) for key in asked]
        assert database.get_many(asked) == [naive.get(key) for key in asked]
        assert [tree.get(key) for key in asked] == [other.get(key) for key in asked]
    database.close()


def test_a_closed_handle_says_so(path: Path) -> None:
    database = lsmcli.open(path)
    warm(database)
    database.close()
    asks: list[Callable[[bytes], object]] = [database.get, database.__contains__, lambda key: database.get_many([key])]
    for ask in asks:
        with pytest.raises(ClosedError):
            ask(b"0001")


def test_a_handle_that_was_given_up_says_so(path: Path) -> None:
    with lsmcli.open(path) as database:
        warm(database)
        database.give_up(OutcomeUnknownError("given up"))
        with pytest.raises(OutcomeUnknownError):
            database.get(b"0001")


def test_a_forked_child_says_that_it_must_open_the_file_itself(path: Path) -> None:
    with lsmcli.open(path) as database:
        warm(database)
        pid = os.fork()
        if pid == 0:
            try:
                database.get(b"0001")
            except ClosedError:
                os._exit(17)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 17
        assert database[b"0001"] == b"new value of 0001"


def test_a_dropped_tree_says_so(path: Path) -> None:
    with lsmcli.open(path) as database:
        tree = database.create_tree("other")
        tree[b"a"] = b"1"
        assert tree.get(b"a") == tree.get(b"a") == b"1"
        database.drop_tree("other")
        with pytest.raises(TreeError):
            tree.get(b"a")
        assert database.create_tree("other").get(b"a") is None


def test_a_reader_sees_its_state_until_it_is_refreshed(path: Path) -> None:
    with lsmcli.open(path) as writer, lsmcli.open(path, "r") as reader:
        warm(reader)
        writer[b"0001"] = b"newer"
        assert reader[b"0001"] == b"new value of 0001"
        reader.refresh()
        assert reader[b"0001"] == b"newer"
        assert reader.get_many([b"0001", b"0002"]) == [b"newer", b"new value of 0002"]


def test_a_damaged_block_is_told_as_ever_once_the_cache_has_forgotten_it(path: Path) -> None:
    size = path.stat().st_size
    with lsmcli.open(path, "r") as database:
        warm(database)
        with path.open("r+b") as file:
            file.seek(512 * 1024)
            file.write(bytes(size - 512 * 1024))
        assert quick(database) == len(KEYS)  # what was verified is in memory
        database.forest.file.grid.cache.clear()
        assert quick(database) == 0
        with pytest.raises(DamageError, match="verify"):
            database.get(b"0001")
