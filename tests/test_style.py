"""The house rules, as far as a program can check them.

What may import what, what may touch a file, how long things grow, and what every file says about itself.
Each rule is a pure function from a parsed file to findings; the second half of this file shows each of
them a snippet that it must find fault with, so that no rule can fall asleep.

The two tables of exceptions only shrink: an entry that is no longer needed fails as well.
"""

import ast
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent

# --- the rules as data --------------------------------------------------------------------------------------------

# A file of the engine imports only files before it in this list. A new file takes its place here.
ENGINE_ORDER = """
    uncompiled entry_order entry_pack packed_entries block_merge
    errors constants tree_name key_range checksum composite_key schema
    lock_holder storage_errors file_name file_lock scratch_file storage
    superblock_quorums superblock wal_entry wal_recovery wal
    free_set block_cache grid block_chain
    table_info value_block index_block columns table_memory memory_merge table table_iterator
    manifest_level manifest_log manifest
    compaction_policy compaction bar checkpoint_pace
    bulk_space sorted_batch bulk_sort bulk_target bulk_merge bulk_tree
    tree scan
    compaction_plan
    data_file scope large_values whole_tree wal_ring replay spill forest full_compaction bulk_install
    keyspace scan_steps content_checksum contents differences pin guard bulk_puts bulk_load statistics database
    import_progress opening
    backup verifier inspector
    salvage_survey salvage_log salvage_manifest salvage_tables salvage_merge salvage_report salvage
    health
""".split()

# Parts of the forest and of the database that have files of their own, and name the whole for the type checker only.
ENGINE_TYPES_UPWARD = {
    ("replay", "forest"),
    ("wal_ring", "forest"),
    ("spill", "forest"),
    ("guard", "database"),
    ("keyspace", "database"),
    ("bulk_install", "forest"),
    ("bulk_puts", "database"),
    ("bulk_load", "database"),
    ("scan_steps", "database"),
    ("pin", "database"),
    ("contents", "database"),
    ("differences", "database"),
}

# Packages that have no names of their own: what is imported from them is a file.
PACKAGES_OF_FILES = {"lsmcli.engine", "lsmcli.commands", "lsmcli.formats"}

# What commands share; every other file of lsmcli/commands is a command, or a group of them.
COMMANDS_SHARED = """
    arguments contents encoding files group output progress ranges
    import_batches import_rows import_targets interrupts rejects sources
""".split()

ENGINE_THIRD_PARTY = {"xxhash"}

# The compiler's own module, which code that runs as plain Python never imports (see engine/uncompiled).
COMPILER = "cython"

# Dear to import (10 ms is what a whole `get` may spend on the engine), so never at the top of an engine file.
IMPORTS_HEAVY = set(
    "argparse asyncio concurrent ctypes dataclasses decimal email http importlib inspect json logging"
    " multiprocessing pathlib platform pprint random shutil socket subprocess tempfile unittest urllib uuid".split()
)

# A data file is untrusted: nothing that runs code found in it, and nothing that dies with a signal when it shrinks.
IMPORTS_FORBIDDEN = set("pickle marshal shelve dill mmap".split())

FILE_CALLS = {
    "os": set(
        "open fdopen read readv pread preadv write writev pwrite pwritev fsync fdatasync truncate ftruncate rename"
        " renames replace link symlink unlink remove rmdir mkdir makedirs posix_fallocate posix_fadvise sendfile"
        " copy_file_range".split()
    ),
    "io": {"open", "FileIO"},
    "pathlib": {"Path"},
}
FILE_METHODS = {"read_text", "read_bytes", "write_text", "write_bytes"}

# Who may touch a file: the engine's storage, and what reads or writes a file that the user names.
FILE_ACCESS = {
    "lsmcli/engine/file_name.py",
    "lsmcli/engine/scratch_file.py",
    "lsmcli/engine/storage.py",
    "lsmcli/commands/files.py",
    "lsmcli/repl/editor.py",
    "lsmcli/repl/history.py",
    "lsmcli/repl/outputs.py",
    "lsmcli/repl/settings.py",
}

FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70
METHOD_LINES_UNDOCUMENTED_MAX = 6

# Files that have outgrown the limit, and their length in lines. An entry may be lowered and removed, never raised.
FILE_LINES_EXCEPTIONS: dict[str, int] = {}
# The same for functions, as "path:qualified name".
FUNCTION_LINES_EXCEPTIONS: dict[str, int] = {}

# Modules that nothing imports, because something outside the package starts them.
ENTRY_POINTS = {"lsmcli", "lsmcli.__main__", "lsmcli.cli", "lsmcli.engine"}

WORDS_UNFINISHED = re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b")

# An absolute path that is not the same on every machine says something about the one that it was written on.
PATH_ABSOLUTE = re.compile(r"(?<![\w./:*)\]}<>-])/(?!(?:bin|dev|etc|proc|sys|usr|path/to)\b)([a-z]\w*/\w[\w./-]*)")
TEXT_SUFFIXES = {"", ".cfg", ".in", ".json", ".md", ".py", ".pyx", ".sh", ".toml", ".txt", ".yaml", ".yml"}
DIRECTORIES_SKIPPED = {
    ".git",
    ".venv",
    "build",
    "__pycache__",
    ".mypy_cache",
    ".ruff_cache",
    ".pytest_cache",
    ".hypothesis",
}


class Source(NamedTuple):
    """One Python file of the project. `path` is relative to the root, with forward slashes."""

    path: str
    text: str
    tree: ast.Module

    @property
    def module(self) -> str:
        """Dotted name: lsmcli/engine/wal.py is lsmcli.engine.wal, lsmcli/__init__.py is lsmcli."""
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @property
    def in_engine(self) -> bool:
        return self.path.startswith("lsmcli/engine/")


class Import(NamedTuple):
    """A module that a file imports, as a dotted name; `top` when importing the file imports it as well."""

    module: str
    line: int
    top: bool


Findings = Iterator[str]


def source_of(path: str, text: str) -> Source:
    return Source(path, text, ast.parse(text, path))


# --- reading a file -----------------------------------------------------------------------------------------------


