"""A key-value database in one crash-safe file, with a log-structured merge-tree inside.

    >>> import lsmcli
    >>> with lsmcli.open("example.lsm") as db:      # doctest: +SKIP
    ...     db[b"key"] = b"value"

The engine is imported by the first open(), so that a program which only needs an error or the version
does not pay for it.
"""

import os
from typing import TYPE_CHECKING

from lsmcli.engine.errors import (
    ClosedError,
    ConflictError,
    DamageError,
    FileError,
    FormatError,
    LibraryError,
    LimitError,
    LockedError,
    LsmError,
    NewerFormatError,
    NoSpaceError,
    OutcomeUnknownError,
    ReadOnlyError,
    ScopeError,
    SnapshotTooOldError,
    StateError,
    TreeError,
)

if TYPE_CHECKING:
    from lsmcli.engine.database import Database, SyncMode
    from lsmcli.engine.opening import Flag

__version__ = "0.1.0"


def open(  # noqa: A001  # the name that programs know from dbm
    path: str | os.PathLike[str],
    flag: "Flag" = "c",
    *,
    block_size: int | None = None,
    growth_factor: int | None = None,
    memory_size: int | None = None,
    cache_size: int | None = None,
    sync: "SyncMode" = "normal",
    wait_s: float = 0.0,
    committed: bool | None = None,
    command: str | None = None,
    network: bool = False,
) -> "Database":
    """Opens a data file. flag, as in dbm: "r" reads only, "w" must exist, "c" is created when missing, "n" is new.

    block_size (bytes, a power of two, 4 KiB ... 512 KiB) and growth_factor (2 ... 16) are for a new file.
    memory_size: bytes that a memory table may weigh (32 MiB); cache_size: bytes of blocks to keep (64 MiB).
    sync: "normal" survives kill -9 at any point, and syncs at checkpoints, at sync() and at close(); "commit"
    syncs every op. wait_s: how many seconds to wait for another writer. committed: False lets a reading
    handle see inside a durable scope that is open. command: what another writer is told of this one.
    network: write even on a network file system, which no other computer may do at the same time.

    Raises FileError, LockedError, FormatError, NewerFormatError, DamageError, LimitError.
    """
    from lsmcli.engine import constants
    from lsmcli.engine.opening import open_database

    if flag != "r" and command is None:
        # Now, so that no put of a program waits for that; the command line has commands that never need it.
        from lsmcli.engine import compaction_plan  # noqa: F401

    return open_database(
        path,
        flag,
        block_size=block_size,
        growth_factor=growth_factor,
        memory_size=constants.MEMORY_SIZE_DEFAULT if memory_size is None else memory_size,
        cache_size=constants.CACHE_SIZE_DEFAULT if cache_size is None else cache_size,
        sync=sync,
        wait_s=wait_s,
        committed=committed is not False,
        command=command,
        network=network,
    )


__all__ = [
    "ClosedError",
    "ConflictError",
    "DamageError",
    "FileError",
    "FormatError",
    "LibraryError",
    "LimitError",
    "LockedError",
    "LsmError",
    "NewerFormatError",
    "NoSpaceError",
    "OutcomeUnknownError",
    "ReadOnlyError",
    "ScopeError",
    "SnapshotTooOldError",
    "StateError",
    "TreeError",
    "__version__",
    "open",
]
