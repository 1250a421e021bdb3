"""One test for each mistake that was found in the engine's centre, named for what must hold."""

import builtins
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

import lsmcli
from lsmcli.engine import constants, superblock, table_memory
from lsmcli.engine.data_file import DataFile
from lsmcli.engine.database import Database
from lsmcli.engine.errors import (
    DamageError,
    FileError,
    LsmError,
    NoSpaceError,
    OutcomeUnknownError,
    ReadOnlyError,
    SnapshotTooOldError,
)
from lsmcli.engine.forest import Forest
from lsmcli.engine.inspector import inspect_block
from lsmcli.engine.schema import BLOCK_HEADER, BlockKind, Superblock
from lsmcli.engine.verifier import verify
from lsmcli.engine.wal import Wal, WalPosition
from lsmcli.engine.wal_entry import encode_entries
from tests.testing.storage import Fault, SimulatedStorage

BLOCK_SIZE = 4096
LARGE = b"L" * 9000  # three blocks
TREE_CATALOG, TREE_MAIN = constants.TREE_ID_CATALOG, constants.TREE_ID_MAIN


def file_new() -> SimulatedStorage:
    _, head = superblock.format_file(uuid=b"u" * 16, created_s=1, block_size=BLOCK_SIZE, growth_factor=2)
    return SimulatedStorage(head)


def opened(storage: SimulatedStorage, *, writable: bool = True, memory_size: int = 1 << 20) -> Database:
    return Database(
        cast(Any, storage),
        writable=writable,
        memory_size=memory_size,
        cache_size=1 << 20,
        sync="normal",
        committed=True,
    )


def problems(storage: SimulatedStorage) -> list[str]:
    return [problem.message for problem in verify(storage.reopen()).problems]


def blocks_of_kind(database: Database, storage: SimulatedStorage, kind: BlockKind) -> list[int]:
    """Where in the file the blocks of a kind begin."""
    grid = database.forest.file.grid
    offsets = [grid.offset(address) for address in range(1, grid.block_count + 1)]
    return [at for at in offsets if BLOCK_HEADER.unpack(storage.read(at, BLOCK_SIZE)).kind == kind]


def rewrite_superblock(storage: SimulatedStorage, change: Callable[[Superblock], Superblock]) -> None:
    """Forges the root: all six copies, with right checksums."""
    forged = change(superblock.read(storage).superblock)
    for copy in range(constants.SUPERBLOCK_COPIES):
        storage.corrupt(constants.superblock_copy_offset(copy), superblock.encode_copy(forged, copy))


# What a program does.


