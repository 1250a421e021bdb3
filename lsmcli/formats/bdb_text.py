r"""The items of Berkeley DB's and LMDB's flat text: bytes as hex digits, or as escaped print. Pure.

    bytes          bytevalue        print
    a\b            615c62           a\5cb
    LF             0a               \0a
    caf\xc3\xa9    636166c3a9       caf\c3\a9
    (empty)        (empty)          (empty)

Invariants:
- `hex_decoded(hex_encoded(items)) == items`, and the same for print, for all bytes;
- hex digits are written in lower case, because db_load stores wrong bytes for upper case without a word;
- a backslash is written as \5c, the one form that every release of mdb_load and db_load reads alike.
"""

import re
from binascii import Error, unhexlify
from typing import Final

from lsmcli.formats.esc import TextError

_PLAIN: Final = bytes(byte for byte in range(0x20, 0x7F) if byte != 0x5C)
_ESCAPES: Final = [chr(byte) if byte in _PLAIN else f"\\{byte:02x}" for byte in range(256)]
_CONTROLS: Final = bytes([*range(0x20), 0x7F])
_NOT_HEX: Final = re.compile(rb"[^0-9a-fA-F]").search
_CONTROL: Final = re.compile(rb"[\x00-\x1f\x7f]").search
_BACKSLASHES: Final = re.compile(rb"\\(?:\\|[0-9a-fA-F]{2}|)")


def hex_encoded(items: list[bytes]) -> list[str]:
    """Each item as pairs of lower-case hex digits."""
    return list(map(bytes.hex, items))


def hex_decoded(items: list[bytes]) -> list[bytes]:
    """The bytes behind pairs of hex digits of either case; TextError for the first item that is none."""
    try:
        return list(map(unhexlify, items))
    except Error:
        return list(map(hex_item, items))


def hex_item(item: bytes) -> bytes:
    """The bytes behind one item in hex; TextError with the offset of the digit that is none."""
    try:
        return unhexlify(item)
    except Error:
        wrong = _NOT_HEX(item)
        if wrong is not None:
            raise TextError(f"{_shown(wrong[0])} is no hex digit", wrong.start()) from None
        raise TextError("an odd number of hex digits", len(item)) from None


def print_encoded(items: list[bytes]) -> list[str]:
    """Each item as printable ASCII, with \\hh for any other byte and for the backslash."""
    texts = [item.decode("latin-1") for item in items]
    if not b"".join(items).translate(None, _PLAIN):
        return texts
    return [text.translate(_ESCAPES) for text in texts]


def print_decoded(items: list[bytes], *, lenient: bool = False) -> list[bytes]:
    """The bytes behind escaped print; TextError for the first item that is none. lenient: see print_item."""
    text = b"".join(items)
    if b"\\" not in text and len(text.translate(None, _CONTROLS)) == len(text):
        return items
    return [print_item(item, lenient=lenient) for item in items]


def print_item(item: bytes, *, lenient: bool = False) -> bytes:
    r"""The bytes behind one item of escaped print: \\, \hh of either case, bytes from 0x80 on as they are.

    lenient: a backslash before anything else is itself, as mdb_dump -p up to LMDB 0.9.24 writes it. What follows it
    must not look like two hex digits then, which nobody can tell: strict is the rule.
    """
    control = _CONTROL(item)
    if control is not None:
        raise TextError(f"{_shown(control[0])} stands unescaped", control.start())
    if b"\\" not in item:
        return item

    def resolved(found: re.Match[bytes]) -> bytes:
        escape = found[0]
        if len(escape) == 3:
            return unhexlify(escape[1:])
        if len(escape) == 1 and not lenient:
            raise TextError("a backslash takes two hex digits or a second backslash behind it", found.start())
        return b"\\"

    return _BACKSLASHES.sub(resolved, item)


def _shown(byte: bytes) -> str:
    return f"'{byte.decode()}'" if byte in (_PLAIN[i : i + 1] for i in range(len(_PLAIN))) else f"byte 0x{byte.hex()}"
