r"""A line and its words: the grammar that scripts and the shell share. Pure.

    put user:1 "two words" > log      # a comment
    `-' `----' `---------' `-----'
     words, white space between them   redirection, by words that stand alone: >  >>  |

White space separates words. Between double quotes the escapes of esc.py hold: \xHH, \n \r \t \a \b, and a backslash
before any other character is that character. Between single quotes only \' is an escape. A quote that closes is
followed by white space or the end. Outside of quotes a backslash is itself. # begins a comment where a word could.

    put note - <<END                  a here-document: the lines up to END are the standard input of the command
    put key \                         a backslash alone at the end of a line: it goes on in the next one

Invariants:
- `split(word_text(data))` is one word, `data`, for all bytes;
- offsets count bytes of the source; nothing outside of this file looks at quotes.
"""

import re
from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import Final, NamedTuple

from lsmcli.formats.esc import TextError, is_plain, parse_escapes, quoted

_SPECIAL: Final = re.compile(rb"""["'#\\|<>]""").search
_BLANK: Final = re.compile(rb"\s*").match
_BARE: Final = re.compile(rb"""[^\s"']+""").match
_DOUBLE: Final = re.compile(rb'(?s)"(?:[^"\\]|\\.)*"').match
_SINGLE: Final = re.compile(rb"(?s)'(?:[^'\\]|\\.)*'").match
_LINE_END: Final = re.compile(rb"[ \t\r\f\v]*(?:\n|$)").match
_NEEDS_QUOTES: Final = re.compile(rb"""[\s"'\\]|^#|^<<|^(?:>>?|\|)$""").search


