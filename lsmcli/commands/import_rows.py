"""The rows of a source: its bytes counted, its format told, its rows read, the bad ones noted.

    stream -> pieces -> signals heeded -> bytes counted -> decompressed -> format told by the first -> digest -> reader
                                                                                                                   |
    Rows, Rows, ...  <---------------------------------------------------------------------------------------------+

Nothing here is done per row: a chunk of rows is a handful of calls.
"""

from collections.abc import Iterable, Iterator
from importlib import import_module
from io import SEEK_END
from itertools import chain
from types import ModuleType
from typing import BinaryIO, Final, NamedTuple

import click

from lsmcli.commands.interrupts import Interrupts
from lsmcli.commands.progress import Progress
from lsmcli.commands.sources import Digest, Source
from lsmcli.formats import FORMATS
from lsmcli.formats.compression import decompressed, kind_of
from lsmcli.formats.detect import HEAD_SIZE, format_of_source
from lsmcli.formats.rows import ReadOptions, Rows, pieces_of

_FIELDS: Final = ("csv", "tsv", "jsonl", "json", "parquet", "arrow")

# Which formats look at an option. With any other format the option is refused: it would be passed over in silence.
FORMATS_OF_OPTION: Final[dict[str, tuple[str, ...]]] = {
    "header": ("csv", "tsv"),
    "delimiter": ("csv", "ldb"),
    "columns": ("csv", "tsv"),
    "key": _FIELDS,
    "value": _FIELDS,
    "key_template": _FIELDS,
    "value_format": _FIELDS,
    "encoding": (*_FIELDS, "ldb"),
    "lenient": ("csv", "tsv", "bdb", "lmdb", "ldb", "resp", "parquet", "arrow"),
}
_WORDS_OF_OPTION: Final = {"key": "--key-column", "value": "--value-column"}

# Files of Arrow have their directory at the end: their reader takes the file itself, not its pieces.
_ARROW_FILE: Final = b"ARROW1"


class Counts:
    """What an import has done so far. Rows, apart from bytes_read: bytes of the sources as they are stored.

    rows: good rows that were read. imported, replaced, skipped, deleted: in keys, see BulkResult. rejected: bad rows.
    rows_kept: rows that stay stored if a later one is bad.
    """

    __slots__ = ("bytes_read", "deleted", "imported", "rejected", "replaced", "rows", "rows_kept", "skipped")

    def __init__(self) -> None:
        self.rows = self.rejected = self.bytes_read = self.rows_kept = 0
        self.imported = self.replaced = self.skipped = self.deleted = 0

    def add(self, imported: int, replaced: int, skipped: int, deleted: int) -> None:
        """What one step has done comes to what was done before."""
        self.imported += imported
        self.replaced += replaced
        self.skipped += skipped
        self.deleted += deleted

    def summary(self, seconds: float) -> str:
        """The line that ends every import."""
        deleted = f" deleted={self.deleted}" if self.deleted else ""
        return (
            f"imported={self.imported} replaced={self.replaced} skipped={self.skipped} rejected={self.rejected} "
            f"bytes={self.bytes_read} seconds={seconds:.3f}{deleted}"
        )


class Opened(NamedTuple):
    """A source whose format is known. digest: of what its rows were read from, so far."""

    source: Source
    rows: Iterator[Rows]
    digest: Digest


class Reader:
    """Reads one source after the other with the same options, counting what it reads."""

    def __init__(
        self, options: ReadOptions, counts: Counts, progress: Progress, interrupts: Interrupts, *, digests: bool
    ) -> None:
        """options.name: the format, "" if each source tells it. digests: whether somebody will ask for them."""
        self._options = options
        self._counts = counts
        self._progress = progress
        self._interrupts = interrupts
        self._digests = digests

    def opened(self, source: Source, stream: BinaryIO) -> Opened:
        """Look at the first bytes of a source. InputError if nothing tells its format, UsageError if an option does
        not fit it.
        """
        bytes_before = self._counts.bytes_read
        stored = self._counted(self._interrupts.guarded(pieces_of(stream)))
        head_stored = next(stored, b"")
        pieces = decompressed(chain([head_stored], stored))
        head = b""
        while len(head) < HEAD_SIZE and (piece := next(pieces, b"")):
            head += piece
        name = self._options.name or format_of_source(source.path, head)
        options = self._options._replace(name=name)
        check_options(options)
        module = import_module(FORMATS[name])
        if not hasattr(module, "read"):
            raise click.UsageError(f"the format {name} can only be written")
        digest = self._digest(source, options)
        pieces = chain([head] if head else [], pieces)
        if source.size is not None and (name == "parquet" or (name == "arrow" and head.startswith(_ARROW_FILE))):
            if kind_of(head_stored) is None:
                return Opened(source, self._rows_of_file(stream, module, options, digest, bytes_before), digest)
        return Opened(source, module.read(digest.of(pieces) if self._digests else pieces, options), digest)

    def _digest(self, source: Source, options: ReadOptions) -> Digest:
        said = {option: value for option, value in options._asdict().items() if option not in ("on_bad", "file")}
        return Digest(repr(said).encode("utf-8", "surrogateescape"), source.name)

    def _rows_of_file(
        self, stream: BinaryIO, module: ModuleType, options: ReadOptions, digest: Digest, bytes_before: int
    ) -> Iterator[Rows]:
        """Rows for a reader that goes to and fro in the file: how far it is tells how many bytes were read."""
        if self._digests:
            stream.seek(0)
            digest.read_whole(self._interrupts.guarded(pieces_of(stream)))
        stream.seek(0)
        counts = self._counts
        for rows in module.read(iter((stream.read(HEAD_SIZE),)), options._replace(file=stream)):
            self._interrupts.check()
            counts.bytes_read = bytes_before + rows.end
            self._progress.advance(counts.bytes_read, counts.rows)
            yield rows
        counts.bytes_read = bytes_before + stream.seek(0, SEEK_END)

    def _counted(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        counts = self._counts
        for piece in pieces:
            counts.bytes_read += len(piece)
            self._progress.advance(counts.bytes_read, counts.rows)
            yield piece


def check_options(options: ReadOptions) -> None:
    """UsageError for an option that the format, which is `options.name`, does not look at."""
    unset = ReadOptions()
    for option, formats in FORMATS_OF_OPTION.items():
        if options.name not in formats and getattr(options, option) != getattr(unset, option):
            words = _WORDS_OF_OPTION.get(option, "--" + option.replace("_", "-"))
            raise click.UsageError(f"{words} is for the formats {', '.join(formats)}, and this is {options.name}")
