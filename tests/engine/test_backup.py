"""Backups: the copy is one state of the source, whole and verified; it gets its name in one step or not at all."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lsmcli
from lsmcli.engine import backup as backup_module
from lsmcli.engine.backup import BackupResult, backup
from lsmcli.engine.content_checksum import checksum_of_file
from lsmcli.engine.contents import contents_of
from lsmcli.engine.database import Database
from lsmcli.engine.errors import DamageError, FileError, LockedError, LsmError, StateError
from lsmcli.engine.storage import FileStorage
from lsmcli.engine.verifier import verify

Trees = dict[str, dict[bytes, bytes]]


def copied(path: Path, dest: Path, **options: Any) -> BackupResult:
    with lsmcli.open(path, "r") as source:
        return backup(source, str(dest), **options)


def contents(database: Database) -> Trees:
    return {name: dict(database.tree(name).scan()) for name in database.trees()}


def opened(path: Path, *, committed: bool = False) -> Trees:
    with lsmcli.open(path, "r", committed=committed) as database:
        return contents(database)


def problems(path: Path) -> list[str]:
    storage = FileStorage.open(str(path), writable=False)
    try:
        return [problem.message for problem in verify(storage).problems]
    finally:
        storage.close()


def checksum(path: Path, *, committed: bool = False) -> bytes:
    with lsmcli.open(path, "r", committed=committed) as database:
        return checksum_of_file(
            (each.name, each.checksum().digest()) for each in contents_of(database, database.trees())
        )


def play(rng: random.Random, database: Database, steps: int) -> Iterator[None]:
    """Changes of all kinds; after some of them the caller has a look."""
    for step in range(steps):
        trees = [database.tree(name) for name in database.trees()]
        tree = rng.choice(trees)
        kind = rng.choices(
            ("put", "batch", "delete", "large", "scope", "end", "tree", "checkpoint", "compact", "look"),
            (30, 10, 10, 5, 2, 1, 1, 1, 1, 4),
        )[0]
        key = b"%04d" % rng.randrange(2000)
        if kind == "put":
            tree.put(key, rng.randbytes(rng.randrange(200)))
        elif kind == "batch":
            tree.put_many((b"%04d" % rng.randrange(2000), rng.randbytes(300)) for _ in range(200))
        elif kind == "delete":
            tree.delete(key)
        elif kind == "large":
            tree.put(key, rng.randbytes(rng.randrange(3000, 40_000)))
        elif kind == "scope" and database.scope_status() is None:
            database.scope_begin()
        elif kind == "end" and database.scope_status() is not None:
            rng.choice((database.scope_persist, database.scope_discard))()
        elif kind == "tree" and len(trees) < 4:
            database.create_tree(f"tree {step}")
        elif kind == "checkpoint":
            database.checkpoint()
        elif kind == "compact":
            database.compact()
        elif kind == "look":
            yield


@pytest.mark.parametrize("number", range(4))
def test_a_copy_at_any_moment_holds_what_the_source_holds(tmp_path: Path, seed: int, number: int) -> None:
    rng = random.Random(f"{seed}/{number}")
    path, copy = tmp_path / "source.lsm", tmp_path / "copy.lsm"
    memory_size = rng.choice((1 << 14, 1 << 16, 1 << 20))
    with lsmcli.open(path, block_size=4096, memory_size=memory_size, growth_factor=2) as database:
        for _ in play(rng, database, 90):
            now = contents(database)
            before = opened(path, committed=True)
            compact, committed = rng.random() < 0.3, rng.random() < 0.2
            result = copied(path, copy, compact=compact, committed=committed)
            assert problems(copy) == []
            assert opened(copy) == (before if committed else now)
            assert opened(copy, committed=True) == before
            assert result.checksum == checksum(path, committed=committed) == checksum(copy)
            assert result.entries == sum(map(len, (before if committed else now).values()))
            assert result.size == copy.stat().st_size
            if rng.random() < 0.3:  # it can be written to, and its scope be ended
                with lsmcli.open(copy) as written:
                    if written.scope_status() is not None:
                        written.scope_discard()
                    written.put(b"new", b"entry")
                before["main"][b"new"] = b"entry"
                assert opened(copy) == before
                assert problems(copy) == []
            copy.unlink()
    assert sorted(os.listdir(tmp_path)) == ["source.lsm"]


WRITER = """
import sys, time, lsmcli
database = lsmcli.open(sys.argv[1], "w", memory_size=1 << 16)
print(flush=True)
stamp = 0
while True:
    stamp += 1
    entries = [(b"key %04d" % i, b"%06d " % stamp * 20) for i in range(500)]
    database.put_many(entries + [(b"large", b"%06d " % stamp * 3000)])
    if stamp % 7 == 0:
        database.compact()
