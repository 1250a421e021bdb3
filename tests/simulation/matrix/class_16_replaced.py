"""Class 16: another program replaces, removes, renames or cuts the data file while it is open.

Injects, on real files, before every storage call of a few changes (puts that sync, a checkpoint, a compaction): the
file is removed; renamed; another data file is renamed over it, or a copy of itself; its name becomes a link; it is cut,
to nothing, within the log, or by some blocks.

Must hold: no op that begins behind the event is acknowledged, and every later change says so as well (fail-stop);
nothing is written to the file that has the name now; the file that was moved away, put back, holds every acknowledged
op. Of a file that was cut: the same, no signal, no wrong answer: what is not there any more is called damaged.

Cases: each event at calls drawn from the run, for every kind of change.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import lsmcli
from lsmcli.engine.database import Database
from lsmcli.engine.errors import DamageError, FileError, FormatError
from lsmcli.engine.opening import Flag
from lsmcli.engine.storage import FileStorage
from lsmcli.engine.verifier import verify
from tests.testing.trial import Trial

CASES: Final = 600
SLICES: Final = 2

CALLS: Final = ((os, "pwrite"), (FileStorage, "sync"), (FileStorage, "allocate"))
CALLS_COUNT: Final = 90  # fewer than the run has
PUTS: Final = 16
FLAGS: Final[tuple[Flag, ...]] = ("r", "w")
EVENTS_OF_NAME: Final = ("removed", "renamed", "another over it", "a copy over it", "a link")
CUTS: Final = (0, 4096, 20_000, 300_000, 520_000, -4096, -1)  # to this length; negative: so much shorter
CALLS_DRAWN: Final = 6  # for each event


class Session:
    """A writer and what it was told, with an event before the storage call of a number. wanted: what is acknowledged;
    maybe: that and the put that failed."""

    def __init__(self, path: Path, number: int, act: Callable[[], None]) -> None:
        self.database = lsmcli.open(path, "w", memory_size=2048, sync="commit")
        self.wanted = dict(self.database.scan())
        self.maybe = self.wanted
        self.happened = False
        self.failed = False
        self._left = number
        self._act = act

    def before_call(self) -> None:
        self._left -= 1
        if self._left < 0 and not self.happened:
            self.happened = True
            self._act()

    def change(self) -> Iterator[bool]:
        """Changes until one fails; for each acknowledged one, whether it began behind the event."""
        changes: list[Callable[[], object]] = [self.database.checkpoint, self.database.compact]
        for number in range(PUTS):
            key, value = b"key %02d" % (number % 25), b"new %d " % number * 30
            behind = self.happened
            self.maybe = self.wanted | {key: value}
            self.database.put(key, value)
            self.wanted = self.maybe
            yield behind
            if number % 4 == 3:
                behind = self.happened
                changes[number // 4 % 2]()
                yield behind

    def run(self) -> int:
        """Changes until one fails, or all are done; how many that began behind the event were acknowledged, until then
        as well."""
        acknowledged = 0
        originals = [(owner, name, getattr(owner, name)) for owner, name in CALLS]
        for owner, name, original in originals:
            setattr(owner, name, self._counted(original))
        try:
            for behind in self.change():
                acknowledged += behind
        except (FileError, DamageError):
            self.failed = True
        finally:
            for owner, name, original in originals:
                setattr(owner, name, original)
        return acknowledged

    def _counted(self, original: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object) -> object:
            self.before_call()
            return original(*arguments)

        return call


def run(trial: Trial) -> None:
    """Each event, at some calls."""
    template = trial.directory / "template.lsm"
    with lsmcli.open(template, "n", block_size=4096, growth_factor=2, memory_size=2048) as database:
        for number in range(40):
            database.put(b"key %02d" % (number % 25), b"%d " % number * 20)
        database.put(b"large", b"large" * 2000)
        database.checkpoint()
        database.put(b"key 01", b"in the log")
    rng = trial.rng()
    for event in EVENTS_OF_NAME:
        for number in rng.sample(range(CALLS_COUNT), CALLS_DRAWN):
            if trial.begin(f"{event}, before storage call {number}"):
                _renamed(trial, template, event, number)
    for size in CUTS:
        for number in rng.sample(range(CALLS_COUNT), CALLS_DRAWN):
            if trial.begin(f"cut to {size}, before storage call {number}"):
                _cut(trial, template, size, number)


def _copy(trial: Trial, template: Path) -> Path:
    path = trial.directory / f"{trial.case}.lsm"
    shutil.copyfile(template, path)
    return path


def _renamed(trial: Trial, template: Path, event: str, number: int) -> None:
    path = _copy(trial, template)
    kept = path.with_suffix(".kept")
    other = path.with_suffix(".other")

    def act() -> None:
        if event == "removed":
            os.unlink(path)
            return
        if event == "another over it":
            lsmcli.open(other, "n", block_size=8192).close()
        elif event == "a copy over it":
            shutil.copyfile(path, other)
        os.rename(path, kept)
        if event == "a link":
            os.symlink(kept.name, path)
        elif event != "renamed":
            os.rename(other, path)

    session = Session(path, number, act)
    acknowledged = session.run()
    assert session.happened, "the event never came"
    assert acknowledged == 0, f"{acknowledged} changes that began behind the event were acknowledged"
    if not session.failed:
        return  # it came within the last change of all
    there = path.read_bytes() if event in ("another over it", "a copy over it") else b""
    database = session.database
    changes: list[Callable[[], object]] = [lambda: database.put(b"later", b"x"), database.sync, database.checkpoint]
    for later in changes:
        try:
            later()
        except FileError:
            continue
        raise AssertionError("a change behind the failure was acknowledged")
    with suppress(FileError):
        database.close()
    if there:
        assert path.read_bytes() == there, "the file that has the name now was written to"
    trial.mark(event)
    if event != "removed":
        os.replace(kept, path)
        with lsmcli.open(path, "w") as again:
            found = dict(again.scan())
        assert found in (session.wanted, session.maybe), "the file was put back, and lacks what was acknowledged"
        storage = FileStorage.open(str(path), writable=False)
        assert verify(storage).problems == []
        storage.close()


def _cut(trial: Trial, template: Path, size: int, number: int) -> None:
    path = _copy(trial, template)
    shorter = False

    def act() -> None:
        nonlocal shorter
        size_before = path.stat().st_size
        size_after = size if size >= 0 else size_before + size
        shorter = size_after < size_before
        os.truncate(path, size_after)

    session = Session(path, number, act)
    acknowledged = session.run()
    assert session.happened, "the event never came"
    assert not shorter or acknowledged == 0, f"{acknowledged} changes that began behind the cut were acknowledged"
    with suppress(FileError, DamageError):
        session.database.close()
    for flag in FLAGS:
        try:
            with lsmcli.open(path, flag) as again:
                trial.mark("cut, and opened")
                _right_or_damage(again, session)
        except (DamageError, FormatError, FileError):
            trial.mark("cut, and refused")


def _right_or_damage(database: Database, session: Session) -> None:
    for key in {*session.maybe, b"absent"}:
        with suppress(DamageError):
            assert database.get(key) in (session.wanted.get(key), session.maybe.get(key)), f"{key!r} is another"
