"""Seeded operations on a database and on its model, side by side.

Invariants:
- one random.Random decides everything: a seed replays a run;
- the model takes each step before the database does, so that a crash in the middle finds its state there;
- every answer of the database is compared with the model's.

A run draws a Profile first (a swarm): any weight may be zero, so that some runs never delete, never flush
or never leave a scope, and reach states that an even mixture does not.
"""

import random
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, cast

from lsmcli.engine import superblock
from lsmcli.engine.constants import BLOCK_SIZE_MIN, KIB, key_size_max_for, value_inline_max_for
from lsmcli.engine.database import Database, SyncMode
from lsmcli.engine.key_range import prefix_end
from lsmcli.engine.schema import ScopeState
from lsmcli.engine.verifier import verify
from tests.testing.model import MAIN, Model, State, Trees, entries_between
from tests.testing.storage import SimulatedStorage

BLOCK_SIZE = BLOCK_SIZE_MIN
UUID = bytes(range(100, 116))
KEY_SIZE_MAX = key_size_max_for(BLOCK_SIZE)
VALUE_INLINE_MAX = value_inline_max_for(BLOCK_SIZE)
VALUE_LARGE_MAX = 20 * KIB
ITERATORS_MAX = 4
TREE_NAMES = ("apple", "berry", "cherry")

WEIGHTS = {
    "put": 40,
    "remove": 12,
    "batch": 8,
    "delete_range": 1,
    "get": 10,
    "get_many": 3,
    "scan": 4,
    "iterate": 6,
    "begin_durable": 1,
    "begin_bound": 1,
    "persist": 1,
    "discard": 1,
    "sync": 2,
    "checkpoint": 1,
    "compact": 1,
    "reopen": 1,
    "create_tree": 1,
    "drop_tree": 1,
}
# Without these a run does nothing, or never ends a scope.
WEIGHTS_KEPT = {"put", "persist", "discard"}


class Profile(NamedTuple):
    """What one run is like."""

    growth_factor: int
    memory_size: int
    cache_size: int
    weights: Mapping[str, float]
    keys: list[bytes]  # sorted
    keys_hot: list[bytes]
    hot_share: float
    window: int  # keys that are written at one time, next to each other
    value_size_max: int
    large_share: float
    sync: SyncMode = "normal"


class Operation(NamedTuple):
    kind: str
    arguments: tuple[Any, ...] = ()

    def __repr__(self) -> str:
        return f"{self.kind}{self.arguments!r:.200}"


def new_storage(profile: Profile) -> SimulatedStorage:
    """A new, empty data file."""
    _, head = superblock.format_file(uuid=UUID, created_s=0, block_size=BLOCK_SIZE, growth_factor=profile.growth_factor)
    return SimulatedStorage(head)


def open_database_on(
    storage: SimulatedStorage,
    profile: Profile,
    *,
    writable: bool = True,
    committed: bool = False,
) -> Database:
    """What lsmcli.open() does after it has the file and its lock."""
    if writable:
        storage.sync()
    return Database(
        cast(Any, storage),
        writable=writable,
        memory_size=profile.memory_size,
        cache_size=profile.cache_size,
        sync=profile.sync,
        committed=committed,
    )


# Drawing.


def draw_profile(rng: random.Random, **fixed: Any) -> Profile:
    """A profile by chance; `fixed` sets fields of it."""
    keys = _draw_keys(rng)
    profile = Profile(
        growth_factor=rng.choice((2, 2, 3, 4)),
        memory_size=int(2 * KIB * 2 ** rng.uniform(0, 5)),
        cache_size=rng.choice((0, 16 * KIB, 1024 * KIB)),
        weights={
            kind: weight if kind in WEIGHTS_KEPT or rng.random() < 0.75 else 0 for kind, weight in WEIGHTS.items()
        },
        keys=keys,
        keys_hot=rng.sample(keys, min(len(keys), 8)),
        hot_share=rng.choice((0.0, 0.1, 0.5)),
        window=rng.choice((4, 20, 100, len(keys))),
        value_size_max=int(2 ** rng.uniform(0, 11)),
        large_share=rng.choice((0.0, 0.02, 0.2)),
    )
    return profile._replace(**fixed)


