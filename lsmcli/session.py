"""One use of one data file: its path, the options that hold for every command, and the open database.

Invariants:
- the database is opened by the first command that asks for it, and never twice for one purpose;
- a command that only reads opens for reading, which takes no lock and writes nothing;
- after `command_done` everything that commands wrote is on the disk;
- data goes to `out` as bytes, messages to standard error.

The command line makes a session for one command; a shell keeps one for many.
"""

import os
import sys
from time import monotonic
from typing import TYPE_CHECKING, BinaryIO, Literal

from lsmcli.engine.constants import TREE_NAME_MAIN
from lsmcli.engine.errors import FileError, ReadOnlyError, StateError
from lsmcli.formats.esc import safe_text

if TYPE_CHECKING:
    from lsmcli.engine.database import Database
    from lsmcli.engine.keyspace import Keyspace


class Session:
    """The object of every click context.

    wait_s: how long a writing command waits for another writer, in seconds.
    verbosity: -1 quiet, 0 as usual, from 1 on also timings.
    color: "auto", "always" or "never".
    """

    def __init__(
        self,
        path: str,
        *,
        tree_name: str = TREE_NAME_MAIN,
        read_only: bool = False,
        wait_s: float = 0.0,
        verbosity: int = 0,
        color: str = "auto",
        out: BinaryIO | None = None,
    ) -> None:
        self.path = path
        self.tree_name = tree_name
        self.read_only = read_only
        self.wait_s = wait_s
        self.verbosity = verbosity
        self.color = color
        self._out = out
        self._began_s = monotonic()
        self._writer: Database | None = None
        self._readers: dict[bool, Database] = {}  # by whether they look past an open scope

    # -- the database ---------------------------------------------------------------------------

    def database(self, *, write: bool = False, create: bool = True, committed: bool = False) -> "Database":
        """The open database; a writing handle serves readers too, unless they want the committed state.

        create: a writing command makes the file if it is missing. committed: look past an open scope.
        Raises what `lsmcli.open` raises, and FileError or ReadOnlyError before it is even tried.
        """
        if write:
            return self._database_for_writing(create)
        if self._writer is not None and not committed:
            return self._writer
        reader = self._readers.get(committed)
        if reader is None:
            reader = self._readers[committed] = self._open_for_reading(committed)
        else:
            reader.refresh()
        return reader

    def tree(
        self, name: str | None = None, *, write: bool = False, create: bool = True, committed: bool = False
    ) -> "Keyspace":
        """The tree that a command works on: the named one, else the session's. Same options as `database`."""
        database = self.database(write=write, create=create, committed=committed)
        wanted = name if name is not None else self.tree_name
        return database if wanted == TREE_NAME_MAIN else database.tree(wanted)

    def require_file(self) -> None:
        """Raise FileError if the data file is missing, with the way to make it."""
        if not self.path:
            raise StateError("FILE is empty: name the data file")
        if not os.path.lexists(self.path):
            raise FileError(f"{safe_text(self.path)}: no such file: `put` and `import` create it")

    def _database_for_writing(self, create: bool) -> "Database":
        if self.read_only:
            raise ReadOnlyError(f"{safe_text(self.path)}: this command writes, and --read-only was given")
        if self._writer is None:
            self._close_readers()
            self._writer = self._open_for_writing("c" if create else "w")
        return self._writer

    def _open_for_reading(self, committed: bool) -> "Database":
        import lsmcli

        self.require_file()
        return lsmcli.open(self.path, "r", committed=committed)

    def _open_for_writing(self, flag: Literal["c", "w"]) -> "Database":
        import lsmcli

        if flag == "w":
            self.require_file()
        return lsmcli.open(self.path, flag, wait_s=self.wait_s, command="lsmcli")

    # -- the ends -------------------------------------------------------------------------------

    def command_done(self) -> None:
        """End of one command: what it wrote is durable and what it printed is out."""
        if self._writer is not None:
            self._writer.sync()
        if self._out is not None:
            self._out.flush()
        if self.verbosity > 0:
            self.message(f"{1000 * (monotonic() - self._began_s):.1f} ms")
            self._began_s = monotonic()

    def close(self) -> None:
        """Close what is open. A session may go on: the next command opens again."""
        self._close_readers()
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def _close_readers(self) -> None:
        while self._readers:
            self._readers.popitem()[1].close()

    # -- output ---------------------------------------------------------------------------------

    @property
    def out(self) -> BinaryIO:
        """Where data goes; FileError if standard output is closed."""
        if self._out is None:
            if sys.stdout is None:
                raise FileError("standard output is closed")
            self._out = sys.stdout.buffer
        return self._out

    def message(self, text: str) -> None:
        """A line on standard error, unless --quiet; control characters in it are escaped."""
        if self.verbosity >= 0 and sys.stderr is not None:
            sys.stderr.write(safe_text(text) + "\n")

    def out_is_terminal(self) -> bool:
        """Whether data goes to a terminal."""
        return self.out.isatty()

    def out_in_color(self) -> bool:
        """Whether data is coloured, see `wants_color`."""
        return wants_color(self.color, self.out_is_terminal())


def wants_color(when: str, is_terminal: bool) -> bool:
    """Whether to colour: the flag decides, then NO_COLOR, then CLICOLOR_FORCE and FORCE_COLOR, then the stream."""
    if when != "auto":
        return when == "always"
    if os.environ.get("NO_COLOR"):
        return False
    if any(os.environ.get(name, "0") not in ("", "0") for name in ("CLICOLOR_FORCE", "FORCE_COLOR")):
        return True
    return is_terminal and os.environ.get("TERM") != "dumb"
