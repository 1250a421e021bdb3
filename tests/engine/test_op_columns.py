"""Columns of an op, interpreted and compiled: every entry is checked as it comes."""

import random
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from tests.testing.twins import twins

both = pytest.mark.parametrize("module", twins("lsmcli.engine.op_columns"))


def check(key: Any, value: Any) -> None:
    """Values up to 20 bytes are stored somewhere, if not beside their keys."""
    if type(key) is not bytes or type(value) is not bytes:
        raise TypeError
    if not 0 < len(key) <= 4 or len(value) > 20:
        raise ValueError


def columns_of(module: ModuleType) -> Any:
    return module.OpColumns(4, 10, check)


@both
def test_entries_in_their_order(module: ModuleType, rng: random.Random) -> None:
    columns = columns_of(module)
    keys: list[bytes] = []
    values: list[bytes | None] = []
    for _ in range(50):
        pairs = [(rng.randbytes(rng.randint(1, 4)), rng.randbytes(rng.randint(0, 10))) for _ in range(5)]
        keys += [key for key, _ in pairs]
        values += [value for _, value in pairs]
        columns.extend(rng.choice((pairs, iter(pairs), tuple(pairs))))
        columns.append(b"r", None)
        columns.append(b"p", b"v")
        keys += [b"r", b"p"]
        values += [None, b"v"]
    assert (columns.keys, columns.values, columns.large) == (keys, values, False)
    assert columns.size == sum(map(len, keys)) + sum(map(len, filter(None, values)))


@both
@pytest.mark.parametrize(("key", "value", "error"), [
    ("k", b"", TypeError), (None, b"", TypeError), (b"k", "v", TypeError), (b"k", bytearray(b"v"), TypeError),
    (b"", b"", ValueError), (b"12345", b"", ValueError), (b"k", b"v" * 21, ValueError),
])  # fmt: skip
def test_what_is_wrong_raises_and_is_left_out(module: ModuleType, key: Any, value: Any, error: type[Exception]) -> None:
    columns = columns_of(module)
    with pytest.raises(error):
        columns.append(key, value)
    with pytest.raises(error):
        columns.extend([(key, value)])
    if value == b"":
        with pytest.raises(error):
            columns.append(key, None)
    assert (columns.keys, columns.values, columns.size) == ([], [], 0)


@both
def test_none_is_a_remove_but_no_value_of_a_put(module: ModuleType) -> None:
    columns = columns_of(module)
    columns.append(b"k", None)
    with pytest.raises(TypeError):
        columns.extend([(b"a", b"1"), (b"k", None)])
    assert not columns.large


@both
def test_a_large_value_is_noted(module: ModuleType) -> None:
    columns = columns_of(module)
    columns.append(b"k", b"v" * 10)
    assert not columns.large
    columns.extend([(b"l", b"v" * 11)])
    assert columns.large and columns.values == [b"v" * 10, b"v" * 11]


@both
@pytest.mark.parametrize("pairs", [[(b"a",)], [(b"a", b"b", b"c")], [1], 1])
def test_what_is_no_pair_is_an_error_of_its_own(module: ModuleType, pairs: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        columns_of(module).extend(pairs)


@both
def test_an_error_of_the_iterable_comes_through(module: ModuleType) -> None:
    def pairs() -> Iterator[tuple[bytes, bytes]]:
        yield b"a", b"1"
        raise LookupError

    with pytest.raises(LookupError):
        columns_of(module).extend(pairs())
