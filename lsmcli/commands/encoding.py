r"""Keys and values as arguments and as output: named codecs, each a pair of functions, all pure.

An argument is its own bytes, unless it starts with a prefix that says otherwise:

    hex:6162  b64:YWI=  esc:a\x00b  u64be:42  u32be:42  i64be:-1  raw:hex:literal

`raw:` makes the rest literal, so every byte string can be written. With a codec chosen by --key-format or
--value-format an argument is wholly in that format and no prefix is looked for.
"""

import binascii
import sys
from collections.abc import Callable
from typing import Final

from lsmcli.formats.esc import TextError, parse_escapes, parse_quoted, plain, quoted

ENCODING: Final = sys.getfilesystemencoding()  # of arguments
INTEGERS: Final = {"u64be": (8, 0), "u32be": (4, 0), "i64be": (8, 1 << 63)}  # name -> size, offset that makes it >= 0


class Codec:
    """How an argument becomes bytes, and bytes become output."""

    __slots__ = ("parse", "show")

    def __init__(self, parse: Callable[[str], bytes], show: Callable[[bytes], bytes]) -> None:
        self.parse = parse
        self.show = show


def argument_bytes(text: str) -> bytes:
    """The bytes of an argument exactly as the program was given them, in any locale."""
    try:
        return text.encode(ENCODING, "surrogateescape")  # os.fsencode takes five times as long to find this out
    except UnicodeEncodeError:
        # Text that did not come from the command line, in a locale that cannot write it.
        return text.encode("utf-8", "surrogateescape")


def parse_argument(text: str) -> bytes:
    """An argument with its optional prefix; TextError when what follows the prefix is wrong."""
    if ":" not in text:
        return argument_bytes(text)
    name, _, rest = text.partition(":")
    parse = PREFIXES.get(name)
    if parse is None:
        return argument_bytes(text)
    try:
        return parse(rest)
    except TextError as error:
        raise TextError(error.reason, error.offset + len(name) + 1) from None


def parse_hex(text: str) -> bytes:
    """Pairs of hex digits in either case, after an optional 0x."""
    start = 2 if text[:2] in ("0x", "0X") else 0
    for offset in range(start, len(text)):
        if text[offset] not in "0123456789abcdefABCDEF":
            raise TextError(f"{text[offset]!r} is not a hex digit", offset)
    if (len(text) - start) % 2:
        raise TextError("an odd number of hex digits", len(text))
    return bytes.fromhex(text[start:])


def parse_base64(text: str) -> bytes:
    """Base64 with its padding, in the standard alphabet."""
    try:
        return binascii.a2b_base64(text.encode("ascii"), strict_mode=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        reason = "a character outside base64" if isinstance(error, UnicodeEncodeError) else str(error).lower()
        raise TextError(f"not base64: {reason}") from None


def parse_esc(text: str) -> bytes:
    """Text with backslash escapes, between double quotes or bare."""
    data = argument_bytes(text)
    return parse_quoted(data) if data.startswith(b'"') else parse_escapes(data)


def parse_json(text: str) -> bytes:
    """A JSON string, or a $base64 object."""
    import json

    from lsmcli.formats.json_text import bytes_of

    try:
        return bytes_of(json.loads(text), "the argument")
    except json.JSONDecodeError as error:
        raise TextError(f"not JSON: {error.msg.lower()}", error.pos) from None
    except (ValueError, RecursionError):
        raise TextError("not a JSON string") from None


def parse_utf8(text: str) -> bytes:
    """Text that must be valid UTF-8; no prefixes."""
    data = argument_bytes(text)
    try:
        data.decode()
    except UnicodeDecodeError as error:
        raise TextError("not UTF-8", error.start) from None
    return data


def _parse_integer(name: str) -> Callable[[str], bytes]:
    size, bias = INTEGERS[name]

    def parse(text: str) -> bytes:
        try:
            number = int(text) if len(text) <= 20 else None
        except ValueError:
            number = None
        if number is None or not text.isascii():
            raise TextError(f"not a decimal number for {name}")
        if not 0 <= number + bias < 1 << (8 * size):
            raise TextError(f"{number} is outside the range of {name}")
        return (number + bias).to_bytes(size, "big")

    return parse


def _show_integer(name: str) -> Callable[[bytes], bytes]:
    size, bias = INTEGERS[name]

    def show(data: bytes) -> bytes:
        # Bytes of another length are no such number: the quotes tell them apart.
        return b"%d" % (int.from_bytes(data, "big") - bias) if len(data) == size else quoted(data)

    return show


def _show_json(data: bytes) -> bytes:
    from lsmcli.formats.json_text import text_of

    text = text_of(data)
    return (text if text.isprintable() else text_of(data, ascii_only=True)).encode()


def _show_redacted(data: bytes) -> bytes:
    import hashlib

    return b"<%d bytes, sha256 %s>" % (len(data), hashlib.sha256(data).hexdigest()[:16].encode("ascii"))


def quoted_for_message(key: bytes) -> str:
    """A key as a message shows it, shortened past 100 bytes."""
    text = plain(key).decode()
    return text if len(text) <= 100 else text[:97] + "..."


PREFIXES: Final[dict[str, Callable[[str], bytes]]] = {
    "hex": parse_hex,
    "b64": parse_base64,
    "esc": parse_esc,
    "raw": argument_bytes,
    **{name: _parse_integer(name) for name in INTEGERS},
}

# Formats that only say how to show a value leave arguments as they are under "auto".
CODECS: Final[dict[str, Codec]] = {
    "auto": Codec(parse_argument, plain),
    "utf8": Codec(parse_utf8, lambda data: data.decode(errors="replace").encode()),
    "esc": Codec(parse_esc, quoted),
    "hex": Codec(parse_hex, binascii.hexlify),
    "base64": Codec(parse_base64, lambda data: binascii.b2a_base64(data, newline=False)),
    "json": Codec(parse_json, _show_json),
    "raw": Codec(argument_bytes, lambda data: data),
    "len": Codec(parse_argument, lambda data: b"%d" % len(data)),
    "none": Codec(parse_argument, lambda data: b""),
    "redacted": Codec(parse_argument, _show_redacted),
    **{name: Codec(_parse_integer(name), _show_integer(name)) for name in INTEGERS},
}
