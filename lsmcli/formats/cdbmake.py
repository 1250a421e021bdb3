r"""cdbmake's records: what cdbmake and py-lmdb read and write. Every byte stands as it is, so nothing is escaped.

    +6,3:user:1->Ada        length of the key, length of the value, key, value, LF
    +1,0:x->
                            one more LF ends the stream

Invariants:
- a record is as long as it says: a length that does not fit is damage of the structure, because nobody can tell
  where the next record begins;
- the last LF is asked for: without it the stream was cut off.

Lines in errors are numbers of records, and columns count from the record's start.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from lsmcli.engine.constants import KEY_SIZE_MAX, VALUE_SIZE_MAX
from lsmcli.formats import InputError
from lsmcli.formats.cursor import Cursor
from lsmcli.formats.esc import TextError
from lsmcli.formats.rows import ReadOptions, Rows, Section, WriteOptions, check_limits, row_error

TREES: Final = False

_HEAD: Final = re.compile(rb"\+(\d{1,10}),(\d{1,10}):").match
_HEAD_SIZE_MAX: Final = len("+1234567890,1234567890:")


def read(pieces: Iterable[bytes], options: ReadOptions) -> Iterator[Rows]:
    """Rows of records, as many at a time as a piece holds."""
    cursor = Cursor(pieces)
    record = 1
    while True:
        keys: list[bytes] = []
        values: list[bytes | None] = []
        lines: list[int] = []
        wanted = 0
        while not wanted:
            found = _HEAD(cursor.data, cursor.at)
            if found is None:
                break
            key_size, value_size = int(found[1]), int(found[2])
            if key_size > VALUE_SIZE_MAX or value_size > VALUE_SIZE_MAX:
                raise InputError(f"a length above {VALUE_SIZE_MAX} bytes", line=record, column=2)
            start = found.end()
            middle = start + key_size
            end = middle + 2 + value_size
            data = cursor.data
            if end >= len(data):
                wanted = end + 1 - cursor.at
                continue
            if data[middle : middle + 2] != b"->":
                raise InputError("no -> behind a key of that length", line=record, column=middle - cursor.at + 1)
            if data[end] != 0x0A:
                raise InputError("no line end behind a value of that length", line=record, column=end - cursor.at + 1)
            key, value = data[start:middle], data[middle + 2 : end]
            if 0 < key_size <= KEY_SIZE_MAX:
                keys.append(key)
                values.append(value)
                lines.append(record)
            else:
                _refuse(key, value, record, start - cursor.at, data[cursor.at : end], options)
            record += 1
            cursor.at = end + 1
        if keys:
            yield Rows(keys, values, lines, cursor.offset)
        if wanted:
            if not cursor.hold(wanted):
                raise InputError("the stream is cut off within a record", line=record)
        elif cursor.data[cursor.at : cursor.at + 1] == b"\n":
            return _check_end(cursor, record)
        elif len(cursor.data) - cursor.at >= _HEAD_SIZE_MAX or not cursor.more():
            raise _no_record(cursor, record)


def _refuse(key: bytes, value: bytes, record: int, column: int, raw: bytes, options: ReadOptions) -> None:
    try:
        check_limits(key, value)
    except TextError as error:
        options.on_bad(row_error(error, record, column), raw)


def _check_end(cursor: Cursor, record: int) -> None:
    cursor.at += 1
    if cursor.at < len(cursor.data) or cursor.more():
        raise InputError("something follows the empty line that ends the stream", line=record, column=2)


def _no_record(cursor: Cursor, record: int) -> InputError:
    shown = cursor.data[cursor.at : cursor.at + _HEAD_SIZE_MAX]
    if re.fullmatch(rb"\+?|\+\d{1,10}(,\d{0,10})?", shown):
        return InputError("the stream is cut off: an empty line has to end it", line=record, column=len(shown) + 1)
    return InputError(f"a record begins with +length,length: and not with {shown[:16]!r}", line=record)


def write(sections: Iterable[Section], options: WriteOptions) -> Iterator[bytes]:
    """Records, and the empty line that ends them."""
    for section in sections:
        for keys, values in section.chunks:
            yield b"".join(
                [
                    b"+%d,%d:%s->%s\n" % (len(key), len(value), key, value)
                    for key, value in zip(keys, values, strict=True)
                ]
            )
    yield b"\n"
