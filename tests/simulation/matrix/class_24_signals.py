"""Class 24: signals at any point, outputs that cannot be written.

Injects: Ctrl-C (KeyboardInterrupt) before and behind every system call that a command makes on its file, in this
process, and that a handle makes which is used further; SIGINT, SIGTERM, SIGHUP, SIGTSTP with SIGCONT, SIGKILL to
processes of commands, imports and scripts at random times; the same, Ctrl-C and the end of its terminal to the shell;
SIGXFSZ; a full device, a closed pipe and a descriptor that cannot be written to as standard output and standard error.

Must hold: an op happened or it did not, and a command that says 0 did all of it; the file is sound, and open to the
next writer; exit codes 130 and 143, or those of the signal; nothing is written to standard error but one line. Output
that is lost is a failure: 5 for a device, 141 for a pipe, silently.

Cases: each call of each of the COMMANDS, before and behind it; REAL signals to processes; each command that prints
with each output; the shell, struck in each way; LIMITS processes whose files may not grow.
"""

import io
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final
from unittest import mock

import lsmcli
from lsmcli.cli import main
from lsmcli.engine.database import Database
from lsmcli.engine.errors import OutcomeUnknownError
from tests.simulation.process_signals import STRIKES, limit_file_size, strike_shell
from tests.testing.invocation import environment, invoke, no_syncs, streams
from tests.testing.trial import Trial

CASES: Final = 1_000
SLICES: Final = 2
SHARE: Final = 0.5
REAL: Final = 12
LIMITS: Final = 3

State = dict[str, dict[bytes, bytes]]

CALLS: Final = (
    "open", "close", "pread", "pwrite", "fdatasync", "fsync", "fstat", "stat", "ftruncate", "posix_fallocate", "link",
    "unlink",
)  # fmt: skip
ROWS: Final = b"".join(b"row%04d\t%s\n" % (number, b"v" * 40) for number in range(300))
SCRIPT: Final = b"put a new\ndelete b\nput c 3 d 4\nput e 5\nput f 6\n"

COMMANDS: Final[tuple[tuple[str, tuple[str, ...], bytes], ...]] = (
    ("", ("put", "a", "new", "c", "3"), b""),
    ("", ("delete", "a", "b"), b""),
    ("", ("import", "--format", "tsv"), ROWS),
    ("", ("exec", "--atomic"), SCRIPT),
    ("", ("tree", "create", "users"), b""),
    ("", ("tree", "drop", "-y", "old"), b""),
    ("", ("compact",), b""),
    ("", ("scope", "begin"), b""),
    ("scope", ("put", "a", "in scope"), b""),
    ("scope", ("scope", "persist"), b""),
    ("scope", ("scope", "discard"), b""),
    ("missing", ("put", "a", "1"), b""),
    ("missing", ("import", "--format", "tsv"), ROWS),
    ("", ("scan",), b""),
    ("", ("verify",), b""),
)

PRINTING: Final = (
    ["get", "a"], ["get", "--raw", "a"], ["get", "--json", "a"], ["scan"], ["scan", "--json"], ["scan", "-0"],
    ["count"], ["scan", "--keys-only"], ["export"], ["export", "--format", "jsonl"], ["stats"], ["tree", "list"],
    ["--help"], ["verify", "--json"], ["inspect", "superblock"], ["inspect-levels"], ["scope", "status"],
    ["put", "--help"],
)  # fmt: skip


def run(trial: Trial) -> None:
    """Interrupts at calls, then outputs that fail, then real signals."""
    with no_syncs():
        for kind, words, stdin in COMMANDS:
            _at_every_call(trial, kind, words, stdin)
        _one_handle(trial)
        _outputs(trial)
    for _ in range(REAL):
        if trial.begin("a signal to a process"):
            _real(trial, trial.rng_case())
    for how in STRIKES:
        if trial.begin(f"a shell on a terminal: {how}"):
            ended = strike_shell(_folder(trial), how, trial.rng_case())
            trial.mark(f"a shell was struck, and its import {ended}")
    for number in range(LIMITS):
        if trial.begin("a process whose files may not grow"):
            limit_file_size(_folder(trial), number)


