"""Class 26: files that are none, names that lead elsewhere, rights that are missing, standard streams that are closed.

Injects: as the data file, and as the source and destination of imports and exports, a symbolic link, a chain of them,
a link to nothing, a loop, a hard link, a pipe, a device, a directory, a socket, an empty file, text, a file of
another owner, a directory that may not be written to, a read-only file system; a umask of 0 and of 0o777; and each
subset of the descriptors 0, 1, 2 closed.

Must hold: a link is followed to its file, and stays a link; what is no regular file is refused at once, in one line,
and not changed; a new file is its owner's alone, whatever the umask; no data file is opened on a descriptor below 3, so
that no message can land in it; nothing hangs.

Cases: each of the ODD things with each of the COMMANDS, the rest as a table.
"""

import errno
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from unittest import mock

import lsmcli
from tests.testing.invocation import Outcome, environment, invoke, no_syncs, one_line
from tests.testing.trial import Trial

CASES: Final = 120
ROUNDS: Final = 1

NOBODY: Final = 65_534
SECONDS_MAX: Final = 60

COMMANDS: Final = (
    ["get", "a"], ["put", "a", "new"], ["scan"], ["delete", "a"], ["verify"], ["import"], ["export"], ["compact"],
    ["scope", "begin"],
)  # fmt: skip
READING: Final = ("get", "scan", "verify", "export")


def run(trial: Trial) -> None:
    """All of the tables."""
    with no_syncs():
        for odd in ODD:
            for words in COMMANDS:
                if trial.begin(f"{odd.__name__[1:]}: {' '.join(words)}"):
                    odd(_folder(trial), words)
        for name, check in _beside(trial):
            if trial.begin(name):
                check()
        for words in COMMANDS:
            if trial.begin(f"no rights: {' '.join(words)}"):
                _no_rights(_folder(trial), words)
            if trial.begin(f"read-only file system: {' '.join(words)}"):
                _read_only_medium(_folder(trial), words)
        for umask in (0, 0o022, 0o077, 0o777):
            if trial.begin(f"umask {umask:o}"):
                _umask(_folder(trial), umask)
    for closed in range(1, 8):
        if trial.begin(f"descriptors {closed:03b} closed: where the data file is open"):
            _above_streams(_folder(trial), closed)
        for words in (["put", "a", "new"], ["get", "a"], ["get", "absent"], ["import"]):
            descriptors = [descriptor for descriptor in range(3) if closed >> descriptor & 1]
            if trial.begin(f"descriptors {descriptors} closed: {' '.join(words)}"):
                _closed(_folder(trial), descriptors, words)


def _folder(trial: Trial) -> Path:
    """A directory of its own for each case."""
    folder = trial.directory / f"{trial.case}"
    folder.mkdir()
    return folder


def _file(folder: Path) -> Path:
    path = folder / "t.lsm"
    with lsmcli.open(path, "n", block_size=4096) as database:
        database.put(b"a", b"1")
    return path


def _run(path: Path, words: list[str]) -> Outcome:
    return invoke([str(path), *words], b"row\tvalue\n")


def _refused(path: Path, words: list[str]) -> None:
    outcome = _run(path, words)
    assert outcome.code == 5, outcome
    assert outcome.out == b"", outcome
    assert path.name in one_line(outcome)


def _works(path: Path, words: list[str]) -> None:
    outcome = _run(path, words)
    assert outcome.code == 0, outcome
    with lsmcli.open(path, "r", committed=False) as database:
        expected = {"put": {b"a": b"new"}, "delete": {}, "import": {b"a": b"1", b"row": b"value"}}
        assert dict(database.scan()) == expected.get(words[0], {b"a": b"1"})


# --- odd things as the data file --------------------------------------------------------------------------------------


def _link(folder: Path, words: list[str]) -> None:
    """A chain of two links, the second one relative, in another directory."""
    path = _file(folder)
    (folder / "deep").mkdir()
    (folder / "deep" / "second").symlink_to("../t.lsm")
    (folder / "first").symlink_to(folder / "deep" / "second")
    _works(folder / "first", words)
    assert (folder / "first").is_symlink() and not path.is_symlink()
    assert sorted(os.listdir(folder)) == ["deep", "first", "t.lsm"]


