"""The sources of an import: which files they are, how large, and which bytes of them have been read.

words  ->  expanded (patterns become files)  ->  Source, Source, ...
stream ->  ReadBytes.of (counts what is stored)  ->  [decompression]  ->  Digest.of (remembers what was there)
"""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import click
import xxhash

from lsmcli.commands.files import refuse_data_file
from lsmcli.engine.errors import FileError, StateError
from lsmcli.formats.esc import safe_text
from lsmcli.session import Session

STANDARD_INPUT: Final = "-"
_PATTERN: Final = frozenset("*?[")


class Source(NamedTuple):
    """One source. path: "-" for standard input. size: bytes as they are stored, None where that is not known."""

    path: str
    size: int | None

    @property
    def name(self) -> str:
        """As messages show it."""
        return "standard input" if self.path == STANDARD_INPUT else safe_text(self.path)

    @property
    def identity(self) -> bytes:
        """What tells it from other sources, wherever the command runs."""
        return b"-" if self.path == STANDARD_INPUT else os.fsencode(os.path.abspath(self.path))


def sources_of(session: Session, words: Sequence[str]) -> list[Source]:
    """The sources that words name, each once, patterns expanded; none means standard input.

    Raises UsageError if standard input is named twice, FileError for a file that is missing or a pattern that nothing
    matches, StateError for the data file itself and with --safe.
    """
    if list(words).count(STANDARD_INPUT) > 1:
        raise click.UsageError("standard input can be read only once")
    paths: dict[str, Source] = {}
    for word in words or [STANDARD_INPUT]:
        if word == STANDARD_INPUT:
            paths.setdefault(word, Source(word, size_of_input()))
            continue
        session.refuse_outside(word)
        for path in expanded(word):
            refuse_data_file(path, session.path)
            paths.setdefault(os.path.abspath(path), Source(path, size_of(path)))
    return list(paths.values())


def expanded(word: str) -> list[str]:
    """The files that a pattern matches, in the order of their bytes; any other word is a file by itself.

    A file whose very name is the pattern goes before what the pattern matches. FileError if nothing does.
    """
    if not _PATTERN.intersection(word) or os.path.lexists(word):
        return [word]
    from glob import glob

    found = sorted((path for path in glob(word, recursive=True) if not os.path.isdir(path)), key=os.fsencode)
    if not found:
        raise FileError(f"{safe_text(word)}: no file matches this pattern")
    return found


def size_of(path: str) -> int | None:
    """The size of a file in bytes, None for a pipe or a device. FileError if it is missing or a directory."""
    from stat import S_ISDIR, S_ISREG

    try:
        found = os.stat(path)
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise FileError(f"{safe_text(path)}: {reason}") from None
    if S_ISDIR(found.st_mode):
        raise FileError(f"{safe_text(path)}: is a directory; name files, or a pattern such as '*.csv'")
    return found.st_size if S_ISREG(found.st_mode) else None


def size_of_input() -> int | None:
    """The size of standard input in bytes if it is a file, None for a pipe or a terminal."""
    from stat import S_ISREG

    try:
        found = os.fstat(sys.stdin.fileno())
    except (OSError, ValueError, AttributeError):
        return None
    return found.st_size if S_ISREG(found.st_mode) else None


class Digest:
    """A digest of the options of an import and of the bytes of a source that were read so far: the first `size`.

    With `expect`, what an earlier import has read is compared as soon as it is there; `matched` tells whether it was.
    """

    def __init__(self, options: bytes, name: str) -> None:
        """name: of the source, for messages."""
        self._name = name
        self._hash = xxhash.xxh3_128(options)
        self.size = 0
        self._expected: tuple[int, bytes] | None = None

    @property
    def matched(self) -> bool:
        """Whether all that was expected has been seen; true where nothing was."""
        return self._expected is None

    def expect(self, size: int, digest: bytes) -> None:
        """The first `size` bytes have to have this digest. To be said before anything is fed."""
        assert self.size == 0
        self._expected = size, digest
        if size == 0:
            self._compare()

    def of(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Pass pieces on, feeding each. StateError as soon as they differ from what was expected, or end before it."""
        for piece in pieces:
            self._feed(piece)
            yield piece
        self._end()

    def read_whole(self, pieces: Iterable[bytes]) -> None:
        """Feed all of a source whose rows are read from the file itself. StateError as with `of`."""
        for piece in pieces:
            self._feed(piece)
        self._end()

    def digest(self) -> bytes:
        """16 bytes."""
        return self._hash.digest()

    def _feed(self, piece: bytes) -> None:
        left = self._expected[0] - self.size if self._expected is not None else len(piece) + 1
        if left <= len(piece):  # the place that is expected is in this piece, or at its end
            self._hash.update(piece[:left])
            self._compare()
            self._hash.update(piece[left:])
        else:
            self._hash.update(piece)
        self.size += len(piece)

    def _end(self) -> None:
        if self._expected is not None:
            raise StateError(self._changed(f"it ends after {self.size} bytes, and {self._expected[0]} had been read"))

    def _compare(self) -> None:
        """At the place that is expected."""
        if self._expected is not None and self._expected[1] != self._hash.digest():
            raise StateError(self._changed("its bytes, or the options of the import, are others"))
        self._expected = None

    def _changed(self, how: str) -> str:
        return f"{self._name} is not what it was when the import stopped: {how}; begin anew without --resume"
