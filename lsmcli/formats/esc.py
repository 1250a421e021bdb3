r"""Escaped text: one unambiguous form for any bytes, for people, pipes and files alike.

    bytes                 plain() writes        quoted() writes
    user:1                user:1                "user:1"
    caf\xc3\xa9           café (UTF-8)          "caf\xc3\xa9"
    say "hi"              say "hi"              "say \"hi\""
    a LF b                "a\nb"                "a\nb"
    "x                    "\"x"                 "\"x"
    \x00\xff              "\x00\xff"            "\x00\xff"

Invariants:
- `parse_field(plain(data)) == data` and `parse_quoted(quoted(data)) == data` for all bytes;
- `plain` never holds a control character, a tab, a line end or a bidirectional mark, and starts
  with a double quote if and only if what follows is the quoted form;
- `quoted` is ASCII, and its hex digits are lowercase.
"""

import re
from typing import Final

_LETTERS: Final = {0x0A: "\\n", 0x0D: "\\r", 0x09: "\\t", 0x07: "\\a", 0x08: "\\b", 0x22: '\\"', 0x5C: "\\\\"}
_LETTERS_BACK: Final = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"a": b"\a", b"b": b"\b"}


def _escape_of(byte: int) -> str:
    if byte in _LETTERS:
        return _LETTERS[byte]
    return chr(byte) if 0x20 <= byte <= 0x7E else f"\\x{byte:02x}"


_ESCAPES: Final = [_escape_of(byte) for byte in range(256)]
_ESCAPE_SEQUENCE: Final = rb"(?s)\\(x[0-9A-Fa-f]{2}|[^x])"  # compiled at first use: most runs need it never


class TextError(ValueError):
    """Text that does not follow its format.

    offset: index of the wrong character in the text that was given, from 0.
    """

    def __init__(self, reason: str, offset: int = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.offset = offset


def quoted(data: bytes) -> bytes:
    """The escaped form between double quotes, ASCII only."""
    return b'"' + data.decode("latin-1").translate(_ESCAPES).encode("ascii") + b'"'


def is_plain(data: bytes) -> bool:
    """Whether the bytes may stand as they are: printable UTF-8 that does not start with a double quote."""
    try:
        return data.decode().isprintable() and not data.startswith(b'"')
    except UnicodeDecodeError:
        return False


def plain(data: bytes) -> bytes:
    """The bytes as they are where that is safe and unambiguous, else their quoted form."""
    return data if is_plain(data) else quoted(data)


def parse_quoted(text: bytes) -> bytes:
    """The bytes behind a quoted form, the quotes included; TextError for anything else."""
    if len(text) < 2 or not text.startswith(b'"'):
        raise TextError("a double quote is not closed", 0)
    return parse_escapes(text, 1, _closing_quote(text))


def _closing_quote(text: bytes) -> int:
    """Index of the quote that closes the one at index 0; it must be the last byte."""
    close = text.find(b'"', 1)
    while close != -1 and _is_escaped(text, close):
        close = text.find(b'"', close + 1)
    if close == -1:
        raise TextError("a double quote is not closed", 0)
    if close != len(text) - 1:
        raise TextError("text follows the closing quote", close + 1)
    return close


def _is_escaped(text: bytes, index: int) -> bool:
    """Whether an odd run of backslashes stands before index; the quote at index 0 ends any run."""
    run_start = index
    while text[run_start - 1] == 0x5C:
        run_start -= 1
    return (index - run_start) % 2 == 1


def parse_escapes(text: bytes, start: int = 0, end: int | None = None) -> bytes:
    """Bytes of `text[start:end]` with its backslash sequences resolved; offsets of errors count from text[0]."""
    if end is None:
        end = len(text)
    if text.find(b"\\", start, end) == -1:
        return text[start:end]
    match_escape = re.compile(_ESCAPE_SEQUENCE).match
    parts = []
    at = start
    while (backslash := text.find(b"\\", at, end)) != -1:
        parts.append(text[at:backslash])
        match = match_escape(text, backslash, end)
        if match is None:
            found = text[backslash : min(backslash + 4, end)].decode("ascii", "replace")
            raise TextError(f"'{found}' is no escape: \\x takes two hex digits", backslash)
        escaped = match[1]
        if len(escaped) == 3:
            parts.append(bytes.fromhex(escaped[1:].decode("ascii")))
        else:
            parts.append(_LETTERS_BACK.get(escaped, escaped))
        at = match.end()
    parts.append(text[at:end])
    return b"".join(parts)


def parse_field(text: bytes) -> bytes:
    """The bytes behind what `plain` wrote: the quoted form if it starts with a quote, else the text itself."""
    return parse_quoted(text) if text.startswith(b'"') else text


def safe_text(text: str) -> str:
    """Text for a message: whatever could steer a terminal is written as an escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
