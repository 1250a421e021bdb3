"""Words that only lines know: they change how the lines behind them run, so a single command has no use for them."""

from typing import Final

import click

from lsmcli.commands.group import Command
from lsmcli.repl.runner import Runner

pass_runner = click.make_pass_decorator(Runner)


@click.command(
    "use",
    cls=Command,
    examples="""
        use users
        use main
    """,
)
@click.argument("name", metavar="NAME")
@pass_runner
def use(runner: Runner, name: str) -> None:
    """Work on the tree NAME from here on, where a command names no other with -t."""
    runner.session.tree(name)  # raises TreeError if there is none
    runner.session.tree_name = name


@click.command(
    "exit",
    cls=Command,
    examples="""
        exit
        exit 3
    """,
)
@click.argument("code", type=click.IntRange(0, 255), default=0, metavar="[N]")
@pass_runner
def leave(runner: Runner, code: int) -> None:
    """Leave the shell or the script, with the exit code N."""
    runner.exit_code = code


BUILTINS: Final = {"use": use, "exit": leave, "quit": leave}
