"""Class 30: memory runs out, or the stack, at any place of the engine.

Injects: at a call of a function, before or behind a call of one that Python itself has, drawn from all that an
operation makes in the engine: MemoryError or RecursionError. And a stack that is nearly full: an operation under a
limit of recursion that leaves it few frames.

Must hold: the error is told, as it is; behind it the handle is unaffected, or given up (OutcomeUnknownError, until the
file is reopened); answers are right, and the file holds the state before the op or behind it, and everything
acknowledged (O1, O2); never a half-done op.

Cases: operations of every kind, at drawn places; each with each error.
"""

import random
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, Final

import lsmcli.engine
from lsmcli.engine.errors import ClosedError, LsmError, OutcomeUnknownError
from tests.testing.acceptance import accept
from tests.testing.model import Model
from tests.testing.operations import Draw, Operation, Run, assert_verified, contents
from tests.testing.storage import SimulatedStorage
from tests.testing.trial import Trial
from tests.testing.workloads import WEIGHTS_CRASH, Start, small_profile, start_deep, start_small, start_wrapping

CASES: Final = 350
SITUATIONS: Final = ("unaffected", "given up", "a full stack")

ENGINE: Final = str(Path(lsmcli.engine.__file__).parent)
STEPS: Final = 12  # operations of a run
PLACES: Final = 4  # in each operation
FRAMES_MAX: Final = 24
SOMETIMES: Final = 0.3
WEIGHTS: Final = {**WEIGHTS_CRASH, "batch": 15, "get": 6, "get_many": 6, "scan": 6, "checkpoint": 3, "compact": 2}


class Injection:
    """Counts what the engine calls; raises at the call of a number."""

    def __init__(self, number: int = -1, error: type[BaseException] = MemoryError) -> None:
        self.number = number
        self.error = error
        self.count = 0

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        if event != "return" and frame.f_code.co_filename.startswith(ENGINE):
            self.count += 1
            if self.count == self.number:
                raise self.error("injected")

    def during(self, act: Callable[[], None]) -> None:
        before = sys.getprofile()
        sys.setprofile(self)
        try:
            act()
        finally:
            sys.setprofile(before)


def run(trial: Trial) -> None:
    """One run; in each of its operations errors at some places, on a copy of its disk and its memory made anew."""
    rng = trial.rng()
    start = rng.choice((start_small, start_wrapping, start_deep))()
    profile = small_profile(rng, weights=WEIGHTS, memory_size=2048)
    model = Model()
    model.resume(start.state, start.op)
    run = Run(SimulatedStorage(start.image), profile, model)
    draw = Draw(rng, profile, model)
    done: list[Operation] = []
    for step in range(STEPS):
        operation = draw.operation()
        counting = Injection()
        counting.during(lambda operation=operation: run.do(operation))  # type: ignore[misc]
        places = random.Random(f"{trial.seed}/{step}")
        for _ in range(PLACES):
            number, frames = places.randint(1, counting.count), places.randint(2, FRAMES_MAX)
            for error in (MemoryError, RecursionError):
                if trial.begin(f"{error.__name__} at call {number} of {operation}"):
                    _examine(trial, _again(start, run, done), operation, Injection(number, error).during)
            if trial.begin(f"{frames} frames are left for {operation}"):
                _examine(trial, _again(start, run, done), operation, _with_frames(frames))
                trial.mark("a full stack")
        done.append(operation)


def _again(start: Start, like: Run, done: list[Operation]) -> Run:
    """The same run up to here."""
    model = Model()
    model.resume(start.state, start.op)
    run = Run(SimulatedStorage(start.image), like.profile, model)
    for operation in done:
        run.do(operation)
    return run


def _with_frames(count: int) -> Callable[[Callable[[], None]], None]:
    """Runs something with so many frames left."""

    def during(act: Callable[[], None]) -> None:
        depth, frame = 0, sys._getframe()
        while frame is not None:
            depth, frame = depth + 1, frame.f_back  # type: ignore[assignment]
        before = sys.getrecursionlimit()
        sys.setrecursionlimit(depth + 4 + count)
        try:
            act()
        finally:
            sys.setrecursionlimit(before)

    return during


def _examine(trial: Trial, run: Run, operation: Operation, during: Callable[[Callable[[], None]], None]) -> None:
    done, synced = run.op_done, run.op_synced
    try:
        during(lambda: run.do(operation))
    except (MemoryError, RecursionError):
        trial.mark(f"an error in {operation.kind}")
    except OutcomeUnknownError:
        trial.mark("given up by the first of the calls of an operation")
    database, model = run.database, run.model
    try:
        found = contents(database)
        assert database.forest.op in (done, model.op), f"op {database.forest.op} was found, of {done} … {model.op}"
        assert found == model.history[database.forest.op].trees, "the handle answers from something in between"
        database.put(b"key 00", b"behind the error")
        database.delete(b"key 00")
        database.checkpoint()
        assert contents(database) == {**found, "main": {k: v for k, v in found["main"].items() if k != b"key 00"}}
        if trial.rng_case().random() < SOMETIMES:
            assert_verified(run.storage, lost_allowed=True)
        trial.mark("unaffected")
        return
    except OutcomeUnknownError:
        trial.mark("given up")
    except ClosedError:
        trial.mark("closed")
    except LsmError as error:
        error.add_note("told behind the error")
        raise
    storage, history = run.storage, model.history
    accept(storage.reopen(), run.profile, history, done, model.op, trial, lost_allowed=True)
    accept(storage.crash(trial.rng_case()), run.profile, history, synced, model.op, trial, lost_allowed=True)
