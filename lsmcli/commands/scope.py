"""scope: begin, persist, discard and status of the durable scope."""

from datetime import UTC, datetime

import click

from lsmcli.commands.arguments import json_option
from lsmcli.commands.group import Command, Group
from lsmcli.commands.output import json_line, lines_bytes, report_lines
from lsmcli.session import Session


@click.group(
    "scope",
    cls=Group,
    no_args_is_help=False,
    examples="""
        scope begin
        scope status
        scope persist
        scope discard
    """,
)
def command() -> None:
    """Changes that are kept or undone as a whole.

    After `scope begin`, every command acts inside the scope, from any process and even after a crash, until
    `scope persist` keeps the changes or `scope discard` undoes them. Reading commands look past it with --committed.
    """


@command.command("begin", cls=Command, examples="scope begin")
@click.pass_obj
def begin(session: Session) -> None:
    """Begin a scope. The data file is created if it is missing; one scope can be open at a time."""
    session.database(write=True).scope_begin()
    session.message("scope begun: `scope persist` keeps what follows, `scope discard` undoes it")


@command.command("persist", cls=Command, examples="scope persist")
@click.pass_obj
def persist(session: Session) -> None:
    """Keep the changes of the open scope."""
    session.database(write=True, create=False).scope_persist()
    session.message("scope persisted: its changes are kept")


@command.command("discard", cls=Command, examples="scope discard")
@click.pass_obj
def discard(session: Session) -> None:
    """Undo the changes of the open scope."""
    session.database(write=True, create=False).scope_discard()
    session.message("scope discarded: its changes are undone")


@command.command(
    "status",
    cls=Command,
    examples="""
        scope status
        scope status --json
    """,
)
@json_option
@click.pass_obj
def status(session: Session, as_json: bool) -> None:
    """Tell whether a scope is open, since when, and how many changes it holds."""
    scope = session.database().scope_status()
    if scope is None:
        session.out.write(b'{"open": false}\n' if as_json else b"no scope is open\n")
        return
    if as_json:
        report: dict[str, object] = {"open": True, "durable": scope.durable, "changes": scope.changes}
        report |= {"began_s": scope.began_s, "op": scope.op}
        session.out.writelines(lines_bytes([json_line(report)]))
        return
    report = {"scope": "open", "durable": scope.durable, "changes": scope.changes}
    report |= {"began": time_text(scope.began_s), "op": scope.op}
    session.out.writelines(lines_bytes(report_lines(report)))


def time_text(seconds: int) -> str:
    """A moment, given in seconds since 1970, in UTC; as a plain number where no calendar reaches."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return str(seconds)
