"""Compressed trees as a whole: settings, levels, mixtures, and what it takes to open such a file."""

import os
import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import lsmcli
from lsmcli.engine import compression, constants, piece_merge
from lsmcli.engine.backup import backup
from lsmcli.engine.block_header import verify_block
from lsmcli.engine.compression import COMPRESSION_NONE, Compression, compression_named
from lsmcli.engine.constants import KIB, TREE_ID_CATALOG, TREE_ID_MAIN
from lsmcli.engine.database import Database
from lsmcli.engine.errors import DamageError, LibraryError, LimitError, TreeError
from lsmcli.engine.inspector import inspect_block, inspect_superblock
from lsmcli.engine.schema import BLOCK_HEADER, FEATURE_COMPRESSION, BlockKind, Codec, CompressedLevels
from lsmcli.engine.verifier import verify
from tests.testing.model import MAIN, Model
from tests.testing.operations import (
    Draw,
    Operation,
    Run,
    assert_holds,
    assert_verified,
    draw_profile,
    new_storage,
    open_database_on,
)

Pairs = list[tuple[bytes, bytes]]
ALL = ("zstd", "all")
LAST = ("zstd", "last")
NONE = ("none", "all")


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "data.lsm")


def pairs(count: int, stamp: str = "v") -> Pairs:
    rng = random.Random(stamp)
    return [(b"key %06d" % i, rng.randbytes(30) + stamp.encode() * 60) for i in rng.sample(range(count), count)]


def opened(path: str, **settings: Any) -> Database:
    return lsmcli.open(path, "c", **({"block_size": 4 * KIB, "memory_size": 64 * KIB} | settings))


def filled(path: str, setting: tuple[str, str] = ALL, count: int = 4000, **settings: Any) -> Pairs:
    """A file with a tree that is compressed so, and compacted; its entries in key order."""
    entries = pairs(count)
    with opened(path, **settings) as database:
        database.set_compression("main", setting[0], levels=setting[1])
        database.put_many(entries)
        database.compact()
    return sorted(entries)


def codecs(database: Database, tree: str = "main") -> dict[int, Counter[int]]:
    """For each level of a tree in use: how many of its value blocks have which codec. From the manifest of now."""
    forest = database.forest
    found: dict[int, Counter[int]] = {}
    for number, level in enumerate(forest.tree(database.tree_id(tree)).manifest.levels):
        for info in level.tables:
            index = forest.file.grid.read(info.reference, BlockKind.INDEX)
            for reference in lsmcli.engine.index_block.IndexBlock(index).references:
                header = forest.file.grid.read_header(reference, BlockKind.VALUE)
                found.setdefault(number, Counter())[header.codec] += 1
    return found


def share_compressed(database: Database, tree: str = "main") -> float:
    total = sum(codecs(database, tree).values(), Counter[int]())
    return total[Codec.ZSTD] / total.total()