def imports_of(source: Source, modules: Iterable[str] = ()) -> list[Import]:
    """Every import of a file, wherever it stands.

    `from package import name` counts as package.name where that is one of `modules` or cannot be else, else as package.
    """
    known = set(modules)
    found = []
    for node, top in _with_top(source.tree):
        if isinstance(node, ast.Import):
            found += [Import(alias.name, node.lineno, top) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = source.module.split(".")[: None if source.path.endswith("__init__.py") else -1]
                package = package[: len(package) - (node.level - 1)]
                base = ".".join([*package, *([base] if base else [])])
            for alias in node.names:
                name = f"{base}.{alias.name}"
                found.append(Import(name if name in known or base in PACKAGES_OF_FILES else base, node.lineno, top))
    return found


def _with_top(tree: ast.Module) -> Iterator[tuple[ast.AST, bool]]:
    """Every node, and whether it runs when the module is imported."""
    waiting: list[tuple[ast.AST, bool]] = [(tree, True)]
    while waiting:
        node, top = waiting.pop()
        yield node, top
        inner = top and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            inner = False
        waiting += [(child, inner) for child in ast.iter_child_nodes(node)]


def functions_of(source: Source) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every function with its qualified name: ("Tree.put", …)."""
    waiting: list[tuple[str, ast.AST]] = [("", source.tree)]
    while waiting:
        prefix, node = waiting.pop()
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                yield prefix + child.name, child
            named = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            waiting.append((f"{prefix}{child.name}." if named else prefix, child))  # type: ignore[attr-defined]


def lines_of(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


# --- the rules ----------------------------------------------------------------------------------------------------


def engine_imports_downward(source: Source) -> Findings:
    """In the engine: only earlier files, the standard library and two packages."""
    if not source.in_engine:
        return
    package, _, name = source.module.rpartition(".")
    if package != "lsmcli.engine":
        name = "" if source.module == "lsmcli.engine" else name
    elif name not in ENGINE_ORDER:
        yield f"{source.path}: give {name!r} its place in ENGINE_ORDER (tests/test_style.py)"
        return
    allowed = set(ENGINE_ORDER[: ENGINE_ORDER.index(name)]) if name else set()
    for found in imports_of(source):
        root = found.module.partition(".")[0]
        where = f"{source.path}:{found.line}"
        if found.module.startswith("lsmcli.engine."):
            target = found.module.split(".")[2]
            if target == f"_{name}":  # its compiled twin
                continue
            if target not in allowed and (found.top or (name, target) not in ENGINE_TYPES_UPWARD):
                yield f"{where}: imports {found.module}, which is not below it"
        elif root == "lsmcli":
            yield f"{where}: imports {found.module}, which is not of the engine"
        elif root not in sys.stdlib_module_names and root not in {*ENGINE_THIRD_PARTY, COMPILER}:
            yield f"{where}: imports {found.module}, which the engine does without"


def engine_imports_light(source: Source) -> Findings:
    """In the engine: nothing at the top of a file that costs a one-shot command milliseconds."""
    if not source.in_engine:
        return
    for found in imports_of(source):
        if found.top and found.module.partition(".")[0] in IMPORTS_HEAVY:
            yield f"{source.path}:{found.line}: imports {found.module} at its top, which slows the start"


def imports_harmless(source: Source) -> Findings:
    """Nowhere: modules that run what a file contains, or map it."""
    for found in imports_of(source):
        if found.module.partition(".")[0] in IMPORTS_FORBIDDEN:
            yield f"{source.path}:{found.line}: imports {found.module}, which must not meet a data file"


def commands_stand_alone(source: Source) -> Findings:
    """A command imports what commands share, not another command; formats know of no command at all."""
    shared = {"lsmcli.commands", *(f"lsmcli.commands.{name}" for name in COMMANDS_SHARED)}
    if source.path.startswith("lsmcli/formats/"):
        forbidden = ["lsmcli.commands", "lsmcli.session", "lsmcli.cli", "click"]
    elif source.path.startswith("lsmcli/commands/"):
        forbidden = ["lsmcli.cli"]
    else:
        return
    for found in imports_of(source):
        if found.module.startswith(tuple(forbidden)):
            yield f"{source.path}:{found.line}: imports {found.module}, which stands above it"
        if found.module in shared or not found.module.startswith("lsmcli.commands."):
            continue
        if source.path.startswith("lsmcli/commands/"):
            yield f"{source.path}:{found.line}: imports another command, {found.module}"


def files_touched_in_one_place(source: Source) -> Findings:
    """Only FILE_ACCESS opens, reads and writes files."""
    if source.path in FILE_ACCESS:
        return
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        if isinstance(called, ast.Name) and called.id == "open":
            yield f"{source.path}:{node.lineno}: open(…): only storage touches files"
        elif isinstance(called, ast.Attribute):
            owner = called.value.id if isinstance(called.value, ast.Name) else ""
            if called.attr in FILE_CALLS.get(owner, ()) or called.attr in FILE_METHODS:
                yield f"{source.path}:{node.lineno}: {ast.unparse(called)}(…): only storage touches files"
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ImportFrom) and node.module in FILE_CALLS:
            for alias in node.names:
                if alias.name in FILE_CALLS[node.module]:
                    yield f"{source.path}:{node.lineno}: {node.module}.{alias.name}: only storage touches files"


def engine_is_silent(source: Source) -> Findings:
    """The engine prints nothing: it returns and raises."""
    if not source.in_engine:
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            yield f"{source.path}:{node.lineno}: print(…) in the engine"
        elif isinstance(node, ast.Attribute) and ast.unparse(node) in {"sys.stdout", "sys.stderr", "sys.stdin"}:
            yield f"{source.path}:{node.lineno}: {ast.unparse(node)} in the engine"


def exceptions_named(source: Source) -> Findings:
    """No bare except, and none that catches a KeyboardInterrupt by the way."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            yield f"{source.path}:{node.lineno}: except without a type"


def nothing_unfinished(source: Source) -> Findings:
    """No marks for later: what is missing is an issue, not a comment."""
    for number, line in enumerate(source.text.splitlines(), 1):
        if WORDS_UNFINISHED.search(line):
            yield f"{source.path}:{number}: {line.strip()}"


def functions_short(source: Source) -> Findings:
    """Functions of at most FUNCTION_LINES_MAX lines, docstring included."""
    for name, node in functions_of(source):
        limit = FUNCTION_LINES_EXCEPTIONS.get(f"{source.path}:{name}", FUNCTION_LINES_MAX)
        if lines_of(node) > limit:
            yield f"{source.path}:{node.lineno}: {name} has {lines_of(node)} lines, {limit} are allowed"


def files_short(source: Source) -> Findings:
    """Files of at most FILE_LINES_MAX lines: past that, look for the second noun."""
    lines = len(source.text.splitlines())
    limit = FILE_LINES_EXCEPTIONS.get(source.path, FILE_LINES_MAX)
    if lines > limit:
        yield f"{source.path}: {lines} lines, {limit} are allowed"


def files_introduced(source: Source) -> Findings:
    """Each file opens with what it is for."""
    if not ast.get_docstring(source.tree):
        yield f"{source.path}: opens without a docstring"


def public_names_documented(source: Source) -> Findings:
    """Public functions and classes say what they do.

    Exempt: records and enumerations that are nothing but fields, which their comments explain, and methods of
    a few lines, which their class explains.
    """
    for node in source.tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if not node.name.startswith("_") and not ast.get_docstring(node):
                yield f"{source.path}:{node.lineno}: {node.name} has no docstring"
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            methods = [child for child in node.body if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)]
            if not ast.get_docstring(node) and (methods or not node.bases):
                yield f"{source.path}:{node.lineno}: {node.name} has no docstring"
            for method in methods:
                if method.name.startswith("_") or ast.get_docstring(method):
                    continue
                if lines_of(method) > METHOD_LINES_UNDOCUMENTED_MAX:
                    yield f"{source.path}:{method.lineno}: {node.name}.{method.name} has no docstring"


