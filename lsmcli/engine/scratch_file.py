"""A scratch file: bytes that one job keeps beside the data file while it runs, because memory is too small for them.

Invariants:
- it has no name once it is made, so nothing of it is left behind, however its process ends;
- what read() returns is what append() was given: the reader compares checksums, since a disk may lie;
- its errors are no harm to the data file: NoSpaceError and FileError, and the job that wanted it ends.
"""

import errno
import fcntl
import os
from typing import Final, Protocol

from lsmcli.engine import storage_errors
from lsmcli.engine.errors import FileError, NoSpaceError

_DESCRIPTOR_MIN: Final = 3  # a stray print to a closed standard stream must not reach the data


class Scratch(Protocol):
    """What an external sort asks of a scratch file. Offsets and sizes are in bytes."""

    def append(self, data: bytes) -> int:
        """Stores all of `data` at the end, and returns where. Raises NoSpaceError, FileError."""

    def read(self, offset: int, size: int) -> bytes:
        """The bytes that were stored there; fewer when the disk lost some. Raises FileError."""

    def close(self) -> None:
        """Gives the space back. Safe to call twice."""


class ScratchFile:
    """A Scratch in the folder of the data file, where there is room for as much as that. `name` is for messages."""

    __slots__ = ("_fd", "_name", "_size")

    def __init__(self, directory: str, name: str) -> None:
        path = os.path.join(directory, f".lsmcli-{os.urandom(8).hex()}.tmp")
        self._fd = -1
        self._name = name
        self._size = 0
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                os.unlink(path)
                self._fd = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _DESCRIPTOR_MIN)
            finally:
                os.close(fd)
        except OSError as error:
            raise self._failed(error, "made") from error

    def append(self, data: bytes) -> int:
        """As Scratch.append."""
        offset = self._size
        view = memoryview(data)
        stored = 0
        try:
            while stored < len(view):
                count = os.pwrite(self._fd, view[stored:], offset + stored)
                if count == 0:
                    raise OSError(errno.EIO, "the system stores nothing and gives no reason")
                stored += count
        except OSError as error:
            raise self._failed(error, "written") from error
        self._size += stored
        return offset

    def read(self, offset: int, size: int) -> bytes:
        """As Scratch.read."""
        try:
            data = os.pread(self._fd, size, offset)
            while 0 < len(data) < size and (more := os.pread(self._fd, size - len(data), offset + len(data))):
                data += more
        except OSError as error:
            raise self._failed(error, "read") from error
        return data

    def close(self) -> None:
        """As Scratch.close."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _failed(self, error: OSError, what: str) -> FileError:
        if error.errno in storage_errors.ERRNO_NO_SPACE:
            return NoSpaceError(
                f"{self._name}: no space left for a temporary file beside it; free some, or allow more memory"
            )
        return FileError(f"{self._name}: a temporary file beside it cannot be {what}: {error.strerror}; check the disk")
