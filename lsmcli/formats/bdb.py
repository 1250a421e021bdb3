r"""Berkeley DB's and LMDB's flat text: what db_dump and mdb_dump write, and db_load and mdb_load read.

    VERSION=3
    format=bytevalue           or print; see bdb_text
    database=users             the tree; absent where the dump is of one tree that has no name there
    type=btree
    HEADER=END
     757365723a31              one space, the key
     416461                    one space, the value
    DATA=END                   the end of the section, of which a dump may hold several: one for each tree

The flavour lmdb adds mapsize, without which mdb_load stops at its default of 1 MiB, and maxreaders; the flavour bdb
leaves them out, because db_load refuses names that it does not know. Both are read alike.

Invariants:
- DATA=END is asked for, and a line end behind it: what was cut off is an error, not a smaller dump;
- a line of data begins with one space. One that does not is damage of the structure, because nobody can tell
  whether the lines behind it are keys or values.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from lsmcli.engine.constants import TREE_NAME_SIZE_MAX
from lsmcli.formats import InputError
from lsmcli.formats.bdb_text import hex_decoded, hex_encoded, hex_item, print_decoded, print_encoded, print_item
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

TREES: Final = True

# Address space, of which a file takes up only what it holds: LMDB needs several times the size of small entries.
MAPSIZE: Final = 1 << 40
LMDB_KEY_SIZE_MAX: Final = 511  # mdb_load refuses longer ones

_HEADER_LINE_MAX: Final = TREE_NAME_SIZE_MAX + 256
_FORMATS: Final = {b"bytevalue": False, b"print": True}
_TYPES: Final = frozenset({b"btree", b"hash", b"heap"})  # those whose entries have keys
_DUPLICATES: Final = frozenset({b"duplicates", b"dupsort"})
_NAMES_PASSED_OVER: Final = frozenset(
    b"bt_minkey chksum db_lorder db_pagesize dupfixed extentsize h_ffactor h_nelem integerdup integerkey keys mapaddr"
    b" mapsize maxreaders re_len re_pad recnum renumber reversedup reversekey subdatabase".split()
)


class _Header(NamedTuple):
    printed: bool  # format=print
    tree: bytes | None


def read(pieces: Iterable[bytes], options: ReadOptions) -> Iterator[Rows]:
    """Rows of all sections. A row's line is that of its key."""
    return _Reader(options).rows(line_blocks(pieces))


