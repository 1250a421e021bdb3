r"""Comma-separated values as RFC 4180 has them: fields with a delimiter, a quote or a line end stand in quotes.

    key,value            the header; export writes it
    a,1
    "x,y","say ""hi"" now"   a quote inside a field is doubled

Bytes stand as they are, also those that are not UTF-8: the format is one of bytes, and every byte comes back. With
--encoding base64 the columns are key_b64 and value_b64. Which columns become key and value is told in fields.

Written: lines end with LF; a field is quoted if it holds the delimiter, a quote, CR, LF or NUL.
Read: also CR LF, and a byte order mark. Refused as a bad row: another number of fields than the first row has, an
empty line, text behind a closing quote, a quote inside a field that is not quoted, a raw CR or NUL outside quotes
(UTF-16, or the zeros of a damaged file), a last line without its end (a file that was cut: nobody can tell, so
--lenient takes it). A quote that is never closed breaks the structure.
"""

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from io import StringIO
from itertools import chain
from typing import Final, cast

from lsmcli.engine.constants import MIB, VALUE_SIZE_MAX
from lsmcli.formats import InputError
from lsmcli.formats.esc import TextError
from lsmcli.formats.fields import HEADER_NAMES, HEADER_NAMES_BASE64, FieldMapping, mapping_of, split_pairs
from lsmcli.formats.json_text import base64_of
from lsmcli.formats.rows import (
    BYTE_ORDER_MARK,
    NO_LINE_END,
    ReadOptions,
    Rows,
    Section,
    WriteOptions,
    check_limits,
    line_blocks,
    within_limits,
)

TREES: Final = False
DELIMITER: Final = b","
_GATHERED_MAX: Final = 1 * MIB  # bytes of the source behind the rows that one Rows of the careful path holds

_UNCLOSED: Final = "a double quote is not closed: the field that it opens goes on to the end"


class _Lines:
    """The lines of the source as csv.reader takes them, and which of them the present row has taken.

    Within a row the reader goes on over the end of a block; a new row begins only where the caller loads a block.
    """

    __slots__ = ("blocks", "end", "line", "taken", "text")

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self.blocks = blocks
        self.text = StringIO("", newline="\n")
        self.line = 1  # of the next line
        self.end = 0  # offset in the source of the next line
        self.taken: list[str] = []

    def load(self, block: bytes) -> None:
        """Go on with this block. Latin-1 gives every byte a character of its own."""
        self.text = StringIO(block.decode("latin-1"), newline="\n")

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self.text.readline()
        if not line:
            if not self.taken:
                raise StopIteration
            self.load(self._until_quote())
            line = self.text.readline()
            if not line:
                raise StopIteration
        self.taken.append(line)
        self.line += 1
        self.end += len(line)
        return line

    def _until_quote(self) -> bytes:
        """The next blocks up to one with a double quote: before it, nothing can close the quote that is open."""
        parts: list[bytes] = []
        size = 0
        for block in self.blocks:
            parts.append(block)
            size += len(block)
            if b'"' in block:
                break
            if size > VALUE_SIZE_MAX:
                reason = f"a field in double quotes has more than {VALUE_SIZE_MAX} bytes"
                raise InputError(reason, line=self.line - len(self.taken))
        return b"".join(parts)

    def row(self) -> tuple[bytes, int]:
        """What the present row took, and the line that it begins on; the next row begins behind it."""
        raw = "".join(self.taken).encode("latin-1")
        line = self.line - len(self.taken)
        self.taken.clear()
        return raw, line


