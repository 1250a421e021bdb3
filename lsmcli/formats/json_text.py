r"""JSON texts, strictly: what they may hold, bytes as JSON, rows that are objects.

Bytes that are valid UTF-8 are a JSON string; any others are {"$base64": true, "encoded": "AP8="}, the form that
sqlite-utils and Datasette use. So every byte comes back, and every text is valid JSON.

Strict where JSON is loose: no member twice, no NaN, no lone surrogate, no number that a reader would turn into
another one without a word: past the largest double (1e999), or of more digits than Python converts (4,300).
A JSON value that is stored is the text as it was found, without the white space between its tokens: 1.10 stays
1.10, and 0.1 never becomes 0.1000000000000000055.
"""

import binascii
import json
import re
from collections.abc import Sequence
from json.decoder import scanstring  # type: ignore[attr-defined]  # what JSONDecoder.parse_string is
from json.encoder import encode_basestring, encode_basestring_ascii
from math import isinf
from typing import Any, Final, NamedTuple

from lsmcli.formats.esc import TextError

# The parts of an object around its values; whatever they do not match is looked at more closely.
_S: Final = r"[ \t\n\r]*+"
_BEGIN: Final = re.compile(_S + r"\{" + _S + r"(\}" + _S + ")?").match
_PLAIN_NAME: Final = re.compile(r'"([^"\\\x00-\x1f]*+)"' + _S + ":" + _S).match
_AFTER: Final = re.compile(_S + r"([,}])" + _S).match
# Strings, and runs of anything but white space.
_TOKENS: Final = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[^" \t\n\r]++').findall
_SURROGATE_ESCAPE: Final = re.compile(r"\\u[dD][89a-fA-F]")
_BEYOND_ASCII: Final = re.compile(r"[^\x00-\x7f]+")


class Member(NamedTuple):
    """A member of an object: its value, and where the text of the value stands."""

    value: Any
    start: int
    end: int


def _object_of(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) != len(members):
        raise TextError("a member occurs twice in an object")
    return found


def _refuse_constant(name: str) -> None:
    raise TextError(f"{name} is not JSON")


def _float_of(text: str) -> float:
    number = float(text)
    if isinf(number):
        raise TextError(f"the number {text[:40]} is beyond the largest double")
    return number


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_object_of, parse_constant=_refuse_constant, parse_float=_float_of)


def _error_of(error: Exception) -> TextError:
    """What stopped the decoder, as the error of a text; its offset counts bytes."""
    if isinstance(error, TextError):
        return error
    if isinstance(error, json.JSONDecodeError):
        return TextError(f"not JSON: {error.msg.lower()}", len(error.doc[: error.pos].encode("utf-8", "surrogatepass")))
    if isinstance(error, UnicodeDecodeError):
        return TextError("not UTF-8", error.start)
    if isinstance(error, UnicodeEncodeError):
        return TextError("a string holds half of a surrogate pair")
    if isinstance(error, RecursionError):
        return TextError("nested too deeply")
    return TextError("a number has too many digits")


_ERRORS: Final = (ValueError, RecursionError)  # JSONDecodeError and the Unicode errors are ValueErrors


def members_of(data: bytes) -> tuple[str, dict[str, Member]]:
    """The text of an object and its members, by name. Raises TextError if it is anything else, or not strict."""
    try:
        text = data.decode()
        return text, _members_of(text)
    except _ERRORS as error:
        raise _error_of(error) from None


def _members_of(text: str) -> dict[str, Member]:
    begin = _BEGIN(text)
    if begin is None:
        _DECODER.decode(text)  # says what is wrong if it is no JSON at all
        raise TextError("a row is an object, {…}")
    found: dict[str, Member] = {}
    at = begin.end()
    if not begin[1]:  # not empty
        while True:
            plain_name = _PLAIN_NAME(text, at)
            name, start = (plain_name[1], plain_name.end()) if plain_name is not None else _name_at(text, at)
            if name in found:
                raise TextError("a member occurs twice in an object", offset_of(text, start))
            value, at = scanstring(text, start + 1) if text.startswith('"', start) else _value_at(text, start)
            found[name] = Member(value, start, at)
            after = _AFTER(text, at)
            if after is None:
                raise json.JSONDecodeError("expecting ',' or '}'", text, _after_space(text, at))
            at = after.end()
            if after[1] == "}":
                break
    if at != len(text):
        raise json.JSONDecodeError("text follows the object", text, at)
    if _SURROGATE_ESCAPE.search(text):
        json.dumps(json.loads(text), ensure_ascii=False).encode()
    return found


