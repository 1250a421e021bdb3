"""Bulk loads into crashes and failing disks: all of a load is there or nothing of it, and no block is lost."""

import random
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from lsmcli.engine import free_set
from lsmcli.engine.bulk_load import OnConflict
from lsmcli.engine.errors import FileError, NoSpaceError, OutcomeUnknownError
from tests.testing.bulk import MEMORY_SIZE, WAYS, Entries, add_all, draw_load, go, loaded
from tests.testing.model import Model, Trees
from tests.testing.operations import (
    Draw,
    Profile,
    Run,
    assert_verified,
    contents,
    draw_profile,
    new_storage,
    open_database_on,
)
from tests.testing.storage import Fault, SimulatedStorage


@pytest.fixture(autouse=True)
def _verify_free_sets(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(free_set, "VERIFY", True)
    yield


class Case(NamedTuple):
    """A file with something in it, and what is loaded into it."""

    run: Run
    profile: Profile
    before: Trees
    loads: dict[str, Entries]
    on_conflict: OnConflict
    after: Trees

    def load(self) -> None:
        with self.run.database.bulk_load(memory_size=MEMORY_SIZE, on_conflict=self.on_conflict) as load:
            for name, entries in self.loads.items():
                add_all(load, name, entries)


def new_case(seed: str) -> Case:
    rng = random.Random(seed)
    profile = draw_profile(rng, large_share=rng.choice((0.0, 0.02)))
    scopes = dict.fromkeys(("begin_durable", "begin_bound", "persist", "discard", "reopen"), 0)
    profile = profile._replace(weights={**profile.weights, **scopes})
    model = Model()
    run = Run(new_storage(profile), profile, model)
    draw = Draw(rng, profile, model)
    for _ in range(rng.randrange(40)):
        run.do(draw.operation())
    run.iterators.clear()
    run.database.sync()
    names = rng.sample(sorted(model.trees), rng.randint(1, len(model.trees)))
    loads = {name: draw_load(rng, draw, profile) for name in names}
    on_conflict: OnConflict = rng.choice(("replace", "skip"))
    after = dict(model.trees)
    for name, entries in loads.items():
        outcome = loaded(after[name], entries, on_conflict)
        assert outcome is not None
        after[name] = outcome.tree
    return Case(run, profile, model.trees, loads, on_conflict, after)


def examine(disk: SimulatedStorage, case: Case, allowed: list[Trees], *, lost_allowed: bool = False) -> None:
    """The disk holds one of these, for a reader and for a writer, and it is whole."""
    assert contents(open_database_on(disk.reopen(), case.profile, writable=False)) in allowed
    writer = open_database_on(disk, case.profile)
    found = contents(writer)
    assert found in allowed
    writer[b"after"] = b"all of that"
    writer.checkpoint()
    assert contents(writer)["main"] == {**found["main"], b"after": b"all of that"}
    writer.close()
    assert_verified(disk, lost_allowed=lost_allowed)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("number", range(5))
def test_a_crash_at_any_step_leaves_all_or_nothing(
    seed: int, number: int, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    go(way, monkeypatch)
    case = new_case(f"{seed}/{number}/{way}")
    rng = random.Random(f"{seed}/{number}")
    storage = case.run.storage
    examined = 0
    share = 0.15

    def hook(index: int, kind: str, offset: int, size: int) -> None:
        nonlocal examined
        if "read" in kind:
            return
        for disk in (storage.crash(-1), storage.crash(0), storage.crash(rng)):
            if rng.random() < share or kind == "sync":
                examined += 1
                try:
                    examine(disk, case, [case.before, case.after])
                except Exception as error:
                    error.add_note(f"crash before storage operation {index}: {kind} {offset} {size}")
                    raise

    storage.hook = hook
    case.load()
    storage.hook = None
    assert contents(case.run.database) == case.after
    for disk in (storage.crash(-1), storage.crash(0)):
        examine(disk, case, [case.after])
    case.run.close()
    assert_verified(storage)
    assert examined or case.before == case.after


def operations_of(seed: str) -> list[str]:
    """The kind of each disk operation of a load, by index; "before" for those before it."""
    case = new_case(seed)
    kinds = ["before"] * case.run.storage.operations
    case.run.storage.hook = lambda index, kind, offset, size: kinds.append(kind)
    case.load()
    return kinds


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("fault", "kinds"),
    [
        (Fault.NO_SPACE, ("allocate",)),
        (Fault.NO_SPACE, ("write", "scratch write")),
        (Fault.READ_FAILS, ("read", "scratch read")),
        (Fault.WRITE_FAILS, ("write", "scratch write")),
        (Fault.WRITE_TORN, ("write",)),
        (Fault.SYNC_KEEPS, ("sync",)),
        (Fault.SYNC_REVERTS, ("sync",)),
    ],
)
def test_a_fault_at_any_step_is_an_error_and_leaves_all_or_nothing(
    seed: int, fault: Fault, kinds: tuple[str, ...], way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    go(way, monkeypatch)
    rng = random.Random(f"{seed}/{fault}/{way}")
    for number in range(3):
        name = f"{seed}/{number}/{way}"
        indexes = [index for index, kind in enumerate(operations_of(name)) if kind in kinds]
        for index in rng.sample(indexes, min(len(indexes), 8)):
            try:
                load_into_fault(new_case(name), index, fault, rng)
            except Exception as error:
                error.add_note(f"{name}: {fault.name} at storage operation {index}")
                raise


def load_into_fault(case: Case, index: int, fault: Fault, rng: random.Random) -> None:
    storage = case.run.storage
    storage.faults = {index: fault}
    lost_allowed = fault is Fault.READ_FAILS  # a table that nobody wants any more is let go also when it cannot be read
    try:
        case.load()
    except OutcomeUnknownError:
        assert fault is not Fault.READ_FAILS
        with pytest.raises(OutcomeUnknownError):
            case.run.database.put(b"after", b"a failure")
        with pytest.raises(OutcomeUnknownError):
            case.run.database.get(b"after")
        storage.faults = {}
        for disk in (storage.reopen(), storage.crash(0), storage.crash(rng)):
            examine(disk, case, [case.before, case.after], lost_allowed=lost_allowed)
        return
    except FileError as error:
        assert isinstance(error, NoSpaceError) == (fault is Fault.NO_SPACE), error
        storage.faults = {}
        if case.run.database.unusable is not None:  # a scope of puts that could not be ended
            examine(storage.reopen(), case, [case.before])
            return
        assert contents(case.run.database) == case.before
        case.load()
    storage.faults = {}
    assert contents(case.run.database) == case.after
    case.run.close()
    assert_verified(storage, lost_allowed=lost_allowed)
    examine(storage.reopen(), case, [case.after], lost_allowed=lost_allowed)
