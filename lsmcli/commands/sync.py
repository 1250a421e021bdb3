"""sync: make what was written so far survive a power failure."""

import click

from lsmcli.commands.group import Command
from lsmcli.session import Session


@click.command("sync", cls=Command, examples="sync")
@click.pass_obj
def command(session: Session) -> None:
    """Bring all that was written so far to the disk. A script needs it where it must not wait for its end."""
    session.database(write=True, create=False).sync()
