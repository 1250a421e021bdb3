"""A reader beside a writer: every answer is a committed state, and never an older one than the answer before.

The writer's run is recorded, change by change; a reader then lives beside it, and before any of its own
reads, also in the middle of opening, the writer may go on by some changes. And once for real: a writing and
a reading process on one file.
"""

import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

import lsmcli
from lsmcli.engine.database import Database
from lsmcli.engine.errors import SnapshotTooOldError, TreeError
from tests.testing.model import Model, State, entries_between
from tests.testing.operations import Draw, Profile, Run, draw_profile, new_storage, open_database_on
from tests.testing.pages import Pages
from tests.testing.storage import SimulatedStorage


class Change(NamedTuple):
    """One step of the writer's disk: bytes at an offset, or (data None) a new length of the file."""

    offset: int
    data: bytes | None
    op_done: int  # acknowledged before it
    op_issued: int  # begun before it


class RecordingDisk(SimulatedStorage):
    """The writer's disk: keeps every change in order."""

    def __init__(self, image: bytes | bytearray | Pages, changes: list[Change]) -> None:
        super().__init__(image)
        self.changes = changes
        self.run: Run | None = None

    def _note(self, offset: int, data: bytes | None) -> None:
        run = self.run
        done, issued = (0, 0) if run is None else (run.op_done, run.model.op)
        self.changes.append(Change(offset, data, done, issued))

    def _store(self, offset: int, data: bytes, *, lost: bool = False) -> None:
        self._note(offset, data)
        super()._store(offset, data, lost=lost)

    def _resize(self, size: int) -> None:
        self._note(size, None)
        super()._resize(size)

    def reopen(self) -> "RecordingDisk":
        again = RecordingDisk(self.image, self.changes)
        again.run = self.run
        return again


class ReplayedDisk(SimulatedStorage):
    """What a reader sees: before any of its reads the writer may have gone on by some changes."""

    def __init__(self, image: bytes, changes: list[Change], rng: random.Random, pace: float) -> None:
        super().__init__(image, writable=False)
        self.changes = changes
        self.rng = rng
        self.pace = pace  # chance that the writer goes on before a read
        self.position = 0

    @property
    def op_done(self) -> int:
        return self.changes[self.position].op_done if self.position < len(self.changes) else self.changes[-1].op_issued

    @property
    def op_issued(self) -> int:
        return self.changes[min(self.position, len(self.changes) - 1)].op_issued

    @property
    def ended(self) -> bool:
        return self.position == len(self.changes)

    def read(self, offset: int, size: int) -> bytes:
        if self.rng.random() < self.pace:
            self.go_on(self.rng.choice((1, 1, 2, 10)))
        return super().read(offset, size)

    def go_on(self, count: int) -> None:
        for change in self.changes[self.position : self.position + count]:
            end = change.offset + len(change.data or b"")
            if change.data is None:
                del self.image[change.offset :]
            self.image.extend(bytes(max(0, end - len(self.image))))
            if change.data is not None:
                self.image[change.offset : end] = change.data
        self.position = min(self.position + count, len(self.changes))


class Reader:
    """One reading process, from the writer's first change to its last."""

    def __init__(self, disk: ReplayedDisk, profile: Profile, history: list[State]) -> None:
        self.disk = disk
        self.profile = profile
        self.history = history
        self.rng = disk.rng
        self.op_seen = 0
        self.counts: Counter[str] = Counter()

    def live(self) -> None:
        while not self.disk.ended:
            op_min = max(self.op_seen, self.disk.op_done)
            try:
                database = open_database_on(self.disk, self.profile, writable=False, committed=True)
            except SnapshotTooOldError:
                self.counts["too fast to open"] += 1
                continue
            self._saw(database, op_min)
            for _ in range(self.rng.randrange(1, 8)):
                self._ask(database)
                self._saw(database, self.op_seen)
                self.disk.go_on(self.rng.choice((0, 0, 1, 5, 30)))

    def _saw(self, database: Database, op_min: int) -> None:
        op = database.forest.op
        assert op_min <= op <= self.disk.op_issued
        self.op_seen = op

    def _tree(self, database: Database, name: str) -> dict[bytes, bytes]:
        return self.history[database.forest.op].committed[name]

    def _ask(self, database: Database) -> None:
        rng = self.rng
        kind = rng.choice(("get", "get_many", "scan", "scan", "refresh"))
        self.counts[kind] += 1
        name = ""
        try:
            name = rng.choice(database.trees())
            keys = [rng.choice(self.profile.keys) for _ in range(10)]
            if kind == "refresh":
                op_min = max(self.op_seen, self.disk.op_done)
                database.refresh()
                self._saw(database, op_min)
            elif kind == "get":
                assert database.tree(name).get(keys[0]) == self._tree(database, name).get(keys[0])
            elif kind == "get_many":
                found = database.tree(name).get_many(keys)
                assert found == [self._tree(database, name).get(key) for key in keys]
            else:
                self._scan(database, name)
        except SnapshotTooOldError:
            self.counts[f"too old: {kind}"] += 1
        except TreeError:
            # The question made the reader go on to a state without this tree.
            assert name not in self.history[database.forest.op].committed

    def _scan(self, database: Database, name: str) -> None:
        """One state from the first entry to the last, though the writer goes on; what came before an error is right."""
        reverse = self.rng.random() < 0.5
        pairs = database.tree(name).scan(reverse=reverse)
        first = next(pairs, None)
        wanted = entries_between(self._tree(database, name), None, None, reverse=reverse)
        assert first == (wanted[0] if wanted else None)
        for pair in wanted[1:]:
            if self.rng.random() < 0.1:
                self.disk.go_on(self.rng.choice((1, 5, 30)))
            assert next(pairs) == pair
        assert next(pairs, None) is None


def run_with_reader(seed: str, steps: int) -> Counter[str]:
    """Records a writer's run, then lets a reader live beside it; what the reader met."""
    rng = random.Random(seed)
    profile = draw_profile(rng, memory_size=rng.choice((2048, 4096)), window=1000, large_share=rng.choice((0.0, 0.1)))
    model = Model()
    changes: list[Change] = []
    disk = RecordingDisk(new_storage(profile).image, changes)
    image = bytes(disk.image)
    run = Run(disk, profile, model)
    disk.run = run
    draw = Draw(rng, profile, model)
    for _ in range(steps):
        run.do(draw.operation())
    run.close()
    counts: Counter[str] = Counter()
    for pace in (0.02, 0.3):
        reader = Reader(ReplayedDisk(image, changes, rng, pace), profile, model.history)
        reader.live()
        counts += reader.counts
    return counts


def test_a_reader_between_the_steps_of_a_writer(seed: int) -> None:
    counts: Counter[str] = Counter()
    for number in range(20):
        try:
            counts += run_with_reader(f"{seed}/{number}", 250)
        except Exception as error:
            error.add_note(f"run {number}")
            raise
    for kind in ("get", "get_many", "scan", "refresh", "too old: scan"):
        assert counts[kind] > 10, counts
    # A question that holds nothing open is asked again in the newest state, up to eight times.
    assert counts["too old: get"] + counts["too old: get_many"] <= counts["get"] // 20, counts


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
    seconds = 6.0
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
                        largest = max(
                            (int(value[: len(value) // 40]) for _, value in database.scan(prefix=b"fill")), default=0
                        )
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
