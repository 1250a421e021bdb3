"""Point lookups where there is no compiled code: methods of the classes of lookup.py are functions of this file then.

A level is searched as if all its tables were one, in lists that are put together out of those that are at hand:

    tables             a ... f          g ... m           n ... z     its index block is not at hand
    keys             b  d  f          h  k  m             z           the last key of each block, or of the table
    marks            ..  ..  ..       ..  ..  ..          None        the fingerprints of each block, as text
    slots            o  o  o          o  o  o             -           where each block is

Invariants:
- the same answers as the compiled form, see lookup.py: right, or PERHAPS;
- get() takes no lock where it finds, when it has its answer, that nobody is inside of a change, and that the tree is
  still the one that it looked at. A change that began and ended meanwhile has told so, or was one step for this key;
- the lists of a level are those of one generation of the cache, and forgotten with it: they hold no block that the
  cache has let go;
- `recent` holds values that were found in levels, until the levels change or the cache forgets an index block of
  theirs; memory is asked before. A key comes into it when it is found a second time: `seen` tells, by fingerprint, in
  which block a key was found last.
"""

from bisect import bisect_left
from itertools import pairwise, repeat
from operator import and_
from typing import Any, Final
from zlib import crc32

from lsmcli.engine.missing import MISSING

FLAG_TOMBSTONE: Final = 1  # schema.FLAG_TOMBSTONE

# Values found lately that a tree keeps beside the cache, and the largest key with value: 12 MiB at most.
RECENT_MAX: Final = 1 << 14
RECENT_SIZE_MAX: Final = 512


class Perhaps:
    """The type of PERHAPS: nothing can be said without asking the ordinary way."""

    def __repr__(self) -> str:
        return "PERHAPS"


PERHAPS: Final = Perhaps()


class Busy:
    """Stands for a lock that does not tell whether anybody is inside of it: somebody may be."""

    depth: Final = 1


BUSY: Final = Busy()

# The lists of a level before they are made: generation, keys, marks, slots, tables (None: not at hand).
UNMADE: Final[tuple[Any, ...]] = (-2, [], [], [], [])


def marks_of(raw: bytes, starts: list[int]) -> list[str]:
    """The fingerprints of each block of an index block as text, one character for each.

    C finds a character of two bytes as fast as a byte, but two bytes in a row ten times slower. Some fingerprints are
    halves of surrogate pairs; of four bytes each, they stay by themselves. O(entries): 0.2 ms for 14,000.
    """
    start, stop = starts[0], starts[-1]
    wide = bytearray(2 * (stop - start))
    wide[0::4], wide[1::4] = raw[start:stop:2], raw[start + 1 : stop : 2]
    marks = wide.decode("utf-32-le", "surrogatepass")
    return [marks[(a - start) >> 1 : (b - start) >> 1] for a, b in pairwise(starts)]


def interpret(slot: Any, level: Any, table: Any, tree: Any) -> None:
    """Gives the classes BlockSlot, LevelSearch, TableSearch and TreeLookup of lookup.py what stands here: in the place
    of methods of theirs, or around those that it calls."""
    load, shut = tree.load, slot.shut

    def load_and_view(lookup: Any, lock: Any, memory: list[Any], levels: list[Any], age: Any, size_max: int) -> None:
        lookup.fresh = False
        load(lookup, lock, memory, levels, age, size_max)
        gate = getattr(lock, "plain", None) or BUSY  # a CountedLock, which has depth
        recent: dict[bytes, bytes] = {}
        for each in lookup.levels:
            each.recent = recent
        # One object: as long as the lookup has it, the tree is the same.
        lookup.view = (*memory, recent, bytearray(1 << 16), lookup.levels, age, size_max, gate)

    def shut_and_forget(of: Any) -> None:
        found = of.table
        shut(of)
        if found is not None and found.flat is not None:
            of_level = found.flat[2]
            of_level.flat = UNMADE
            of_level.recent.clear()

    tree.load, tree.get, tree.get_many, tree.first_pairs = load_and_view, get, get_many, first_pairs
    slot.shut = shut_and_forget
    level.put, level.flat, level.recent = put_table, UNMADE, {}  # flat: the lists, see above
    table.put, table.flat = put_block, None  # flat: the slots of the level, where those of the table begin, the level


