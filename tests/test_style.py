"""The house rules, as far as a program can check them.

What may import what, what may touch a file, how long things grow, and what every file says about itself.
Each rule is a pure function from a parsed file to findings; test_style_rules.py shows each of them a snippet that
it must find fault with, so that no rule can fall asleep.

The two tables of exceptions only shrink: an entry that is no longer needed fails as well.
"""

import ast
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.testing.source import Source, functions_of, imports_of, lines_of, source_of

ROOT = Path(__file__).resolve().parent.parent

# --- the rules as data --------------------------------------------------------------------------------------------

# A file of the engine imports only files before it in this list. A new file takes its place here.
ENGINE_ORDER = """
    uncompiled missing entry_map entry_order entry_pack byte_search sized_columns block_scan run_merge packed_entries
    block_merge second_thread memory_runs piece_merge lookup_interpreted block_entry lookup
    errors constants tree_name key_range checksum composite_key schema
    lock_holder storage_errors file_name file_system file_calls file_lock scratch_file file_write sync_beside storage
    guard counted_lock op_columns op_path
    superblock_quorums superblock wal_entry wal_run wal_recovery wal
    free_set block_cache block_codec block_header grid block_chain
    table_info value_block index_block columns table_memory memory_merge block_fill table table_iterator
    manifest_level manifest_log manifest
    compression compaction_policy compaction_context compaction bar
    bulk_space sorted_batch bulk_sort bulk_target bulk_merge bulk_packed bulk_tree
    tree_lookup tree scan short_scan
    compaction_plan
    data_file checkpoint checkpoint_pace
    scope large_values whole_tree packing wal_ring closing replay spill forest full_compaction bulk_install
    catalog keyspace scan_steps content_checksum contents differences pin bulk_puts bulk_load statistics
    changes database
    import_progress opening
    backup verifier inspector
    salvage_survey salvage_log salvage_manifest salvage_tables salvage_merge salvage_report salvage
    health
""".split()

# Parts of the forest, of the database and of a lookup that have files of their own, and name the whole for the type
# checker only.
ENGINE_TYPES_UPWARD = {
    ("checkpoint", "forest"),
    ("replay", "forest"),
    ("packing", "forest"),
    ("closing", "forest"),
    ("wal_ring", "forest"),
    ("guard", "changes"),
    ("spill", "forest"),
    ("guard", "database"),
    ("short_scan", "database"),
    ("keyspace", "database"),
    ("bulk_install", "forest"),
    ("bulk_puts", "database"),
    ("bulk_load", "database"),
    ("scan_steps", "database"),
    ("pin", "database"),
    ("contents", "database"),
    ("differences", "database"),
}

# What commands share; every other file of lsmcli/commands is a command, or a group of them.
COMMANDS_SHARED = """
    arguments contents encoding files group output progress ranges
    import_batches import_rows import_targets interrupts rejects sources
""".split()

ENGINE_THIRD_PARTY = {"xxhash", "zstandard"}

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
    "lsmcli/engine/file_calls.py",
    "lsmcli/engine/file_name.py",
    "lsmcli/engine/file_system.py",
    "lsmcli/engine/file_write.py",
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


Findings = Iterator[str]


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
    own = "tests/test_style_rules.py"  # names bad examples
    findings = [found for name, text in project_texts() if name != own for found in paths_of_one_machine(name, text)]
    assert not findings, "\n".join(["", *findings])
