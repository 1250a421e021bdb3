"""Stands in for the `cython` module where code that Cython can compile runs as plain Python.

    a hot module, say entry_order.py
        |-- imported as it is:   `cython` is this file: decorators do nothing, `compiled` is False
        '-- built by setup.py:   `cython` is the compiler's own, and this file is not looked at

So nothing at run time needs the package cython, nor pays for its import. A hot module ends by importing its
compiled twin, where there is one, over its own names; LSMCLI_PURE=1 in the environment forces it not to.
The types below are what the type checker sees: a C integer is an int, and a pointer may be anything.
"""

import os
from collections.abc import Callable
from typing import Any, Final, TypeAlias, TypeVar

compiled: bool = False

# Whether the interpreted code is to run even where compiled code is at hand. "0" and "" are no, as if not set.
PURE: Final = os.environ.get("LSMCLI_PURE", "0") not in ("", "0")

void: TypeAlias = None
bint = bool
uchar = int
short = int
ushort = int
uint = int
ulonglong = int
double = float
Py_ssize_t = int
p_void = Any
p_char = Any
p_uchar = Any
p_const_uchar = Any
p_uint = Any
p_const_uint = Any
p_ulonglong = Any
p_const_ulonglong = Any
pp_ulonglong = Any
pp_void = Any
ppp_void = Any
size_t = int
NULL: Any = None

_Function = TypeVar("_Function", bound=Callable[..., Any])
_Class = TypeVar("_Class", bound=type)
_T = TypeVar("_T")


def cclass(kind: _Class) -> _Class:
    """A class whose declared attributes are fields of C. Ordinary classes may inherit from it."""
    return kind


def declare(kind: type[_T], value: _T | None = None, *, visibility: str = "private") -> _T:
    """A variable with this value; or a field of a cclass with its first one, which with "public" is seen outside."""
    return kind() if value is None and kind in (int, bool, bytes) else value  # type: ignore[return-value]


def final(target: _Class) -> _Class:
    """A class that has no subclasses."""
    return target


def cfunc(function: _Function) -> _Function:
    """A function that only its own module calls."""
    return function


def ccall(function: _Function) -> _Function:
    """A function that compiled callers call as one of C, and others as one of Python."""
    return function


def inline(function: _Function) -> _Function:
    """A function to be compiled into its callers."""
    return function


def nogil(function: _Function) -> _Function:
    """A function that touches no Python object."""
    return function


def exceptval(*, check: bool) -> Callable[[_Function], _Function]:
    """A function that raises nothing, when check is False."""
    assert not check
    return inline


def no_gc_clear(kind: _Class) -> _Class:
    """A class whose fields stay as they are while the garbage collector is at work."""
    return kind


def pointer(kind: Any) -> Any:
    """The type of a pointer to this type."""
    return kind


def sizeof(kind: Any) -> int:
    """Bytes that a variable of this type takes: only C knows."""
    raise NotImplementedError


def address(variable: Any) -> Any:
    """A pointer to a variable."""
    return variable


def cast(target: Any, value: Any, *, typecheck: bool = False) -> Any:
    """The same value, taken for another C type; with typecheck it must be one, or None."""
    return value
