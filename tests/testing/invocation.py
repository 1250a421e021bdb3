"""The command line as a function, for classes of faults: many runs in this process, or many in one other process.

    invoke(words)          in this process; standard streams are the ones that are given, the exit code comes back
    run_batch(...)         command lines in one process of its own, which gets all their words as its arguments, so that
                           the system and the interpreter decode them, in the environment that is given

`python -m tests.testing.invocation FOLDER words... END words...` is that other process.
"""

import io
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple
from unittest import mock

import lsmcli
from lsmcli.cli import main

END: Final = b"; ;"  # between two command lines
PACKAGE: Final = Path(lsmcli.__file__).parent.parent


class Outcome(NamedTuple):
    """What one command line did."""

    code: int
    out: bytes
    err: bytes


class Screen(io.BytesIO):
    """What a command believes to be a terminal."""

    def isatty(self) -> bool:
        return True


@contextmanager
def streams(stdin: BinaryIO, out: BinaryIO, err: BinaryIO) -> Iterator[None]:
    """These are the standard streams, within the block."""
    before = sys.stdin, sys.stdout, sys.stderr
    wrapped = (
        io.TextIOWrapper(stdin),
        io.TextIOWrapper(out, encoding="utf-8", write_through=True),
        io.TextIOWrapper(err, encoding="utf-8", errors="backslashreplace", write_through=True),
    )
    sys.stdin, sys.stdout, sys.stderr = wrapped
    try:
        yield
    finally:
        sys.stdin, sys.stdout, sys.stderr = before
        for stream in wrapped:
            try:
                stream.detach()  # it would close what its owner still reads
            except OSError:
                continue  # a broken output, which is why it is tested


def invoke(words: Sequence[str], stdin: bytes = b"", *, terminal: bool = False) -> Outcome:
    """Runs one command line in this process. terminal: its two outputs are one."""
    out, err = (Screen(), Screen()) if terminal else (io.BytesIO(), io.BytesIO())
    with streams(io.BytesIO(stdin), out, err):
        code = main(words)
    return Outcome(code, out.getvalue(), err.getvalue())


@contextmanager
def no_syncs() -> Iterator[None]:
    """Nothing waits for the disk within the block: for what no power failure is part of, ten times as fast."""
    with mock.patch("os.fsync", lambda fd: None), mock.patch("os.fdatasync", lambda fd: None):
        yield


def one_line(outcome: Outcome) -> str:
    """The error that a failed command tells: one line, printable, no traceback."""
    text = outcome.err.decode()
    lines = text.splitlines()
    assert lines and lines[-1].startswith("Error: "), outcome
    assert all(line.startswith(("imported=", "not found: ")) for line in lines[:-1]), outcome
    assert all(line.isprintable() for line in lines), outcome
    assert "Traceback" not in text and "internal error" not in text, outcome
    return lines[-1]


def environment(**variables: str) -> dict[str, str]:
    """The environment of a process: what this one has, without what steers the program, and these."""
    prefixes = ("LSMCLI_", "LC_", "LANG", "NO_COLOR", "CLICOLOR", "FORCE_COLOR", "PYTHONUTF8", "PYTHONIOENCODING")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}
    return kept | {"PYTHONPATH": str(PACKAGE)} | variables


def run_batch(
    command_lines: Sequence[Sequence[bytes]], folder: Path, variables: Mapping[str, str] | None = None
) -> list[Outcome]:
    """Runs command lines, one after the other, in one process of its own; the outcome of each.

    folder: where that process works; what each prints is kept in a folder beside it. variables: its environment.
    """
    output = folder.with_name(folder.name + ".out")
    output.mkdir()
    arguments: list[bytes] = []
    for words in command_lines:
        arguments += [*words, END]
    command = [os.fsencode(sys.executable), b"-m", b"tests.testing.invocation", os.fsencode(output), *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment() if variables is None else dict(variables), stdin=subprocess.DEVNULL,
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done
    codes = [int(word) for word in done.stdout.split()]
    assert len(codes) == len(command_lines), done
    return [
        Outcome(code, (output / f"{index}.out").read_bytes(), (output / f"{index}.err").read_bytes())
        for index, code in enumerate(codes)
    ]


def _batch(output: str, words: Sequence[str]) -> None:
    """The other process: its own standard streams, as the interpreter made them, lead to files command by command."""
    stdout, end = os.dup(1), END.decode()
    codes: list[int] = []
    while words:
        cut = words.index(end)
        for descriptor, ending in ((1, "out"), (2, "err")):
            file = os.open(f"{output}/{len(codes)}.{ending}", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            os.dup2(file, descriptor)
            os.close(file)
        codes.append(main(words[:cut]))
        sys.stdout.flush()
        sys.stderr.flush()
        words = words[cut + 1 :]
    os.write(stdout, " ".join(map(str, codes)).encode())


if __name__ == "__main__":
    _batch(sys.argv[1], sys.argv[2:])
