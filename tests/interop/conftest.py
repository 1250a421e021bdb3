"""The other side of each round trip: real tools, found or installed by `make test-interop`.

A tool that is absent skips its tests and says so. With LSMCLI_INTEROP=1 in the environment it fails them instead:
that is how continuous integration makes sure that they were run.
"""

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import pytest

import lsmcli
from lsmcli.engine.constants import TREE_NAME_MAIN

Pairs = list[tuple[bytes, bytes]]

# In order of keys: every byte alone and in company, empty values, invalid UTF-8, and what a format could trip over.
BINARY: Pairs = sorted(
    {
        **{bytes([byte]): bytes([byte]) for byte in range(256)},
        **{b"pair" + bytes([byte, 255 - byte]): bytes([byte]) * byte for byte in range(256)},
        b"every byte": bytes(range(256)) * 3,
        b"empty": b"",
        b"\n\n": b"\n",
        b"\r\n": b"\r\n\r\n",
        b"a\\b": b"\\5c\\\\\\x41",
        b" blanks ": b"  both ends  ",
        b"\xff\xfe\xc3": b"\xc3\x28 is no UTF-8",
        "naïve ☃".encode(): "😀".encode(),
        b"a ==> b": b" ==> ",
        b"DATA=END": b"DATA=END\nVERSION=3\n",
        b"Keys in range: 7": b"Keys in range: 8",
        b"+1,1:a->b": b"->",
        b'"quoted", "twice"': b'"""\t,;',
        b"'; DROP TABLE kv; --": b"x'00'",
        b"*1\r\n$4\r\nPING\r\n": b"$-1\r\n",
        b"k" * 500: b"v" * 200_000,
        b"large": random.Random(7).randbytes(100_000),
    }.items()
)

# What text formats carry as it is: no NUL, and valid UTF-8; line ends, quotes, tabs and backslashes all the same.
TEXT: Pairs = sorted(
    {
        b"plain": b"text",
        b"empty": b"",
        b"quote": b'say "hi"',
        b"lines": b"one\ntwo\r\nthree\n",
        b"tab": b"a\tb",
        b"comma": b",a,,b,",
        b"backslash": b"\\n \\t \\\\ \\x41",
        b"blank": b"  both ends  ",
        b"apostrophe": b"it's",
        "naïve".encode(): "☃ 😀".encode(),
        b"key, with a comma": b"1",
        b'key "quoted"': b"2",
        b"key\nof two lines": b"3",
        **{b"many/%05d" % number: b"value %d" % (number * number) for number in range(3000)},
    }.items()
)


def many(count: int, seed: int = 1) -> Pairs:
    """Random rows in the order of their keys."""
    rng = random.Random(seed)
    return sorted(
        {rng.randbytes(rng.randrange(1, 40)): rng.randbytes(rng.randrange(200)) for _ in range(count)}.items()
    )


def absent(what: str) -> NoReturn:
    """Skip the test, or fail it where everything has to be there."""
    if os.environ.get("LSMCLI_INTEROP") == "1":
        pytest.fail(f"{what} is not installed, and LSMCLI_INTEROP=1 asks for it: make test-interop", pytrace=False)
    pytest.skip(f"{what} is not installed: make test-interop")


class Tool:
    """A program of others, run in a directory of the test. Whatever it says on standard error is an error."""

    def __init__(self, path: str, cwd: Path) -> None:
        self.path = path
        self.cwd = cwd

    def __call__(self, *words: str | Path, stdin: bytes | None = None, quiet: bool = True) -> bytes:
        """Its standard output. quiet: nothing is expected on standard error."""
        done = subprocess.run(
            [self.path, *map(str, words)], cwd=self.cwd, input=stdin, capture_output=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        if quiet:
            assert done.stderr == b""
        return done.stdout


@pytest.fixture
def tool(tmp_path: Path) -> Callable[[str], Tool]:
    """A program by its name."""

    def found(name: str) -> Tool:
        path = shutil.which(name)
        return Tool(path, tmp_path) if path else absent(name)

    return found


@pytest.fixture
def module() -> Callable[[str], ModuleType]:
    """A library by its name."""

    def found(name: str) -> ModuleType:
        try:
            return import_module(name)
        except ImportError:
            absent(name)

    return found


class Ours:
    """Our side, as a user has it: the command line. Databases are new for each step."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._steps = 0

    def export(
        self, pairs: Pairs, dest: str, *, name: str, encoding: str | None = None, tree: str = TREE_NAME_MAIN
    ) -> Path:
        """A file that we export, of a database that holds the pairs. A tree of a name is exported with its name."""
        path = self._new_database()
        with lsmcli.open(path) as database:
            keyspace = database.tree(tree) if tree == TREE_NAME_MAIN else database.create_tree(tree)
            keyspace.put_many(pairs)
        options = [] if encoding is None else ["--encoding", encoding]
        self._lsmcli(path, "export", dest, "--format", name, *options, *(["--all-trees"] if tree != "main" else []))
        return self.directory / dest

    def imported(self, source: Path | bytes, *, name: str, tree: str = TREE_NAME_MAIN) -> Pairs:
        """The pairs of a database into which we imported a file, in the order of their keys."""
        if isinstance(source, bytes):
            file = self.directory / "source"
            file.write_bytes(source)
        else:
            file = source
        path = self._new_database()
        self._lsmcli(path, "import", str(file), "--format", name)
        with lsmcli.open(path, "r") as database:
            return list(database.tree(tree).scan())

    def _new_database(self) -> Path:
        self._steps += 1
        return self.directory / f"{self._steps}.lsm"

    def _lsmcli(self, path: Path, *words: str) -> None:
        command = [sys.executable, "-m", "lsmcli", str(path), *words]
        done = subprocess.run(command, cwd=self.directory, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout == ""


@pytest.fixture
def ours(tmp_path: Path) -> Ours:
    """Our side, in the directory of the test."""
    return Ours(tmp_path)


def lines_of_dump(dump: bytes) -> Sequence[bytes]:
    """The data lines of flat text, found in another way than our reader does it."""
    return dump.partition(b"HEADER=END\n")[2].removesuffix(b"DATA=END\n").splitlines(keepends=True)
