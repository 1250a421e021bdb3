"""A scratch file: bytes that one job keeps beside the data file while it runs, because memory is too small for them.

Invariants:
- it has no name once it is made, so nothing of it is left behind, however its process ends;
- what read() returns is what append() was given: the reader compares checksums, since a disk may lie;
- its errors are no harm to the data file: NoSpaceError and FileError, and the job that wanted it ends;
- one piece at most is on its way: whoever appends goes on with the next while a thread stores this one, and hears of
  an error with the next call.
"""

import errno
import fcntl
import os
from threading import Thread
from typing import Final, Protocol

from lsmcli.engine import storage_errors
from lsmcli.engine.errors import FileError, NoSpaceError

_DESCRIPTOR_MIN: Final = 3  # a stray print to a closed standard stream must not reach the data


class Scratch(Protocol):
    """What an external sort asks of a scratch file. Offsets and sizes are in bytes."""

    def append(self, data: bytes) -> int:
        """Stores all of `data` at the end, and returns where. Raises NoSpaceError, FileError: of this call or of
        the one before."""

    def read(self, offset: int, size: int) -> bytes:
        """The bytes that were stored there; fewer when the disk lost some. Raises FileError."""

    def close(self) -> None:
        """Gives the space back. Safe to call twice."""


class ScratchFile:
    """A Scratch in the folder of the data file, where there is room for as much as that. `name` is for messages."""

    __slots__ = ("_error", "_fd", "_name", "_size", "_under_way")

    def __init__(self, directory: str, name: str) -> None:
        path = os.path.join(directory, f".lsmcli-{os.urandom(8).hex()}.tmp")
        self._fd = -1
        self._name = name
        self._size = 0  # of all that was appended, the piece that is under way included
        self._under_way: Thread | None = None
        self._error: OSError | None = None  # of a piece that could not be stored
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
        """As Scratch.append; returns before `data` is stored."""
        self._settle()
        offset = self._size
        self._size += len(data)
        thread = Thread(target=self._store, args=(data, offset), daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no more threads
            self._store(data, offset)
        else:
            self._under_way = thread
        return offset

    def _store(self, data: bytes, offset: int) -> None:
        """In the thread: stores all of it, while the interpreter's lock is free. Keeps an error for _settle()."""
        view = memoryview(data)
        stored = 0
        try:
            while stored < len(view):
                count = os.pwrite(self._fd, view[stored:], offset + stored)
                if count == 0:
                    raise OSError(errno.EIO, "the system stores nothing and gives no reason")
                stored += count
        except OSError as error:
            self._error = error

    def _settle(self) -> None:
        """Waits until nothing is under way. Raises NoSpaceError, FileError when some of it could not be stored."""
        if self._under_way is not None:
            self._under_way.join()
            self._under_way = None
        if self._error is not None:
            raise self._failed(self._error, "written") from self._error

    def read(self, offset: int, size: int) -> bytes:
        """As Scratch.read."""
        self._settle()
        try:
            data = os.pread(self._fd, size, offset)
            while 0 < len(data) < size and (more := os.pread(self._fd, size - len(data), offset + len(data))):
                data += more
        except OSError as error:
            raise self._failed(error, "read") from error
        return data

    def close(self) -> None:
        """As Scratch.close."""
        if self._under_way is not None:
            self._under_way.join()  # the number of a descriptor that is in use must not become another file's
            self._under_way = None
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _failed(self, error: OSError, what: str) -> FileError:
        if error.errno in storage_errors.ERRNO_NO_SPACE:
            return NoSpaceError(
                f"{self._name}: no space left for a temporary file beside it; free some, or allow more memory"
            )
        return FileError(f"{self._name}: a temporary file beside it cannot be {what}: {error.strerror}; check the disk")
