"""Class 1: the process ends at a storage call, as kill -9 ends it. What it wrote is in the page cache.

Injects: before every storage call of a run the end of the process; then the file is opened again, and in some cases
the power fails behind that. And for real: a forked child that kills itself at a call of its choice, on a file of the
disk.

Must hold: every acknowledged op is there in any durability mode (O1 with k >= acknowledged), O2 to O4; when the power
fails behind a recovery, what the recovery promised is there: it has synced what it read.

Cases: all storage calls of the run, each twice (with and without a power failure behind it), and FORKS children.
"""

import os
import signal
from typing import Final

import lsmcli
from lsmcli.engine.storage import FileStorage
from lsmcli.engine.verifier import verify
from tests.testing.acceptance import accept, accept_lasting
from tests.testing.trial import Trial
from tests.testing.workloads import crash_trace, ring_trace

CASES: Final = 3_000
SLICES: Final = 2

STEPS: Final = 120
RING_SHARE: Final = 0.15  # of the rounds: the log goes around several times
FORKS: Final = 12
FORK_OPS: Final = 400


def run(trial: Trial) -> None:
    """One run, killed at every call; then some children."""
    rng = trial.rng()
    trace = ring_trace(rng) if rng.random() < RING_SHARE else crash_trace(rng, STEPS)
    history = trace.run.model.history
    for moment in trace.moments():
        change = moment.change
        if trial.begin(f"killed {moment.label}"):
            accept(moment.disk.reopen(), trace.profile, history, change.op_done, change.op_issued, trial)
        if trial.begin(f"killed, opened, power failure {moment.label}"):
            accept_lasting(moment.disk, trace.profile, history, change.op_done, change.op_issued, trial)
    for number in range(FORKS):
        rng = trial.rng(f"fork {number}")
        calls = rng.randrange(2, 900)
        if trial.begin(f"a child that kills itself at its storage call {calls}"):
            _fork(trial, calls, rng.getrandbits(32))


# Real processes.


def _entry(seed: int, number: int) -> tuple[bytes, bytes]:
    return b"key %03d" % (number * 7 % 60), b"%d of %d " % (number, seed) * (1 + number % 9)


def _fork(trial: Trial, calls: int, seed: int) -> None:
    """The child tells through a pipe how many puts are done; each is one op."""
    path = trial.directory / f"{trial.case}.lsm"
    lsmcli.open(path, "n", block_size=4096, growth_factor=2).close()
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        _child(str(path), calls, seed, write_end)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as told:
        done = len(told.read())
    _, status = os.waitpid(child, 0)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    assert killed or done == FORK_OPS, f"the child ended with status {status}"
    trial.mark("a child killed itself" if killed else "a child came to its end")
    with lsmcli.open(path, "w", memory_size=2048) as database:
        found = dict(database.scan())
    wanted: dict[bytes, bytes] = dict(_entry(seed, number) for number in range(done))
    more = wanted | dict([_entry(seed, done)])
    assert found in (wanted, more), f"{done} puts were acknowledged"
    storage = FileStorage.open(str(path), writable=False)
    try:
        assert verify(storage).problems == []
    finally:
        storage.close()


def _child(path: str, calls: int, seed: int, write_end: int) -> None:
    """Never returns."""
    left = calls

    def counted(name: str) -> None:
        original = getattr(FileStorage, name)

        def call(self: FileStorage, *arguments: object) -> object:
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(self, *arguments)

        setattr(FileStorage, name, call)

    try:
        for name in ("read", "write", "sync", "allocate", "truncate"):
            counted(name)
        database = lsmcli.open(path, "w", memory_size=2048)
        for number in range(FORK_OPS):
            database.put(*_entry(seed, number))
            os.write(write_end, b".")
        database.close()
    finally:
        os._exit(0)
