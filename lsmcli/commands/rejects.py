"""Bad rows of an import: how many may be, and where they are kept.

neither option           the first bad row ends the import
--max-errors N           N bad rows are told on standard error, one more ends the import
--rejects FILE           bad rows go to FILE, each as a line of JSON with its place and the reason:
                         {"source": "a.csv", "line": 7, "column": 3, "reason": "...", "row": "its text"}
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import BinaryIO, Final

from lsmcli.commands.files import file_error, sink_opened
from lsmcli.formats import InputError
from lsmcli.formats.esc import safe_text
from lsmcli.session import Session

SHOWN_MAX: Final = 20  # bad rows that are told one by one, where no file takes them


class Rejects:
    """A context manager around an import; its `note` is what readers call for a bad row.

    count: bad rows so far. source: the name of the source that is read. Raises FileError if the file cannot be written.
    """

    def __init__(self, session: Session, errors_max: int | None, path: str | None) -> None:
        """errors_max: None for any number if there is a path, else for none."""
        self.count = 0
        self.source = ""
        self._session = session
        self._path = path
        self._errors_max = 0 if errors_max is None and path is None else errors_max
        self._opened: AbstractContextManager[BinaryIO | None] = nullcontext() if path is None else sink_opened(path)
        self._sink: BinaryIO | None = None

    def __enter__(self) -> "Rejects":
        self._sink = self._opened.__enter__()
        return self

    def __exit__(self, *outcome: object) -> None:
        self._opened.__exit__(*outcome)  # type: ignore[arg-type]  # passed through as it came

    def note(self, error: InputError, raw: bytes) -> None:
        """Keep a bad row, and raise its error if there are too many of them."""
        self.count += 1
        if self._sink is not None:
            with self._file_errors():
                self._sink.write(self._line(error, raw))
        if self._errors_max is not None and self.count > self._errors_max:
            raise error
        if self._sink is None and self.count <= SHOWN_MAX:
            self._session.message(f"rejected: {self.source}:{error.line}:{error.column}: {error.reason}")

    def keep(self) -> None:
        """Bring the bad rows into their file: what is stored afterwards has not lost them. FileError if that fails."""
        if self._sink is not None:
            with self._file_errors():
                self._sink.flush()

    @contextmanager
    def _file_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise file_error(self._path or "", error) from None

    def _line(self, error: InputError, raw: bytes) -> bytes:
        from lsmcli.commands.output import json_line

        row = {"source": self.source, "line": error.line, "column": error.column, "reason": error.reason, "row": raw}
        return json_line(row).encode() + b"\n"

    @property
    def where(self) -> str:
        """Where bad rows were kept, for a message."""
        return f", see {safe_text(self._path)}" if self._path else ""
