"""export: write the entries of trees to a file or to standard output.

    one state of the file -> columns -> counted, hashed -> writer of the format -> [compression] -> counted -> DEST

Invariants:
- the same entries give the same bytes, whatever way they are stored;
- nothing is done per row here: columns go from the engine's scan to the writer as they are;
- the line that tells of success comes when everything is on the disk, or out.
"""

from collections.abc import Iterable, Iterator
from importlib import import_module
from time import monotonic
from types import ModuleType
from typing import Any, Final

import click

from lsmcli.commands.arguments import write_all
from lsmcli.commands.contents import Selection, contents_opened, selection_of, selection_options
from lsmcli.commands.files import refuse_data_file, write_file
from lsmcli.commands.group import Command
from lsmcli.commands.progress import Progress, progress_of, progress_option
from lsmcli.engine.content_checksum import ContentChecksum, checksum_of_file
from lsmcli.engine.contents import Chunk, Contents
from lsmcli.engine.packed_entries import PackedEntries
from lsmcli.formats import FORMATS, InputError
from lsmcli.formats.compression import compressed
from lsmcli.formats.detect import compression_of_dest, format_of_dest
from lsmcli.formats.rows import Section, WriteOptions
from lsmcli.session import Session

# What each format offers; the options are refused with any other.
HEADER_FORMATS: Final = ("csv", "tsv")
DELIMITER_FORMATS: Final = ("csv", "ldb")
JSON_FORMATS: Final = ("jsonl", "json")
ENCODINGS: Final = {
    "base64": ("csv", "jsonl", "json"),
    "hex": ("bdb", "lmdb", "ldb"),
    "print": ("bdb", "lmdb"),
    "plain": ("ldb",),
    "stream": ("arrow",),
}


@click.command(
    "export",
    cls=Command,
    examples="""
        export users.tsv
        export users.csv.gz --prefix user:
        export --all-trees --format bdb all.dump
        export --format jsonl - | gzip > users.jsonl.gz
    """,
)
@click.argument("dest", default="-", metavar="[DEST|-]")
@click.option("--format", "format_name", type=click.Choice(list(FORMATS)), help="Told by the name of DEST; or tsv.")
@selection_options
@click.option("--header/--no-header", default=None, help="csv, tsv: begin with the names of the columns.  [csv: yes]")
@click.option("--delimiter", metavar="CHAR", help="csv: what stands between fields; ldb: between key and value.")
@click.option(
    "--encoding",
    type=click.Choice(list(ENCODINGS)),
    help="csv, json: base64; bdb, lmdb: hex or print; ldb: hex or plain; arrow: stream.",
)
@click.option(
    "--value-format",
    type=click.Choice(["auto", "json"]),
    default="auto",
    help="jsonl, json: json embeds each value as the JSON that it holds.",
)
@click.option(
    "--compress",
    type=click.Choice(["gzip", "zstd", "xz", "none"]),
    help="Told by the name if not given: .gz, .zst, .xz.",
)
@progress_option
@click.pass_obj
def command(
    session: Session,
    /,
    dest: str,
    format_name: str | None,
    header: bool | None,
    delimiter: str | None,
    encoding: str | None,
    value_format: str,
    compress: str | None,
    progress_mode: str,
    **options: Any,
) -> None:
    """Write all entries of a tree to DEST, or to standard output, in key order and byte for byte.

    All rows are of one state of the data file, whatever is written meanwhile; equal entries give equal bytes. DEST is
    replaced when all is written, or left as it was. A summary with a checksum, see `checksum`, goes to standard error.
    """
    name = format_name or format_of_dest(dest) or "tsv"
    refuse_unfit(name, header=header, delimiter=delimiter, encoding=encoding, value_format=value_format)
    selection = selection_of(session, **options)
    if dest != "-":
        session.refuse_outside(dest)
        refuse_data_file(dest, session.path)
    writer = import_module(FORMATS[name])
    require_trees(name, writer, selection)
    wanted = WriteOptions(
        name=name,
        header=header,
        delimiter=None if delimiter is None else delimiter.encode(errors="surrogateescape"),
        value_format=value_format,
        encoding=encoding or "auto",
        ascii_only=dest == "-" and session.out_is_terminal(),
    )
    kind = compress or compression_of_dest(dest) or "none"
    export = Export(session, selection, writer, wanted, kind)
    try:
        export.run(dest, progress_mode)
    except InputError as error:
        hint = ": export without --value-format json" if value_format == "json" else ""
        raise InputError(f"{error.reason}{hint}", line=error.line, source="row") from None
    session.message(export.summary())


