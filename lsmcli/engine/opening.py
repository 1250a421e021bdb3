"""Opens a data file by path: finds or creates it, locks it for a writer, and makes the Database.

Invariants:
- arguments are checked before anything is touched;
- a writer holds the lock before it reads anything that it will act on;
- only a data file of this program, and one that nobody writes to, is ever replaced (flag "n").
"""

import os
import time
from typing import Literal

from lsmcli.engine import superblock as superblock_zone
from lsmcli.engine.constants import (
    BLOCK_SIZE_DEFAULT,
    CACHE_SIZE_DEFAULT,
    GROWTH_FACTOR_DEFAULT,
    MEMORY_SIZE_DEFAULT,
    MEMORY_SIZE_MIN,
    time_stored,
)
from lsmcli.engine.database import Database, SyncMode
from lsmcli.engine.errors import FileError, LimitError
from lsmcli.engine.lock_holder import Writer
from lsmcli.engine.schema import UUID_SIZE
from lsmcli.engine.storage import FileStorage

Flag = Literal["r", "w", "c", "n"]


def open_database(
    path: str | os.PathLike[str],
    flag: Flag = "c",
    *,
    block_size: int | None = None,
    growth_factor: int | None = None,
    memory_size: int = MEMORY_SIZE_DEFAULT,
    cache_size: int = CACHE_SIZE_DEFAULT,
    sync: SyncMode = "normal",
    wait_s: float = 0.0,
    committed: bool = True,
    command: str | None = None,
    network: bool = False,
) -> Database:
    """Opens a data file. flag, as in dbm: "r" reads only, "w" must exist, "c" is created when missing, "n" is new.

    block_size (bytes, a power of two, 4 KiB ... 512 KiB) and growth_factor (2 ... 16) are for a new file.
    memory_size: bytes that a memory table may weigh; cache_size: bytes of blocks to keep.
    sync: "normal" survives kill -9 at any point, and syncs at checkpoints, at sync() and at close(); "commit"
    syncs every op. wait_s: how long to wait for another writer. committed: in a reading handle, False reads
    inside a durable scope that is open. command: what another writer is told of this one. network: write
    even on a network file system, which no other computer may do at the same time.

    Raises FileError, LockedError, FormatError, NewerFormatError, DamageError, LimitError.
    """
    if flag not in ("r", "w", "c", "n"):
        raise ValueError(f"flag must be 'r', 'w', 'c' or 'n', not {flag!r}")
    if sync not in ("normal", "commit"):
        raise ValueError(f"sync must be 'normal' or 'commit', not {sync!r}")
    if memory_size < MEMORY_SIZE_MIN:
        raise LimitError(f"memory_size is {memory_size}, but at least {MEMORY_SIZE_MIN} is needed")
    if cache_size < 0:
        raise LimitError(f"cache_size is {cache_size}, but cannot be negative")
    name = os.fspath(path)
    if flag != "r" and not network:
        from lsmcli.engine.file_system import require_local  # not for those who read

        require_local(name)
    create = flag == "n" or (flag == "c" and not os.path.exists(name))
    head = _head_new(block_size, growth_factor) if create else b""
    storage = _storage_for(name, flag, head)
    try:
        if flag != "r":
            superblock_zone.read(storage, name)  # what is no data file is refused before the lock leaves a note in it
            storage.lock(wait_s, lambda: Writer(os.getpid(), time_stored(time.time()), command or "python"))
            storage.sync_with_directory()
        return Database(
            storage,
            writable=flag != "r",
            memory_size=memory_size,
            cache_size=cache_size,
            sync=sync,
            committed=committed,
        )
    except BaseException:
        storage.close()
        raise


def _head_new(block_size: int | None, growth_factor: int | None) -> bytes:
    _, head = superblock_zone.format_file(
        uuid=os.urandom(UUID_SIZE),
        created_s=time_stored(time.time()),
        block_size=BLOCK_SIZE_DEFAULT if block_size is None else block_size,
        growth_factor=GROWTH_FACTOR_DEFAULT if growth_factor is None else growth_factor,
    )
    return head


def _storage_for(name: str, flag: Flag, head: bytes) -> FileStorage:
    """The file, created when the flag wants that. Two processes that create at once: one opens the other's."""
    if flag == "n" and os.path.exists(name):
        # Only a data file that nobody writes to is replaced; anything else is refused, and stays.
        old = FileStorage.open(name, writable=True)
        try:
            superblock_zone.read(old, name)
            old.lock(0.0, lambda: Writer(os.getpid(), time_stored(time.time()), "python"))
            old.unlink()
        finally:
            old.close()
    if head:
        try:
            return FileStorage.create(name, head)
        except FileError:
            if flag == "n" or not os.path.exists(name):
                raise
    return FileStorage.open(name, writable=flag != "r")
