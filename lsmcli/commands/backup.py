"""backup: a copy of the data file as it is now, made while others use it."""

from time import monotonic

import click

from lsmcli.commands.group import Command
from lsmcli.commands.progress import progress_of, progress_option
from lsmcli.engine.errors import LsmError
from lsmcli.session import Session


@click.command(
    "backup",
    cls=Command,
    examples="""
        backup copy.lsm
        backup --compact copy.lsm
        backup --force copy.lsm
    """,
)
@click.argument("dest", metavar="DEST")
@click.option("--compact", is_flag=True, help="Leave out what deleted and overwritten entries take up.")
@click.option("--committed", is_flag=True, help="Leave out what an open scope has changed.")
@click.option("--force", is_flag=True, help="Replace DEST if it is a data file that nobody writes to.")
@progress_option
@click.pass_obj
def command(session: Session, dest: str, compact: bool, committed: bool, force: bool, progress_mode: str) -> None:
    """Copy the data file, as it is now, to the new file DEST. Others may read and write it meanwhile.

    The copy is read back before it gets its name; the checksum that is printed is that of `checksum --all-trees`, and
    DEST has it. A scope that is open stays open in the copy.
    """
    import lsmcli
    from lsmcli.engine.backup import backup

    session.refuse_outside(dest)
    session.require_file()
    began_s = monotonic()
    # A handle of its own: one that writes cannot be copied from, and others keep the state that they show.
    with lsmcli.open(session.path, "r") as source:
        progress = progress_of(session, "backup", source.forest.file.superblock.storage_size, progress_mode)
        try:
            result = backup(
                source,
                dest,
                compact=compact,
                committed=committed,
                force=force,
                advance=lambda size: progress.advance(size, 0),
            )
        except LsmError as error:
            if dest in str(error):
                error.add_note(dest)  # it is about that file, not about the one that is copied
            raise
        finally:
            progress.close()
    session.message(
        f"copied={result.entries} bytes={result.size} seconds={monotonic() - began_s:.3f} "
        f"checksum={result.checksum.hex()}"
    )
