r"""Redis commands, as redis-cli --pipe sends them and an append-only file keeps them: RESP arrays, or inline lines.

    *3 CR LF $3 CR LF SET CR LF $6 CR LF user:1 CR LF $3 CR LF Ada CR LF        SET user:1 Ada
    SET "user 2" "two\nlines" LF                                                 the same, inline

    SET key value       MSET key value …       DEL key …       UNLINK key …       SELECT n

SELECT 0 is the tree of the command line, SELECT n the tree named n. Any other command is a bad row. So is one that
sets an expiry or a condition, because keys do not expire here and rows are not conditional; a lenient reader stores
SETEX, PSETEX and SET … EX, PX, EXAT, PXAT for good.

Invariants:
- a bulk string is as long as it says: a length that does not fit is damage of the structure;
- rows keep the order of their commands, deletes included.

RESP has no end mark: a stream that was cut between two commands cannot be told from a shorter one.
Lines in errors are numbers of commands, and columns count from the command's start.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from lsmcli.engine.constants import KEY_SIZE_MAX, MIB, TREE_NAME_MAIN, VALUE_SIZE_MAX
from lsmcli.formats import InputError
from lsmcli.formats.cursor import Cursor
from lsmcli.formats.esc import TextError, parse_escapes, plain
from lsmcli.formats.rows import CHUNK_SIZE, ReadOptions, Rows, Section, WriteOptions, check_limits

TREES: Final = True

BULK_SIZE_MAX: Final = 512 * MIB  # of one string, by the default of a Redis server
WORDS_MAX: Final = 1 << 20  # of one command, by the same
DATABASES: Final = 16
LINE_SIZE_MAX: Final = 1 * MIB  # of an inline command
COMMAND_SIZE_MAX: Final = 2 * VALUE_SIZE_MAX  # all words of one command, which are in memory together

_SET: Final = re.compile(rb"\*3\r\n\$3\r\n(?i:SET)\r\n\$(\d{1,4})\r\n").match
_BULK: Final = re.compile(rb"\r\n\$(\d{1,10})\r\n").match
_COUNT: Final = re.compile(rb"\*(\d{1,10})\r\n").fullmatch
_SIZE: Final = re.compile(rb"\$(\d{1,10})\r\n").fullmatch
_WORD: Final = re.compile(rb"""(?s)\s*(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|([^\s"']+))(?=\s|\Z)""").match
_EXPIRIES: Final = frozenset({b"EX", b"PX", b"EXAT", b"PXAT"})


def read(pieces: Iterable[bytes], options: ReadOptions) -> Iterator[Rows]:
    """Rows of commands, as many at a time as a piece holds. A command of several keys gives several rows."""
    cursor = Cursor(pieces)
    batch = _Batch()
    handed_over = 0  # offset behind the rows that were
    number = 1
    while True:
        number = _sets(cursor, batch, number)
        at_hand = cursor.at < len(cursor.data)
        if batch.keys and (not at_hand or cursor.offset - handed_over >= CHUNK_SIZE):
            handed_over = cursor.offset
            yield batch.rows(handed_over)
            batch = _Batch(batch.tree)
        if not at_hand and not cursor.more():
            return
        end = cursor.offset
        words = _command(cursor, number)
        if not words:
            continue
        if words[0].upper() == b"SELECT":
            if batch.keys:
                yield batch.rows(end)
            batch = _Batch(_tree_of(words, number))
        else:
            _take(words, number, batch, options)
        number += 1


class _Batch:
    """Rows that were read and not handed over yet."""

    __slots__ = ("keys", "lines", "tree", "values")

    def __init__(self, tree: bytes | None = None) -> None:
        self.tree = tree
        self.keys: list[bytes] = []
        self.values: list[bytes | None] = []
        self.lines: list[int] = []

    def rows(self, end: int) -> Rows:
        return Rows(self.keys, self.values, self.lines, end, self.tree)


def _sets(cursor: Cursor, batch: _Batch, number: int) -> int:
    """Take the plain SET commands at hand, up to the first that is not, and return the number of that one."""
    data, at = cursor.data, cursor.at
    size = len(data)
    while (found := _SET(data, at)) is not None:
        key_start = found.end()
        key_end = key_start + int(found[1])
        value = _BULK(data, key_end)
        if value is None or not key_start < key_end <= key_start + KEY_SIZE_MAX:
            break
        value_start = value.end()
        value_end = value_start + int(value[1])
        if (
            value_end + 2 > size
            or data[value_end : value_end + 2] != b"\r\n"
            or value_end - value_start > VALUE_SIZE_MAX
        ):
            break
        batch.keys.append(data[key_start:key_end])
        batch.values.append(data[value_start:value_end])
        batch.lines.append(number)
        number += 1
        at = value_end + 2
    cursor.at = at
    return number


def _command(cursor: Cursor, number: int) -> list[bytes]:
    """Take one command of any kind: its words, none for an empty line."""
    start = cursor.offset
    line = _line(cursor, LINE_SIZE_MAX, number, start)
    if not line.startswith(b"*"):
        return _inline(line, number)
    count = _COUNT(line)
    if count is None or int(count[1]) > WORDS_MAX:
        raise InputError("* takes a number of words, and CR LF", line=number, column=2)
    words = []
    room = COMMAND_SIZE_MAX
    for _ in range(int(count[1])):
        column = cursor.offset - start + 1
        size = _SIZE(_line(cursor, 64, number, start))
        if size is None:
            raise InputError("$ and the length of a word, and CR LF, have to stand here", line=number, column=column)
        room -= int(size[1])
        if room < 0:
            raise InputError(f"more than {COMMAND_SIZE_MAX} bytes in one command", line=number, column=column)
        words.append(_word(cursor, int(size[1]), number, start))
    return words


def _word(cursor: Cursor, size: int, number: int, start: int) -> bytes:
    if not cursor.hold(size + 2):
        raise InputError("the stream is cut off within a command", line=number, column=cursor.offset - start + 1)
    word = cursor.data[cursor.at : cursor.at + size]
    cursor.at += size
    if cursor.data[cursor.at : cursor.at + 2] != b"\r\n":
        raise InputError("no CR LF behind a word of that length", line=number, column=cursor.offset - start + 1)
    cursor.at += 2
    return word


def _line(cursor: Cursor, size_max: int, number: int, start: int) -> bytes:
    line = cursor.line(size_max)
    if line is None:
        column = cursor.offset - start + 1
        if len(cursor.data) - cursor.at >= size_max:
            raise InputError(f"no line end within {size_max} bytes", line=number, column=column)
        raise InputError("the stream is cut off within a command", line=number, column=column)
    return line


def _inline(line: bytes, number: int) -> list[bytes]:
    """The words of an inline command, quoted like those of redis-cli: escapes in "…", only \\' in '…'."""
    text = line.rstrip()
    words = []
    at = 0
    while at < len(text):
        found = _WORD(text, at)
        if found is None:
            column = len(text) - len(text[at:].lstrip()) + 1
            raise InputError("a quote is not closed, or text follows it", line=number, column=column)
        try:
            if found[3] is not None:
                words.append(found[3])
            elif found[2] is not None:
                words.append(found[2].replace(b"\\'", b"'"))
            else:
                words.append(parse_escapes(text, found.start(1), found.end(1)))
        except TextError as error:
            raise InputError(error.reason, line=number, column=error.offset + 1) from None
        at = found.end()
    return words


def _take(words: list[bytes], number: int, batch: _Batch, options: ReadOptions) -> None:
    """Add the rows of a command, or none of them when one is bad."""
    try:
        pairs = _pairs_of(words[0].upper(), words, lenient=options.lenient)
        for key, value in pairs:
            check_limits(key, value)
    except TextError as error:
        options.on_bad(InputError(error.reason, line=number), command_text(words).removesuffix(b"\r\n"))
        return
    for key, value in pairs:
        batch.keys.append(key)
        batch.values.append(value)
        batch.lines.append(number)


def _pairs_of(name: bytes, words: list[bytes], *, lenient: bool) -> Sequence[tuple[bytes, bytes | None]]:
    """The rows of a command; TextError if it is none of those that can be stored."""
    shown = plain(words[0][:32]).decode()
    count = len(words)
    if name in (b"DEL", b"UNLINK") and count >= 2:
        return [(key, None) for key in words[1:]]
    if name == b"MSET" and count >= 3 and count % 2:
        return list(zip(words[1::2], words[2::2], strict=True))
    if name == b"SET" and count == 3:
        return [(words[1], words[2])]
    if name in (b"SETEX", b"PSETEX") and count == 4 and words[2].isdigit():
        _check_expiry(shown, lenient=lenient)
        return [(words[1], words[3])]
    if name == b"SET" and count == 5 and words[3].upper() in _EXPIRIES and words[4].isdigit():
        _check_expiry(f"{shown} … {words[3].decode()}", lenient=lenient)
        return [(words[1], words[2])]
    if name in (b"SET", b"MSET", b"DEL", b"UNLINK", b"SETEX", b"PSETEX"):
        raise TextError(f"{shown}: not with these {count - 1} arguments")
    raise TextError(f"{shown} is no command of an import: SET, MSET, DEL, UNLINK, SELECT")


def _check_expiry(shown: str, *, lenient: bool) -> None:
    if not lenient:
        raise TextError(f"{shown}: keys do not expire here; --lenient stores them for good")


def _tree_of(words: list[bytes], number: int) -> bytes | None:
    if len(words) != 2 or not re.fullmatch(rb"\d{1,4}", words[1]):
        # Not a bad row: all rows behind it would go to the wrong tree.
        raise InputError("SELECT takes the number of a database", line=number)
    database = int(words[1])
    return b"%d" % database if database else None


def command_text(words: Sequence[bytes]) -> bytes:
    """A command as a RESP array."""
    return b"*%d\r\n%s" % (len(words), b"".join([b"$%d\r\n%s\r\n" % (len(word), word) for word in words]))


def write(sections: Iterable[Section], options: WriteOptions) -> Iterator[bytes]:
    """SET commands, for redis-cli --pipe. Raises InputError for what a Redis server refuses.

    Trees of a name are databases: main is 0, "1" to "15" are themselves.
    """
    row = 0
    for section in sections:
        if section.tree is not None:
            yield command_text([b"SELECT", _database_of(section.tree)])
        for keys, values in section.chunks:
            if max(map(len, values), default=0) > BULK_SIZE_MAX:
                wrong = next(index for index, value in enumerate(values) if len(value) > BULK_SIZE_MAX)
                reason = f"the value has {len(values[wrong])} bytes, a Redis server takes {BULK_SIZE_MAX}"
                raise InputError(reason, line=row + wrong + 1)
            row += len(keys)
            yield b"".join(
                [
                    b"*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n" % (len(key), key, len(value), value)
                    for key, value in zip(keys, values, strict=True)
                ]
            )


def _database_of(tree: bytes) -> bytes:
    if tree == TREE_NAME_MAIN.encode():
        return b"0"
    if tree in [b"%d" % number for number in range(1, DATABASES)]:
        return tree
    shown = plain(tree).decode()
    raise InputError(f"tree {shown}: Redis has databases of numbers alone, 1 to {DATABASES - 1}", line=1)
