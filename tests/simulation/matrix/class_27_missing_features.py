"""Class 27: what a kernel or a file system does not have.

Injects: for each system call of the storage that has a substitute, and for the locks, the refusals that systems give
when they lack it: ENOSYS, EOPNOTSUPP, EINVAL, EPERM, ENOLCK; a Python whose modules lack the names; and file systems
that other computers share, or that are layered, or in memory.

Must hold: without space reserved ahead, links, hints, syncs of directories, syncs of data alone, or locks on ranges,
everything works as it does with them: the same entries, a sound file, one writer at a time, a new file that appears
only when it is complete. A file system without any locks is refused, in one line that says so. What has no substitute
(a sync that fails) is an error, never passed over. A network file system is refused, in one line, unless --network
says otherwise; readers need not say it.

Cases: each refusal of each call under each of the COMMANDS; each file system, with and without --network; and two
writers with each kind of lock.
"""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final
from unittest import mock

import lsmcli
from lsmcli.engine import file_system
from lsmcli.engine.errors import LockedError
from tests.testing.invocation import invoke, one_line
from tests.testing.trial import Trial

CASES: Final = 113
ROUNDS: Final = 1

ROWS: Final = b"".join(b"row%04d\t%s\n" % (number, b"v" * 90) for number in range(2000))
COMMANDS: Final = (["put", "a", "1"], ["import", "--format", "tsv"], ["exec"])
SCRIPT: Final = b"put a 1\nscope begin\nput b 2\nscope persist\ncompact\n"

# The call, what it may be refused with, and whether there is a way without it.
FEATURES: Final[tuple[tuple[str, tuple[int, ...], bool], ...]] = (
    ("posix_fallocate", (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL), True),
    ("posix_fadvise", (errno.ENOSYS, errno.EINVAL, errno.ESPIPE), True),
    ("link", (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS), True),
    ("directory sync", (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS), True),
    ("fdatasync", (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP), True),
    ("range lock", (errno.EINVAL,), True),
    ("range lock", (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP), False),
    ("any lock", (errno.ENOLCK, errno.EOPNOTSUPP), False),
    ("any sync", (errno.EINVAL, errno.ENOSYS, errno.EIO), False),
)
# A line of mountinfo from the type on, and whether it is a network file system.
FILE_SYSTEMS: Final = (
    (b"nfs4 server:/home rw,vers=4.2", True), (b"nfs server:/home rw", True), (b"cifs //server/share rw", True),
    (b"smb3 //server/share rw", True), (b"fuse.sshfs ada@server: rw", True), (b"9p 10.0.0.1 rw,trans=tcp", True),
    (b"9p host rw,trans=virtio", False), (b"fuse.gocryptfs home rw", False), (b"tmpfs tmpfs rw", False),
    (b"overlay overlay rw,lowerdir=a,upperdir=b", False), (b"btrfs disk rw", False),
)  # fmt: skip
NAMES: Final = (("os", "posix_fadvise"), ("fcntl", "F_OFD_SETLK"))


def run(trial: Trial) -> None:
    """Each feature, missing in each way, under each command; then the locks."""
    for name, refusals, has_substitute in FEATURES:
        for number in refusals:
            for words in COMMANDS:
                if trial.begin(f"no {name} ({errno.errorcode[number]}): {words[0]}"):
                    with _without(name, number):
                        if has_substitute:
                            _works(trial, words)
                        else:
                            _refused(trial, words, name)
    for module, name in NAMES:
        for words in COMMANDS:
            if trial.begin(f"no {module}.{name}: {words[0]}"):
                with _nameless(module, name):
                    _works(trial, words)
    for line_end, is_network in FILE_SYSTEMS:
        for words in COMMANDS:
            if trial.begin(f"on {line_end.decode()}: {words[0]}"):
                with _mounted(trial, line_end):
                    if is_network:
                        _refused_on_network(trial, words)
                    else:
                        _works(trial, words)
    for name in ("", "range lock"):
        if trial.begin(f"two writers, without {name or 'nothing'}"):
            with _without(name, errno.EINVAL):
                _two_writers(trial.directory / f"{trial.case}.lsm")


