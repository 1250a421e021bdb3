"""exists: tell by the exit code whether a key is there."""

import click

from lsmcli.commands.arguments import DataArguments, data_options
from lsmcli.commands.group import Command


@click.command(
    "exists",
    cls=Command,
    examples="""
        exists user:1 && echo there
        exists hex:00ff
    """,
)
@click.argument("key")
@data_options(reads=True, values=False)
@click.pass_context
def command(ctx: click.Context, data: DataArguments, key: str) -> None:
    """Exit with 0 if KEY is there and with 1 if it is absent; print nothing."""
    if not is_there(data, key):
        ctx.exit(1)


def is_there(data: DataArguments, key: str) -> bool:
    """Whether a key is there."""
    wanted = data.key(key)
    # A scan of one key does not read a value that is stored out of line, as `get` would.
    return any(found == wanted for found, _ in data.read().scan(start=wanted, limit=1, keys_only=True))
