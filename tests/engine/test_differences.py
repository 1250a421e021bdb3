"""Differences of two trees: as a naive comparison finds them, and equal tables are not read."""

import random
import shutil
from itertools import product
from pathlib import Path
from typing import NamedTuple, cast

import pytest

import lsmcli
from lsmcli.engine.constants import TREE_ID_MAIN
from lsmcli.engine.database import Database
from lsmcli.engine.differences import Side, differences, ranges_that_may_differ, value_bytes
from lsmcli.engine.tree import Tree

Entries = dict[bytes, bytes]
Found = list[tuple[bytes, bytes | None, bytes | None]]


def found(old: Database, new: Database, start: bytes | None = None, end: bytes | None = None) -> Found:
    return [
        (key, None if a is None else value_bytes(a), None if b is None else value_bytes(b))
        for key, a, b in differences(Side(old, TREE_ID_MAIN), Side(new, TREE_ID_MAIN), start, end)
    ]


def naive(old: Entries, new: Entries, start: bytes | None = None, end: bytes | None = None) -> Found:
    keys = [key for key in sorted({*old, *new}) if (start is None or key >= start) and (end is None or key < end)]
    return [(key, old.get(key), new.get(key)) for key in keys if old.get(key) != new.get(key)]


@pytest.mark.parametrize("numbers", list(product(range(3), repeat=4)))
def test_every_pair_of_two_small_trees(tmp_path: Path, numbers: tuple[int, ...]) -> None:
    """Of each of two keys, in either file: absent, one value, another one."""
    before, after = (
        {key: b"%d" % number for key, number in zip((b"a", b"b"), part, strict=True) if number}
        for part in (numbers[:2], numbers[2:])
    )
    with lsmcli.open(tmp_path / "old") as old, lsmcli.open(tmp_path / "new") as new:
        old.put_many(before.items())
        new.put_many(after.items())
        assert found(old, new) == naive(before, after)


def changed(rng: random.Random, entries: Entries, count: int) -> Entries:
    """Some keys changed, some removed, some added."""
    keys = sorted(entries)
    result = dict(entries)
    for _ in range(count):
        key = rng.choice(keys)
        kind = rng.randrange(4)
        if kind == 0:
            result.pop(key, None)
        elif kind == 1:
            result[key + rng.randbytes(2)] = b"added"
        elif kind == 2:
            result[key] = rng.randbytes(rng.choice((0, 10, 5000, 30_000)))
        else:
            result[key] = entries[key]
    return result


def write(database: Database, before: Entries, after: Entries) -> None:
    for key in before.keys() - after.keys():
        database.delete(key)
    for key, value in after.items():
        if before.get(key) != value:
            database.put(key, value)


def entries_new(rng: random.Random, count: int) -> Entries:
    return {rng.randbytes(6): rng.randbytes(rng.choice((0, 30, 300))) for _ in range(count)} | {
        b"large %d" % i: bytes([i]) * 9000 for i in range(3)
    }


@pytest.mark.parametrize("number", range(6))
def test_a_file_and_its_copy_go_apart(tmp_path: Path, rng: random.Random, number: int) -> None:
    first = entries_new(rng, rng.choice((10, 500, 3000)))
    with lsmcli.open(tmp_path / "old", block_size=4096, memory_size=1 << 16) as old:
        write(old, {}, first)
        if number % 2:
            old.compact()
    shutil.copy(tmp_path / "old", tmp_path / "new")
    second, third = (changed(rng, first, rng.choice((0, 1, 20, 300))) for _ in range(2))
    for name, entries in (("old", second), ("new", third)):
        with lsmcli.open(tmp_path / name, memory_size=1 << 16) as database:
            write(database, first, entries)
            if rng.random() < 0.3:
                database.checkpoint()
    with lsmcli.open(tmp_path / "old", "r") as old, lsmcli.open(tmp_path / "new", "r") as new:
        assert found(old, new) == naive(second, third)
        for _ in range(20):
            start, end = (rng.choice((None, rng.choice(sorted(first)), rng.randbytes(2))) for _ in range(2))
            assert found(old, new, start, end) == naive(second, third, start, end)