def _after_space(text: str, at: int) -> int:
    return len(text) - len(text[at:].lstrip(" \t\n\r"))


def _name_at(text: str, at: int) -> tuple[str, int]:
    """The name of a member that has escapes, and the index of its value; or what is wrong with it."""
    if not text.startswith('"', at):
        raise json.JSONDecodeError("expecting the name of a member in double quotes", text, at)
    name, at = scanstring(text, at + 1)
    at = _after_space(text, at)
    if not text.startswith(":", at):
        raise json.JSONDecodeError("expecting ':'", text, at)
    return name, _after_space(text, at + 1)


def _value_at(text: str, start: int) -> tuple[Any, int]:
    """A value and the index behind it; what is wrong inside it is said to be wrong where it begins."""
    try:
        return _DECODER.raw_decode(text, start)
    except json.JSONDecodeError:
        raise
    except _ERRORS as error:
        raise TextError(_error_of(error).reason, offset_of(text, start)) from None


def offset_of(text: str, index: int) -> int:
    """The offset in bytes, in UTF-8, of the character with this index."""
    return len(text[:index].encode())


def without_space(text: str) -> str:
    """A valid JSON text without the white space between its tokens."""
    return "".join(_TOKENS(text))


def compact(data: bytes) -> bytes:
    """A JSON text checked and without white space; TextError if it is none, or not strict."""
    try:
        text = data.decode()
        value = _DECODER.decode(text)
        if _SURROGATE_ESCAPE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
        return without_space(text).encode()
    except _ERRORS as error:
        raise _error_of(error) from None


def bytes_of(item: Any, name: str) -> bytes:
    """The bytes behind a JSON string or a $base64 object; name: the member, for the error."""
    if isinstance(item, str):
        try:
            return item.encode()
        except UnicodeEncodeError as error:
            raise _error_of(error) from None
    if isinstance(item, dict) and item.keys() == {"$base64", "encoded"} and item["$base64"] is True:
        return bytes_of_base64(item["encoded"], name)
    hint = "; add --value-format json to store JSON values" if name == "value" else ""
    raise TextError(f'"{name}" is not a string or a {{"$base64": true, "encoded": …}} object{hint}')


def bytes_of_base64(item: Any, name: str) -> bytes:
    """The bytes behind a string of base64; name: the member, for the error."""
    try:
        return binascii.a2b_base64(item.encode("ascii"), strict_mode=True)
    except (AttributeError, ValueError):
        raise TextError(f'"{name}" is not base64') from None


def text_of(data: bytes, *, ascii_only: bool = False) -> str:
    """The JSON text for bytes: a string, or a $base64 object."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return f'{{"$base64": true, "encoded": "{base64_of(data)}"}}'
    return encode_basestring_ascii(text) if ascii_only else encode_basestring(text)


def base64_of(data: bytes) -> str:
    """Base64 in one line."""
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def embedded(data: bytes, *, ascii_only: bool = False) -> str:
    """The JSON text that the bytes hold, on one line; TextError if they hold none."""
    text = compact(data).decode()
    if ascii_only:
        text = _BEYOND_ASCII.sub(lambda found: encode_basestring_ascii(found[0])[1:-1], text)
    return text


def object_text(text: str, members: dict[str, Member], names: Sequence[str]) -> str:
    """Some members of an object as an object of their own, without white space."""
    parts = [f"{encode_basestring(name)}:{text[members[name].start : members[name].end]}" for name in names]
    return without_space("{" + ",".join(parts) + "}")