# --- rules about the whole ----------------------------------------------------------------------------------------


def cycles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """The first import cycle found, as a path that ends where it starts; else nothing."""
    done: set[str] = set()

    def visit(module: str, path: list[str]) -> list[str] | None:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return None
        for target in sorted(graph.get(module, ())):
            found = visit(target, [*path, module])
            if found:
                return found
        done.add(module)
        return None

    return [found for module in sorted(graph) if (found := visit(module, []))][:1]


def import_graph(sources: Iterable[Source]) -> dict[str, set[str]]:
    """Which modules of the project each module imports when it is imported itself."""
    every = {source.module: source for source in sources}
    return {
        name: {found.module for found in imports_of(source, every) if found.top and found.module in every} - {name}
        for name, source in every.items()
    }


def dead_modules(sources: Iterable[Source]) -> list[str]:
    """Modules that nobody imports, names in a string (as the table of commands does) or starts."""
    every = {source.module: source for source in sources}
    reached = set(ENTRY_POINTS)
    for name, source in every.items():
        reached |= {found.module for found in imports_of(source, every)} - {name}
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in every:
                reached.add(node.value)
    packages = {source.module for source in every.values() if source.path.endswith("__init__.py")}
    return sorted(set(every) - reached - packages)


def paths_of_one_machine(name: str, text: str) -> Findings:
    """Absolute paths that only one machine has."""
    for number, line in enumerate(text.splitlines(), 1):
        for found in PATH_ABSOLUTE.finditer(line):
            yield f"{name}:{number}: {found.group().strip()}"


