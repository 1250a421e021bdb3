"""The writer's lock of a data file: one byte of the lock sector, held by the operating system for one open file.

Invariant: the lock ends with the handle that took it, or with its process, whatever that dies of.
"""

import errno
import fcntl
import os
import struct
import sys
from typing import Final

from lsmcli.engine.constants import LOCK_OFFSET

ERRNO_LOCK_BUSY: Final = frozenset({errno.EAGAIN, errno.EACCES, errno.EWOULDBLOCK})

# struct flock: type, whence, start, length, pid; "0q" pads its end as the C compiler does.
FLOCK: Final = struct.Struct("hhqqi0q")


def set_lock(fd: int, *, held: bool) -> None:
    """Take or give up the writer's lock; OSError with one of ERRNO_LOCK_BUSY when another open file has it.

    An open-file-description lock on one byte of the lock sector: unlike a classic record lock it keeps
    out a second open in this process, and is not lost when any other descriptor of the file is closed.
    """
    command = getattr(fcntl, "F_OFD_SETLK", None)
    if command is not None and sys.platform == "linux":
        kind = fcntl.F_WRLCK if held else fcntl.F_UNLCK
        try:
            fcntl.fcntl(fd, command, FLOCK.pack(kind, os.SEEK_SET, LOCK_OFFSET, 1, 0))
            return
        except OSError as error:
            if error.errno != errno.EINVAL:  # a kernel before 3.15
                raise
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB if held else fcntl.LOCK_UN)
