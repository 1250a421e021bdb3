"""A reader that is refreshed again and again beside a writer: always the newest committed state, mostly at no cost.

Every interleaving with a writer, on a simulated disk, is class 18 of the simulation.
"""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lsmcli
from lsmcli.engine import replay
from lsmcli.engine.database import Database
from lsmcli.engine.errors import DamageError, TreeError

State = dict[bytes, bytes]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shared.lsm"


@pytest.fixture
def pair(path: Path) -> Iterator[tuple[Database, Database]]:
    """A writer with small memory, and a reader."""
    with lsmcli.open(path, memory_size=1 << 16, block_size=4096) as writer, lsmcli.open(path, "r") as reader:
        yield writer, reader


def change(writer: Database, model: State, rng: random.Random) -> None:
    """An op of any kind."""
    keys = [b"%03d" % rng.randrange(300) for _ in range(rng.choice((1, 1, 1, 20)))]
    match rng.randrange(8):
        case 0:
            for key in keys:
                writer.delete(key)
                model.pop(key, None)
        case 1:
            pairs = [(key, rng.randbytes(rng.randint(0, 300))) for key in keys]
            writer.put_many(pairs)
            model.update(pairs)
        case 2 if rng.random() < 0.3:
            model[keys[0]] = value = rng.randbytes(5000)  # out of line
            writer.put(keys[0], value)
        case _:
            for key in keys:
                model[key] = value = rng.randbytes(rng.randint(0, 300))
                writer.put(key, value)


def test_a_refresh_shows_the_newest_committed_state(path: Path, rng: random.Random) -> None:
    model: State = {}
    followed = renewed = 0
    writer = lsmcli.open(path, memory_size=1 << 16, block_size=4096)
    reader = lsmcli.open(path, "r")
    committed: State | None = None
    for _ in range(400):
        for _ in range(rng.choice((0, 1, 1, 5))):
            change(writer, model, rng)
        match rng.randrange(40):
            case 0:
                writer.checkpoint()
            case 1:
                writer.close()
                writer = lsmcli.open(path, memory_size=1 << 16)
            case 2 | 3 if committed is None:
                writer.scope_begin()
                committed = dict(model)
            case 4:
                writer.sync()
        if committed is not None and rng.random() < 0.2:
            if rng.random() < 0.5:
                writer.scope_persist()
            else:
                writer.scope_discard()
                model = committed
            committed = None
        forest = reader.forest
        scan = reader.scan()
        before = [next(scan, None)]
        reader.refresh()
        followed += reader.forest is forest
        renewed += reader.forest is not forest
        wanted = model if committed is None else committed
        assert dict(reader.scan()) == wanted
        probes = [b"%03d" % rng.randrange(300) for _ in range(20)]
        assert reader.get_many(probes) == [wanted.get(key) for key in probes]
        assert [reader.get(key) for key in probes] == [wanted.get(key) for key in probes]
        assert before  # of the state before: the scan goes on in that, or says that it cannot
    reader.close()
    writer.close()
    assert followed > 100 and renewed > 20


def test_a_scan_goes_on_in_its_state_while_its_handle_is_refreshed(pair: tuple[Database, Database]) -> None:
    writer, reader = pair
    writer.put_many((b"%03d" % i, b"before") for i in range(50))
    reader.refresh()
    forest, scan = reader.forest, reader.scan()
    first = [next(scan) for _ in range(3)]
    writer.put_many((b"%03d" % i, b"after") for i in range(0, 100, 2))
    writer.delete(b"007")
    reader.refresh()
    assert reader.forest is forest
    assert first + list(scan) == [(b"%03d" % i, b"before") for i in range(50)]
    assert reader[b"000"] == b"after" and b"007" not in reader and reader[b"098"] == b"after"


def test_trees_come_and_go_with_a_refresh(pair: tuple[Database, Database]) -> None:
    writer, reader = pair
    tree = writer.create_tree("more")
    tree[b"a"] = b"1"
    reader.refresh()
    forest, more = reader.forest, reader.tree("more")
    assert more[b"a"] == b"1"
    tree[b"a"] = b"2"
    reader.refresh()
    assert reader.forest is forest and more[b"a"] == b"2"
    writer.drop_tree("more")
    reader.refresh()
    assert reader.trees() == ["main"]
    with pytest.raises(TreeError):
        more.get(b"a")


def test_nothing_of_an_open_scope_shows(pair: tuple[Database, Database]) -> None:
    writer, reader = pair
    writer[b"a"] = b"1"
    reader.refresh()
    writer.scope_begin()
    writer[b"a"] = b"2"
    reader.refresh()
    assert reader[b"a"] == b"1"
    writer[b"b"] = b"2"
    reader.refresh()
    assert dict(reader.scan()) == {b"a": b"1"}
    writer.scope_persist()
    reader.refresh()
    assert dict(reader.scan()) == {b"a": b"2", b"b": b"2"}


def test_an_acknowledged_op_that_is_damaged_is_not_passed_over(path: Path) -> None:
    writer = lsmcli.open(path)
    writer[b"a"] = b"1"
    reader = lsmcli.open(path, "r")
    wal = writer.forest.file.wal
    at = wal.offset + wal.position + 80
    for i in range(5):
        writer[b"%d" % i] = b"value"
    writer.sync()
    writer[b"last"] = b"tells that all before is on the disk"
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"??")
    with pytest.raises(DamageError, match="was acknowledged"):
        reader.refresh()
    assert dict(reader.scan()) == {b"a": b"1"}
    reader.close()


def test_an_interrupt_in_the_middle_of_an_op_leaves_no_half_of_it(
    pair: tuple[Database, Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, reader = pair
    writer.put_many([(b"a", b"1"), (b"b", b"1")])
    reader.refresh()
    writer.put_many([(b"a", b"2"), (b"b", b"2")])

    def half(forest: Any, steps: Any) -> None:
        for step in steps:
            forest.trees[2].table_mutable.entries[step.keys[0]] = step.values[0]
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(replay, "replay", half)
        with pytest.raises(KeyboardInterrupt):
            reader.refresh()
    assert reader.get_many([b"a", b"b"]) == [b"2", b"2"]
