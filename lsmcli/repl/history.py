"""The lines that were typed for one data file, kept for the next shell.

A file for each data file in the state folder of the user, one entry per record: `+` before each of its lines.

Invariants:
- nobody else may read it (mode 0600), however it was before;
- an entry is in it once, where it was typed last; a line that begins with a space is not kept;
- a history that cannot be read or written is no error: the shell goes on without.
"""

import hashlib
import os
import stat
from collections.abc import Iterable
from typing import Final

from prompt_toolkit.history import History

from lsmcli.repl.settings import folder

ENTRIES_MAX: Final = 10_000
SIZE_MAX: Final = 16 << 20


def history_path(path_data: str) -> str:
    """Where the history of a data file is kept: its name, for people, and a hash of its whole path."""
    path = os.path.realpath(path_data)
    mark = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    name = "".join(c if c.isalnum() or c in "._-" else "_" for c in os.path.basename(path))[:64]
    return os.path.join(folder("XDG_STATE_HOME", "~/.local/state"), "history", f"{name}.{mark}")


def entries_of(data: bytes) -> list[str]:
    """The entries of a history file, oldest first, each once."""
    entries: dict[str, None] = {}
    lines: list[str] = []
    for line in [*data.decode("utf-8", "surrogateescape").split("\n"), ""]:
        if line.startswith("+"):
            lines.append(line[1:])
        elif lines:
            text = "\n".join(lines)
            entries.pop(text, None)
            entries[text] = None
            lines = []
    return list(entries)[-ENTRIES_MAX:]


def record_of(text: str) -> bytes:
    """One entry as it stands in the file."""
    return b"".join(b"+" + line.encode("utf-8", "surrogateescape") + b"\n" for line in text.split("\n")) + b"\n"


class FileHistory(History):
    """The history of prompt_toolkit over a file."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def load_history_strings(self) -> Iterable[str]:
        """The entries, newest first."""
        try:
            with open(self._path, "rb") as stream:
                if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                    return []
                data = stream.read(SIZE_MAX)
        except OSError:
            return []
        entries = entries_of(data)
        records = b"".join(map(record_of, entries))
        if len(records) < len(data) // 2:
            self._write(records, truncate=True)
        return reversed(entries)

    def append_string(self, string: str) -> None:
        """Keep an entry, unless it begins with a space or is the last one again."""
        if string.startswith(" ") or not string.strip():
            return
        before = self.get_strings()
        if before and before[-1] == string:
            return
        super().append_string(string)

    def store_string(self, string: str) -> None:
        self._write(record_of(string), truncate=False)

    def _write(self, data: bytes, *, truncate: bool) -> None:
        """Write to the file, made private first."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (os.O_TRUNC if truncate else os.O_APPEND)
        try:
            os.makedirs(os.path.dirname(self._path) or ".", mode=0o700, exist_ok=True)
            descriptor = os.open(self._path, flags, 0o600)
            try:
                found = os.fstat(descriptor)
                if stat.S_ISREG(found.st_mode) and found.st_mode & 0o077:
                    os.fchmod(descriptor, 0o600)
                os.write(descriptor, data)
            finally:
                os.close(descriptor)
        except OSError:
            pass  # the line is still in the memory of this shell
