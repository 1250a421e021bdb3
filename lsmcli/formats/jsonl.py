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
from lsmcli.formats.rows import Rows, chunks_of

EXTENSIONS: Final = (".jsonl", ".ndjson", ".json")
_MEMBERS: Final = frozenset({"key", "value", "deleted"})


def sniff(head: bytes) -> bool:
    """Whether the stream starts like an object."""
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{")


class _RowError(ValueError):
    """Why one row cannot be taken; its line is known where it is caught."""


def read(blocks: Iterable[bytes], *, values: str = "bytes") -> Iterator[Rows]:
    """Rows of blocks of whole lines. Blank lines are passed over.

    values: "bytes" for strings and $base64 objects, "json" to store any JSON value as its compact text.
    """
    decoder = json.JSONDecoder(object_pairs_hook=_object_of, parse_constant=_refuse_constant)
    line = 1
    for block in blocks:
        pairs: list[tuple[bytes, bytes | None]] = []
        line_first = line
        for text in block.removesuffix(b"\n").split(b"\n"):
            if line == 1:
                text = text.removeprefix(b"\xef\xbb\xbf")
            if text.strip():
                pairs.append(_parse_line(text, line, decoder, values))
                line += 1
                continue
            yield Rows(line_first, pairs)
            pairs = []
            line += 1
            line_first = line
        yield Rows(line_first, pairs)


def _parse_line(text: bytes, line: int, decoder: json.JSONDecoder, values: str) -> tuple[bytes, bytes | None]:
    try:
        return _row_of(decoder.decode(text.decode()), values)
    except json.JSONDecodeError as error:
        raise InputError(f"not JSON: {error.msg}", line=line, column=len(error.doc[: error.pos].encode()) + 1) from None
    except UnicodeDecodeError as error:
        raise InputError("not UTF-8", line=line, column=error.start + 1) from None
    except _RowError as error:
        raise InputError(str(error), line=line) from None
    except RecursionError:
        raise InputError("nested too deeply", line=line) from None
    except UnicodeEncodeError:
        raise InputError("a string holds half of a surrogate pair", line=line) from None
    except ValueError:
        # Python refuses to convert integers of more than 4,300 digits, in quadratic time, from text.
        raise InputError("a number has too many digits", line=line) from None


def _object_of(members: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(members)
    if len(row) != len(members):
        raise _RowError("a member occurs twice")
    return row


def _refuse_constant(name: str) -> None:
    raise _RowError(f"{name} is not JSON")


def _row_of(row: Any, values: str) -> tuple[bytes, bytes | None]:
    if not isinstance(row, dict):
        raise _RowError('a row is an object: {"key": …, "value": …}')
    if not row.keys() <= _MEMBERS:
        unknown = min(row.keys() - _MEMBERS)
        raise _RowError(f"unknown member {unknown!r}: a row has key, value or deleted")
    if "key" not in row:
        raise _RowError('no "key" in the row')
    key = bytes_of(row["key"], "key")
    if "deleted" in row:
        if row["deleted"] is not True or "value" in row:
            raise _RowError('"deleted" is true and stands instead of "value"')
        return key, None
    if "value" not in row:
        raise _RowError('no "value" in the row')
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
            raise _RowError(f'"encoded" of "{name}" is not base64') from None
    hint = "; add --value-format json to store JSON values" if name == "value" else ""
    raise _RowError(f'"{name}" is not a string or a {{"$base64": true, "encoded": …}} object{hint}')


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


def write(pairs: Iterable[tuple[bytes, bytes]], *, values: str = "bytes", ascii_only: bool = False) -> Iterator[bytes]:
    """Lines for pairs, in pieces that end with a line end.

    values: "json" embeds each value as the JSON that it holds, InputError if it holds none.
    """
    row = 0
    for chunk in chunks_of(pairs):
        lines = []
        for key, value in chunk:
            row += 1
            key_text = json_text_of(key, ascii_only=ascii_only)
            if values == "json":
                try:
                    value_text = json_embedded(value, ascii_only=ascii_only)
                except ValueError:
                    raise InputError(f"the value of {key_text} is not JSON", line=row) from None
            else:
                value_text = json_text_of(value, ascii_only=ascii_only)
            lines.append(f'{{"key": {key_text}, "value": {value_text}}}\n')
        yield "".join(lines).encode()
