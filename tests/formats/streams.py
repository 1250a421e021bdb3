"""A small language for tests of formats: read bytes cut into pieces, write pairs, note what was bad."""

from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import NamedTuple

from lsmcli.formats import FORMATS, InputError
from lsmcli.formats.rows import ReadOptions, Section, WriteOptions, columns_of

Pair = tuple[bytes, bytes | None]


class Bad(NamedTuple):
    line: int
    column: int
    reason: str
    raw: bytes


def written(
    name: str, pairs: Iterable[tuple[bytes, bytes]], *, tree: bytes | None = None, encoding: str = "auto"
) -> bytes:
    """The pairs as one section of a format."""
    options = WriteOptions(name=name, encoding=encoding)
    return b"".join(import_module(FORMATS[name]).write([Section(tree, columns_of(pairs))], options))


def pieces(data: bytes, size: int = 1 << 20) -> Iterable[bytes]:
    """The data, cut into pieces of one size."""
    return (data[at : at + size] for at in range(0, len(data), size))


def pairs_read(name: str, data: bytes, options: ReadOptions | None = None, *, size: int = 1 << 20) -> list[Pair]:
    """All rows of a source that is cut into pieces of one size, without their trees and lines."""
    return [(key, value) for _, _, key, value in rows_read(name, data, options, size=size)]


def rows_read(
    name: str, data: bytes, options: ReadOptions | None = None, *, size: int = 1 << 20
) -> list[tuple[bytes | None, int, bytes, bytes | None]]:
    """All rows as (tree, line, key, value), with the promises that hold for any reader checked."""
    options = (options or ReadOptions())._replace(name=name)
    found = []
    end = 0
    for rows in import_module(FORMATS[name]).read(pieces(data, size), options):
        assert len(rows.keys) == len(rows.values) == len(rows.lines)
        assert end <= rows.end <= len(data)
        end = rows.end
        found += [
            (rows.tree, line, key, value) for line, key, value in zip(rows.lines, rows.keys, rows.values, strict=True)
        ]
    assert [line for _, line, _, _ in found] == sorted(line for _, line, _, _ in found)
    return found


def error_of(name: str, data: bytes, options: ReadOptions | None = None) -> InputError:
    """The error that reading ends in."""
    try:
        found = pairs_read(name, data, options)
    except InputError as error:
        return error
    raise AssertionError(f"read without an error: {found}")


def read_with_bad(
    name: str, data: bytes, options: ReadOptions | None = None, *, size: int = 1 << 20
) -> tuple[Sequence[Pair], list[Bad]]:
    """The good rows, and what was said of the bad ones."""
    bad: list[Bad] = []

    def note(error: InputError, raw: bytes) -> None:
        bad.append(Bad(error.line, error.column, error.reason, raw))

    found = pairs_read(name, data, (options or ReadOptions())._replace(on_bad=note), size=size)
    return found, bad
