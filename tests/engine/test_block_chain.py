"""Chains: payloads of every size come back, and no lie in a reference or a link gets through."""

import random
from typing import Any

import pytest

from lsmcli.engine import free_set as free_sets
from lsmcli.engine.block_chain import (
    PAYLOAD_OFFSET,
    chain_addresses,
    chain_block_count,
    chain_capacity,
    iterate_chain,
    read_chain,
    read_free_set,
    release_chain,
    write_chain,
    write_free_set,
)
from lsmcli.engine.block_header import HEADER_SIZE
from lsmcli.engine.checksum import checksum
from lsmcli.engine.constants import BLOCK_SIZE_DEFAULT, GRID_OFFSET
from lsmcli.engine.errors import DamageError, NoSpaceError
from lsmcli.engine.free_set import BLOCK_COUNT_MAX, FreeSet
from lsmcli.engine.grid import Grid
from lsmcli.engine.schema import (
    BLOCK_HEADER,
    CHAIN_HEAD,
    CHAIN_NONE,
    BlockKind,
    BlockReference,
    ChainHead,
    ChainReference,
)
from tests.testing.grid import BLOCK_SIZE, MemoryStorage, grid_new, grid_reopened

LARGE, FREE_SET = BlockKind.LARGE, BlockKind.FREE_SET
CAPACITY = chain_capacity(BLOCK_SIZE)


