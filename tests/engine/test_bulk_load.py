"""A bulk load gives what as many puts would have given, and counts what it did; or it gives nothing."""

import random
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from lsmcli.engine import free_set
from lsmcli.engine.bulk_load import OnConflict
from lsmcli.engine.constants import KIB, MIB, TREE_ID_MAIN
from lsmcli.engine.database import Database
from lsmcli.engine.errors import ClosedError, LimitError, NoSpaceError, ReadOnlyError, StateError, TreeError
from lsmcli.engine.opening import open_database
from tests.testing.bulk import MEMORY_SIZE, WAYS, Entries, add_all, check_load, draw_load, go
from tests.testing.model import Model, State
from tests.testing.operations import (
    Draw,
    Profile,
    Run,
    assert_holds,
    assert_verified,
    draw_profile,
    new_storage,
    open_database_on,
)
from tests.testing.storage import Fault, SimulatedStorage


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Which way the loads of a test go, that would be too small for some of them."""
    go(request.param, monkeypatch)
    return str(request.param)


@pytest.fixture(autouse=True)
def _verify_free_sets(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(free_set, "VERIFY", True)
    yield


def draw_entries(rng: random.Random, count: int, *, tombstones: float = 0.1, size_max: int = 60) -> Entries:
    """Entries in a random order, with keys that repeat now and then."""
    keys = [b"%06d" % rng.randrange(3 * count + 1) for _ in range(count)]
    return [(key, None if rng.random() < tombstones else rng.randbytes(rng.randrange(size_max))) for key in keys]


PROFILE = draw_profile(random.Random("bulk"), growth_factor=2, memory_size=4 * KIB, cache_size=16 * KIB)


def new_database(profile: Profile = PROFILE) -> tuple[SimulatedStorage, Database]:
    storage = new_storage(profile)
    return storage, open_database_on(storage, profile)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("on_conflict", ["replace", "skip", "fail"])
@pytest.mark.parametrize("count", [0, 1, 30, 400, 3000])
def test_a_load_into_an_empty_file_and_one_over_it(count: int, on_conflict: OnConflict, rng: random.Random) -> None:
    storage, database = new_database()
    trees = check_load(database, {"main": {}}, {"main": draw_entries(rng, count)}, on_conflict)
    assert_holds(database, State(trees, None, False))
    trees = check_load(database, trees, {"main": draw_entries(rng, count)}, on_conflict)
    assert_holds(database, State(trees, None, False))
    assert_holds(open_database_on(storage.reopen(), PROFILE, writable=False), State(trees, None, False))
    database.close()
    assert_verified(storage)


@pytest.mark.parametrize("case", range(20))
def test_loads_between_other_operations(case: int, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(f"{seed}/{case}")
    go(rng.choice(WAYS), monkeypatch)
    profile = draw_profile(rng, large_share=0.02)
    profile = profile._replace(weights={**profile.weights, "reopen": 0})
    model = Model()
    run = Run(new_storage(profile), profile, model)
    draw = Draw(rng, profile, model)
    for _ in range(4):
        for _ in range(rng.randrange(40)):
            run.do(draw.operation())
        names = rng.sample(sorted(model.trees), rng.randint(1, len(model.trees)))
        entries = {name: draw_load(rng, draw, profile) for name in names}
        trees = check_load(run.database, model.trees, entries, rng.choice(("replace", "replace", "skip", "fail")))
        model.state = model.state._replace(trees=trees)
        model.resume(model.state, run.database.forest.op)
        assert_holds(run.database, model.state)
    run.close()
    assert_verified(run.storage)
    assert_holds(open_database_on(run.storage.reopen(), profile, writable=False), model.state.surviving)


@pytest.mark.usefixtures("way")
def test_an_exception_in_the_block_leaves_nothing(rng: random.Random) -> None:
    storage, database = new_database()
    database[b"a"] = b"1"
    load = database.bulk_load(memory_size=MEMORY_SIZE)
    with pytest.raises(ZeroDivisionError), load:
        add_all(load, "main", draw_entries(rng, 1000))
        raise ZeroDivisionError
    assert dict(database.scan()) == {b"a": b"1"}
    with pytest.raises(StateError, match="has a result only after"):
        _ = load.result
    with pytest.raises(StateError, match="begin a new one"):
        load.add("main", [b"b"], [b"2"])
    database.close()
    assert_verified(storage)


def test_what_cannot_be_stored_is_refused_before_it_is_taken_over() -> None:
    _, database = new_database()
    with database.bulk_load() as load:
        with pytest.raises(LimitError, match="0 bytes"):
            load.add("main", [b"a", b""], [b"", b""])
        with pytest.raises(LimitError, match="513 bytes"):
            load.add("main", [b"a", b"k" * 513], [b"", b""])
        with pytest.raises(TypeError, match="a key must be bytes, not str"):
            load.add("main", ["a"], [b""])  # type: ignore[list-item]  # wrong on purpose
        with pytest.raises(TypeError, match="a value must be bytes, not int"):
            load.add("main", [b"a"], [1])  # type: ignore[list-item]  # wrong on purpose
        with pytest.raises(ValueError, match="1 keys, but 2 values"):
            load.add("main", [b"a"], [b"", b""])
        with pytest.raises(TreeError, match="there is no tree 'other'"):
            load.add("other", [b"a"], [b""])
        with pytest.raises(TreeError):
            load.add(1, [b"a"], [b""])
        load.add("main", [b"b"], [b"2"])
    assert dict(database.scan()) == {b"b": b"2"}
    with pytest.raises(ValueError, match="on_conflict must be"):
        database.bulk_load(on_conflict="ask")  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(LimitError, match="at least 16384"):
        database.bulk_load(memory_size=1)


def test_a_reader_cannot_load() -> None:
    storage, _ = new_database()
    reader = open_database_on(storage.reopen(), PROFILE, writable=False)
    with pytest.raises(ReadOnlyError):
        reader.bulk_load()


def test_a_tree_that_is_dropped_meanwhile_fails_the_load() -> None:
    _, database = new_database()
    database.create_tree("other")
    load = database.bulk_load()
    with pytest.raises(TreeError, match="was dropped"), load:
        load.add("other", [b"a"], [b"1"])
        database.drop_tree("other")


def draw_ascending(rng: random.Random, count: int, *, large: int = 0) -> Entries:
    """Entries in key order, some of them with values that are stored out of line."""
    entries: Entries = [(b"%08d" % i, rng.randbytes(rng.randrange(60))) for i in range(count)]
    for i in rng.sample(range(count), large):
        entries[i] = (entries[i][0], rng.randbytes(5000))
    return entries


def levels_of(database: Database) -> list[int]:
    return database.forest.tree(TREE_ID_MAIN).manifest.level_counts


def test_what_arrives_in_key_order_is_written_once(rng: random.Random, monkeypatch: pytest.MonkeyPatch) -> None:
    go("tables", monkeypatch)
    _, database = new_database()
    entries = draw_ascending(rng, 3000)
    size = sum(len(key) + len(value or b"") for key, value in entries)
    with database.bulk_load(memory_size=MEMORY_SIZE) as load:
        add_all(load, "main", entries)
    assert dict(database.scan()) == dict(entries)
    assert load.result.bytes_written < 2 * size, "written twice"
    # Behind what is there: those tables stay as they are, and so do those of the load.
    tables_before = list(database.forest.tree(TREE_ID_MAIN).manifest.tables())
    more: Entries = [(b"9" + key, value) for key, value in entries]
    with database.bulk_load(memory_size=MEMORY_SIZE) as load:
        add_all(load, "main", more)
    assert load.result.bytes_written < 2 * size
    assert set(tables_before) <= set(database.forest.tree(TREE_ID_MAIN).manifest.tables())
    assert dict(database.scan()) == dict(entries + more)


def test_a_load_stays_invisible_and_free_while_the_file_goes_on(
    rng: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checkpoints, compactions and a crash in the middle of a load: its blocks belong to nobody."""
    go("tables", monkeypatch)
    storage, database = new_database()
    entries = draw_ascending(rng, 2000, large=20)
    others = {b"other %d" % i: rng.randbytes(50) for i in range(500)}
    with database.bulk_load(memory_size=MEMORY_SIZE) as load:
        add_all(load, "main", entries[:1000])
        for key, value in others.items():
            database[key] = value
        database.checkpoint()
        database.compact()
        assert dict(database.scan()) == others
        crashed = storage.crash(0)
        assert_verified(crashed)
        assert_holds(open_database_on(crashed, PROFILE), State({"main": others}, None, False))
        assert_verified(storage)
        add_all(load, "main", entries[1000:])
    assert dict(database.scan()) == {**others, **dict(entries)}
    database.close()
    assert_verified(storage)


