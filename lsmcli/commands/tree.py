"""tree: list, create, compress and drop the trees of a data file."""

from typing import Final

import click

from lsmcli.commands.arguments import committed_option, confirm, json_option, write_all, yes_option
from lsmcli.commands.group import Command, Group
from lsmcli.commands.output import entries_text, json_line, lines_bytes, scalar_text
from lsmcli.formats.esc import safe_text
from lsmcli.session import Session

_CODEC: Final = click.Choice(["zstd", "none"])


@click.group(
    "tree",
    cls=Group,
    no_args_is_help=False,
    examples="""
        tree create users
        tree create log --compression zstd
        put -t users 1 Ada
        tree list
        tree drop users
    """,
)
def command() -> None:
    """The trees of a data file: ordered key spaces of their own. A new file has one, named main."""


@command.command(
    "list",
    cls=Command,
    examples="""
        tree list
        tree list --json
    """,
)
@committed_option
@json_option
@click.pass_obj
def list_trees(session: Session, committed: bool, as_json: bool) -> None:
    """Print the names of the trees, one per line."""
    database = session.database(committed=committed)
    names = database.trees()
    lines = (
        json_line({"tree": name, "compression": str(database.compression(name))}) if as_json else scalar_text(name)
        for name in names
    )
    write_all(session, lines_bytes(lines))


_levels_option = click.option(
    "--levels",
    type=click.Choice(["all", "last"]),
    default="all",
    show_default=True,
    help="Which levels are compressed: all, or only the deepest one, so that puts are compressed once.",
)


@command.command(
    "create",
    cls=Command,
    examples="""
        tree create users
        tree create log --compression zstd
    """,
)
@click.argument("name")
@click.option("--compression", "codec", type=_CODEC, default="none", show_default=True, help="What compresses it.")
@_levels_option
@click.pass_obj
def create(session: Session, name: str, codec: str, levels: str) -> None:
    """Create the tree NAME. The data file is created if it is missing."""
    session.database(write=True).create_tree(name, compression=codec, levels=levels)


@command.command(
    "compress",
    cls=Command,
    examples="""
        tree compress main zstd
        tree compress log zstd --levels last
        tree compress log none
    """,
)
@click.argument("name")
@click.argument("codec", metavar="zstd|none", type=_CODEC)
@_levels_option
@click.pass_obj
def compress(session: Session, name: str, codec: str, levels: str) -> None:
    """Have the tree NAME compressed by zstd from now on, or no more.

    What is stored already stays as it is until it is written anew, all of it by the command compact.
    """
    session.database(write=True).set_compression(name, codec, levels=levels)


@command.command(
    "drop",
    cls=Command,
    examples="""
        tree drop users
        tree drop users --yes
    """,
)
@click.argument("name")
@yes_option
@click.pass_obj
def drop(session: Session, name: str, yes: bool) -> None:
    """Delete the tree NAME with all its entries. It asks; where nobody can be asked it wants --yes."""
    if not yes:
        count = session.tree(name).count()
        if not confirm(session, f"Drop tree {safe_text(name)} with {entries_text(count)}?", yes):
            session.message("nothing was dropped")
            return
    session.database(write=True, create=False).drop_tree(name)
