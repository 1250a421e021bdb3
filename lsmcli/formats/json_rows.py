"""Rows that are JSON objects, for JSON lines and JSON arrays alike.

    {"key": "a", "value": "1"}                      a row
    {"key": "a", "value": "1", "tree": "users"}     a row of the tree users
    {"key": "a", "deleted": true}                   removes the key
    {"id": 7, "name": "Ann"}                        with key="id": key 7, value {"name":"Ann"}

A key column is a string, a $base64 object, or an integer, which stands as it is written. The value is the column
that is named, or all members that the key does not use, as an object; with value="*" all of them.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NamedTuple, TypeAlias

from lsmcli.formats import InputError
from lsmcli.formats.esc import TextError, safe_text
from lsmcli.formats.fields import template_parts
from lsmcli.formats.json_text import (
    Member,
    base64_of,
    bytes_of,
    bytes_of_base64,
    embedded,
    members_of,
    object_text,
    offset_of,
    text_of,
    without_space,
)
from lsmcli.formats.rows import ReadOptions, Rows, Section, WriteOptions, check_limits, row_error

_MEMBERS: Final = frozenset({"key", "value", "deleted", "tree"})


# A row as it is written when both fields are text without escapes: most are, and need no JSON decoder.
_STRING: Final = rb'"([^"\\\x00-\x1f]*+)"'
PLAIN_ROW: Final = rb'\{"key": ?' + _STRING + rb', ?"value": ?' + _STRING + rb"\}"
_match_plain: Final = re.compile(PLAIN_ROW).fullmatch


def is_plain(options: ReadOptions) -> bool:
    """Whether a PLAIN_ROW means its two strings, with these options."""
    chosen = options.key is not None or options.value is not None or options.key_template is not None
    return not chosen and options.value_format == "auto" and options.encoding == "auto"


class Row(NamedTuple):
    """One row; a value of None removes the key."""

    key: bytes
    value: bytes | None
    tree: bytes | None


ParseRow: TypeAlias = Callable[[bytes], Row]


def row_parser(options: ReadOptions) -> ParseRow:
    """What turns the text of an object into a row, or raises TextError. Raises TextError for options that clash."""
    if options.key is None and options.value is None and options.key_template is None:
        return _plain_or(options) if is_plain(options) else lambda text: _row_of_members(text, options)
    if options.key is not None and options.key_template is not None:
        raise TextError("a key column and a key template exclude each other")
    if options.encoding == "base64":
        raise TextError("base64 is for rows of key and value, not for columns that are chosen")
    parts: list[tuple[str, str | None]]
    parts = [("", options.key or "key")] if options.key_template is None else template_parts(options.key_template)
    return lambda text: _row_of_columns(text, parts, options)


def _plain_or(options: ReadOptions) -> ParseRow:
    def parse(text: bytes) -> Row:
        plain = _match_plain(text)
        if plain is None or not text.isascii():
            return _row_of_members(text, options)
        return Row(plain[1], plain[2], None)

    return parse


def _row_of_members(data: bytes, options: ReadOptions) -> Row:
    text, members = members_of(data)
    if not members.keys() <= _MEMBERS:
        unknown = min(members.keys() - _MEMBERS)
        hint = "choose columns with --key-column, or write key, value, deleted, tree"
        raise TextError(f"unknown member {safe_text(unknown)!r}: {hint}", offset_of(text, members[unknown].start))
    convert = bytes_of_base64 if options.encoding == "base64" else bytes_of
    if "key" not in members:
        raise TextError('no "key" in the row')
    key = _bytes_at(text, members["key"], "key", convert)
    tree = _bytes_at(text, members["tree"], "tree", bytes_of) if "tree" in members else None
    if "deleted" in members:
        if members["deleted"].value is not True or "value" in members:
            raise TextError(
                '"deleted" is true and stands instead of "value"', offset_of(text, members["deleted"].start)
            )
        return Row(key, None, tree)
    if "value" not in members:
        raise TextError('no "value" in the row')
    if options.value_format == "json":
        return Row(key, _compact_value(text, members["value"]), tree)
    return Row(key, _bytes_at(text, members["value"], "value", convert), tree)


def _bytes_at(text: str, member: Member, name: str, convert: Callable[[Any, str], bytes]) -> bytes:
    """The bytes of a member; the error of a wrong one has its place."""
    try:
        return convert(member.value, name)
    except TextError as error:
        raise TextError(error.reason, offset_of(text, member.start)) from None


def _compact_value(text: str, member: Member) -> bytes:
    return without_space(text[member.start : member.end]).encode()


def _row_of_columns(data: bytes, parts: list[tuple[str, str | None]], options: ReadOptions) -> Row:
    text, members = members_of(data)
    key = b"".join(
        [
            before.encode("utf-8", "surrogateescape") + (b"" if name is None else _key_part(text, members, name))
            for before, name in parts
        ]
    )
    used = {name for _, name in parts}
    if options.value is None or options.value == "*":
        names = [name for name in members if options.value == "*" or name not in used]
        return Row(key, object_text(text, members, names).encode(), None)
    member = members.get(options.value)
    if member is None:
        raise TextError(f"no {safe_text(options.value)!r} in the row")
    if options.value_format == "json":
        return Row(key, _compact_value(text, member), None)
    return Row(key, _bytes_at(text, member, "value", bytes_of), None)


def _key_part(text: str, members: dict[str, Member], name: str) -> bytes:
    member = members.get(name)
    if member is None:
        raise TextError(f"no {safe_text(name)!r} in the row")
    if type(member.value) is int:
        return text[member.start : member.end].encode()
    return _bytes_at(text, member, safe_text(name), bytes_of)


def _placed(error: TextError, text: bytes, line: int, column: int) -> InputError:
    """The error of an object that begins at this line and column, and may go on over several lines."""
    lines = text.count(b"\n", 0, error.offset)
    if lines:
        return row_error(error, line + lines, -text.rindex(b"\n", 0, error.offset) - 1)
    return row_error(error, line, column - 1)


class Gathered:
    """Rows on their way into Rows: a new one begins where the tree changes."""

    __slots__ = ("_keys", "_lines", "_options", "_parse", "_parts", "_tree", "_values")

    def __init__(self, options: ReadOptions) -> None:
        self._options = options
        self._parse = row_parser(options)
        self._parts: list[Rows] = []
        self._begin(None)

    def _begin(self, tree: bytes | None) -> None:
        self._keys: list[bytes] = []
        self._values: list[bytes | None] = []
        self._lines: list[int] = []
        self._tree = tree

    def add(self, text: bytes, line: int, start: int, column: int = 1) -> None:
        """Take the object that begins at this line and column, and offset in the source; a bad one goes to on_bad."""
        try:
            key, value, tree = self._parse(text)
            check_limits(key, value)
        except TextError as error:
            self._options.on_bad(_placed(error, text, line, column), text)
            return
        if tree != self._tree:
            self._close(start)
            self._begin(tree)
        self._keys.append(key)
        self._values.append(value)
        self._lines.append(line)

    def _close(self, end: int) -> None:
        if self._keys:
            self._parts.append(Rows(self._keys, self._values, self._lines, end, self._tree))

    def taken(self, end: int) -> Iterator[Rows]:
        """What was gathered, up to this offset in the source."""
        self._close(end)
        parts, self._parts = self._parts, []
        self._begin(self._tree)
        yield from parts


def texts_of(sections: Iterable[Section], options: WriteOptions) -> Iterator[list[str]]:
    """The objects of each chunk of rows, as JSON texts; InputError for a value to be embedded that is none."""
    row = 0
    for section in sections:
        tree = "" if section.tree is None else f', "tree": {text_of(section.tree, ascii_only=options.ascii_only)}'
        for keys, values in section.chunks:
            keys_text = [_bytes_text(key, options) for key in keys]
            if options.value_format == "json":
                values_text = [_embedded(value, row + i + 1, keys_text[i], options) for i, value in enumerate(values)]
            else:
                values_text = [_bytes_text(value, options) for value in values]
            row += len(keys)
            yield [
                f'{{"key": {key}, "value": {value}{tree}}}' for key, value in zip(keys_text, values_text, strict=True)
            ]


def _bytes_text(data: bytes, options: WriteOptions) -> str:
    return f'"{base64_of(data)}"' if options.encoding == "base64" else text_of(data, ascii_only=options.ascii_only)


def _embedded(value: bytes, row: int, key_text: str, options: WriteOptions) -> str:
    try:
        return embedded(value, ascii_only=options.ascii_only)
    except TextError as error:
        raise InputError(f"the value of {key_text} is not JSON: {error.reason}", line=row) from None
