"""The root of the file: what a copy holds, what is refused, and that no crash or single fault loses it."""

import random
import struct
from typing import Any

import pytest

from lsmcli.engine import constants, schema, superblock
from lsmcli.engine.checksum import checksum
from lsmcli.engine.errors import (
    DamageError,
    FileError,
    FormatError,
    LimitError,
    LsmError,
    NewerFormatError,
    OutcomeUnknownError,
    ReadOnlyError,
)
from lsmcli.engine.schema import Superblock
from tests.testing.storage import Crash, Fault, SimulatedStorage

UUID = bytes(range(16))
BLOCK_SIZE = 4096
PINNED_CHECKSUM = "9c0c66b1192aad2589f867e0c72e84ef"
COPY_SIZE = constants.SUPERBLOCK_COPY_SIZE
OFFSETS = [constants.superblock_copy_offset(copy) for copy in range(6)]


def new_file(**options: int) -> tuple[SimulatedStorage, Superblock]:
    """A formatted disk and its superblock."""
    settings = {"created_s": 1_700_000_000, "block_size": BLOCK_SIZE, "growth_factor": 8} | options
    first, head = superblock.format_file(uuid=UUID, **settings)
    return SimulatedStorage(head), first


def next_of(before: Superblock, **changes: Any) -> Superblock:
    """The superblock of the next checkpoint."""
    return before._replace(sequence=before.sequence + 1, parent=superblock.superblock_checksum(before), **changes)


def file_with(root: Superblock, size: int | None = None) -> SimulatedStorage:
    """A disk whose six copies say `root`, whatever that is worth."""
    storage = SimulatedStorage(bytes(constants.GRID_OFFSET if size is None else size))
    for copy, offset in enumerate(OFFSETS):
        storage.corrupt(offset, superblock.encode_copy(root, copy))
    return storage


def repaired(storage: SimulatedStorage) -> SimulatedStorage:
    superblock.repair(storage, superblock.read(storage))
    return storage


