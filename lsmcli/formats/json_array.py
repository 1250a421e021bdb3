r"""A JSON array of objects, one per row: [{"key": "a", "value": "1"}, …], read and written as a stream.

The reader cuts the array into its elements by strings and brackets alone, and hands the text of each to the same
parser that JSON lines have; so one element is in memory, however long the array is. A bad element is a bad row as
long as its end can be seen; half an array, a missing comma, or anything behind the array is a broken structure.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from lsmcli.formats import InputError
from lsmcli.formats.esc import TextError
from lsmcli.formats.json_rows import Gathered, texts_of
from lsmcli.formats.rows import BYTE_ORDER_MARK, LINE_SIZE_MAX, ReadOptions, Rows, Section, WriteOptions

TREES: Final = True

# What the depth depends on: brackets, and whole strings, in which brackets mean nothing.
_TOKEN: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[][{}]|"', re.S)
# An object in which nothing is nested, as most rows are: found in one step.
_FLAT: Final = re.compile(rb'\{[^][{}"]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^][{}"]*+)*+\}', re.S)
_SPACE: Final = re.compile(rb"[ \t\r\n]*")
_SCALAR: Final = re.compile(rb"[^][{}\",\s]*")


class _Text:
    """The part of the source that is in memory, where it begins, and the pieces that follow."""

    __slots__ = ("at", "buffer", "end", "line", "line_start", "offset", "pieces")

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self.pieces = iter(pieces)
        self.buffer = b""
        self.at = 0  # index in the buffer up to which all is parsed
        self.offset = 0  # offset in the source of buffer[0]
        self.line = 1  # the line of buffer[at]
        self.line_start = 0  # offset in the source of the first byte of that line

    def more(self, size_min: int = 1) -> bool:
        """Drop what is parsed, and append at least so many bytes; False if the source ends before."""
        parts = [self.buffer[self.at :]]
        size = 0
        while size < size_min and (piece := next(self.pieces, b"")):
            parts.append(piece)
            size += len(piece)
        self.buffer = b"".join(parts)
        self.offset += self.at
        self.at = 0
        return size >= size_min

    def pass_mark(self) -> None:
        """Pass over a byte order mark at the very beginning."""
        while len(self.buffer) < len(BYTE_ORDER_MARK) and self.more():
            pass
        if self.buffer.startswith(BYTE_ORDER_MARK):
            self.at = self.line_start = len(BYTE_ORDER_MARK)

    def pass_to(self, index: int) -> None:
        """Everything before this index is parsed."""
        count = self.buffer.count(b"\n", self.at, index)
        if count:
            self.line += count
            self.line_start = self.offset + self.buffer.rindex(b"\n", self.at, index) + 1
        self.at = index

    def peek(self) -> bytes:
        """The next byte that is no white space, not passed yet; b"" at the end."""
        while True:
            match = _SPACE.match(self.buffer, self.at)
            assert match is not None
            self.pass_to(match.end())
            if self.at < len(self.buffer):
                return self.buffer[self.at : self.at + 1]
            if not self.more():
                return b""

    @property
    def column(self) -> int:
        return self.offset + self.at - self.line_start + 1

    def error(self, reason: str) -> InputError:
        """An error at the place that is reached."""
        return InputError(reason, line=self.line, column=self.column)


def read(pieces: Iterable[bytes], options: ReadOptions) -> Iterator[Rows]:
    """Rows of a source, after each piece those that are whole."""
    try:
        gathered = Gathered(options)
    except TextError as error:
        raise InputError(error.reason, line=1) from None
    text = _Text(pieces)
    text.pass_mark()
    if text.peek() != b"[":
        raise text.error("not a JSON array: it begins with [")
    text.pass_to(text.at + 1)
    piece_offset = text.offset
    if text.peek() == b"]":
        text.pass_to(text.at + 1)
    else:
        while True:
            first = text.peek()
            if first == b"":
                raise text.error("the array is cut: it has no closing ]")
            if first in b",]":
                raise text.error("a row is missing here")
            line, start, column = text.line, text.offset + text.at, text.column
            gathered.add(_element(text), line, start, column)
            if text.offset != piece_offset:
                piece_offset = text.offset
                yield from gathered.taken(text.offset + text.at)
            after = text.peek()
            if after not in (b",", b"]"):
                raise text.error(
                    "',' or ']' is expected after a row" if after else "the array is cut: it has no closing ]"
                )
            text.pass_to(text.at + 1)
            if after == b"]":
                break
    if text.peek():
        raise text.error("text follows the array")
    yield from gathered.taken(text.offset + text.at)


def _element(text: _Text) -> bytes:
    """The text of the element that begins here, which is passed; InputError if the source ends inside it."""
    flat = _FLAT.match(text.buffer, text.at)
    if flat is not None:
        return _passed(text, flat.end())
    if text.buffer[text.at] not in b'{["':
        return _scalar(text)
    depth = 0
    index = text.at
    while True:
        token = _TOKEN.search(text.buffer, index)
        if token is None or token[0] == b'"':
            # Twice as much as before each time, so that a huge string is not scanned again for every piece.
            size = len(text.buffer) - text.at
            index = (token.start() if token else len(text.buffer)) - text.at
            if size > LINE_SIZE_MAX:
                raise text.error(f"the row is longer than {LINE_SIZE_MAX} bytes")
            if not text.more(max(size, 1)) and len(text.buffer) == size:
                raise text.error("the array is cut inside the row that begins here")
            continue
        index = token.end()
        if token[0] in b"{[":
            depth += 1
        elif token[0] in b"}]":
            depth -= 1
        if depth <= 0:
            return _passed(text, index)


def _scalar(text: _Text) -> bytes:
    while True:
        match = _SCALAR.match(text.buffer, text.at)
        assert match is not None
        if match.end() < len(text.buffer) or not text.more():
            return _passed(text, max(match.end(), text.at + 1))


def _passed(text: _Text, index: int) -> bytes:
    element = text.buffer[text.at : index]
    text.pass_to(index)
    return element


def write(sections: Iterable[Section], options: WriteOptions) -> Iterator[bytes]:
    """The array, one row on a line."""
    separator = "[\n"
    for texts in texts_of(sections, options):
        yield (separator + ",\n".join(texts)).encode()
        separator = ",\n"
    yield b"[]\n" if separator == "[\n" else b"\n]\n"
