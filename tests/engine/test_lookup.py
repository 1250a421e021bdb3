"""Point lookups out of memory, interpreted and compiled: right or PERHAPS, whatever keys and blocks there are."""

import random
import threading
from bisect import bisect_left
from itertools import pairwise
from types import ModuleType
from typing import Any

import pytest

from lsmcli.engine.index_block import (
    IndexBlock,
    encode_index_block,
    fingerprint,
    fingerprints_packed,
    references_packed,
)
from lsmcli.engine.lookup_interpreted import PERHAPS
from lsmcli.engine.op_path import OpGate
from lsmcli.engine.schema import FLAG_LARGE, FLAG_TOMBSTONE, BlockKind, BlockReference
from lsmcli.engine.value_block import StoredValue, ValueBlock, encode_value_block
from tests.testing.tables import columns_from, large, raw_block
from tests.testing.twins import twins

both = pytest.mark.parametrize("loops", twins("lsmcli.engine.lookup"))
either_lock = pytest.mark.parametrize("lock", [threading.RLock, OpGate], ids=["plain", "gate"])

KEY_SIZE_MAX = 40
Items = list[tuple[bytes, StoredValue]]


class Lookup:
    """A tree's lookup over tables that were made for it, and all that it holds, within reach of a test."""

    def __init__(
        self, loops: ModuleType, *levels: list[Items], mutable: Any = None, immutable: Any = None, lock: Any = None
    ) -> None:
        self.loops = loops
        self.age = loops.CacheAge()
        self.lock = lock or threading.RLock()
        self.memory = [mutable or {}, immutable or {}]
        self.tables: list[Any] = []  # slots of index blocks
        self.blocks: list[Any] = []  # slots of value blocks
        self.raws: list[bytes] = []  # of the value blocks
        self.lookup = loops.TreeLookup()
        self.levels = [self._level(tables) for tables in levels if tables]
        self.load()
        self.get, self.get_many = self.lookup.get, self.lookup.get_many

    def load(self) -> None:
        self.lookup.load(self.lock, self.memory, self.levels, self.age, KEY_SIZE_MAX)

    def _level(self, tables: list[Items]) -> Any:
        slots = [self._table(items) for items in tables]
        self.tables += slots
        return self.loops.LevelSearch([items[0][0] for items in tables], [items[-1][0] for items in tables], slots)

    def _table(self, items: Items, per_block: int = 5) -> Any:
        blocks = [columns_from(items[start : start + per_block]) for start in range(0, len(items), per_block)]
        index = IndexBlock(
            raw_block(
                BlockKind.INDEX,
                encode_index_block(
                    references_packed(BlockReference(i + 1, 0, bytes(16)) for i in range(len(blocks))),
                    [len(block.keys) for block in blocks],
                    bytes(len(blocks)),
                    [block.keys[-1] for block in blocks],
                    b"".join(fingerprints_packed(block.keys) for block in blocks),
                    tombstone_count=0,
                    large_count=0,
                    block_size=1 << 15,
                ),
            )
        )
        search = self.loops.TableSearch(index._raw, items[0][0], index.keys_last, index._fingerprint_starts)
        slot = self.loops.BlockSlot(self.age.generation)
        slot.table = search
        for i, block in enumerate(blocks):
            raw = raw_block(BlockKind.VALUE, encode_value_block(*block, 1 << 15))
            search.put(i, self.value_slot(raw))
        return slot

    def value_slot(self, raw: bytes) -> Any:
        slot = self.loops.BlockSlot(self.age.generation)
        ValueBlock(raw).fill_slot(slot)
        self.blocks.append(slot)
        self.raws.append(raw)
        return slot


def items_of(keys: list[bytes], rng: random.Random) -> Items:
    """Values, tombstones and values out of line for keys in any order."""
    draw: list[StoredValue] = [None, large(3), b"", b"value"]
    return [(key, rng.choice([*draw, rng.randbytes(20), rng.randbytes(90)])) for key in sorted(set(keys))]


def parted(items: Items, rng: random.Random) -> list[Items]:
    """A level's tables: all items, in neighbouring runs."""
    fences = sorted({0, len(items), *(rng.randrange(len(items) + 1) for _ in range(4))})
    return [items[a:b] for a, b in pairwise(fences)]


def keys_random(rng: random.Random) -> list[bytes]:
    """Keys that share beginnings, end in zeros, or are beginnings of each other: what numbers might mistake."""
    kind = rng.randrange(5)
    if kind == 0:
        return [b"%016d" % rng.randrange(300) for _ in range(120)]
    if kind == 1:
        return [bytes(rng.choices([0, 1, 255], k=rng.randint(1, 12))) for _ in range(150)]
    if kind == 2:
        shared = rng.randbytes(rng.randint(1, 20))
        return [shared[: rng.randint(1, len(shared))] + rng.randbytes(rng.randint(0, 10)) for _ in range(120)]
    if kind == 3:
        return [b"k" * rng.randint(1, KEY_SIZE_MAX) for _ in range(60)]
    return [rng.randbytes(rng.randint(1, KEY_SIZE_MAX)) for _ in range(rng.choice([1, 2, 200]))]


