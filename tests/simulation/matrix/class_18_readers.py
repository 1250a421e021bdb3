"""Class 18: a reader beside a writer, which goes on at any storage call of the reader.

Injects: a writer's run is recorded call by call. A reader opens the file when the writer is before each of its calls in
turn, and asks; before up to three of the reader's own calls, also in the middle of opening, the writer goes on: by one
call, through its next checkpoint, through several of them (blocks are reused), or to its end. And lives: a reader asks
and asks from the writer's first call to its last, which goes on by chance.

Must hold: every answer is that of one committed state, not older than what was acknowledged when the reader opened the
file, and never older than the answer before; nothing is called damaged. Three interruptions never keep a reader from
opening, from a refresh or from an answer that holds nothing open; a scan may end with SnapshotTooOldError, and what it
gave before that is right. The reader changes no byte.

Cases: before every call of the run: undisturbed; disturbed once, at each of the reader's calls; a few of two and three
times. Two lives.
"""

import random
from typing import Final

from lsmcli.engine.database import Database
from lsmcli.engine.errors import SnapshotTooOldError, TreeError
from tests.testing.damage import SUPERBLOCK_OFFSETS, play_image
from tests.testing.model import entries_between
from tests.testing.operations import open_database_on
from tests.testing.pages import Pages
from tests.testing.storage import SimulatedStorage
from tests.testing.trace import Change, Trace
from tests.testing.trial import Trial
from tests.testing.workloads import crash_trace, ring_trace

CASES: Final = 6_000
SHARE: Final = 0.12
SLICES: Final = 3
SITUATIONS: Final = (
    "the reader opened the file again",
    "a scan was overtaken",
    "the writer went on while the reader opened",
    "the writer went through checkpoints under the reader",
)

STEPS: Final = 60
RING_SHARE: Final = 0.25  # of the rounds: the log goes around under the reader
STEPS_LIFE: Final = 250
SWITCHES_MAX: Final = 3
SCHEDULES_DRAWN: Final = 8  # of two and three switches, for each place of the writer
CHECKPOINTS_SEEN: Final = 3  # behind two of them released blocks are written again


class Beside(SimulatedStorage):
    """What the reader sees of the disk. switches: by the number of its call, to which change the writer goes before."""

    def __init__(self, image: Pages, trace: Trace, position: int, switches: dict[int, int]) -> None:
        super().__init__(image, writable=False)
        self.trace = trace
        self.position = position  # of the writer: the change that comes next
        self.switches = switches
        self.calls = 0

    @property
    def now(self) -> Change:
        return self.trace.change(self.position)

    @property
    def ended(self) -> bool:
        return self.position >= len(self.trace.changes)

    def go_to(self, position: int) -> None:
        if position > self.position:
            play_image(self.image, self.trace.changes[self.position : position])
            self.position = min(position, len(self.trace.changes))

    def switch(self) -> None:
        """Called before each call of the reader."""
        self.go_to(self.switches.get(self.calls, 0))
        self.calls += 1

    def read(self, offset: int, size: int) -> bytes:
        self.switch()
        return super().read(offset, size)

    def size(self) -> int:
        self.switch()
        return super().size()


class ByChance(Beside):
    """Before any call the writer may go on by some changes."""

    def __init__(self, image: Pages, trace: Trace, rng: random.Random, pace: float) -> None:
        super().__init__(image, trace, 0, {})
        self.rng = rng
        self.pace = pace

    def switch(self) -> None:
        if self.rng.random() < self.pace:
            self.go_to(self.position + self.rng.choice((1, 1, 2, 10)))


class Reader:
    """One reading process. Whatever it is answered is compared with the writer's history."""

    def __init__(self, disk: Beside, trial: Trial, rng: random.Random) -> None:
        self.disk = disk
        self.trial = trial
        self.rng = rng
        self.history = disk.trace.run.model.history
        self.op_seen = 0
        position = disk.position
        op_min = disk.now.op_done
        self.database = open_database_on(disk, disk.trace.profile, writable=False, committed=True)
        self._saw(self.database, op_min)
        if disk.position > position:
            trial.mark("the writer went on while the reader opened")

    def _saw(self, database: Database, op_min: int) -> None:
        op = database.forest.op
        assert max(op_min, self.op_seen) <= op <= self.disk.now.op_issued, (
            f"the reader is at op {op}, was at {self.op_seen}; {op_min} … {self.disk.now.op_issued} are there"
        )
        self.op_seen = op

    def _tree(self, name: str) -> dict[bytes, bytes]:
        return self.history[self.database.forest.op].committed[name]

    def ask(self, kind: str) -> bool:
        """One question; False when the writer was too fast for it."""
        forest = self.database.forest
        name, tree_id = "main", None
        try:
            name = self.rng.choice(self.database.trees())
            tree_id = self._tree_id(name)
            if kind == "refresh":
                op_min = self.disk.now.op_done
                self.database.refresh()
                self._saw(self.database, op_min)
            elif kind == "get":
                key = self.rng.choice(self.disk.trace.profile.keys)
                value = self.database.tree(name).get(key)
                assert value == self._tree(name).get(key), f"{key!r} in {name}"
            elif kind == "get_many":
                keys = self.rng.choices(self.disk.trace.profile.keys, k=10)
                values = self.database.tree(name).get_many(keys)
                assert values == [self._tree(name).get(key) for key in keys]
            else:
                self._scan(name, reverse=kind == "scan reverse")
        except SnapshotTooOldError:
            self.trial.mark(f"too old: {kind}")
            return False
        except TreeError:
            # The question made the reader go on to a state without this tree, or with another one of its name.
            there = self._tree_id(name)
            assert there != tree_id
            assert (there is not None) == (name in self.history[self.database.forest.op].committed)
            self.trial.mark("a tree was dropped under the reader")
        finally:
            self._saw(self.database, 0)
        if self.database.forest is not forest and kind != "refresh":
            self.trial.mark("the reader opened the file again")
        return True

    def _tree_id(self, name: str) -> int | None:
        try:
            return self.database.tree_id(name)
        except TreeError:
            return None

    def _scan(self, name: str, *, reverse: bool) -> None:
        """One state from the first entry to the last, though the writer goes on; what came before an error is right."""
        pairs = self.database.tree(name).scan(reverse=reverse)
        first = next(pairs, None)
        wanted = entries_between(self._tree(name), None, None, reverse=reverse)
        assert first == (wanted[0] if wanted else None)
        try:
            for pair in wanted[1:]:
                assert next(pairs, None) == pair
            assert next(pairs, None) is None
        except SnapshotTooOldError:
            self.trial.mark("a scan was overtaken")
            raise


