"""The grid: what was written is read back, and nothing else ever is."""

import random
from typing import Any

import pytest

from lsmcli.engine import free_set as free_sets
from lsmcli.engine.block_cache import BlockCache
from lsmcli.engine.block_header import HEADER_SIZE, ZONE_BY_KIND, verify_block
from lsmcli.engine.checksum import checksum
from lsmcli.engine.constants import BLOCK_SIZE_DEFAULT, GRID_OFFSET, KIB, MIB
from lsmcli.engine.errors import DamageError, FileError, NoSpaceError
from lsmcli.engine.free_set import FreeSet
from lsmcli.engine.grid import Grid, block_count_of
from lsmcli.engine.schema import BLOCK_HEADER, BlockHeader, BlockKind, BlockReference
from tests.testing.grid import BLOCK_SIZE, UUID, MemoryStorage, grid_new, grid_reopened

VALUE, INDEX, MANIFEST = BlockKind.VALUE, BlockKind.INDEX, BlockKind.MANIFEST
BODY = b"the body of a block " * 5


@pytest.fixture(autouse=True)
def verify(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(free_sets, "VERIFY", True)


def storage_of(grid: Grid) -> MemoryStorage:
    assert isinstance(grid.storage, MemoryStorage)
    return grid.storage


def free_set_of(grid: Grid) -> FreeSet:
    assert grid.free_set is not None
    return grid.free_set


def write(grid: Grid, body: bytes = BODY, kind: BlockKind = VALUE) -> BlockReference:
    return grid.write(grid.acquire(grid.reserve(1)), kind, body)


def write_twin(grid: Grid, body: bytes = BODY) -> BlockReference:
    reservation = grid.reserve(2)
    first, second = grid.acquire(reservation), grid.acquire(reservation)
    return grid.write(first, MANIFEST, body, address_twin=second)


def body(data: bytes) -> bytes:
    return data[HEADER_SIZE:]


def flip(grid: Grid, address: int, index: int, mask: int = 0x10) -> None:
    storage_of(grid).data[grid.offset(address) + index] ^= mask


def forge(grid: Grid, reference: BlockReference, **changes: Any) -> BlockReference:
    """Rewrites the header with other fields and a checksum that holds: the reference to the result."""
    data = storage_of(grid).data
    offset = grid.offset(reference.address)
    header = BLOCK_HEADER.pack(BLOCK_HEADER.unpack(data, offset)._replace(**changes))[16:]
    data[offset : offset + HEADER_SIZE] = checksum(header) + header
    return reference._replace(checksum=checksum(header))


def damage(grid: Grid, reference: BlockReference, kind: BlockKind = VALUE) -> DamageError:
    """The error that reading raises: one line, with zone and address."""
    with pytest.raises(DamageError) as caught:
        grid.read(reference, kind)
    assert caught.value.zone == ZONE_BY_KIND[kind]
    assert caught.value.address == reference.address
    assert "\n" not in str(caught.value)
    return caught.value


# Reading and writing


@pytest.mark.parametrize("size", [0, 1, 100, BLOCK_SIZE - HEADER_SIZE - 1, BLOCK_SIZE - HEADER_SIZE])
def test_a_body_comes_back_without_its_padding(size: int) -> None:
    grid = grid_new(4)
    written = (bytes(range(1, 256)) * 17)[:size]
    reference = write(grid, written)
    data = grid_reopened(grid).read(reference, VALUE)
    assert len(data) == HEADER_SIZE + size
    assert body(data) == written


@pytest.mark.parametrize("kind", list(BlockKind))
def test_every_kind_has_a_zone(kind: BlockKind) -> None:
    grid = grid_new(1)
    reference = write(grid, kind=kind)
    assert body(grid.read(reference, kind)) == BODY
    flip(grid, 1, 0)
    assert damage(grid, reference, kind).zone in ("free set", "manifest", "index", "value", "large value")


def test_the_header_says_what_was_written() -> None:
    grid = grid_new(9)
    reservation = grid.reserve(3)
    first, second = grid.acquire(reservation), grid.acquire(reservation)
    reference = grid.write(first, INDEX, BODY, tree_id=7, snapshot=1 << 40, level=6, address_twin=second)
    header = grid.read_header(reference, INDEX)
    assert reference == BlockReference(1, 2, header.checksum)
    assert header == BlockHeader(
        checksum=header.checksum,
        checksum_body=checksum(BODY),
        uuid=UUID,
        address=1,
        address_twin=2,
        size=HEADER_SIZE + len(BODY),
        size_decoded=HEADER_SIZE + len(BODY),
        tree_id=7,
        kind=INDEX,
        codec=0,
        level=6,
        reserved_a=0,
        reserved_b=0,
        snapshot=1 << 40,
        reserved_c=0,
    )
    data = storage_of(grid).data
    assert data[grid.offset(1) : grid.offset(2)] == data[grid.offset(2) : grid.offset(3)]
    assert grid.bytes_read == HEADER_SIZE == storage_of(grid).bytes_read
    assert grid.bytes_written == 2 * BLOCK_SIZE == storage_of(grid).bytes_written


def test_any_bytes_like_body_will_do() -> None:
    grid = grid_new(3)
    for kind_of_bytes in (bytes, bytearray, memoryview):
        reference = grid.write(grid.acquire(grid.reserve(1)), VALUE, kind_of_bytes(BODY))
        assert body(grid.read(reference, VALUE)) == BODY


def test_a_block_that_is_not_acquired_cannot_be_written() -> None:
    grid = grid_new(2)
    with pytest.raises(AssertionError):
        grid.write(1, VALUE, BODY)


# Damage


@pytest.mark.parametrize("mask", [0x01, 0x80, 0xFF])
def test_every_flipped_byte_up_to_the_size_is_found_and_none_behind_it_matters(mask: int) -> None:
    grid = grid_new(2)
    reference = write(grid)
    for index in range(HEADER_SIZE + len(BODY)):
        flip(grid, 1, index, mask)
        damage(grid, reference)
        flip(grid, 1, index, mask)
    for index in (HEADER_SIZE + len(BODY), BLOCK_SIZE - 1):
        flip(grid, 1, index, mask)
        assert body(grid.read(reference, VALUE)) == BODY


def test_every_flipped_byte_of_one_copy_is_answered_from_the_other() -> None:
    grid = grid_new(4)
    reference = write_twin(grid)
    for copy in (reference.address, reference.address_twin):
        for index in range(HEADER_SIZE + len(BODY)):
            flip(grid, copy, index)
            assert body(grid.read(reference, MANIFEST)) == BODY
            assert grid.read_header(reference, MANIFEST).checksum == reference.checksum
            flip(grid, copy, index)


def test_two_bad_copies_are_damage() -> None:
    grid = grid_new(4)
    reference = write_twin(grid)
    flip(grid, 1, 50)
    flip(grid, 2, HEADER_SIZE)
    damage(grid, reference, MANIFEST)


def test_a_copy_that_cannot_be_read_is_answered_from_the_other() -> None:
    grid = grid_new(4)
    reference = write_twin(grid)
    storage_of(grid).unreadable = {grid.offset(1)}
    assert body(grid.read(reference, MANIFEST)) == BODY
    storage_of(grid).unreadable = {grid.offset(1), grid.offset(2)}
    with pytest.raises(FileError):
        grid.read(reference, MANIFEST)


def test_a_lost_write_is_found() -> None:
    grid = grid_new(2)
    storage = storage_of(grid)
    before = bytes(storage.data)
    reference = write(grid)
    storage.data[:] = before
    damage(grid, reference)


def test_a_stale_block_is_found() -> None:
    grid = grid_new(2)
    storage = storage_of(grid)
    write(grid, b"old")
    stale = bytes(storage.data)
    reference = grid.write(1, VALUE, b"new")
    storage.data[:] = stale
    damage(grid, reference)


def test_a_reused_block_is_found_by_a_reader_that_still_has_the_old_reference() -> None:
    grid = grid_new(2)
    reference = write(grid, b"old")
    reader = grid_reopened(grid)
    grid.write(1, VALUE, b"new")
    damage(reader, reference)


def test_a_misdirected_write_is_found_at_both_ends() -> None:
    grid = grid_new(3)
    one, two = write(grid, b"one"), write(grid, b"two")
    data = storage_of(grid).data
    data[grid.offset(1) : grid.offset(2)] = data[grid.offset(2) : grid.offset(3)]
    damage(grid, one)
    assert body(grid.read(two, VALUE)) == b"two"
    assert "written for block 2" in str(damage(grid, two._replace(address=1)))


def test_a_block_of_another_kind_or_file_is_refused() -> None:
    grid = grid_new(2)
    reference = write(grid)
    damage(grid, reference, INDEX)
    other = Grid(grid.storage, uuid=bytes(16), block_size=BLOCK_SIZE, block_count=2, cache=BlockCache(0))
    assert "another file" in str(damage(other, reference))


@pytest.mark.parametrize("address", [0, 3, 1 << 63, (1 << 64) - 1])
def test_an_address_outside_of_the_grid_is_refused(address: int) -> None:
    grid = grid_new(2)
    reference = write(grid)
    for bad in (reference._replace(address=address), reference._replace(address=address, address_twin=address)):
        damage(grid, bad)
        with pytest.raises(DamageError):
            grid.read_header(bad, VALUE)


@pytest.mark.parametrize(
    "changes",
    [
        {"size": 0},
        {"size": HEADER_SIZE - 1, "size_decoded": HEADER_SIZE - 1},
        {"size": BLOCK_SIZE + 1, "size_decoded": BLOCK_SIZE + 1},
        {"size": 0xFFFF_FFFF, "size_decoded": 0xFFFF_FFFF},
        {"size": HEADER_SIZE - 1},
        {"size": BLOCK_SIZE + 1},
        {"size": 0xFFFF_FFFF},
        {"size_decoded": 0xFFFF_FFFF},
        {"codec": 2},
        {"codec": 1, "size_decoded": 4 * BLOCK_SIZE + 1},
        {"codec": 1, "size_decoded": HEADER_SIZE},
        {"kind": 0},
        {"kind": 200},
        {"address": 2},
        {"address_twin": 2},
        {"uuid": bytes(16)},
    ],
    ids=str,
)
def test_a_forged_header_with_a_good_checksum_is_refused(changes: dict[str, Any]) -> None:
    grid = grid_new(2)
    reference = forge(grid, write(grid), **changes)
    damage(grid, reference)
    with pytest.raises(DamageError):
        grid.read_header(reference, VALUE)


@pytest.mark.parametrize("size", [0, 1, HEADER_SIZE - 1, HEADER_SIZE, HEADER_SIZE + len(BODY) - 1])
def test_a_file_that_ends_inside_a_block_is_damage(size: int) -> None:
    grid = grid_new(2)
    reference = write(grid)
    storage_of(grid).truncate(grid.offset(1) + size)
    damage(grid, reference)


def test_a_file_that_ends_in_the_padding_is_not() -> None:
    grid = grid_new(2)
    reference = write(grid)
    storage_of(grid).truncate(grid.offset(1) + HEADER_SIZE + len(BODY))
    assert body(grid.read(reference, VALUE)) == BODY


def test_a_raw_block_proves_itself() -> None:
    grid = grid_new(3)
    reference = write_twin(grid)
    data = storage_of(grid).data
    raw = bytes(data[grid.offset(1) : grid.offset(2)])
    for address in (reference.address, reference.address_twin):
        assert raw == data[grid.offset(address) : grid.offset(address + 1)]
        assert verify_block(raw, UUID, address).kind == MANIFEST
        for bad in (raw[:95], bytes(BLOCK_SIZE), raw[:HEADER_SIZE] + b"?" + raw[HEADER_SIZE + 1 :], b""):
            with pytest.raises(DamageError):
                verify_block(bad, UUID, address)
    with pytest.raises(DamageError, match="written for block 1"):
        verify_block(raw, UUID, 3)
    forge(grid, reference, kind=9)
    with pytest.raises(DamageError, match="its kind, 9, is unknown") as caught:
        verify_block(bytes(data[grid.offset(1) : grid.offset(2)]), UUID, 1)
    assert caught.value.zone == "grid"


# Repair


@pytest.mark.parametrize("address", [1, 2])
def test_a_writer_repairs_the_bad_copy(address: int) -> None:
    grid = grid_new(4)
    grid.looks_at_twins = True
    reference = write_twin(grid)
    good = bytes(storage_of(grid).data)
    for index in (3, 40, HEADER_SIZE + 7):
        flip(grid, address, index)
    assert grid.repair() == 0
    grid.read(reference, MANIFEST)
    assert grid.repair() == 1
    assert storage_of(grid).data == good
    assert grid.repairs == {}


def test_a_reader_leaves_a_second_copy_alone_while_the_first_one_holds() -> None:
    grid = grid_new(4)
    reference = write_twin(grid)
    flip(grid, 2, 3)
    assert body(grid.read(reference, MANIFEST)) == BODY
    assert grid.repairs == {}


def test_what_was_met_before_the_free_set_was_known_is_repaired_too() -> None:
    grid = grid_new(4)
    reference = write_twin(grid)
    good = bytes(storage_of(grid).data)
    flip(grid, 1, 3)
    reopened = grid_reopened(grid)
    reopened.read(reference, MANIFEST)
    reopened.attach_free_set(free_set_of(grid))
    assert reopened.repair() == 1
    assert storage_of(grid).data == good


def test_a_bad_copy_of_no_block_is_not_repaired() -> None:
    grid = grid_new(4)
    reference = write_twin(grid)
    reader = grid_reopened(grid)
    for address in (0, 3, 5, 1 << 63):
        forged = forge(grid, reference._replace(address=2), address=address)._replace(address=address)
        assert body(reader.read(forged, MANIFEST)) == BODY
        assert body(grid.read(forged, MANIFEST)) == BODY
    reader.attach_free_set(free_set_of(grid))
    assert len(reader.repairs) == 4
    before = bytes(storage_of(grid).data)
    assert reader.repair() == grid.repair() == 0
    assert storage_of(grid).data == before


def test_a_bad_copy_that_was_released_is_not_repaired() -> None:
    grid = grid_new(4)
    reference = write_twin(grid)
    flip(grid, 1, 3)
    bad = bytes(storage_of(grid).data)
    grid.release_reference(reference)
    grid.read(reference, MANIFEST)
    assert grid.repair() == 0
    assert storage_of(grid).data == bad


@pytest.mark.parametrize("read_again", [False, True])
def test_a_bad_copy_whose_block_is_in_use_again_is_not_repaired(read_again: bool) -> None:
    grid = grid_new(4)
    reference = write_twin(grid)
    flip(grid, 1, 3)
    grid.read(reference, MANIFEST)
    grid.release_reference(reference)
    for _ in range(2):
        free_set_of(grid).checkpoint_durable(graduate=True)
    reservation = grid.reserve(1)
    if read_again:
        grid.read(reference, MANIFEST)
    assert grid.acquire(reservation) == reference.address
    before = bytes(storage_of(grid).data)
    assert grid.repair() == 0
    assert storage_of(grid).data == before


def test_a_bad_copy_whose_twin_went_bad_is_left_alone() -> None:
    grid = grid_new(4)
    reference = write_twin(grid)
    flip(grid, 1, 3)
    grid.read(reference, MANIFEST)
    flip(grid, 2, 3)
    bad = bytes(storage_of(grid).data)
    assert grid.repair() == 0
    assert storage_of(grid).data == bad


# Cache


def test_a_block_is_decoded_once() -> None:
    grid = grid_new(2)
    reference = write(grid)
    calls: list[bytes] = []

    def decode(data: bytes) -> str:
        calls.append(data)
        return "decoded"

    assert grid.cached(reference, VALUE) is None
    assert [grid.block(reference, VALUE, decode) for _ in range(3)] == ["decoded"] * 3
    assert grid.cached(reference, VALUE) == "decoded"
    assert calls == [grid.read(reference, VALUE)]


def test_a_cached_block_is_only_found_by_its_own_checksum_and_kind() -> None:
    grid = grid_new(2)
    reference = write(grid)
    grid.block(reference, VALUE, len)
    with pytest.raises(DamageError):
        grid.block(reference._replace(checksum=bytes(16)), VALUE, len)
    with pytest.raises(DamageError):
        grid.block(reference, INDEX, len)


def test_writing_and_releasing_empty_the_cache() -> None:
    grid = grid_new(2)
    reference = write(grid)
    grid.block(reference, VALUE, len)
    grid.write(1, VALUE, BODY)
    assert len(grid.cache) == 0
    grid.block(reference, VALUE, len)
    grid.release(1)
    assert len(grid.cache) == 0


def test_what_cannot_be_decoded_is_not_cached() -> None:
    grid = grid_new(2)
    reference = write(grid)

    def decode(data: bytes) -> str:
        raise DamageError("crafted", zone="value")

    for _ in range(2):
        with pytest.raises(DamageError):
            grid.block(reference, VALUE, decode)


def test_prefetch_hints_at_blocks_of_the_grid_only() -> None:
    grid = grid_new(2)
    references = [BlockReference(address, 0, bytes(16)) for address in (0, 1, 2, 3, 1 << 63)]
    grid.prefetch(references)
    assert storage_of(grid).prefetched == [grid.offset(1)]
    assert storage_of(grid).prefetched_size == 2 * grid.block_size


def test_prefetch_takes_neighbours_together() -> None:
    grid = grid_new(9)
    grid.prefetch([BlockReference(address, 0, bytes(16)) for address in (2, 3, 4, 6, 9, 8)])
    assert storage_of(grid).prefetched == [grid.offset(address) for address in (2, 6, 9, 8)]
    assert storage_of(grid).prefetched_size == 6 * grid.block_size


def test_prefetch_leaves_out_what_is_cached() -> None:
    grid = grid_new(2)
    references = [write(grid), write(grid)]
    grid.block(references[0], VALUE, bytes)
    storage_of(grid).prefetched.clear()
    grid.prefetch(references)
    assert storage_of(grid).prefetched == [grid.offset(references[1].address)]


# Space


def test_a_new_file_stays_small() -> None:
    grid = grid_new(0, block_size=BLOCK_SIZE_DEFAULT)
    for _ in range(16):
        write(grid)
    assert storage_of(grid).size() == GRID_OFFSET + 512 * KIB
    write(grid)
    assert storage_of(grid).size() < 2 * MIB


def test_the_file_grows_by_a_share_of_itself() -> None:
    grid = grid_new(64 * MIB // BLOCK_SIZE)
    grid.acquire_extent(grid.block_count)
    before = storage_of(grid).size()
    write(grid)
    assert storage_of(grid).size() - before == 4 * MIB
    assert grid.block_count == free_set_of(grid).block_count == 68 * MIB // BLOCK_SIZE
    assert block_count_of(storage_of(grid).size(), BLOCK_SIZE) == grid.block_count


@pytest.mark.parametrize("count", [1, 7, 300])
def test_a_full_disk_leaves_everything_as_it_was(count: int) -> None:
    grid = grid_new(5)
    storage = storage_of(grid)
    write(grid)
    storage.size_max = len(storage.data)
    before = (grid.block_count, free_set_of(grid).encode(), free_set_of(grid).count_free, bytes(storage.data))
    with pytest.raises(NoSpaceError):
        grid.reserve(4 + count)
    with pytest.raises(NoSpaceError):
        grid.acquire_extent(4 + count)
    assert before == (
        grid.block_count,
        free_set_of(grid).encode(),
        free_set_of(grid).count_free,
        bytes(storage.data),
    )
    assert len(grid.reserve(4)) == 4


def test_the_last_blocks_of_a_disk_are_used() -> None:
    grid = grid_new(5)
    storage_of(grid).size_max = grid.offset(9)
    assert len(grid.reserve(8)) == 8
    with pytest.raises(NoSpaceError):
        grid.reserve(1)


def test_the_limit_of_blocks_is_no_space(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lsmcli.engine.grid.BLOCK_COUNT_MAX", 10)
    grid = grid_new(5)
    with pytest.raises(NoSpaceError, match="limit of 10 blocks"):
        grid.reserve(11)
    assert len(grid.reserve(10)) == 10


def test_an_extent_uses_the_free_end_of_the_grid() -> None:
    grid = grid_new(4)
    write(grid)
    storage_of(grid).size_max = grid.offset(12)
    assert grid.acquire_extent(10) == 2
    assert free_set_of(grid).count_free == 0


def test_what_is_not_in_use_cannot_be_given_back() -> None:
    grid = grid_new(4)
    reference = write_twin(grid)
    for addresses in ((1, 3), (0,), (5,), (1 << 63,), (2, 1, 2)):
        with pytest.raises(DamageError) as caught:
            grid.release_all(addresses)
        assert caught.value.zone == "free set"
        assert free_set_of(grid).count_released == 0
    grid.release_reference(reference)
    assert free_set_of(grid).count_released == 2
    with pytest.raises(DamageError):
        grid.release(1)


def test_recovery_finds_blocks_that_were_added_after_the_checkpoint() -> None:
    grid = grid_new(2)
    reservation = grid.reserve(6)
    written = [grid.write(grid.acquire(reservation), BlockKind.LARGE, BODY) for _ in range(6)]
    recovered = grid_reopened(grid, block_count=2)
    recovered.attach_free_set(FreeSet(2))
    for reference in (written[4], written[0], written[4]):
        recovered.mark_acquired(reference.address, BlockKind.LARGE)
        assert body(recovered.read(reference, BlockKind.LARGE)) == BODY
    assert list(free_set_of(recovered).acquired_addresses()) == [1, 5]
    assert recovered.block_count == free_set_of(recovered).block_count == 5


def test_recovery_refuses_blocks_that_the_file_does_not_have() -> None:
    grid = grid_new(2)
    write(grid)
    grid.release(1)
    for address in (0, 1, 3, 1 << 63):
        with pytest.raises(DamageError) as caught:
            grid.mark_acquired(address, BlockKind.LARGE)
        assert caught.value.zone == "large value"
    assert grid.block_count == 2


def test_shrinking_keeps_the_file_long_until_the_superblock_is_durable() -> None:
    grid = grid_new(10)
    reference = write(grid)
    assert grid.shrink_begin(keep=2) == grid.block_count == 3
    assert storage_of(grid).size() == grid.offset(11)
    grid.shrink_finish()
    assert storage_of(grid).size() == grid.offset(4)
    assert body(grid.read(reference, VALUE)) == BODY
    grid.shrink_finish()
    assert storage_of(grid).size() == grid.offset(4)


def test_growing_between_the_two_steps_of_shrinking_is_not_cut() -> None:
    grid = grid_new(10)
    write(grid)
    grid.shrink_begin()
    reference = write(grid)
    grid.shrink_finish()
    assert storage_of(grid).size() == grid.offset(grid.block_count + 1)
    assert body(grid.read(reference, VALUE)) == BODY


def test_long_runs_agree_with_a_dict(rng: random.Random) -> None:
    grid = grid_new(0, cache_size=20 * BLOCK_SIZE)
    live: dict[BlockReference, bytes] = {}
    waiting: list[set[int]] = [set(), set()]
    for step in range(1500):
        action = rng.randrange(10)
        if action < 4:
            new = rng.randbytes(rng.randrange(grid.body_size_max + 1))
            reference = (write_twin if rng.randrange(2) else write)(grid, new)
            kind = MANIFEST if reference.address_twin else VALUE
            assert not {reference.address, reference.address_twin} & (waiting[0] | waiting[1])
            live[reference] = new
        elif action < 7 and live:
            reference = rng.choice(list(live))
            kind = MANIFEST if reference.address_twin else VALUE
            assert grid.block(reference, kind, body) == live[reference]
        elif action < 9 and live:
            reference = rng.choice(list(live))
            del live[reference]
            grid.release_reference(reference)
            waiting[1] |= {reference.address, reference.address_twin} - {0}
        elif step % 3 == 0:
            grid.shrink_begin()
            free_set_of(grid).checkpoint_durable(graduate=True)
            grid.shrink_finish()
            waiting = [waiting[1], set()]
    addresses = {address for reference in live for address in reference[:2]} - {0}
    assert set(free_set_of(grid).acquired_addresses()) == addresses
    reader = grid_reopened(grid)
    for reference, expected in live.items():
        assert body(reader.read(reference, MANIFEST if reference.address_twin else VALUE)) == expected