class TestCopy:
    def test_comes_back_as_it_was_written(self) -> None:
        _, first = new_file()
        for copy in range(6):
            found = superblock.decode_copy(superblock.encode_copy(first, copy))
            assert found == (copy, first, superblock.superblock_checksum(first))

    def test_any_fields_come_back(self, rng: random.Random) -> None:
        for _ in range(300):
            some = schema.SUPERBLOCK.unpack(rng.randbytes(schema.SUPERBLOCK.size))
            found = superblock.decode_copy(superblock.encode_copy(some, 5))
            assert found is not None
            assert found.superblock == some

    def test_has_a_form_that_stays(self) -> None:
        """The checksum of a known superblock, pinned: it changes only with the format version."""
        _, first = new_file()
        data = superblock.encode_copy(first, 3)
        assert len(data) == 4096
        assert data[:24] == b"lsmcli database\n" + struct.pack("<II", 3, 0)
        assert data[24:40].hex() == PINNED_CHECKSUM
        assert data[40 + schema.SUPERBLOCK.size :] == bytes(4096 - 40 - schema.SUPERBLOCK.size)

    def test_does_not_survive_a_flipped_bit(self) -> None:
        _, first = new_file()
        data = superblock.encode_copy(first, 2)
        for bit in [*range((schema.SUPERBLOCK.size + 48) * 8), *range(3000, 4096 * 8, 97)]:
            flipped = bytearray(data)
            flipped[bit // 8] ^= 1 << bit % 8
            found = superblock.decode_copy(bytes(flipped))
            if 16 <= bit // 8 < 24:  # copy number and reserved bytes lie outside of the checksum
                assert found is not None
                assert found.superblock == first
            else:
                assert found is None, bit

    @pytest.mark.parametrize("size", [0, 1, 39, 40, 4095, 4097])
    def test_has_one_size(self, size: int) -> None:
        _, first = new_file()
        assert superblock.decode_copy((superblock.encode_copy(first, 0) + b"\0")[:size]) is None


class TestFormat:
    def test_makes_a_file_that_opens(self) -> None:
        storage, first = new_file()
        found = superblock.read(storage)
        assert found.superblock == first
        assert found.checksum == superblock.superblock_checksum(first)
        assert found.slots_to_repair == ()
        assert (first.sequence, first.op_checkpoint, first.block_count) == (1, 0, 0)
        assert storage.size() == first.storage_size == constants.GRID_OFFSET

    def test_is_zeros_but_for_the_copies(self) -> None:
        storage, _ = new_file()
        for offset in OFFSETS:
            storage.corrupt(offset, bytes(COPY_SIZE))
        assert storage.image == bytes(constants.GRID_OFFSET)

    def test_files_differ_in_where_their_wal_begins(self) -> None:
        one, _ = superblock.format_file(uuid=UUID, created_s=0, block_size=4096, growth_factor=8)
        two, _ = superblock.format_file(uuid=bytes(16), created_s=0, block_size=4096, growth_factor=8)
        assert one.wal_chain != two.wal_chain

    @pytest.mark.parametrize("block_size", [1 << shift for shift in range(12, 20)])
    @pytest.mark.parametrize("growth_factor", [2, 8, 16])
    def test_takes_every_allowed_setting(self, block_size: int, growth_factor: int) -> None:
        storage, first = new_file(block_size=block_size, growth_factor=growth_factor)
        assert superblock.read(storage).superblock == first

    @pytest.mark.parametrize("options", [
        {"block_size": 0}, {"block_size": -4096}, {"block_size": 2048}, {"block_size": 4097},
        {"block_size": 1 << 20}, {"growth_factor": 1}, {"growth_factor": 17}, {"growth_factor": -1},
    ])  # fmt: skip
    def test_refuses_other_settings(self, options: dict[str, int]) -> None:
        with pytest.raises(LimitError, match="choose one"):
            new_file(**options)


class TestNotOurs:
    @pytest.mark.parametrize(("content", "reason"), [
        (b"", "it is empty"),
        (b"hello", "it is 5 bytes long and does not begin as one"),
        (b"SQLite format 3\0" * 40_000, "it does not begin as one"),
        (bytes(constants.GRID_OFFSET), "it does not begin as one"),
    ], ids=["empty", "short", "another program's", "zeros"])  # fmt: skip
    def test_file_is_told_from_a_damaged_one(self, content: bytes, reason: str) -> None:
        with pytest.raises(FormatError, match=rf"^notes.txt is not an lsmcli file: {reason}; "):
            superblock.read(SimulatedStorage(content), "notes.txt")

    def test_newer_version_is_refused_as_newer(self) -> None:
        _, first = new_file()
        with pytest.raises(NewerFormatError, match="format version 2, this program knows up to 1; update lsmcli"):
            superblock.read(file_with(first._replace(version=2)))

    def test_newer_version_owns_the_file_from_two_copies_on(self) -> None:
        storage, first = new_file()
        newer = next_of(first, version=2)
        storage.corrupt(OFFSETS[0], superblock.encode_copy(newer, 0))
        assert superblock.read(storage).superblock == first
        storage.corrupt(OFFSETS[1], superblock.encode_copy(newer, 1))
        with pytest.raises(NewerFormatError):
            superblock.read(storage)

    def test_older_version_is_named(self) -> None:
        _, first = new_file()
        with pytest.raises(FormatError, match="format version 0") as caught:
            superblock.read(file_with(first._replace(version=0)))
        assert not isinstance(caught.value, NewerFormatError)

    def test_unknown_incompatible_feature_is_newer(self) -> None:
        _, first = new_file()
        with pytest.raises(NewerFormatError, match="features 0x8"):
            superblock.read(file_with(first._replace(features_incompatible=8)))

    def test_unknown_read_only_feature_may_be_read(self) -> None:
        _, first = new_file()
        found = superblock.read(file_with(first._replace(features_read_only=4))).superblock
        with pytest.raises(ReadOnlyError, match="features 0x4"):
            superblock.require_writable(found)
        superblock.require_writable(first)


GRID: dict[str, Any] = {"block_count": 8, "storage_size": constants.GRID_OFFSET + 8 * BLOCK_SIZE}
HUGE = 0xFFFF_FFFF_FFFF_FFFF
OP_LAST = superblock.COUNTER_END - 1


class TestSense:
    """A superblock whose checksums hold, crafted or written by a faulty program."""

    @pytest.mark.parametrize("changes", [
        {"block_size": 0}, {"block_size": 1}, {"block_size": 12288}, {"block_size": 1 << 31},
        {"growth_factor": 0}, {"growth_factor": 255}, {"scope_state": 3}, {"sequence": 0},
        {"op_checkpoint": HUGE}, {"op_synced": HUGE}, {"scope_snapshot": HUGE},
        {"op_checkpoint": OP_LAST + 1}, {"op_synced": OP_LAST + 1}, {"scope_snapshot": OP_LAST + 1},
        {"block_count": 9}, {"block_count": HUGE}, {"storage_size": 0},
        {"storage_size": constants.GRID_OFFSET + 8 * BLOCK_SIZE + 1}, {"storage_size": HUGE},
        {"wal_offset": 0}, {"wal_offset": 12288}, {"wal_size": 0}, {"wal_size": HUGE},
        {"wal_size": constants.WAL_SIZE_INITIAL + 8},
        {"wal_offset": constants.WAL_OFFSET_SECOND}, {"wal_size": constants.WAL_SIZE_SECOND},
        {"wal_offset": constants.GRID_OFFSET, "wal_size": 9 * BLOCK_SIZE},
        {"wal_offset": constants.GRID_OFFSET + 8, "wal_size": BLOCK_SIZE},
        {"wal_offset": constants.GRID_OFFSET, "wal_size": BLOCK_SIZE + 4},
        {"wal_offset": constants.GRID_OFFSET + 8 * BLOCK_SIZE, "wal_size": BLOCK_SIZE},
        {"wal_offset": constants.GRID_OFFSET, "wal_size": 0},
        {"wal_position": constants.WAL_SIZE_INITIAL + 8}, {"wal_position": 4}, {"wal_position": HUGE},
        {"manifest_address": 1}, {"manifest_address_twin": 1}, {"manifest_block_count": 1},
        {"manifest_address": 1, "manifest_address_twin": 1, "manifest_block_count": 1},
        {"manifest_address": 1, "manifest_address_twin": 9, "manifest_block_count": 1},
        {"manifest_address": HUGE, "manifest_address_twin": 2, "manifest_block_count": 1},
        {"manifest_address": 1, "manifest_address_twin": 2, "manifest_block_count": 0},
        {"manifest_address": 1, "manifest_address_twin": 2, "manifest_block_count": 5},
        {"free_set_address": 1}, {"free_set_size": 1},
        {"free_set_address": 1, "free_set_address_twin": 2, "free_set_block_count": 1, "free_set_size": 4097},
    ], ids=str)  # fmt: skip
    def test_nonsense_is_damage(self, changes: dict[str, Any]) -> None:
        _, first = new_file()
        root = first._replace(**(GRID | changes))
        with pytest.raises(DamageError, match=r"^superblock \d+: .*; ") as caught:
            superblock.read(file_with(root, constants.GRID_OFFSET + 8 * BLOCK_SIZE))
        assert caught.value.zone == "superblock"

    @pytest.mark.parametrize("changes", [
        {},
        {"op_checkpoint": OP_LAST, "op_synced": OP_LAST, "scope_state": 2, "scope_snapshot": 7},
        {"wal_position": constants.WAL_SIZE_INITIAL},
        {"wal_offset": constants.WAL_OFFSET_SECOND, "wal_size": constants.WAL_SIZE_SECOND},
        {"wal_offset": constants.GRID_OFFSET, "wal_size": 8 * BLOCK_SIZE},
        {"wal_offset": constants.GRID_OFFSET + 7 * BLOCK_SIZE, "wal_size": BLOCK_SIZE, "wal_position": 8},
        {"manifest_address": 1, "manifest_address_twin": 8, "manifest_block_count": 4},
        {"free_set_address": 8, "free_set_address_twin": 1, "free_set_block_count": 1, "free_set_size": 4096},
    ], ids=str)  # fmt: skip
    def test_the_extremes_that_make_sense_open(self, changes: dict[str, Any]) -> None:
        _, first = new_file()
        root = first._replace(**(GRID | changes))
        assert superblock.read(file_with(root, constants.GRID_OFFSET + 8 * BLOCK_SIZE)).superblock == root

    def test_bytes_behind_the_last_field_are_damage(self) -> None:
        _, first = new_file()
        body = schema.SUPERBLOCK.pack(first).ljust(4096 - 40 - 1, b"\0") + b"x"
        storage = SimulatedStorage(bytes(constants.GRID_OFFSET))
        for copy, offset in enumerate(OFFSETS):
            head = schema.SuperblockCopyHead(schema.MAGIC, copy, 0, checksum(body))
            storage.corrupt(offset, schema.SUPERBLOCK_COPY_HEAD.pack(head) + body)
        with pytest.raises(DamageError, match="bytes behind its last field"):
            superblock.read(storage)

    def test_random_fields_never_raise_anything_untyped(self, rng: random.Random) -> None:
        _, first = new_file()
        for _ in range(1000):
            fields: list[Any] = list(first._replace(**GRID))
            for _ in range(rng.randint(1, 4)):
                i = rng.randrange(len(fields))
                code = schema.SUPERBLOCK.fields[i][1]
                size = struct.calcsize("<" + code)
                raw = rng.choice((bytes(size), b"\xff" * size, rng.randbytes(size), bytes([1]) + bytes(size - 1)))
                (fields[i],) = struct.unpack("<" + code, raw)
            try:
                superblock.read(file_with(Superblock(*fields), constants.GRID_OFFSET + 8 * BLOCK_SIZE))
            except LsmError as error:
                assert "\n" not in str(error)

    @pytest.mark.parametrize("size", [*range(4096, 536_576, 16_384), constants.GRID_OFFSET + 8 * BLOCK_SIZE - 1])
    def test_a_file_cut_short_says_so(self, size: int) -> None:
        _, first = new_file()
        storage = file_with(first._replace(**GRID), constants.GRID_OFFSET + 8 * BLOCK_SIZE)
        cut = SimulatedStorage(storage.image[:size])
        with pytest.raises(DamageError) as caught:
            superblock.read(cut)
        if size >= 2 * COPY_SIZE:
            assert f"truncated: the file is {size} bytes, its superblock says 557056" in str(caught.value)

    def test_a_longer_file_opens(self) -> None:
        storage, first = new_file()
        storage.allocate(constants.GRID_OFFSET + 12345)
        assert superblock.read(storage).superblock == first


class TestRead:
    def test_changes_nothing(self) -> None:
        storage, _ = new_file()
        storage.corrupt(OFFSETS[4], bytes(COPY_SIZE))
        before = bytes(storage.image)
        storage.writable = False
        assert superblock.read(storage).slots_to_repair == (4,)
        assert storage.image == before
        assert storage.bytes_written == 0

    def test_opens_with_any_four_copies_bad(self) -> None:
        for bad in range(64):
            storage, first = new_file()
            slots = [slot for slot in range(6) if bad >> slot & 1]
            for slot in slots:
                storage.corrupt(OFFSETS[slot] + 50, b"\xff\xff")
            if len(slots) <= 4:
                found = superblock.read(storage)
                assert found.superblock == first
                assert found.slots_to_repair == tuple(slots)
            else:
                with pytest.raises(DamageError, match="no 2 of them agree"):
                    superblock.read(storage)

    def test_an_unreadable_copy_is_a_bad_copy(self) -> None:
        storage, first = new_file()
        storage.faults = dict.fromkeys((0, 1, 4), Fault.READ_FAILS)
        found = superblock.read(storage)
        assert found.superblock == first
        assert found.slots_to_repair == (0, 1, 4)

    def test_an_unreadable_disk_is_not_called_another_program_s_file(self) -> None:
        storage, _ = new_file()
        storage.faults = dict.fromkeys(range(100), Fault.READ_FAILS)
        with pytest.raises(FileError, match="cannot be read"):
            superblock.read(storage)

    def test_beside_a_writer_is_tried_again(self) -> None:
        """Three checkpoints between six reads: no two copies agree, the next attempt sees the newest."""
        storage, first = new_file()
        second = next_of(first)
        third = next_of(second)
        newest = next_of(third)
        pictures = [first, second, third]

        def writer(operation: int, kind: str, offset: int, size: int) -> None:
            if kind == "read" and operation < 6:
                storage.corrupt(OFFSETS[operation], superblock.encode_copy(pictures[operation % 3], operation % 3))
            elif operation == 6:
                for copy in range(6):
                    storage.corrupt(OFFSETS[copy], superblock.encode_copy(newest, copy))

        storage.hook = writer
        assert superblock.read(storage).superblock == newest
        assert storage.operations == 12


class TestWrite:
    def test_makes_the_next_one_the_root(self) -> None:
        storage, root = new_file()
        for _ in range(5):
            root = next_of(root, op_checkpoint=root.op_checkpoint + 10)
            assert superblock.write(storage, root) == superblock.superblock_checksum(root)
            found = superblock.read(storage)
            assert (found.superblock, found.slots_to_repair) == (root, ())

    def test_syncs_the_first_group_before_it_touches_the_second(self) -> None:
        storage, first = new_file()
        trace: list[str] = []
        storage.hook = lambda _, kind, offset, __: trace.append(kind if kind != "write" else str(OFFSETS.index(offset)))
        superblock.write(storage, next_of(first))
        assert trace == ["0", "1", "2", "sync", "3", "4", "5", "sync", *["read"] * 6]

    def test_survives_a_crash_at_every_operation(self, rng: random.Random) -> None:
        """The old root or the new one, and after it was acknowledged the new one; then repair heals all slots."""
        seen = set()
        for last in range(15):
            storage, first = new_file()
            second = next_of(first)
            acknowledged = run_until(storage, last, second)
            for _ in range(40):
                crashed = storage.crash(rng)
                root = superblock.read(crashed).superblock
                seen.add(root.sequence)
                assert root in ((second,) if acknowledged else (first, second))
                assert superblock.read(repaired(crashed)).slots_to_repair == ()
                assert superblock.read(crashed).superblock == root
                third = next_of(root)
                superblock.write(crashed, third)
                assert superblock.read(crashed.crash(0)).superblock == third
            assert superblock.read(storage.reopen()).superblock in (first, second)
        assert seen == {1, 2}

    def test_survives_a_crash_and_any_one_rotten_copy(self, rng: random.Random) -> None:
        for last in range(15):
            for slot in range(6):
                storage, first = new_file()
                second = next_of(first)
                acknowledged = run_until(storage, last, second)
                for _ in range(4):
                    crashed = storage.crash(rng)
                    crashed.corrupt(OFFSETS[slot] + 100, b"\xff\xff")
                    root = superblock.read(crashed).superblock
                    assert root in ((second,) if acknowledged else (first, second))

    @pytest.mark.parametrize(
        "fault", [Fault.WRITE_FAILS, Fault.WRITE_TORN, Fault.NO_SPACE, Fault.SYNC_KEEPS, Fault.SYNC_REVERTS]
    )
    def test_a_fault_at_any_operation_leaves_the_outcome_unknown_and_a_root(
        self, fault: Fault, rng: random.Random
    ) -> None:
        writes = fault in (Fault.WRITE_FAILS, Fault.WRITE_TORN, Fault.NO_SPACE)
        for operation in (0, 1, 2, 4, 5, 6) if writes else (3, 7):
            storage, first = new_file()
            second = next_of(first)
            storage.faults = {operation: fault}
            with pytest.raises(OutcomeUnknownError):
                superblock.write(storage, second)
            assert superblock.read(storage.reopen()).superblock in (first, second)
            for _ in range(10):
                assert superblock.read(storage.crash(rng)).superblock in (first, second)

    def test_a_lost_write_of_any_copy_is_healed_at_the_next_open(self) -> None:
        for operation in (0, 1, 2, 4, 5, 6):
            storage, first = new_file()
            second = next_of(first)
            storage.faults = {operation: Fault.WRITE_LOST}
            superblock.write(storage, second)
            crashed = storage.crash(0)
            assert superblock.read(crashed).superblock == second
            assert len(superblock.read(crashed).slots_to_repair) == 1
            assert superblock.read(repaired(crashed)).slots_to_repair == ()

    def test_needs_five_copies_that_read_back(self) -> None:
        for count in (1, 2):
            storage, first = new_file()

            def rot(operation: int, *_: object, storage: SimulatedStorage = storage, count: int = count) -> None:
                if operation == 8:  # all is written and synced, reading back begins
                    for slot in range(count):
                        storage.corrupt(OFFSETS[slot] + 60, b"\xff\xff")

            storage.hook = rot
            if count == 1:
                superblock.write(storage, next_of(first))
            else:
                with pytest.raises(OutcomeUnknownError, match="4 of 6 copies read back"):
                    superblock.write(storage, next_of(first))

    def test_read_errors_count_as_copies_that_do_not_read_back(self) -> None:
        for count, last in ((1, 9), (2, 10), (6, 14)):
            storage, first = new_file()
            storage.faults = dict.fromkeys(range(8, last), Fault.READ_FAILS)
            if count == 1:
                superblock.write(storage, next_of(first))
            else:
                with pytest.raises(OutcomeUnknownError):
                    superblock.write(storage, next_of(first))

    def test_a_stray_of_the_same_sequence_is_noticed_before_it_is_acknowledged(self) -> None:
        storage, first = new_file()
        stray = superblock.encode_copy(next_of(first, op_checkpoint=99), 0)
        storage.hook = lambda operation, *_: storage.corrupt(0, stray) if operation == 8 else None
        with pytest.raises(OutcomeUnknownError):
            superblock.write(storage, next_of(first))


class TestRepair:
    def test_writes_nothing_where_nothing_is_wrong(self) -> None:
        storage, _ = new_file()
        repaired(storage)
        assert (storage.bytes_written, storage.sync_count) == (0, 0)

    def test_rewrites_only_the_bad_slots(self) -> None:
        storage, first = new_file()
        expected = bytes(storage.image)
        storage.corrupt(OFFSETS[1], bytes(COPY_SIZE))
        storage.corrupt(OFFSETS[5], superblock.encode_copy(first, 2))
        assert repaired(storage).bytes_written == 2 * COPY_SIZE
        assert storage.image_synced == expected

    def test_does_not_touch_a_needed_witness_before_its_own_slot_is_synced(self, rng: random.Random) -> None:
        """Two copies are left, one of them in a wrong slot; a crash anywhere in the repair must not lose the root."""
        for last in range(9):
            storage, first = new_file()
            for slot in (1, 2, 4, 5):
                storage.corrupt(OFFSETS[slot], bytes(COPY_SIZE))
            storage.corrupt(OFFSETS[1], superblock.encode_copy(first, 3))
            storage.corrupt(OFFSETS[3], bytes(COPY_SIZE))
            found = superblock.read(storage)
            assert found.slots_to_repair == (2, 3, 4, 5, 1)
            stop_before(storage, storage.operations + last)
            try:
                superblock.repair(storage, found)
            except Crash:
                pass
            for _ in range(20):
                assert superblock.read(storage.crash(rng)).superblock == first

    def test_needs_a_writable_file(self) -> None:
        storage, _ = new_file()
        storage.corrupt(0, bytes(COPY_SIZE))
        storage.writable = False
        with pytest.raises(ReadOnlyError):
            repaired(storage)


def stop_before(storage: SimulatedStorage, last: int) -> None:
    """The process dies before operation `last`."""

    def hook(operation: int, *_: object) -> None:
        if operation >= last:
            raise Crash

    storage.hook = hook


def run_until(storage: SimulatedStorage, last: int, root: Superblock) -> bool:
    """Write `root`, die before operation `last`; whether it was acknowledged."""
    stop_before(storage, last)
    try:
        superblock.write(storage, root)
    except Crash:
        return False
    return True
