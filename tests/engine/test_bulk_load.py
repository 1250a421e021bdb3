"""A bulk load gives what as many puts would have given, and counts what it did; or it gives nothing."""

import random
from collections.abc import Iterator

import pytest

from lsmcli.engine import free_set
from lsmcli.engine.bulk_load import OnConflict
from lsmcli.engine.constants import KIB
from lsmcli.engine.database import Database
from lsmcli.engine.errors import LimitError, ReadOnlyError, StateError, TreeError
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
from tests.testing.storage import SimulatedStorage


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
