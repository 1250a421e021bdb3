"""Plants a bug: changes one place of a module's source, in this process, until it ends.

    plant(Bug("…", "lsmcli.engine.tree", "if found is not MISSING:", "if found is MISSING:", (29,)))

The changed source is compiled, and every function of the module whose code differs takes the new code, methods
included: so those who imported the function before have the bug as well. Invariants:
- the place is found exactly once, or AssertionError: a bug that cannot be planted any more is not a bug caught;
- nothing but the code of functions changes; constants are changed by name, with `plant_constant`.
"""

import importlib
import inspect
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple


class Bug(NamedTuple):
    """One planted bug, and the fault classes of which any one has to notice it."""

    name: str
    module: str
    old: str
    new: str
    classes: tuple[int, ...]


def plant(bug: Bug) -> None:
    """Changes the running module. AssertionError when the place is not there, or nothing changes."""
    module = importlib.import_module(bug.module)
    path = module.__file__
    assert path is not None
    if not path.endswith(".py"):
        raise AssertionError(f"{bug.module} is compiled: its bugs are planted in the interpreted code")
    source = inspect.getsource(module)
    assert source.count(bug.old) == 1, f"{bug.name}: its place in {bug.module} is there {source.count(bug.old)} times"
    codes = dict(_codes(compile(source.replace(bug.old, bug.new), path, "exec")))
    changed = 0
    for function in _functions(module):
        code = codes.get(function.__code__.co_qualname)
        if code is not None and not _same(code, function.__code__):
            function.__code__ = code
            changed += 1
    assert changed, f"{bug.name}: no function of {bug.module} changes"


def _codes(code: CodeType) -> Iterator[tuple[str, CodeType]]:
    """Every function's code in a compiled module, by its qualified name."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant.co_qualname, constant
            yield from _codes(constant)


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
