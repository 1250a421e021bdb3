"""A bulk load gives what as many puts would have given, and counts what it did; or it gives nothing.

`loaded` is the naive model: two dicts in, one dict and the counts out.
"""

import random
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from lsmcli.engine import free_set
from lsmcli.engine.bulk_load import BulkLoad, OnConflict
from lsmcli.engine.constants import KIB
from lsmcli.engine.database import Database
from lsmcli.engine.errors import ConflictError, LimitError, ReadOnlyError, StateError, TreeError
from tests.testing.model import Model, State, Trees
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

Entries = list[tuple[bytes, bytes | None]]
MEMORY_SIZE = 16 * KIB


@pytest.fixture(autouse=True)
def _verify_free_sets(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(free_set, "VERIFY", True)
    yield


class Loaded(NamedTuple):
    """What a load leaves: the tree, and the counts that it reports."""

    tree: dict[bytes, bytes]
    imported: int
    replaced: int
    skipped: int
    deleted: int


def loaded(before: dict[bytes, bytes], entries: Entries, on_conflict: OnConflict) -> Loaded | None:
    """The naive model of a load into one tree; None: it fails."""
    latest = dict(entries)
    there = {key for key in latest if key in before}
    if on_conflict == "fail" and there:
        return None
    if on_conflict == "skip":
        latest = {key: value for key, value in latest.items() if key not in there}
    tree = {**before, **latest}
    return Loaded(
        {key: value for key, value in tree.items() if value is not None},
        imported=sum(value is not None for value in latest.values()),
        replaced=sum(latest.get(key) is not None for key in there),
        skipped=len(there) if on_conflict == "skip" else 0,
        deleted=sum(key in latest and latest[key] is None for key in there),
    )


def add_all(load: BulkLoad, tree: str, entries: Entries, step: int = 100) -> None:
    for start in range(0, len(entries), step):
        some = entries[start : start + step]
        load.add(tree, [key for key, _ in some], [value for _, value in some])


def draw_entries(rng: random.Random, count: int, *, tombstones: float = 0.1, size_max: int = 60) -> Entries:
    """Entries in a random order, with keys that repeat now and then."""
    keys = [b"%06d" % rng.randrange(3 * count + 1) for _ in range(count)]
    return [(key, None if rng.random() < tombstones else rng.randbytes(rng.randrange(size_max))) for key in keys]


def check_load(database: Database, trees: Trees, loads: dict[str, Entries], on_conflict: OnConflict) -> Trees:
    """Loads, and compares the counts; returns what the trees must hold now."""
    after = {name: loaded(trees[name], entries, on_conflict) for name, entries in loads.items()}
    load = database.bulk_load(memory_size=MEMORY_SIZE, on_conflict=on_conflict)
    if None in after.values():
        with pytest.raises(ConflictError) as caught, load:
            for name, entries in loads.items():
                add_all(load, name, entries)
        name = next(name for name in trees if database.tree_id(name) == caught.value.tree_id)
        assert caught.value.key in trees[name] and caught.value.key in dict(loads[name])
        return trees
    with load:
        for name, entries in loads.items():
            add_all(load, name, entries)
    found = [each for each in after.values() if each is not None]
    result = load.result
    assert result.added == sum(map(len, loads.values()))
    assert result.imported == sum(each.imported for each in found)
    assert result.replaced == sum(each.replaced for each in found)
    assert result.skipped == sum(each.skipped for each in found)
    assert result.deleted == sum(each.deleted for each in found)
    return {**trees, **{name: each.tree for name, each in after.items() if each is not None}}


PROFILE = draw_profile(random.Random("bulk"), growth_factor=2, memory_size=4 * KIB, cache_size=16 * KIB)


def new_database(profile: Profile = PROFILE) -> tuple[SimulatedStorage, Database]:
    storage = new_storage(profile)
    return storage, open_database_on(storage, profile)


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
def test_loads_between_other_operations(case: int, seed: int) -> None:
    rng = random.Random(f"{seed}/{case}")
    profile = draw_profile(rng, large_share=0.02)
    profile = profile._replace(weights={**profile.weights, "reopen": 0})
    model = Model()
    run = Run(new_storage(profile), profile, model)
    draw = Draw(rng, profile, model)
    for _ in range(4):
        for _ in range(rng.randrange(40)):
            run.do(draw.operation())
        entries = {
            name: [
                (rng.choice(profile.keys), None if rng.random() < 0.1 else draw._value())
                for _ in range(rng.randrange(rng.choice((5, 50, 1000))))
            ]
            for name in rng.sample(sorted(model.trees), rng.randint(1, len(model.trees)))
        }
        trees = check_load(run.database, model.trees, entries, rng.choice(("replace", "replace", "skip", "fail")))
        model.state = model.state._replace(trees=trees)
        model.resume(model.state, run.database.forest.op)
        assert_holds(run.database, model.state)
    run.close()
    assert_verified(run.storage)
    assert_holds(open_database_on(run.storage.reopen(), profile, writable=False), model.state.surviving)


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