def run(trial: Trial) -> None:
    """One run, read before each of its calls; then two lives."""
    rng = trial.rng()
    around = rng.random() < RING_SHARE
    trace = ring_trace(rng) if around else crash_trace(rng, STEPS, cache_size=rng.choice((0, 1 << 20)))
    image = Pages(trace.start.image)
    for position in range(len(trace.changes) + 1):
        _schedules(trial, trace, image, position)
        play_image(image, trace.changes[position : position + 1])
    for pace in (0.02, 0.3):
        life_rng = trial.rng(f"life {pace}")
        if trial.begin(f"a life beside the writer, pace {pace}"):
            _live(trial, crash_trace(life_rng, STEPS_LIFE), life_rng, pace)


def _schedules(trial: Trial, trace: Trace, image: Pages, position: int) -> None:
    """The reader begins with the writer before this change."""
    rng = trial.rng(f"{position}")
    questions = rng.sample(("get", "get_many", "scan", "scan reverse", "refresh", "scan", "get_many"), 3)
    seed = rng.getrandbits(32)
    undisturbed = Beside(image, trace, position, {})
    wanted = trial.begin(f"reader before change {position}, undisturbed")
    if wanted or trial.only is not None:
        _read(trial, undisturbed, questions, seed)
    else:
        undisturbed.calls = 1
    targets = _targets(trace, position)
    schedules = [{call: rng.choice(targets)} for call in range(undisturbed.calls)]
    for _ in range(SCHEDULES_DRAWN):
        count = rng.randint(2, SWITCHES_MAX)
        calls = sorted(rng.choices(range(undisturbed.calls + 5), k=count))
        schedules.append(dict(zip(calls, sorted(rng.choices(targets, k=count)), strict=True)))
    for schedule in schedules:
        if trial.begin(f"reader before change {position}, at its calls the writer goes to {schedule}", sampled=True):
            _read(trial, Beside(image, trace, position, schedule), questions, seed)
            if max(schedule.values()) >= targets[-2] > position + 1:
                trial.mark("the writer went through checkpoints under the reader")


def _targets(trace: Trace, position: int) -> list[int]:
    """Where the writer may go on to, in rising order: the next change, behind the next checkpoints, the end."""
    checkpoints = [
        number + 1
        for number in range(position, len(trace.changes))
        if trace.changes[number].kind in ("sync", "sync_begin")
        and number
        and trace.changes[number - 1].kind == "write"
        and trace.changes[number - 1].offset in SUPERBLOCK_OFFSETS
    ]
    groups = checkpoints[: 2 * CHECKPOINTS_SEEN]  # of copies: two for each checkpoint
    farther = checkpoints[len(groups) + 2 :: 4][:3]  # where the log has gone around
    return [position + 1, position + 2, *groups, *farther, len(trace.changes)]


def _read(trial: Trial, disk: Beside, questions: list[str], seed: int) -> None:
    before = disk.image.key() if not disk.switches else 0
    reader = Reader(disk, trial, random.Random(seed))
    for question in questions:
        answered = reader.ask(question)
        assert answered or question.startswith("scan"), f"{question} was given up after {SWITCHES_MAX} interruptions"
    assert not before or disk.image.key() == before, "a reader has changed the file"


def _live(trial: Trial, trace: Trace, rng: random.Random, pace: float) -> None:
    disk = ByChance(trace.start.image, trace, rng, pace)
    op_seen = 0
    while not disk.ended:
        try:
            reader = Reader(disk, trial, rng)
        except SnapshotTooOldError:
            trial.mark("too old: open")
            continue
        assert reader.op_seen >= op_seen
        for _ in range(rng.randrange(1, 8)):
            reader.ask(rng.choice(("get", "get_many", "scan", "scan reverse", "refresh")))
            disk.go_to(disk.position + rng.choice((0, 0, 1, 5, 30)))
        op_seen = reader.op_seen
    trial.mark("a life")
