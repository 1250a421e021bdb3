"""Starting up: the garbage collector sleeps while modules are imported; nothing is imported that is not needed, nor
when a put waits for it."""

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

import lsmcli
from lsmcli.start import importing


def output_of(program: str, path: Path) -> list[str]:
    """The words that a program, which begins with nothing imported, prints about the file at sys.argv[1]."""
    environment = os.environ | {"PYTHONPATH": str(Path(lsmcli.__file__).parent.parent)}
    command = [sys.executable, "-c", program, str(path)]
    return subprocess.run(command, capture_output=True, check=True, text=True, env=environment).stdout.split()


def test_nothing_is_collected_while_importing() -> None:
    assert gc.isenabled()
    with importing():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_an_import_that_fails_wakes_the_collector_too() -> None:
    with pytest.raises(ImportError), importing():
        raise ImportError
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with importing():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_no_put_of_a_program_waits_for_an_import(tmp_path: Path) -> None:
    program = """if True:
        import sys, lsmcli
        db = lsmcli.open(sys.argv[1], "c", network=True)
        before = set(sys.modules)
        for i in range(5000):
            db.put(b"%d" % i, b"value" * 20)
        print("done", *sys.modules.keys() - before)
    """
    assert output_of(program, tmp_path / "a.lsm") == ["done"]


def test_a_command_with_a_single_op_imports_no_compaction(tmp_path: Path) -> None:
    program = """if True:
        import sys
        from lsmcli.cli import main
        main(["--network", sys.argv[1], "put", "a", "1"])
        print(*sys.modules)
    """
    path = tmp_path / "a.lsm"
    for _ in range(2):  # into a new file, and behind what is in its log
        modules = output_of(program, path)
        assert "lsmcli.engine.forest" in modules
        assert "lsmcli.engine.compaction_plan" not in modules