def assert_whole(path: str, entries: Pairs, tree: str = "main") -> None:
    """Read in every way: forward, backward, one by one, many together, by a verifier."""
    with lsmcli.open(path, "r") as database:
        keyspace = database.tree(tree)
        assert list(keyspace.items()) == entries
        assert list(keyspace.scan(reverse=True)) == entries[::-1]
        some = entries[:: max(1, len(entries) // 200)]
        assert [keyspace.get(key) for key, _ in some] == [value for _, value in some]
        assert keyspace.get_many([key for key, _ in some]) == [value for _, value in some]
        assert list(keyspace.scan(entries[7][0], limit=3)) == entries[7:10]
        assert keyspace.get(b"absent") is None and keyspace.count() == len(entries)
        storage = database.forest.file.storage
        assert verify(storage, path).problems == []


# The setting.


@pytest.mark.parametrize("setting", [ALL, LAST, NONE])
def test_a_setting_is_kept(path: str, setting: tuple[str, str]) -> None:
    with opened(path) as database:
        assert database.compression() == COMPRESSION_NONE
        database.set_compression("main", setting[0], levels=setting[1])
        database.create_tree("log", compression=setting[0], levels=setting[1])
        database.create_tree("plain")
    with lsmcli.open(path, "r") as database:
        assert database.compression("main") == database.compression("log") == compression_named(*setting)
        assert database.compression("plain") == COMPRESSION_NONE
        assert database.trees() == ["main", "log", "plain"]
        assert [tree["compression"] for tree in database.levels()] == [*[str(compression_named(*setting))] * 2, "none"]


def test_a_setting_that_is_there_already_is_no_op(path: str) -> None:
    with opened(path) as database:
        database.set_compression("main", "none")
        assert database.forest.op == 0
        database.set_compression("main", "zstd")
        database.set_compression("main", "zstd")
        assert database.forest.op == 1
        database.set_compression("main", "none")
        assert database.forest.op == 2 and database.compression() == COMPRESSION_NONE


def test_a_dropped_tree_leaves_no_setting(path: str) -> None:
    with opened(path) as database:
        database.create_tree("log", compression="zstd")
        tree_id = database.tree_id("log")
        database.drop_tree("log")
        assert database.forest.tree(TREE_ID_CATALOG).get(compression.key_of(tree_id)) is None
        database.create_tree("log")
        assert database.compression("log") == COMPRESSION_NONE


def test_what_is_no_setting_is_refused(path: str) -> None:
    with opened(path) as database:
        with pytest.raises(LimitError, match="no compression 'lz4': choose one of none, zstd"):
            database.set_compression("main", "lz4")
        with pytest.raises(LimitError, match="all or last levels, not 'most'"):
            database.create_tree("log", compression="zstd", levels="most")
        with pytest.raises(TreeError):
            database.set_compression("log", "zstd")
        with pytest.raises(TreeError):
            database.compression("log")
        assert database.forest.op == 0


def test_the_names_of_a_setting_are_its_way_back() -> None:
    for codec in Codec:
        for levels in CompressedLevels:
            setting = Compression(codec, levels)
            assert compression_named(*setting.names) == setting
            assert str(setting) in {"none", "zstd", "zstd, last level"}


@pytest.mark.parametrize("value", [b"", b"\x01", b"\x02\x00", b"\x01\x02", b"\x01\x00\x00"])
def test_a_setting_that_makes_no_sense_counts_as_none(path: str, value: bytes) -> None:
    with opened(path) as database:
        database.apply([(TREE_ID_CATALOG, compression.key_of(TREE_ID_MAIN), value)])
        with pytest.raises(DamageError, match="set it again"):
            database.compression()
        entries = pairs(500)
        database.put_many(entries)
        database.compact()
        assert share_compressed(database) == 0
        database.set_compression("main", "zstd")
        assert database.compression() == compression_named("zstd")


def test_a_setting_that_a_scope_made_goes_with_it(path: str) -> None:
    with opened(path) as database:
        database.scope_begin()
        database.set_compression("main", "zstd")
        database.scope_discard()
        assert database.compression() == COMPRESSION_NONE


# What is compressed.


@pytest.mark.parametrize("setting", [ALL, LAST])
def test_a_compressed_tree_is_smaller_and_holds_the_same(path: str, setting: tuple[str, str]) -> None:
    entries = filled(path, setting)
    assert_whole(path, entries)
    plain = path + ".plain"
    assert filled(plain, NONE) == entries
    grid_size = [os.path.getsize(name) - constants.GRID_OFFSET for name in (path, plain)]
    assert grid_size[0] < 0.65 * grid_size[1]


def test_with_all_every_level_is_compressed_and_with_last_only_the_deepest(path: str) -> None:
    shares: dict[tuple[str, str], list[float]] = {}
    for setting in (ALL, LAST):
        name = path + setting[1]
        with opened(name, growth_factor=2) as database:
            database.set_compression("main", *setting[:1], levels=setting[1])
            for key, value in pairs(12_000):
                database.put(key, value)
            levels = codecs(database)
            assert len(levels) >= 3
            shares[setting] = [
                levels[level][Codec.ZSTD] / levels[level].total()
                for level in sorted(levels)
                if levels[level].total() > 4
            ]
    assert min(shares[ALL]) > 0.5
    assert shares[LAST][-1] > 0.5 and max(shares[LAST][:-2], default=0.0) < 0.2


@pytest.mark.parametrize(("before", "after"), [(NONE, ALL), (ALL, NONE), (NONE, LAST), (LAST, NONE)])
def test_a_changed_setting_holds_for_everything_after_a_compaction(
    path: str, before: tuple[str, str], after: tuple[str, str]
) -> None:
    entries = filled(path, before)
    with opened(path) as database:
        database.set_compression("main", after[0], levels=after[1])
        assert (share_compressed(database) > 0.8) == (before != NONE)
        database.compact()
        assert (share_compressed(database) > 0.8) == (after != NONE)
        if after == NONE:
            assert share_compressed(database) == 0
        written = database.stats()["bytes_written"]
        database.compact()
        assert database.stats()["bytes_written"] - written < 100 * KIB  # it is so already
    assert_whole(path, entries)


def test_entries_that_cannot_be_compressed_are_not_written_anew_each_time(path: str) -> None:
    rng = random.Random(1)
    entries = sorted((rng.randbytes(16), rng.randbytes(100)) for _ in range(2000))
    with opened(path) as database:
        database.put_many(entries)
        database.compact()
        database.set_compression("main", "zstd")
        database.compact()
        written = database.stats()["bytes_written"]
        database.compact()
        assert database.stats()["bytes_written"] - written < 100 * KIB
        assert share_compressed(database) == 0
    assert_whole(path, entries)


def test_compaction_writes_the_same_blocks_compiled_or_interpreted(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for compiled in (True, False):
        with monkeypatch.context() as context, opened(path + str(compiled)) as database:
            if not compiled:
                context.setattr(piece_merge, "COMPILED", False)
            database.set_compression("main", "zstd")
            for key, value in pairs(6000):
                database.put(key, value)
            database.compact()
            grid = database.forest.file.grid
            # Those in use: when the others are written over depends on how long syncs take.
            in_use = filter(grid.in_use, range(1, grid.block_count + 1))
            blocks = (grid.storage.read(grid.offset(address), grid.block_size) for address in in_use)
            headers = (BLOCK_HEADER.unpack(block) for block in blocks)
            found.append(
                Counter((each.codec, each.size, each.checksum_body) for each in headers if each.kind == BlockKind.VALUE)
            )
    assert found[0] == found[1]
    assert any(codec == Codec.ZSTD for codec, _, _ in found[0])


def test_trees_of_one_file_are_compressed_each_as_it_says(path: str) -> None:
    entries = pairs(3000)
    with opened(path) as database:
        for name, codec in (("dense", "zstd"), ("plain", "none")):
            database.create_tree(name, compression=codec).put_many(entries)
        database.compact()
        assert share_compressed(database, "dense") > 0.8
        assert share_compressed(database, "plain") == 0
        assert codecs(database, "main") == {}
    assert_whole(path, sorted(entries), "dense")
    assert_whole(path, sorted(entries), "plain")


def test_large_values_stand_beside_compressed_ones(path: str) -> None:
    entries = [*pairs(1500), (b"large", bytes(100_000)), (b"key 000003", os.urandom(9000))]
    with opened(path) as database:
        database.set_compression("main", "zstd")
        database.put_many(entries)
        database.compact()
    assert_whole(path, sorted(dict(entries).items()))


def test_a_bulk_load_writes_as_the_tree_says(path: str) -> None:
    entries = sorted(pairs(6000))
    with opened(path) as database:
        database.set_compression("main", *LAST[:1], levels=LAST[1])
        with database.bulk_load(memory_size=200 * KIB) as load:
            load.add("main", [key for key, _ in entries], [value for _, value in entries])
        assert share_compressed(database) > 0.8
    assert_whole(path, entries)


# The file.


def features(path: str) -> int:
    return int(inspect_superblock(path)["features_incompatible"])


def test_a_file_says_that_it_has_compressed_blocks_as_long_as_it_has(path: str) -> None:
    with opened(path) as database:
        database.put_many(pairs(2000))
        database.compact()
        assert features(path) == 0
        database.set_compression("main", "zstd")
        database.compact()
        assert features(path) == FEATURE_COMPRESSION
    with opened(path) as database:
        database.put(b"key", b"value")
        database.checkpoint()
        assert features(path) == FEATURE_COMPRESSION
        database.set_compression("main", "none")
        database.scope_begin()
        database.compact()
        assert features(path) == FEATURE_COMPRESSION  # what was before the scope may still be needed
        database.scope_persist()
        database.compact()
        assert features(path) == 0


def test_a_setting_alone_changes_nothing_in_the_file(path: str) -> None:
    for name, codec in ((path, "zstd"), (path + ".plain", "none")):
        with opened(name) as database:
            database.set_compression("main", codec)
            database.put(b"key", b"value")
            database.checkpoint()
        assert features(name) == 0


def test_inspecting_a_compressed_block_shows_its_entries(path: str) -> None:
    filled(path)
    with lsmcli.open(path, "r") as database:
        grid = database.forest.file.grid
        blocks = [
            header
            for address in range(1, grid.block_count + 1)
            if (data := grid.storage.read(grid.offset(address), grid.block_size)).strip(b"\0")
            and (header := verify_block(data, grid.uuid, address)).codec == Codec.ZSTD
        ]
    shown = inspect_block(path, blocks[0].address)
    assert shown["codec"] == Codec.ZSTD and shown["size_decoded"] > 4 * KIB >= shown["size"]
    assert len(shown["entries"]) > 40
    assert shown["entries"][0]["key"].startswith(b"key ")


@pytest.mark.parametrize("compact", [False, True])
def test_a_backup_is_compressed_too(path: str, compact: bool) -> None:
    entries = filled(path)
    with lsmcli.open(path, "r") as database:
        backup(database, path + ".copy", compact=compact)
    assert_whole(path + ".copy", entries)
    with lsmcli.open(path + ".copy", "r") as database:
        assert database.compression() == compression_named("zstd")
        assert share_compressed(database) > 0.8


def test_a_reader_beside_a_writer_reads_compressed_blocks(path: str) -> None:
    entries = filled(path)
    with lsmcli.open(path, "r") as reader, opened(path) as writer:
        scan = reader.scan()
        assert next(scan) == entries[0]
        writer.put_many((key, b"new " * 30) for key, _ in entries)
        writer.checkpoint()
        reader.refresh()
        assert reader.get(entries[0][0]) == b"new " * 30


# Without the package.


def test_without_the_package_a_writer_is_refused_and_nothing_is_lost(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = filled(path)
    before = Path(path).read_bytes()
    with monkeypatch.context() as context:
        context.setitem(sys.modules, "zstandard", None)
        with pytest.raises(LibraryError, match=r"data\.lsm: zstd needs a package .*pip install 'lsmcli\[zstd\]'"):
            opened(path)
        with lsmcli.open(path, "r") as database, pytest.raises(LibraryError, match="pip install"):
            database.get(entries[0][0])
        assert Path(path).read_bytes() == before
    assert_whole(path, entries)


def test_without_the_package_nothing_can_be_set_but_what_needs_none_goes_on(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in a tree that is to be compressed, of which nothing is yet: it is written as it is."""
    with opened(path) as database:
        database.set_compression("main", "zstd")
    monkeypatch.setitem(sys.modules, "zstandard", None)
    entries = sorted(pairs(2000))
    with opened(path) as database:
        with pytest.raises(LibraryError, match="pip install"):
            database.create_tree("log", compression="zstd")
        assert database.trees() == ["main"]
        database.put_many(entries)
        database.compact()
        assert share_compressed(database) == 0
    assert_whole(path, entries)


# On a simulated disk.


@pytest.mark.parametrize("seed", range(6))
def test_a_run_of_operations_with_compressed_trees_and_crashes(seed: int) -> None:
    rng = random.Random(seed)
    profile = draw_profile(rng, memory_size=4 * KIB, growth_factor=2, value_size_max=400, cache_size=16 * KIB)
    run = Run(new_storage(profile), profile, Model())
    draw = Draw(rng, profile, run.model)
    compressed = 0
    for step in range(500):
        if step % 50 == 0:
            name = rng.choice(list(run.model.trees))
            run.do(Operation("compress", (name, rng.choice(("zstd", "zstd", "none")), rng.choice(("all", "last")))))
        run.do(draw.operation())
        if step % 170 == 169:  # the power fails: whatever was not synced may be lost, so it is
            run.do(Operation("sync"))
            compressed += run.database.forest.file.grid.compresses
            state = run.model.state.surviving
            run.model.resume(state, run.model.op)
            storage = run.storage.crash(rng)
            run = Run(storage, profile, run.model, open_database_on(storage, profile))
            op = run.database.forest.op
            run.model.resume(state, op)
            assert_holds(run.database, state)
    assert_holds(run.database, run.model.state)
    run.close()
    assert_verified(run.storage)
    assert compressed or seed in (0, 3)  # there no block is compressed when power fails
    with open_database_on(run.storage.reopen(), profile) as database:
        assert_holds(database, run.model.state)


def test_main_is_a_tree_like_any_other() -> None:
    assert compression.key_of(TREE_ID_MAIN) != compression.key_of(TREE_ID_MAIN + 1)
    assert MAIN == constants.TREE_NAME_MAIN