def _draw_keys(rng: random.Random) -> list[bytes]:
    count = int(2 ** rng.uniform(2, 10))
    style = rng.choice(("short", "mixed", "long", "nested"))
    keys = {bytes([byte]) for byte in rng.sample(range(256), min(count, 256) // 4)}
    prefix = rng.randbytes(rng.choice((1, 20, KEY_SIZE_MAX - 12)))
    while len(keys) < count:
        if style == "short":
            keys.add(rng.randbytes(rng.choice((2, 2, 3))))
        elif style == "mixed":
            keys.add(rng.randbytes(int(2 ** rng.uniform(0, 9))))
        elif style == "long":
            keys.add(rng.randbytes(rng.randint(KEY_SIZE_MAX // 2, KEY_SIZE_MAX)))
        else:
            keys.add(prefix + rng.choice((b"", b"\0", b"\xff")) * rng.randint(0, 4) + rng.randbytes(rng.randint(0, 8)))
    return sorted(keys)


class Draw:
    """Draws the operations of one run, as they fit the model's state."""

    def __init__(self, rng: random.Random, profile: Profile, model: Model) -> None:
        self.rng = rng
        self.profile = profile
        self.model = model
        self.window_start = 0

    def operation(self) -> Operation:
        rng, state = self.rng, self.model.state
        weights = dict(self.profile.weights)
        for kind in ("begin_durable", "begin_bound") if state.before is not None else ("persist", "discard"):
            weights[kind] = 0
        if len(state.trees) == 1:
            weights["drop_tree"] = 0
        if len(state.trees) > len(TREE_NAMES):
            weights["create_tree"] = 0
        kind = rng.choices(list(weights), list(weights.values()))[0]
        return Operation(kind, getattr(self, f"_{kind}", tuple)())

    def _name(self) -> str:
        return self.rng.choice(list(self.model.trees))

    def _key(self) -> bytes:
        rng, profile = self.rng, self.profile
        if rng.random() < profile.hot_share:
            return rng.choice(profile.keys_hot)
        if rng.random() < 0.02:
            self.window_start = rng.randrange(len(profile.keys))
        index = self.window_start + rng.randrange(min(profile.window, len(profile.keys)))
        return profile.keys[index % len(profile.keys)]

    def _value(self) -> bytes:
        rng, profile = self.rng, self.profile
        if rng.random() < profile.large_share:
            size = rng.choice((VALUE_INLINE_MAX + 1, rng.randint(VALUE_INLINE_MAX + 1, VALUE_LARGE_MAX)))
        elif rng.random() < 0.05:
            size = rng.choice((0, VALUE_INLINE_MAX))
        else:
            size = int(rng.random() ** 3 * profile.value_size_max)
        seed = rng.randbytes(8)
        return (seed * (size // len(seed) + 1))[:size]

    def _bound(self) -> bytes | None:
        rng = self.rng
        if rng.random() < 0.3:
            return None
        key = rng.choice(self.profile.keys)
        return rng.choice((key, key + b"\0", key[:-1] or b"\0"))

    def _put(self) -> tuple[Any, ...]:
        return (self._name(), [(self._key(), self._value())])

    def _remove(self) -> tuple[Any, ...]:
        return (self._name(), [(self._key(), None)])

    def _batch(self) -> tuple[Any, ...]:
        rng = self.rng
        count = int(2 ** rng.uniform(1, 6))
        return (self._name(), [(self._key(), self._value() if rng.random() < 0.8 else None) for _ in range(count)])

    def _delete_range(self) -> tuple[Any, ...]:
        return (self._name(), self._bound(), self._bound())

    def _get(self) -> tuple[Any, ...]:
        key = self._key()
        return (self._name(), self.rng.choice((key, key, (key + b"\0")[:KEY_SIZE_MAX], key[:-1] or b"\xff")))

    def _get_many(self) -> tuple[Any, ...]:
        return (self._name(), [self._get()[1] for _ in range(self.rng.randint(0, 40))])

    def _scan(self) -> tuple[Any, ...]:
        rng = self.rng
        limit = rng.choice((None, 1, 10, 100))
        return (self._name(), self._bound(), self._bound(), rng.random() < 0.5, limit)

    def _iterate(self) -> tuple[Any, ...]:
        rng = self.rng
        return (self._name(), rng.random() < 0.5, rng.randrange(ITERATORS_MAX), rng.choice((1, 10, 100, 1000)))

    def _create_tree(self) -> tuple[Any, ...]:
        return (self.rng.choice([name for name in TREE_NAMES if name not in self.model.trees]),)

    def _drop_tree(self) -> tuple[Any, ...]:
        return (self.rng.choice([name for name in self.model.trees if name != MAIN]),)


# Doing.


class Run:
    """A database on a simulated disk, and its model."""

    def __init__(
        self, storage: SimulatedStorage, profile: Profile, model: Model, database: Database | None = None
    ) -> None:
        self.storage = storage
        self.profile = profile
        self.model = model
        self.op_done = model.op  # acknowledged
        self.op_synced = model.op  # acknowledged as synced
        self.iterators: dict[int, tuple[Iterator[tuple[bytes, bytes]], Iterator[tuple[bytes, bytes]]]] = {}
        self.levels_used = 0
        self.database = database if database is not None else open_database_on(storage, profile)

    def do(self, operation: Operation) -> None:
        """Does it on both sides. AssertionError where they differ; an LsmError of the database passes through."""
        getattr(self, f"_{operation.kind}")(*operation.arguments)
        self.op_done = self.model.op
        if self.profile.sync == "commit":
            self.op_synced = self.model.op
        assert self.database.forest.op == self.model.op

    def close(self) -> None:
        """Closes the file, which undoes a bound scope."""
        if self.model.state.before is not None and not self.model.state.durable:
            self.model.discard()
        self.iterators.clear()
        self.levels_used = max(self.levels_used, levels_used(self.database))
        self.database.close()
        self.op_done = self.op_synced = self.model.op

    def _put(self, name: str, entries: list[tuple[bytes, bytes | None]]) -> None:
        self.model.write(name, entries)
        tree = self.database.tree(name)
        if len(entries) > 1:
            tree.write(entries)
        elif (value := entries[0][1]) is not None:
            tree.put(entries[0][0], value)
        else:
            tree.delete(entries[0][0])

    _remove = _batch = _put

    def _delete_range(self, name: str, start: bytes | None, end: bytes | None) -> None:
        keys = [key for key, _ in entries_between(self.model.trees[name], start, end)]
        if keys:
            self.model.write(name, [(key, None) for key in keys])
        assert self.database.tree(name).delete_range(start, end) == len(keys)

    def _get(self, name: str, key: bytes) -> None:
        assert self.database.tree(name).get(key) == self.model.trees[name].get(key)

    def _get_many(self, name: str, keys: list[bytes]) -> None:
        assert self.database.tree(name).get_many(keys) == [self.model.trees[name].get(key) for key in keys]

    def _scan(self, name: str, start: bytes | None, end: bytes | None, reverse: bool, limit: int | None) -> None:
        expected = entries_between(self.model.trees[name], start, end, reverse=reverse, limit=limit)
        assert list(self.database.tree(name).scan(start, end, reverse=reverse, limit=limit)) == expected
        if limit is None:
            assert self.database.tree(name).count(start, end) == len(expected)

    def _iterate(self, name: str, reverse: bool, which: int, steps: int) -> None:
        """Takes some steps of an iterator that stays open while others write, or begins one."""
        if which not in self.iterators:
            expected = entries_between(self.model.trees[name], None, None, reverse=reverse)
            self.iterators[which] = (self.database.tree(name).scan(reverse=reverse), iter(expected))
        found, wanted = self.iterators[which]
        for _ in range(steps):
            pair = next(wanted, None)
            assert next(found, None) == pair
            if pair is None:
                del self.iterators[which]
                break

    def _begin_durable(self) -> None:
        self.model.begin(durable=True)
        self.database.scope_begin()

    def _begin_bound(self) -> None:
        self.model.begin(durable=False)
        self.database.scope_begin_as(ScopeState.BOUND)

    def _persist(self) -> None:
        self.model.persist()
        self.database.scope_persist()

    def _discard(self) -> None:
        self.model.discard()
        self.database.scope_discard()

    def _sync(self) -> None:
        self.database.sync()
        self.op_synced = self.model.op

    def _checkpoint(self) -> None:
        self.database.checkpoint()
        self.op_synced = self.model.op

    def _compact(self) -> None:
        self.levels_used = max(self.levels_used, levels_used(self.database))
        self.database.compact()
        self.op_synced = self.model.op

    def _reopen(self) -> None:
        self.close()
        hook = self.storage.hook
        self.storage = self.storage.reopen()
        self.storage.hook = hook
        self.database = open_database_on(self.storage, self.profile)

    def _compress(self, name: str, codec: str, levels: str) -> None:
        """Is not drawn: a test that wants it does it. An op, but for a setting that is there already."""
        op = self.database.forest.op
        self.database.set_compression(name, codec, levels=levels)
        if self.database.forest.op != op:
            self.model.change_nothing()

    def _create_tree(self, name: str) -> None:
        self.model.create_tree(name)
        self.database.create_tree(name)

    def _drop_tree(self, name: str) -> None:
        self.model.drop_tree(name)
        self.database.drop_tree(name)


def assert_verified(storage: SimulatedStorage, *, lost_allowed: bool = False) -> None:
    """The verifier finds nothing wrong, and no block that belongs to nobody (unless that is allowed)."""
    problems = verify(storage.reopen()).problems
    if lost_allowed:
        problems = [problem for problem in problems if "in use by nobody" not in problem.message]
    assert not problems, problems


def levels_used(database: Database) -> int:
    """Levels with tables, of the tree that has most of them."""
    forest = database.forest
    return max((sum(level.count > 0 for level in tree.manifest.levels) for tree in forest.trees.values()), default=0)


def contents(database: Database) -> Trees:
    """Everything, by scans."""
    return {name: dict(database.tree(name).scan()) for name in database.trees()}


def assert_holds(database: Database, state: State) -> None:
    """The database has exactly this: by scans either way, by single and by many lookups."""
    assert contents(database) == state.trees
    for name, tree in state.trees.items():
        keyspace = database.tree(name)
        keys = sorted(tree)
        assert [key for key, _ in keyspace.scan(reverse=True, keys_only=True)] == keys[::-1]
        some = keys[:: max(1, len(keys) // 20)]
        for key in some:
            assert keyspace.get(key) == tree[key]
        absent = [key + b"\0" for key in some] + [prefix_end(key) or b"\xff" for key in some]
        absent = [key for key in absent if len(key) <= KEY_SIZE_MAX]
        assert keyspace.get_many(absent + some) == [tree.get(key) for key in absent + some]
    status = database.scope_status()
    if state.before is None:
        assert status is None
    else:
        assert status is not None and status.durable == state.durable