def _folder(trial: Trial) -> Path:
    folder = trial.directory / f"case{trial.case}"
    folder.mkdir()
    return folder


# --- an interrupt at every call ---------------------------------------------------------------------------------------


class _Interrupts:
    """Counts the system calls of the program, and raises at one of them. at: its number, from 0; none below 0."""

    def __init__(self, at: int, *, behind: bool) -> None:
        self.at = at
        self.behind = behind
        self.calls: list[str] = []

    def wrapped(self, name: str) -> Callable[..., Any]:
        """The call of this name, counted."""
        call = getattr(os, name)

        def counted(*arguments: Any, **options: Any) -> Any:
            if threading.current_thread() is not threading.main_thread():
                return call(*arguments, **options)  # no signal reaches a sync that runs beside
            self.calls.append(name)
            if len(self.calls) - 1 != self.at:
                return call(*arguments, **options)
            if self.behind or name == "close":  # a descriptor that stayed open would be a leak of this test
                call(*arguments, **options)
            raise KeyboardInterrupt

        return counted


@contextmanager
def _interrupted(at: int, *, behind: bool = False) -> Iterator[_Interrupts]:
    interrupts = _Interrupts(at, behind=behind)
    with ExitStack() as stack:
        for name in CALLS:
            stack.enter_context(mock.patch.object(os, name, interrupts.wrapped(name)))
        yield interrupts


def _at_every_call(trial: Trial, kind: str, words: tuple[str, ...], stdin: bytes) -> None:
    path = trial.directory / "t.lsm"
    image = _image(trial.directory, kind)
    command = [str(path), *words]
    _put_back(path, image)
    before = _state(path)
    with _interrupted(-1) as interrupts:
        done = invoke(command, stdin)
    assert done.code == 0, done
    after = _state(path)
    for at, name in enumerate(interrupts.calls):
        for behind in (False, True):
            place = "behind" if behind else "before"
            if not trial.begin(f"{' '.join(words)}: interrupted {place} call {at}, {name}", sampled=True):
                continue
            _put_back(path, image)
            with _interrupted(at, behind=behind) as met:
                outcome = invoke(command, stdin)
            assert len(met.calls) > at, "the call was not made: a run is not the same each time"
            assert outcome.code in (0, 130), outcome
            assert b"Traceback" not in outcome.err, outcome
            state = _state(path)
            assert state in (before, after), "a part of it happened"
            assert outcome.code or state == after, "it says that all is done"
            trial.mark(f"interrupted, and {'done' if state == after else 'undone'}")
            _assert_usable(path, verify=trial.rng_case().random() < 0.2)
            _assert_clean(trial.directory, may_stay=name in ("open", "unlink"))


def _image(folder: Path, kind: str) -> bytes | None:
    """The file that a command begins with."""
    if kind == "missing":
        return None
    path = folder / "image.lsm"
    path.unlink(missing_ok=True)
    with lsmcli.open(path, "n", block_size=4096) as database:
        database.put_many([(b"a", b"old"), (b"b", b"2"), *((b"k%03d" % number, b"v" * 50) for number in range(200))])
        database.create_tree("old")[b"x"] = b"y"
    if kind == "scope":
        assert invoke([str(path), "scope", "begin"]).code == 0
        assert invoke([str(path), "put", "s", "1"]).code == 0
    return path.read_bytes()


def _put_back(path: Path, image: bytes | None) -> None:
    path.unlink(missing_ok=True)  # a new file each time: no lock of an interrupted command is on it
    if image is not None:
        path.write_bytes(image)


def _state(path: Path) -> State:
    """All entries of all trees, in the scope and outside of it; nothing for a file that is not there, or is empty."""
    found: State = {}
    if not path.exists():
        return found
    for committed in (False, True):
        with lsmcli.open(path, "r", committed=committed) as database:
            for name in database.trees():
                found[f"{name} {committed}"] = dict(database.tree(name).scan())
            status = database.scope_status()
            found[f"scope {committed}"] = {} if status is None else {b"open": b""}
    del found["scope True"]
    if not any(found.values()) and found.keys() == {"main False", "main True", "scope False"}:
        return {}  # created, and nothing stored in it: as good as missing
    return found


