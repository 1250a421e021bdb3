"""The command line as a function: words and standard input in, exit code and both outputs out.

`Lsm` runs it in this process, a few hundred times faster than a process of its own; `process` is the real thing,
for what only the operating system can show: signals, closed pipes, full devices.
"""

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from lsmcli.cli import main


class Result(NamedTuple):
    """What one command line did."""

    code: int
    out: bytes
    err: str


class Lsm:
    """`lsm("get", "a")` is `lsmcli FILE get a`."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        self._monkeypatch = monkeypatch

    def __call__(self, *words: str, stdin: bytes = b"") -> Result:
        return self.run(str(self.path), *words, stdin=stdin)

    def run(self, *words: str, stdin: bytes = b"", main: Callable[[tuple[str, ...]], int] = main) -> Result:
        """All words, FILE included; main: what runs them."""
        out, err = io.BytesIO(), io.BytesIO()
        with self._monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            patch.setattr(sys, "stdout", io.TextIOWrapper(out, encoding="utf-8", write_through=True))
            patch.setattr(sys, "stderr", io.TextIOWrapper(err, encoding="utf-8", errors="backslashreplace"))
            code = main(words)
            sys.stderr.flush()
            # The wrappers would close what is read below.
            sys.stdout.detach()  # type: ignore[union-attr]
            sys.stderr.detach()  # type: ignore[union-attr]
        return Result(code, out.getvalue(), err.getvalue().decode())

    def ok(self, *words: str, stdin: bytes = b"") -> bytes:
        """What a command prints that must succeed."""
        result = self(*words, stdin=stdin)
        assert result.code == 0, result
        return result.out

    def fails(self, code: int, *words: str, stdin: bytes = b"") -> str:
        """The one line of a command that must fail with this code, and print no data."""
        result = self(*words, stdin=stdin)
        assert result.code == code, result
        assert result.out == b"", result
        lines = result.err.splitlines()
        assert lines[-1].startswith("Error: "), result
        assert all(line.startswith("imported=") for line in lines[:-1]), result
        return lines[-1]


def process(*words: str, stdin: bytes = b"", **options: object) -> subprocess.CompletedProcess[bytes]:
    """The same in a process of its own."""
    command = [sys.executable, "-m", "lsmcli", *words]
    options.setdefault("stdout", subprocess.PIPE)
    return subprocess.run(command, input=stdin, stderr=subprocess.PIPE, check=False, **options)  # type: ignore[call-overload]
