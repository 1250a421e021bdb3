"""The forest: ops and their replay, bars, checkpoints, scopes in memory and spilled, a full disk."""

import random

import pytest

from lsmcli.engine import wal_ring
from lsmcli.engine.constants import WAL_SIZE_SECOND
from lsmcli.engine.errors import LimitError, NoSpaceError, ScopeError
from lsmcli.engine.forest import Forest
from lsmcli.engine.free_set import Reservation
from lsmcli.engine.grid import Grid
from lsmcli.engine.schema import ScopeState
from tests.testing.model import MAIN, Model
from tests.testing.operations import (
    Operation,
    Profile,
    Run,
    assert_holds,
    assert_verified,
    draw_profile,
    new_storage,
    open_database_on,
)
from tests.testing.storage import Fault, SimulatedStorage


def new_run(**fixed: object) -> Run:
    settings: dict[str, object] = {"memory_size": 4096, "growth_factor": 2, "cache_size": 1 << 20} | fixed
    profile: Profile = draw_profile(random.Random(3), **settings)
    return Run(new_storage(profile), profile, Model())


def forest_of(run: Run) -> Forest:
    return run.database.forest


def put(run: Run, key: bytes, value: bytes | None = b"value") -> None:
    run.do(Operation("put", (MAIN, [(key, value)])))


def fill(run: Run, count: int, stamp: bytes = b"v") -> None:
    for i in range(count):
        put(run, b"key %03d" % i, stamp * 50)


def killed(run: Run) -> Run:
    """The process is gone, the page cache stays."""
    storage = run.storage.reopen()
    return Run(storage, run.profile, run.model, open_database_on(storage, run.profile))


class Full(dict[int, Fault]):
    """The disk takes no more blocks."""

    def get(self, index: int, default: object = None) -> object:  # type: ignore[override]  # as the disk asks
        return Fault.NO_SPACE


def refuses_to_reserve(grid: Grid, count: int) -> Reservation:
    raise NoSpaceError("the disk is full")


def test_ops_are_numbered_from_one() -> None:
    run = new_run()
    assert forest_of(run).op == 0
    put(run, b"a")
    put(run, b"b")
    assert forest_of(run).op == 2


def test_replay_gives_the_same_trees() -> None:
    run = new_run(memory_size=1 << 20)
    fill(run, 50)
    put(run, b"key 007", None)
    again = killed(run)
    assert forest_of(again).op == forest_of(run).op
    assert_holds(again.database, run.model.state)


def test_a_full_bar_ends_with_a_checkpoint_that_frees_the_log() -> None:
    run = new_run()
    fill(run, 200)
    assert forest_of(run).bar.number > 5
    assert run.database.stats()["superblock_sequence"] > 4
    assert forest_of(run).file.wal.live_size < 4 * 4096


def test_little_in_memory_is_absorbed_and_not_flushed() -> None:
    """A flush by hand every few entries must not make a table each time; a bar with little in it waits for the next."""
    run = new_run(memory_size=64 * 1024)
    forest = forest_of(run)
    put(run, b"a")
    forest._bar_end()
    put(run, b"b")
    forest._bar_end()
    assert forest.tree(2).manifest.level_counts[0] == 0
    assert set(forest.tree(2).table_immutable.entries) == {b"a", b"b"}


@pytest.mark.parametrize("state", [ScopeState.DURABLE, ScopeState.BOUND])
@pytest.mark.parametrize("count", [3, 100], ids=["in memory", "spilled"])
def test_a_scope_is_undone_as_a_whole(state: ScopeState, count: int) -> None:
    run = new_run()
    fill(run, 30, b"before")
    run.do(Operation("checkpoint"))
    run.do(Operation("begin_durable" if state is ScopeState.DURABLE else "begin_bound"))
    fill(run, count, b"inside")
    put(run, b"key 001", None)
    scope = forest_of(run).scope
    assert scope is not None and scope.spilled == (count > 3)
    assert scope.status().changes == count + 1
    run.do(Operation("discard"))
    assert_holds(run.database, run.model.state)
    run.database.checkpoint()
    run.close()
    assert_verified(run.storage)


@pytest.mark.parametrize("count", [3, 100], ids=["in memory", "spilled"])
def test_a_durable_scope_survives_a_kill_and_a_bound_one_is_discarded(count: int) -> None:
    for durable in (True, False):
        run = new_run()
        fill(run, 30, b"before")
        run.do(Operation("begin_durable" if durable else "begin_bound"))
        fill(run, count, b"inside")
        surviving = run.model.state.surviving
        again = killed(run)
        assert_holds(again.database, surviving)
        assert (forest_of(again).scope is not None) == durable


def test_one_scope_at_a_time() -> None:
    forest = forest_of(new_run())
    with pytest.raises(ScopeError):
        forest.scope_persist()
    with pytest.raises(ScopeError):
        forest.scope_discard()
    forest.scope_begin(ScopeState.DURABLE)
    with pytest.raises(ScopeError):
        forest.scope_begin(ScopeState.BOUND)


def test_on_a_full_disk_deletes_go_on_and_space_comes_back() -> None:
    run = new_run()
    fill(run, 150)
    run.storage.faults = Full()
    # Even the log refuses: nothing happens, and the handle stays good.
    with pytest.raises(NoSpaceError):
        run.database.put(b"more", b"x")
    assert forest_of(run).op == run.model.op
    run.storage.faults = {}
    run.do(Operation("delete_range", (MAIN, b"key 010", None)))
    run.do(Operation("compact"))
    assert_holds(run.database, run.model.state)


