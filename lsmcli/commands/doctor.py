"""doctor: verify, and say what should be done about the file."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from lsmcli.commands.arguments import json_option, write_all
from lsmcli.commands.group import Command
from lsmcli.commands.output import entries_text, json_line, lines_bytes, record_line, scalar_text, size_text
from lsmcli.session import Session

if TYPE_CHECKING:
    from lsmcli.engine.health import Facts, Finding

EXIT_DAMAGED = 4


@click.command(
    "doctor",
    cls=Command,
    examples="""
        doctor
        doctor --json
    """,
)
@json_option
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Verify the file, look at its state and its space, and name the command that helps against each finding.

    The exit code is 4 if anything is damaged, also where another copy holds, else 0. The file is only read.
    """
    from lsmcli.engine.health import facts_of, findings

    session: Session = ctx.obj
    session.require_file()
    facts = facts_of(session.path)
    found = findings(facts)
    sick = bool(facts.report.problems or facts.problem)
    if as_json:
        whole = {
            "ok": not sick,
            "findings": [finding._asdict() for finding in found],
            "stats": facts.stats,
            "verified": facts.report.counts,
        }
        write_all(session, lines_bytes([json_line(whole)]))
    else:
        write_all(session, lines_bytes(page(session.path, facts, found)))
    if sick:
        ctx.exit(EXIT_DAMAGED)


def page(path: str, facts: "Facts", found: "list[Finding]") -> Iterator[str]:
    """The page for people."""
    stats = facts.stats
    name = scalar_text(path)
    if stats:
        entries = entries_text(stats["table_entries"] + stats["memory_entries"] - stats["table_tombstones"])
        trees = "1 tree" if stats["trees"] == 1 else f"{stats['trees']} trees"
        yield f"{name}: about {entries} in {trees}, {size_text(stats['file_size'])}"
    yield f"verified: {record_line(facts.report.counts)}"
    for finding in found:
        yield f"{finding.severity}: {finding.subject}: {scalar_text(finding.message)}"
        yield f"    lsmcli {name} {finding.command}"
    if not found:
        yield "healthy: nothing to do"
