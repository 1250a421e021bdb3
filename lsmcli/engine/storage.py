"""The only module of the engine that touches a file: reads, writes, syncs, space, creation and the writer's lock.

Invariants:
- a write either stores all its bytes in order or ends this handle's writing for good: after a failed
  write, truncate or sync nobody knows what the disk holds, so every later change raises
  OutcomeUnknownError. No sync is ever tried twice: a second one would report success over pages that
  the kernel has dropped. Reading goes on;
- a full disk that is found before a byte was stored changes nothing, and the handle stays usable;
- nothing is mapped into memory: a truncated or full file would kill the process with a signal;
- no descriptor below 3 is used: a stray print to a closed standard stream must not reach the data;
- the path is resolved once; a file that is replaced or removed under its path, or cut by another
  program, is noticed by check_identity.

The states of a FileStorage:

    open (reads only)  ----------------------------------------------------- close --> closed
    open (writable) ---- lock ----> writing ---- failed write or sync ----> poisoned --> closed
"""

import errno
import os
import stat
import time
from collections.abc import Callable
from typing import Final, NoReturn, Protocol

from lsmcli.engine import constants, file_name, lock_holder, storage_errors
from lsmcli.engine.errors import ClosedError, FileError, NoSpaceError, OutcomeUnknownError, ReadOnlyError
from lsmcli.engine.file_calls import core_count, sync_data, write_some
from lsmcli.engine.file_lock import ERRNO_LOCK_BUSY, others_pin, set_lock, set_pin
from lsmcli.engine.file_write import FileWriter
from lsmcli.engine.lock_holder import Writer
from lsmcli.engine.scratch_file import Scratch, ScratchFile
from lsmcli.engine.storage_errors import FileMissingError
from lsmcli.engine.sync_beside import SyncBeside

__all__ = ["FileMissingError", "FileStorage", "Storage", "Writer"]

ZEROS: Final = bytes(constants.MIB)
LOCK_POLL_S: Final = 0.02