@pytest.fixture(autouse=True)
def verify(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(free_sets, "VERIFY", True)


def payload_of(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def storage_of(grid: Grid) -> MemoryStorage:
    assert isinstance(grid.storage, MemoryStorage)
    return grid.storage


def free_set_of(grid: Grid) -> FreeSet:
    assert grid.free_set is not None
    return grid.free_set


def write(grid: Grid, size: int, *, twins: bool = False) -> ChainReference:
    return write_chain(grid, LARGE, payload_of(size), twins=twins, tree_id=2, op=77)


def addresses(grid: Grid, chain: ChainReference, kind: BlockKind = LARGE) -> list[int]:
    return list(chain_addresses(grid, chain, kind))


def refuses(grid: Grid, chain: ChainReference) -> None:
    """Whoever touches the chain is told of damage to a large value, and nothing is released."""
    before = free_set_of(grid).encode()
    for use in (read_chain, addresses, release_chain):
        with pytest.raises(DamageError) as caught:
            use(grid, chain, LARGE)
        assert caught.value.zone == "large value"
        assert "\n" not in str(caught.value)
    assert free_set_of(grid).encode() == before


def forge(grid: Grid, links: list[int], position: int, payload: bytes | None = None, **changes: Any) -> bytes:
    """Changes the head of one link, then mends all checksums from there up to the chain's head: the
    checksum for the ChainReference. `links` are the addresses in reading order."""
    data = storage_of(grid).data
    mended = b""
    for index in reversed(range(position + 1)):
        offset = grid.offset(links[index])
        header = BLOCK_HEADER.unpack(data, offset)
        body = bytes(data[offset + HEADER_SIZE : offset + header.size])
        head = CHAIN_HEAD.unpack(body)
        head = head._replace(**changes) if index == position else head._replace(next_checksum=mended)
        rest = body[CHAIN_HEAD.size :] if payload is None or index != position else payload
        body = CHAIN_HEAD.pack(head) + rest
        size = HEADER_SIZE + len(body)
        packed = BLOCK_HEADER.pack(header._replace(checksum_body=checksum(body), size=size, size_decoded=size))[16:]
        mended = checksum(packed)
        data[offset : offset + size] = mended + packed + body
    return mended


@pytest.mark.parametrize(
    ("payload_size", "links"),
    [(0, 0), (1, 1), (CAPACITY - 1, 1), (CAPACITY, 1), (CAPACITY + 1, 2), (2 * CAPACITY, 2), (2 * CAPACITY + 1, 3)],
)
@pytest.mark.parametrize("twins", [False, True], ids=["single", "twins"])
def test_a_payload_comes_back(payload_size: int, links: int, twins: bool) -> None:
    grid = grid_new(1)
    chain = write(grid, payload_size, twins=twins)
    assert chain_block_count(payload_size, BLOCK_SIZE) == chain.block_count == links
    assert (chain.size, chain.op) == (payload_size, 77 if payload_size else 0)
    reader = grid_reopened(grid)
    assert read_chain(reader, chain, LARGE) == payload_of(payload_size)
    pieces = [len(piece) for piece in iterate_chain(reader, chain, LARGE)]
    assert pieces == [CAPACITY] * (links - 1) + [payload_size - (links - 1) * CAPACITY] * (links > 0)
    assert sorted(addresses(reader, chain)) == list(free_set_of(grid).acquired_addresses())
    assert free_set_of(grid).count_acquired == links * (2 if twins else 1)
    assert free_set_of(grid).count_reserved == 0
    release_chain(grid, chain, LARGE)
    assert free_set_of(grid).count_acquired == 0


@pytest.mark.parametrize("twins", [False, True], ids=["single", "twins"])
def test_a_long_chain(twins: bool) -> None:
    grid = grid_new()
    size = 300 * CAPACITY + 17
    chain = write(grid, size, twins=twins)
    assert read_chain(grid, chain, LARGE) == payload_of(size)
    assert len(set(addresses(grid, chain))) == 301 * (2 if twins else 1)


def test_the_largest_value_fits_a_chain_reference() -> None:
    assert chain_capacity(BLOCK_SIZE_DEFAULT) == 32_624
    assert chain_block_count(1 << 30, BLOCK_SIZE_DEFAULT) == 32_913


def test_nothing_is_nothing() -> None:
    grid = grid_new(1)
    assert write(grid, 0) == CHAIN_NONE
    assert read_chain(grid, CHAIN_NONE, LARGE) == b""
    release_chain(grid, CHAIN_NONE, LARGE)


def test_a_chain_lies_in_reading_order_and_its_twins_behind_it() -> None:
    grid = grid_new(10)
    assert addresses(grid, write(grid, 3 * CAPACITY, twins=True)) == [1, 4, 2, 5, 3, 6]


def test_every_block_knows_its_tree_and_op() -> None:
    grid = grid_new(10)
    chain = write(grid, 10)
    header = grid.read_header(BlockReference(chain.address, 0, chain.checksum), LARGE)
    assert (header.tree_id, header.snapshot) == (2, 77)


def test_addresses_of_a_chain_cost_its_heads_only() -> None:
    grid = grid_new(10)
    chain = write(grid, 9 * CAPACITY)
    storage_of(grid).bytes_read = 0
    assert len(addresses(grid, chain)) == 9
    assert storage_of(grid).bytes_read == 9 * PAYLOAD_OFFSET


def test_a_chain_is_read_in_bounded_memory_with_a_hint_for_the_next_link() -> None:
    grid = grid_new(10)
    chain = write(grid, 9 * CAPACITY)
    storage_of(grid).bytes_read = 0
    for count, _ in enumerate(iterate_chain(grid, chain, LARGE), 1):
        assert storage_of(grid).bytes_read == count * BLOCK_SIZE
    assert storage_of(grid).prefetched == [grid.offset(address) for address in range(2, 10)]


def test_a_full_disk_leaves_no_block_behind() -> None:
    grid = grid_new(3)
    storage_of(grid).size_max = len(storage_of(grid).data)
    with pytest.raises(NoSpaceError):
        write(grid, 3 * CAPACITY + 1)
    assert free_set_of(grid).count_free == 3


def test_a_write_that_fails_half_way_releases_what_it_took(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = grid_new(9)
    real, calls = storage_of(grid).write, []

    def write_twice(offset: int, data: bytes) -> None:
        calls.append(offset)
        if len(calls) > 2:
            raise NoSpaceError("full")
        real(offset, data)

    monkeypatch.setattr(grid.storage, "write", write_twice)
    with pytest.raises(NoSpaceError):
        write(grid, 4 * CAPACITY)
    assert (free_set_of(grid).count_acquired, free_set_of(grid).count_reserved) == (0, 0)


# Lies


def test_every_flipped_byte_of_a_link_is_found() -> None:
    grid = grid_new(4)
    chain = write(grid, CAPACITY + 60)
    data = storage_of(grid).data
    for link in (1, 2):
        for index in range(PAYLOAD_OFFSET + 60):
            data[grid.offset(link) + index] ^= 0x40
            with pytest.raises(DamageError):
                read_chain(grid, chain, LARGE)
            data[grid.offset(link) + index] ^= 0x40


def test_no_flipped_byte_makes_the_addresses_wrong() -> None:
    grid = grid_new(4)
    chain = write(grid, 2 * CAPACITY + 60)
    data = storage_of(grid).data
    found = 0
    for link in (1, 2, 3):
        for index in range(PAYLOAD_OFFSET):
            data[grid.offset(link) + index] ^= 0x40
            try:
                assert addresses(grid, chain) == [1, 2, 3]
            except DamageError:
                found += 1
            data[grid.offset(link) + index] ^= 0x40
    assert found >= 3 * HEADER_SIZE + 3 * 32


def test_a_bad_copy_of_each_link_is_answered_from_its_twin() -> None:
    grid = grid_new(9)
    chain = write(grid, 2 * CAPACITY + 60, twins=True)
    data = storage_of(grid).data
    for link, index in ((1, 5), (2, HEADER_SIZE + 2), (6, PAYLOAD_OFFSET + 7)):
        data[grid.offset(link) + index] ^= 0x40
    assert read_chain(grid, chain, LARGE) == payload_of(2 * CAPACITY + 60)
    assert addresses(grid, chain) == [1, 4, 2, 5, 3, 6]
    assert grid.repair() == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"size": 2 * CAPACITY + 61},
        {"size": 2 * CAPACITY + 59},
        {"size": 0},
        {"size": (1 << 64) - 1},
        {"block_count": 2},
        {"block_count": 4},
        {"block_count": 0},
        {"block_count": 0xFFFF_FFFF},
        {"size": 0xFFFF_FFFF * CAPACITY, "block_count": 0xFFFF_FFFF},
        {"size": CAPACITY, "block_count": 1},
        {"size": 4 * CAPACITY, "block_count": 4},
        {"address": 0},
        {"address": 2},
        {"address": 1 << 62},
        {"address_twin": 2},
        {"checksum": bytes(16)},
    ],
    ids=str,
)
def test_a_reference_that_lies_is_damage(changes: dict[str, Any]) -> None:
    grid = grid_new(9)
    chain = write(grid, 2 * CAPACITY + 60)._replace(**changes)
    with pytest.raises(DamageError):
        read_chain(grid, chain, LARGE)
    assert storage_of(grid).bytes_read <= 5 * BLOCK_SIZE


