r"""Tab-separated lines: key TAB value LF, what `scan` prints.

A field that is printable UTF-8 and does not start with a double quote stands as it is, backslashes
included; any other field stands in its quoted, escaped form (see esc). So a field never holds a raw
tab or line end, `cut`, `sort` and `awk` see the right columns, and every byte comes back:

    key       value          line
    a         1              a<TAB>1
    k         two LF lines   k<TAB>"two\nlines"
    \x00\x01  (empty)        "\x00\x01"<TAB>

The reader also takes what other programs write: raw bytes that are not UTF-8, CR LF line ends, a byte
order mark, a last line without its line end. A row needs exactly one tab. A raw NUL is refused: it comes
from UTF-16, or from a block of zeros where a file was damaged.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, cast

from lsmcli.formats.esc import TextError, is_plain, parse_field, plain
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
    within_limits,
)

TREES: Final = False
HEADER: Final = b"key\tvalue\n"
_SEPARATORS_TO_SPACES: Final = bytes.maketrans(b"\t\n", b"  ")


def read(pieces: Iterable[bytes], options: ReadOptions) -> Iterator[Rows]:
    """Rows of a source; a header, if there is one, is skipped."""
    line = 1
    end = 0
    for block in line_blocks(pieces):
        end += len(block)
        lines = block.split(b"\n")
        if lines[-1] == b"":
            del lines[-1]
        line_next = line + len(lines)
        if line == 1:
            lines[0] = lines[0].removeprefix(BYTE_ORDER_MARK)
            if options.header:
                del lines[0]
                line = 2
        careful = b'"' in block or b"\r" in block or b"\0" in block
        yield _rows_plain(lines, line, end, careful) or _rows_careful(lines, line, end, options)
        line = line_next


def _rows_plain(lines: list[bytes], line_first: int, end: int, careful: bool) -> Rows | None:
    """The rows of lines of two plain fields; None if any line needs more care."""
    if careful:
        return None
    fields = [line.split(b"\t") for line in lines]
    if set(map(len, fields)) != {2}:
        return None
    keys = [row[0] for row in fields]
    values = [row[1] for row in fields]
    if not within_limits(keys, values):
        return None
    return Rows(keys, cast("list[bytes | None]", values), range(line_first, line_first + len(keys)), end)


def _rows_careful(lines: list[bytes], line_first: int, end: int, options: ReadOptions) -> Rows:
    rows = Rows([], [], [], end)
    numbers: list[int] = []
    for line, text in enumerate(lines, line_first):
        try:
            key, value = _parse_line(text, options)
            check_limits(key, value)
        except TextError as error:
            options.on_bad(row_error(error, line), text)
            continue
        rows.keys.append(key)
        rows.values.append(value)
        numbers.append(line)
    return rows._replace(lines=numbers)


def _parse_line(text: bytes, options: ReadOptions) -> tuple[bytes, bytes]:
    if b"\0" in text and not options.lenient:
        raise TextError(r"a NUL byte: in a row of text it is written as \x00, in double quotes", text.index(b"\0"))
    # A value that ends with CR is always written quoted, so a raw CR at the end belongs to the line end.
    fields = text.removesuffix(b"\r").split(b"\t")
    if len(fields) == 1:
        raise TextError("the line is empty" if fields == [b""] else "no tab between key and value", len(fields[0]))
    if len(fields) > 2:
        reason = "a second tab: write a tab inside a value as \\t, with the value in double quotes"
        raise TextError(reason, len(fields[0]) + len(fields[1]) + 1)
    key = parse_field(fields[0])
    try:
        return key, parse_field(fields[1])
    except TextError as error:
        raise TextError(error.reason, len(fields[0]) + 1 + error.offset) from None


def write(sections: Iterable[Section], options: WriteOptions) -> Iterator[bytes]:
    """Lines for the rows, in pieces that end with a line end."""
    if options.header:
        yield HEADER
    for section in sections:
        yield from pieces_of_columns(section.chunks)


def pieces_of_columns(chunks: Iterable[Columns]) -> Iterator[bytes]:
    """The lines of each chunk."""
    for keys, values in chunks:
        yield lines_of(keys, values)


def lines_of(keys: Sequence[bytes], values: Sequence[bytes]) -> bytes:
    """The lines of a few rows. Where no field needs escapes, which two counts over all of them tell, nothing
    is done per field: 0.2 µs per row against 0.9.
    """
    text = b"\n".join(map(b"\t".join, zip(keys, values, strict=True))) + b"\n"
    if (
        text.count(b"\n") == len(keys)
        and text.count(b"\t") == len(keys)
        and b'"' not in text
        and is_plain(text.translate(_SEPARATORS_TO_SPACES))
    ):
        return text
    return b"".join([b"%s\t%s\n" % (plain(key), plain(value)) for key, value in zip(keys, values, strict=True)])
