r"""Parquet and Arrow files, by pyarrow: the extra lsmcli[arrow].

    key: binary not null      value: binary not null

Read are the columns named key and value, the only two columns, or what options make of the columns, as of those of csv.
A column of bytes or text gives its bytes, one of numbers, truth values, dates or times the text that Arrow makes of
them; a null is a bad row, and an empty field for a lenient reader.

    parquet    a file that can seek, because its directory is at the end
    arrow      IPC file (a file that can seek), and IPC stream (a pipe as well); written as a file, or a stream

Invariants:
- one batch is in memory, and one row group of what is read is decoded at a time;
- a stream ends with its end mark, a file with its directory: what was cut off is an error;
- pages of Parquet are written with checksums, and those of any file that has them are checked;
- batches are validated before anything looks into them: their offsets come from a file;
- the bytes that are written depend on the rows alone, for one release of pyarrow.

Lines in errors are numbers of rows.
"""

import io
from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from lsmcli.engine.constants import MIB
from lsmcli.formats import InputError
from lsmcli.formats.esc import TextError, safe_text
from lsmcli.formats.fields import FieldMapping, mapping_of
from lsmcli.formats.groups import groups_of
from lsmcli.formats.rows import ReadOptions, Rows, Section, WriteOptions, check_limits, within_limits

if TYPE_CHECKING:
    import pyarrow

TREES: Final = False

GROUP_ROWS_MAX: Final = 1 << 16
GROUP_SIZE_MAX: Final = 16 * MIB  # of a batch and row group that is written, where no single row is larger
BATCH_ROWS: Final = 1 << 14  # rows that are taken out of Arrow's memory at a time
BATCH_SIZE: Final = 8 * MIB  # what a batch of Parquet is meant to hold

FILE_MAGIC: Final = b"ARROW1"
STREAM_END: Final = b"\xff\xff\xff\xff\x00\x00\x00\x00"


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError:
        raise InputError("parquet and arrow need pyarrow: pip install 'lsmcli[arrow]'", line=1) from None
    return pyarrow


def read(pieces: Iterable[bytes], options: ReadOptions) -> Iterator[Rows]:
    """Rows of batches. A row's line is its number. Raises InputError also when pyarrow is not there."""
    arrow = _pyarrow()
    try:
        if options.name == "parquet":
            file = _seekable(options)
            yield from _rows_of(_parquet_batches(file), options, file.tell)
        else:
            yield from _arrow_rows(arrow, pieces, options)
    except (arrow.ArrowException, UnicodeDecodeError) as error:
        raise InputError(_reason(error), line=1) from None
    except OSError as error:
        if error.errno is not None:  # the system's, not Arrow's word for a file that is damaged
            raise
        raise InputError(_reason(error), line=1) from None


def _reason(error: Exception) -> str:
    return f"damaged, or cut off: {' '.join(str(error).split())[:300]}"


def _seekable(options: ReadOptions) -> BinaryIO:
    if options.file is None:
        raise InputError("the directory is at the end: name a file, not a pipe or a compressed one", line=1)
    return options.file


