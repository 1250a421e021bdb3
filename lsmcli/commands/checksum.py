"""checksum: a checksum of what trees hold, whatever way it is stored."""

from typing import Any

import click

from lsmcli.commands.arguments import json_option, write_all
from lsmcli.commands.contents import contents_opened, selection_of, selection_options
from lsmcli.commands.group import Command
from lsmcli.commands.output import json_line, lines_bytes
from lsmcli.engine.content_checksum import checksum_of_file
from lsmcli.session import Session


@click.command(
    "checksum",
    cls=Command,
    examples="""
        checksum
        checksum --all-trees
        checksum -t users --prefix user:
    """,
)
@selection_options
@json_option
@click.pass_obj
def command(session: Session, /, as_json: bool, **options: Any) -> None:
    """Print a checksum of the entries of a tree: 32 hexadecimal digits, equal for equal contents.

    It does not depend on how the entries are stored: a copy, an import of an export, and the file after compaction have
    the same one. With several trees, or --all-trees, it covers their names too.
    """
    selection = selection_of(session, **options)
    trees: list[dict[str, Any]] = []
    digests: list[tuple[str, bytes]] = []
    with contents_opened(session, selection) as trees_opened:
        for contents in trees_opened:
            checksum = contents.checksum()
            digests.append((contents.name, checksum.digest()))
            trees.append(
                {
                    "tree": contents.name,
                    "checksum": checksum.digest().hex(),
                    "entries": checksum.entries,
                    "bytes": checksum.size,
                }
            )
    whole = digests[0][1] if len(selection.names) == 1 else checksum_of_file(digests)
    report = {"checksum": whole.hex(), "trees": trees}
    write_all(session, lines_bytes([json_line(report) if as_json else whole.hex()]))
