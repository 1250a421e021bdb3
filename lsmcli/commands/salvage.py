"""salvage: write what a damaged file still holds to a new one."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from lsmcli.commands.arguments import json_option, write_all
from lsmcli.commands.group import Command
from lsmcli.commands.output import entries_text, json_line, lines_bytes, scalar_text
from lsmcli.session import Session

if TYPE_CHECKING:
    from lsmcli.engine.salvage_report import Loss, SalvageReport

EXIT_LOST = 4


@click.command(
    "salvage",
    cls=Command,
    examples="""
        salvage rescued.lsm
        salvage rescued.lsm --json
        salvage rescued.lsm --include-stale
    """,
)
@click.argument("out", metavar="OUT")
@click.option("--include-stale", is_flag=True, help="Keep also what a lost entry may have replaced or removed.")
@json_option
@click.pass_context
def command(ctx: click.Context, out: str, include_stale: bool, as_json: bool) -> None:
    """Write every entry of FILE that can still be read to OUT, a new file, and report what is lost.

    FILE is only read, block by block, and may lack any part: superblock, log, manifest, index. The exit code is 0
    if nothing is lost, and 4 otherwise. End every writer first.
    """
    from lsmcli.commands.files import new_file
    from lsmcli.engine.opening import open_database
    from lsmcli.engine.salvage import salvage_file

    session: Session = ctx.obj
    session.refuse_outside(out)
    session.require_file()
    with new_file(out) as path:
        report = salvage_file(
            session.path,
            lambda block_size, growth_factor: open_database(
                path,
                "n",
                block_size=block_size,
                growth_factor=growth_factor,
                command="lsmcli salvage",
                network=True,
            ),
            include_stale=include_stale,
        )
    write_all(session, lines_bytes([json_line(report.as_dict())] if as_json else report_lines(report)))
    if not report.complete:
        ctx.exit(EXIT_LOST)


def report_lines(report: "SalvageReport") -> Iterator[str]:
    """The report for people: losses first, the verdict last."""
    for loss in report.losses:
        yield loss_line(loss)
    for note in report.notes:
        yield f"note: {scalar_text(note)}"
    for count in report.trees:
        withheld = f", {entries_text(count.withheld)} withheld" if count.withheld else ""
        yield f"tree {scalar_text(count.tree)}: {entries_text(count.kept)} kept{withheld}"
    if report.withheld:
        yield "withheld: a lost entry may have replaced or removed these; --include-stale keeps them"
    if report.guessed:
        yield f"{entries_text(report.guessed)} had several versions, and which is the newest is a guess"
    if report.scope_changes is not None:
        yield f"a scope is open in the new file as it was, with {report.scope_changes} changes: persist or discard it"
    verdict = "nothing is lost" if report.complete else f"up to {entries_text(report.lost)} lost"
    if not report.complete and not report.losses and not report.withheld:
        verdict = "no loss was seen, but it is not certain that nothing is lost"
    yield f"{'whole' if report.complete else 'damaged'}: {entries_text(report.kept)} kept, {verdict}"


def loss_line(loss: "Loss") -> str:
    """One loss: where, which keys, why."""
    tree = f" of tree {scalar_text(loss.tree)}" if loss.tree else ""
    block = f" block {loss.address}" if loss.address is not None else ""
    keys = ""
    if loss.key_min is not None and loss.key_max is not None:
        # The first key that can follow another is that one with a zero byte behind it.
        after = loss.key_min.removesuffix(b"\0")
        first = f"after {scalar_text(after)}" if after not in (b"", loss.key_min) else scalar_text(loss.key_min)
        keys = f", keys {first} to {scalar_text(loss.key_max)}"
        if loss.key_min == loss.key_max:
            keys = f", key {scalar_text(loss.key_min)}"
    entries = "" if loss.entries is None else f", {entries_text(loss.entries)}"
    return f"lost: {loss.zone}{block}{tree}{keys}{entries}: {scalar_text(loss.message)}"
