"""A reader that holds a pin beside a writer: every scan comes to its end, in one state, whatever the writer does.

Both live on one simulated disk. The writer has a thread of its own but never runs beside the reader: before any
read of the reader, also between taking the pin and finding the state, the writer goes on by some of its disk
operations and then waits, in the middle of a checkpoint if it so happens. The same reader without a pin is the
proof that the writer goes on fast enough to overtake it.
"""

import random
import threading
from collections import Counter

import pytest

from lsmcli.engine import free_set
from lsmcli.engine.errors import SnapshotTooOldError, TreeError
from tests.testing.model import Model
from tests.testing.operations import Draw, Profile, Run, assert_verified, draw_profile, new_storage, open_database_on
from tests.testing.storage import SimulatedStorage


class Turns:
    """Hands the one turn to and fro between the reader, which the test itself is, and the writer's thread."""

    def __init__(self) -> None:
        self._writer_goes = threading.Semaphore(0)
        self._reader_goes = threading.Semaphore(0)
        self._left = 0
        self.ended = False
        self.error: BaseException | None = None

    def let_writer(self, operations: int) -> None:
        """The reader waits until the writer has done so many disk operations, or its last one."""
        if not self.ended:
            self._left = operations
            self._writer_goes.release()
            self._reader_goes.acquire()
        if self.error is not None:
            raise self.error

    def writer_step(self) -> None:
        """Before each disk operation of the writer."""
        if self._left == 0:
            self._reader_goes.release()
            self._writer_goes.acquire()
        self._left -= 1

    def run(self, work: Run, draw: Draw, steps: int) -> None:
        """The writer's thread."""
        self._writer_goes.acquire()
        try:
            for _ in range(steps):
                work.do(draw.operation())
            work.close()
        except BaseException as error:  # noqa: BLE001 - it is raised in the test's own thread
            self.error = error
        self.ended = True
        self._reader_goes.release()


class WriterDisk(SimulatedStorage):
    """The writer's handle: it waits for its turn before each operation, and before it asks for pins."""

    def __init__(self, shared: SimulatedStorage, turns: Turns) -> None:
        super().__init__()
        self.image, self.pins, self.turns = shared.image, shared.pins, turns
        self.hook = lambda *_: turns.writer_step()

    def pinned(self) -> bool:
        self.turns.writer_step()
        return super().pinned()

    def sync(self) -> None:
        self.beside = None
        self._begin("sync", 0, 0)
        self.unsynced.clear()  # no power failure here, so there is nothing to keep for one

    def sync_end(self) -> None:
        self.beside = None
        self.unsynced.clear()

    def reopen(self) -> "WriterDisk":
        return WriterDisk(self, self.turns)


class ReaderDisk(SimulatedStorage):
    """The reader's handle: before each read the writer may go on."""

    def __init__(self, shared: SimulatedStorage, turns: Turns, rng: random.Random, pace: float) -> None:
        super().__init__(writable=False)
        self.image, self.pins, self.turns = shared.image, shared.pins, turns
        self.rng = rng
        self.pace = pace

    def read(self, offset: int, size: int) -> bytes:
        if self.rng.random() < self.pace:
            self.turns.let_writer(self.rng.choice((1, 1, 2, 5, 50, 500)))
        return super().read(offset, size)


def live_beside(seed: str, *, pin: bool) -> Counter[str]:
    """One writer's run with one reader after the other beside it; what happened."""
    rng = random.Random(seed)
    profile = draw_profile(rng, memory_size=2048, window=1000, large_share=rng.choice((0.0, 0.1)), cache_size=0)
    model = Model()
    shared = new_storage(profile)
    turns = Turns()
    writer_disk = WriterDisk(shared, turns)
    shared.image = writer_disk.image
    counts: Counter[str] = Counter()
    thread = threading.Thread(
        target=lambda: turns.run(Run(writer_disk, profile, model), Draw(rng, profile, model), 500)
    )
    thread.start()
    try:
        while not turns.ended:
            turns.let_writer(rng.choice((10, 100, 500)))
            disk = ReaderDisk(writer_disk, turns, rng, rng.choice((0.05, 0.3)))
            try:
                read_all(disk, profile, model, counts, pin=pin)
            except SnapshotTooOldError:
                counts["too fast to open"] += 1
            disk.close()
            assert not writer_disk.pins
    finally:
        while not turns.ended:
            turns.let_writer(1000)
        thread.join()
    assert_verified(SimulatedStorage(writer_disk.image))
    return counts


def read_all(disk: ReaderDisk, profile: Profile, model: Model, counts: Counter[str], *, pin: bool) -> None:
    """Opens the newest state and scans all of its trees, begun at once, chunk by chunk in turn."""
    database = open_database_on(disk, profile, writable=False, committed=True)
    holder = database.pinned()
    if pin:
        holder.__enter__()
        assert holder.held
    state = model.history[database.forest.op].committed
    try:
        assert set(database.trees()) == set(state)
        scans = {name: database.tree(name).scan() for name in state}
        found: dict[str, dict[bytes, bytes]] = {name: {} for name in state}
        while scans:
            name = disk.rng.choice(list(scans))
            disk.turns.let_writer(disk.rng.choice((1, 20, 300)))
            pair = next(scans[name], None)
            if pair is None:
                del scans[name]
            else:
                found[name][pair[0]] = pair[1]
    except (SnapshotTooOldError, TreeError):  # or it went on to a state in which the tree is gone
        assert not pin, "overtaken, in spite of the pin"
        counts["overtaken"] += 1
        return
    counts["read"] += 1
    if pin:
        assert found == state
        holder.__exit__(None, None, None)


@pytest.mark.slow
def test_no_scan_under_a_pin_is_overtaken(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(free_set, "VERIFY", True)
    counts: Counter[str] = Counter()
    for number in range(15):
        try:
            counts += live_beside(f"{seed}/{number}", pin=True)
        except Exception as error:
            error.add_note(f"run {number}")
            raise
    assert counts["read"] > 25, counts


def test_the_same_reader_without_a_pin_is_overtaken(seed: int) -> None:
    counts = sum((live_beside(f"{seed}/{number}", pin=False) for number in range(12)), Counter[str]())
    assert counts["overtaken"] > 3, counts
