"""Rows on their way in and out: blocks of whole lines, rows with their line numbers, chunks of pairs.

Invariant: whatever the size of a stream, one block or one chunk of it is in memory.
"""

from collections.abc import Iterable, Iterator
from operator import itemgetter
from typing import BinaryIO, Final, NamedTuple

from lsmcli.engine.constants import KEY_SIZE_MAX, KEY_SIZE_MIN, KIB, MIB, VALUE_SIZE_MAX
from lsmcli.formats import InputError
from lsmcli.formats.esc import TextError

READ_SIZE: Final = 1 * MIB
CHUNK_SIZE: Final = 256 * KIB  # a writer hands out pieces of about this size
CHUNK_ROWS: Final = 1024

# The longest text of one row: every byte of its value escaped as six characters (\u0000), and its key.
LINE_SIZE_MAX: Final = 6 * (VALUE_SIZE_MAX + KEY_SIZE_MAX) + 1 * KIB


_KEY_OF: Final = itemgetter(0)


class Rows(NamedTuple):
    """Consecutive rows of a stream. A value of None removes the key."""

    line: int  # number of the line of the first row; every row has one line
    pairs: list[tuple[bytes, bytes | None]]


def line_blocks(read_some: Iterable[bytes], line_size_max: int = LINE_SIZE_MAX) -> Iterator[bytes]:
    """Cut pieces of a stream into blocks of whole lines: each ends with LF, except perhaps the last.

    Memory is bounded by the size of a piece plus the longest line; InputError when that exceeds line_size_max.
    """
    rest: list[bytes] = []
    rest_size = 0
    line = 1
    for piece in read_some:
        cut = piece.rfind(b"\n") + 1
        if cut:
            block = b"".join([*rest, piece[:cut]])
            yield block
            line += block.count(b"\n")
            rest, rest_size = [], 0
        if cut < len(piece):
            rest.append(piece[cut:])
            rest_size += len(piece) - cut
            if rest_size > line_size_max:
                raise InputError(f"the line is longer than {line_size_max} bytes", line=line)
    if rest:
        yield b"".join(rest)


def pieces_of(stream: BinaryIO) -> Iterator[bytes]:
    """What the stream holds, in pieces of at most READ_SIZE bytes, each as soon as it is there."""
    read_some = getattr(stream, "read1", stream.read)
    while piece := read_some(READ_SIZE):
        yield piece


def chunks_of(pairs: Iterable[tuple[bytes, bytes]]) -> Iterator[list[tuple[bytes, bytes]]]:
    """Group pairs for bulk formatting. The first chunks are small, so that the first rows come at once;
    no chunk holds more than CHUNK_ROWS rows, nor goes on once it holds CHUNK_SIZE bytes.
    """
    rows_max = 1
    chunk: list[tuple[bytes, bytes]] = []
    size = 0
    for pair in pairs:
        chunk.append(pair)
        size += len(pair[0]) + len(pair[1])
        if len(chunk) >= rows_max or size >= CHUNK_SIZE:
            yield chunk
            chunk = []
            size = 0
            rows_max = min(rows_max * 2, CHUNK_ROWS)
    if chunk:
        yield chunk


def check_rows(rows: Rows) -> None:
    """Raise InputError for the first row whose key or value is outside the limits."""
    if not rows.pairs:
        return
    sizes_key = list(map(len, map(_KEY_OF, rows.pairs)))
    if not (min(sizes_key) >= KEY_SIZE_MIN and max(sizes_key) <= KEY_SIZE_MAX):
        index = next(index for index, size in enumerate(sizes_key) if not KEY_SIZE_MIN <= size <= KEY_SIZE_MAX)
        size = sizes_key[index]
        reason = f"the key has {size} bytes, at most {KEY_SIZE_MAX} are possible" if size else "the key is empty"
        raise InputError(reason, line=rows.line + index)
    sizes_value = [0 if value is None else len(value) for _, value in rows.pairs]
    if max(sizes_value) > VALUE_SIZE_MAX:
        index = next(index for index, size in enumerate(sizes_value) if size > VALUE_SIZE_MAX)
        reason = f"the value has {sizes_value[index]} bytes, at most {VALUE_SIZE_MAX} are possible"
        raise InputError(reason, line=rows.line + index)


def row_error(error: TextError, line: int, column_base: int) -> InputError:
    """An error of the text of one field, placed in its line; column_base: 0-based start of the field."""
    return InputError(error.reason, line=line, column=column_base + error.offset + 1)
