"""The harness of a torture: starts the writer, kills it, opens the file again and compares.

    round:   child writes ── kill -9 ──> open as reader: acknowledged steps, and perhaps the one under way
                                         open as writer: the same again, and verify without a problem

Invariants:
- every step that the child told of is there, whole; of the one under way all or nothing is;
- a failure leaves the file as it was found, and names the seed.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Final, NamedTuple

import lsmcli
from lsmcli.engine import inspector
from lsmcli.engine.errors import FileError, LsmError
from lsmcli.engine.storage import FileStorage
from lsmcli.torture.load import Model, Step, steps

if TYPE_CHECKING:
    from lsmcli.engine.database import Database

START_S_MAX: Final = 60.0  # a child that has done nothing by then hangs
ROUND_S_MAX: Final = 1.5
BLOCK_SIZE: Final = 4096
_CHILD: Final = "from lsmcli.torture.load import child; child()"


class TortureResult(NamedTuple):
    """problem: what was wrong in the last round, "" if nothing ever was."""

    seed: int
    rounds: int
    steps: int
    seconds: float
    problem: str


class Torture:
    """One file under torture, and what it must hold."""

    def __init__(self, path: str, seed: int) -> None:
        self.path = path
        self.seed = seed
        self.rounds = 0
        self.steps = 0
        self._model = Model()
        self._began_s = time.monotonic()
        lsmcli.open(path, "n", block_size=BLOCK_SIZE, growth_factor=4, network=True).close()

    def run(self, seconds: float, progress: Callable[["Torture"], None] = lambda _: None) -> TortureResult:
        """Rounds for so long, at least one. Raises FileError when the child fails by itself, as on a full disk."""
        problem = ""
        while not problem and (self.rounds == 0 or time.monotonic() - self._began_s < seconds):
            problem = self.round()
            progress(self)
        if not problem:
            self._remove()
        return TortureResult(self.seed, self.rounds, self.steps, time.monotonic() - self._began_s, problem)

    def round(self) -> str:
        """One kill and the check behind it: what is wrong, "" if nothing is."""
        self.rounds += 1
        delay_s = Random(f"{self.seed}/{self.rounds}/kill").random() ** 2 * ROUND_S_MAX
        done = self._kill_after(delay_s)
        coming = steps(self.seed, self.rounds, scope=self._model.before is not None)
        for _ in range(done):
            self._model.take(next(coming))
        self.steps += done
        try:
            return self._check(next(coming))
        except LsmError as error:
            return str(error)

    def _kill_after(self, delay_s: float) -> int:
        """Starts the child and kills it; the number of steps that it told of."""
        scope = "0" if self._model.before is None else "1"
        words = [sys.executable, "-c", _CHILD, self.path, str(self.seed), str(self.rounds), scope]
        done = bytearray()
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            os.set_blocking(process.stdout.fileno(), False)
            started_s = time.monotonic()
            deadline_s = started_s + START_S_MAX
            while time.monotonic() < deadline_s and process.poll() is None:
                told = process.stdout.read()
                if told and not done:
                    deadline_s = time.monotonic() + delay_s
                done += told or b""
                time.sleep(min(0.005, max(0.0, deadline_s - time.monotonic())))
            code = process.poll()
            process.kill()
            os.set_blocking(process.stdout.fileno(), True)
            done += process.stdout.read()
            words_last = process.stderr.read().decode(errors="replace").strip().splitlines()
        if code is not None:
            raise FileError(f"{self.path}: the writer ended by itself: {words_last[-1] if words_last else code}")
        return len(done)

    def _check(self, under_way: Step) -> str:
        """Compares the file with the model. The step that was under way may be there, or not."""
        with lsmcli.open(self.path, "r", committed=False) as database:
            holds = self._holds(database)
            if not holds:
                self._model.take(under_way)
                self.steps += 1
                holds = self._holds(database)
        if not holds:
            return "what was acknowledged is not what the file holds"
        with lsmcli.open(self.path, "r") as database:
            if dict(database.scan()) != self._model.committed:
                return "the committed state is not what was before the open scope"
        with lsmcli.open(self.path, "w", network=True) as database:
            if not self._holds(database):
                return "opened for writing, the file holds something else than opened for reading"
        problems = inspector.verify(self.path).problems
        return problems[0].message if problems else ""

    def _holds(self, database: "Database") -> bool:
        scope = database.scope_status() is not None
        return scope == (self._model.before is not None) and dict(database.scan()) == self._model.entries

    def _remove(self) -> None:
        storage = FileStorage.open(self.path, writable=True)
        try:
            storage.unlink()
        finally:
            storage.close()