def test_a_load_that_is_given_up_gives_its_blocks_back(rng: random.Random, monkeypatch: pytest.MonkeyPatch) -> None:
    go("tables", monkeypatch)
    storage, database = new_database()
    free_set_now = database.forest.file.grid.free_set
    assert free_set_now is not None
    entries = draw_ascending(rng, 1000, large=20)
    acquired = free_set_now.count_acquired
    with pytest.raises(ZeroDivisionError), database.bulk_load(memory_size=MEMORY_SIZE) as load:
        add_all(load, "main", entries)
        assert free_set_now.count_reserved >= 64
        raise ZeroDivisionError
    assert (free_set_now.count_reserved, free_set_now.count_acquired) == (0, acquired)
    database.close()
    with pytest.raises(ClosedError), database.bulk_load():
        pass
    assert_verified(storage)


def test_a_scan_and_a_reader_keep_their_state_while_a_load_becomes_visible(
    rng: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    go("tables", monkeypatch)
    storage, database = new_database()
    before = dict(draw_entries(rng, 1000, tombstones=0))
    assert None not in before.values()
    with database.bulk_load(memory_size=MEMORY_SIZE) as load:
        load.add("main", list(before), list(before.values()))
    reader = open_database_on(storage, PROFILE, writable=False)
    scan = database.scan()
    first = next(scan)
    snapshot = reader.scan()
    first_read = next(snapshot)
    changes = draw_entries(rng, 2000)
    with database.bulk_load(memory_size=MEMORY_SIZE) as load:
        add_all(load, "main", changes)
    assert dict([first, *scan]) == before
    assert dict([first_read, *snapshot]) == before
    assert dict(reader.scan()) == before
    reader.refresh()
    assert dict(reader.scan()) == dict(database.scan()) != before


@pytest.mark.parametrize("durable", [True, False])
def test_inside_of_a_scope_a_load_is_part_of_it(
    durable: bool, rng: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    go("tables", monkeypatch)
    storage, database = new_database()
    database[b"a"] = b"1"
    scope = None if durable else database.scope().__enter__()
    if durable:
        database.scope_begin()
    trees = check_load(
        database, {"main": {b"a": b"1"}}, {"main": [(b"a", None), *draw_ascending(rng, 1500, large=3)]}, "replace"
    )
    assert_holds(database, State(trees, {"main": {b"a": b"1"}}, durable))
    if scope is None:
        database.scope_discard()
    else:
        scope.discard()
    assert dict(database.scan()) == {b"a": b"1"}
    database.close()
    assert_verified(storage)


def test_a_scope_that_begins_in_the_middle_of_a_load(rng: random.Random, monkeypatch: pytest.MonkeyPatch) -> None:
    go("tables", monkeypatch)
    storage, database = new_database()
    entries = draw_ascending(rng, 1500, large=10)
    with database.bulk_load(memory_size=MEMORY_SIZE) as load:
        add_all(load, "main", entries)
        database.scope_begin()
    assert dict(database.scan()) == dict(entries)
    database.scope_discard()
    assert dict(database.scan()) == {}
    database.close()
    assert_verified(storage)


def test_a_load_goes_as_deep_as_there_is_room(rng: random.Random, monkeypatch: pytest.MonkeyPatch) -> None:
    go("tables", monkeypatch)
    _, database = new_database()
    with database.bulk_load(memory_size=MEMORY_SIZE) as load:
        add_all(load, "main", draw_ascending(rng, 20_000))
    counts = levels_of(database)
    assert sum(counts) > 4 and counts[0] == counts[1] == 0, "too many for level 1, of at most 4"
    assert sum(count > 0 for count in counts) == 1
    database[b"a"] = b"1"
    database.checkpoint()
    with database.bulk_load(memory_size=MEMORY_SIZE) as load:
        load.add("main", [b"a", b"b"], [b"2", b"3"])
    assert load.result.replaced == 1
    assert (database[b"a"], database[b"b"]) == (b"2", b"3")


def test_no_table_is_written_across_one_that_stays(rng: random.Random, monkeypatch: pytest.MonkeyPatch) -> None:
    go("tables", monkeypatch)
    storage, database = new_database()
    everything: dict[bytes, bytes] = {}
    for prefix in (b"m", b"e", b"t", b"a", b"z"):
        some = {prefix + b"%04d" % i: rng.randbytes(20) for i in range(50)}
        with database.bulk_load() as load:
            load.add("main", list(some), list(some.values()))
        everything |= some
    assert levels_of(database)[1:2] == [4] or max(levels_of(database)) > 1
    around = {prefix + b"x": b"around" for prefix in (b"b", b"f", b"n", b"y", b"zz", b"A")}
    with database.bulk_load() as load:
        load.add("main", list(around), list(around.values()))
    everything |= around
    assert dict(database.scan()) == everything
    database.close()
    assert_verified(storage)


def test_a_failed_add_fails_the_load(rng: random.Random, monkeypatch: pytest.MonkeyPatch) -> None:
    go("tables", monkeypatch)
    storage, database = new_database()
    entries = draw_entries(rng, 1000)
    storage.hook = lambda index, kind, offset, size: storage.faults.update({index: Fault.NO_SPACE})
    with pytest.raises(StateError, match="failed before"), database.bulk_load(memory_size=MEMORY_SIZE) as load:
        with pytest.raises(NoSpaceError):
            add_all(load, "main", entries)
        with pytest.raises(StateError, match="has failed"):
            load.add("main", [b"a"], [b"1"])
    storage.hook, storage.faults = None, {}
    assert dict(database.scan()) == {}
    database.close()
    assert_verified(storage)


@pytest.mark.parametrize("ascending", [True, False])
def test_memory_is_bounded_whatever_comes(ascending: bool, tmp_path: Path) -> None:
    """80,000 entries that weigh 17 MiB, with 1 MiB of memory."""
    rng = random.Random(1)
    with open_database(tmp_path / "data.lsm", cache_size=0) as database:
        tracemalloc.start()
        try:
            with database.bulk_load(memory_size=MIB) as load:
                for start in range(0, 80_000, 1000):
                    numbers = range(start, start + 1000) if ascending else [rng.randrange(10**9) for _ in range(1000)]
                    load.add(
                        "main", [b"%016d" % number for number in numbers], [b"%0100d" % number for number in numbers]
                    )
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 10 * MIB
        assert database.count() == load.result.imported > 79_000