@contextmanager
def _without(name: str, number: int) -> Iterator[None]:
    """Calls of this kind are refused."""

    def refuse(*arguments: Any, **options: Any) -> Any:
        raise OSError(number, os.strerror(number))

    real_fsync, real_fcntl = os.fsync, fcntl.fcntl

    def fsync_of_files(fd: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{fd}"):
            refuse()
        real_fsync(fd)

    def fcntl_without_ranges(fd: int, command: int, *arguments: Any) -> Any:
        if command in (fcntl.F_OFD_SETLK, fcntl.F_OFD_GETLK):
            refuse()
        return real_fcntl(fd, command, *arguments)

    kinds: dict[str, dict[str, Any]] = {
        "": {},
        "posix_fallocate": {"os.posix_fallocate": refuse},
        "posix_fadvise": {"os.posix_fadvise": refuse},
        "link": {"os.link": refuse},
        "fdatasync": {"os.fdatasync": refuse},
        "directory sync": {"os.fsync": fsync_of_files},
        "range lock": {"fcntl.fcntl": fcntl_without_ranges},
        "any lock": {"fcntl.fcntl": fcntl_without_ranges, "fcntl.flock": refuse},
        "any sync": {"os.fdatasync": refuse, "os.fsync": refuse},
    }
    with ExitStack() as stack:
        for target, substitute in kinds[name].items():
            stack.enter_context(mock.patch(target, substitute))
        yield


@contextmanager
def _nameless(module: str, name: str) -> Iterator[None]:
    """A Python that was built without this name."""
    owner = {"os": os, "fcntl": fcntl}[module]
    value = getattr(owner, name)
    delattr(owner, name)
    try:
        yield
    finally:
        setattr(owner, name, value)


@contextmanager
def _mounted(trial: Trial, line_end: bytes) -> Iterator[None]:
    """The folder of the trial is on this file system, says the kernel."""
    mounts = trial.directory / "mounts"
    mounts.write_bytes(b"25 22 0:52 / / rw,relatime - %s\n" % line_end)
    with (
        mock.patch.object(file_system, "MOUNTS", str(mounts)),
        mock.patch.object(file_system, "on_block_device", lambda _path: False),
    ):
        yield


def _refused_on_network(trial: Trial, words: list[str]) -> None:
    """Until it is told to go on; then anybody may read."""
    path = trial.directory / f"{trial.case}.lsm"
    outcome = _run(path, words)
    assert outcome.code == 5 and b"network file system" in outcome.err, outcome
    assert not path.exists()
    outcome = invoke(["--network", str(path), *words], ROWS if words[0] == "import" else SCRIPT)
    assert outcome.code == 0, outcome
    with lsmcli.open(path, "r") as database:
        assert dict(database.scan()) == _expected(words)
    assert invoke([str(path), "verify"]).code == 0


def _run(path: Path, words: list[str]) -> Any:
    return invoke([str(path), *words], ROWS if words[0] == "import" else SCRIPT)


def _expected(words: list[str]) -> dict[bytes, bytes]:
    if words[0] == "import":
        return {line.split(b"\t")[0]: line.split(b"\t")[1] for line in ROWS.splitlines()}
    return {b"a": b"1"} if words[0] == "put" else {b"a": b"1", b"b": b"2"}


def _works(trial: Trial, words: list[str]) -> None:
    """On a new file, and on one that is there."""
    path = trial.directory / f"{trial.case}.lsm"
    for _ in range(2):
        outcome = _run(path, words)
        assert outcome.code == 0, outcome
        with lsmcli.open(path, "r") as database:
            assert dict(database.scan()) == _expected(words)
    assert invoke([str(path), "verify"]).code == 0
    assert not [name for name in os.listdir(trial.directory) if name.endswith(".tmp")]


def _refused(trial: Trial, words: list[str], name: str) -> None:
    """On a file that is there: it stays as it was; a new one is at most empty."""
    path = trial.directory / f"{trial.case}.lsm"
    outcome = _run(path, words)
    assert outcome.code == 5, outcome
    text = outcome.err.decode()
    assert "Traceback" not in text and text.count("\n") <= 2, outcome
    if words[0] != "exec":
        one_line(outcome)
    assert ("cannot be locked" in text) == (name != "any sync"), text
    if path.exists():
        with lsmcli.open(path, "r") as database:
            assert dict(database.scan()) == {}
    assert not [left for left in os.listdir(trial.directory) if left.endswith(".tmp")]


def _two_writers(path: Path) -> None:
    with lsmcli.open(path) as first:
        first.put(b"a", b"1")
        try:
            lsmcli.open(path, "w", wait_s=0.0)
        except LockedError as error:
            assert error.pid == os.getpid()
        else:
            raise AssertionError("two writers at once")
        first.put(b"b", b"2")
    with lsmcli.open(path, "w") as second:
        assert dict(second.scan()) == {b"a": b"1", b"b": b"2"}
