"""The name of a data file: what it leads to, and how a complete file gets it.

Invariants:
- a file appears under its name only when it is complete; until then it has another, in the same folder;
- a name that is taken stays with the file that has it, unless it is to be replaced;
- no descriptor below 3 is given out: a stray print to a closed standard stream must not reach the data.
"""

import errno
import fcntl
import os
from typing import Final

from lsmcli.engine.errors import FileError
from lsmcli.engine.storage_errors import ERRNO_NOT_SUPPORTED

ERRNO_LINK_NOT_SUPPORTED: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS})


def resolve(name: str) -> str:
    """The path without symbolic links. FileError when the name can be none of a file."""
    try:
        path = os.path.realpath(name)
        os.fsencode(path)
    except (OSError, ValueError) as error:
        raise FileError(f"{name!r} cannot name a file: {error}; choose another name") from error
    if not name or "\0" in name:
        raise FileError(f"{name!r} cannot name a file; choose another name")
    return path


def above_standard_streams(fd: int) -> int:
    """The same open file under a descriptor above 2; a lower `fd` is closed."""
    if fd > 2:
        return fd
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        os.close(fd)


def sync_directory(path: str) -> None:
    """Make the directory entry of `path` durable."""
    fd = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in ERRNO_NOT_SUPPORTED:  # some file systems keep directories in step by themselves
            raise
    finally:
        os.close(fd)


def create_exclusive(path: str) -> int:
    """A new file, for reading and writing; FileExistsError when the name is taken, also by a dangling link."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    return above_standard_streams(os.open(path, flags, 0o600))


def publish(temporary: str, path: str) -> None:
    """Give a complete file its name; FileExistsError when that is taken.

    Where there are no hard links an empty file takes the name first, and is replaced by a rename. A
    crash in between leaves it: an empty file, which no one takes for a data file.
    """
    try:
        os.link(temporary, path)
        return
    except OSError as error:
        if error.errno not in ERRNO_LINK_NOT_SUPPORTED:
            raise
    os.close(create_exclusive(path))
    try:
        os.rename(temporary, path)
    except OSError:
        unlink_if_there(path)
        raise


def replace(temporary: str, path: str) -> None:
    """Give a complete file its name, in place of the one that has it."""
    os.rename(temporary, path)


def unlink_if_there(path: str) -> None:
    """Removes a temporary file, if it can be."""
    try:
        os.unlink(path)
    except OSError:
        return  # gone already, or the disk refuses: a stray temporary file does no harm
