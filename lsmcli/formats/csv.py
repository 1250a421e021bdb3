r"""Comma-separated values as RFC 4180 has them: fields with a delimiter, a quote or a line end stand in quotes.

    key,value            the header; export writes it
    a,1
    "x,y","say ""hi"" to"    a quote inside a field is doubled

Bytes stand as they are, also those that are not UTF-8: the format is one of bytes, and every byte comes back. With
--encoding base64 the columns are key_b64 and value_b64. Which columns become key and value is told in fields.

Written: lines end with LF; a field is quoted if it holds the delimiter, a quote, CR, LF or NUL.
Read: also CR LF, and a byte order mark. Refused as a bad row: another number of fields than the first row has, an
empty line, text behind a closing quote, a quote inside a field that is not quoted, a raw CR or NUL outside quotes
(UTF-16, or the zeros of a damaged file), a last line without its end (a file that was cut: nobody can tell, so
--lenient takes it). A quote that is never closed breaks the structure.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, chain
from typing import Final, cast

from lsmcli.engine.constants import KIB, MIB
from lsmcli.engine.packed_entries import PackedEntries
from lsmcli.formats import InputError
from lsmcli.formats.csv_parser import DELIMITER, Parser
from lsmcli.formats.esc import TextError
from lsmcli.formats.fields import HEADER_NAMES, HEADER_NAMES_BASE64, FieldMapping, mapping_of, split_pairs
from lsmcli.formats.json_text import base64_of
from lsmcli.formats.plain_rows import join_csv, join_packed_csv
from lsmcli.formats.rows import (
    BYTE_ORDER_MARK,
    ReadOptions,
    Rows,
    Section,
    WriteOptions,
    check_limits,
    line_blocks,
    within_limits,
)

TREES: Final = False
_GATHERED_MAX: Final = 1 * MIB  # bytes of the source behind the rows that one Rows of the careful path holds
_CAREFUL_SIZE: Final = 64 * KIB  # bytes behind which the careful path gives way to the quicker ones again
_QUOTED_SIZE_MAX: Final = 4 * MIB  # of text whose rows are parsed at once


def read(pieces: Iterable[bytes], options: ReadOptions) -> Iterator[Rows]:
    """Rows of a source, some 0.5 µs per row without quotes and 1 µs with them.

    The first row must be good: it tells how many fields a row has, and often their names.
    """
    blocks = line_blocks(pieces)
    block = next(blocks, b"")
    try:
        parser = Parser(blocks, options)
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
        while block:
            rows = _rows_plain(block, parser, mapping)
            if rows is not None:
                yield rows
                break
            end = lines.end
            rows = _rows_quoted(block, parser, mapping)
            if rows is not None:
                yield rows
                block = block[lines.end - end :]
                if not block:
                    break
            lines.load(block)
            yield from _rows_careful(parser, mapping, options, sys.maxsize if rows is None else _CAREFUL_SIZE)
            block = lines.text.read().encode("latin-1")


def _rows_plain(block: bytes, parser: Parser, mapping: FieldMapping) -> Rows | None:
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


def _rows_quoted(block: bytes, parser: Parser, mapping: FieldMapping) -> Rows | None:
    """The rows at the beginning of a block, up to the first that is not well-formed or goes on behind the block; None
    if there are none, or one of them is a bad row for another reason.
    """
    whole = parser.well_formed(block)
    if not whole or len(whole) > _QUOTED_SIZE_MAX:
        return None
    found = parser.rows_of(whole)
    try:
        if mapping.is_pair:
            if set(map(len, found)) != {2}:
                return None
            pairs = [(key.encode("latin-1"), value.encode("latin-1")) for key, value in found]
        else:
            pairs = [mapping.pair([field.encode("latin-1") for field in row]) for row in found]
    except TextError:
        return None
    keys = [key for key, _ in pairs]
    values = [value for _, value in pairs]
    if not within_limits(keys, values):
        return None
    lines = parser.lines
    starts: Sequence[int] = range(lines.line, lines.line + len(keys))
    if whole.count(b"\n") != len(keys):  # a line end inside of some field
        starts = list(accumulate((1 + "".join(row).count("\n") for row in found[:-1]), initial=lines.line))
    lines.line += whole.count(b"\n")
    lines.end += len(whole)
    return Rows(keys, cast("list[bytes | None]", values), starts, lines.end)


def _rows_careful(parser: Parser, mapping: FieldMapping, options: ReadOptions, size: int) -> Iterator[Rows]:
    """The rows of the block that is loaded, up to the first that ends behind so many bytes of it; the last row may take
    a part of the blocks that follow.
    """
    lines = parser.lines
    rows = Rows([], [], [], 0)
    numbers: list[int] = []
    end_before = lines.end
    end_enough = lines.end + size
    while lines.end < end_enough:
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
        for columns in section.chunks:
            if isinstance(columns, PackedEntries) and not base64:
                text = join_packed_csv(*columns.parts, delimiter[0])
                if text is not None:
                    yield text
                    continue
            keys, values = columns
            if base64:
                keys = [base64_of(key).encode() for key in keys]
                values = [base64_of(value).encode() for value in values]
            yield lines_of(keys, values, delimiter)


def lines_of(keys: Sequence[bytes], values: Sequence[bytes], delimiter: bytes = DELIMITER) -> bytes:
    """The lines of a few rows."""
    return join_csv(list(keys), list(values), delimiter[0])