"""


@pytest.mark.slow
def test_a_copy_beside_a_busy_writer_is_one_state(tmp_path: Path) -> None:
    path, copy = tmp_path / "busy.lsm", tmp_path / "copy.lsm"
    with lsmcli.open(path, block_size=4096) as database:
        database.put(b"key 0000", b"%06d " % 0 * 20)
    stamps: list[int] = []
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        until = time.monotonic() + 4
        while time.monotonic() < until:
            result = copied(path, copy, compact=len(stamps) % 2 > 0)
            assert problems(copy) == []
            held = opened(copy)["main"]
            assert result.entries == len(held)
            found = {value[:6] for value in held.values()}
            assert len(found) == 1
            stamps.append(int(found.pop()))
            copy.unlink()
        os.kill(writer.pid, signal.SIGKILL)
    assert stamps == sorted(stamps)
    assert stamps[-1] > stamps[0]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with lsmcli.open(tmp_path / "source.lsm", block_size=4096) as database:
        database.put_many((b"%06d" % i, b"value" * 20) for i in range(2000))
        database.checkpoint()
        database.put(b"last", b"in the log")
    return tmp_path / "source.lsm"


def test_a_name_that_is_taken_stays_with_its_file(tmp_path: Path, path: Path) -> None:
    dest = tmp_path / "dest"
    dest.write_bytes(b"mine")
    for force in (False, True):  # what is no data file is not replaced at all
        with pytest.raises(LsmError):
            copied(path, dest, force=force)
        assert dest.read_bytes() == b"mine"
    dest.unlink()
    dest.symlink_to("nowhere")
    copied(path, dest)
    assert dest.is_symlink()
    assert opened(tmp_path / "nowhere") == opened(path)
    with pytest.raises(FileError, match="exists already"):
        copied(path, dest)
    assert sorted(os.listdir(tmp_path)) == ["dest", "nowhere", "source.lsm"]


def test_a_data_file_is_replaced_only_on_request_and_if_nobody_writes_to_it(tmp_path: Path, path: Path) -> None:
    dest = tmp_path / "dest.lsm"
    with lsmcli.open(dest) as database:
        database.put(b"old", b"1")
        with pytest.raises(LockedError):
            copied(path, dest, force=True)
    assert opened(dest) == {"main": {b"old": b"1"}}
    with lsmcli.open(dest, "r") as reader:
        copied(path, dest, force=True)
        assert dict(reader.scan()) == {b"old": b"1"}
    assert opened(dest) == opened(path)


def test_a_file_is_no_backup_of_itself(tmp_path: Path, path: Path) -> None:
    (tmp_path / "link").symlink_to("source.lsm")
    (tmp_path / "hard").hardlink_to(path)
    before = path.read_bytes()
    for name in ("source.lsm", "link", "hard"):
        with pytest.raises(StateError, match="itself"):
            copied(path, tmp_path / name, force=True)
    assert path.read_bytes() == before


def test_blocks_that_are_not_in_use_take_no_space(tmp_path: Path, path: Path) -> None:
    with lsmcli.open(path) as database:
        database.put_many((b"%06d" % i, os.urandom(3000)) for i in range(2000))
        database.checkpoint()
        for i in range(2000):
            database.delete(b"%06d" % i)
        database.checkpoint()
        database.checkpoint()
        result = copied(path, tmp_path / "copy")
        assert (tmp_path / "copy").stat().st_blocks * 512 < path.stat().st_blocks * 512 // 2
        small = copied(path, tmp_path / "small", compact=True)
    assert small.size < 600_000 < result.size
    assert small.checksum == result.checksum


def damage(path: Path, address: int) -> None:
    with path.open("r+b") as stream:
        stream.seek(512 * 1024 + (address - 1) * 4096 + 200)
        stream.write(os.urandom(100))


def test_no_copy_of_damage_is_made(tmp_path: Path, path: Path) -> None:
    with lsmcli.open(path, "r") as database:
        (tree, *_) = [tree for tree in database.forest.trees.values() if tree.manifest.levels[0].count]
        address = tree.manifest.levels[0].tables[0].reference.address
    damage(path, address)
    with pytest.raises(DamageError, match=f"block {address} "):
        copied(path, tmp_path / "copy")
    assert os.listdir(tmp_path) == ["source.lsm"]


def test_the_bad_one_of_two_copies_of_a_block_is_made_good(tmp_path: Path, path: Path) -> None:
    with lsmcli.open(path, "r") as database:
        superblock = database.forest.file.superblock
    damage(path, superblock.manifest_address)
    damage(path, superblock.free_set_address_twin)
    assert problems(path) != []
    copied(path, tmp_path / "copy")
    assert problems(tmp_path / "copy") == []
    assert opened(tmp_path / "copy") == opened(path)


@pytest.mark.parametrize("name", ["_copy_log", "_copy_blocks", "_finished", "_publish"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, FileError])
def test_nothing_is_left_of_a_backup_that_fails(
    path: Path, monkeypatch: pytest.MonkeyPatch, name: str, error: type[BaseException]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error("in the middle")

    monkeypatch.setattr(backup_module, name, fail)
    with pytest.raises(error):
        copied(path, path.parent / "copy")
    assert os.listdir(path.parent) == ["source.lsm"]


def test_an_empty_file_and_a_folder_that_is_not_there(tmp_path: Path) -> None:
    lsmcli.open(tmp_path / "empty").close()
    result = copied(tmp_path / "empty", tmp_path / "copy")
    assert (result.entries, result.size) == (0, 512 * 1024)
    assert opened(tmp_path / "copy") == {"main": {}}
    with pytest.raises(FileError, match="directory does not exist"):
        copied(tmp_path / "empty", tmp_path / "missing" / "copy")
