"""A reader beside a writer: every answer is a committed state, and never an older one than the answer before.

The writer runs on a simulated disk; between any two of its operations a reader may open, refresh, ask or
go on with a scan, on the same disk. And once for real: a writing and a reading process on one file.
"""

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import lsmcli
from lsmcli.engine.database import Database
from lsmcli.engine.errors import SnapshotTooOldError
from tests.testing.model import MAIN, Model, Trees
from tests.testing.operations import Draw, Profile, Run, draw_profile, new_storage, open_database_on
from tests.testing.storage import SimulatedStorage


class Disk(SimulatedStorage):
    """What a reader sees: the writer's bytes as they are at each read."""

    def __init__(self, run: Run) -> None:
        super().__init__(writable=False)
        self.run = run

    def read(self, offset: int, size: int) -> bytes:
        return bytes(self.run.storage.image[offset : offset + size])

    def size(self) -> int:
        return len(self.run.storage.image)


class Reader:
    """One reading handle whose steps fall between the writer's disk operations."""

    def __init__(self, rng: random.Random, run: Run, profile: Profile) -> None:
        self.rng = rng
        self.run = run
        self.profile = profile
        self.steps = self._life()
        self.answers = 0
        self.too_old = 0

    def step(self) -> None:
        next(self.steps)

    def _committed(self, op: int) -> Trees:
        return self.run.model.history[op].committed

    def _life(self) -> Iterator[None]:
        rng = self.rng
        op_seen = 0
        while True:
            op_min = max(op_seen, self.run.op_done)
            database = open_database_on(Disk(self.run), self.profile, writable=False, committed=True)
            for _ in range(rng.randrange(1, 6)):
                op_seen = self._at(database, op_min)
                yield from self._ask(database)
                op_min = max(op_seen, self._at(database, op_seen))
                if rng.random() < 0.3:
                    op_min = max(op_min, self.run.op_done)
                    database.refresh()
            yield

    def _at(self, database: Database, op_min: int) -> int:
        op = database.forest.op
        assert op_min <= op <= self.run.model.op
        return op

    def _ask(self, database: Database) -> Iterator[None]:
        """One question; what it may take some steps of the writer to ask is a scan."""
        rng = self.rng
        kind = rng.choice(("get", "get_many", "scan", "stream"))
        self.answers += 1
        try:
            names = database.trees()
            name = rng.choice(names)
            keys = [rng.choice(self.profile.keys) for _ in range(10)]
            keyspace = database.tree(name)
            if kind == "get":
                assert keyspace.get(keys[0]) in self._possible(database, name, keys[0])
            elif kind == "get_many":
                found = keyspace.get_many(keys)
                tree = self._committed(database.forest.op)[name]
                assert found == [tree.get(key) for key in keys]
            elif kind == "scan":
                pairs = list(keyspace.scan(reverse=rng.random() < 0.5))
                assert dict(pairs) == self._committed(database.forest.op)[name]
            else:
                yield from self._stream(database, name)
        except SnapshotTooOldError:
            self.too_old += 1
            assert kind in ("scan", "stream")
        except lsmcli.TreeError:
            # The question made the reader go on to a state without this tree.
            assert name not in self._committed(database.forest.op)

    def _possible(self, database: Database, name: str, key: bytes) -> list[bytes | None]:
        return [self._committed(database.forest.op)[name].get(key)]

    def _stream(self, database: Database, name: str) -> Iterator[None]:
        """A scan that goes on while the writer writes: one state, from its first entry to its last."""
        pairs = database.tree(name).scan()
        first = next(pairs, None)
        tree = sorted(self._committed(database.forest.op)[name].items())
        assert first == (tree[0] if tree else None)
        for wanted in tree[1:]:
            if self.rng.random() < 0.3:
                yield
            assert next(pairs) == wanted
        assert next(pairs, None) is None


@pytest.mark.parametrize("number", range(12))
def test_a_reader_between_the_steps_of_a_writer(seed: int, number: int) -> None:
    rng = random.Random(f"{seed}/{number}")
    profile = draw_profile(
        rng, memory_size=rng.choice((2048, 4096)), window=1000, large_share=rng.choice((0.0, 0.1))
    )
    model = Model()
    run = Run(new_storage(profile), profile, model)
    readers = [Reader(random.Random(rng.random()), run, profile) for _ in range(2)]
    share = rng.choice((0.02, 0.2))

    def between(index: int, kind: str, offset: int, size: int) -> None:
        if kind != "read":
            for reader in readers:
                if rng.random() < share:
                    reader.step()

    run.storage.hook = between
    draw = Draw(random.Random(f"{seed}/{number}/operations"), profile, model)
    for step in range(250):
        operation = draw.operation()
        try:
            run.do(operation)
        except Exception as error:
            error.add_note(f"step {step}: {operation}")
            raise
    run.storage.hook = None
    for reader in readers:
        for _ in range(3):
            reader.step()
    assert sum(reader.answers for reader in readers) > 10


BLOCK_SIZE_REAL = 4096

WRITER = """
import sys, time, lsmcli
database = lsmcli.open(sys.argv[1], "w", memory_size=65536)
until = time.monotonic() + float(sys.argv[2])
version = 0
while time.monotonic() < until:
    version += 1
    stamp = b"%d" % version
    database.put_many([(b"all %02d" % i, stamp) for i in range(20)] + [(b"fill %d" % (version % 5000), stamp * 40)])
    if version % 3000 == 0:
        database.compact()
    if version % 500 == 0:
        with database.batch() as batch:
            for i in range(0, 5000, 7):
                batch.delete(b"fill %d" % i)
database.close()
print(version)
"""


@pytest.mark.slow
def test_two_processes_on_one_file(tmp_path: Path) -> None:
    """The writer stamps twenty keys at once with a rising number: a reader finds one number in all of them."""
    path = tmp_path / "shared.lsm"
    lsmcli.open(path, block_size=BLOCK_SIZE_REAL).close()
    seconds = 8.0
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(seconds)], stdout=subprocess.PIPE) as writer:
        versions = [0]
        too_old = streams = 0
        until = time.monotonic() + seconds + 1
        while time.monotonic() < until:
            with lsmcli.open(path, "r", cache_size=1 << 20) as database:
                for _ in range(5):
                    found = database.get_many([b"all %02d" % i for i in range(20)])
                    assert len(set(found)) == 1
                    versions.append(int(found[0] or 0))
                    pairs = list(database.scan(prefix=b"all "))
                    assert len({value for _, value in pairs}) <= 1
                    try:
                        streams += 1
                        largest = max((int(value[: len(value) // 40]) for _, value in database.scan(prefix=b"fill")), default=0)
                        versions.append(max(largest, versions[-1]) if largest else versions[-1])
                    except SnapshotTooOldError:
                        too_old += 1
                    database.refresh()
        output = writer.communicate()[0]
    assert versions == sorted(versions)
    assert len(set(versions)) > 5
    assert versions[-1] == int(output)
    assert too_old <= streams
    with lsmcli.open(path, "r") as database:
        assert database[b"all 00"] == output.strip()
