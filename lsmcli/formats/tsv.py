r"""Tab-separated lines: key TAB value LF, what `scan` prints.

A field that is printable UTF-8 and does not start with a double quote stands as it is, backslashes
included; any other field stands in its quoted, escaped form (see esc). So a field never holds a raw
tab or line end, `cut`, `sort` and `awk` see the right columns, and every byte comes back:

    key       value          line
    a         1              a<TAB>1
    k         two LF lines   k<TAB>"two\nlines"
    \x00\x01  (empty)        "\x00\x01"<TAB>

The reader also takes what other programs write: raw bytes that are not UTF-8, CR LF line ends, a byte
order mark, a last line without its line end. A row needs exactly one tab.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from lsmcli.formats import InputError
from lsmcli.formats.esc import TextError, parse_field, plain
from lsmcli.formats.plain_rows import join_tsv
from lsmcli.formats.rows import Rows, chunks_of, row_error

EXTENSIONS: Final = (".tsv", ".tab", ".txt")
HEADER: Final = b"key\tvalue\n"
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


def sniff(head: bytes) -> bool:
    """Whether the first line looks like a row: it has a tab."""
    return b"\t" in head.split(b"\n", 1)[0]


def read(blocks: Iterable[bytes], *, header: bool = False) -> Iterator[Rows]:
    """Rows of blocks of whole lines; header: the first line holds names and is skipped."""
    line = 1
    for block in blocks:
        lines = block.split(b"\n")
        if lines[-1] == b"":
            del lines[-1]
        if line == 1:
            if lines and lines[0].startswith(_BYTE_ORDER_MARK):
                lines[0] = lines[0][len(_BYTE_ORDER_MARK) :]
            if header:
                del lines[0]
                line = 2
        yield Rows(line, _pairs_of(lines, line, b'"' in block or b"\r" in block))
        line += len(lines)


def _pairs_of(lines: list[bytes], line_first: int, careful: bool) -> list[tuple[bytes, bytes | None]]:
    """careful: some field may be quoted, or some line may end with CR."""
    if not careful:
        fields = [line.split(b"\t") for line in lines]
        if set(map(len, fields)) <= {2}:
            return [(key, value) for key, value in fields]
    return [_parse_line(line, line_first + index) for index, line in enumerate(lines)]


def _parse_line(text: bytes, line: int) -> tuple[bytes, bytes]:
    # A value that ends with CR is always written quoted, so a raw CR at the end belongs to the line end.
    fields = text.removesuffix(b"\r").split(b"\t")
    if len(fields) == 1:
        reason = "the line is empty" if fields == [b""] else "no tab between key and value"
        raise InputError(reason, line=line, column=len(fields[0]) + 1)
    if len(fields) > 2:
        reason = "a second tab: write a tab inside a value as \\t, with the value in double quotes"
        raise InputError(reason, line=line, column=len(fields[0]) + len(fields[1]) + 2)
    try:
        key = parse_field(fields[0])
    except TextError as error:
        raise row_error(error, line, 0) from None
    try:
        return key, parse_field(fields[1])
    except TextError as error:
        raise row_error(error, line, len(fields[0]) + 1) from None


def write(pairs: Iterable[tuple[bytes, bytes]], *, header: bool = False) -> Iterator[bytes]:
    """Lines for pairs, in pieces that end with a line end."""
    if header:
        yield HEADER
    for chunk in chunks_of(pairs):
        yield lines_of(chunk)


def lines_of(pairs: list[tuple[bytes, bytes]]) -> bytes:
    """The lines of a few pairs. Where no field needs escapes, nothing is done per field."""
    text = join_tsv([key for key, _ in pairs], [value for _, value in pairs])
    if text is not None:
        return text
    return b"".join([b"%s\t%s\n" % (plain(key), plain(value)) for key, value in pairs])