def test_an_op_that_no_ring_can_take_is_refused() -> None:
    run = new_run()
    with pytest.raises(LimitError, match="split"):
        forest_of(run).prepare(1 << 40)
    put(run, b"a")


def test_a_checkpoint_of_an_empty_bar_begins_behind_it() -> None:
    """A scope's end is a record without entries: the bar that it falls into has nothing before it."""
    run = new_run()
    run.do(Operation("begin_durable"))
    fill(run, 3)
    run.do(Operation("checkpoint"))
    run.do(Operation("persist"))
    fill(run, 100)
    assert_holds(killed(run).database, run.model.state)


def test_a_replayed_discard_is_not_replayed_again_without_its_scope() -> None:
    """The recovery of a discarded scope may checkpoint at once; the log then begins behind the scope."""
    run = new_run()
    fill(run, 10)
    run.do(Operation("begin_durable"))
    fill(run, 100, b"inside")
    run.do(Operation("checkpoint"))
    fill(run, 3, b"inside the log")
    image: list[bytes] = []

    def before_the_checkpoint(index: int, kind: str, offset: int, size: int) -> None:
        if kind == "sync" and not image:
            image.append(bytes(run.storage.image))

    run.storage.hook = before_the_checkpoint
    run.do(Operation("discard"))
    run.storage.hook = None
    storage = SimulatedStorage(image[0])
    again = Run(storage, run.profile, run.model, open_database_on(storage, run.profile))
    put(again, b"after")
    again.database.forest.checkpoint()
    assert_holds(killed(again).database, run.model.state)


def test_overwritten_large_values_are_given_back() -> None:
    run = new_run()
    for i in range(20):
        put(run, b"large", b"%d" % i * 20_000)
    run.do(Operation("remove", (MAIN, [(b"large", None)])))
    run.do(Operation("compact"))
    assert run.storage.size() <= 512 * 1024 + 8 * 4096
    run.close()
    assert_verified(run.storage)


def test_an_error_of_compaction_is_forgotten_when_there_is_space_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compaction finds no space until the log is full, and puts are refused; then there is space, and they go on."""
    run = new_run()
    fill(run, 30)
    with monkeypatch.context() as patch:
        patch.setattr(Grid, "reserve", refuses_to_reserve)
        with pytest.raises(NoSpaceError):
            for _ in range(2000):
                run.database.put(b"more", b"x" * 500)
        with pytest.raises(NoSpaceError):
            run.database.put(b"more", b"x" * 500)
        assert run.database.get(b"more") == b"x" * 500
    run.database.put(b"more", b"y" * 500)
    run.database.checkpoint()
    assert run.database.get(b"more") == b"y" * 500


def test_a_large_value_of_a_discarded_scope_is_given_back_though_nothing_else_is_in_memory() -> None:
    run = new_run(memory_size=1 << 20)
    run.do(Operation("begin_durable"))
    put(run, b"large", bytes(20_000))
    run.do(Operation("discard"))
    run.do(Operation("create_tree", ("apple",)))
    run.do(Operation("checkpoint"))
    run.do(Operation("checkpoint"))
    run.close()
    assert_verified(run.storage)


def test_closing_needs_no_space() -> None:
    run = new_run()
    put(run, b"a")
    run.storage.faults = Full()
    run.close()
    assert_holds(killed(run).database, run.model.state)


def test_the_log_of_a_new_file_moves_with_one_checkpoint() -> None:
    run = new_run(memory_size=4 << 20)
    forest = forest_of(run)
    syncs: list[int] = []
    for i in range(600):
        ring, before = forest.file.wal.size, run.storage.sync_count
        put(run, b"key %03d" % i, b"w" * 1500)
        if forest.file.wal.size != ring:
            syncs.append(run.storage.sync_count - before)
    assert syncs == [4, 4]  # the old ring, then those of the checkpoint
    assert_holds(killed(run).database, run.model.state)


def test_a_disk_without_room_for_the_full_ring_gets_a_smaller_one() -> None:
    run = new_run(memory_size=4 << 20)
    forest = forest_of(run)
    refused: list[int] = []

    class Small(SimulatedStorage):
        """It grows by a few MiB at most."""

        def allocate(self, size: int) -> None:
            if size > 9 << 20:
                refused.append(size)
                raise NoSpaceError("no space left: simulated")
            super().allocate(size)

    run.storage.__class__ = Small
    for i in range(600):
        put(run, b"key %03d" % i, b"w" * 1500)
    assert refused
    assert WAL_SIZE_SECOND < forest.file.wal.size < wal_ring.size_full(4 << 20)
    assert_holds(killed(run).database, run.model.state)


def test_space_that_is_there_again_is_enough_for_the_op_that_finds_the_log_full(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What compaction could not finish is finished by that op; a bar less is in the log then: nothing is flushed."""
    run = new_run()
    fill(run, 100)
    forest = forest_of(run)
    with monkeypatch.context() as patch:
        patch.setattr(Grid, "reserve", refuses_to_reserve)
        with pytest.raises(NoSpaceError):
            for _ in range(2000):
                run.database.put(b"more", b"x" * 500)
    monkeypatch.setattr(forest, "flush", None)
    bar = forest.bar.number
    run.database.put(b"more", b"y" * 100)
    assert forest.bar.number == bar + 1
    assert forest.compaction_error is None
    assert run.database.get(b"more") == b"y" * 100
