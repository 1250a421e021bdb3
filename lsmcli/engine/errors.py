"""Every error that the engine raises, as one tree.

    LsmError
    ├── LimitError               a key, value or batch is outside the allowed sizes (also ValueError)
    ├── StateError               the call does not fit the state: scope, tree or handle (also ValueError)
    │   ├── ScopeError           no scope is open, or one is open already
    │   ├── TreeError            no tree of that name, or one exists already
    │   ├── ConflictError        a key that was to be new is there already
    │   └── ClosedError          the database handle is closed, or belongs to a parent process
    ├── LockedError              another process writes to this file
    ├── SnapshotTooOldError      a writer went on and reused what this reader was reading
    ├── DamageError              a checksum, a reference or an order in the file does not hold
    ├── LibraryError             the file needs a package that is not installed
    ├── FileError                the operating system refused: missing, permission, I/O
    │   ├── NoSpaceError         the disk or a quota is full; nothing was changed
    │   ├── ReadOnlyError        a write through a handle, or to a medium, that only reads
    │   └── OutcomeUnknownError  a write or sync failed: reopen the file to learn what it holds
    └── FormatError              not a data file of this program
        └── NewerFormatError     written by a later version of the format

Each message says what happened, where, and what to do next, in one line.
"""


class LsmError(Exception):
    """Root of all errors of the engine."""


class LimitError(LsmError, ValueError):
    """A key, a value or a batch is outside the sizes that the file allows."""


class StateError(LsmError, ValueError):
    """The call does not fit the state of the database."""


class ScopeError(StateError):
    """No scope is open where one is needed, or one is open already."""


class TreeError(StateError):
    """No tree has that name, or one has it already."""


class ConflictError(StateError):
    """A key that was to be new is in the tree already: `key`, of the tree with `tree_id`."""

    def __init__(self, message: str, *, tree_id: int, key: bytes) -> None:
        super().__init__(message)
        self.tree_id = tree_id
        self.key = key


class ClosedError(StateError):
    """The handle was closed, or was inherited by a forked process."""


class LockedError(LsmError):
    """Another process holds the file for writing.

    pid, command and since_s (seconds since 1970) are what that process wrote about itself, and None
    where it wrote nothing that makes sense: to be shown, not to be acted on.
    """

    def __init__(
        self, message: str, *, pid: int | None = None, command: str | None = None, since_s: int | None = None
    ) -> None:
        super().__init__(message)
        self.pid = pid
        self.command = command
        self.since_s = since_s


class SnapshotTooOldError(LsmError):
    """What a reader was reading was replaced by a writer before the reader was done."""


class DamageError(LsmError):
    """Bytes of the file do not match their checksum, reference or order.

    zone: "superblock", "wal", "manifest", "free set", "index", "value" or "large value".
    address: the grid block, 1-based, or None when the zone has no blocks.
    """

    def __init__(self, message: str, *, zone: str, address: int | None = None) -> None:
        super().__init__(message)
        self.zone = zone
        self.address = address


class LibraryError(LsmError):
    """What is asked of the file needs a package that is not installed; nothing was changed."""


class FileError(LsmError):
    """The operating system refused an operation on the file."""


class NoSpaceError(FileError):
    """No space is left on the device, or a quota or size limit is reached."""


class ReadOnlyError(FileError):
    """A write through a handle that was opened for reading, or to a read-only medium."""


class OutcomeUnknownError(FileError):
    """A write or a sync failed: whether its data is stored is known only after reopening."""


class FormatError(LsmError):
    """The file is not a data file of this program."""


class NewerFormatError(FormatError):
    """The file was written by a later version of the format."""