class Storage(Protocol):
    """What the engine asks of a data file. Offsets and sizes are in bytes.

    FileStorage is the real one; tests bring one that crashes and lies. cores: how many threads may work for this
    handle at a time; 1 where there is only the one that calls.
    """

    cores: int

    def read(self, offset: int, size: int) -> bytes:
        """Exactly `size` bytes, fewer only where the file ends. FileError when the disk refuses twice.

        The caller has bounded `size`: that much memory is taken.
        """

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Store all of `data`, which may be lost at a power failure until the next sync.

        NoSpaceError when the disk is full, OutcomeUnknownError when it failed, ReadOnlyError.
        """

    def sync(self) -> None:
        """Everything written before is on disk when this returns; OutcomeUnknownError otherwise."""

    def sync_begin(self) -> bool:
        """Begin a sync of everything written before, beside the caller: once sync_ended() says so it is on disk.

        False, with nothing begun, as long as an earlier one is under way. When one fails the handle is given up, as
        after a failed sync(): OutcomeUnknownError, from here, from sync_ended() or from the next write.
        """

    def sync_ended(self) -> bool:
        """Whether nothing of a sync_begin() is under way any more; raises as sync_begin() does."""

    def size(self) -> int:
        """Length of the file now."""

    def allocate(self, size: int) -> None:
        """Make the file at least `size` long, with space for all of what is new, as zeros.

        NoSpaceError leaves the length as it was. The new length is durable after the next sync.
        """

    def truncate(self, size: int) -> None:
        """Cut the file to `size`, which is not more than it has."""

    def prefetch(self, offset: int, size: int) -> None:
        """Hint that this range is read soon; never fails."""

    def check_identity(self) -> None:
        """FileError, and no more writing, when the path does not name this file any more, or the file was cut."""

    def scratch(self) -> Scratch:
        """A new scratch file, on the same disk. NoSpaceError, FileError."""

    def set_pin(self, *, held: bool) -> bool:
        """Asks the writer, whoever it is, to leave unused what is given back from now on; or stops asking.

        Whether that is possible here: where it is not, a reader may be overtaken. Never waits.
        """

    def pinned(self) -> bool:
        """Whether another handle, of any process, holds a pin."""

    def close(self) -> None:
        """Give up lock, pin and file; a second close does nothing."""


class FileStorage(FileWriter):
    """A Storage over one descriptor of a regular file; made by open() or create().

    name is the path as the user gave it, for messages; path is the resolved one. bytes_written counts
    what write() stored. Reads may run in several threads at once; changes come from one.
    """

    __slots__ = ("_beside", "_lock_pid", "_poison", "_size_least", "cores", "name", "path", "writable")

    def __init__(self, fd: int, name: str, path: str, *, writable: bool) -> None:
        self._fd = fd
        self._lock_pid = 0  # the process that took the lock; 0: not locked
        self._poison = ""  # why nothing may be written any more
        self._beside = SyncBeside()
        self.cores = core_count()
        self._refuses = not writable
        self._size_least = 0  # a file shorter than this was cut by somebody else; known once it is locked
        self.name = name
        self.path = path
        self.writable = writable
        self.bytes_written = 0

    @classmethod
    def open(cls, name: str, *, writable: bool) -> "FileStorage":
        """Open the regular file at `name`; nothing is read, locked or changed.

        FileMissingError, FileError (not a regular file, no permission), ReadOnlyError (medium).
        """
        path = file_name.resolve(name)
        flags = (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY
        try:
            fd = file_name.above_standard_streams(os.open(path, flags))
        except OSError as error:
            raise storage_errors.open_error(error, name, path) from error
        try:
            mode = os.fstat(fd).st_mode
            os.set_blocking(fd, True)
        except OSError as error:
            os.close(fd)
            raise storage_errors.open_error(error, name, path) from error
        if not stat.S_ISREG(mode):
            os.close(fd)
            raise storage_errors.kind_error(name, mode)
        return cls(fd, name, path, writable=writable)

    @classmethod
    def create(cls, name: str, head: bytes) -> "FileStorage":
        """A new file that holds `head`, open for writing, not locked.

        It appears under its name only complete and synced; FileError when that name is taken. Another
        process may open it at once, so lock it and read it like any other file.
        NoSpaceError, FileError, ReadOnlyError: there is no new file. OutcomeUnknownError: there is one.
        """
        path = file_name.resolve(name)
        temporary = os.path.join(os.path.dirname(path), f".lsmcli-{os.urandom(8).hex()}.tmp")
        try:
            fd = file_name.create_exclusive(temporary)
        except OSError as error:
            raise storage_errors.create_error(error, name) from error
        storage = cls(fd, name, path, writable=True)
        complete = False
        try:
            storage.write(0, head)
            os.fsync(storage._fd)
            file_name.publish(temporary, path)
            complete = True
        except OSError as error:
            raise storage_errors.create_error(error, name) from error
        except NoSpaceError as error:
            raise NoSpaceError(f"{name}: no space left to create it; free some space and try again") from error
        except OutcomeUnknownError as error:
            raise FileError(f"{name} cannot be created: {storage._poison}; check the disk") from error
        finally:
            file_name.unlink_if_there(temporary)
            if not complete:
                storage.close()
        try:
            file_name.sync_directory(path)
        except OSError as error:
            storage.close()
            raise OutcomeUnknownError(
                f"{name} was created, but its directory cannot be synced ({error.strerror}); "
                "check the disk, then open it"
            ) from error
        return storage

    def read(self, offset: int, size: int) -> bytes:
        """As Storage.read; an I/O error is met with one more read, since some pass."""
        try:
            data = os.pread(self._fd, size, offset)
        except OSError as error:
            data = self._read_again(offset, size, error)
        while len(data) < size:  # the kernel reads at most 2 GiB at once
            more = self._read_some(offset + len(data), size - len(data))
            if not more:
                break
            data += more
        return data

    def _read_some(self, offset: int, size: int) -> bytes:
        try:
            return os.pread(self._fd, size, offset)
        except OSError as error:
            return self._read_again(offset, size, error)

    def _read_again(self, offset: int, size: int, error: OSError) -> bytes:
        if self._fd < 0:
            raise ClosedError(f"{self.name} is closed; open it again") from error
        if error.errno != errno.EIO:
            raise storage_errors.read_error(error, self.name, offset, size) from error
        try:
            return os.pread(self._fd, size, offset)
        except OSError as again:
            raise storage_errors.read_error(again, self.name, offset, size) from again

    def write_rest(self, offset: int, data: memoryview, stored: int) -> int:
        """As FileWriter.write_rest."""
        while stored < len(data):
            try:
                stored += write_some(self._fd, data[stored:], offset + stored)
            except OSError as error:
                self.write_failed(error, offset, stored)
        return stored

    def write_failed(self, error: OSError, offset: int, stored: int) -> NoReturn:
        """As FileWriter.write_failed."""
        if error.errno not in storage_errors.ERRNO_NO_SPACE:
            self._fail(f"a write at byte {offset} failed ({error.strerror})", error)
        advice = "try again"
        if stored:
            self._set_poison(f"the disk was full in the middle of a write at byte {offset}")
            advice = "open the file again"
        raise NoSpaceError(
            f"{self.name}: no space left for a write at byte {offset}; free some, then {advice}"
        ) from error

    def sync(self) -> None:
        """As Storage.sync: one attempt, behind one that is under way, whose error the kernel may tell only once."""
        self._beside.wait()
        if self._refuses:
            self.refuse()
        try:
            sync_data(self._fd)
        except OSError as error:
            self._fail(f"a sync failed ({error.strerror})", error)

    def sync_begin(self) -> bool:
        """As Storage.sync_begin."""
        if self._refuses:
            self.refuse()
        return self._beside.begin(self._sync_beside)

    def _sync_beside(self) -> None:
        try:
            sync_data(self._fd)
        except OSError as error:
            self._set_poison(f"a sync failed ({error.strerror})")

    def sync_ended(self) -> bool:
        """As Storage.sync_ended."""
        ended = self._beside.ended()
        if self._refuses:
            self.refuse()
        return ended

    def sync_with_directory(self) -> None:
        """Sync the file and its directory entry: what a dead process wrote counts only after this."""
        self.sync()
        try:
            file_name.sync_directory(self.path)
        except OSError as error:
            self._fail(f"a sync of its directory failed ({error.strerror})", error)

    def size(self) -> int:
        """As Storage.size."""
        if self._fd < 0:
            raise ClosedError(f"{self.name} is closed; open it again")
        try:
            return os.fstat(self._fd).st_size
        except OSError as error:
            raise FileError(f"{self.name}: its size cannot be read: {error.strerror}; check the disk") from error

    def allocate(self, size: int) -> None:
        """As Storage.allocate; where the file system cannot reserve, zeros are written."""
        if self._refuses:
            self.refuse()
        size_before = self._size_uncut()
        if size <= size_before:
            return
        try:
            try:
                os.posix_fallocate(self._fd, size_before, size - size_before)
            except OSError as error:
                if error.errno not in storage_errors.ERRNO_NOT_SUPPORTED:
                    raise
                self._write_zeros(size_before, size)
        except OSError as error:
            self._allocate_failed(error, size_before, size)
        self._size_least = size

    def _size_uncut(self) -> int:
        """size(); FileError, and no more writing, when another program has cut the file."""
        size = self.size()
        if size < self._size_least:
            self._lost(f"was cut to {size} bytes")
        return size

    def _write_zeros(self, begin: int, end: int) -> None:
        while begin < end:
            begin += write_some(self._fd, ZEROS[: end - begin], begin)

    def _allocate_failed(self, error: OSError, size_before: int, size: int) -> NoReturn:
        try:
            os.ftruncate(self._fd, size_before)  # a part may have been added
        except OSError as again:
            self._fail(f"growing it to {size} bytes failed, and so did going back ({again.strerror})", again)
        if error.errno in storage_errors.ERRNO_NO_SPACE:
            raise NoSpaceError(
                f"{self.name}: no space left to grow from {size_before} to {size} bytes; free some space and try again"
            ) from error
        self._fail(f"growing it to {size} bytes failed ({error.strerror})", error)

    def truncate(self, size: int) -> None:
        """As Storage.truncate."""
        if self._refuses:
            self.refuse()
        size_before = self._size_uncut()
        assert 0 <= size <= size_before, "truncate never grows a file: allocate does"
        self._size_least = min(self._size_least, size)
        try:
            os.ftruncate(self._fd, size)
        except OSError as error:
            self._fail(f"cutting it to {size} bytes failed ({error.strerror})", error)

    def prefetch(self, offset: int, size: int) -> None:
        """As Storage.prefetch; nothing where the system has no such hint."""
        if hasattr(os, "posix_fadvise"):
            try:
                os.posix_fadvise(self._fd, offset, size, os.POSIX_FADV_WILLNEED)
            except OSError:
                return  # a hint: the read itself will tell

    def scratch(self) -> Scratch:
        """As Storage.scratch."""
        return ScratchFile(os.path.dirname(self.path), self.name)

    def check_identity(self) -> None:
        """As Storage.check_identity; costs two system calls, so once per sync or command, not per put."""
        if self._fd < 0:
            raise ClosedError(f"{self.name} is closed; open it again")
        try:
            opened = os.fstat(self._fd)
            named = os.stat(self.path, follow_symlinks=False)
        except OSError:
            self._lost("was replaced, moved or removed")
        if opened.st_nlink == 0 or (opened.st_dev, opened.st_ino) != (named.st_dev, named.st_ino):
            self._lost("was replaced, moved or removed")
        if opened.st_size < self._size_least:
            self._lost(f"was cut to {opened.st_size} bytes")

    def _lost(self, event: str) -> NoReturn:
        """Another program took the file, or a part of it, away."""
        self._set_poison(f"the file {event} while it was open")
        raise FileError(
            f"{self.name} {event} while it was open; nothing more is written to it: put it back, then open it again"
        )

    def lock(self, wait_s: float, describe: Callable[[], Writer]) -> None:
        """Become the only writer, until close() or the end of this process, and leave a note saying who.

        While another writer holds the file this polls for up to `wait_s` seconds (0: one attempt; may be
        infinite), then raises LockedError, which names it. describe() is called once the lock is held.
        FileError: the file was replaced meanwhile, or its file system has no locks.
        """
        if self._refuses:
            self.refuse()
        assert not self._lock_pid, "one lock per handle"
        deadline_s = time.monotonic() + wait_s
        while not self._try_lock():
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                raise lock_holder.locked_error(self.name, self._read_holder())
            time.sleep(min(LOCK_POLL_S, left_s))
        self._lock_pid = os.getpid()
        self.check_identity()
        self._size_least = self.size()
        try:
            os.pwrite(self._fd, lock_holder.encode(describe()), constants.LOCK_OFFSET)
        except OSError:
            return  # the note is for people only; the lock is held, and a failing disk will show itself

    def _read_holder(self) -> Writer | None:
        try:
            return lock_holder.decode(self.read(constants.LOCK_OFFSET, constants.LOCK_SIZE))
        except FileError:
            return None  # the note cannot be read: "locked" is the news all the same

    def _try_lock(self) -> bool:
        try:
            set_lock(self._fd, held=True)
        except OSError as error:
            if error.errno in ERRNO_LOCK_BUSY:
                return False
            raise FileError(f"{self.name} cannot be locked: {error.strerror}; use a file system with locks") from error
        return True

    def set_pin(self, *, held: bool) -> bool:
        """As Storage.set_pin: a lock that the kernel drops when this process dies."""
        return self._fd >= 0 and set_pin(self._fd, held=held)

    def pinned(self) -> bool:
        """As Storage.pinned; one system call."""
        return others_pin(self._fd)

    def close(self) -> None:
        """As Storage.close; never raises. In a forked child the parent's lock stays."""
        if self._fd < 0:
            return
        self._beside.wait()
        fd, self._fd, self._refuses = self._fd, -1, True
        try:
            try:
                if self._lock_pid == os.getpid():
                    if not self._poison and os.fstat(fd).st_size >= constants.GRID_OFFSET:
                        # Without the note a file that was opened, and not changed, is what it was before.
                        os.pwrite(fd, bytes(constants.LOCK_SIZE), constants.LOCK_OFFSET)
                    # A child that was forked meanwhile shares the lock and would keep it past this close.
                    set_lock(fd, held=False)
            finally:
                os.close(fd)
        except OSError:
            return  # what had to be stored was synced before, with its errors reported there

    def refuse(self) -> NoReturn:
        """As FileWriter.refuse."""
        if self._fd < 0:
            raise ClosedError(f"{self.name} is closed; open it again")
        if self._poison:
            raise self._poisoned()
        raise ReadOnlyError(f"{self.name} is open for reading only; open it for writing")

    def unlink(self) -> None:
        """Removes the file's name, for a new file to take it."""
        os.unlink(self.path)

    def _set_poison(self, reason: str) -> None:
        self._poison = self._poison or reason
        self._refuses = True

    def _fail(self, reason: str, error: OSError) -> NoReturn:
        self._set_poison(reason)
        raise self._poisoned() from error

    def _poisoned(self) -> OutcomeUnknownError:
        return OutcomeUnknownError(
            f"{self.name}: {self._poison}: outcome unknown; reopen the file to learn what it holds"
        )
