"""count: how many entries a range holds."""

import click

from lsmcli.commands.arguments import DataArguments, data_options
from lsmcli.commands.group import Command
from lsmcli.commands.ranges import key_range, range_options


@click.command(
    "count",
    cls=Command,
    examples="""
        count
        count --prefix user:
        count --from 2024 --to 2025
    """,
)
@range_options
@data_options(reads=True, values=False)
def command(data: DataArguments, key_from: str | None, key_to: str | None, prefix: str | None) -> None:
    """Print how many entries there are, in all or in a range. The number is exact."""
    keys = key_range(data, key_from, key_to, prefix)
    data.session.out.write(b"%d\n" % data.read().count(*keys))
