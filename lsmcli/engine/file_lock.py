"""The locks of a data file: one byte for the writer, one for the pins of readers.

Invariants:
- a lock belongs to one open of the file, ends with the process at the latest, and is not lost when
  another descriptor of the same file is closed: so never a classic record lock;
- the two bytes never conflict: a pin keeps no writer out, and a writer no reader;
- a pin is a courtesy: where the system has no locks on ranges of an open file, there are none.

    lock sector   byte 0   writer   exclusive, one at a time
                  byte 1   pins     shared, any number of readers; the writer asks whether there is one

Open-file-description locks where there are such (Linux from 3.15 on), else flock on the whole file, which has no
ranges. The two do not see each other, so that all programs on one machine take the same choice.
"""

import errno
import fcntl
import os
import struct
import sys
from typing import Final

from lsmcli.engine.constants import LOCK_OFFSET

ERRNO_LOCK_BUSY: Final = frozenset({errno.EAGAIN, errno.EACCES, errno.EWOULDBLOCK})

PIN_OFFSET: Final = LOCK_OFFSET + 1

# struct flock: type, whence, start, length, pid; "0q" pads its end as the C compiler does.
_FLOCK: Final = struct.Struct("hhqqi0q")


def set_lock(fd: int, *, held: bool) -> None:
    """Take or give up the writer's lock; OSError with one of ERRNO_LOCK_BUSY when another open file has it."""
    if _has_ranges():
        try:
            _set_range(fd, LOCK_OFFSET, fcntl.F_WRLCK if held else fcntl.F_UNLCK)
            return
        except OSError as error:
            if error.errno != errno.EINVAL:  # a kernel before 3.15
                raise
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB if held else fcntl.LOCK_UN)


def set_pin(fd: int, *, held: bool) -> bool:
    """Take or give up a pin; whether that was possible. Never waits: a pin conflicts with nothing."""
    if not _has_ranges():
        return False
    try:
        _set_range(fd, PIN_OFFSET, fcntl.F_RDLCK if held else fcntl.F_UNLCK)
    except OSError:
        return False  # no locks on this file system: the reader does without, as it can
    return True


def others_pin(fd: int) -> bool:
    """Whether any other open of the file holds a pin now. One system call."""
    if not _has_ranges():
        return False
    question = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, PIN_OFFSET, 1, 0)
    try:
        answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, question)
    except OSError:
        return False  # who cannot ask for a pin cannot hold one either
    kind: int = _FLOCK.unpack(answer)[0]
    return kind != fcntl.F_UNLCK


def _has_ranges() -> bool:
    return sys.platform == "linux" and hasattr(fcntl, "F_OFD_SETLK")


def _set_range(fd: int, offset: int, kind: int) -> None:
    fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, offset, 1, 0))
