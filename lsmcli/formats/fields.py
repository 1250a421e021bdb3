r"""From the fields of a row to its key and its value: header, choice of columns, key template.

For csv and tsv, where a row is a list of fields; shared by all that have columns with names.

    source            options                          key        value
    a,1                                                a          1
    id,name,age       key="id"                         7          {"name":"Ann","age":"30"}
    7,Ann,30          key="id", value="name"           7          Ann
                      key="id", value="*"              7          {"id":"7","name":"Ann","age":"30"}
                      key_template="user/{id}"         user/7     {"name":"Ann","age":"30"}

Invariants:
- no column is dropped unless a column for the value is named: what the key does not use is the value, the bytes
  of a single column, or a JSON object of several;
- a row with more or fewer fields than the first one is refused, never filled up or cut;
- a first row is taken for a header only where it must be one: --header, names in use, or the names that export writes.
"""

import binascii
from collections.abc import Callable, Sequence
from json.encoder import encode_basestring
from string import Formatter
from typing import Final

from lsmcli.formats.esc import TextError, safe_text
from lsmcli.formats.rows import ReadOptions

HEADER_NAMES: Final = (b"key", b"value")
HEADER_NAMES_BASE64: Final = (b"key_b64", b"value_b64")

_HINT: Final = "choose with --key-column or --key-template, and --value-column"


class FieldError(TextError):
    """A row whose fields cannot be taken; its offset is the index of the field, which the format turns into a place."""


class FieldMapping:
    """What becomes of the fields of each row.

    count: how many fields every row has. is_pair: field 0 is the key, field 1 the value, as they are.
    """

    __slots__ = ("_key_of", "_value_of", "count", "is_pair")

    def __init__(self, count: int, key_of: Callable[[list[bytes]], bytes], value_of: Callable[[list[bytes]], bytes],
                 *, is_pair: bool = False) -> None:  # fmt: skip
        self.count = count
        self.is_pair = is_pair
        self._key_of = key_of
        self._value_of = value_of

    def pair(self, fields: list[bytes]) -> tuple[bytes, bytes]:
        """Key and value of a row; FieldError if it has another number of fields, or one that cannot be converted."""
        if len(fields) != self.count:
            raise ragged(len(fields), self.count)
        return self._key_of(fields), self._value_of(fields)


def ragged(count: int, count_expected: int) -> FieldError:
    """The error of a row with too few or too many fields."""
    fields = "field" if count == 1 else "fields"
    return FieldError(f"{count} {fields} instead of {count_expected}", min(count, count_expected))


def split_pairs(block: bytes, separator: bytes) -> tuple[list[bytes], list[bytes]] | None:
    """Keys and values of a block of whole lines of two plain fields; None if any line has more or fewer fields, or one
    that begins with a double quote. The caller has seen to CR, NUL, and quotes inside of fields where they matter.
    """
    if b'"' in block and (block.startswith(b'"') or b'\n"' in block or separator + b'"' in block):
        return None
    rows = [line.split(separator) for line in block.removesuffix(b"\n").split(b"\n")]
    if set(map(len, rows)) != {2}:
        return None
    return [row[0] for row in rows], [row[1] for row in rows]


def mapping_of(first: list[bytes], options: ReadOptions, *, header_usual: bool) -> tuple[FieldMapping, bool]:
    """How to read the rows of a source with this first row, and whether that row is a header.

    header_usual: the format's own files begin with the HEADER_NAMES, so that a first row with them is a header.
    Raises FieldError if the row and the options do not fit: that is no matter of one row.
    """
    names, is_header = _names_of(first, options, header_usual=header_usual)
    count = len(names) if names is not None else len(first)
    if count != len(first):
        raise FieldError(f"{len(first)} fields, but {count} names of columns were given")
    if count < 2 and options.key is None and options.key_template is None:
        raise FieldError("only one field: a row has a key and a value; is the delimiter another one?", 1)
    plain = options.key is None and options.value is None and options.key_template is None
    if plain and count > 2:
        raise FieldError(f"{count} columns: {_HINT}")
    base64 = options.encoding == "base64" or (plain and is_header and _folded(first) == HEADER_NAMES_BASE64)
    if plain and not base64 and options.value_format != "json":
        return FieldMapping(2, _first_of, _second_of, is_pair=True), is_header
    used, key_of = _key_function(names, count, options, base64=base64)
    return FieldMapping(count, key_of, _value_function(names, count, used, options, base64=base64)), is_header


def _first_of(fields: list[bytes]) -> bytes:
    return fields[0]


def _second_of(fields: list[bytes]) -> bytes:
    return fields[1]


def _folded(fields: list[bytes]) -> tuple[bytes, ...]:
    return tuple(field.strip().lower() for field in fields)


def _names_of(first: list[bytes], options: ReadOptions, *, header_usual: bool) -> tuple[Sequence[bytes] | None, bool]:
    """The names of the columns if they have any, and whether the first row holds them, or is to be skipped."""
    if options.columns is not None:
        names: Sequence[bytes] = [name.encode("utf-8", "surrogateescape") for name in options.columns]
        is_header = bool(options.header)
    else:
        is_header = options.header is True or (
            options.header is None
            and (
                _names_needed(first, options)
                or (header_usual and _folded(first) in {HEADER_NAMES, HEADER_NAMES_BASE64})
            )
        )
        if not is_header:
            return None, False
        names = first
    for index, name in enumerate(names):
        if name in names[:index]:
            raise FieldError(f"the column name {_shown(name)} occurs twice", index)
    return names, is_header