class _Parser:
    """Rows of fields. Its errors are TextErrors with the index of the bad field as their offset."""

    __slots__ = ("_field", "_lenient", "_reader", "delimiter", "lines")

    def __init__(self, blocks: Iterator[bytes], options: ReadOptions) -> None:
        self.delimiter = DELIMITER if options.delimiter is None else options.delimiter
        if len(self.delimiter) != 1 or self.delimiter in b'"\r\n\0':
            raise TextError("the delimiter is one byte, and no quote, line end or NUL")
        csv.field_size_limit(VALUE_SIZE_MAX + 1)
        self.lines = _Lines(blocks)
        self._lenient = options.lenient
        self._reader = csv.reader(self.lines, delimiter=self.delimiter.decode("latin-1"), strict=True)
        outside = re.escape(self.delimiter)
        self._field = re.compile(rb'(?:"[^"]*+(?:""[^"]*+)*+"|[^"%b\r\n]*+)(?:%b|\r?\n|\r?\Z)' % (outside, outside))

    def row(self) -> list[bytes] | None:
        """The fields of the next row; None at the end of the block.

        Raises TextError for a bad row, InputError when the source ends inside quotes.
        """
        try:
            found = next(self._reader, None)
        except csv.Error as error:
            raise self._error_of(str(error)) from None
        if found is None:
            return None
        if not found:
            raise TextError("the line is empty")
        if not self.lines.taken[-1].endswith("\n") and not self._lenient:
            raise TextError(NO_LINE_END, len(found))
        text = "".join(found)
        if ('"' in text or "\0" in text) and not self._lenient:
            self._check_quoted(found)
        return [field.encode("latin-1") for field in found]

    def _error_of(self, message: str) -> TextError:
        """What csv.reader found, in our words; its messages are all that tells the cases apart."""
        lines = self.lines
        raw = "".join(lines.taken).encode("latin-1")
        starts = self._starts(raw)
        if message.startswith("unexpected end"):
            raise self.placed(TextError(_UNCLOSED, len(starts) - 1), raw, lines.line - len(lines.taken))
        if message.startswith("new-line"):
            return TextError("a carriage return inside a field that is not in double quotes", len(starts) - 1)
        if message.startswith("field larger"):
            return TextError(f"a field has more than {VALUE_SIZE_MAX} bytes", len(starts) - 1)
        return TextError("text follows the closing quote of a field", len(starts) - 1)

    def _check_quoted(self, fields: list[str]) -> None:
        raw = "".join(self.lines.taken).encode("latin-1")
        for index, (start, field) in enumerate(zip(self._starts(raw), fields, strict=False)):
            if raw[start : start + 1] == b'"':
                continue
            if '"' in field:
                raise TextError("a quote inside a field that is not in double quotes", index)
            if "\0" in field:
                raise TextError("a NUL byte in a field that is not in double quotes", index)

    def _starts(self, raw: bytes) -> list[int]:
        """Where the fields of a row begin, up to the first that is not well-formed, which is included."""
        starts = [0]
        while (match := self._field.match(raw, starts[-1])) and match[0].endswith(self.delimiter):
            starts.append(match.end())
        return starts

    def placed(self, error: TextError, raw: bytes, line: int) -> InputError:
        """The error of a row that begins on this line, at the line and column of the field that it speaks of."""
        starts = self._starts(raw)
        at = starts[error.offset] if error.offset < len(starts) else len(raw.rstrip(b"\r\n"))
        line_start = raw.rfind(b"\n", 0, at) + 1
        return InputError(error.reason, line=line + raw.count(b"\n", 0, at), column=at - line_start + 1)


def read(pieces: Iterable[bytes], options: ReadOptions) -> Iterator[Rows]:
    """Rows of a source, some 0.5 µs per row without quotes and 2 µs with them.

    The first row must be good: it tells how many fields a row has, and often their names.
    """
    blocks = line_blocks(pieces)
    block = next(blocks, b"")
    try:
        parser = _Parser(blocks, options)
    except TextError as error:
        raise InputError(error.reason, line=1) from None
    lines = parser.lines
    if block.startswith(BYTE_ORDER_MARK):
        lines.end = len(BYTE_ORDER_MARK)
    block = block[lines.end :]
    lines.load(block)
    end = lines.end
    try:
        first = parser.row()
        if first is None:
            return
        mapping, is_header = mapping_of(first, options, header_usual=True)
    except TextError as error:
        raise parser.placed(error, *lines.row()) from None
    if is_header:
        lines.taken.clear()
        rest = lines.text.read().encode("latin-1")
    else:
        rest = "".join(lines.taken).encode("latin-1") + lines.text.read().encode("latin-1")
        lines.taken.clear()
        lines.line, lines.end = 1, end
    for block in chain([rest] if rest else [], blocks):
        rows = _rows_plain(block, parser, mapping)
        if rows is not None:
            yield rows
        else:
            lines.load(block)
            yield from _rows_careful(parser, mapping, options)


