"""stats: the counters of a data file."""

import click

from lsmcli.commands.arguments import committed_option, json_option
from lsmcli.commands.group import Command
from lsmcli.commands.output import json_line, lines_bytes, report_lines
from lsmcli.session import Session


@click.command(
    "stats",
    cls=Command,
    examples="""
        stats
        stats --json
    """,
)
@committed_option
@json_option
@click.pass_obj
def command(session: Session, committed: bool, as_json: bool) -> None:
    """Print the counters of the data file, one per line."""
    stats = session.database(committed=committed).stats()
    session.out.writelines(lines_bytes([json_line(stats)] if as_json else report_lines(stats)))
