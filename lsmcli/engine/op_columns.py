# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The puts and removes of one op while they are collected: a column of keys and one of values.

    keys     b"a"   b"b"   b"c"
    values   b"1"   None   b""        None: the key is removed

Invariants:
- every entry has been checked: a key that this file takes, a value of bytes or None;
- `size` is the sum of the sizes of all keys and values; unless `large`, each value can be stored beside its key.

Compiled where a C compiler was at hand, see docs/internals/hot_loops.md; times are of compiled code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from lsmcli.engine import uncompiled as cython
from lsmcli.engine.uncompiled import PURE

if cython.compiled:
    import cython  # type: ignore[no-redef]  # seen by the compiler alone, for which it is no module

COMPILED: Final = bool(cython.compiled)


@cython.cclass
class OpColumns:
    """Puts and removes of one op, as columns. A value of None removes the key.

    check(key, value) is asked about what is not a plain entry: it raises, or lets a large value pass. To it None is
    no value.
    """

    keys = cython.declare(list, visibility="public")
    values = cython.declare(list, visibility="public")
    size = cython.declare(cython.Py_ssize_t, visibility="public")  # bytes of all keys and values
    large = cython.declare(cython.bint, visibility="public")  # some value is too large to be stored beside its key
    key_size_max = cython.declare(cython.Py_ssize_t, visibility="public")
    value_inline_max = cython.declare(cython.Py_ssize_t, visibility="public")
    check: Any = cython.declare(object, visibility="public")

    def __init__(self, key_size_max: int, value_inline_max: int, check: Callable[[Any, Any], None]) -> None:
        self.keys = []
        self.values = []
        self.size = 0
        self.large = False
        self.key_size_max = key_size_max
        self.value_inline_max = value_inline_max
        self.check = check

    def append(self, key: Any, value: Any) -> None:
        """One more entry. Raises what check() raises."""
        if type(key) is not bytes or not 0 < len(key) <= self.key_size_max:
            self._append_unusual(key, b"" if value is None else value)
        elif value is None:
            self.size += len(key)
        elif type(value) is bytes and len(value) <= self.value_inline_max:
            self.size += len(key) + len(value)
        else:
            self._append_unusual(key, value)
        self.keys.append(key)
        self.values.append(value)

    def _append_unusual(self, key: Any, value: Any) -> None:
        """An entry that is wrong, or large; of a remove only the key can be wrong."""
        self.check(key, value)
        self.large = True

    def extend(self, pairs: Iterable[tuple[Any, Any]]) -> None:
        """Many more puts; None is no value here. Raises what check() and the iterable raise.

        0.03 µs each, interpreted 0.2.
        """
        key_size_max: cython.Py_ssize_t = self.key_size_max
        value_size_max: cython.Py_ssize_t = self.value_inline_max
        size: cython.Py_ssize_t = 0
        keys: list[Any] = self.keys
        values: list[Any] = self.values
        for key, value in pairs:
            if (
                type(key) is bytes
                and 0 < len(key) <= key_size_max
                and type(value) is bytes
                and len(value) <= value_size_max
            ):
                size += len(key) + len(value)
            else:
                self._append_unusual(key, value)
            keys.append(key)
            values.append(value)
        self.size += size


if not (TYPE_CHECKING or COMPILED or PURE):
    # The compiled class takes the place of the one above; without it, on a machine where it was not built,
    # that one stays.
    with suppress(ImportError):
        from lsmcli.engine._op_columns import OpColumns, COMPILED  # noqa: F401, I001