class Export:
    """One export: what is written, and how much of it so far."""

    def __init__(
        self, session: Session, selection: Selection, writer: ModuleType, options: WriteOptions, compression: str
    ) -> None:
        self._session = session
        self._selection = selection
        self._writer = writer
        self._options = options
        self._compression = compression
        self._began_s = monotonic()
        self._checksums: dict[str, ContentChecksum] = {}
        self._bytes = 0
        self._total: int | None = None  # rows, if that is known; a few more where there are tombstones

    def run(self, dest: str, progress_mode: str) -> None:
        """Write all of it. Raises what reading and writing raise; InputError for what the format cannot hold."""
        with contents_opened(self._session, self._selection) as trees:
            if self._selection.start is self._selection.end is None:
                self._total = sum(contents.entry_count_max for contents in trees)
            progress = progress_of(self._session, "export", self._total, progress_mode)
            try:
                pieces = self._pieces(trees, progress)
                if dest == "-":
                    write_all(self._session, pieces)
                else:
                    write_file(dest, pieces)
            finally:
                progress.close()

    def _pieces(self, trees: list[Contents], progress: Progress) -> Iterator[bytes]:
        pieces: Iterable[bytes] = self._writer.write(self._sections(trees, progress), self._options)
        if self._compression != "none":
            pieces = compressed(pieces, self._compression)
        for piece in pieces:
            self._bytes += len(piece)
            yield piece

    def _sections(self, trees: list[Contents], progress: Progress) -> Iterator[Section]:
        named = len(self._selection.names) != 1
        for contents in trees:
            checksum = self._checksums[contents.name] = ContentChecksum()
            name = contents.name.encode(errors="surrogateescape") if named else None
            yield Section(name, self._counted(contents, checksum, progress))

    def _counted(self, contents: Contents, checksum: ContentChecksum, progress: Progress) -> Iterator[Chunk]:
        before = sum(each.entries for each in self._checksums.values())
        for chunk in contents.chunks():
            if isinstance(chunk, PackedEntries):
                checksum.add_packed(chunk)
            else:
                checksum.add(*chunk)
            rows = before + checksum.entries
            progress.advance(rows if self._total else checksum.size, rows)
            yield chunk

    def summary(self) -> str:
        """The line that tells of success."""
        rows = sum(checksum.entries for checksum in self._checksums.values())
        digests = [(name, checksum.digest()) for name, checksum in self._checksums.items()]
        whole = digests[0][1] if len(self._selection.names) == 1 else checksum_of_file(digests)
        seconds = monotonic() - self._began_s
        return f"exported={rows} bytes={self._bytes} seconds={seconds:.3f} checksum={whole.hex()}"


def refuse_unfit(
    name: str, *, header: bool | None, delimiter: str | None, encoding: str | None, value_format: str
) -> None:
    """UsageError for an option that the format has no use for."""
    for given, option, formats in (
        (header is not None, "--header", HEADER_FORMATS),
        (delimiter is not None, "--delimiter", DELIMITER_FORMATS),
        (value_format == "json", "--value-format json", JSON_FORMATS),
        (encoding is not None, f"--encoding {encoding}", ENCODINGS.get(encoding or "", ())),
    ):
        if given and name not in formats:
            raise click.UsageError(f"{option} is for the formats {', '.join(formats)}, not for {name}")


def require_trees(name: str, writer: ModuleType, selection: Selection) -> None:
    """UsageError if several trees are wanted in a format that cannot keep them apart; it names some that can."""
    if len(selection.names) == 1 or writer.TREES:
        return
    able = []
    for other, module in FORMATS.items():
        try:
            if import_module(module).TREES:
                able.append(other)
        except ImportError:
            continue  # its extra is not installed
    raise click.UsageError(
        f"{name} cannot keep several trees apart: choose one with --tree, or a --format that can: {', '.join(able)}"
    )
