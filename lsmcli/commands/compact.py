"""compact: bring all levels down and give space back."""

import click

from lsmcli.commands.arguments import json_option
from lsmcli.commands.group import Command
from lsmcli.commands.output import json_line, lines_bytes, report_lines, size_text
from lsmcli.session import Session


@click.command(
    "compact",
    cls=Command,
    examples="""
        compact
        compact --json
    """,
)
@json_option
@click.pass_obj
def command(session: Session, as_json: bool) -> None:
    """Merge all levels of all trees down into one, which drops deleted and overwritten entries.

    It reports the bytes that it read, wrote and freed. Readers go on beside it.
    """
    result = session.database(write=True, create=False).compact()
    sizes = {
        "bytes_read": result.bytes_read,
        "bytes_written": result.bytes_written,
        "bytes_freed": result.bytes_freed,
    }
    if as_json:
        session.out.writelines(lines_bytes([json_line(sizes)]))
        return
    report = {name.removeprefix("bytes_"): f"{size_text(size)} ({size} bytes)" for name, size in sizes.items()}
    session.out.writelines(lines_bytes(report_lines(report)))
