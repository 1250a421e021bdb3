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
from time import monotonic, time_ns
from typing import TYPE_CHECKING, BinaryIO, Final, Literal, NamedTuple

from lsmcli.engine.constants import TREE_NAME_MAIN
from lsmcli.engine.errors import FileError, ReadOnlyError, StateError
from lsmcli.formats.esc import safe_text

if TYPE_CHECKING:
    from lsmcli.engine.database import Database
    from lsmcli.engine.guard import BoundScope
    from lsmcli.engine.keyspace import Keyspace

# Longer than any command that is typed keeps the file, and short enough to be told soon who holds it for good.
WAIT_S: Final = 2.0
FRESH_NS: Final = 50_000_000  # ten times the coarsest clock that file systems on Linux stamp changes with


class Terminated(BaseException):
    """SIGTERM asked a command to stop, and it stopped where nothing is half done."""


class Session:
    """The object of every click context.

    wait_s: how long a writing command waits for another writer, in seconds.
    verbosity: -1 quiet, 0 as usual, from 1 on also timings.
    color: "auto", "always" or "never".
    network: write even on a network file system.
    safe: refuse whatever reaches outside of the data file: other files, and commands of the system's shell.
    """

    def __init__(
        self,
        path: str,
        *,
        tree_name: str = TREE_NAME_MAIN,
        read_only: bool = False,
        wait_s: float = WAIT_S,
        verbosity: int = 0,
        color: str = "auto",
        safe: bool = False,
        network: bool = False,
        out: BinaryIO | None = None,
    ) -> None:
        self.path = path
        self.tree_name = tree_name
        self.read_only = read_only
        self.wait_s = wait_s
        self.verbosity = verbosity
        self.color = color
        self.safe = safe
        self.network = network
        self._out = out
        self._began_s = monotonic()
        self._writer: Database | None = None
        self._readers: dict[bool, Database] = {}  # by whether they look past an open scope
        self._readers_seen: dict[bool, FileState] = {}
        self._atomic = False
        self._scope: BoundScope | None = None

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
        state = file_state(self.path)
        if reader is None:
            reader = self._readers[committed] = self._open_for_reading(committed)
        elif state is None or state.fresh or state != self._readers_seen.get(committed):
            reader.refresh()
        if state is not None:
            self._readers_seen[committed] = state
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
            if self._atomic:
                self._enter_scope(self._writer)
        return self._writer

    def _open_for_reading(self, committed: bool) -> "Database":
        import lsmcli

        self.require_file()
        return lsmcli.open(self.path, "r", committed=committed)

    def _open_for_writing(self, flag: Literal["c", "w"]) -> "Database":
        import lsmcli

        if flag == "w":
            self.require_file()
        return lsmcli.open(self.path, flag, wait_s=self.wait_s, command="lsmcli", network=self.network)

    def refuse_outside(self, what: str) -> None:
        """Raise StateError with --safe, for something that reaches outside of the data file."""
        if self.safe:
            raise StateError(f"{safe_text(what)}: --safe forbids other files and commands of the system")

    # -- all or nothing -------------------------------------------------------------------------

    @property
    def atomic(self) -> bool:
        """Whether all that commands write is in one scope, see `atomic_begin`."""
        return self._atomic

    def atomic_begin(self) -> None:
        """From here on, all that commands write is in one scope. ScopeError if one is open, at the first write."""
        self._atomic = True
        if self._writer is not None:
            self._enter_scope(self._writer)

    def atomic_end(self, *, keep: bool) -> None:
        """Keep all that was written since `atomic_begin`, or undo it."""
        self._atomic = False
        scope, self._scope = self._scope, None
        if scope is None:
            return
        if keep:
            scope.__exit__(None, None, None)
        elif self._writer is not None and self._writer.unusable is None:
            scope.discard()

    def _enter_scope(self, writer: "Database") -> None:
        scope = writer.scope()
        scope.__enter__()
        self._scope = scope

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

    def redirect(self, out: BinaryIO | None) -> BinaryIO | None:
        """Send data somewhere else, None for standard output; returns where it went before."""
        before, self._out = self._out, out
        return before

    def close(self) -> None:
        """Close what is open. A session may go on: the next command opens again."""
        self._close_readers()
        self.close_writer()

    def close_writer(self) -> None:
        """Close the handle that writes, and let others write."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def _close_readers(self) -> None:
        while self._readers:
            self._readers.popitem()[1].close()
        self._readers_seen.clear()

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


class FileState(NamedTuple):
    """What tells whether a file was written to: its identity, size and time of change in nanoseconds.

    fresh: changed so lately that the clock of the file system might not tell one more change from the last one.
    """

    inode: int
    size: int
    changed_ns: int
    fresh: bool


def file_state(path: str) -> FileState | None:
    """The state of a file, None if there is no telling. Two equal states that are not fresh: nobody wrote between."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return FileState(found.st_ino, found.st_size, found.st_mtime_ns, time_ns() - found.st_mtime_ns < FRESH_NS)


def wants_color(when: str, is_terminal: bool) -> bool:
    """Whether to colour: the flag decides, then NO_COLOR, then CLICOLOR_FORCE and FORCE_COLOR, then the stream."""
    if when != "auto":
        return when == "always"
    if os.environ.get("NO_COLOR"):
        return False
    if any(os.environ.get(name, "0") not in ("", "0") for name in ("CLICOLOR_FORCE", "FORCE_COLOR")):
        return True
    return is_terminal and os.environ.get("TERM") != "dumb"
