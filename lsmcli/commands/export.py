"""export: write the entries of a tree to a file or to standard output."""

from collections.abc import Iterable, Iterator
from importlib import import_module

import click

from lsmcli.commands.arguments import committed_option, tree_option, write_all
from lsmcli.commands.files import refuse_data_file, write_file
from lsmcli.commands.group import Command
from lsmcli.formats import FORMATS, InputError
from lsmcli.formats.compression import compressed
from lsmcli.formats.detect import compression_of_dest, format_of_dest
from lsmcli.formats.rows import Section, WriteOptions, columns_of
from lsmcli.session import Session


@click.command(
    "export",
    cls=Command,
    examples="""
        export users.tsv
        export --format jsonl - | gzip > users.jsonl.gz
        export -t users users.jsonl
    """,
)
@click.argument("dest", default="-", metavar="[DEST|-]")
@click.option(
    "--format", "format_name", type=click.Choice(list(FORMATS)), help="Told by the name if not given, else tsv."
)
@click.option("--header", is_flag=True, help="tsv: begin with a line of names.")
@click.option(
    "--value-format",
    type=click.Choice(["auto", "json"]),
    default="auto",
    help="jsonl: json embeds each value as the JSON that it holds.",
)
@committed_option
@tree_option
@click.pass_obj
def command(
    session: Session, dest: str, format_name: str | None, header: bool, value_format: str, committed: bool,
    tree_name: str | None,
) -> None:  # fmt: skip
    """Write all entries of a tree to DEST, or to standard output, in key order and byte for byte.

    All rows are of one state of the data file, whatever is written meanwhile. DEST is replaced when all is written,
    or left as it was. A summary goes to standard error.
    """
    name = format_name or format_of_dest(dest) or "tsv"
    if header and name != "tsv":
        raise click.UsageError("--header is for the format tsv")
    if value_format == "json" and name != "jsonl":
        raise click.UsageError("--value-format json is for the format jsonl")
    if dest != "-":
        session.refuse_outside(dest)
        refuse_data_file(dest, session.path)
    counts = Counts()
    pairs = counted(session.tree(tree_name, committed=committed).scan(), counts)
    options = WriteOptions(
        name=name, header=header, value_format=value_format, ascii_only=dest == "-" and session.out_is_terminal()
    )
    pieces = import_module(FORMATS[name]).write([Section(None, columns_of(pairs))], options)
    if compression := compression_of_dest(dest):
        pieces = compressed(pieces, compression)
    try:
        if dest == "-":
            write_all(session, pieces)
        else:
            write_file(dest, pieces)
    except InputError as error:
        raise InputError(f"{error.reason}: export without --value-format json", line=error.line, source="row") from None
    session.message(f"exported={counts.exported}")


class Counts:
    """How many rows were written so far."""

    __slots__ = ("exported",)

    def __init__(self) -> None:
        self.exported = 0


def counted(pairs: Iterable[tuple[bytes, bytes]], counts: Counts) -> Iterator[tuple[bytes, bytes]]:
    """Pass pairs on, counting them."""
    for pair in pairs:
        counts.exported += 1
        yield pair
