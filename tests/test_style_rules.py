"""Every rule of test_style.py can fail: a bad example that it must find, and good ones that it must leave alone."""

from collections.abc import Callable

import pytest

from tests.test_style import (
    FILE_LINES_MAX,
    FUNCTION_LINES_MAX,
    RULES,
    Findings,
    commands_stand_alone,
    cycles,
    dead_modules,
    engine_imports_downward,
    engine_imports_light,
    engine_is_silent,
    exceptions_named,
    files_introduced,
    files_short,
    files_touched_in_one_place,
    functions_short,
    import_graph,
    imports_harmless,
    nothing_unfinished,
    paths_of_one_machine,
    public_names_documented,
)
from tests.testing.source import Source, source_of

BAD = [
    (engine_imports_downward, "lsmcli/engine/wal.py", "from lsmcli.engine import grid"),
    (engine_imports_downward, "lsmcli/engine/wal.py", "from lsmcli.engine.grid import Grid"),
    (engine_imports_downward, "lsmcli/engine/wal.py", "from . import grid"),
    (engine_imports_downward, "lsmcli/engine/wal.py", "def f():\n    import lsmcli.engine.database"),
    (engine_imports_downward, "lsmcli/engine/wal.py", "from lsmcli.engine import wal"),
    (engine_imports_downward, "lsmcli/engine/wal.py", "import lsmcli"),
    (engine_imports_downward, "lsmcli/engine/wal.py", "from lsmcli.commands import output"),
    (engine_imports_downward, "lsmcli/engine/wal.py", "import click"),
    (engine_imports_downward, "lsmcli/engine/wal.py", "from prompt_toolkit.application import Application"),
    (engine_imports_downward, "lsmcli/engine/grid.py", "from tabulate import tabulate"),
    (engine_imports_downward, "lsmcli/engine/newcomer.py", "import os"),
    (engine_imports_downward, "lsmcli/engine/__init__.py", "from lsmcli.engine import errors"),
    (engine_imports_light, "lsmcli/engine/wal.py", "import json"),
    (engine_imports_light, "lsmcli/engine/wal.py", "from concurrent.futures import ThreadPoolExecutor"),
    (engine_imports_light, "lsmcli/engine/wal.py", "class A:\n    from dataclasses import dataclass"),
    (imports_harmless, "lsmcli/session.py", "def f():\n    import pickle"),
    (imports_harmless, "lsmcli/engine/storage.py", "from mmap import mmap"),
    (commands_stand_alone, "lsmcli/commands/put.py", "from lsmcli.commands.get import show"),
    (commands_stand_alone, "lsmcli/commands/put.py", "from lsmcli.cli import main"),
    (commands_stand_alone, "lsmcli/formats/tsv.py", "from lsmcli.commands.output import text"),
    (commands_stand_alone, "lsmcli/formats/tsv.py", "import click"),
    (files_touched_in_one_place, "lsmcli/engine/wal.py", "open('x')"),
    (files_touched_in_one_place, "lsmcli/engine/wal.py", "os.pwrite(3, b'', 0)"),
    (files_touched_in_one_place, "lsmcli/session.py", "from os import pwrite"),
    (files_touched_in_one_place, "lsmcli/session.py", "path.read_bytes()"),
    (engine_is_silent, "lsmcli/engine/wal.py", "print(1)"),
    (engine_is_silent, "lsmcli/engine/wal.py", "import sys\nsys.stderr.write('x')"),
    (exceptions_named, "lsmcli/cli.py", "try:\n    f()\nexcept:\n    pass"),
    (nothing_unfinished, "lsmcli/cli.py", "f()  # TO" + "DO: more"),
    (functions_short, "lsmcli/cli.py", "class A:\n    def f(self):\n" + "        x = 1\n" * FUNCTION_LINES_MAX),
    (files_short, "lsmcli/cli.py", "x = 1\n" * (FILE_LINES_MAX + 1)),
    (files_introduced, "lsmcli/cli.py", "import os\n'''late'''"),
    (public_names_documented, "lsmcli/cli.py", "def main(): ..."),
    (public_names_documented, "lsmcli/cli.py", "class A: ..."),
    (public_names_documented, "lsmcli/cli.py", "class A(B):\n    def f(self): ..."),
    (public_names_documented, "lsmcli/cli.py", "class A:\n    '''A.'''\n    def f(self):\n" + "        x = 1\n" * 6),
]

