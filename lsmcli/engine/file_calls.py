"""System calls on an open file that do not do the same everywhere, or promise less than one needs.

Invariants:
- OSError says that it was not done; what has a substitute is not refused for lack of it;
- a sync is tried once: the substitute is for a system that has no such sync, not for one that failed.
"""

import errno
import fcntl
import os
import sys

from lsmcli.engine.storage_errors import ERRNO_NOT_SUPPORTED


def write_some(fd: int, data: bytes | memoryview, offset: int) -> int:
    """Store some of `data`, at least one byte, so that a loop over it comes to an end."""
    stored = os.pwrite(fd, data, offset)
    if stored == 0:
        raise OSError(errno.EIO, "the system stores nothing and gives no reason")
    return stored


def sync_data(fd: int) -> None:
    """What was written is on the disk, with no more of what the file system knows than reading it needs. OSError."""
    if sys.platform == "darwin":
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)  # fsync there leaves the data in the drive's cache
        return
    try:
        os.fdatasync(fd)
    except OSError as error:
        if error.errno not in ERRNO_NOT_SUPPORTED:
            raise
        os.fsync(fd)  # no sync was tried yet: this file system has none for data alone


def core_count() -> int:
    """How many processors this process may use; 1 where the system does not tell."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
