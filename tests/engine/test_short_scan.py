"""Short scans: every range, limit and direction against the model, and when they leave the answer to ordinary ones."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

import lsmcli
from lsmcli.engine.block_scan import COMPILED, runs_at_hand
from lsmcli.engine.database import Database
from lsmcli.engine.errors import ClosedError, DamageError, TreeError
from lsmcli.engine.schema import BlockKind
from lsmcli.engine.short_scan import LIMIT_MAX, short_scan
from tests.testing.model import entries_between

Entries = dict[bytes, bytes]
TREE_MAIN = 2
BLOCK_SIZE = 4096
LARGE = b"L" * BLOCK_SIZE


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with lsmcli.open(tmp_path / "a.lsm", block_size=BLOCK_SIZE) as database:
        yield database


def key_random(rng: random.Random) -> bytes:
    return bytes(rng.choices(b"abcd", k=rng.randint(1, 9)))


def put_random(database: Database, model: Entries, rng: random.Random, count: int) -> None:
    for _ in range(count):
        model[key := key_random(rng)] = value = rng.randbytes(rng.choice([0, 10, 60]))
        database[key] = value


def delete_random(database: Database, model: Entries, rng: random.Random, count: int) -> None:
    for key in rng.sample(sorted(model), count):
        del database[key], model[key]


def short(database: Database, start: bytes | None, end: bytes | None, limit: int, reverse: bool) -> list[object] | None:
    pairs = short_scan(database, TREE_MAIN, start, end, limit, reverse)
    return None if pairs is None else list(pairs)


def compare(database: Database, model: Entries, rng: random.Random, rounds: int) -> int:
    """Asks for random ranges. Returns for how many of them there was a short answer."""
    answered = 0
    for _ in range(rounds):
        start, end = (None if rng.random() < 0.2 else key_random(rng) for _ in range(2))
        limit, reverse = rng.choice([1, 2, 10, 40, LIMIT_MAX]), rng.random() < 0.5
        expected = entries_between(model, start, end, reverse=reverse, limit=limit)
        found = short(database, start, end, limit, reverse)
        assert found is None or found == expected
        answered += found is not None
        assert list(database.scan(start, end, reverse=reverse, limit=limit)) == expected
        keys_only = database.scan(start, end, reverse=reverse, limit=limit, keys_only=True)
        assert list(keys_only) == [(key, b"") for key, _ in expected]
    return answered


def test_one_level_of_several_tables(database: Database, rng: random.Random) -> None:
    model: Entries = {}
    put_random(database, model, rng, 4000)
    database.compact()
    tables = [len(level.tables) for level in database.forest.tree(TREE_MAIN).manifest.levels]
    assert sum(tables) > 1
    assert compare(database, model, rng, 600) == 600


def test_memory_above_levels(database: Database, rng: random.Random) -> None:
    model: Entries = {}
    put_random(database, model, rng, 2000)
    database.compact()
    for _ in range(2):
        put_random(database, model, rng, 300)
        delete_random(database, model, rng, 100)
        database.checkpoint()
    put_random(database, model, rng, 100)
    delete_random(database, model, rng, 50)
    assert compare(database, model, rng, 600) > 300


def test_memory_alone_and_nothing_at_all(database: Database, rng: random.Random) -> None:
    model: Entries = {}
    assert compare(database, model, rng, 20) == 20
    put_random(database, model, rng, 300)
    assert compare(database, model, rng, 100) == 100


@pytest.mark.parametrize("shared", [b"", b"user:", b"much longer than a number: "])
def test_what_was_read_before_is_at_hand(database: Database, rng: random.Random, shared: bytes) -> None:
    """Compiled code goes from slot to slot then, also from keys that share nothing with those that are there."""
    model = {shared + b"%05d" % i: b"v%d" % i for i in range(0, 20_000, 5)}
    database.update(model)
    database.compact()
    list(database.scan())
    tree = database.forest.tree(TREE_MAIN)
    edges = [shared + b"%05d" % rng.randrange(20_000) for _ in range(100)]
    edges += [
        b"a",
        b"\xff",
        shared,
        shared[:-1],
        shared + b"\0",
        shared + b"\xff",
        shared + b"1",
        *rng.sample(sorted(model), 50),
    ]
    answers = 0
    for _ in range(2):
        for edge in edges:
            for start, end, reverse in ((edge, None, False), (None, edge, True)):
                limit = rng.choice([1, 10, LIMIT_MAX])
                expected = entries_between(model, start, end, reverse=reverse, limit=limit)
                if edge:
                    assert short(database, start, end, limit, reverse) == expected
                    found = runs_at_hand(tree.manifest.levels, tree.grid.cache.age, edge, limit, 99, reverse)
                    answers += found is not None
                    assert not found or sorted(expected) == list(zip(*found[0][:2], strict=True))
    assert answers == 0 if not COMPILED else answers > 300


def test_slots_of_blocks_that_are_gone_are_of_no_use(tmp_path: Path, rng: random.Random) -> None:
    """A cache of a few blocks, and tables that compaction replaces."""
    model: Entries = {}
    with lsmcli.open(tmp_path / "a.lsm", block_size=BLOCK_SIZE, cache_size=6 * BLOCK_SIZE) as database:
        for _ in range(4):
            put_random(database, model, rng, 1000)
            compare(database, model, rng, 50)
            database.compact()
            compare(database, model, rng, 50)


def test_nothing_is_kept_open(database: Database) -> None:
    database[b"a"] = b"1"
    pairs = database.scan(limit=5)
    assert database.forest.scans_open == 0
    database[b"a"] = b"2"
    database[b"b"] = b"2"
    assert list(pairs) == [(b"a", b"1")]


def test_many_tombstones_are_left_to_an_ordinary_scan(database: Database) -> None:
    model = {b"%03d" % i: b"v" for i in range(200)}
    database.update(model)
    database.checkpoint()
    for i in range(100):
        del database[b"%03d" % i]
    assert short(database, None, None, 10, False) is None
    assert [key for key, _ in database.scan(limit=2)] == [b"100", b"101"]


def test_large_values_are_left_to_an_ordinary_scan(database: Database) -> None:
    database[b"a"] = LARGE
    assert short(database, None, None, 10, False) is None
    assert list(database.scan(limit=1)) == [(b"a", LARGE)]
    assert list(database.scan(limit=1, keys_only=True)) == [(b"a", b"")]


def test_keys_that_only_a_log_knows_are_left_to_an_ordinary_scan(database: Database) -> None:
    database[b"a"] = b"1"
    older = database.scan()
    assert next(older) == (b"a", b"1")
    with pytest.raises(ZeroDivisionError), database.scope():
        database[b"b"] = b"2"
        raise ZeroDivisionError
    assert short(database, None, None, 10, False) is None
    assert list(database.scan(limit=10)) == [(b"a", b"1")]


@pytest.mark.parametrize("kind", [BlockKind.INDEX, BlockKind.VALUE])
def test_damage_is_told_by_the_ordinary_scan_when_it_gets_there(tmp_path: Path, kind: BlockKind) -> None:
    path = tmp_path / "a.lsm"
    with lsmcli.open(path, block_size=BLOCK_SIZE) as database:
        database.update({b"%04d" % i: b"v" * 50 for i in range(500)})
        database.compact()
        grid = database.forest.file.grid
        (info,) = (info for level in database.forest.tree(TREE_MAIN).manifest.levels for info in level.tables)
        index = lsmcli.engine.table.read_index(grid, info)
        address = info.reference.address if kind is BlockKind.INDEX else index.references[1].address
        at = grid.offset(address) + 200
        key = index.keys_last[0]
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    with lsmcli.open(path) as database:
        assert short(database, key, None, 10, False) is None
        pairs = database.scan(key, limit=10)
        with pytest.raises(DamageError, match=f"{kind.name.lower()}"):
            list(pairs)
        if kind is BlockKind.VALUE:
            assert len(list(database.scan(limit=10))) == 10, "damage elsewhere is not looked at"


def test_what_does_not_go_raises_at_once(tmp_path: Path) -> None:
    database = lsmcli.open(tmp_path / "a.lsm")
    apple = database.create_tree("apple")
    database.drop_tree("apple")
    with pytest.raises(TreeError):
        apple.scan(limit=1)
    database.close()
    with pytest.raises(ClosedError):
        database.scan(limit=1)