def get(lookup: Any, key: Any) -> Any:
    """As TreeLookup.get(). 1 µs, of a key that was found lately 0.4. Without the lock, see above, so a block may be
    forgotten meanwhile."""
    if not lookup.fresh or type(key) is not bytes:
        return PERHAPS
    view = lookup.view
    mutable, immutable, recent, seen, levels, age, key_size_max, gate = view
    value: Any = None
    if key in mutable or key in immutable:
        value = mutable.get(key, MISSING)
        if value is MISSING:
            value = immutable.get(key, MISSING)
        if value is not None and type(value) is not bytes:
            value = PERHAPS
    elif key in recent:
        value = recent.get(key, PERHAPS)
    else:
        fingerprint = crc32(key) & 0xFFFF
        mark = chr(fingerprint)
        generation = age.generation
        for level in levels:
            made, keys, marks, slots, _ = level.flat
            if made != generation:
                _, keys, marks, slots, _ = flatten(lookup, view, level, generation)
            at = bisect_left(keys, key)
            here = marks[at]
            if here is None:
                return PERHAPS
            if mark not in here:
                age.hits += 1
                continue
            value = value_in(slots[at], generation, here, mark, key)
            if value is MISSING:
                value = None
                continue
            age.hits += 2
            if seen[fingerprint] != at & 0xFF:
                seen[fingerprint] = at & 0xFF
            elif value.__class__ is bytes and len(value) + len(key) <= RECENT_SIZE_MAX:
                if len(recent) >= RECENT_MAX:
                    recent.clear()
                recent[key] = value
            break
        else:
            if not 0 < len(key) <= key_size_max:
                return PERHAPS
    if lookup.fresh and lookup.view is view and not gate.depth:
        return value
    with lookup.lock:
        return find_many(lookup, lookup.view, [key])[0] if lookup.fresh else PERHAPS


def get_many(lookup: Any, keys: list[Any]) -> tuple[list[Any], list[int]]:
    """As TreeLookup.get_many(). 1 µs per key."""
    if lookup.fresh:
        with lookup.lock:
            if lookup.fresh:
                values = find_many(lookup, lookup.view, keys)
                return values, [place for place, value in enumerate(values) if value is PERHAPS]
    return [PERHAPS] * len(keys), list(range(len(keys)))


def find_many(lookup: Any, view: tuple[Any, ...], keys: list[Any]) -> list[Any]:
    """What get() answers for each of these keys, level by level, so that C does what is the same for all of them. The
    lock is held."""
    mutable, immutable, _, _, levels, age, key_size_max, _ = view
    values: list[Any] = [PERHAPS] * len(keys)
    places = [place for place, key in enumerate(keys) if type(key) is bytes and 0 < len(key) <= key_size_max]
    for memory in (mutable, immutable):
        if memory:
            found = [place for place in places if keys[place] in memory]
            for place in found:
                value = memory[keys[place]]
                values[place] = value if value is None or type(value) is bytes else PERHAPS
            if found:
                places = sorted(set(places).difference(found))
    generation = age.generation
    for level in levels:
        made, lasts, marks, slots, _ = level.flat
        if made != generation:
            _, lasts, marks, slots, _ = flatten(lookup, view, level, generation)
        wanted = [keys[place] for place in places]
        blocks = list(map(bisect_left, repeat(lasts), wanted))
        texts = map(marks.__getitem__, blocks)
        characters = map(chr, map(and_, map(crc32, wanted), repeat(0xFFFF)))
        left = []
        for place, key, at, here, mark in zip(places, wanted, blocks, texts, characters):  # noqa: B905 - of one length
            if here is not None:
                value = value_in(slots[at], generation, here, mark, key) if mark in here else MISSING
                if value is MISSING:
                    left.append(place)
                else:
                    values[place] = value
        age.hits += 2 * len(places) - len(left)
        places = left
    for place in places:
        values[place] = None
    return values


def value_in(slot: Any, generation: int, marks: str, mark: str, key: bytes) -> Any:
    """The value of the key in the block with these fingerprints, None of a tombstone, PERHAPS; MISSING: not there."""
    block = slot.view  # a slot is shut before its bytes go
    if slot.generation != generation:
        return PERHAPS
    raw, offsets, count, flags_at, keys_at, values_at = block
    i = marks.find(mark)
    while 0 <= i < count:
        if raw[keys_at + offsets[i] : keys_at + offsets[i + 1]] == key:
            i += count + 1
            start = values_at + offsets[i]
            stop = values_at + offsets[i + 1]
            flag = raw[flags_at + i - count - 1]
            if flag == 0 and start <= stop <= len(raw):
                return raw[start:stop]
            return None if flag == FLAG_TOMBSTONE and start == stop else PERHAPS
        i = marks.find(mark, i + 1)
    return MISSING if i < 0 else PERHAPS


