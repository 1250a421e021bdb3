"""The torture of a disk: its model, and that a disk which forgets is found out."""

import shutil
from itertools import islice
from pathlib import Path

import pytest

import lsmcli
from lsmcli.engine.errors import FileError
from lsmcli.torture.harness import Torture
from lsmcli.torture.load import Model, Step, steps, take


def test_the_steps_follow_from_the_seed() -> None:
    first = list(islice(steps(7, 1, scope=False), 500))
    assert first == list(islice(steps(7, 1, scope=False), 500))
    assert first != list(islice(steps(7, 2, scope=False), 500))
    assert {step.kind for step in first} >= {"put", "batch", "delete", "large", "sync", "begin"}


def test_model_and_database_agree(tmp_path: Path) -> None:
    model = Model()
    with lsmcli.open(tmp_path / "t.lsm", memory_size=16 * 1024) as database:
        for step in islice(steps(7, 1, scope=False), 400):
            model.take(step)
            take(database, step)
        assert dict(database.scan()) == model.entries
        assert (database.scope_status() is not None) == (model.before is not None)


@pytest.mark.slow
def test_a_good_disk_passes(tmp_path: Path) -> None:
    path = tmp_path / "t.lsm"
    result = Torture(str(path), 7).run(1.0)
    assert result.problem == ""
    assert result.rounds >= 1
    assert result.steps > 0
    assert not path.exists()


@pytest.mark.slow
def test_a_disk_that_forgets_is_found_out(tmp_path: Path) -> None:
    """Between two rounds the file goes back to what it was before."""
    path, copy = tmp_path / "t.lsm", tmp_path / "copy"
    torture = Torture(str(path), 7)
    shutil.copy(path, copy)
    assert torture.round() == ""
    shutil.copy(copy, path)
    try:
        found = torture.round()
    except FileError as error:  # the first round ended within a scope, of which the file knows nothing now
        found = str(error)
    assert "is not what the file holds" in found or "no scope is open" in found
    assert path.exists()


@pytest.mark.slow
def test_a_writer_that_ends_by_itself_is_no_failure_of_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "t.lsm"
    torture = Torture(str(path), 7)
    path.write_bytes(b"text\n" * 1000)
    with pytest.raises(FileError, match=r"ended by itself: .* is not an lsmcli file"):
        torture.round()


def test_a_discarded_scope_leaves_the_model_as_it_was() -> None:
    model = Model()
    model.take(Step("put", [(b"a", b"1")]))
    model.take(Step("begin", []))
    model.take(Step("batch", [(b"a", None), (b"b", b"2")]))
    assert model.committed == {b"a": b"1"}
    model.take(Step("discard", []))
    assert model.entries == {b"a": b"1"}
    model.take(Step("begin", []))
    model.take(Step("put", [(b"b", b"2")]))
    model.take(Step("persist", []))
    assert model.committed == {b"a": b"1", b"b": b"2"}