def _assert_usable(path: Path, *, verify: bool) -> None:
    """The next writer finds nothing in its way."""
    with lsmcli.open(path, "c") as database:
        database.put(b"after", b"an interrupt")
        assert database.get(b"after") == b"an interrupt"
    if verify:
        assert invoke([str(path), "verify"]).code == 0


def _assert_clean(folder: Path, *, may_stay: bool) -> None:
    """No temporary file is left. may_stay: nobody knew of it yet, or its removal is what was interrupted."""
    left = [name for name in os.listdir(folder) if name.endswith(".tmp")]
    assert may_stay or not left, left
    for name in left:
        (folder / name).unlink()


# --- a handle that goes on --------------------------------------------------------------------------------------------

_MANY: Final = [(b"many%03d" % number, b"v" * 60) for number in range(200)]

OPERATIONS: Final[tuple[Callable[[Database], object], ...]] = (
    lambda database: database.put(b"a", b"1"),
    lambda database: database.put_many(_MANY),
    lambda database: database.delete(b"a"),
    lambda database: database.scope_begin(),
    lambda database: database.put_many((key, b"in scope") for key, _ in _MANY[::2]),
    lambda database: database.scope_persist(),
    lambda database: database.checkpoint(),
    lambda database: database.put_many((key + b"x", value) for key, value in _MANY),
    lambda database: database.compact(),
    lambda database: database.put(b"z", b"2"),
)


def _one_handle(trial: Trial) -> None:
    """A program catches the interrupt and goes on: the handle answers what the file holds, or is given up."""
    path = trial.directory / "handle.lsm"
    states = [{b"before": b"1"}]
    calls = 0
    with _handle(path) as database:
        for operation in OPERATIONS:
            with _interrupted(-1) as interrupts:
                operation(database)
            calls += len(interrupts.calls)
            states.append(dict(database.scan()))
    for at in range(calls):
        for behind in (False, True):
            if trial.begin(f"a handle, interrupted {'behind' if behind else 'before'} call {at}", sampled=True):
                _go_on(trial, path, at, states, behind=behind)


def _handle(path: Path) -> Database:
    path.unlink(missing_ok=True)
    database = lsmcli.open(path, "n", block_size=4096, memory_size=4096)
    database.put(b"before", b"1")
    return database


def _go_on(trial: Trial, path: Path, at: int, states: list[dict[bytes, bytes]], *, behind: bool) -> None:
    rng = trial.rng_case()
    database = _handle(path)
    done = 0
    try:
        with _interrupted(at, behind=behind):
            for operation in OPERATIONS:
                operation(database)
                done += 1
    except KeyboardInterrupt:
        trial.mark("a handle, interrupted in a change")
    possible = states[done : done + 2]
    try:
        held = dict(database.scan())
        assert held in possible, "a part of it happened"
        if rng.random() < 0.5:
            database.put(b"more", b"1")
            held[b"more"] = b"1"
        else:
            database.sync()
        possible = [held]
    except OutcomeUnknownError:
        trial.mark("a handle, given up")
    database.close()
    with lsmcli.open(path, "r", committed=False) as again:
        assert dict(again.scan()) in possible, "the file holds something else than the handle said"
    _assert_usable(path, verify=rng.random() < 0.2)


# --- outputs that fail ------------------------------------------------------------------------------------------------


def _outputs(trial: Trial) -> None:
    path = trial.directory / "out.lsm"
    with lsmcli.open(path, "n") as database:
        database.put_many([(b"a", b"1"), *((b"k%05d" % number, b"value") for number in range(3000))])
    image = path.read_bytes()
    for words in PRINTING:
        for name, code in (("full device", 5), ("closed pipe", 141), ("read-only descriptor", 5)):
            if trial.begin(f"{' '.join(words)} to a {name}"):
                err = io.BytesIO()
                with _broken(name) as out, streams(io.BytesIO(), out, err):
                    found = main([str(path), *words])
                lines = err.getvalue().splitlines()
                assert found == code, (found, lines)
                assert len(lines) <= (0 if code == 141 else 2), lines
                assert path.read_bytes() == image
                trial.mark(f"{name} at {words[0]}")
    for words in (["get", "absent"], ["get", "a"], ["nonsense"], ["put", "a", "2"]):
        for name in ("full device", "closed pipe"):
            if trial.begin(f"{' '.join(words)} with standard error to a {name}"):
                outcome = invoke([str(path), *words])
                with _broken(name) as err_broken, streams(io.BytesIO(), io.BytesIO(), err_broken):
                    found = main([str(path), *words])
                assert found != 0 or outcome.code == 0, "a failure became a success"


