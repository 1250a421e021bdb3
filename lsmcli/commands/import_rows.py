"""The rows of a source: its bytes counted, its format told, its rows read, the bad ones noted.

    stream -> pieces -> signals heeded -> bytes counted -> decompressed -> format told by the first -> digest -> reader
                                                                                                                   |
    Rows, Rows, ...  <---------------------------------------------------------------------------------------------+

Nothing here is done per row: a chunk of rows is a handful of calls.
"""

from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from itertools import chain
from typing import BinaryIO, Final, NamedTuple

import click

from lsmcli.commands.interrupts import Interrupts
from lsmcli.commands.progress import Progress
from lsmcli.commands.sources import Digest, Source
from lsmcli.formats import FORMATS
from lsmcli.formats.detect import format_of_source
from lsmcli.formats.rows import ReadOptions, Rows, pieces_of

# Which formats look at an option. With any other format the option is refused: it would be passed over in silence.
FORMATS_OF_OPTION: Final[dict[str, tuple[str, ...]]] = {
    "header": ("csv", "tsv"),
    "delimiter": ("csv", "ldb"),
    "columns": ("csv", "tsv"),
    "key": ("csv", "tsv"),
    "value": ("csv", "tsv"),
    "key_template": ("csv", "tsv"),
    "value_format": ("csv", "tsv", "jsonl", "json"),
    "encoding": ("csv", "jsonl", "json"),
    "lenient": ("csv", "tsv", "bdb", "lmdb", "ldb"),
}
_WORDS_OF_OPTION: Final = {"key": "--key-column", "value": "--value-column"}


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

    def __init__(self, options: ReadOptions, counts: Counts, progress: Progress, interrupts: Interrupts) -> None:
        """options.name: the format, "" if each source tells it."""
        self._options = options
        self._counts = counts
        self._progress = progress
        self._interrupts = interrupts

    def opened(self, source: Source, stream: BinaryIO) -> Opened:
        """Look at the first bytes of a source. InputError if nothing tells its format, UsageError if an option does
        not fit it.
        """
        pieces = self._counted(self._interrupts.guarded(pieces_of(stream)))
        head = next(pieces, b"")
        options = self._options
        name = options.name or format_of_source(source.path, head)
        check_options(options, name)
        options = options._replace(name=name)
        said = {option: value for option, value in options._asdict().items() if option not in ("on_bad", "file")}
        digest = Digest(repr(said).encode("utf-8", "surrogateescape"), source.name)
        options = options._replace(file=stream if source.size is not None and stream.seekable() else None)
        module = import_module(FORMATS[name])
        if not hasattr(module, "read"):
            raise click.UsageError(f"the format {name} can only be written")
        rows = module.read(digest.of(chain([head] if head else [], pieces)), options)
        return Opened(source, rows, digest)

    def _counted(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        counts = self._counts
        for piece in pieces:
            counts.bytes_read += len(piece)
            self._progress.advance(counts.bytes_read, counts.rows)
            yield piece


def check_options(options: ReadOptions, name: str) -> None:
    """UsageError for an option that the format does not look at."""
    unset = ReadOptions()
    for option, formats in FORMATS_OF_OPTION.items():
        if name not in formats and getattr(options, option) != getattr(unset, option):
            words = _WORDS_OF_OPTION.get(option, "--" + option.replace("_", "-"))
            among: Sequence[str] = formats
            raise click.UsageError(f"{words} is for the formats {', '.join(among)}, and this is {name}")
