"""The load of a torture: steps drawn from a seed, taken by a child on a database and by its parent on a model.

Invariants:
- the steps of a round follow from the seed, the round and whether a scope is open: both sides draw the same ones;
- the child writes one byte to standard output for each step that is done, and nothing else.
"""

import random
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from lsmcli.engine.database import Database

MEMORY_SIZES: Final = (16 * 1024, 256 * 1024, 4 * 1024 * 1024)  # small ones fill and flush many times in a round
KEY_COUNT: Final = 4000
BATCH_MAX: Final = 80

_WEIGHTS: Final = {"put": 60, "batch": 12, "delete": 20, "large": 2, "sync": 4, "checkpoint": 0.4, "scope": 1.5}


class Step(NamedTuple):
    """kind: put, batch, delete, large, sync, checkpoint, begin, persist or discard. A value of None deletes."""

    kind: str
    entries: list[tuple[bytes, bytes | None]]


class Model:
    """What the file must hold: the entries now, and those before the open scope."""

    def __init__(self) -> None:
        self.entries: dict[bytes, bytes] = {}
        self.before: dict[bytes, bytes] | None = None

    @property
    def committed(self) -> dict[bytes, bytes]:
        return self.entries if self.before is None else self.before

    def take(self, step: Step) -> None:
        """The effect of one step."""
        if step.kind == "begin":
            self.before = dict(self.entries)
        elif step.kind == "persist":
            self.before = None
        elif step.kind == "discard":
            assert self.before is not None
            self.entries, self.before = self.before, None
        for key, value in step.entries:
            if value is None:
                self.entries.pop(key, None)
            else:
                self.entries[key] = value


def steps(seed: int, round_number: int, *, scope: bool) -> Iterator[Step]:
    """The steps of one round, without end. scope: whether one is open when it begins."""
    rng = random.Random(f"{seed}/{round_number}")
    kinds, weights = list(_WEIGHTS), list(_WEIGHTS.values())
    number = 0
    while True:
        number += 1
        kind = rng.choices(kinds, weights)[0]
        if kind == "scope":
            yield Step(rng.choice(("persist", "discard")) if scope else "begin", [])
            scope = not scope
            continue
        entries: list[tuple[bytes, bytes | None]] = []
        if kind not in ("sync", "checkpoint"):
            for _ in range(rng.randrange(2, BATCH_MAX) if kind == "batch" else 1):
                key = b"key %05d" % rng.randrange(KEY_COUNT)
                value = (
                    b"round %d step %d " % (round_number, number) * (2000 if kind == "large" else rng.randrange(1, 30))
                )
                removes = kind == "delete" or (kind == "batch" and rng.random() < 0.1)
                entries.append((key, None if removes else value))
        yield Step(kind, entries)


def take(database: "Database", step: Step) -> None:
    """One step on a database."""
    if step.kind == "begin":
        database.scope_begin()
    elif step.kind == "persist":
        database.scope_persist()
    elif step.kind == "discard":
        database.scope_discard()
    elif step.kind == "checkpoint":
        database.checkpoint()
    elif step.kind == "sync":
        database.sync()
    else:
        database.write(step.entries)


def child() -> None:
    """The process that is killed: path, seed, round and 0 or 1 for an open scope are its arguments."""
    import lsmcli
    from lsmcli.engine.errors import LsmError

    path, seed, round_number, scope = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "1"
    memory_size = MEMORY_SIZES[round_number % len(MEMORY_SIZES)]
    try:
        database = lsmcli.open(path, "w", memory_size=memory_size, network=True)
        for step in steps(seed, round_number, scope=scope):
            take(database, step)
            sys.stdout.buffer.write(b".")
            sys.stdout.buffer.flush()
    except LsmError as error:
        sys.exit(str(error))