@contextmanager
def _broken(name: str) -> Iterator[BinaryIO]:
    """An output that fails."""
    if name == "full device":
        descriptor = os.open("/dev/full", os.O_WRONLY)
    elif name == "read-only descriptor":
        descriptor = os.open(os.devnull, os.O_RDONLY)
    else:
        reader, descriptor = os.pipe()
        os.close(reader)
    raw = io.FileIO(descriptor, "w", closefd=False)
    try:
        yield io.BufferedWriter(raw)
    finally:
        raw.close()
        os.close(descriptor)


# --- real signals -----------------------------------------------------------------------------------------------------

PIPE_SIZE: Final = 65_536

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL, signal.SIGTSTP)
CODES: Final = {
    signal.SIGINT: {130, -signal.SIGINT},
    signal.SIGTERM: {143, -signal.SIGTERM},
    signal.SIGHUP: {129, -signal.SIGHUP},
    signal.SIGKILL: {-signal.SIGKILL},
    signal.SIGTSTP: {0},
}


def _real(trial: Trial, rng: random.Random) -> None:
    """A process that stores much, and a signal at some time; what the file holds was promised."""
    folder = _folder(trial)
    path = folder / "t.lsm"
    with lsmcli.open(path, "n", block_size=4096) as database:
        database.put(b"a", b"before")
    rows = b"".join(b"row%06d\t%s\n" % (number, b"v" * 40) for number in range(20_000))
    script = b"# nothing\n" * (PIPE_SIZE // 10 + 1) + b"".join(b"put row%06d v\n" % number for number in range(1_000))
    words, stdin = rng.choice(
        ((["import", "--format", "tsv"], rows), (["exec"], script), (["exec", "--atomic"], script))
    )
    number = rng.choice(SIGNALS)
    child = subprocess.Popen(
        [sys.executable, "-m", "lsmcli", str(path), *words], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, env=environment(), restore_signals=True,
    )  # fmt: skip
    assert child.stdin is not None and child.stderr is not None

    def strike() -> None:
        child.send_signal(number)
        if number == signal.SIGTSTP:  # and on before more is written: stopped it reads nothing, and the pipe is full
            time.sleep(0.02)
            child.send_signal(signal.SIGCONT)

    _feed(child.stdin, stdin, rng, strike)
    code = child.wait(60)
    errors = child.stderr.read()
    child.stderr.close()
    assert code in CODES[number] | {0}, (code, number, errors)  # 0: it had done all by then
    assert b"Traceback" not in errors, errors
    with lsmcli.open(path, "w") as database:
        found = dict(database.scan())
    assert found.pop(b"a") == b"before"
    total = stdin.count(b"row")
    keys = sorted(found)
    assert keys == [b"row%06d" % each for each in range(len(keys))], "a row is missing between others"
    if words != ["exec"]:
        assert len(keys) in (0, total), "a part of what is all or nothing"
    assert code != 0 or len(keys) == total
    assert invoke([str(path), "verify"]).code == 0
    trial.mark(
        f"{number.name} in {' '.join(words)}: {'all' if len(keys) == total else 'a part' if keys else 'nothing'}"
    )


def _feed(stream: Any, data: bytes, rng: random.Random, strike: Callable[[], None]) -> None:
    """Writes the input; the signal comes at some byte of it, or behind it.

    Not before more is written than a pipe holds: then the program is up and reads, and not the interpreter alone.
    """
    at = rng.randrange(PIPE_SIZE + 1, len(data) * 2)
    try:
        stream.write(data[:at])
        stream.flush()
        if at < len(data):
            strike()
        stream.write(data[at:])
        stream.close()
    except BrokenPipeError:
        pass  # it is gone already
    if at >= len(data):
        time.sleep(rng.random() * 0.2)
        strike()
