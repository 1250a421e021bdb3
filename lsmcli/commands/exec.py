"""exec: run the lines of a script."""

from contextlib import nullcontext

import click

from lsmcli.commands.files import source_opened
from lsmcli.commands.group import Command
from lsmcli.formats.rows import line_blocks, pieces_of
from lsmcli.session import Session


@click.command(
    "exec",
    cls=Command,
    examples="""
        exec users.script
        exec --atomic users.script
        exec --keep-going - < users.script
        lsmcli my.lsm < users.script
    """,
)
@click.argument("script", default="-", metavar="[SCRIPT|-]")
@click.option("--keep-going", is_flag=True, help="Run all lines; the exit code is that of the first failure.")
@click.option("--atomic", is_flag=True, help="All changes of the script in one scope: kept if no line fails.")
@click.option("--echo", is_flag=True, help="Print each command on standard error before it runs.")
@click.pass_context
def command(ctx: click.Context, script: str, keep_going: bool, atomic: bool, echo: bool) -> None:
    """Run the lines of SCRIPT, or of standard input: each is a command as behind `lsmcli FILE`.

    White space separates words; "..." with escapes such as \\n and \\x00, and '...', hold anything; # begins a comment.
    A line may end in > FILE, >> FILE or | COMMAND. <<END makes the lines up to END the standard input of a command.

    The first line that fails ends the script, with its exit code and a message file:LINE:COL. What the lines before it
    wrote stays, unless --atomic is given. A script syncs once at its end, at each line `sync`, and when a scope ends:
    before that, a power failure or a killed process may take the last lines back, never a part of one.
    """
    from lsmcli.repl.outputs import no_input
    from lsmcli.repl.runner import Runner
    from lsmcli.repl.script import run_script

    session = ctx.find_object(Session)
    assert session is not None
    runner = ctx.find_object(Runner) or Runner(session)
    if script != "-":
        session.refuse_outside(script)
    if atomic and session.atomic:
        raise click.UsageError("--atomic inside of a script that is atomic already")
    code = None
    with source_opened(script) as (stream, _):
        if atomic:
            session.atomic_begin()
        try:
            name = "standard input" if script == "-" else script
            blocks = line_blocks(pieces_of(stream))
            with no_input() if script == "-" else nullcontext():
                code = run_script(runner, blocks, name, keep_going=keep_going, echo=echo)
        finally:
            if atomic:
                session.atomic_end(keep=code == 0)
    if code:
        ctx.exit(code)