def answer(sources: list[dict[bytes, StoredValue]], key: bytes) -> Any:
    """The naive lookup: the newest source that has the key."""
    for source in sources:
        if key in source:
            value = source[key]
            return value if value is None or (isinstance(value, bytes) and not isinstance(value, tuple)) else PERHAPS
    return None


@both
def test_the_newest_entry_is_found_and_nothing_else(loops: ModuleType, rng: random.Random) -> None:
    for _ in range(40):
        keys = keys_random(rng)
        sources = [dict(items_of(rng.choices(keys, k=rng.randrange(len(keys) + 1)), rng)) for _ in range(5)]
        levels = [parted(sorted(source.items()), rng) if source else [] for source in sources[2:]]
        lookup = Lookup(loops, *levels, mutable=sources[0], immutable=sources[1])
        asked = [*keys, *keys_random(rng), *(key[:-1] + bytes(1) for key in keys), *(key[:39] + b"\0" for key in keys)]
        expected = [answer(sources, key) for key in asked]
        assert [lookup.get(key) for key in asked] == expected
        assert lookup.get_many(asked) == (expected, [i for i, value in enumerate(expected) if value is PERHAPS])


@both
def test_keys_of_equal_fingerprint_in_one_block_are_told_apart(loops: ModuleType) -> None:
    by_mark: dict[int, list[bytes]] = {}
    same: list[bytes] = []
    for number in range(200_000):
        key = b"%d" % number
        same = by_mark.setdefault(fingerprint(key), [])
        same.append(key)
        if len(same) == 4:
            break
    # The fourth is absent, and so is not told from the others before their keys are compared.
    lookup = Lookup(loops, [[(key, b"value of " + key) for key in sorted(same[:3])]])
    assert lookup.get_many(same)[0] == [b"value of " + key for key in same[:3]] + [None]
    assert lookup.get(same[3]) is None


@both
def test_a_fingerprint_of_two_halves_of_neighbours_is_none(loops: ModuleType, rng: random.Random) -> None:
    """Every key there is of one byte, against blocks of all the others: bytes in a row look like any mark."""
    for _ in range(50):
        present = sorted(rng.sample([bytes((i,)) for i in range(256)], 100))
        lookup = Lookup(loops, [[(key, key) for key in present]])
        for key in (bytes((i,)) for i in range(256)):
            assert lookup.get(key) == (key if key in present else None)


@both
@pytest.mark.parametrize("count", [1, 31, 32, 33, 63, 64, 65, 255])
def test_every_entry_of_a_block_of_any_length_is_found(loops: ModuleType, count: int) -> None:
    items: Items = [(b"%05d" % i, b"%d" % i) for i in range(count)]
    lookup = Lookup(loops)
    lookup.levels = [loops.LevelSearch([items[0][0]], [items[-1][0]], [lookup._table(items, per_block=count)])]
    lookup.load()
    for key, value in items:
        assert lookup.get(key) == value
        assert lookup.get(key + b"+") is None


@both
def test_what_is_no_key_is_left_to_others(loops: ModuleType) -> None:
    lookup = Lookup(loops, mutable={b"a": b"1"})
    wrong = [b"", b"k" * (KEY_SIZE_MAX + 1), "a", None, 7, bytearray(b"a"), memoryview(b"a")]
    assert [lookup.get(key) for key in wrong] == [PERHAPS] * len(wrong)
    assert lookup.get_many([*wrong, b"a"]) == ([*[PERHAPS] * len(wrong), b"1"], list(range(len(wrong))))
    assert lookup.get_many([]) == ([], [])


@both
def test_without_being_loaded_nothing_is_known(loops: ModuleType) -> None:
    lookup = Lookup(loops, mutable={b"a": b"1"})
    lookup.lookup.fresh = False
    for blank in (loops.TreeLookup(), lookup.lookup):
        assert blank.get(b"a") is PERHAPS
        assert blank.get_many([b"a", b"b"]) == ([PERHAPS, PERHAPS], [0, 1])
    lookup.load()
    assert lookup.get(b"a") == b"1"


