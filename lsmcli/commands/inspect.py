"""inspect: what the parts of a data file hold, also of a damaged one. Only reads."""

from collections.abc import Iterable, Mapping
from typing import Any

import click

from lsmcli.commands.arguments import json_option, write_all
from lsmcli.commands.group import Command, Group
from lsmcli.commands.output import json_line, lines_bytes, record_line, report_lines
from lsmcli.session import Session


@click.group(
    "inspect",
    cls=Group,
    no_args_is_help=False,
    examples="""
        inspect superblock
        inspect tables --tree main --level 0
        inspect block 17 --json
    """,
)
def command() -> None:
    """Show the parts of the data file: superblock, wal, manifest, tables, grid, block N, constants.

    The file is never changed, and what can be decoded of a damaged one is.
    """


def print_report(session: Session, report: Mapping[str, Any], as_json: bool) -> None:
    """One report: lines for people, or one JSON object."""
    write_all(session, lines_bytes([json_line(report)] if as_json else report_lines(report)))


def print_records(session: Session, records: Iterable[Mapping[str, Any]], as_json: bool) -> None:
    """Records as they are found: one line each."""
    write_all(session, lines_bytes(map(json_line if as_json else record_line, records)))


@command.command("superblock", cls=Command, examples="inspect superblock")
@json_option
@click.pass_obj
def superblock(session: Session, as_json: bool) -> None:
    """The root of the file: all its copies, and which of them hold."""
    from lsmcli.engine import inspector

    session.require_file()
    print_report(session, inspector.inspect_superblock(session.path), as_json)


@command.command("wal", cls=Command, examples="inspect wal --json")
@json_option
@click.pass_obj
def wal(session: Session, as_json: bool) -> None:
    """The write-ahead log: one line per record."""
    from lsmcli.engine import inspector

    session.require_file()
    print_records(session, inspector.inspect_wal(session.path), as_json)


@command.command("manifest", cls=Command, examples="inspect manifest")
@json_option
@click.pass_obj
def manifest(session: Session, as_json: bool) -> None:
    """The log of table changes: one line per event."""
    from lsmcli.engine import inspector

    session.require_file()
    print_records(session, inspector.inspect_manifest(session.path), as_json)


@command.command("tables", cls=Command, examples="inspect tables --tree main --level 0")
@click.option("-t", "--tree", "tree_name", metavar="NAME", help="Only tables of this tree.")
@click.option("--level", type=click.IntRange(0, 6), metavar="N", help="Only tables of this level, 0 to 6.")
@json_option
@click.pass_obj
def tables(session: Session, tree_name: str | None, level: int | None, as_json: bool) -> None:
    """The tables: one line each, by tree, level and key."""
    from lsmcli.engine import inspector

    session.require_file()
    print_records(session, inspector.inspect_tables(session.path, tree=tree_name, level=level), as_json)


@command.command("grid", cls=Command, examples="inspect grid")
@json_option
@click.pass_obj
def grid(session: Session, as_json: bool) -> None:
    """The block store: how many blocks of which kind, used and free."""
    from lsmcli.engine import inspector

    session.require_file()
    print_report(session, inspector.inspect_grid(session.path), as_json)


@command.command("block", cls=Command, examples="inspect block 17")
@click.argument("address", type=click.IntRange(min=1), metavar="N")
@json_option
@click.pass_obj
def block(session: Session, address: int, as_json: bool) -> None:
    """Block N of the grid, counted from 1: its header and what its body holds."""
    from lsmcli.engine import inspector

    session.require_file()
    print_report(session, inspector.inspect_block(session.path, address), as_json)


@command.command("constants", cls=Command, examples="inspect constants")
@json_option
@click.pass_obj
def constants(session: Session, as_json: bool) -> None:
    """Limits and layout of this version; needs no data file to exist."""
    from lsmcli.engine import inspector

    print_report(session, inspector.inspect_constants(), as_json)
