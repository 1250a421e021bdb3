"""Opening a data file: what is refused before anything is touched, two who create at once, and what a writer mends."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

import lsmcli
from lsmcli.engine import constants
from lsmcli.engine import superblock as superblock_zone
from lsmcli.engine.errors import DamageError, FileError, LimitError
from lsmcli.engine.storage import FileStorage
from lsmcli.engine.wal import Wal
from tests.testing.operations import draw_profile, new_storage, open_database_on

PROFILE = draw_profile(random.Random(1), memory_size=1 << 20, growth_factor=2, cache_size=0)


@pytest.mark.parametrize(("options", "error"), [
    ({"flag": "x"}, ValueError), ({"sync": "never"}, ValueError), ({"memory_size": 1}, LimitError),
    ({"cache_size": -1}, LimitError), ({"block_size": 5000}, LimitError), ({"growth_factor": 99}, LimitError),
], ids=str)  # fmt: skip
def test_arguments_are_refused_before_anything_is_touched(
    tmp_path: Path, options: dict[str, object], error: type[Exception]
) -> None:
    with pytest.raises(error):
        lsmcli.open(tmp_path / "users.lsm", **options)  # type: ignore[arg-type]  # on purpose
    assert list(tmp_path.iterdir()) == []


class TestTwoWhoCreateAtOnce:
    @staticmethod
    def create_after(act: Callable[[], object]) -> Callable[[str, bytes], FileStorage]:
        def create(name: str, head: bytes) -> FileStorage:
            act()
            raise FileError(f"{name} exists already; choose another name, or remove it first")

        return create

    def test_the_second_opens_the_file_of_the_first(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        other = tmp_path / "other.lsm"
        with lsmcli.open(other) as first:
            first.put(b"a", b"1")
        path = tmp_path / "users.lsm"
        monkeypatch.setattr(FileStorage, "create", self.create_after(lambda: other.rename(path)))
        with lsmcli.open(path) as second:
            assert second.get(b"a") == b"1"

    @pytest.mark.parametrize("flag", ["n", "c"])
    def test_no_file_at_all_is_an_error(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flag: str) -> None:
        monkeypatch.setattr(FileStorage, "create", self.create_after(lambda: None))
        with pytest.raises(FileError, match="exists already"):
            lsmcli.open(tmp_path / "users.lsm", flag)  # type: ignore[arg-type]
        assert list(tmp_path.iterdir()) == []


class TestAWriterMends:
    def test_a_bad_copy_of_the_superblock(self) -> None:
        storage = new_storage(PROFILE)
        storage.corrupt(constants.superblock_copy_offset(2) + 60, b"?")
        assert superblock_zone.read(storage).slots_to_repair == (2,)
        open_database_on(storage, PROFILE, writable=False)
        assert superblock_zone.read(storage).slots_to_repair == (2,)
        open_database_on(storage, PROFILE)
        assert superblock_zone.read(storage).slots_to_repair == ()

    def test_a_dropped_tail_which_does_not_come_back(self) -> None:
        storage = new_storage(PROFILE)
        database = open_database_on(storage, PROFILE)
        wal = database.forest.file.wal
        ends = []
        for number in range(3):
            database.put(b"%d" % number, b"value")
            ends.append(wal.offset + wal.position)
        torn = storage.reopen()
        torn.corrupt(ends[1] - 8, bytes(8))  # the end of the second of three ops, none of them synced
        again = open_database_on(torn, PROFILE)
        assert dict(again.scan()) == {b"0": b"value"}
        again.put(b"1", b"value")
        assert dict(open_database_on(torn.reopen(), PROFILE).scan()) == {b"0": b"value", b"1": b"value"}


class TestTheLogMoves:
    def test_into_the_grid_or_its_blocks_are_given_back(self, monkeypatch: pytest.MonkeyPatch) -> None:
        database = open_database_on(new_storage(PROFILE), PROFILE)
        file = database.forest.file
        assert file.grid.free_set is not None
        database.forest.checkpoint()

        def refuse(*_: object) -> None:
            raise DamageError("write-ahead log: the record behind op 1 is gone", zone="wal")

        monkeypatch.setattr(Wal, "relocate", refuse)
        used = file.grid.block_count - file.grid.free_set.count_free - file.grid.free_set.count_released
        with pytest.raises(DamageError):
            file.wal_relocate(1 << 20)
        free_set = file.grid.free_set
        assert file.grid.block_count - free_set.count_free - free_set.count_released == used
        monkeypatch.undo()
        database.put(b"a", b"1")
        assert database.get(b"a") == b"1"

    @pytest.mark.parametrize("keep", [True, False])
    def test_while_a_scope_is_open_in_memory(self, keep: bool) -> None:
        storage = new_storage(PROFILE)
        database = open_database_on(storage, PROFILE)
        database.put(b"a", b"before")
        size = database.forest.file.wal.size
        database.scope_begin()
        for number in range(200):
            database.put(b"a", b"%03d " % number * 125)
        assert database.forest.file.wal.size > size
        assert database.forest.scope is not None and not database.forest.scope.spilled
        again = open_database_on(storage.reopen(), PROFILE)
        assert again.get(b"a") == b"199 " * 125
        again.scope_persist() if keep else again.scope_discard()
        assert again.get(b"a") == (b"199 " * 125 if keep else b"before")

    @pytest.mark.parametrize("puts", range(100, 200, 12))
    def test_for_an_op_that_is_larger_than_the_ring(self, puts: int) -> None:
        profile = PROFILE._replace(memory_size=1 << 16)
        storage = new_storage(profile)
        database = open_database_on(storage, profile)
        model = {}
        for number in range(puts):
            model[b"%03d" % number] = b"v" * 1000
            database.put(b"%03d" % number, b"v" * 1000)
        many = {b"many %03d" % number: b"w" * 500 for number in range(2 * database.forest.file.wal.size // 500)}
        database.put_many(many.items())
        assert dict(open_database_on(storage.reopen(), profile).scan()) == model | many