def test_files_of_different_origin(tmp_path: Path, rng: random.Random) -> None:
    first = entries_new(rng, 2000)
    second = changed(rng, first, 100)
    with (
        lsmcli.open(tmp_path / "old", block_size=4096, memory_size=1 << 16) as old,
        lsmcli.open(tmp_path / "new", block_size=65536) as new,
    ):
        write(old, {}, first)
        write(new, {}, second)
        assert found(old, new) == naive(first, second)
        write(new, second, first)
        assert found(old, new) == []


def test_what_a_copy_shares_is_not_read(tmp_path: Path, rng: random.Random) -> None:
    entries = {b"%06d" % number: rng.randbytes(100) for number in range(20_000)}
    with lsmcli.open(tmp_path / "old", block_size=4096, memory_size=1 << 18) as old:
        old.put_many(entries.items())
        old.compact()
    shutil.copy(tmp_path / "old", tmp_path / "new")
    with lsmcli.open(tmp_path / "new") as new:
        new.put(b"010000", b"other")
        new.delete(b"010001")
    with lsmcli.open(tmp_path / "old", "r") as old, lsmcli.open(tmp_path / "new", "r") as new:
        read = new.forest.file.grid.bytes_read
        assert found(old, new) == [(b"010000", entries[b"010000"], b"other"), (b"010001", entries[b"010001"], None)]
        assert new.forest.file.grid.bytes_read - read < 300_000 < (tmp_path / "new").stat().st_size // 8


class Reference(NamedTuple):
    checksum: bytes


class Table(NamedTuple):
    key_min: bytes
    key_max: bytes
    reference: Reference


class Level(NamedTuple):
    tables: list[Table]


class Manifest(NamedTuple):
    levels: list[Level]


class Memory:
    def __init__(self, keys: str) -> None:
        self.keys = sorted(key.encode() for key in keys)

    def range_keys(self, start: bytes | None, end: bytes | None, *, limit: int, reverse: bool) -> list[bytes]:
        keys = [key for key in self.keys if (start is None or key >= start) and (end is None or key < end)]
        return keys[:limit]


class Drawn:
    """A tree as a picture: for each level `name:from-to` of its tables, and the keys in memory."""

    def __init__(self, *levels: str, memory: str = "") -> None:
        drawn = []
        for level in levels:
            tables = []
            for text in level.split():
                name, keys = text.split(":")
                tables.append(Table(keys[0].encode(), keys[-1].encode(), Reference(name.encode())))
            drawn.append(Level(tables))
        self.manifest = Manifest(drawn)
        self.table_mutable, self.table_immutable = Memory(memory), Memory("")


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        (Drawn("A:a-d B:f-h"), Drawn("A:a-d B:f-h"), []),
        (Drawn("A:a-d B:f-h"), Drawn("A:a-d"), [(b"f", b"h\0")]),
        (Drawn("A:a-d B:f-h"), Drawn("A:a-d", "B:f-h"), [(b"f", b"h\0")]),
        (Drawn("A:a-d B:f-h"), Drawn("A:a-d C:f-h"), [(b"f", b"h\0")]),
        (Drawn("A:a-h"), Drawn("A:a-h", "B:c-d"), [(b"c", b"d\0")]),
        (Drawn("A:a-h", "B:c-d"), Drawn("A:a-h", "B:c-d"), []),
        (Drawn("A:a-h"), Drawn("B:c-d"), [(b"a", b"h\0")]),
        (Drawn("A:a-d B:f-h", memory="e"), Drawn("A:a-d B:f-h"), [(b"d\0", b"f")]),
        (Drawn("A:a-d B:f-h"), Drawn("A:a-d B:f-h", memory="bz"), [(b"a", b"d\0"), (b"h\0", None)]),
        (Drawn(), Drawn(), []),
        (Drawn(memory="a"), Drawn(), [(None, None)]),
    ],
)  # fmt: skip
def test_the_ranges_that_are_read(old: Drawn, new: Drawn, parts: list[tuple[bytes | None, bytes | None]]) -> None:
    assert list(ranges_that_may_differ(cast(Tree, old), cast(Tree, new), None, None)) == parts
    assert list(ranges_that_may_differ(cast(Tree, new), cast(Tree, old), None, None)) == parts
    for start, end in parts:
        inside = (start or b"") + b"\0"
        assert list(ranges_that_may_differ(cast(Tree, old), cast(Tree, new), inside, end)) == [(inside, end)]
