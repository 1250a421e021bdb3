# cython: language_level=3
"""The write of a storage: one system call for the bytes that an op puts behind the log.

    OpLog -- storage.write(offset, record) --> FileWriter -- pwrite() --> the file
                                                   |
                                                   '-- refused, failed, stored in part --> FileStorage

Invariants:
- what is not the plain case is not decided here: FileStorage says what a failure means, see there;
- a write is one call of the system; one that stores a part is gone on with from there, never begun anew;
- other threads run while the system writes.

Compiled where a C compiler was at hand, see docs/internals/hot_loops.md; times are of compiled code.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NoReturn

from lsmcli.engine import uncompiled as cython
from lsmcli.engine.uncompiled import PURE

if cython.compiled:
    import cython  # type: ignore[no-redef]  # seen by the compiler alone, for which it is no module
    from cython.cimports.cpython.bytes import PyBytes_AS_STRING
    from cython.cimports.libc.errno import errno
    from cython.cimports.posix.unistd import pwrite

COMPILED: Final = bool(cython.compiled)

_PWRITE: Final = os.pwrite


@cython.cclass
class FileWriter:
    """The part of a FileStorage that writes."""

    _fd = cython.declare(cython.Py_ssize_t, visibility="public")
    _refuses = cython.declare(cython.bint, visibility="public")  # one test on the path of each write
    bytes_written = cython.declare(cython.ulonglong, visibility="public")

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """As Storage.write; a full disk poisons the handle only if a part was stored already.

        0.1 µs beside the system's part, interpreted 0.3.
        """
        if self._refuses:
            self.refuse()
        if cython.compiled:
            # Whoever watches the system's calls, or fakes them, goes on seeing them.
            if type(data) is bytes and os.pwrite is _PWRITE:
                stored: cython.Py_ssize_t = _write(self._fd, data, offset)
                if stored < 0:
                    self.write_failed(OSError(-stored, os.strerror(-stored)), offset, 0)
            else:
                stored = self._write_any(offset, data)
        else:
            stored = self._write_any(offset, data)
        if stored != len(data):
            stored = self.write_rest(offset, memoryview(data).cast("B"), stored)
        self.bytes_written += stored

    def _write_any(self, offset: int, data: bytes | bytearray | memoryview) -> int:
        try:
            return os.pwrite(self._fd, data, offset)
        except OSError as error:
            self.write_failed(error, offset, 0)

    def refuse(self) -> NoReturn:
        """Says why nothing may be written."""
        raise OSError("this file is not open for writing")

    def write_rest(self, offset: int, data: memoryview, stored: int) -> int:
        """Goes on with a write that the system has done in part; returns len(data)."""
        raise OSError(f"{stored} bytes were stored, not {len(data)}")

    def write_failed(self, error: OSError, offset: int, stored: int) -> NoReturn:
        """Says what it means that a write failed behind so many bytes."""
        raise error


# Compiled only.


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _write(fd: cython.Py_ssize_t, data: bytes, offset: cython.Py_ssize_t) -> cython.Py_ssize_t:
    """Bytes stored, or the number of the error below 0."""
    start: cython.p_char = PyBytes_AS_STRING(data)
    size: cython.Py_ssize_t = len(data)
    stored: cython.Py_ssize_t
    with cython.nogil:  # type: ignore[attr-defined]  # while the system writes other threads run
        stored = pwrite(fd, start, size, offset)
        if stored < 0:
            stored = -errno
    return stored


if not (TYPE_CHECKING or COMPILED or PURE):
    # The compiled class takes the place of the one above; without it, on a machine where it was not built,
    # that one stays.
    with suppress(ImportError):
        from lsmcli.engine._file_write import FileWriter, COMPILED  # noqa: F401, I001