# --- the project --------------------------------------------------------------------------------------------------


def package_sources() -> list[Source]:
    return [
        source_of(path.relative_to(ROOT).as_posix(), path.read_text("utf-8"))
        for path in sorted((ROOT / "lsmcli").rglob("*.py"))
    ]


def project_texts() -> Iterator[tuple[str, str]]:
    for path in sorted(ROOT.rglob("*")):
        relative = path.relative_to(ROOT)
        if DIRECTORIES_SKIPPED.intersection(relative.parts) or path.suffix not in TEXT_SUFFIXES or not path.is_file():
            continue
        try:
            yield relative.as_posix(), path.read_text("utf-8")
        except UnicodeDecodeError:
            continue  # a data file


SOURCES = package_sources()

RULES: list[Callable[[Source], Findings]] = [
    engine_imports_downward,
    engine_imports_light,
    imports_harmless,
    commands_stand_alone,
    files_touched_in_one_place,
    engine_is_silent,
    exceptions_named,
    nothing_unfinished,
    functions_short,
    files_short,
    files_introduced,
    public_names_documented,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_package_keeps(rule: Callable[[Source], Findings]) -> None:
    findings = [finding for source in SOURCES for finding in rule(source)]
    assert not findings, "\n".join(["", *findings])


@pytest.mark.parametrize("rule", [imports_harmless, exceptions_named, nothing_unfinished, files_introduced])
def test_the_demo_keeps(rule: Callable[[Source], Findings]) -> None:
    sources = [source_of(path.relative_to(ROOT).as_posix(), path.read_text("utf-8")) for path in ROOT.glob("demo/*.py")]
    assert sources
    findings = [finding for source in sources for finding in rule(source)]
    assert not findings, "\n".join(["", *findings])


def test_the_package_is_seen() -> None:
    assert {"lsmcli.engine.schema", "lsmcli.engine.constants"} <= {source.module for source in SOURCES}


def test_no_import_cycle() -> None:
    assert cycles(import_graph(SOURCES)) == []


def test_no_dead_module() -> None:
    assert dead_modules(SOURCES) == []


def test_the_order_of_the_engine_names_only_files_that_exist_once() -> None:
    assert len(ENGINE_ORDER) == len(set(ENGINE_ORDER))
    present = {source.module.rpartition(".")[2] for source in SOURCES if source.in_engine}
    assert [name for name in ENGINE_ORDER if name not in present] == []


def test_upward_types_are_needed() -> None:
    found = {
        (source.module.rpartition(".")[2], found.module.rpartition(".")[2])
        for source in SOURCES
        if source.in_engine
        for found in imports_of(source)
    }
    assert ENGINE_TYPES_UPWARD - found == set()


def test_exceptions_only_shrink() -> None:
    lengths = {source.path: len(source.text.splitlines()) for source in SOURCES}
    for path, limit in FILE_LINES_EXCEPTIONS.items():
        assert limit > FILE_LINES_MAX, f"{path}: remove the exception"
        assert lengths.get(path, 0) == limit, f"{path}: lower the exception to {lengths.get(path, 0)}"
    functions = {f"{source.path}:{name}": lines_of(node) for source in SOURCES for name, node in functions_of(source)}
    for name, limit in FUNCTION_LINES_EXCEPTIONS.items():
        assert limit > FUNCTION_LINES_MAX, f"{name}: remove the exception"
        assert functions.get(name, 0) == limit, f"{name}: lower the exception to {functions.get(name, 0)}"


def test_file_access_is_listed_only_for_files_that_exist() -> None:
    assert FILE_ACCESS - {source.path for source in SOURCES} == set()


def test_no_path_of_one_machine() -> None:
    own = "tests/test_style.py"  # names bad examples below
    findings = [found for name, text in project_texts() if name != own for found in paths_of_one_machine(name, text)]
    assert not findings, "\n".join(["", *findings])


# --- each rule can fail -------------------------------------------------------------------------------------------


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