def _names_needed(first: list[bytes], options: ReadOptions) -> bool:
    """Whether some option speaks of a column by its name, or the value becomes an object of several columns."""
    if options.key_template is not None:
        references = _template_names(options.key_template)
    elif options.key is not None:
        references = [options.key]
    else:
        references = []
    if options.value is not None and options.value != "*":
        references.append(options.value)
    elif options.value == "*" or (references and len(first) - len(set(references)) > 1):
        return True
    return not all(reference.isdecimal() for reference in references)


def _index_of(reference: str, names: Sequence[bytes] | None, count: int) -> int:
    """Index of the column with this name, else with this number from 1."""
    name = reference.encode("utf-8", "surrogateescape")
    if names is not None and name in names:
        return names.index(name)
    if reference.isdecimal() and len(reference) < 10 and 1 <= int(reference) <= count:
        return int(reference) - 1
    among = ", ".join(map(_shown, names)) if names is not None else f"1 to {count}"
    raise FieldError(f"no column {safe_text(reference)!r}: there are {among}")


def _template_names(template: str) -> list[str]:
    return [name for _, name in template_parts(template) if name is not None]


def template_parts(template: str) -> list[tuple[str, str | None]]:
    """Text and the name behind it, for each part of a key template; {{ and }} stand for braces.

    ("{country}/{id}") = [("", "country"), ("/", "id")]. Raises TextError for a template that is none.
    """
    try:
        parsed = list(Formatter().parse(template))
    except ValueError as error:
        raise TextError(f"the key template is not valid: {error}") from None
    parts = []
    for text, name, spec, conversion in parsed:
        if name == "" or spec or conversion:
            raise TextError("the key template takes names in braces, {name}, and nothing else in them")
        parts.append((text, name))
    if all(name is None for _, name in parts):
        raise TextError("the key template names no column: every row would have the same key")
    return parts


def _key_function(
    names: Sequence[bytes] | None, count: int, options: ReadOptions, *, base64: bool
) -> tuple[set[int], Callable[[list[bytes]], bytes]]:
    """The indexes of the columns that the key uses, and the key of a row."""
    if options.key_template is not None:
        if options.key is not None:
            raise FieldError("a key column and a key template exclude each other")
        if base64:
            raise FieldError("base64 is for columns as they are, not for a key template")
        parts = [
            (text.encode("utf-8", "surrogateescape"), None if name is None else _index_of(name, names, count))
            for text, name in template_parts(options.key_template)
        ]

        def filled(fields: list[bytes]) -> bytes:
            return b"".join([text if index is None else text + fields[index] for text, index in parts])

        return {index for _, index in parts if index is not None}, filled
    index = 0 if options.key is None else _index_of(options.key, names, count)
    return {index}, (_base64_function(index) if base64 else lambda fields: fields[index])


def _value_function(
    names: Sequence[bytes] | None, count: int, used: set[int], options: ReadOptions, *, base64: bool
) -> Callable[[list[bytes]], bytes]:
    """The value of a row: one column, or an object of several."""
    if options.value == "*":
        rest = list(range(count))
    elif options.value is not None:
        rest = [_index_of(options.value, names, count)]
    else:
        rest = [index for index in range(count) if index not in used]
    if not rest:
        raise FieldError("no column is left for the value: the key uses all")
    if base64 and (len(rest) > 1 or options.value == "*"):
        raise FieldError("base64 is for one column as the value, not for an object of several")
    if len(rest) > 1 or options.value == "*":
        if names is None:
            raise FieldError(f"{len(rest)} columns without names are left for the value: {_HINT}, or give --columns")
        return _object_function(names, rest)
    index = rest[0]
    if base64:
        return _base64_function(index)
    if options.value_format == "json":
        return _json_function(index)
    return lambda fields: fields[index]


def _base64_function(index: int) -> Callable[[list[bytes]], bytes]:
    def decoded(fields: list[bytes]) -> bytes:
        try:
            return binascii.a2b_base64(fields[index], strict_mode=True)
        except ValueError:
            raise FieldError("the field is not base64", index) from None

    return decoded


def _json_function(index: int) -> Callable[[list[bytes]], bytes]:
    from lsmcli.formats.json_text import compact

    def compacted(fields: list[bytes]) -> bytes:
        try:
            return compact(fields[index])
        except TextError as error:
            raise FieldError(error.reason, index) from None

    return compacted


def _object_function(names: Sequence[bytes], indexes: list[int]) -> Callable[[list[bytes]], bytes]:
    from lsmcli.formats.json_text import text_of

    try:
        members = [(encode_basestring(names[index].decode()), index) for index in indexes]
    except UnicodeDecodeError:
        raise FieldError("a name of a column is not UTF-8, so it cannot be a member of an object") from None

    def as_object(fields: list[bytes]) -> bytes:
        return ("{" + ",".join([f"{name}:{text_of(fields[index])}" for name, index in members]) + "}").encode()

    return as_object


def _shown(name: bytes) -> str:
    return repr(safe_text(name.decode("utf-8", "backslashreplace")))