@both
def test_a_block_that_is_not_at_hand_is_asked_for_only_where_it_matters(loops: ModuleType, rng: random.Random) -> None:
    """Of three levels some blocks go away: each answer is the one of before, or PERHAPS; and what had been found
    without such a block still is."""
    keys = [b"%03d" % i for i in range(0, 300, 3)]
    sources = [dict(items_of(rng.sample(keys, 60), rng)) for _ in range(3)]
    lookup = Lookup(loops, *([sorted(source.items())] for source in sources))
    asked = [b"%03d" % i for i in range(300)]
    before = [lookup.get(key) for key in asked]
    assert before == [answer(sources, key) for key in asked]
    lookup.load()  # nothing is known of what was found before
    for slot in rng.sample(lookup.blocks, 8):
        slot.shut()
    after = [lookup.get(key) for key in asked]
    assert all(new is PERHAPS or new == old for old, new in zip(before, after, strict=True))
    assert before.count(PERHAPS) < after.count(PERHAPS) < before.count(PERHAPS) + 60
    assert lookup.get_many(asked)[0] == after
    lookup.tables[0].shut()
    lookup.load()
    spanned = range(bisect_left(asked, min(sources[0])), bisect_left(asked, max(sources[0])) + 1)
    assert all((lookup.get(asked[i]) is PERHAPS) for i in spanned)


@both
def test_what_belongs_to_an_older_generation_of_the_cache_is_asked_for(loops: ModuleType) -> None:
    lookup = Lookup(loops, [[(b"a", b"1"), (b"b", b"2")]])
    assert lookup.get(b"a") == b"1"
    assert lookup.age.hits == (2 if loops.COMPILED else 4)  # done again, for this lock does not tell that it is free
    lookup.load()  # nothing is known of what was found before
    lookup.age.generation += 1
    assert lookup.get(b"a") is PERHAPS
    lookup.tables[0].generation += 1
    lookup.levels[0].put(0, lookup.tables[0])
    assert lookup.get(b"a") is PERHAPS
    assert lookup.get(b"aa") is None  # the index block tells that
    lookup.blocks[0].generation += 1
    assert lookup.get(b"a") == b"1"


@both
def test_crafted_blocks_give_a_part_of_themselves_or_perhaps(loops: ModuleType, rng: random.Random) -> None:
    items: Items = [(b"%03d" % i, b"value %d" % i) for i in range(20)]
    keys = [key for key, _ in items]
    for _ in range(300):
        lookup = Lookup(loops, [items])
        for slot, raw in zip(list(lookup.blocks), list(lookup.raws), strict=True):
            bad = bytearray(raw)
            for _ in range(rng.randint(1, 4)):
                bad[rng.randrange(120, len(bad))] = rng.choice([0, 1, 2, 255, rng.randrange(256)])
            good = ValueBlock(raw)
            offsets = [int.from_bytes(bad[at : at + 2], "little") for at in range(120, 120 + 4 * (good.count + 1), 2)]
            slot.fill_values(bytes(bad), 120, good.count, good._offset_width, offsets, good._values_at)
            lookup.raws.append(bytes(bad))
        for value in [*map(lookup.get, keys), *lookup.get_many(keys)[0]]:
            assert value is PERHAPS or value is None or any(value in raw for raw in lookup.raws)


@both
@pytest.mark.parametrize(("flag", "value"), [(FLAG_TOMBSTONE, b"1"), (FLAG_LARGE, b""), (3, b""), (255, b"")])
def test_flags_that_do_not_fit_are_left_to_others(loops: ModuleType, flag: int, value: bytes) -> None:
    lookup = Lookup(loops, [[(b"a", value)]])
    raw = bytearray(lookup.raws[0])
    raw[120 + 2 * 2 * 2] = flag
    block = ValueBlock(bytes(raw))
    block.fill_slot(lookup.blocks[0])
    assert lookup.get(b"a") is PERHAPS


@both
@either_lock
def test_a_lookup_waits_while_another_thread_is_inside_a_change(loops: ModuleType, lock: Any) -> None:
    lookup = Lookup(loops, mutable={b"a": b"old"}, lock=lock())
    inside, done = threading.Event(), threading.Event()

    def change() -> None:
        with lookup.lock:
            lookup.memory[0][b"a"] = b"half"
            inside.set()
            done.wait(0.05)
            lookup.memory[0][b"a"] = b"new"

    thread = threading.Thread(target=change)
    thread.start()
    inside.wait()
    assert lookup.get(b"a") == b"new"
    thread.join()
    assert lookup.get_many([b"a"]) == ([b"new"], [])


@both
@either_lock
def test_a_lookup_that_waited_notices_that_the_tree_is_another_one(loops: ModuleType, lock: Any) -> None:
    lookup = Lookup(loops, mutable={b"a": b"old"}, lock=lock())
    inside, done = threading.Event(), threading.Event()

    def change() -> None:
        with lookup.lock:
            inside.set()
            done.wait(0.05)
            lookup.lookup.fresh = False

    thread = threading.Thread(target=change)
    thread.start()
    inside.wait()
    assert lookup.get(b"a") is PERHAPS
    thread.join()