def first_pairs(lookup: Any, edge: Any, limit: int, backward: bool = False) -> list[tuple[bytes, bytes]] | None:
    """As TreeLookup.first_pairs(), but None as well where more is needed than the midst of one block. 6 µs for ten."""
    if lookup.fresh and type(edge) is bytes:
        view = lookup.view
        pairs = pairs_within(lookup, view, edge, limit, backward)
        if lookup.fresh and lookup.view is view and not view[7].depth:
            return pairs
        with lookup.lock:
            if lookup.fresh:
                return pairs_within(lookup, lookup.view, edge, limit, backward)
    return None


def pairs_within(
    lookup: Any, view: tuple[Any, ...], edge: bytes, limit: int, backward: bool
) -> list[tuple[bytes, bytes]] | None:
    """The answer of first_pairs(), if it is in the midst of one block of the only level, and all is right with it."""
    mutable, immutable, _, _, levels, age, key_size_max, _ = view
    if mutable or immutable or len(levels) != 1:
        return None
    generation = age.generation
    made, lasts, marks, slots, _ = levels[0].flat
    if made != generation:
        _, lasts, marks, slots, _ = flatten(lookup, view, levels[0], generation)
    at = bisect_left(lasts, edge)
    if not marks[at]:
        return None
    slot = slots[at]
    block = slot.view
    if slot.generation != generation:
        return None
    raw, offsets, count, flags_at, keys_at, values_at = block
    first = bisect_left(range(count), edge, key=lambda i: raw[keys_at + offsets[i] : keys_at + offsets[i + 1]])
    if backward:
        first -= limit
    stop = first + limit
    if first <= 0 or stop >= count or raw.count(0, flags_at + first, flags_at + stop) != limit:
        return None
    bounds = [keys_at + offset for offset in offsets[first : stop + 1]]
    keys = [raw[a:b] for a, b in pairwise(bounds)]
    value_bounds = [values_at + offset for offset in offsets[count + 1 + first : count + 2 + stop]]
    values = [raw[a:b] for a, b in pairwise(value_bounds)]
    if (
        sorted(set(keys)) != keys
        or not keys[0]
        or len(max(keys, key=len)) > key_size_max
        or bounds[-1] > values_at
        or sorted(value_bounds) != value_bounds
        or value_bounds[-1] > len(raw)
        or keys[-1] > lasts[at]
        or (at > 0 and keys[0] <= lasts[at - 1])
    ):
        return None
    age.hits += 2
    return list(zip(reversed(keys), reversed(values), strict=True) if backward else zip(keys, values, strict=True))


def flatten(lookup: Any, view: tuple[Any, ...], level: Any, generation: int) -> tuple[Any, ...]:
    """Makes the lists of a level anew: O(blocks), 30 µs for 4,000. Of a tree that is another one by now, not: lists
    that nobody tells of blocks that come would be of no use."""
    with lookup.lock:
        if not lookup.fresh or lookup.view is not view:
            return (generation, [], [None], [], [])
        keys: list[bytes] = []
        marks: list[str | None] = []
        slots: list[Any] = []
        tables: list[Any] = []
        for key_max, slot in zip(level.keys, level.slots, strict=True):
            table = slot.table if slot.generation == generation else None
            tables.append(table)
            if table is None:
                keys.append(key_max)
                marks.append(None)
                slots.append(None)
                continue
            table.flat = slots, len(keys), level
            keys += table.keys
            marks += table.view[2]
            slots += table.slots
        marks.append("")  # behind the last key there is nothing
        made = level.flat = generation, keys, marks, slots, tables
        return made


def put_table(level: Any, i: int, slot: Any) -> None:
    """As LevelSearch.put()."""
    level.slots[i] = slot
    tables = level.flat[4]
    if tables and tables[i] is not slot.table:
        level.flat = UNMADE


def put_block(table: Any, i: int, slot: Any) -> None:
    """As TableSearch.put()."""
    table.slots[i] = slot
    if table.flat is not None:
        slots, start, _ = table.flat
        slots[start + i] = slot
