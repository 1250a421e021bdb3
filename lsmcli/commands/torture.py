"""torture: try a disk, by killing writers at random and checking what is left."""

import os
import sys
from typing import TYPE_CHECKING

import click

from lsmcli.commands.arguments import json_option
from lsmcli.commands.group import Command
from lsmcli.commands.output import json_line, lines_bytes, record_line
from lsmcli.engine.errors import DamageError, FileError, StateError
from lsmcli.formats.esc import safe_text
from lsmcli.session import Session

if TYPE_CHECKING:
    from lsmcli.torture.harness import Torture

SEED_MAX = 0xFFFF_FFFF


@click.command(
    "torture",
    cls=Command,
    examples="""
        lsmcli torture --minutes 1
        lsmcli torture --minutes 60 /path/to/disk
        lsmcli torture --seed 7
    """,
)
@click.option("--minutes", type=click.FloatRange(0, 100_000), default=1.0, metavar="N", help="How long.  [1]")
@click.option("--seed", type=click.IntRange(0, SEED_MAX), metavar="S", help="Repeat the steps of an earlier run.")
@json_option
@click.argument("directory", required=False, metavar="[DIR]")
@click.pass_obj
def command(session: Session, minutes: float, seed: int | None, as_json: bool, directory: str | None) -> None:
    """Try a disk: a writer on a file of its own in DIR is killed at random, again and again.

    After each kill the file is opened, compared with every change that the writer was told is stored, and verified.
    No FILE is needed, DIR is the current folder if it is left out. If anything is wrong the exit code is 4, the file
    stays, and the seed says which steps it took. A kill is no power failure: the system keeps what was written.
    """
    from lsmcli.engine.file_system import mount_at
    from lsmcli.torture.harness import Torture

    folder = directory or session.path
    session.refuse_outside(folder)
    if not os.path.isdir(folder):
        what = "is a file" if os.path.exists(folder) else "is not there"
        raise StateError(f"{safe_text(folder)} {what}: torture makes a file of its own, name a folder for it")
    seed = int.from_bytes(os.urandom(4), "little") if seed is None else seed
    path = os.path.join(folder, f"torture-{seed}.lsm")
    if os.path.lexists(path):
        raise FileError(f"{safe_text(path)} is there already: remove it, or choose another seed")
    shows = not as_json and session.verbosity >= 0 and sys.stderr is not None and sys.stderr.isatty()
    if (mount := mount_at(path)) is not None and mount.is_volatile:
        session.message(f"{folder} is in memory ({mount.name}): what is tried here is no disk")
    torture = Torture(path, seed)
    result = torture.run(60 * minutes, show_round if shows else lambda _: None)
    if shows:
        sys.stderr.write("\r\x1b[K")
    record = {"ok": not result.problem, "seed": result.seed, "kills": result.rounds, "steps": result.steps}
    if as_json:
        session.out.writelines(lines_bytes([json_line(record | {"problem": result.problem or None})]))
    else:
        session.out.writelines(lines_bytes([record_line(record)]))
    if result.problem:
        session.out.flush()
        raise DamageError(f"{safe_text(path)}, seed {seed}, kill {result.rounds}: {result.problem}", zone="torture")


def show_round(torture: "Torture") -> None:
    """How far it is, on a terminal."""
    sys.stderr.write(f"\r\x1b[K{torture.rounds} kills, {torture.steps} steps")
    sys.stderr.flush()