class _Reader:
    """The state between two blocks: where it is, the header, and a key whose value comes with the next block."""

    __slots__ = ("header", "key", "line", "offset", "options", "settings")

    def __init__(self, options: ReadOptions) -> None:
        self.options = options
        self.line = 1  # number of the next line
        self.offset = 0  # of the byte behind what was handed over
        self.settings: dict[bytes, bytes] | None = None  # of a header that is being read
        self.header: _Header | None = None  # of the section whose data are being read
        self.key: bytes | None = None

    def rows(self, blocks: Iterable[bytes]) -> Iterator[Rows]:
        for block in blocks:
            at = 0
            while at < len(block):
                if self.header is None:
                    at = self.header_line(block, at)
                    continue
                end = self.data_end(block, at)
                if end > at:
                    yield from self.data(block[at:end], self.header)
                at = end
                if at < len(block):
                    at = self.data_end_line(block, at)
        if self.header is not None or self.settings is not None or self.line == 1:
            where = "DATA=END" if self.header is not None else "HEADER=END"
            raise InputError(f"the dump is cut off: it ends before {where}", line=self.line)

    def header_line(self, block: bytes, at: int) -> int:
        """Take one line of a header, and return the index behind it."""
        end = block.find(b"\n", at)
        text = block[at : at + _HEADER_LINE_MAX if end == -1 else end]
        if end == -1:
            raise InputError("the dump is cut off: the last line has no line end", line=self.line)
        self.take_setting(text)
        self.line += 1
        self.offset += end + 1 - at
        return end + 1

    def take_setting(self, text: bytes) -> None:
        name, equals, value = text.partition(b"=")
        shown = text[:40].decode("ascii", "backslashreplace")
        if text.endswith(b"\r"):
            raise InputError("the line ends with CR LF, a dump has LF alone", line=self.line, column=len(text))
        if self.settings is None:
            if text != b"VERSION=3":
                raise InputError(f"VERSION=3 is missing: a section does not begin with '{shown}'", line=self.line)
            self.settings = {}
        elif text == b"HEADER=END":
            self.header = self.header_of(self.settings)
            self.settings = None
        elif not equals:
            raise InputError(f"'{shown}' is no line of a header: name=value", line=self.line)
        elif name in self.settings:
            raise InputError(f"'{shown}' gives a name for the second time", line=self.line)
        else:
            self.check_setting(name, value, shown)
            self.settings[name] = value

    def check_setting(self, name: bytes, value: bytes, shown: str) -> None:
        reason = ""
        if name == b"format":
            reason = "" if value in _FORMATS else "format is bytevalue or print"
        elif name == b"type":
            reason = "" if value in _TYPES else "type is btree or hash: others have no keys"
        elif name == b"database":
            reason = "" if 1 <= len(value) <= TREE_NAME_SIZE_MAX else "database is the name of a tree"
        elif name in _DUPLICATES:
            if value != b"0" and not self.options.lenient:
                reason = "of a key with several values only the last would be kept; --lenient takes it so"
        elif name not in _NAMES_PASSED_OVER:
            reason = "nothing of that name is known in a header"
        if reason:
            raise InputError(f"'{shown}': {reason}", line=self.line, column=len(name) + 2)

    def header_of(self, settings: dict[bytes, bytes]) -> _Header:
        if b"format" not in settings:
            raise InputError("the header does not tell the format, bytevalue or print", line=self.line)
        return _Header(_FORMATS[settings[b"format"]], settings.get(b"database"))

    def data_end(self, block: bytes, at: int) -> int:
        """Index in the block of the first line, from `at` on, that does not begin with a space; else its end."""
        if block[at : at + 1] != b" ":
            return at
        end = block.find(b"\nDATA=END", at) + 1 or len(block)
        if block.count(b"\n ", at, end) + 1 == block.count(b"\n", at, end) + (block[end - 1 : end] != b"\n"):
            return end
        while (line_end := block.find(b"\n", at)) != -1 and block[line_end + 1 : line_end + 2] == b" ":
            at = line_end + 1
        return line_end + 1

    def data_end_line(self, block: bytes, at: int) -> int:
        """Take the line behind the data, which has to be DATA=END, and return the index behind it."""
        end = block.find(b"\n", at)
        text = block[at : at + 40 if end == -1 else min(end, at + 40)]
        if end == -1 or text != b"DATA=END":
            shown = text.decode("ascii", "backslashreplace")
            if end == -1:
                raise InputError(f"the dump is cut off: it ends in the line '{shown}'", line=self.line)
            raise InputError(f"'{shown}' is no line of data, which begins with a space, nor DATA=END", line=self.line)
        if self.key is not None:
            raise InputError("a value is missing: DATA=END follows a key", line=self.line)
        self.header = None
        self.line += 1
        self.offset += end + 1 - at
        return end + 1

    def data(self, text: bytes, header: _Header) -> Iterator[Rows]:
        """The rows of whole lines of data. An odd number of them leaves a key waiting for its value."""
        if not text.endswith(b"\n"):
            line = self.line + text.count(b"\n")
            raise InputError("the dump is cut off: the last line has no line end", line=line)
        items = (b"\n" + text[:-1]).split(b"\n ")
        line = self.line
        self.line += len(items) - 1
        if self.key is not None:
            items[0] = self.key
            line -= 1
        else:
            del items[0]
        self.key = items.pop() if len(items) % 2 else None
        self.offset += len(text)
        if items:
            # The waiting key will be read again with its value, so the offset behind these rows is before its line.
            waiting = 0 if self.key is None else len(self.key) + 2
            yield self.rows_of(items, line, self.offset - waiting, header)

    def rows_of(self, items: list[bytes], line: int, end: int, header: _Header) -> Rows:
        try:
            decoded = print_decoded(items, lenient=self.options.lenient) if header.printed else hex_decoded(items)
        except TextError:
            return self.rows_checked(items, line, end, header)
        keys = decoded[0::2]
        values: list[bytes | None] = list(decoded[1::2])
        if not within_limits(keys, values):
            return self.rows_checked(items, line, end, header)
        return Rows(keys, values, range(line, line + len(items), 2), end, header.tree)

    def rows_checked(self, items: list[bytes], line: int, end: int, header: _Header) -> Rows:
        """The good rows of items of which some are bad."""
        keys: list[bytes] = []
        values: list[bytes | None] = []
        lines = []
        for index in range(0, len(items), 2):
            at = line + index
            try:
                key = self.decoded(items[index], header)
                at += 1
                value = self.decoded(items[index + 1], header)
                at -= 1
                check_limits(key, value)
            except TextError as error:
                self.options.on_bad(row_error(error, at, 1), b" " + b"\n ".join(items[index : index + 2]))
                continue
            keys.append(key)
            values.append(value)
            lines.append(at)
        return Rows(keys, values, lines, end, header.tree)

    def decoded(self, item: bytes, header: _Header) -> bytes:
        return print_item(item, lenient=self.options.lenient) if header.printed else hex_item(item)


def write(sections: Iterable[Section], options: WriteOptions) -> Iterator[bytes]:
    """A dump with a section for each tree. encoding "print" writes format=print, any other format=bytevalue.

    options.name "lmdb" is the flavour for mdb_load. Raises InputError for what the other side would refuse.
    """
    encoded = print_encoded if options.encoding == "print" else hex_encoded
    lmdb = options.name == "lmdb"
    row = 0
    for section in sections:
        yield _header_text(section.tree, "print" if options.encoding == "print" else "bytevalue", lmdb=lmdb)
        for keys, values in section.chunks:
            if lmdb:
                _check_lmdb(keys, row)
            row += len(keys)
            yield _data_text(encoded, (keys, values))
        yield b"DATA=END\n"


def _header_text(tree: bytes | None, form: str, *, lmdb: bool) -> bytes:
    name = b""
    if tree is not None:
        if b"\n" in tree or b"\r" in tree:
            raise InputError(f"the tree's name {tree!r} does not fit into a line: rename it first", line=1)
        name = b"database=%s\n" % tree
    extra = b"mapsize=%d\nmaxreaders=126\n" % MAPSIZE if lmdb else b""
    return b"VERSION=3\nformat=%s\n%stype=btree\n%sHEADER=END\n" % (form.encode(), name, extra)


def _data_text(encoded: Callable[[list[bytes]], list[str]], columns: Columns) -> bytes:
    keys, values = columns
    items = [""] * (2 * len(keys))
    items[0::2] = encoded(list(keys))
    items[1::2] = encoded(list(values))
    return (" " + "\n ".join(items) + "\n").encode("ascii") if items else b""


def _check_lmdb(keys: Iterable[bytes], row: int) -> None:
    for number, key in enumerate(keys, row + 1):
        if len(key) > LMDB_KEY_SIZE_MAX:
            reason = f"mdb_load takes keys of at most {LMDB_KEY_SIZE_MAX} bytes, this one has {len(key)}"
            raise InputError(f"{reason}: export as bdb", line=number)