def _dangling_link(folder: Path, words: list[str]) -> None:
    (folder / "link").symlink_to("missing.lsm")
    outcome = _run(folder / "link", words)
    creates = words[0] in ("put", "import", "scope")
    assert outcome.code == (0 if creates else 5), outcome
    assert (folder / "missing.lsm").exists() == creates
    assert (folder / "link").is_symlink()


def _loop(folder: Path, words: list[str]) -> None:
    (folder / "one").symlink_to("two")
    (folder / "two").symlink_to("one")
    _refused(folder / "one", words)
    assert (folder / "one").is_symlink() and (folder / "two").is_symlink()


def _hard_link(folder: Path, words: list[str]) -> None:
    path = _file(folder)
    os.link(path, folder / "other")
    _works(folder / "other", words)
    assert path.samefile(folder / "other")


def _pipe(folder: Path, words: list[str]) -> None:
    os.mkfifo(folder / "pipe")
    _refused(folder / "pipe", words)


def _directory(folder: Path, words: list[str]) -> None:
    (folder / "directory").mkdir()
    _refused(folder / "directory", words)
    assert os.listdir(folder / "directory") == []


def _socket(folder: Path, words: list[str]) -> None:
    before = Path.cwd()
    os.chdir(folder)  # the name of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind("socket")
            _refused(folder / "socket", words)
    finally:
        os.chdir(before)


def _device(folder: Path, words: list[str]) -> None:
    for name in ("null", "zero", "full"):
        _refused(Path("/dev") / name, words)
        assert stat.S_ISCHR(os.stat(f"/dev/{name}").st_mode)


def _below_a_file(folder: Path, words: list[str]) -> None:
    path = _file(folder)
    before = path.read_bytes()
    _refused(path / "x.lsm", words)
    assert path.read_bytes() == before


def _no_data_file(folder: Path, words: list[str]) -> None:
    for name, data in (("empty", b""), ("text", b"just text\n" * 9), ("zeros", bytes(1 << 20)), ("one", b"L")):
        path = folder / name
        path.write_bytes(data)
        outcome = _run(path, words)
        assert outcome.code in (4, 7), outcome
        assert path.read_bytes() == data


ODD: Final[tuple[Callable[[Path, list[str]], None], ...]] = (
    _link, _dangling_link, _loop, _hard_link, _pipe, _directory, _socket, _device, _below_a_file, _no_data_file,
)  # fmt: skip


# --- odd things beside the data file ----------------------------------------------------------------------------------


def _beside(trial: Trial) -> Iterator[tuple[str, Callable[[], None]]]:
    """Sources, destinations and values."""
    yield "the data file as a source", lambda: _itself(_folder(trial), "import")
    yield "the data file as a destination", lambda: _itself(_folder(trial), "export")
    for name, words in (("source", ["import"]), ("destination", ["export"]), ("value", ["put", "a"])):
        for kind in ("directory", "missing", "loop"):

            def check(words: list[str] = words, kind: str = kind) -> None:
                _odd_beside(_folder(trial), words, kind)

            yield f"{kind} as a {name}", check


def _itself(folder: Path, command: str) -> None:
    path = _file(folder)
    (folder / "link").symlink_to(path)
    os.link(path, folder / "hard")
    before = path.read_bytes()
    for name in ("t.lsm", "link", "hard", "./link"):
        outcome = invoke([str(path), command, f"{folder}/{name}"])
        assert outcome.code == 2, outcome
        assert "is the data file itself" in one_line(outcome)
        assert path.read_bytes() == before


def _odd_beside(folder: Path, words: list[str], kind: str) -> None:
    path = _file(folder)
    before = path.read_bytes()
    odd = folder / "odd"
    if kind == "directory":
        odd.mkdir()
    elif kind == "loop":
        odd.symlink_to("odd")
    name = f"{odd}/below/x" if kind == "missing" else str(odd)
    outcome = invoke([str(path), *words, f"@{name}" if words[0] == "put" else name])
    if kind == "loop" and words[0] == "export" and outcome.code == 0:
        assert odd.is_file()  # the loop was replaced, as any name of nothing is
        return
    assert outcome.code == 5, outcome
    assert "odd" in one_line(outcome)
    assert path.read_bytes() == before
    assert not [left for left in os.listdir(folder) if left.endswith(".tmp")]


# --- rights -----------------------------------------------------------------------------------------------------------