def pairs_naively(items: Items, edge: bytes, limit: int, backward: bool) -> list[tuple[bytes, StoredValue]] | None:
    """The first pairs from the edge on, as first_pairs() must give them; None: one of them is no plain value, or there
    are fewer."""
    found = [item for item in items if (item[0] < edge) == backward]
    found = found[::-1][:limit] if backward else found[:limit]
    return found if len(found) == limit and all(type(value) is bytes for _, value in found) else None


@both
def test_the_first_pairs_from_an_edge_on(loops: ModuleType, rng: random.Random) -> None:
    """Right, or None: that within one table nothing but plain values is asked for, and nothing is in memory."""
    answers = 0
    for _ in range(30):
        keys = keys_random(rng)
        items: Items = [(key, rng.choice([None, large(3), b""]) if rng.random() < 0.05 else key) for key in keys]
        items = sorted(dict(items).items())
        tables = parted(items, rng) if rng.random() < 0.5 else [items]
        lookup = Lookup(loops, tables)
        for edge in [*keys, *(key[:-1] for key in keys), *(key + b"\0" for key in keys), b"", b"\xff" * 50]:
            for backward in (False, True):
                limit = rng.choice([1, 2, 5, 12])
                expected = pairs_naively(items, edge, limit, backward)
                found = lookup.lookup.first_pairs(edge, limit, backward)
                assert found is None or found == expected
                assert (found == expected) or not loops.COMPILED or len(tables) > 1
                answers += found is not None
    assert answers > (1000 if loops.COMPILED else 10)


@both
def test_first_pairs_are_none_where_more_than_one_table_matters(loops: ModuleType) -> None:
    items: Items = [(b"%03d" % i, b"value %d" % i) for i in range(20)]

    def first(lookup: Lookup, edge: Any = b"004") -> Any:
        return lookup.lookup.first_pairs(edge, 3)

    expected = items[4:7] if loops.COMPILED else None
    assert first(Lookup(loops, [items])) == expected
    for edge in ("004", 4, None, bytearray(b"004")):
        assert first(Lookup(loops, [items]), edge) is None
    assert first(Lookup(loops, [items], [items])) is None
    assert first(Lookup(loops, [items], mutable={b"x": b"1"})) is None
    assert first(Lookup(loops, [items], immutable={b"x": b"1"})) is None
    assert first(Lookup(loops)) is None
    lookup = Lookup(loops, [items])
    lookup.lookup.fresh = False
    assert first(lookup) is None
    for gone in ("tables", "blocks"):
        lookup = Lookup(loops, [items])
        getattr(lookup, gone)[0].shut()
        assert first(lookup) is None


@both
def test_first_pairs_of_crafted_blocks_ascend_and_are_parts_of_them(loops: ModuleType, rng: random.Random) -> None:
    """Whatever a block holds: pairs ascend, begin at the edge, and keep to the borders that the index block tells."""
    items: Items = [(b"%03d" % i, b"value %d" % i) for i in range(20)]
    answers = 0
    for _ in range(300):
        lookup = Lookup(loops, [items])
        for slot, raw in zip(list(lookup.blocks), list(lookup.raws), strict=True):
            bad = bytearray(raw)
            bad[rng.randrange(120, len(bad))] = rng.choice([0, 1, 2, 255, rng.randrange(256)])
            good = ValueBlock(raw)
            slot.fill_values(bytes(bad), 120, good.count, good._offset_width, good._offsets, good._values_at)
            lookup.raws.append(bytes(bad))
        for backward in (False, True):
            for edge, _ in items:
                found = lookup.lookup.first_pairs(edge, 7, backward)
                if found is None:
                    continue
                answers += 1
                keys = [key for key, _ in found]
                assert len(found) == 7 and all((a < b) != backward and a != b for a, b in pairwise(keys))
                assert all((key < edge) == backward for key in keys)
                assert all(any(key in raw and value in raw for raw in lookup.raws) for key, value in found)
    assert (answers > 100) == loops.COMPILED


@both
@either_lock
def test_first_pairs_wait_while_another_thread_is_inside_a_change(loops: ModuleType, lock: Any) -> None:
    lookup = Lookup(loops, [[(b"a", b"1"), (b"b", b"2")]], lock=lock())
    inside, done = threading.Event(), threading.Event()

    def change() -> None:
        with lookup.lock:
            inside.set()
            done.wait(0.05)
            lookup.lookup.fresh = False

    thread = threading.Thread(target=change)
    thread.start()
    inside.wait()
    assert lookup.lookup.first_pairs(b"a", 1) is None
    thread.join()
