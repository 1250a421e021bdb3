"""Short runs that meet much: a log about to wrap, several levels, scopes, large values, checkpoints every dozen ops.

Invariants:
- the disks that runs begin on are made once in a process, from fixed seeds, so that a seed still replays a run.
"""

import functools
import random
from collections.abc import Iterator
from typing import Any, NamedTuple

from lsmcli.engine.constants import KIB, MIB
from tests.testing.model import MAIN, Model, State
from tests.testing.operations import (
    VALUE_INLINE_MAX,
    WEIGHTS,
    Draw,
    Operation,
    Profile,
    Run,
    new_storage,
)
from tests.testing.pages import Pages
from tests.testing.trace import RecordingStorage, Trace, record

STEPS = 120
RING_STEPS = 50

READS = dict.fromkeys(("get", "get_many", "scan", "iterate"), 0)
WEIGHTS_CRASH = {**WEIGHTS, **READS, "put": 30, "checkpoint": 1, "compact": 0.3, "delete_range": 0.5, "drop_tree": 0.7}
WEIGHTS_SCOPES = {**WEIGHTS_CRASH, "begin_durable": 6, "begin_bound": 6, "persist": 2, "discard": 2, "reopen": 2}


class Start(NamedTuple):
    """A disk that a run begins on, closed cleanly, and what it holds."""

    image: Pages
    state: State
    op: int


def small_profile(rng: random.Random, **fixed: Any) -> Profile:
    """Few keys and small memory tables: a bar ends every dozen ops."""
    keys = [b"key %02d" % number for number in range(rng.choice((6, 15, 30)))]
    profile = Profile(
        growth_factor=2,
        memory_size=rng.choice((2048, 2048, 3000, 5000)),
        cache_size=MIB,
        weights=WEIGHTS_CRASH,
        keys=keys,
        keys_hot=keys[:3],
        hot_share=rng.choice((0.0, 0.2)),
        window=len(keys),
        value_size_max=rng.choice((10, 60, 400)),
        large_share=rng.choice((0.0, 0.03, 0.15, 0.3)),
        sync=rng.choice(("normal", "normal", "commit")),
    )
    return profile._replace(**fixed)


@functools.cache
def start_new() -> Start:
    """An empty file."""
    model = Model()
    return Start(new_storage(small_profile(random.Random(1))).image, model.state, 0)


@functools.cache
def start_small() -> Start:
    """Some entries in a table and some in the log."""
    profile = small_profile(random.Random(1), memory_size=2048)
    model = Model()
    run = Run(new_storage(profile), profile, model)
    run.do(Operation("batch", (MAIN, [(b"key %02d" % number, b"first" * 5) for number in range(14)])))
    for number in range(8):
        run.do(Operation("put", (MAIN, [(b"key %02d" % number, b"second" * 5)])))
    run.do(Operation("checkpoint"))
    for number in range(0, 8, 3):
        run.do(Operation("put", (MAIN, [(b"key %02d" % number, b"third")])))
    run.close()
    return Start(run.storage.image, model.state, run.database.forest.op)


@functools.cache
def start_wrapping() -> Start:
    """The log is about to wrap: a few hundred bytes are left of its ring."""
    profile = small_profile(random.Random(1), memory_size=2048)
    model = Model()
    run = Run(new_storage(profile), profile, model)
    log = run.database.forest.file.wal
    while log.size - log.position > 2 * VALUE_INLINE_MAX:
        run.do(Operation("put", (MAIN, [(b"key 01", bytes(VALUE_INLINE_MAX))])))
    run.do(Operation("remove", (MAIN, [(b"key 01", None)])))
    while log.size - log.position > 700:
        run.do(Operation("put", (MAIN, [(b"key 02", b"small")])))
    run.close()
    return Start(run.storage.image, model.state, run.database.forest.op)


