r"""Tab-separated lines: key TAB value LF, what `scan` prints.

A field that is printable UTF-8 and does not start with a double quote stands as it is, backslashes
included; any other field stands in its quoted, escaped form (see esc). So a field never holds a raw
tab or line end, `cut`, `sort` and `awk` see the right columns, and every byte comes back:

    key       value          line
    a         1              a<TAB>1
    k         two LF lines   k<TAB>"two\nlines"
    \x00\x01  (empty)        "\x00\x01"<TAB>

The reader also takes what other programs write: raw bytes that are not UTF-8, CR LF line ends, a byte
order mark. A row has exactly one tab, unless columns are chosen (see fields). Refused is a raw NUL, which
comes from UTF-16 or from a block of zeros where a file was damaged, and a last line without its line end,
which may have been cut: nobody can tell. lenient takes both.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Final, cast

from lsmcli.engine.packed_entries import PackedEntries
from lsmcli.formats import InputError
from lsmcli.formats.esc import TextError, parse_field, plain
from lsmcli.formats.fields import FieldError, FieldMapping, mapping_of, split_pairs
from lsmcli.formats.plain_rows import join_packed_tsv, join_tsv
from lsmcli.formats.rows import (
    BYTE_ORDER_MARK,
    NO_LINE_END,
    Columns,
    ReadOptions,
    Rows,
    Section,
    WriteOptions,
    check_limits,
    line_blocks,
    refuse,
    row_error,
)

TREES: Final = False
HEADER: Final = b"key\tvalue\n"


def read(pieces: Iterable[bytes], options: ReadOptions) -> Iterator[Rows]:
    """Rows of a source, some 0.4 µs per row without quotes and 2 µs with them.

    Without options that speak of columns, a row has two fields and a header is skipped unread.
    """
    mapping = None
    line = 1
    end = 0
    for block in line_blocks(pieces):
        end += len(block)
        if line == 1:
            block = block.removeprefix(BYTE_ORDER_MARK)
            first, _, rest = block.partition(b"\n")
            is_header = bool(options.header)
            if _speaks_of_columns(options):
                mapping, is_header = _mapping_of(first, options)
            if is_header:
                if len(first) == len(block) and not options.lenient:
                    raise InputError(NO_LINE_END, line=1, column=len(first) + 1)
                block = rest
                line = 2
        if not block:
            continue
        rows = _rows_plain(block, line, end) if mapping is None else None
        if rows is None:
            rows = _rows_careful(block, line, end, mapping, options)
        yield rows
        line += block.count(b"\n")


def _speaks_of_columns(options: ReadOptions) -> bool:
    return options._replace(header=None, on_bad=refuse, lenient=False, name="", file=None) != ReadOptions()


def _mapping_of(first: bytes, options: ReadOptions) -> tuple[FieldMapping, bool]:
    try:
        return mapping_of(_fields_of(first), options, header_usual=False)
    except FieldError as error:
        raise row_error(_placed(error, first), 1) from None
    except TextError as error:
        raise row_error(error, 1) from None


def _rows_plain(block: bytes, line_first: int, end: int) -> Rows | None:
    """The rows of lines of two fields as they stand; None if any needs more care: a quote that begins one."""
    if b"\0" in block or not block.endswith(b"\n"):
        return None
    if b"\r" in block:
        block = block.replace(b"\r\n", b"\n")
        if b"\r" in block:
            return None
    columns = split_pairs(block, b"\t")
    if columns is None:
        return None
    keys, values = columns
    return Rows(keys, cast("list[bytes | None]", values), range(line_first, line_first + len(keys)), end)


def _rows_careful(block: bytes, line_first: int, end: int, mapping: FieldMapping | None, options: ReadOptions) -> Rows:
    rows = Rows([], [], [], end)
    numbers: list[int] = []
    line_cut = 0 if block.endswith(b"\n") or options.lenient else line_first + block.count(b"\n")
    for line, text in enumerate(block.removesuffix(b"\n").split(b"\n"), line_first):
        try:
            if b"\0" in text and not options.lenient:
                reason = "a NUL byte: in a row of text it is written as \\x00, in double quotes"
                raise TextError(reason, text.index(b"\0"))
            key, value = _pair_of(text) if mapping is None else _mapped(text, mapping)
            check_limits(key, value)
            if line == line_cut:
                raise TextError(NO_LINE_END, len(text))
        except TextError as error:
            options.on_bad(row_error(error, line), text)
            continue
        rows.keys.append(key)
        rows.values.append(value)
        numbers.append(line)
    return rows._replace(lines=numbers)


def _pair_of(text: bytes) -> tuple[bytes, bytes]:
    tabs = text.count(b"\t")
    if tabs == 0:
        text = text.removesuffix(b"\r")
        raise TextError("no tab between key and value" if text else "the line is empty", len(text))
    if tabs > 1:
        reason = "a second tab: write a tab inside a value as \\t, with the value in double quotes"
        raise TextError(reason, text.index(b"\t", text.index(b"\t") + 1))
    key, value = _fields_of(text)
    return key, value


def _mapped(text: bytes, mapping: FieldMapping) -> tuple[bytes, bytes]:
    """Key and value of a row of any columns; the index of a bad field becomes its offset."""
    try:
        return mapping.pair(_fields_of(text))
    except FieldError as error:
        raise _placed(error, text) from None


def _placed(error: FieldError, text: bytes) -> TextError:
    """The same error with the offset of the field instead of its index."""
    starts = [0, *accumulate(len(field) + 1 for field in text.split(b"\t"))]
    return TextError(error.reason, min(starts[min(error.offset, len(starts) - 1)], len(text)))


def _fields_of(text: bytes) -> list[bytes]:
    """The fields of a line. A field that ends with CR is always written quoted, so a raw one is of the line end."""
    fields = []
    offset = 0
    for field in text.removesuffix(b"\r").split(b"\t"):
        try:
            fields.append(parse_field(field))
        except TextError as error:
            raise TextError(error.reason, offset + error.offset) from None
        offset += len(field) + 1
    return fields


def write(sections: Iterable[Section], options: WriteOptions) -> Iterator[bytes]:
    """Lines for the rows, in pieces that end with a line end."""
    if options.header:
        yield HEADER
    for section in sections:
        yield from pieces_of_columns(section.chunks)


def pieces_of_columns(chunks: Iterable[Columns]) -> Iterator[bytes]:
    """The lines of each chunk."""
    for columns in chunks:
        text = join_packed_tsv(*columns.parts) if isinstance(columns, PackedEntries) else None
        yield lines_of(*columns) if text is None else text


def lines_of(keys: Sequence[bytes], values: Sequence[bytes]) -> bytes:
    """The lines of a few rows. Where no field needs escapes, nothing is done per field."""
    text = join_tsv(list(keys), list(values))
    if text is not None:
        return text
    return b"".join([b"%s\t%s\n" % (plain(key), plain(value)) for key, value in zip(keys, values, strict=True)])