def _no_rights(folder: Path, words: list[str]) -> None:
    """As a user who may read the file, and not write to it nor to its directory; then as one who may do neither."""
    path = _file(folder)
    for mode in (0o444, 0):
        for parent in (folder, *folder.parents[:1]):
            parent.chmod(0o755)
        path.chmod(mode)
        code = _as_nobody(lambda: _run(path, words).code)
        assert code == (0 if mode and words[0] in READING else 5), (code, words, mode)
    folder.chmod(0o555)
    assert _as_nobody(lambda: _run(folder / "new.lsm", words).code) == 5
    assert os.listdir(folder) == ["t.lsm"]
    folder.chmod(0o755)


def _as_nobody(call: Callable[[], int]) -> int:
    """The result of a function in a child process that is nobody in particular."""

    def become_nobody() -> int:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        return call()

    return _in_child(become_nobody)


def _in_child(call: Callable[[], int]) -> int:
    child = os.fork()
    if child == 0:
        code = 99
        try:
            code = call()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _read_only_medium(folder: Path, words: list[str]) -> None:
    path = _file(folder)
    before = path.read_bytes()
    with _refusing_to_write(errno.EROFS):
        outcome = _run(path, words)
        assert outcome.code == (0 if words[0] in READING else 5), outcome
        if outcome.code:
            assert "read-only medium" in one_line(outcome)
        assert _run(folder / "new.lsm", words).code == 5
    assert path.read_bytes() == before
    assert os.listdir(folder) == ["t.lsm"]


@contextmanager
def _refusing_to_write(number: int) -> Iterator[None]:
    """Every open() for writing fails."""
    real = os.open

    def refuse(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR):
            raise OSError(number, os.strerror(number), path)
        return real(path, flags, *arguments, **options)

    with mock.patch("os.open", refuse):
        yield


def _umask(folder: Path, umask: int) -> None:
    path = folder / "t.lsm"
    before = os.umask(umask)
    try:
        outcome = invoke([str(path), "put", "a", "1"])
    finally:
        os.umask(before)
    assert outcome.code == 0, outcome
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 & ~umask
    if umask == 0:
        outcome = invoke([str(path), "export", str(folder / "out.tsv")])
        assert outcome.code == 0, outcome


# --- standard streams -------------------------------------------------------------------------------------------------


def _above_streams(folder: Path, closed: int) -> None:
    """In a child without these descriptors the data file is open on none of the three."""
    path = _file(folder)

    def open_both() -> int:
        for descriptor in range(3):
            if closed >> descriptor & 1:
                os.close(descriptor)
        for name, flag in ((path, "w"), (path, "r"), (folder / "new.lsm", "c")):
            with lsmcli.open(name, flag):  # type: ignore[arg-type]  # one of its words
                for descriptor in range(3):
                    link = f"/proc/self/fd/{descriptor}"
                    if os.path.lexists(link) and os.readlink(link).endswith(".lsm"):
                        return 1
        return 0

    assert _in_child(open_both) == 0


def _closed(folder: Path, descriptors: list[int], words: list[str]) -> None:
    path = _file(folder)
    before = path.read_bytes()

    def close() -> None:
        for descriptor in descriptors:
            os.close(descriptor)

    done = subprocess.run(
        [sys.executable, "-m", "lsmcli", str(path), *words], input=b"row\tvalue\n", capture_output=True, check=False,
        preexec_fn=close, env=environment(), timeout=SECONDS_MAX,
    )  # fmt: skip
    expected = 1 if words[-1] == "absent" else 0
    if words[0] == "import" and 0 in descriptors:
        expected = 5
    if words == ["get", "a"] and 1 in descriptors:
        expected = 5
    codes = {expected, 5} if words[-1] == "absent" and 1 in descriptors else {expected}
    assert done.returncode in codes, (done, descriptors)
    assert b"Traceback" not in done.stderr
    with lsmcli.open(path, "r") as database:
        found = dict(database.scan())
    if words[0] == "get" or done.returncode != 0:
        assert path.read_bytes() == before
    elif words[0] == "put":
        assert found == {b"a": b"new"}
    else:
        assert found == {b"a": b"1", b"row": b"value"}
    with lsmcli.open(path) as database:
        database.put(b"after", b"it")
    assert invoke([str(path), "verify"]).code == 0