def test_a_reference_to_more_blocks_than_the_file_has_is_refused_unread() -> None:
    grid = grid_new(9)
    chain = write(grid, 2 * CAPACITY + 60)
    for count in (10, 0xFFFF_FFFF):
        refuses(grid, chain._replace(size=count * CAPACITY, block_count=count))
    assert storage_of(grid).bytes_read == 0


def test_a_chain_of_which_only_a_part_has_twins_is_damage() -> None:
    grid = grid_new(9)
    rest = write(grid, 60, twins=True)
    head = CHAIN_HEAD.pack(ChainHead(rest.address, rest.address_twin, rest.checksum, 0, 1, 0))
    block = grid.write(grid.acquire(grid.reserve(1)), LARGE, head + payload_of(CAPACITY))
    refuses(grid, ChainReference(*block, size=CAPACITY + 60, block_count=2, reserved=0, op=1))


def test_a_size_that_lies_within_the_last_link_is_found_by_reading() -> None:
    grid = grid_new(9)
    chain = write(grid, 60)
    for size in (59, 61):
        with pytest.raises(DamageError, match="60 bytes of a chain"):
            read_chain(grid, chain._replace(size=size), LARGE)


@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize(
    "changes",
    [{"index": 7}, {"index": 0xFFFF_FFFF}, {"next_address": 1}, {"next_address": 99}, {"next_address_twin": 5}],
    ids=str,
)
def test_a_forged_link_with_good_checksums_is_damage(position: int, changes: dict[str, Any]) -> None:
    grid = grid_new(9)
    chain = write(grid, 2 * CAPACITY + 60)
    refuses(grid, chain._replace(checksum=forge(grid, [1, 2, 3], position, **changes)))


def test_a_chain_that_ends_early_or_goes_on_is_damage() -> None:
    grid = grid_new(9)
    chain = write(grid, 2 * CAPACITY + 60)
    ended = forge(grid, [1, 2, 3], 1, next_address=0, next_checksum=bytes(16))
    refuses(grid, chain._replace(checksum=ended))
    grid = grid_new(9)
    chain = write(grid, 2 * CAPACITY + 60)
    refuses(grid, chain._replace(checksum=forge(grid, [1, 2, 3], 2, next_checksum=b"x" * 16)))


@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize("payload_size", [0, 1, 59, 61, CAPACITY - 1])
def test_a_link_of_another_size_is_damage(position: int, payload_size: int) -> None:
    grid = grid_new(9)
    chain = write(grid, 2 * CAPACITY + 60)
    forged = chain._replace(checksum=forge(grid, [1, 2, 3], position, payload=bytes(payload_size)))
    with pytest.raises(DamageError):
        read_chain(grid, forged, LARGE)


def test_a_block_too_short_for_a_link_is_damage() -> None:
    grid = grid_new(9)
    block = grid.write(grid.acquire(grid.reserve(1)), LARGE, b"short")
    refuses(grid, ChainReference(*block, size=5, block_count=1, reserved=0, op=1))


def test_a_chain_that_was_released_cannot_be_released_again() -> None:
    grid = grid_new(9)
    chain = write(grid, 2 * CAPACITY)
    grid.release(2)
    with pytest.raises(DamageError):
        release_chain(grid, chain, LARGE)
    assert free_set_of(grid).is_acquired(1)


