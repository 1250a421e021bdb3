r"""What RocksDB's ldb dump writes and ldb load reads: key, " ==> ", value, a line for each entry.

    0x757365723A31 ==> 0x416461          hex, the only safe form: ldb --hex load, ldb --hex dump
    user:1 ==> Ada                       plain, what ldb does without --hex
    Keys in range: 1                     the last line counts the entries

Invariants:
- the count is asked for and has to be right: without it the dump was cut off. ldb scan writes none: lenient;
- the first row tells hex from plain for the whole source: no row is ever hex digits here and text there;
- hex is written in upper case with 0x, an empty value as 0x alone; plain is written only where it comes back.
"""

import re
from binascii import Error, unhexlify
from collections.abc import Iterable, Iterator
from typing import Final

from lsmcli.formats import InputError
from lsmcli.formats.bdb_text import hex_item
from lsmcli.formats.esc import TextError
from lsmcli.formats.rows import (
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
DELIMITER: Final = b" ==> "

_COUNT: Final = re.compile(rb"Keys in range: (\d{1,20})").fullmatch
_NOISE: Final = b"Created bg thread 0x"
_COUNT_HEAD: Final = b"Keys in range:"  # ldb load passes over every line that begins with either
_INTERNAL: Final = re.compile(rb"'.*' seq:\d+, type:\d+ =>").match


def read(pieces: Iterable[bytes], options: ReadOptions) -> Iterator[Rows]:
    """Rows of lines. encoding "hex" or "plain" says what "auto" takes from the first row."""
    return _Reader(options).rows(line_blocks(pieces))


class _Reader:
    """The state between two blocks: the number of the line, hex or plain, and how many rows there were."""

    __slots__ = ("count", "delimiter", "ended", "line", "offset", "options", "printed")

    def __init__(self, options: ReadOptions) -> None:
        self.options = options
        self.delimiter = options.delimiter or DELIMITER
        self.printed: bool | None = {"hex": False, "plain": True}.get(options.encoding)  # None: not known yet
        self.line = 1  # of the next line
        self.offset = 0
        self.count = 0  # of rows, bad ones as well
        self.ended = False  # by the line that counts

    def rows(self, blocks: Iterable[bytes]) -> Iterator[Rows]:
        for block in blocks:
            lines = block.split(b"\n")
            if lines.pop() != b"":
                line = self.line + len(lines)
                raise InputError("the dump is cut off: the last line has no line end", line=line)
            self.offset += len(block)
            rows = self.rows_of(lines)
            self.line += len(lines)
            if rows.keys:
                yield rows
        if not self.ended and not self.options.lenient:
            reason = "the dump is cut off: 'Keys in range: N' has to end it. ldb scan writes none: add --lenient"
            raise InputError(reason, line=self.line)

    def rows_of(self, lines: list[bytes]) -> Rows:
        if self.printed is None:
            first = next((line for line in lines if not line.startswith(_NOISE)), None)
            if first is None:
                return self.rows_checked(lines)
            self.printed = not _looks_hex(first, self.delimiter)
        parts = [line.partition(self.delimiter) for line in lines]
        keys = [part[0] for part in parts]
        values: list[bytes | None] = [part[2] for part in parts]
        plain = not self.ended and all(part[1] for part in parts)
        if plain and not self.printed:
            plain = all(key[:2] == b"0x" for key in keys) and all(part[2][:2] == b"0x" for part in parts)
            try:
                keys = [unhexlify(key[2:]) for key in keys]
                values = [unhexlify(part[2][2:]) for part in parts]
            except Error:
                plain = False
        if plain and within_limits(keys, values):
            self.count += len(keys)
            return Rows(keys, values, range(self.line, self.line + len(keys)), self.offset)
        return self.rows_checked(lines)

    def rows_checked(self, lines: list[bytes]) -> Rows:
        """The good rows of lines of which some are bad, or are no rows."""
        keys: list[bytes] = []
        values: list[bytes | None] = []
        numbers = []
        for number, line in enumerate(lines, self.line):
            if line.startswith(_NOISE):
                continue
            if self.ended:
                raise InputError("something follows the line that counts", line=number)
            found = _COUNT(line)
            if found is not None:
                self.end(int(found[1]), number)
                continue
            self.count += 1
            try:
                key, value = self.row_of(line)
                check_limits(key, value)
            except TextError as error:
                self.options.on_bad(row_error(error, number), line)
                continue
            keys.append(key)
            values.append(value)
            numbers.append(number)
        return Rows(keys, values, numbers, self.offset)

    def end(self, count: int, line: int) -> None:
        if count != self.count:
            raise InputError(f"the dump is not whole: it counts {count} keys and holds {self.count}", line=line)
        self.ended = True

    def row_of(self, line: bytes) -> tuple[bytes, bytes]:
        key, delimiter, value = line.partition(self.delimiter)
        if not delimiter:
            hint = ": this is what ldb idump writes, take ldb dump" if _INTERNAL(line) else ""
            raise TextError(f"no '{self.delimiter.decode('ascii', 'backslashreplace')}' in the line{hint}", len(line))
        if self.printed:
            return key, value
        return _hex_of(key, 0), _hex_of(value, len(key) + len(delimiter))


def _looks_hex(line: bytes, delimiter: bytes) -> bool:
    key, _, value = line.partition(delimiter)
    return key.startswith(b"0x") and value.startswith(b"0x")


def _hex_of(text: bytes, column: int) -> bytes:
    if not text.startswith(b"0x"):
        raise TextError("no 0x before hex digits", column)
    try:
        return hex_item(text[2:])
    except TextError as error:
        raise TextError(error.reason, column + 2 + error.offset) from None


def write(sections: Iterable[Section], options: WriteOptions) -> Iterator[bytes]:
    """Lines in hex, and the count. encoding "plain" writes bytes as they are, InputError where that is ambiguous."""
    delimiter = options.delimiter or DELIMITER
    count = 0
    for section in sections:
        for keys, values in section.chunks:
            columns = keys, values
            yield (
                _plain_lines(columns, delimiter, count)
                if options.encoding == "plain"
                else _hex_lines(columns, delimiter)
            )
            count += len(keys)
    yield b"Keys in range: %d\n" % count


def _hex_lines(columns: Columns, delimiter: bytes) -> bytes:
    keys, values = columns
    if not keys:
        return b""
    items = [""] * (2 * len(keys))
    items[0::2] = map(bytes.hex, keys)
    items[1::2] = map(bytes.hex, values)
    digits = "\n".join(items).upper().split("\n")
    middle = f"{delimiter.decode('latin-1')}0x"
    lines = map(middle.join, zip(digits[0::2], digits[1::2], strict=True))
    return ("0x" + "\n0x".join(lines) + "\n").encode("latin-1")


def _plain_lines(columns: Columns, delimiter: bytes, count: int) -> bytes:
    lines = []
    for number, (key, value) in enumerate(zip(*columns, strict=True), count + 1):
        line = b"%s%s%s" % (key, delimiter, value)
        reason = ""
        if b"\n" in line:
            reason = "a line end"
        elif line.partition(delimiter)[0] != key:
            reason = "the delimiter in the key"
        elif key.startswith((_COUNT_HEAD, _NOISE)):
            reason = "a key that ldb load passes over"
        elif count == 0 and number == 1 and _looks_hex(line, delimiter):
            reason = "a first row that looks like hex"
        if reason:
            raise InputError(f"{reason} cannot be written plain: export in hex", line=number)
        lines.append(line + b"\n")
    return b"".join(lines)