GOOD = [
    (
        engine_imports_downward,
        "lsmcli/engine/wal.py",
        "import os\nimport xxhash\nfrom lsmcli.engine import schema, storage",
    ),
    (
        engine_imports_downward,
        "lsmcli/engine/wal.py",
        "from lsmcli.engine.wal_entry import encode\nfrom . import errors",
    ),
    (engine_imports_downward, "lsmcli/session.py", "import click\nimport lsmcli"),
    (engine_imports_light, "lsmcli/engine/wal.py", "def f():\n    import json"),
    (engine_imports_light, "lsmcli/engine/wal.py", "if TYPE_CHECKING:\n    import json"),
    (engine_imports_light, "lsmcli/commands/scan.py", "import json"),
    (
        commands_stand_alone,
        "lsmcli/commands/put.py",
        "from lsmcli.commands.output import text\nfrom lsmcli.formats import tsv",
    ),
    (files_touched_in_one_place, "lsmcli/engine/storage.py", "os.pwrite(3, b'', 0)"),
    (
        files_touched_in_one_place,
        "lsmcli/session.py",
        "lsmcli.open(path)\nos.path.realpath(path)\nsys.stdout.write('')",
    ),
    (engine_is_silent, "lsmcli/commands/scan.py", "print(1)"),
    (exceptions_named, "lsmcli/cli.py", "try:\n    f()\nexcept OSError:\n    pass"),
    (functions_short, "lsmcli/cli.py", "def f():\n" + "    x = 1\n" * (FUNCTION_LINES_MAX - 1)),
    (files_short, "lsmcli/cli.py", "x = 1\n" * FILE_LINES_MAX),
    (files_introduced, "lsmcli/cli.py", "'''What it is for.'''"),
    (
        public_names_documented,
        "lsmcli/cli.py",
        "def _f(): ...\nclass A(NamedTuple):\n    x: int\nclass B:\n    '''B.'''\n    def f(self): ...",
    ),
]


def _id(case: object) -> str:
    return getattr(case, "__name__", "")


@pytest.mark.parametrize(("rule", "path", "text"), BAD, ids=_id)
def test_a_bad_example_is_found(rule: Callable[[Source], Findings], path: str, text: str) -> None:
    assert list(rule(source_of(path, text)))


@pytest.mark.parametrize(("rule", "path", "text"), GOOD, ids=_id)
def test_a_good_example_is_left_alone(rule: Callable[[Source], Findings], path: str, text: str) -> None:
    assert list(rule(source_of(path, text))) == []


def test_every_rule_has_a_bad_example() -> None:
    assert {rule for rule, _, _ in BAD} == set(RULES)


def test_a_cycle_is_found() -> None:
    ring = [
        source_of("lsmcli/a.py", "import lsmcli.b"),
        source_of("lsmcli/b.py", "from lsmcli import c"),
        source_of("lsmcli/c.py", "from lsmcli.a import x"),
    ]
    assert cycles(import_graph(ring)) == [["lsmcli.a", "lsmcli.b", "lsmcli.c", "lsmcli.a"]]
    assert cycles(import_graph(ring[:2])) == []


def test_an_import_inside_a_function_closes_no_cycle() -> None:
    pair = [source_of("lsmcli/a.py", "import lsmcli.b"), source_of("lsmcli/b.py", "def f():\n    import lsmcli.a")]
    assert cycles(import_graph(pair)) == []


def test_a_dead_module_is_found() -> None:
    sources = [
        source_of("lsmcli/cli.py", "COMMANDS = {'put': 'lsmcli.commands.put'}\nfrom lsmcli import session"),
        source_of("lsmcli/session.py", ""),
        source_of("lsmcli/commands/__init__.py", ""),
        source_of("lsmcli/commands/put.py", ""),
        source_of("lsmcli/commands/old.py", "import lsmcli.commands.old"),
    ]
    assert dead_modules(sources) == ["lsmcli.commands.old"]


@pytest.mark.parametrize(
    "line", ["see /home/somebody/notes", "open('/srv/data/x.lsm')", "(/opt/tools/bin)", "`/tmp/x/y`"]
)
def test_a_path_of_one_machine_is_found(line: str) -> None:
    assert list(paths_of_one_machine("README.md", line))


@pytest.mark.parametrize(
    "line", ["#!/usr/bin/env bash", "put/get/scan", "> /dev/full", "1 / 2", "https://example.org/a/b"]
)
def test_other_slashes_are_left_alone(line: str) -> None:
    assert list(paths_of_one_machine("README.md", line)) == []
