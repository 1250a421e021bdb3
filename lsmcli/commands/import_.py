"""import: store the rows of a file or of standard input."""

import sys
from collections.abc import Iterable, Iterator
from importlib import import_module
from itertools import chain
from time import monotonic
from typing import TYPE_CHECKING

import click

from lsmcli.commands.arguments import tree_option
from lsmcli.commands.files import file_error, refuse_data_file, source_opened
from lsmcli.commands.group import Command
from lsmcli.commands.progress import Progress
from lsmcli.engine.constants import MIB
from lsmcli.formats import FORMATS, InputError
from lsmcli.formats.compression import decompressed
from lsmcli.formats.detect import format_of_source
from lsmcli.formats.esc import safe_text
from lsmcli.formats.rows import ReadOptions, Rows, pieces_of
from lsmcli.session import Session

if TYPE_CHECKING:
    from lsmcli.engine.keyspace import Keyspace

BATCH_ROWS_MAX = 10_000

# So much of a source is read and checked before the data file is opened: a small source with a bad row
# leaves the data file as it was, byte for byte, and does not create one.
AHEAD_SIZE = 8 * MIB


class Counts:
    """What an import has done so far: rows, and bytes of the source."""

    __slots__ = ("bytes_read", "deleted", "imported", "kept", "rejected")

    def __init__(self) -> None:
        self.imported = self.deleted = self.rejected = self.bytes_read = 0
        self.kept = 0  # rows that stay even if a later one is bad

    def summary(self, seconds: float) -> str:
        """The line that ends every import."""
        return (
            f"imported={self.imported} deleted={self.deleted} rejected={self.rejected} "
            f"bytes={self.bytes_read} seconds={seconds:.3f}"
        )


@click.command(
    "import",
    cls=Command,
    examples="""
        import users.tsv
        import --format jsonl - < users.jsonl
        import --value-format json names.jsonl
        import -t users users.tsv
    """,
)
@click.argument("source", default="-", metavar="[SOURCE|-]")
@click.option(
    "--format", "format_name", type=click.Choice(list(FORMATS)), help="Told by name and content if not given."
)
@click.option("--header", is_flag=True, help="tsv: the first line holds names and is skipped.")
@click.option(
    "--value-format",
    type=click.Choice(["auto", "json"]),
    default="auto",
    help="jsonl: json stores any JSON value as its compact text.",
)
@tree_option
@click.pass_obj
def command(
    session: Session, source: str, format_name: str | None, header: bool, value_format: str, tree_name: str | None
) -> None:
    """Store the rows of SOURCE, or of standard input, all or none: a bad row names its line and nothing is stored.

    Inside an open scope, rows go in by batches of 10,000, and a bad row leaves the batches before it in the scope.
    A row replaces what its key held. The data file is created if it is missing. A summary goes to standard error.
    """
    counts = Counts()
    began_s = monotonic()
    if source != "-":
        session.refuse_outside(source)
        refuse_data_file(source, session.path)
    with source_opened(source) as (stream, size):
        name = "standard input" if source == "-" else source
        terminal = sys.stderr if session.verbosity >= 0 and sys.stderr is not None and sys.stderr.isatty() else None
        progress = Progress("import", size, terminal)
        try:
            pieces = decompressed(counted(pieces_of(stream), counts, progress))
            rows = rows_of(pieces, source, format_name, header=header, values=value_format)
            store(session, tree_name, rows, counts)
        except InputError as error:
            progress.close()
            counts.rejected = 1
            counts.imported, counts.deleted = counts.kept, 0
            session.message(counts.summary(monotonic() - began_s))
            outcome = f"{counts.kept} rows before it are in the open scope" if counts.kept else "nothing was imported"
            raise InputError(
                f"{error.reason}; {outcome}", line=error.line, column=error.column, source=safe_text(name)
            ) from None
        except OSError as error:
            raise file_error(name, error) from None
        finally:
            progress.close()
    session.message(counts.summary(monotonic() - began_s))


def counted(pieces: Iterable[bytes], counts: Counts, progress: Progress) -> Iterator[bytes]:
    """Pass pieces on, counting their bytes."""
    for piece in pieces:
        counts.bytes_read += len(piece)
        progress.advance(counts.bytes_read, counts.imported)
        yield piece


def rows_of(
    pieces: Iterator[bytes], source: str, format_name: str | None, *, header: bool, values: str
) -> Iterator[Rows]:
    """Checked rows of a source in the given format, or in the one that its name or its first bytes tell."""
    head = next(pieces, b"")
    name = format_name or format_of_source(source, head)
    if header and name != "tsv":
        raise click.UsageError("--header is for the format tsv")
    if values != "auto" and name != "jsonl":
        raise click.UsageError("--value-format json is for the format jsonl")
    options = ReadOptions(name=name, header=header, value_format=values)
    yield from import_module(FORMATS[name]).read(chain([head] if head else [], pieces), options)


def store(session: Session, tree_name: str | None, rows: Iterator[Rows], counts: Counts) -> None:
    """Store all rows, or none of them after an error; inside an open durable scope, batch by batch."""
    ahead: list[Rows] = []
    for part in rows:
        ahead.append(part)
        if counts.bytes_read >= AHEAD_SIZE:
            break
    else:
        # All of it is here and good: one op is atomic by itself, in a scope or not.
        tree = session.tree(tree_name, write=True)
        store_rows(tree, [pair for part in ahead for pair in zip(part.keys, part.values, strict=True)], counts)
        return
    database = session.database(write=True)
    tree = session.tree(tree_name, write=True)
    batches = chain.from_iterable(map(batches_of, chain(ahead, rows)))
    if database.scope_status() is not None:
        for batch in batches:
            store_rows(tree, batch, counts)
            counts.kept = counts.imported + counts.deleted
        return
    with database.scope():
        for batch in batches:
            store_rows(tree, batch, counts)


def batches_of(rows: Rows) -> Iterator[list[tuple[bytes, bytes | None]]]:
    """Cut rows into batches of at most BATCH_ROWS_MAX."""
    pairs = list(zip(rows.keys, rows.values, strict=True))
    for start in range(0, len(pairs), BATCH_ROWS_MAX):
        yield pairs[start : start + BATCH_ROWS_MAX]


def store_rows(tree: "Keyspace", pairs: list[tuple[bytes, bytes | None]], counts: Counts) -> None:
    """One atomic op of puts and deletes, in their order."""
    puts = [(key, value) for key, value in pairs if value is not None]
    if len(puts) == len(pairs):
        tree.put_many(puts)
    else:
        with tree.batch() as batch:
            for key, value in pairs:
                if value is None:
                    batch.delete(key)
                else:
                    batch.put(key, value)
    counts.imported += len(puts)
    counts.deleted += len(pairs) - len(puts)
