"""Rows of fields out of blocks of CSV: the module csv reads them, this says where they are and what is wrong.

A row goes on over the end of a block exactly while a double quote is open; then the blocks up to the next quote are
taken as one, because nothing before it can close the field: an open quote costs its text once, not an object per line.

Invariants:
- `lines.taken` are the lines that the present row has taken, and nothing else, once `row()` has returned or raised;
- an error speaks of a field by its index, and `placed` finds its line and column.
"""

import csv
import re
from collections.abc import Iterator
from io import StringIO
from typing import Final

from lsmcli.engine.constants import VALUE_SIZE_MAX
from lsmcli.formats import InputError
from lsmcli.formats.esc import TextError
from lsmcli.formats.rows import NO_LINE_END, ReadOptions

DELIMITER: Final = b","

_UNCLOSED: Final = "a double quote is not closed: the field that it opens goes on to the end"


class Lines:
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


class Parser:
    """Rows of fields. Its errors are TextErrors with the index of the bad field as their offset."""

    __slots__ = ("_field", "_lenient", "_reader", "_well_formed", "delimiter", "lines")

    def __init__(self, blocks: Iterator[bytes], options: ReadOptions) -> None:
        self.delimiter = DELIMITER if options.delimiter is None else options.delimiter
        if len(self.delimiter) != 1 or self.delimiter in b'"\r\n\0':
            raise TextError("the delimiter is one byte, and no quote, line end or NUL")
        csv.field_size_limit(VALUE_SIZE_MAX + 1)
        self.lines = Lines(blocks)
        self._lenient = options.lenient
        self._reader = csv.reader(self.lines, delimiter=self.delimiter.decode("latin-1"), strict=True)
        outside = re.escape(self.delimiter)
        field = rb'(?:"[^"]*+(?:""[^"]*+)*+"|[^"%b\r\n\0]*+)' % outside
        # Not possessive around an alternative: CPython before 3.11.5 forgets there where it was (gh-106052).
        self._well_formed = re.compile(rb"(?:%b(?:%b%b)*\r?\n)*" % (field, outside, field))
        self._field = re.compile(rb'(?:"[^"]*+(?:""[^"]*+)*+"|[^"%b\r\n]*+)(?:%b|\r?\n|\r?\Z)' % (outside, outside))

    def well_formed(self, block: bytes) -> bytes:
        """The whole rows that a block begins with, as far as all of them follow RFC 4180 to the letter."""
        match = self._well_formed.match(block)
        assert match is not None  # it matches the empty text as well
        return block if match.end() == len(block) else match[0]

    def rows_of(self, text: bytes) -> list[list[str]]:
        """The fields of rows that are well-formed; an empty line is a row of none."""
        stream = StringIO(text.decode("latin-1"), newline="\n")
        return list(csv.reader(stream, delimiter=self.delimiter.decode("latin-1"), strict=True))

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
