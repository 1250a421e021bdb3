"""Files beside the data file: values and rows that come in, exports that go out.

The only file of the command line that opens files. Invariants:
- an export replaces its destination whole, or leaves it as it was: temporary file, sync, rename;
- neither side is ever the data file itself;
- every refusal of the operating system is a FileError that names the file.
"""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from lsmcli.engine.constants import VALUE_SIZE_MAX
from lsmcli.engine.errors import FileError, LimitError, NoSpaceError, StateError
from lsmcli.formats.esc import safe_text

_NO_SPACE = frozenset({"ENOSPC", "EDQUOT", "EFBIG"})


def file_error(path: str, error: OSError) -> FileError:
    """The typed error for what the operating system said about a file beside the data file."""
    import errno

    kind = NoSpaceError if errno.errorcode.get(error.errno or 0) in _NO_SPACE else FileError
    return kind(f"{safe_text(path)}: {(error.strerror or str(error)).lower()}")


def standard_input() -> BinaryIO:
    """The bytes of standard input; FileError when it is closed."""
    if sys.stdin is None:
        raise FileError("there is no standard input here: name a file instead of -, or give a here-document")
    return sys.stdin.buffer


def read_value(argument: str) -> bytes:
    """A whole value: of standard input for "-", else of the file whose path follows "@".

    Raises LimitError past the largest value, without reading on; FileError if it cannot be read.
    """
    name = "standard input" if argument == "-" else argument[1:]
    try:
        if argument == "-":
            data = standard_input().read(VALUE_SIZE_MAX + 1)
        else:
            with open(name, "rb") as stream:
                data = stream.read(VALUE_SIZE_MAX + 1)
    except OSError as error:
        raise file_error(name, error) from None
    if len(data) > VALUE_SIZE_MAX:
        raise LimitError(f"{safe_text(name)}: more than {VALUE_SIZE_MAX} bytes, the most that a value can hold")
    return data


def refuse_data_file(path: str, path_data: str) -> None:
    """Raise StateError if both paths are one file: reading or writing it as text would be a mistake."""
    try:
        same = os.path.samefile(path, path_data)
    except OSError:
        same = False
    if same:
        raise StateError(f"{safe_text(path)} is the data file itself: name another file")


@contextmanager
def source_opened(source: str) -> Iterator[tuple[BinaryIO, int | None]]:
    """The stream of a file, or of standard input for "-", and its size in bytes if that is known."""
    if source == "-":
        yield standard_input(), None
        return
    try:
        stream = open(source, "rb")  # noqa: SIM115 - an error inside the with block is not one of opening
    except OSError as error:
        raise file_error(source, error) from None
    with stream:
        yield stream, os.fstat(stream.fileno()).st_size or None


@contextmanager
def sink_opened(path: str) -> Iterator[BinaryIO]:
    """A file that is written as it goes, and replaces what was there; FileError if it cannot be."""
    try:
        stream = open(path, "wb")  # noqa: SIM115 - an error inside the with block is not one of opening
    except OSError as error:
        raise file_error(path, error) from None
    try:
        yield stream
    except BaseException:
        with suppress(OSError):  # what is under way says more
            stream.close()
        raise
    try:
        stream.close()
    except OSError as error:
        raise file_error(path, error) from None


def write_file(path: str, pieces: Iterable[bytes]) -> None:
    """Replace a file by the pieces, whole and durably; after an error it is as it was before.

    A destination that is no regular file, such as a pipe or /dev/stdout, is written as it goes.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        try:
            with open(path, "wb") as stream:
                stream.writelines(pieces)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise file_error(path, error) from None
        return
    target = os.path.realpath(path)  # a symbolic link stays one, its file is replaced
    folder = os.path.dirname(target)
    path_temporary = os.path.join(folder, f".{os.path.basename(target)[:200]}.{os.getpid()}.tmp")
    try:
        with open(path_temporary, "xb") as stream:
            stream.writelines(pieces)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(path_temporary, target)
        _sync_folder(folder)
    except BaseException as error:
        try:
            os.unlink(path_temporary)
        except OSError:
            pass  # it was renamed, or was never there
        if isinstance(error, OSError):
            raise file_error(path, error) from None
        raise


@contextmanager
def new_file(path: str, *, keep: bool = True) -> Iterator[str]:
    """A path beside `path` to make a file at; it gets its name when the block ends well, and goes away otherwise.

    keep: False for a file that goes away in any case.
    Raises StateError when something of that name is there already, which is never replaced.
    """
    if os.path.lexists(path):
        raise StateError(f"{safe_text(path)} is there already: name a file that is not")
    target = os.path.realpath(path)
    folder = os.path.dirname(target)
    if not os.path.isdir(folder):
        raise FileError(f"{safe_text(path)}: its folder is not there: make that first, or check the path")
    path_temporary = os.path.join(folder, f".{os.path.basename(target)[:200]}.{os.getpid()}.tmp")
    try:
        yield path_temporary
        if keep:
            os.rename(path_temporary, target)
            _sync_folder(folder)
    except OSError as error:
        raise file_error(path, error) from None
    finally:
        with suppress(OSError):  # it has its name, or was never there
            os.unlink(path_temporary)


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def discard_output() -> None:
    """Let what is still buffered for a broken output go nowhere, so that the end of the process cannot fail on it."""
    if sys.stdout is None:
        return
    try:
        descriptor = os.open(os.devnull, os.O_WRONLY)
        os.dup2(descriptor, sys.stdout.fileno())
        os.close(descriptor)
    except (OSError, ValueError):
        pass  # no descriptor behind it: nothing will be flushed at the end either
