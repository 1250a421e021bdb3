"""Rows on their way in and out: what readers hand over, what writers take, and how both are told what is wanted.

    source  -> pieces_of -> [compression] -> read(pieces, ReadOptions) -> Rows, Rows, ...
    entries -> columns_of -> Section -> write(sections, WriteOptions) -> [compression] -> pieces

Invariants:
- keys and values travel as columns, lists of equal length, and never as an object per row;
- whatever the size of a stream, one piece, one chunk or one row of it is in memory;
- what a reader hands over is within the limits of the engine (see within_limits);
- the same bytes give the same rows, however they are cut into pieces: so an import goes on by reading again
  and passing over as many rows as it has.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import BinaryIO, Final, NamedTuple, NoReturn, TypeAlias

from lsmcli.engine.constants import KEY_SIZE_MAX, KEY_SIZE_MIN, KIB, VALUE_SIZE_MAX
from lsmcli.engine.packed_entries import PackedEntries
from lsmcli.formats import InputError
from lsmcli.formats.esc import TextError
from lsmcli.formats.plain_rows import count_lines

READ_SIZE: Final = 256 * KIB  # little: a piece, its copy as whole lines and its rows stay in the cache together
CHUNK_SIZE: Final = 256 * KIB  # a writer hands out pieces of about this size
CHUNK_ROWS: Final = 1024
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"

# The longest text of one row: every byte of its value escaped as six characters (\u0000), and its key.
LINE_SIZE_MAX: Final = 6 * (VALUE_SIZE_MAX + KEY_SIZE_MAX) + 1 * KIB

NO_LINE_END: Final = "the last line has no line end, as if the source was cut there: if it is whole, add --lenient"


class Rows(NamedTuple):
    """Consecutive rows of a source. A value of None removes the key."""

    keys: list[bytes]
    values: list[bytes | None]
    lines: Sequence[int]  # the line, or record, that each row begins on, from 1
    end: int  # offset in the (decompressed) source of the byte behind these rows
    tree: bytes | None = None  # name of the tree that the source says they are for


# Keys and values of equal length: `keys, values = columns`, unless a writer has a quicker way with packed ones.
Columns: TypeAlias = tuple[Sequence[bytes], Sequence[bytes]] | PackedEntries
OnBad: TypeAlias = Callable[[InputError, bytes], None]


def refuse(error: InputError, raw: bytes) -> NoReturn:
    """What to do with a bad row unless told otherwise: raise its error."""
    raise error


class ReadOptions(NamedTuple):
    """How to read a source. A reader looks at what concerns its format; the command refuses the rest."""

    name: str = ""  # the format's name, for a module that serves two
    header: bool | None = None  # csv, tsv: the first row holds names; None: told by the row (see fields)
    delimiter: bytes | None = None  # csv: the byte between fields; ldb: what stands between key and value
    columns: Sequence[str] | None = None  # names of the columns of a source without a header
    key: str | None = None  # the column of the key: a name, or a number from 1
    value: str | None = None  # the column of the value; "*": all columns as a JSON object; None: the rest of the row
    key_template: str | None = None  # the key as text with names of columns in braces: "{country}/{id}"
    value_format: str = "auto"  # "json": values are JSON, stored as its compact text
    encoding: str = "auto"  # csv, jsonl: "base64" if keys and values are written so
    lenient: bool = False  # take what other programs write against their own format, where it is not ambiguous
    on_bad: OnBad = refuse  # what to do with a bad row: its error, and its text without the line end
    file: BinaryIO | None = None  # the source itself where it can seek and is not compressed, for parquet


class WriteOptions(NamedTuple):
    """How to write. A writer looks at what concerns its format; the command refuses the rest."""

    name: str = ""  # the format's name, for a module that serves two
    header: bool | None = None  # csv, tsv: begin with the names of the columns; None: as is usual for the format
    delimiter: bytes | None = None  # csv, ldb: as in ReadOptions
    value_format: str = "auto"  # "json": each value is written as the JSON that it holds, InputError if it holds none
    encoding: str = "auto"  # "base64", "hex", "print": what the format offers for bytes that are no text
    ascii_only: bool = False  # jsonl, json: escape all characters beyond ASCII


class Section(NamedTuple):
    """The rows of one tree for a writer, in key order, each chunk of columns as it is found."""

    tree: bytes | None  # None: the name is not written; a format with TREES = False always gets None, and one section
    chunks: Iterable[Columns]


def line_blocks(pieces: Iterable[bytes], line_size_max: int = LINE_SIZE_MAX) -> Iterator[bytes]:
    """Cut pieces of a stream into blocks of whole lines: each ends with LF, except perhaps the last.

    Memory is bounded by the size of a piece plus the longest line; InputError when that exceeds line_size_max.
    """
    rest: list[bytes] = []
    rest_size = 0
    line = 1
    for piece in pieces:
        cut = piece.rfind(b"\n") + 1
        if cut:
            block = b"".join([*rest, piece[:cut]])
            yield block
            line += count_lines(block)
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


def columns_of(pairs: Iterable[tuple[bytes, bytes]]) -> Iterator[Columns]:
    """The same chunks as columns, as writers take them."""
    for chunk in chunks_of(pairs):
        keys, values = zip(*chunk, strict=True)
        yield keys, values


def within_limits(keys: Sequence[bytes], values: Sequence[bytes | None]) -> bool:
    """Whether every key and every value has a size that the engine takes. Some 0.1 µs per row."""
    if not keys:
        return True
    sizes = list(map(len, keys))
    if min(sizes) < KEY_SIZE_MIN or max(sizes) > KEY_SIZE_MAX:
        return False
    return max(map(len, filter(None, values)), default=0) <= VALUE_SIZE_MAX


def check_limits(key: bytes, value: bytes | None) -> None:
    """Raise TextError, which a reader turns into the error of the row, if a size is outside the engine's limits."""
    if not key:
        raise TextError("the key is empty")
    if len(key) > KEY_SIZE_MAX:
        raise TextError(f"the key has {len(key)} bytes, at most {KEY_SIZE_MAX} are possible")
    if value is not None and len(value) > VALUE_SIZE_MAX:
        raise TextError(f"the value has {len(value)} bytes, at most {VALUE_SIZE_MAX} are possible")


def row_error(error: TextError, line: int, column_base: int = 0) -> InputError:
    """An error of the text of one field, placed in its line; column_base: 0-based start of the field."""
    return InputError(error.reason, line=line, column=column_base + error.offset + 1)