class LineError(ValueError):
    """A line that is no command. offset: index of the wrong byte in the source, from 0."""

    def __init__(self, reason: str, offset: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.offset = offset


class OpenError(LineError):
    """A line that is not complete: a quote is open, it ends in a backslash, or a here-document has no end."""


class Word(NamedTuple):
    """One word: its bytes, where it stands in the source, and whether no part of it was in quotes."""

    data: bytes
    start: int
    end: int
    bare: bool


class Redirection(NamedTuple):
    """Where the output of a line goes. operator: ">", ">>" or "|"; target: a path, or a command of the system."""

    operator: str
    target: bytes


class Line(NamedTuple):
    """A line that was split."""

    words: list[bytes]
    redirection: Redirection | None = None
    tag: bytes | None = None  # the line that ends its here-document


def split(source: bytes) -> Line:
    """The words of a line and what follows them. Raises LineError."""
    if _SPECIAL(source) is None:
        return Line(source.split())
    words = list(words_of(source))
    tag = None
    for index, word in enumerate(words):
        if not word.bare:
            continue
        if word.data == b"|":
            return Line(_data(words[:index]), _pipe(source, word), tag)
        if word.data in (b">", b">>"):
            return Line(_data(words[:index]), _to_file(words, index), tag)
        if word.data.startswith(b"<<"):
            tag = word.data[2:]
            if not tag:
                raise LineError("<< is followed by the word that ends the here-document", word.start)
            rest = words[index + 1 :]
            if rest and not (rest[0].bare and rest[0].data in (b"|", b">", b">>")):
                raise LineError("words follow the here-document: << is the last one", rest[0].start)
            words = words[:index] + rest
            if not rest:
                break
            return Line(_data(words[:index]), _redirection(source, words, index), tag)
    return Line(_data(words), None, tag)


def _data(words: list[Word]) -> list[bytes]:
    return [word.data for word in words]


def _redirection(source: bytes, words: list[Word], index: int) -> Redirection:
    return _pipe(source, words[index]) if words[index].data == b"|" else _to_file(words, index)


def _pipe(source: bytes, word: Word) -> Redirection:
    command = source[word.end :].strip()
    if not command:
        raise LineError("| is followed by a command", word.start)
    return Redirection("|", command)


def _to_file(words: list[Word], index: int) -> Redirection:
    operator = words[index].data.decode("ascii")
    if len(words) != index + 2:
        at = words[min(index + 2, len(words) - 1)].start
        raise LineError(f"{operator} is followed by the name of a file, and nothing else", at)
    return Redirection(operator, words[index + 1].data)


def words_of(source: bytes) -> Iterator[Word]:
    """The words of a line with their places. What follows a | is not looked at. Raises LineError."""
    at = _end_of(_BLANK(source))
    while at < len(source):
        if source[at] == 0x23:  # a comment
            at = source.find(b"\n", at)
            if at == -1:
                return
            at = _end_of(_BLANK(source, at))
            continue
        word = _word_at(source, at)
        at = _end_of(_BLANK(source, word.end))
        line_end = _LINE_END(source, word.end) if word.bare and word.data == b"\\" else None
        if line_end is not None:
            if line_end.end() == len(source):
                raise OpenError("the line goes on behind its \\, and nothing follows", word.start)
            continue
        yield word
        if word.bare and word.data == b"|":
            return


def _end_of(match: re.Match[bytes] | None) -> int:
    assert match is not None  # the pattern matches nothing too
    return match.end()


def _word_at(source: bytes, start: int) -> Word:
    """The word that begins at start."""
    parts = []
    bare = True
    at = start
    while at < len(source) and not source[at : at + 1].isspace():
        match = _BARE(source, at)
        if match is not None:
            parts.append(match.group())
            at = match.end()
            continue
        parts.append(_unquoted(source, at))
        bare = False
        at = _close_of(source, at)
        if at < len(source) and not source[at : at + 1].isspace():
            raise LineError("a closing quote is followed by white space", at)
    return Word(b"".join(parts), start, at, bare)


def _close_of(source: bytes, at: int) -> int:
    """The end of what stands in quotes from `at` on; OpenError when nothing closes it."""
    double = source[at] == 0x22
    match = (_DOUBLE if double else _SINGLE)(source, at)
    if match is None:
        raise OpenError(f"a {'double' if double else 'single'} quote is not closed", at)
    return match.end()


def _unquoted(source: bytes, at: int) -> bytes:
    """The bytes that a quoted part stands for."""
    end = _close_of(source, at) - 1
    if source[at] == 0x27:
        return source[at + 1 : end].replace(b"\\'", b"'")
    try:
        return parse_escapes(source, at + 1, end)
    except TextError as error:
        raise LineError(error.reason, error.offset) from None


def word_text(data: bytes) -> bytes:
    """A word as one types it: bare where that is safe, else in double quotes with escapes."""
    if data and is_plain(data) and _NEEDS_QUOTES(data) is None:
        return data
    return quoted(data)


# --- commands out of lines ----------------------------------------------------------------------------------------


class Lines(Iterator[bytes]):
    """The lines of blocks that end with whole lines. exhausted: the next one has to be waited for, or is none."""

    __slots__ = ("_blocks", "_lines", "_next", "exhausted")

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = iter(blocks)
        self._lines: Iterator[bytes] = iter(())
        self._next: bytes | None = None
        self.exhausted = True

    def __next__(self) -> bytes:
        line = self._next
        while line is None:
            self._lines = iter(lines_of(next(self._blocks)))
            line = next(self._lines, None)
        self._next = next(self._lines, None)
        self.exhausted = self._next is None
        return line


def lines_of(block: bytes) -> list[bytes]:
    """The lines of a block with their line ends; unlike splitlines it takes LF for one, and nothing else."""
    return BytesIO(block).readlines()


class Command(NamedTuple):
    """One command of a script: where it begins, its text, and what splitting it gave."""

    number: int  # of its first line, from 1
    source: bytes
    line: Line
    body: bytes | None  # its here-document
    error: LineError | None


def commands_of(lines: Iterable[bytes], *, quotes_span_lines: bool = False) -> Iterator[Command]:
    """The commands in lines that end with LF, one at a time; empty lines and comments are none.

    quotes_span_lines: an open quote goes on in the next line, as in the shell; in a script it is an error.
    A bad line is a command with an error, and reading goes on behind it.
    """
    number = 0
    stream = iter(lines)
    for source in stream:
        number += 1
        if _SPECIAL(source) is None:  # most lines of a long script
            if words := source.split():
                yield Command(number, source, Line(words), None, None)
            continue
        first = number
        while True:
            error = None
            try:
                line = split(source)
            except LineError as caught:
                line, error = Line([]), caught
            goes_on = isinstance(error, OpenError) and (quotes_span_lines or "quote" not in error.reason)
            following = next(stream, None) if goes_on else None
            if following is None:
                break
            source += following
            number += 1
        body = None
        if line.tag is not None:
            taken: list[bytes] = []
            for text in stream:
                number += 1
                if text.rstrip(b"\r\n") == line.tag:
                    break
                taken.append(text)
            else:
                error = OpenError(f"the here-document has no end: no line is {line.tag!r}"[:200], len(source.rstrip()))
            body = b"".join(taken)
        if line.words or error is not None or line.tag is not None or line.redirection is not None:
            yield Command(first, source, line, body, error)


def is_complete(text: bytes) -> bool:
    """Whether text can be run as it is, or needs more lines."""
    commands = commands_of(lines_of(text), quotes_span_lines=True)
    return not any(isinstance(command.error, OpenError) for command in commands)


def place(command: Command, offset: int) -> tuple[int, int]:
    """Line and column, both from 1, of an offset in the source of a command."""
    before = command.source[:offset]
    return command.number + before.count(b"\n"), offset - (before.rfind(b"\n") + 1) + 1
