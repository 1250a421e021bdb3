"""kill -9 at random moments of an import: all rows or none; with --batch whole batches, and --resume ends as if
nothing had happened.

The real command line is killed, at moments drawn from the time that it takes undisturbed. LSMCLI_IMPORT_KILLS sets how
often.
"""

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

import lsmcli
from lsmcli.engine import import_progress
from lsmcli.engine.schema import ImportState
from lsmcli.engine.storage import FileStorage
from lsmcli.engine.verifier import verify

KILLS = int(os.environ.get("LSMCLI_IMPORT_KILLS", "8"))
ROWS = 20_000
BATCH = 1000

Entries = dict[bytes, bytes]


class Killed:
    """A data file with some entries, a source that replaces some of them, and what the file holds before and after."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self.rng = rng
        self.base = folder / "base.lsm"
        self.path = folder / "killed.lsm"
        self.source = folder / "rows.tsv"
        self.before: Entries = {b"key %06d" % rng.randrange(ROWS): b"before" for _ in range(ROWS // 10)}
        self.rows = [
            (b"key %06d" % rng.randrange(2 * ROWS), b"%d " % number * rng.randrange(1, 20)) for number in range(ROWS)
        ]
        self.source.write_bytes(b"".join(b"%s\t%s\n" % row for row in self.rows))
        self.after = self.before | dict(self.rows)
        with lsmcli.open(self.base, "c", block_size=4096, growth_factor=2) as database:
            database.put_many(self.before.items())
            database.checkpoint()
        self.begin_anew()

    def begin_anew(self) -> None:
        shutil.copyfile(self.base, self.path)

    def command(self, *options: str) -> "subprocess.Popen[bytes]":
        words = [sys.executable, "-m", "lsmcli", str(self.path), "import", *options, str(self.source)]
        return subprocess.Popen(words, stderr=subprocess.PIPE)

    def undisturbed(self, *options: str) -> float:
        """Runs to the end, and returns the seconds that took."""
        began_s = time.monotonic()
        process = self.command(*options)
        assert process.stderr is not None
        text = process.stderr.read()
        process.stderr.close()
        assert process.wait() == 0, text
        assert b"imported=" in text
        return time.monotonic() - began_s

    def kill_within(self, seconds: float, *options: str) -> None:
        process = self.command(*options)
        assert process.stderr is not None
        time.sleep(self.rng.random() * seconds)
        process.kill()
        process.wait()
        process.stderr.close()

    def content(self) -> Entries:
        """What the file holds: for a reader, and the same for a writer, which recovers it. It is sound."""
        with lsmcli.open(self.path, "r") as database:
            entries = dict(database.scan())
        with lsmcli.open(self.path, "w") as database:
            assert dict(database.scan()) == entries
        storage = FileStorage.open(str(self.path), writable=False)
        try:
            assert verify(storage).problems == []
        finally:
            storage.close()
        return entries

    def rows_recorded(self) -> tuple[int, bool]:
        """How many rows the record of the import counts, and whether it is complete."""
        with lsmcli.open(self.path, "r") as database:
            records = import_progress.records(database)
        if not records:
            return 0, False
        return records[0].progress.rows, records[0].progress.state == ImportState.COMPLETE


@pytest.fixture
def killed(seed: int, tmp_path: Path) -> Killed:
    return Killed(tmp_path, random.Random(seed))


@pytest.mark.slow
def test_an_import_that_is_killed_has_stored_all_or_nothing(killed: Killed) -> None:
    options = ("--memory", "256k")
    seconds = killed.undisturbed(*options)
    assert killed.content() == killed.after
    for kill in range(KILLS // 2):
        killed.begin_anew()
        killed.kill_within(seconds, *options)
        assert killed.content() in (killed.before, killed.after), f"kill {kill}"
    killed.undisturbed(*options)
    assert killed.content() == killed.after


@pytest.mark.slow
def test_batches_that_are_killed_are_whole_and_are_gone_on_with(killed: Killed) -> None:
    options = ("--batch", str(BATCH), "--resume")
    seconds = killed.undisturbed(*options)
    killed.begin_anew()
    stored = 0
    for kill in range(KILLS - KILLS // 2):
        killed.kill_within(seconds, *options)
        rows, complete = killed.rows_recorded()
        assert rows % BATCH == 0 and stored <= rows <= ROWS, f"kill {kill}"
        assert killed.content() == killed.before | dict(killed.rows[:rows]), f"kill {kill}"
        stored = rows
        if complete:
            killed.begin_anew()
            stored = 0
    killed.undisturbed(*options)
    assert killed.content() == killed.after
    assert killed.rows_recorded() == (ROWS, True)
    killed.undisturbed(*options)
    assert killed.content() == killed.after
