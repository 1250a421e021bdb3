"""What only interpreted lookups do: read without the lock, search a level as one list, remember what was found twice.

That their answers are right is tested together with the compiled form, in test_lookup.py.
"""

import random
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from lsmcli.engine import lookup_interpreted
from lsmcli.engine.counted_lock import CountedLock
from lsmcli.engine.lookup_interpreted import PERHAPS
from tests.engine.test_lookup import Items, Lookup
from tests.testing.twins import interpreted

LOOPS = interpreted("lsmcli.engine.lookup")
ITEMS: Items = [(b"%03d" % i, b"value %d" % i) for i in range(40)]


class Meddling(dict[bytes, Any]):
    """A memory table that does something else first when it is asked for the first time."""

    def __init__(self, meddle: Callable[[], None]) -> None:
        self.meddle: Callable[[], None] | None = meddle

    def __contains__(self, key: object) -> bool:
        meddle, self.meddle = self.meddle, None
        if meddle:
            meddle()
        return super().__contains__(key)


def lookup_of(*levels: list[Items]) -> Lookup:
    """A lookup whose lock tells whether anybody is inside."""
    lookup = Lookup(LOOPS, *levels)
    lookup.lock = SimpleNamespace(plain=CountedLock())  # as an OpGate has one
    lookup.load()
    return lookup


def gate_of(lookup: Lookup) -> CountedLock:
    gate: CountedLock = lookup.lock.plain  # type: ignore[union-attr]
    return gate


def test_a_get_takes_no_lock_while_nobody_is_inside() -> None:
    lookup = lookup_of([ITEMS])
    assert lookup.get(b"001") == b"value 1"  # this one has made the lists of the level
    lookup.lookup.lock = None
    assert lookup.get(b"002") == b"value 2"
    with pytest.raises(TypeError):
        lookup.get_many([b"002"])


def test_a_get_waits_for_the_end_of_a_change_that_it_has_seen_half_of() -> None:
    lookup = lookup_of()
    inside, done = threading.Event(), threading.Event()

    def change() -> None:
        with gate_of(lookup):
            lookup.memory[0][b"a"] = b"half"
            inside.set()
            done.wait(0.05)
            lookup.memory[0][b"a"] = b"new"

    thread = threading.Thread(target=change)
    thread.start()
    inside.wait()
    assert lookup.get(b"a") == b"new"
    thread.join()


def test_a_get_during_which_the_tree_became_another_one_is_done_again() -> None:
    lookup = lookup_of([ITEMS])

    def change() -> None:
        lookup.lookup.fresh = False
        lookup.memory = [{b"001": b"newer"}, {}]
        lookup.load()

    assert lookup.get(b"001") == b"value 1"
    lookup.memory = [Meddling(change), {}]
    lookup.load()
    assert lookup.get(b"001") == b"newer"


def test_a_get_during_which_the_tree_began_to_change_asks_the_ordinary_way() -> None:
    lookup = lookup_of([ITEMS])

    def change() -> None:
        lookup.lookup.fresh = False

    lookup.memory = [Meddling(change), {}]
    lookup.load()
    assert lookup.get(b"001") is PERHAPS


def test_within_a_change_of_its_own_thread_a_get_does_not_wait() -> None:
    lookup = lookup_of([ITEMS])
    with gate_of(lookup):
        assert lookup.get(b"001") == b"value 1"
    assert gate_of(lookup).depth == 0


def test_what_was_found_twice_is_remembered_until_the_tree_changes() -> None:
    lookup = lookup_of([ITEMS])
    for key in (b"011", b"012", b"012"):
        lookup.get(key)
    for slot in lookup.blocks:
        slot.shut()
    assert lookup.get(b"011") is PERHAPS
    assert lookup.get(b"012") == b"value 12"
    lookup.memory[0][b"012"] = b"newer"
    assert lookup.get(b"012") == b"newer"
    del lookup.memory[0][b"012"]
    assert lookup.get(b"012") == b"value 12"
    lookup.load()
    assert lookup.get(b"012") is PERHAPS


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup_interpreted, "RECENT_MAX", 8)
    monkeypatch.setattr(lookup_interpreted, "RECENT_SIZE_MAX", 10)
    lookup = lookup_of([ITEMS])
    for key, value in ITEMS * 3:
        assert lookup.get(key) == value
        assert len(lookup.lookup.view[2]) <= 8
    remembered = lookup.lookup.view[2]
    assert remembered
    assert all(len(key) + len(value) <= 10 for key, value in remembered.items())


def test_tables_that_come_to_hand_one_by_one_make_a_level_complete(rng: random.Random) -> None:
    tables = [ITEMS[:10], ITEMS[12:20], ITEMS[20:33], ITEMS[35:]]
    stored = dict(item for table in tables for item in table)
    for _ in range(20):
        lookup = lookup_of(tables)
        level = lookup.levels[0]
        slots = list(lookup.tables)
        for slot in slots:
            slot.generation -= 1  # what is in an older generation of the cache is not at hand
        at_hand: set[int] = set()
        for i in rng.sample(range(len(tables)), len(tables)):
            slots[i].generation += 1
            level.put(i, slots[i])
            at_hand.add(i)
            for j, table in enumerate(tables):
                for key, value in table:
                    assert lookup.get(key) == (value if j in at_hand else PERHAPS)
        assert lookup.get_many([key for key, _ in ITEMS])[0] == [stored.get(key) for key, _ in ITEMS]


def test_a_block_that_comes_to_hand_is_found(rng: random.Random) -> None:
    lookup = lookup_of([ITEMS])
    assert lookup.get(b"007") == b"value 7"
    lookup.load()
    lookup.blocks[1].shut()
    assert lookup.get(b"007") is PERHAPS
    lookup.tables[0].table.put(1, lookup.value_slot(lookup.raws[1]))
    assert lookup.get(b"007") == b"value 7"