@functools.cache
def start_deep() -> Start:
    """Three levels and more in use, by long keys, and a second tree."""
    rng = random.Random(2)
    keys = sorted(rng.randbytes(300) for _ in range(400))
    profile = small_profile(rng, keys=keys, window=20, value_size_max=300, memory_size=4096)
    profile = profile._replace(weights={**WEIGHTS_CRASH, "batch": 40, "compact": 0, "delete_range": 0, "remove": 0})
    model = Model()
    run = Run(new_storage(profile), profile, model)
    draw = Draw(rng, profile, model)
    while True:
        operation = draw.operation()
        if operation.kind in ("put", "batch"):
            run.do(operation)
            levels = run.database.forest.trees[2].manifest.levels
            if sum(level.count > 0 for level in levels) >= 3 and levels[2].count > 0:
                break
    # Few entries are left, so that each comparison is quick; the tables stay until they are compacted.
    run.do(Operation("batch", (MAIN, [(key, None) for key in keys[::2]])))
    run.close()
    return Start(run.storage.image, model.state, run.database.forest.op)


def run_from(start: Start, profile: Profile) -> Run:
    """A run that goes on from a start, on a storage that records."""
    model = Model()
    model.resume(start.state, start.op)
    return Run(RecordingStorage(start.image), profile, model)


def drawn(run: Run, rng: random.Random, count: int) -> Iterator[Operation]:
    """`count` operations, each drawn as it fits what the ones before have left."""
    draw = Draw(rng, run.profile, run.model)
    for _ in range(count):
        yield draw.operation()


def log_moving_trace(rng: random.Random) -> Trace:
    """A recorded run in which an op that is too large for the ring moves the log, in the middle of a scope: within the
    head of the file, or into the grid and back at the end."""
    durable, count = rng.random() < 0.5, rng.choice((50, 50, 250))
    profile = small_profile(rng, memory_size=64 * KIB, large_share=0.0)
    run = run_from(start_new(), profile)
    put = [Operation("put", (MAIN, [(b"key %d" % number, b"small")])) for number in range(12)]
    large = [Operation("put", (MAIN, [(b"large %d" % (number % 2), bytes([number]) * 5000)])) for number in range(6)]
    big = [(b"big %d" % number, bytes(VALUE_INLINE_MAX - 40)) for number in range(count)]
    operations = [
        *put,
        *large[:4],
        Operation("begin_durable" if durable else "begin_bound"),
        Operation("put", (MAIN, [(b"key 3", b"in the scope")])),
        Operation("batch", (MAIN, big)),
        *put[::2],
        *large[4:],
        Operation(rng.choice(("persist", "discard"))),
        Operation("put", (MAIN, [(b"key 1", b"last")])),
        Operation("reopen"),
    ]
    return record(run, iter(operations))


def ring_trace(rng: random.Random) -> Trace:
    """A recorded run in which the log goes around its ring several times, and fills it: bars are nearly as large."""
    profile = small_profile(rng, memory_size=rng.choice((20, 24, 30)) * KIB, large_share=0.0, sync="commit")
    names = ("batch",) * 30 + ("remove",) * 2 + ("checkpoint",) * 2 + ("begin_durable", "begin_bound")
    run = run_from(rng.choice((start_new, start_wrapping))(), profile)

    def operations() -> Iterator[Operation]:
        for number in range(RING_STEPS):
            kind = rng.choice(names)
            if run.model.state.before is not None and kind not in ("batch", "remove"):
                kind = rng.choice(("persist", "discard"))
            keys = rng.choices(profile.keys, k=rng.randint(1, 6))
            if kind == "batch":
                size = rng.choice((VALUE_INLINE_MAX // 4, VALUE_INLINE_MAX))
                yield Operation(kind, (MAIN, [(key, number.to_bytes(4, "big") * (size // 4)) for key in keys]))
            else:
                yield Operation(kind, (MAIN, [(keys[0], None)]) if kind == "remove" else ())

    return record(run, operations(), close=rng.random() < 0.5)


def crash_trace(rng: random.Random, count: int = STEPS, **fixed: Any) -> Trace:
    """A recorded run for crashes: from a start by chance, with a close at its end half of the time."""
    start = rng.choice((start_new, start_wrapping, start_wrapping, start_deep))()
    profile = small_profile(rng, **fixed)
    if start is start_deep():
        keys = sorted(start.state.trees[MAIN])[:: max(1, len(start.state.trees[MAIN]) // 40)]
        profile = profile._replace(keys=keys, keys_hot=keys[:3], window=len(keys))
    run = run_from(start, profile)
    return record(run, drawn(run, rng, count), close=rng.random() < 0.5)
