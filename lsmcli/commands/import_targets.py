"""Where the rows of an import go: into the file as a whole, or nowhere with --dry-run; see import_batches for the rest.

    whole      rows are sorted aside; when all have been read and are good, one step makes them part of the file
    nowhere    rows are counted

Invariants:
- the file is opened for writing only when there is something to write: a small source with a bad row leaves it as it
  was, byte for byte, and creates none;
- a target is a context manager; when its block ends without an exception, everything is on the disk.
"""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import click

from lsmcli.commands.import_rows import Counts, Opened
from lsmcli.engine.constants import MIB, TREE_NAME_MAIN
from lsmcli.engine.errors import LsmError, TreeError
from lsmcli.formats.rows import Rows
from lsmcli.session import Session

if TYPE_CHECKING:
    from lsmcli.engine.bulk_load import BulkLoad, OnConflict

# So much of the sources is read and checked before the data file is opened.
AHEAD_SIZE: Final = 8 * MIB


class TargetOptions(NamedTuple):
    """How rows are stored. tree_name: None if nothing but the source names one; memory_size: None as is usual."""

    tree_name: str | None
    on_conflict: "OnConflict"
    memory_size: int | None


class Target(Protocol):
    """What takes rows. For each source: begin, any number of add, end."""

    def __enter__(self) -> "Target": ...

    def __exit__(self, *outcome: object) -> None: ...

    def begin(self, opened: Opened) -> None:
        """The rows that follow are of this source."""

    def add(self, rows: Rows) -> None:
        """Take over rows."""

    def end(self) -> None:
        """The source has ended, and all of it was good."""


class Nowhere:
    """Counts rows and stores nothing."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts

    def __enter__(self) -> "Nowhere":
        return self

    def __exit__(self, *outcome: object) -> None: ...

    def begin(self, opened: Opened) -> None: ...

    def add(self, rows: Rows) -> None: ...

    def end(self) -> None: ...


class Trees:
    """The trees that rows go to: the one that was asked for, or those that the source names, made if they are new."""

    def __init__(self, session: Session, tree_name: str | None) -> None:
        asked = tree_name if tree_name is not None else session.tree_name
        self._asked = None if asked == TREE_NAME_MAIN and tree_name is None else asked
        self._session = session
        self._ids: dict[bytes | None, int] = {}
        self._created: list[str] = []
        self._named: bytes | None = None

    def id_of(self, name: bytes | None) -> int:
        """The id of the tree for rows that say that they are of the tree `name`. TreeError if what was asked for is
        not there, UsageError if rows of several trees would go to one.
        """
        tree_id = self._ids.get(name)
        if tree_id is None:
            tree_id = self._ids[name] = self._found(name)
        return tree_id

    def _found(self, name: bytes | None) -> int:
        database = self._session.database(write=True)
        if self._asked is not None:
            if self._ids:
                raise click.UsageError("the source holds rows of several trees: leave --tree out")
            return database.tree_id(self._asked)
        if name is None:
            return database.tree_id(TREE_NAME_MAIN)
        text = os.fsdecode(name)
        try:
            return database.tree_id(text)
        except TreeError:
            database.create_tree(text)
            self._created.append(text)
            return database.tree_id(text)

    def undo(self) -> None:
        """Drop the trees that were made for rows that did not come, if that is possible: an error ends the import
        already, and says more than another one.
        """
        try:
            while self._created:
                self._session.database(write=True).drop_tree(self._created.pop())
        except LsmError:
            pass


class Whole:
    """All rows or none, through a bulk load."""

    def __init__(self, session: Session, options: TargetOptions, counts: Counts) -> None:
        self._session = session
        self._options = options
        self._counts = counts
        self._trees = Trees(session, options.tree_name)
        self._ahead: list[Rows] = []
        self._ahead_size = 0
        self._load: BulkLoad | None = None
        self._stack = ExitStack()

    def __enter__(self) -> "Whole":
        return self

    def begin(self, opened: Opened) -> None: ...

    def end(self) -> None: ...

    def add(self, rows: Rows) -> None:
        """Take over rows; the first AHEAD_SIZE bytes of them stay here until it is seen that more comes."""
        if self._load is not None:
            self._load.add(self._trees.id_of(rows.tree), rows.keys, rows.values)
            return
        self._ahead.append(rows)
        self._ahead_size += size_of(rows.keys, rows.values)
        if self._ahead_size >= AHEAD_SIZE:
            self._open()

    def _open(self) -> "BulkLoad":
        database = self._session.database(write=True)
        self._trees.id_of(self._ahead[0].tree if self._ahead else None)  # a tree that is missing is told at once
        load = database.bulk_load(memory_size=self._options.memory_size, on_conflict=self._options.on_conflict)
        self._load = self._stack.enter_context(load)
        ahead, self._ahead = self._ahead, []
        for rows in ahead:
            load.add(self._trees.id_of(rows.tree), rows.keys, rows.values)
        return load

    def __exit__(self, *outcome: object) -> None:
        if outcome[0] is None:
            try:
                load = self._load or self._open()
                self._stack.close()
            except BaseException:
                self._give_up()
                raise
            done = load.result
            self._counts.add(done.imported, done.replaced, done.skipped, done.deleted)
            return
        self._stack.__exit__(*outcome)  # type: ignore[arg-type]  # passed through as it came
        self._give_up()

    def _give_up(self) -> None:
        self._trees.undo()


def size_of(keys: Sequence[bytes], values: Sequence[bytes | None]) -> int:
    """Bytes of keys and values together."""
    return sum(map(len, keys)) + sum(map(len, filter(None, values)))
