r"""JSON lines: one object per row and line, {"key": "a", "value": "1"}.

How bytes are written is in json_text, what a row may hold in json_rows. Blank lines are passed over; a bad line
is a bad row, also the last one when it was cut. A line that is cut at its very end is whole, without its LF.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final, cast

from lsmcli.formats import InputError
from lsmcli.formats.esc import TextError
from lsmcli.formats.json_rows import PLAIN_ROW, Gathered, is_plain, texts_of
from lsmcli.formats.rows import (
    BYTE_ORDER_MARK,
    Columns,
    ReadOptions,
    Rows,
    Section,
    WriteOptions,
    line_blocks,
    within_limits,
)

TREES: Final = True

_PLAIN_LINE: Final = re.compile(rb"^" + PLAIN_ROW + rb"\r?$", re.M)


def read(pieces: Iterable[bytes], options: ReadOptions) -> Iterator[Rows]:
    """Rows of a source, some 1 µs per plain row and 10 per other one."""
    try:
        gathered = Gathered(options)
    except TextError as error:
        raise InputError(error.reason, line=1) from None
    plain = is_plain(options)
    line = 1
    end = 0
    for block in line_blocks(pieces):
        rows = _rows_plain(block, line, end + len(block)) if plain else None
        if rows is not None:
            line += len(rows.keys)
            end += len(block)
            yield rows
            continue
        for text in block.removesuffix(b"\n").split(b"\n"):
            start = end
            end += len(text) + 1
            if line == 1:
                text = text.removeprefix(BYTE_ORDER_MARK)
            if text.strip():
                gathered.add(text, line, start)
            line += 1
        end -= not block.endswith(b"\n")
        yield from gathered.taken(end)


def _rows_plain(block: bytes, line_first: int, end: int) -> Rows | None:
    """The rows of a block in which every line is a plain row; None if any needs the decoder."""
    found = _PLAIN_LINE.findall(block)
    if len(found) != block.count(b"\n") + (not block.endswith(b"\n")):
        return None
    try:
        block.decode()
    except UnicodeDecodeError:
        return None
    keys = [key for key, _ in found]
    values = [value for _, value in found]
    if not within_limits(keys, values):
        return None
    return Rows(keys, cast("list[bytes | None]", values), range(line_first, line_first + len(keys)), end)


def write(sections: Iterable[Section], options: WriteOptions) -> Iterator[bytes]:
    """Lines for the rows, in pieces that end with a line end."""
    for texts in texts_of(sections, options):
        yield "".join([text + "\n" for text in texts]).encode()


def pieces_of_columns(chunks: Iterable[Columns], *, ascii_only: bool = False) -> Iterator[bytes]:
    """The lines of each chunk of the rows of one tree."""
    return write([Section(None, chunks)], WriteOptions(ascii_only=ascii_only))
