"""What commands over whole trees share: which trees, which range, and all of it from one state of the file.

Invariant: as long as the `with` block of `contents_opened` runs, no writer beside it can end the reading.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import click

from lsmcli.commands.arguments import Callback, DataArguments, committed_option
from lsmcli.commands.encoding import CODECS
from lsmcli.commands.ranges import key_range, range_options
from lsmcli.engine.contents import Contents, contents_of
from lsmcli.engine.database import Database
from lsmcli.engine.key_range import prefix_end
from lsmcli.session import Session


class Selection(NamedTuple):
    """What part of a file: these trees, or all of them, and of each the keys from `start` to before `end`."""

    names: tuple[str, ...]  # empty: all trees
    start: bytes | None
    end: bytes | None
    committed: bool

    def names_in(self, database: Database) -> list[str]:
        """The names of the trees, in the order of their bytes where all are meant."""
        if self.names:
            return list(self.names)
        return sorted(database.trees(), key=lambda name: name.encode(errors="surrogateescape"))


def selection_options(function: Callback) -> Callback:
    """-t (repeatable), --all-trees, --from, --to, --prefix and --committed; see `selection_of`."""
    function = range_options(committed_option(function))
    function = click.option("--all-trees", is_flag=True, help="Every tree of the file.")(function)
    return click.option(
        "-t", "--tree", "tree_names", multiple=True, metavar="NAME", help="A tree; may be repeated.  [default: main]"
    )(function)


def selection_of(
    session: Session,
    *,
    tree_names: tuple[str, ...],
    all_trees: bool,
    key_from: str | None,
    key_to: str | None,
    prefix: str | None,
    committed: bool,
) -> Selection:
    """What the options of `selection_options` mean; UsageError where they contradict each other."""
    if all_trees and tree_names:
        raise click.UsageError("--all-trees excludes --tree")
    data = DataArguments(session, None, CODECS["auto"], CODECS["auto"], literal=False, committed=committed)
    wanted = key_range(data, key_from, key_to, prefix)
    start, end = wanted.start, wanted.end
    if wanted.prefix is not None:
        start, end = wanted.prefix, prefix_end(wanted.prefix)
    names = () if all_trees else tuple(dict.fromkeys(tree_names)) or (session.tree_name,)
    return Selection(names, start, end, committed)


@contextmanager
def contents_opened(session: Session, selection: Selection) -> Iterator[list[Contents]]:
    """The entries of the selection, of one state of the file. Raises TreeError and what opening raises."""
    database = session.database(committed=selection.committed)
    with database.pinned():
        yield contents_of(database, selection.names_in(database), selection.start, selection.end)
