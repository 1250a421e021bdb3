"""Bulk loads for tests: the naive model of one, loads by chance, and the way that they take.

`loaded` is the model: a dict and entries in, a dict and the counts out.
"""

import random
from typing import NamedTuple

import pytest

from lsmcli.engine import bulk_install, bulk_load, bulk_sort
from lsmcli.engine.bulk_load import BulkLoad, OnConflict
from lsmcli.engine.constants import KIB
from lsmcli.engine.database import Database
from lsmcli.engine.errors import ConflictError
from tests.testing.model import Trees
from tests.testing.operations import Draw, Profile

Entries = list[tuple[bytes, bytes | None]]
MEMORY_SIZE = 16 * KIB


WAYS = ["as it decides", "puts", "tables"]


def go(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_load, "_EARLY_SIZE_MAX", 8 * KIB)
    monkeypatch.setattr(bulk_sort, "RUNS_MAX", 3)
    monkeypatch.setattr(bulk_sort, "BATCH_ENTRIES", 64)
    monkeypatch.setattr(bulk_sort, "ROUND_ENTRIES", 32)
    if way == "puts":
        monkeypatch.setattr(bulk_install, "_MERGED_SHARE_MAX", -1)
    else:
        monkeypatch.setattr(bulk_load, "PUTS_SIZE_MAX", 0 if way == "tables" else 4 * KIB)
    if way == "tables":
        monkeypatch.setattr(bulk_install, "_MERGED_SHARE_MAX", 1 << 60)


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


def draw_load(rng: random.Random, draw: Draw, profile: Profile) -> Entries:
    """Entries with keys of the profile, in key order or not, of all of the key space or of a part."""
    keys = sorted(profile.keys)
    count = rng.randrange(rng.choice((5, 50, 1000)))
    if rng.random() < 0.5:
        start = rng.randrange(len(keys))
        keys = keys[start : start + rng.randrange(1, 200)]
    keys = [rng.choice(keys) for _ in range(count)]
    if rng.random() < 0.5:
        keys = sorted(set(keys))
    if rng.random() < 0.2:
        keys += keys[:1]
    tombstones = rng.choice((0.0, 0.1))
    return [(key, None if rng.random() < tombstones else draw._value()) for key in keys]


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
