"""verify: check every byte that something depends on."""

from collections.abc import Mapping

import click

from lsmcli.commands.arguments import json_option, write_all
from lsmcli.commands.group import Command
from lsmcli.commands.output import json_line, lines_bytes, record_line, scalar_text
from lsmcli.session import Session

EXIT_DAMAGED = 4


@click.command(
    "verify",
    cls=Command,
    examples="""
        verify
        verify --json
    """,
)
@json_option
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Check every checksum, order, key range and reference, and account for every block.

    Each problem is one line that names its zone and block. The exit code is 4 if there is any, else 0. The file is
    only read.
    """
    from lsmcli.engine import inspector

    session: Session = ctx.obj
    session.require_file()
    report = inspector.verify(session.path)
    problems = [problem._asdict() for problem in report.problems]
    if as_json:
        whole = {"ok": report.ok, "problems": problems, "counts": report.counts}
        session.out.writelines(lines_bytes([json_line(whole)]))
    else:
        write_all(session, lines_bytes(problem_line(problem) for problem in problems))
        verdict = "ok" if report.ok else f"damaged: {len(problems)} problems"
        session.out.writelines(lines_bytes([f"{verdict}: {record_line(report.counts)}"]))
    if not report.ok:
        ctx.exit(EXIT_DAMAGED)


def problem_line(problem: Mapping[str, object]) -> str:
    """One problem: zone, block if there is one, and what is wrong."""
    block = "" if problem["address"] is None else f" block {problem['address']}"
    return f"damage in {scalar_text(problem['zone'])}{block}: {scalar_text(problem['message'])}"
