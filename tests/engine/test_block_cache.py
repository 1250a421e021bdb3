"""The cache against what it promises: never the wrong object, never more bytes than allowed, the used ones stay."""

import random

from lsmcli.engine.block_cache import ENTRY_OVERHEAD, BlockCache
from lsmcli.engine.schema import BlockKind

VALUE, INDEX = BlockKind.VALUE, BlockKind.INDEX
SUM_A, SUM_B = b"a" * 16, b"b" * 16
WEIGHT = 1000 + ENTRY_OVERHEAD


def cache_for(count: int) -> BlockCache:
    """A cache whose two generations take `count` blocks of 1000 bytes in all."""
    return BlockCache(count * WEIGHT)


def put(cache: BlockCache, *addresses: int) -> None:
    for address in addresses:
        cache.put(address, SUM_A, VALUE, f"block {address}", 1000)


def cached(cache: BlockCache, *addresses: int) -> list[int]:
    return [address for address in addresses if cache.get(address, SUM_A, VALUE) == f"block {address}"]


def test_what_was_put_is_found() -> None:
    cache = cache_for(4)
    put(cache, 7)
    assert cached(cache, 7, 8) == [7]
    assert (cache.hits, cache.misses) == (1, 1)


def test_another_checksum_is_a_miss() -> None:
    cache = cache_for(4)
    put(cache, 7)
    assert cache.get(7, SUM_B, VALUE) is None
    assert cached(cache, 7) == [7]


def test_another_kind_is_a_miss() -> None:
    cache = cache_for(4)
    put(cache, 7)
    assert cache.get(7, SUM_A, INDEX) is None


def test_a_reused_block_takes_the_place_of_the_old_one() -> None:
    cache = cache_for(4)
    put(cache, 7)
    cache.put(7, SUM_B, INDEX, "new", 1000)
    assert cached(cache, 7) == []
    assert cache.get(7, SUM_B, INDEX) == "new"
    assert (len(cache), cache.size) == (1, WEIGHT)


def test_what_is_used_outlives_what_is_not() -> None:
    cache = cache_for(8)
    put(cache, 1, 2)
    for address in range(10, 40):
        put(cache, address)
        assert cached(cache, 1) == [1]
    assert cached(cache, 2) == []


def test_the_latest_half_is_there() -> None:
    cache = cache_for(8)
    put(cache, *range(100))
    assert cached(cache, *range(96, 100)) == [96, 97, 98, 99]
    assert len(cache) <= 8


def test_removed_blocks_are_gone_from_both_generations() -> None:
    cache = cache_for(4)
    put(cache, 1, 2, 3)
    for address in (1, 3, 99):
        cache.remove(address)
    assert cached(cache, 1, 2, 3) == [2]
    assert cache.size == WEIGHT
    cache.clear()
    assert (len(cache), cache.size) == (0, 0)


def test_something_too_heavy_is_not_kept_nor_is_what_it_replaces() -> None:
    cache = cache_for(4)
    put(cache, 1, 2)
    cache.put(1, SUM_A, VALUE, "heavy", 3 * WEIGHT)
    assert cached(cache, 1, 2) == [2]
    assert cache.size == WEIGHT


def test_a_cache_of_no_size_keeps_nothing() -> None:
    cache = BlockCache(0)
    put(cache, 1)
    assert cached(cache, 1) == []


def test_against_a_plain_dict(rng: random.Random) -> None:
    cache = BlockCache(50_000)
    model: dict[int, tuple[bytes, BlockKind, object]] = {}
    for _ in range(20_000):
        address, kind = rng.randrange(60), rng.choice((VALUE, INDEX))
        checksum = bytes([rng.randrange(3)]) * 16
        match rng.randrange(8):
            case 0:
                cache.remove(address)
                model.pop(address, None)
            case 1 | 2 | 3:
                decoded, size = object(), rng.randrange(5000)
                cache.put(address, checksum, kind, decoded, size)
                model[address] = (checksum, kind, decoded)
            case _:
                found = cache.get(address, checksum, kind)
                assert found is None or model[address] == (checksum, kind, found)
        entries = [*cache._young.values(), *cache._old.values()]
        assert cache.size == sum(entry[3] for entry in entries) <= cache.size_max
        assert not cache._young.keys() & cache._old.keys()
    assert cache.hits > 100