def test_recovery_follows_a_chain_that_was_added_after_the_checkpoint() -> None:
    grid = grid_new(1)
    chain = write(grid, 5 * CAPACITY)
    recovered = grid_reopened(grid, block_count=1)
    assert read_chain(recovered, chain, LARGE) == payload_of(5 * CAPACITY)
    recovered.attach_free_set(FreeSet(1))
    for address in chain_addresses(recovered, chain, LARGE):
        recovered.mark_acquired(address, LARGE)
    assert list(free_set_of(recovered).acquired_addresses()) == [1, 2, 3, 4, 5]


# The free set


def used(free_set: FreeSet) -> list[int]:
    return list(free_set.acquired_addresses())


def test_the_free_set_of_an_unused_grid_is_nothing() -> None:
    grid = grid_new(5)
    assert write_free_set(grid, op=1) == CHAIN_NONE
    assert grid.block_count == 0
    assert used(read_free_set(grid_reopened(grid), CHAIN_NONE)) == []


def test_the_free_set_comes_back_with_its_own_blocks() -> None:
    grid = grid_new(20)
    write(grid, 3 * CAPACITY)
    grid.release(2)
    chain = write_free_set(grid, op=9, keep=4)
    assert addresses(grid, chain, FREE_SET) == [4, 5]
    assert grid.block_count == 9
    reopened = grid_reopened(grid)
    reopened.attach_free_set(read_free_set(reopened, chain))
    assert used(free_set_of(reopened)) == [1, 3, 4, 5] == used(free_set_of(grid))


@pytest.mark.parametrize("block_count", [BLOCK_COUNT_MAX + 1, 1 << 60])
def test_a_grid_too_large_to_track_is_damage(block_count: int) -> None:
    with pytest.raises(DamageError):
        read_free_set(grid_reopened(grid_new(1), block_count=block_count), CHAIN_NONE)


@pytest.mark.parametrize("address", [4, 5])
def test_the_free_set_survives_one_bad_copy(address: int) -> None:
    grid = grid_new(9)
    write(grid, 3 * CAPACITY)
    chain = write_free_set(grid, op=9)
    storage_of(grid).data[grid.offset(address) + 1] ^= 1
    assert used(read_free_set(grid_reopened(grid), chain)) == [1, 2, 3, 4, 5]


def test_a_free_set_that_claims_its_own_blocks_is_damage() -> None:
    grid = grid_new(9)
    encoded = FreeSet.open(9, b"\0\0\0\0\x09\0\0\0").encode()
    chain = write_chain(grid, FREE_SET, encoded, twins=True, op=1)
    with pytest.raises(DamageError, match="block of its own"):
        read_free_set(grid_reopened(grid), chain)


def test_what_the_free_set_reserves_and_does_not_need_is_given_back() -> None:
    grid = grid_new(4000)
    grid.acquire_extent(2000)
    assert chain_block_count(free_set_of(grid).encoded_size_max(), BLOCK_SIZE) == 5
    assert write_free_set(grid, op=9, keep=4000).block_count == 1
    assert free_set_of(grid).count_reserved == 0


def test_a_free_set_of_many_links() -> None:
    grid = grid_new(3000)
    grid.acquire_extent(3000)
    for address in range(1, 3000, 2):
        grid.release(address)
    chain = write_free_set(grid, op=9)
    assert chain.block_count == chain_block_count(1500 * 8, BLOCK_SIZE) == 4
    assert used(read_free_set(grid_reopened(grid), chain)) == used(free_set_of(grid))


def test_checkpoint_after_checkpoint_every_block_is_accounted_for(rng: random.Random) -> None:
    grid = grid_new()
    free_set_chain = CHAIN_NONE
    live: list[ChainReference] = []
    for op in range(1, 60):
        live += [write(grid, rng.randrange(1, 6 * CAPACITY)) for _ in range(rng.randrange(4))]
        for _ in range(rng.randrange(4)):
            if live:
                release_chain(grid, live.pop(rng.randrange(len(live))), LARGE)
        release_chain(grid, free_set_chain, FREE_SET)
        free_set_chain = write_free_set(grid, op=op, keep=rng.randrange(9))
        free_set_of(grid).checkpoint_durable(graduate=rng.randrange(4) > 0)
        grid.shrink_finish()
        assert storage_of(grid).size() == GRID_OFFSET + grid.block_count * BLOCK_SIZE
        reopened = grid_reopened(grid)
        reachable = [address for chain in live for address in addresses(reopened, chain)]
        reachable += addresses(reopened, free_set_chain, FREE_SET)
        assert used(read_free_set(reopened, free_set_chain)) == sorted(reachable) == used(free_set_of(grid))
        for chain in live[:2]:
            assert read_chain(reopened, chain, LARGE) == payload_of(chain.size)
