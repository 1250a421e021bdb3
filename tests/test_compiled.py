"""Which code runs, and that the two forms of a hot module offer the same."""

import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from tests.testing.twins import compiled, interpreted

HOT = [
    "lsmcli.engine.entry_order",
    "lsmcli.engine.entry_pack",
    "lsmcli.engine.file_write",
    "lsmcli.engine.op_columns",
    "lsmcli.engine.op_path",
    "lsmcli.engine.block_merge",
    "lsmcli.engine.second_thread",
    "lsmcli.engine.memory_runs",
    "lsmcli.engine.piece_merge",
    "lsmcli.engine.block_scan",
    "lsmcli.engine.run_merge",
    "lsmcli.engine.lookup",
    "lsmcli.formats.plain_rows",
]


def public_functions(module: ModuleType) -> set[str]:
    """Names of the functions that the module itself defines, without those that only other compiled modules call."""
    assert module.__spec__ is not None and module.__spec__.origin is not None
    declarations = Path(module.__spec__.origin).parent / f"_{module.__name__.rpartition('.')[2].removeprefix('_')}.pxd"
    of_c = set(re.findall(r"(\w+)\(", declarations.read_text())) if declarations.exists() else set()
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and callable(value) and getattr(value, "__module__", None) == module.__name__
    } - of_c


def output_of(*arguments: str, **environment: str) -> str:
    """What Python prints with these arguments."""
    command = [sys.executable, *arguments]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("name", HOT)
def test_the_compiled_form_takes_the_place_of_every_public_function(name: str) -> None:
    twin = compiled(name)
    if twin is None:
        pytest.skip("not compiled here")
    assert public_functions(twin) == public_functions(interpreted(name)) != set()
    if not os.environ.get("LSMCLI_PURE"):
        used = import_module(name)
        assert used.COMPILED
        assert all(getattr(used, function) is getattr(twin, function) for function in public_functions(twin))


def test_the_version_tells_which_code_runs_and_the_environment_forces_the_interpreted() -> None:
    usual = "compiled" if all(map(compiled, HOT)) else "interpreted"
    for forced, kind in (("", usual), ("0", usual), ("1", "interpreted")):
        assert f", {kind}\n" in output_of("-m", "lsmcli", "--version", LSMCLI_PURE=forced)


@pytest.mark.parametrize("forced", ["0", "1"])
def test_nothing_needs_the_compilers_package_at_run_time(forced: str) -> None:
    code = "import sys, lsmcli.cli, lsmcli.engine.database, lsmcli.formats.plain_rows; print('cython' in sys.modules)"
    assert output_of("-c", code, LSMCLI_PURE=forced) == "False\n"