def _parquet_batches(file: BinaryIO) -> Iterator["pyarrow.RecordBatch"]:
    from pyarrow import parquet

    source = parquet.ParquetFile(file, pre_buffer=False, page_checksum_verification=True)
    for number in range(source.metadata.num_row_groups):
        group = source.metadata.row_group(number)
        row_size = max(1, group.total_byte_size // max(1, group.num_rows))
        rows = min(BATCH_ROWS, max(1, BATCH_SIZE // row_size))
        yield from source.iter_batches(batch_size=rows, row_groups=[number], use_threads=False)


def _arrow_rows(arrow: Any, pieces: Iterable[bytes], options: ReadOptions) -> Iterator[Rows]:
    stream = _PieceStream(pieces)
    if stream.begins_with(FILE_MAGIC):
        file = _seekable(options)
        reader = arrow.ipc.open_file(arrow.PythonFile(file, mode="r"))
        yield from _rows_of(map(reader.get_batch, range(reader.num_record_batches)), options, file.tell)
        return
    if stream.begins_with(b"\0") or stream.begins_with(STREAM_END) or not stream.begins_with(STREAM_END[:4]):
        raise InputError("neither an Arrow file nor an Arrow stream", line=1)
    yield from _rows_of(arrow.ipc.open_stream(arrow.PythonFile(stream, mode="r")), options, stream.tell)
    if stream.last != STREAM_END:
        raise InputError("the stream is cut off, or something follows it: its end mark is missing", line=1)
    if stream.read(1):
        raise InputError("something follows the end mark of the stream", line=1)


class _PieceStream(io.RawIOBase):
    """The pieces of a source as a file that can only go forward. last: the last eight bytes that were read."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        super().__init__()
        self.pieces = iter(pieces)
        self.rest = b""
        self.last = b""
        self.position = 0

    def readable(self) -> bool:
        return True

    def begins_with(self, head: bytes) -> bool:
        """Whether the next bytes are these; nothing is taken."""
        while len(self.rest) < len(head):
            piece = next(self.pieces, None)
            if piece is None:
                break
            self.rest += piece
        return self.rest.startswith(head)

    def read(self, size: int | None = -1) -> bytes:
        """The next bytes, fewer than size only at the end."""
        parts = [self.rest]
        count = len(self.rest)
        while size is None or size < 0 or count < size:
            piece = next(self.pieces, None)
            if piece is None:
                break
            parts.append(piece)
            count += len(piece)
        data = b"".join(parts)
        if size is not None and size >= 0:
            data, self.rest = data[:size], data[size:]
        else:
            self.rest = b""
        self.last = (self.last + data[-8:])[-8:]
        self.position += len(data)
        return data

    def tell(self) -> int:
        return self.position


def _rows_of(
    batches: Iterable["pyarrow.RecordBatch"], options: ReadOptions, position: Callable[[], int]
) -> Iterator[Rows]:
    row = 1
    end = 0
    for batch in batches:
        batch.validate(full=True)
        end = max(end, position())
        names = batch.schema.names
        pair = _pair_of_columns(names, options)
        mapping = _mapping(names, options) if pair is None else None
        for start in range(0, batch.num_rows, BATCH_ROWS):
            part = batch.slice(start, BATCH_ROWS)
            if pair is not None:
                keys, values = [_bytes_of(part.column(index), names[index]) for index in pair]
                yield _checked(keys, values, row, end, options)
            elif mapping is not None:
                columns = [_bytes_of(part.column(index), name) for index, name in enumerate(names)]
                yield _mapped(columns, mapping, row, end, options)
            row += part.num_rows


def _pair_of_columns(names: list[str], options: ReadOptions) -> tuple[int, int] | None:
    """The indexes of the columns of key and value where each is one column as it is; else None."""
    if options.key_template is not None or options.value_format == "json" or options.encoding == "base64":
        return None
    if options.key is None and options.value is None:
        if sorted(names) == ["key", "value"]:
            return names.index("key"), names.index("value")
        return (0, 1) if len(names) == 2 else None
    if options.key is None or options.value in (None, "*"):
        return None
    return _column(names, options.key), _column(names, options.value or "")


def _column(names: list[str], wanted: str) -> int:
    """The index of the column of this name, else of this number, from 1."""
    if names.count(wanted) > 1:
        raise InputError(f"two columns have the name {wanted!r}: take one by its number", line=1)
    if wanted in names:
        return names.index(wanted)
    if wanted.isdecimal() and len(wanted) < 10 and 1 <= int(wanted) <= len(names):
        return int(wanted) - 1
    shown = safe_text(", ".join(names))
    raise InputError(f"no column {safe_text(wanted)!r}: there are {shown}", line=1)


def _mapping(names: list[str], options: ReadOptions) -> FieldMapping:
    try:
        fields = [name.encode("utf-8", "surrogateescape") for name in names]
        return mapping_of(fields, options._replace(header=True, columns=None), header_usual=True)[0]
    except TextError as error:
        raise InputError(error.reason, line=1) from None


def _bytes_of(array: Any, name: str) -> list[bytes | None]:
    """The bytes of each item of a column, None for a null."""
    arrow = _pyarrow()
    types = arrow.types
    kind = array.type
    try:
        if types.is_dictionary(kind):
            array = array.dictionary_decode()
        if str(array.type) == "binary_view":
            array = array.cast(arrow.large_binary())
        kind = array.type
        if not (types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind)):
            # Text is its UTF-8, and anything else becomes text first.
            array = array.cast(arrow.large_string()).cast(arrow.large_binary())
    except arrow.ArrowNotImplementedError:
        reason = f"column {safe_text(name)!r} is of {kind}, which is neither bytes nor text, nor becomes text"
        raise InputError(reason, line=1) from None
    items: list[bytes | None] = array.to_pylist()
    return items


def _checked(keys: list[bytes | None], values: list[bytes | None], row: int, end: int, options: ReadOptions) -> Rows:
    lines = range(row, row + len(keys))
    whole: list[bytes] = [key for key in keys if key is not None]
    if len(whole) == len(keys) and None not in values and within_limits(whole, values):
        return Rows(whole, values, lines, end)
    return _mapped([keys, values], FieldMapping(2, itemgetter(0), itemgetter(1)), row, end, options)


def _mapped(columns: list[list[bytes | None]], mapping: FieldMapping, row: int, end: int, options: ReadOptions) -> Rows:
    """Rows whose keys and values a mapping makes of all columns. A lenient reader takes a null as an empty field."""
    keys: list[bytes] = []
    values: list[bytes | None] = []
    lines = []
    for line, items in enumerate(zip(*columns, strict=True), row):
        fields = [item or b"" for item in items]
        try:
            if None in items and not options.lenient:
                raise TextError(f"column {items.index(None) + 1} is null")
            key, value = mapping.pair(fields)
            check_limits(key, value)
        except TextError as error:
            options.on_bad(InputError(error.reason, line=line), b"\t".join(fields))
            continue
        keys.append(key)
        values.append(value)
        lines.append(line)
    return Rows(keys, values, lines, end)


class _Sink(io.RawIOBase):
    """A file to write to that keeps what was written until it is taken."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[bytes] = []
        self.position = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.parts.append(bytes(data))
        self.position += len(self.parts[-1])
        return len(self.parts[-1])

    def tell(self) -> int:
        return self.position

    def take(self) -> bytes:
        """What was written since the last time."""
        data = b"".join(self.parts)
        self.parts.clear()
        return data


def write(sections: Iterable[Section], options: WriteOptions) -> Iterator[bytes]:
    """A file with a batch, or row group, for each group of rows. encoding "stream": arrow as an IPC stream."""
    arrow = _pyarrow()
    schema = arrow.schema([arrow.field(name, arrow.binary(), nullable=False) for name in ("key", "value")])
    sink = _Sink()
    if options.name == "parquet":
        from pyarrow import parquet

        writer: Any = parquet.ParquetWriter(
            arrow.PythonFile(sink, mode="w"),
            schema,
            compression="snappy",
            use_dictionary=False,
            write_statistics=["key"],
            write_page_checksum=True,
        )
    elif options.encoding == "stream":
        writer = arrow.ipc.new_stream(arrow.PythonFile(sink, mode="w"), schema)
    else:
        writer = arrow.ipc.new_file(arrow.PythonFile(sink, mode="w"), schema)
    for section in sections:
        for group in groups_of(section.chunks, GROUP_ROWS_MAX, GROUP_SIZE_MAX):
            columns = [arrow.array(column, arrow.binary()) for column in group]
            writer.write_batch(arrow.record_batch(columns, schema=schema))
            yield sink.take()
    writer.close()
    yield sink.take()
