"""Plants a bug: changes one place of a module's source, in this process, until it ends.

    reached = plant(Bug("…", "lsmcli.engine.tree", "if found is not MISSING:", "if found is MISSING:", (29,)))
    …
    assert reached()        # else what was caught is something else

The changed source is compiled, and every function of the module whose code differs takes the new code, methods
included: so those who imported the function before have the bug as well. Invariants:
- the place is found exactly once, or AssertionError: a bug that cannot be planted any more is not a bug caught;
- nothing but the code of functions changes, and each of these first notes that it runs, in memory that forked
  children share;
- functions that run as compiled code cannot be changed: is_interpreted() tells, and LSMCLI_PURE=1 makes it so.
"""

import ast
import importlib
import inspect
import mmap
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any, Final, NamedTuple

_FOOTPRINT: Final = "_planted_code_runs"  # in the module's globals: memory of which the first byte is set


class Bug(NamedTuple):
    """One planted bug, and the fault classes of which any one has to notice it. seed: where the hunt begins.
    pure: it is in code that runs only where nothing is compiled."""

    name: str
    module: str
    old: str
    new: str
    classes: tuple[int, ...]
    seed: int = 1
    pure: bool = False


def plant(bug: Bug) -> Callable[[], bool]:
    """Changes the running module; what it returns tells whether the changed code has run since, here or in a child.

    AssertionError when the place is not there, nothing changes, or what changes runs as compiled code.
    """
    module = importlib.import_module(bug.module)
    source = changed_source(bug)
    names = _names_changed(module, source)
    footprint = mmap.mmap(-1, 1)
    setattr(module, _FOOTPRINT, footprint)
    codes = dict(_codes(compile(_noting(source, names), module.__file__ or "", "exec")))
    planted = set()
    for function in _functions(module):
        name = function.__code__.co_qualname
        if name in names:
            function.__code__ = codes[name]
            planted.add(name)
    assert planted == names, f"{bug.name}: {names - planted} of {bug.module} cannot be changed"
    return lambda: footprint[0] == 1


def changed_source(bug: Bug) -> str:
    """The source of the module with the bug in it. AssertionError when its place is not there, or not alone."""
    source = inspect.getsource(importlib.import_module(bug.module))
    assert source.count(bug.old) == 1, f"{bug.name}: its place in {bug.module} is there {source.count(bug.old)} times"
    return source.replace(bug.old, bug.new)


def is_interpreted(bug: Bug) -> bool:
    """Whether all that the bug changes runs as Python code in this process. AssertionError when it changes nothing."""
    module = importlib.import_module(bug.module)
    names = _names_changed(module, changed_source(bug))
    # Where compiled code has taken a class's place, functions of the source are still there, but nobody calls them.
    replaced = getattr(module, "COMPILED", False)
    return not replaced and names <= {function.__code__.co_qualname for function in _functions(module)}


def _names_changed(module: ModuleType, source: str) -> set[str]:
    """The qualified names of the functions that are others in this source; of the outer ones only."""
    before = dict(_codes(compile(inspect.getsource(module), "", "exec"), inner=False))
    after = dict(_codes(compile(source, "", "exec"), inner=False))
    names = {name for name, code in after.items() if name not in before or not _same(code, before[name])}
    assert names, f"no function of {module.__name__} changes"
    return names


def _noting(source: str, names: set[str]) -> ast.Module:
    """The source, with functions of these names that begin with a note that they run."""
    tree = ast.parse(source)
    note = ast.parse(f"{_FOOTPRINT}[0] = 1").body[0]
    waiting: list[tuple[str, ast.AST]] = [("", tree)]
    while waiting:
        prefix, node = waiting.pop()
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef) and prefix + child.name in names:
                child.body.insert(1 if ast.get_docstring(child) is not None else 0, note)
            elif isinstance(child, ast.ClassDef):
                waiting.append((f"{prefix}{child.name}.", child))
    return ast.fix_missing_locations(tree)


def _codes(code: CodeType, *, inner: bool = True) -> Iterator[tuple[str, CodeType]]:
    """Every function's code in a compiled module, by its qualified name. inner: functions in functions as well."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            is_function = bool(constant.co_flags & inspect.CO_OPTIMIZED)
            if is_function:
                yield constant.co_qualname, constant
            if inner or not is_function:
                yield from _codes(constant, inner=inner)


def _same(one: CodeType, other: CodeType) -> bool:
    """Whether two codes do the same; lines may have moved."""
    if one.co_code != other.co_code or one.co_names != other.co_names or len(one.co_consts) != len(other.co_consts):
        return False
    return all(
        _same(a, b) if isinstance(a, CodeType) and isinstance(b, CodeType) else a == b
        for a, b in zip(one.co_consts, other.co_consts, strict=True)
    )


def _functions(module: ModuleType) -> Iterator[FunctionType]:
    """The functions and methods that a module defines."""
    for member in vars(module).values():
        if getattr(member, "__module__", None) != module.__name__:
            continue
        if isinstance(member, FunctionType):
            yield member
        elif isinstance(member, type):
            for attribute in vars(member).values():
                yield from _functions_of(attribute)


def _functions_of(attribute: Any) -> Iterator[FunctionType]:
    """The functions behind a class attribute: a method, a property, a class method."""
    if isinstance(attribute, FunctionType):
        yield attribute
    elif isinstance(attribute, property):
        yield from (each for each in (attribute.fget, attribute.fset) if isinstance(each, FunctionType))
    elif isinstance(attribute, (classmethod, staticmethod)) and isinstance(attribute.__func__, FunctionType):
        yield attribute.__func__
