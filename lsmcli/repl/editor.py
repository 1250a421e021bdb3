"""A text in the editor of the user: a private file with the text, the editor, the text that was saved.

Invariants:
- the file is in a folder of its own, both for the user alone, and gone afterwards, with what the editor put beside it;
- a text that was not saved is not taken: leaving the editor without saving runs nothing;
- the editor is started with a list of arguments, never through a shell.
"""

import os
import shlex
import subprocess
import tempfile
from typing import Final

from lsmcli.commands.files import file_error
from lsmcli.engine.constants import MIB
from lsmcli.engine.errors import StateError
from lsmcli.formats.esc import safe_text

VARIABLES: Final = ("VISUAL", "EDITOR")
TEXT_SIZE_MAX: Final = 16 * MIB


def editor_words() -> list[str]:
    """The editor of the environment and its first arguments. StateError if none is named."""
    for name in VARIABLES:
        text = os.environ.get(name, "").strip()
        if text:
            try:
                return shlex.split(text)
            except ValueError as error:
                raise StateError(f"${name}: {str(error).lower()}: {safe_text(text)}") from None
    raise StateError("no editor is named: set VISUAL or EDITOR in the environment, such as EDITOR=vi")


def edited(text: str) -> str | None:
    """The text as the user saved it, None if it was not saved.

    Raises StateError if there is no editor, if it fails, or if it leaves more than TEXT_SIZE_MAX bytes; FileError.
    """
    words = editor_words()
    with tempfile.TemporaryDirectory(prefix="lsmcli-", ignore_cleanup_errors=True) as folder:
        path = os.path.join(folder, "lines.txt")
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with open(descriptor, "wb") as stream:
                stream.write(text.encode("utf-8", "surrogateescape"))
            os.utime(path, ns=(0, 0))  # so that saving shows, however coarse the clock of the file system is
            run_editor([*words, path])
            with open(path, "rb") as stream:
                saved = os.fstat(stream.fileno()).st_mtime_ns != 0
                data = stream.read(TEXT_SIZE_MAX + 1)
        except OSError as error:
            raise file_error(error.filename or path, error) from None
    if len(data) > TEXT_SIZE_MAX:
        raise StateError(f"the editor left more than {TEXT_SIZE_MAX // MIB} MiB: make it a script, and `source` that")
    return data.decode("utf-8", "surrogateescape") if saved else None


def run_editor(words: list[str]) -> None:
    """Run the editor to its end. StateError if it fails; OSError if it cannot be started."""
    with subprocess.Popen(words) as process:
        while True:
            try:
                code = process.wait()
                break
            except KeyboardInterrupt:
                continue  # it is the editor's
    if code:
        raise StateError(f"{safe_text(words[0])} ended with the exit code {code}: nothing of the text runs")