@pytest.mark.parametrize("call", [1, 2])
def test_an_interrupt_while_a_scan_sorts_hides_no_key_from_later_scans(
    call: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = opened(file_new())
    database.put_many((b"b%03d" % i, b"v") for i in range(100))
    assert len(list(database.scan())) == 100
    database.put_many((b"a%03d" % i, b"v") for i in range(100))
    calls = 0

    def interrupted(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            raise KeyboardInterrupt
        return builtins.sorted(*arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(table_memory, "sorted", interrupted, raising=False)
        list(database.scan())
    assert len(list(database.scan())) == 200
    database.checkpoint()
    assert len(list(database.scan())) == 200


def test_a_scan_reads_large_values_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    database = opened(file_new())
    for i in range(40):
        database.put(b"%02d" % i, LARGE)
    loaded: list[bytes] = []
    load = database.load

    def load_counted(packed: bytes, forest: Forest | None = None) -> bytes:
        loaded.append(packed)
        return load(packed, forest)

    monkeypatch.setattr(database, "load", load_counted)
    for reverse in (False, True):
        loaded.clear()
        for count, (key, value) in enumerate(database.scan(reverse=reverse), start=1):
            assert value == LARGE
            assert len(loaded) == count
            assert key == (b"%02d" % (40 - count) if reverse else b"%02d" % (count - 1))
        assert len(loaded) == 40


def test_what_is_written_after_a_bound_scope_that_could_not_end_is_refused_and_not_undone_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    storage = file_new()
    database = opened(storage)
    database.put(b"before", b"1")

    def full(_: Forest) -> None:
        raise NoSpaceError("full")

    with monkeypatch.context() as patch, pytest.raises(NoSpaceError), database.scope():
        patch.setattr(Forest, "scope_persist", full)
        database.put(b"inside", b"1")
    with pytest.raises(OutcomeUnknownError, match="scope could not be ended"):
        database.put(b"after", b"1")
    database.close()
    assert dict(opened(storage.reopen()).scan()) == {b"before": b"1"}


def test_a_reader_that_was_overtaken_knows_the_trees_of_the_state_that_it_went_to() -> None:
    storage = file_new()
    writer = opened(storage)
    writer.put(b"key", b"old")
    writer.create_tree("dropped")
    writer.checkpoint()
    reader = opened(storage, writable=False)
    assert reader.trees() == ["main", "dropped"]
    writer.drop_tree("dropped")
    writer.create_tree("created")
    while reader.get(b"key") == b"old":
        writer.put(b"key", b"new")
        writer.checkpoint()
        writer.compact()
        reader.forest.file.grid.cache.clear()
    assert reader.trees() == ["main", "created"]


def test_a_scan_that_was_overtaken_is_told_so_though_another_question_took_the_reader_on() -> None:
    storage = file_new()
    writer = opened(storage)
    writer.put(b"key", b"old")
    for i in range(20):
        writer.put(b"large%02d" % i, LARGE)
    writer.checkpoint()
    reader = opened(storage, writable=False)
    scan = reader.scan(b"large")
    assert next(scan) == (b"large00", LARGE)
    while reader.get(b"key") == b"old":
        writer.put(b"key", b"new")
        for i in range(20):
            writer.put(b"large%02d" % i, bytes(reversed(LARGE)))
        writer.checkpoint()
        writer.compact()
        reader.forest.file.grid.cache.clear()
    with pytest.raises(SnapshotTooOldError):
        list(scan)


def test_a_checkpoint_after_a_discarded_scope_leaves_a_usable_start_for_the_next_one() -> None:
    storage = file_new()
    database = opened(storage)
    database.scope_begin()
    database.scope_discard()
    database.checkpoint()
    database.put(b"key", b"1")
    database.put_many((b"%04d" % i, b"v" * 1000) for i in range(700))  # moves the WAL, with checkpoints
    assert len(opened(storage.reopen())) == 701


# Full disks and failing ones.


def test_no_acknowledged_op_is_lost_when_the_move_of_the_wal_cannot_be_finished(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    relocate = DataFile.wal_relocate
    failures = 0
    for step in range(4):
        storage = file_new()
        database = opened(storage)
        database.put(b"large", LARGE)  # so that there is a free set to write

        def relocate_then_full(
            file: DataFile, size: int, storage: SimulatedStorage = storage, step: int = step
        ) -> WalPosition:
            start = relocate(file, size)
            storage.faults[storage.operations + step] = Fault.NO_SPACE
            return start

        acknowledged = 0
        with monkeypatch.context() as patch:
            patch.setattr(DataFile, "wal_relocate", relocate_then_full)
            while not storage.faults:
                try:
                    database.put(b"%05d" % acknowledged, b"v" * 300)
                    acknowledged += 1
                except LsmError:
                    failures += 1
        for _ in range(5):
            try:
                database.put(b"%05d" % acknowledged, b"v" * 300)
                acknowledged += 1
            except LsmError:
                failures += 1
        assert len(opened(storage.reopen())) == 1 + acknowledged
    assert failures > 0


def test_a_large_value_whose_op_did_not_fit_leaves_no_blocks_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = file_new()
    database = opened(storage)

    def full(*_: object) -> int:
        raise NoSpaceError("full")

    with monkeypatch.context() as patch, pytest.raises(NoSpaceError):
        patch.setattr(Wal, "append_op", full)
        database.put(b"key", LARGE)
    database.checkpoint()
    assert problems(storage) == []


def test_large_values_that_were_overwritten_in_memory_are_released_by_a_flush() -> None:
    storage = file_new()
    database = opened(storage)
    database.put(b"key", LARGE)
    database.put(b"key", b"small")
    database.checkpoint()
    assert problems(storage) == []


# Damage in one place must not spread.


def test_a_damaged_large_value_that_was_overwritten_keeps_no_checkpoint_from_being_made() -> None:
    storage = file_new()
    database = opened(storage)
    database.put(b"key", LARGE)
    database.checkpoint()
    storage.corrupt(blocks_of_kind(database, storage, BlockKind.LARGE)[-1] + 20, b"rot")
    database.put(b"key", b"small")
    for _ in range(2):
        database.checkpoint()
    assert opened(storage.reopen()).get(b"key") == b"small"


def test_a_damaged_large_value_in_the_wal_keeps_no_writer_from_opening_the_file() -> None:
    storage = file_new()
    database = opened(storage)
    database.put(b"key", b"1")
    database.put(b"large", LARGE)
    storage.corrupt(blocks_of_kind(database, storage, BlockKind.LARGE)[-1] + 20, b"rot")
    storage = storage.reopen()
    database = opened(storage)
    assert database.get(b"key") == b"1"
    with pytest.raises(DamageError):
        database.get(b"large")
    database.put_many((b"%03d" % i, LARGE) for i in range(5))
    database.delete(b"large")
    database.checkpoint()
    assert len(opened(storage.reopen())) == 6


def test_a_damaged_block_of_a_dropped_tree_keeps_no_writer_from_opening_the_file() -> None:
    storage = file_new()
    database = opened(storage)
    database.put(b"key", b"1")
    tree = database.create_tree("tree")
    tree.put(b"a", b"1")
    database.checkpoint()
    info = database.forest.trees[tree._tree_id].manifest.levels[0].tables[0]
    storage.corrupt(database.forest.file.grid.offset(info.reference.address) + 30, b"rot")
    database.forest.file.grid.cache.clear()
    database.drop_tree("tree")
    database.sync()
    database = opened(storage.reopen())
    assert database.trees() == ["main"]
    assert database.get(b"key") == b"1"


def test_a_damaged_catalog_keeps_no_writer_from_the_main_tree() -> None:
    storage = file_new()
    database = opened(storage)
    database.put(b"key", b"1")
    database.create_tree("tree").put(b"a", b"1")
    database.checkpoint()
    info = database.forest.trees[TREE_CATALOG].manifest.levels[0].tables[0]
    storage.corrupt(database.forest.file.grid.offset(info.reference.address) + 30, b"rot")
    database = opened(storage.reopen())
    assert database.get(b"key") == b"1"
    database.put(b"key", b"2")
    with pytest.raises(DamageError):
        database.trees()


def test_a_part_that_the_disk_refuses_to_read_is_a_problem_and_ends_no_verification() -> None:
    storage = file_new()
    database = opened(storage)
    database.put(b"key", LARGE)
    database.checkpoint()
    database.put(b"key", b"1")
    database.sync()
    sb = database.forest.file.superblock
    addresses = (sb.manifest_address, sb.manifest_address_twin, sb.free_set_address, sb.free_set_address_twin)
    parts = [(sb.wal_offset, sb.wal_size)]
    parts += [(database.forest.file.grid.offset(address), BLOCK_SIZE) for address in addresses]

    def refuse(refused: list[tuple[int, int]], _: int, kind: str, offset: int, size: int) -> None:
        if kind == "read" and any(begin < offset + size and offset < begin + length for begin, length in refused):
            raise FileError("refused")

    for refused in ([parts[0]], parts[1:3], parts[3:5], parts):
        copy = storage.reopen()
        copy.hook = partial(refuse, refused)
        report = verify(copy)
        assert {problem.message for problem in report.problems} == {"refused"}


def test_a_block_outside_of_the_file_is_a_problem_and_not_a_mistake(tmp_path: Path) -> None:
    path = tmp_path / "data.lsm"
    path.write_bytes(bytes(file_new().image))
    for address in (-(1 << 70), -1, 0, 1, 1 << 70):
        assert "there is no block" in inspect_block(str(path), address)["problem"]


# Files that were made to do harm.


def test_a_file_with_an_unknown_read_only_feature_is_not_written_to() -> None:
    storage = file_new()
    rewrite_superblock(storage, lambda root: root._replace(features_read_only=1))
    storage.corrupt(0, bytes(100))  # a copy that a writer would repair
    image = bytes(storage.image)
    with pytest.raises(ReadOnlyError, match=r"simulated\.lsm uses features"):
        opened(storage)
    assert bytes(storage.image) == image
    opened(storage, writable=False)


@pytest.mark.parametrize("field", ["sequence", "bytes_put", "bytes_written", "scope_change_count"])
def test_a_counter_that_would_overflow_is_damage(field: str) -> None:
    storage = file_new()
    rewrite_superblock(storage, lambda root: root._replace(**cast(Any, {field: (1 << 64) - 1})))
    with pytest.raises(DamageError):
        opened(storage)


@pytest.mark.parametrize(
    ("key", "value"), [(b"k" * (BLOCK_SIZE // 8 + 1), b"v"), (b"k", b"v" * (BLOCK_SIZE // 2 + 1)), (b"k", LARGE)]
)
@pytest.mark.parametrize("writable", [True, False])
def test_an_op_record_whose_entries_fit_no_block_is_damage(key: bytes, value: bytes, writable: bool) -> None:
    storage = file_new()
    entries = [(TREE_MAIN, key, value)]
    opened(storage).forest.write(list(entries), encode_entries(entries))
    with pytest.raises(DamageError, match="too large for blocks"):
        opened(storage.reopen(), writable=writable)


@pytest.mark.parametrize("tree_id", [b"", b"\0\0", b"\1\0", b"\2\0", b"\3", b"\xff" * 3, LARGE])
def test_a_catalog_with_impossible_tree_ids_is_damage(tree_id: bytes) -> None:
    database = opened(file_new())
    database.create_tree("tree")
    database.apply([(TREE_CATALOG, b"tree\0\0forged", tree_id)])
    database._trees_known = None
    with pytest.raises(DamageError):
        database.tree("forged")
    database.put(b"key", b"1")


@pytest.mark.parametrize("next_id", [b"", b"\0", b"\2", b"\3"])
def test_a_new_tree_never_gets_the_id_of_another(next_id: bytes) -> None:
    database = opened(file_new())
    database.create_tree("tree")
    database.apply([(TREE_CATALOG, b"next tree id\0\0", next_id)])
    created = database.create_tree("created")
    created.put(b"key", b"1")
    assert len(database.tree("tree")) == len(database) == 0


def test_a_ring_in_free_blocks_is_damage() -> None:
    storage = file_new()
    database = opened(storage)
    database.put(b"key", LARGE)
    database.checkpoint()
    database.close()
    grid_end = superblock.read(storage.reopen()).superblock.storage_size
    storage = storage.reopen()
    rewrite_superblock(
        storage,
        lambda root: root._replace(
            block_count=root.block_count + 8,
            storage_size=grid_end + 8 * BLOCK_SIZE,
            wal_offset=grid_end,
            wal_size=4 * BLOCK_SIZE,
            wal_position=0,
        ),
    )
    storage.corrupt(len(storage.image) - 1, b"\0")
    storage.image.extend(bytes(8 * BLOCK_SIZE))
    with pytest.raises(DamageError, match="ring lies in free blocks"):
        opened(storage)


@pytest.mark.parametrize("clock_s", [-86_400.5, 0.0, 1e19])
def test_a_clock_that_is_far_off_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock_s: float) -> None:
    """A time before 1970, or past every field, was an error of the encoder: a traceback at `scope begin`."""
    monkeypatch.setattr("time.time", lambda: clock_s)
    path = tmp_path / "clock.lsm"
    with lsmcli.open(path) as database:
        database.scope_begin()
        database[b"key"] = b"value"
    with lsmcli.open(path) as database:
        status = database.scope_status()
        assert status is not None and status.began_s >= 0
        assert database[b"key"] == b"value"
