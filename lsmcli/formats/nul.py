r"""Lists of records that NUL ends, as find -print0, xargs -0 and sort -z have them: a key, its value, the next key.

    user:1 NUL Ada NUL user:2 NUL two LF lines NUL

Keys and values that hold a NUL themselves cannot be written so; every other byte stands as it is.

Invariant: each record ends with NUL and they come in pairs: half a pair, or a rest without NUL, was cut off.

Lines in errors are numbers of rows, each a key and a value.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from lsmcli.engine.constants import VALUE_SIZE_MAX
from lsmcli.formats import InputError
from lsmcli.formats.esc import TextError
from lsmcli.formats.rows import ReadOptions, Rows, Section, WriteOptions, check_limits, row_error, within_limits

TREES: Final = False


def read(pieces: Iterable[bytes], options: ReadOptions) -> Iterator[Rows]:
    """Rows of pairs of records, as many at a time as a piece holds."""
    row = 1
    offset = 0  # of the first byte that was not handed over
    rest: list[bytes] = []  # begins there: an incomplete record, perhaps behind a key
    rest_size = 0
    for piece in pieces:
        rest.append(piece)
        rest_size += len(piece)
        if b"\0" not in piece:
            if rest_size > 2 * VALUE_SIZE_MAX:
                raise InputError(f"no NUL in {rest_size} bytes: no value is as long", line=row)
            continue
        records = b"".join(rest).split(b"\0")
        count = (len(records) - 1) // 2
        rest = [b"\0".join(records[2 * count :])]
        consumed = rest_size - len(rest[0])
        rest_size = len(rest[0])
        offset += consumed
        if count:
            yield _rows_of(records[: 2 * count], row, offset, options)
            row += count
    if rest_size:
        what = "a key without a value" if rest[-1].endswith(b"\0") else "no NUL at its end"
        raise InputError(f"the list is cut off: {what}", line=row)


def _rows_of(records: list[bytes], row: int, end: int, options: ReadOptions) -> Rows:
    keys = records[0::2]
    values: list[bytes | None] = list(records[1::2])
    lines = range(row, row + len(keys))
    if within_limits(keys, values):
        return Rows(keys, values, lines, end)
    good = []
    for index, (key, value) in enumerate(zip(keys, values, strict=True)):
        try:
            check_limits(key, value)
            good.append(index)
        except TextError as error:
            options.on_bad(row_error(error, lines[index]), b"%s\0%s" % (key, value or b""))
    return Rows([keys[i] for i in good], [values[i] for i in good], [lines[i] for i in good], end)


def write(sections: Iterable[Section], options: WriteOptions) -> Iterator[bytes]:
    """Pairs of records. Raises InputError for a key or value that holds a NUL."""
    row = 0
    for section in sections:
        for keys, values in section.chunks:
            records = [b""] * (2 * len(keys))
            records[0::2] = keys
            records[1::2] = values
            text = b"\0".join([*records, b""])
            if text.count(b"\0") != len(records):
                wrong = next(index for index, record in enumerate(records) if b"\0" in record)
                what = "value" if wrong % 2 else "key"
                raise InputError(
                    f"the {what} holds a NUL, which ends a record here: choose another format",
                    line=row + wrong // 2 + 1,
                )
            yield text
            row += len(keys)
