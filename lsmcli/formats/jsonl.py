r"""JSON lines: one object per row, {"key": "a", "value": "1"}.

Bytes that are valid UTF-8 are a JSON string; any others are {"$base64": true, "encoded": "AP8="}, the form
that sqlite-utils and Datasette use. So every byte comes back, and every line is valid JSON. A reader also
takes "deleted": true instead of a value, which removes the key. With values="json" a value is embedded as
the JSON that it holds, and any JSON value is read as its compact text.

Strict where JSON is loose: no member twice, no unknown member, no NaN, no lone surrogate, no array around it.
"""

import binascii
import json
from collections.abc import Iterable, Iterator
from json.encoder import encode_basestring, encode_basestring_ascii
from typing import Any, Final

from lsmcli.formats import InputError
from lsmcli.formats.esc import TextError
from lsmcli.formats.rows import (
    BYTE_ORDER_MARK,
    Columns,
    ReadOptions,
    Rows,
    Section,
    WriteOptions,
    check_limits,
    line_blocks,
    row_error,
)

TREES: Final = False
_MEMBERS: Final = frozenset({"key", "value", "deleted"})


def read(pieces: Iterable[bytes], options: ReadOptions) -> Iterator[Rows]:
    """Rows of a source. Blank lines are passed over."""
    decoder = json.JSONDecoder(object_pairs_hook=_object_of, parse_constant=_refuse_constant)
    line = 1
    end = 0
    for block in line_blocks(pieces):
        end += len(block)
        rows = Rows([], [], [], end)
        numbers: list[int] = []
        for text in block.removesuffix(b"\n").split(b"\n"):
            if line == 1:
                text = text.removeprefix(BYTE_ORDER_MARK)
            if text.strip():
                try:
                    key, value = _parse_line(text, decoder, options.value_format)
                    check_limits(key, value)
                except TextError as error:
                    options.on_bad(row_error(error, line), text)
                else:
                    rows.keys.append(key)
                    rows.values.append(value)
                    numbers.append(line)
            line += 1
        yield rows._replace(lines=numbers)


def _parse_line(text: bytes, decoder: json.JSONDecoder, values: str) -> tuple[bytes, bytes | None]:
    try:
        return _row_of(decoder.decode(text.decode()), values)
    except json.JSONDecodeError as error:
        raise TextError(f"not JSON: {error.msg}", len(error.doc[: error.pos].encode())) from None
    except UnicodeDecodeError as error:
        raise TextError("not UTF-8", error.start) from None
    except TextError:
        raise
    except RecursionError:
        raise TextError("nested too deeply") from None
    except UnicodeEncodeError:
        raise TextError("a string holds half of a surrogate pair") from None
    except ValueError:
        # Python refuses to convert integers of more than 4,300 digits, in quadratic time, from text.
        raise TextError("a number has too many digits") from None


def _object_of(members: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(members)
    if len(row) != len(members):
        raise TextError("a member occurs twice")
    return row


def _refuse_constant(name: str) -> None:
    raise TextError(f"{name} is not JSON")


def _row_of(row: Any, values: str) -> tuple[bytes, bytes | None]:
    if not isinstance(row, dict):
        raise TextError('a row is an object: {"key": …, "value": …}')
    if not row.keys() <= _MEMBERS:
        unknown = min(row.keys() - _MEMBERS)
        raise TextError(f"unknown member {unknown!r}: a row has key, value or deleted")
    if "key" not in row:
        raise TextError('no "key" in the row')
    key = bytes_of(row["key"], "key")
    if "deleted" in row:
        if row["deleted"] is not True or "value" in row:
            raise TextError('"deleted" is true and stands instead of "value"')
        return key, None
    if "value" not in row:
        raise TextError('no "value" in the row')
    if values == "json":
        return key, json.dumps(row["value"], ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    return key, bytes_of(row["value"], "value")


def bytes_of(item: Any, name: str) -> bytes:
    """The bytes behind a JSON string or a $base64 object; name: the member, for the error."""
    if isinstance(item, str):
        return item.encode()
    if isinstance(item, dict) and item.keys() == {"$base64", "encoded"} and item["$base64"] is True:
        try:
            return binascii.a2b_base64(item["encoded"].encode("ascii"), strict_mode=True)
        except (AttributeError, ValueError):
            raise TextError(f'"encoded" of "{name}" is not base64') from None
    hint = "; add --value-format json to store JSON values" if name == "value" else ""
    raise TextError(f'"{name}" is not a string or a {{"$base64": true, "encoded": …}} object{hint}')


def json_text_of(data: bytes, *, ascii_only: bool = False) -> str:
    """The JSON text for bytes: a string, or a $base64 object."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return f'{{"$base64": true, "encoded": "{binascii.b2a_base64(data, newline=False).decode("ascii")}"}}'
    return encode_basestring_ascii(text) if ascii_only else encode_basestring(text)


def json_embedded(data: bytes, *, ascii_only: bool = False) -> str:
    """The JSON text that the bytes hold, on one line; ValueError if they hold none."""
    decoder = json.JSONDecoder(parse_constant=_refuse_constant)
    try:
        value = decoder.decode(data.decode())
        return json.dumps(value, ensure_ascii=ascii_only, allow_nan=False)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def write(sections: Iterable[Section], options: WriteOptions) -> Iterator[bytes]:
    """Lines for the rows, in pieces that end with a line end."""
    for section in sections:
        yield from pieces_of_columns(
            section.chunks, values_json=options.value_format == "json", ascii_only=options.ascii_only
        )


def pieces_of_columns(
    chunks: Iterable[Columns], *, values_json: bool = False, ascii_only: bool = False
) -> Iterator[bytes]:
    """The lines of each chunk; values_json: each value as the JSON that it holds, InputError if it holds none."""
    row = 0
    for keys, values in chunks:
        lines = []
        for key, value in zip(keys, values, strict=True):
            row += 1
            key_text = json_text_of(key, ascii_only=ascii_only)
            if values_json:
                try:
                    value_text = json_embedded(value, ascii_only=ascii_only)
                except ValueError:
                    raise InputError(f"the value of {key_text} is not JSON", line=row) from None
            else:
                value_text = json_text_of(value, ascii_only=ascii_only)
            lines.append(f'{{"key": {key_text}, "value": {value_text}}}\n')
        yield "".join(lines).encode()
