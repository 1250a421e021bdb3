"""A Python file of the project as the rules of style see it: what it imports, and its functions."""

import ast
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

# Packages that have no names of their own: what is imported from them is a file.
PACKAGES_OF_FILES = {"lsmcli.engine", "lsmcli.commands", "lsmcli.formats"}


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


def source_of(path: str, text: str) -> Source:
    return Source(path, text, ast.parse(text, path))


# The module out of which compiled code imports functions of C.
COMPILED_TWIN = re.compile(r"^cython\.cimports\.(lsmcli\..*)\._(\w+)$")


def imports_of(source: Source, modules: Iterable[str] = ()) -> list[Import]:
    """Every import of a file, wherever it stands.

    `from package import name` counts as package.name where that is one of `modules` or cannot be else, else as package.
    What the compiler alone imports out of a compiled twin, from cython.cimports.package._name, counts as package.name.
    """
    known = set(modules)
    found = []
    for node, top in _with_top(source.tree):
        if isinstance(node, ast.Import):
            found += [Import(alias.name, node.lineno, top) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = COMPILED_TWIN.sub(r"\1.\2", node.module or "")
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