def _rows_plain(block: bytes, parser: _Parser, mapping: FieldMapping) -> Rows | None:
    """The rows of a block in which no field is quoted; None if any line needs more care."""
    if b'"' in block or b"\0" in block or not block.endswith(b"\n"):
        return None
    text = block
    if b"\r" in block:
        text = block.replace(b"\r\n", b"\n")
        if b"\r" in text:
            return None
    if mapping.is_pair:
        pairs = split_pairs(text, parser.delimiter)
        if pairs is None:
            return None
        keys, values = pairs
    else:
        try:
            rows = [mapping.pair(line.split(parser.delimiter)) for line in text.removesuffix(b"\n").split(b"\n")]
        except TextError:
            return None
        keys = [key for key, _ in rows]
        values = [value for _, value in rows]
    if not within_limits(keys, values):
        return None
    lines = parser.lines
    line_first = lines.line
    lines.line += len(keys)
    lines.end += len(block)
    return Rows(keys, cast("list[bytes | None]", values), range(line_first, lines.line), lines.end)


def _rows_careful(parser: _Parser, mapping: FieldMapping, options: ReadOptions) -> Iterator[Rows]:
    """The rows of the block that is loaded, and of those behind it that the last row takes a part of."""
    lines = parser.lines
    rows = Rows([], [], [], 0)
    numbers: list[int] = []
    end_before = lines.end
    while True:
        try:
            fields = parser.row()
            if fields is None:
                break
            key, value = mapping.pair(fields)
            check_limits(key, value)
        except TextError as error:
            raw, line = lines.row()
            options.on_bad(parser.placed(error, raw, line), raw.rstrip(b"\r\n"))
            continue
        rows.keys.append(key)
        rows.values.append(value)
        numbers.append(lines.line - len(lines.taken))
        lines.taken.clear()
        if lines.end - end_before > _GATHERED_MAX:
            yield rows._replace(lines=numbers, end=lines.end)
            rows = Rows([], [], [], 0)
            numbers = []
            end_before = lines.end
    yield rows._replace(lines=numbers, end=lines.end)


def write(sections: Iterable[Section], options: WriteOptions) -> Iterator[bytes]:
    """A header, unless told otherwise, and lines for the rows, in pieces that end with a line end."""
    delimiter = options.delimiter or DELIMITER
    base64 = options.encoding == "base64"
    if options.header is not False:
        yield delimiter.join(HEADER_NAMES_BASE64 if base64 else HEADER_NAMES) + b"\n"
    for section in sections:
        for keys, values in section.chunks:
            if base64:
                keys = [base64_of(key).encode() for key in keys]
                values = [base64_of(value).encode() for value in values]
            yield lines_of(keys, values, delimiter)


def lines_of(keys: Sequence[bytes], values: Sequence[bytes], delimiter: bytes = DELIMITER) -> bytes:
    """The lines of a few rows; where no field needs quotes, nothing is done per field."""
    text = b"\n".join(map(delimiter.join, zip(keys, values, strict=True))) + b"\n"
    if (
        text.count(b"\n") == len(keys)
        and text.count(delimiter) == len(keys)
        and b'"' not in text
        and b"\r" not in text
        and b"\0" not in text
        and BYTE_ORDER_MARK not in text
    ):
        return text
    needs_quotes = re.compile(rb'["\r\n\0%b]|\A\xef\xbb\xbf' % re.escape(delimiter)).search
    return b"".join(
        [
            b"%b%b%b\n" % (_field(key, needs_quotes), delimiter, _field(value, needs_quotes))
            for key, value in zip(keys, values, strict=True)
        ]
    )


def _field(data: bytes, needs_quotes: Callable[[bytes], object]) -> bytes:
    return b'"%b"' % data.replace(b'"', b'""') if needs_quotes(data) else data
