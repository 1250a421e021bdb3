"""What the operating system's refusals mean here: error numbers become typed errors with advice.

Pure but for one lstat, which tells what a path names that could not be opened.

Invariants:
- every message names the file as the user did, says what was refused, and what to do next;
- a missing file, a full disk and a read-only medium have types of their own, since callers act on them.
"""

import errno
import os
import stat
from typing import Final

from lsmcli.engine.errors import FileError, NoSpaceError, ReadOnlyError

ERRNO_NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
ERRNO_NOT_SUPPORTED: Final = frozenset({errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL, errno.ENOSYS})


class FileMissingError(FileError):
    """There is no file at that path."""


def kind_error(name: str, mode: int) -> FileError:
    """`name` is something else than a regular file; `mode` is its st_mode."""
    kinds = {
        stat.S_IFDIR: "a directory",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFBLK: "a block device",
        stat.S_IFCHR: "a character device",
        stat.S_IFLNK: "a symbolic link",
    }
    kind = kinds.get(stat.S_IFMT(mode), "a special file")
    return FileError(f"{name} is {kind}, not a regular file; name a data file")


def open_error(error: OSError, name: str, path: str) -> FileError:
    """Opening `path`, the resolved form of `name`, was refused."""
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return FileMissingError(f"{name} does not exist; create it first, or check the path")
    if error.errno == errno.EROFS:
        return ReadOnlyError(f"{name} is on a read-only medium; open it for reading, or copy it elsewhere")
    if error.errno in (errno.EACCES, errno.EPERM):
        return FileError(f"{name}: permission denied; check its owner and mode")
    if error.errno in (errno.EISDIR, errno.ENXIO, errno.ENODEV, errno.ELOOP):
        try:
            mode = os.lstat(path).st_mode
        except OSError:
            mode = stat.S_IFREG
        if not stat.S_ISREG(mode):
            return kind_error(name, mode)
    return FileError(f"{name} cannot be opened: {error.strerror}; check the path and the disk")


def create_error(error: OSError, name: str) -> FileError:
    """Creating `name` was refused; there is no new file."""
    if error.errno == errno.EEXIST:
        return FileError(f"{name} exists already; choose another name, or remove it first")
    if error.errno in ERRNO_NO_SPACE:
        return NoSpaceError(f"{name}: no space left to create it; free some space and try again")
    if error.errno == errno.EROFS:
        return ReadOnlyError(f"{name} would be on a read-only medium; choose another place")
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return FileMissingError(f"{name}: its directory does not exist; create that first, or check the path")
    if error.errno in (errno.EACCES, errno.EPERM):
        return FileError(f"{name}: permission denied; check the owner and mode of its directory")
    return FileError(f"{name} cannot be created: {error.strerror}; check the path and the disk")


def read_error(error: OSError, name: str, offset: int, size: int) -> FileError:
    """A read was refused, twice where that is of use."""
    return FileError(
        f"{name}: {size} bytes at byte {offset} cannot be read: {error.strerror}; check the disk, then run verify"
    )
