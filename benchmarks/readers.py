"""A reader beside a writer: in a process of its own, where the engine can be open in two.

    worker   ── starts ──>  reader: opens the store, says "ready"
    puts, puts, puts, ...   gets a thousand keys, looks for newer writes, gets a thousand keys, ...
             <── figures ── ends

LevelDB cannot be open in two processes: its reader is a thread of the writer's. RocksDB's is a "secondary" instance.
What is read may have been put at any time, so each value is compared with all that were ever put under its key.
"""

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter_ns
from typing import Any, NamedTuple

from benchmarks.engines import MAP_SIZE, RocksStore, SqliteStore
from lsmcli.benchmark.data import GENERATION_MAX, Data
from lsmcli.benchmark.store import CACHE_SIZE
from lsmcli.benchmark.workbench import CHUNK, WrongAnswerError

ROOT = Path(__file__).resolve().parent.parent


class Scale(NamedTuple):
    """How much of what: the same for all engines of a run."""

    entries: int
    key_size: int
    value_size: int
    seed: int
    operations_max: int


class Reader(NamedTuple):
    """get: as of the state that was newest when `refresh` was called."""

    get: Callable[[bytes], bytes | None]
    refresh: Callable[[], Any]


def lsmcli_reader(path: str) -> Reader:
    """A reading handle, which takes no lock."""
    import lsmcli

    database = lsmcli.open(path, "r", cache_size=CACHE_SIZE)
    return Reader(database.get, database.refresh)


def rocks_reader(path: str) -> Reader:
    """A secondary instance, with the options of the first one."""
    import rocksdict

    access = rocksdict.AccessType.secondary(f"{path}.secondary")
    database = rocksdict.Rdict(path, RocksStore.options(), access_type=access)
    return Reader(database.get, database.try_catch_up_with_primary)


class LmdbReader:
    """One transaction between two refreshes."""

    def __init__(self, path: str) -> None:
        import lmdb

        self._environment = lmdb.open(path, readonly=True, map_size=MAP_SIZE)
        self._transaction = self._environment.begin()

    def get(self, key: bytes) -> bytes | None:
        """By way of the transaction of now."""
        value: bytes | None = self._transaction.get(key)
        return value

    def refresh(self) -> None:
        """The next transaction."""
        self._transaction.abort()
        self._transaction = self._environment.begin()


def lmdb_reader(path: str) -> Reader:
    """A reading environment."""
    reader = LmdbReader(path)
    return Reader(reader.get, reader.refresh)


def sqlite_reader(path: str) -> Reader:
    """Another connection: each query sees the newest state."""
    return Reader(SqliteStore(path).open().get, lambda: None)


READERS = {
    "lsmcli": lsmcli_reader,
    "lsmcli-pure": lsmcli_reader,
    "rocksdict": rocks_reader,
    "lmdb": lmdb_reader,
    "sqlite3": sqlite_reader,
}


def read(reader: Reader, data: Data, count: int, running: Callable[[], bool] = lambda: True) -> dict[str, Any]:
    """So many gets by chance. Raises WrongAnswerError for a value that was never put under its key."""
    rng = data.rng("reader")
    ns = done = 0
    while done < count and running():
        numbers = rng.choices(range(0, 2 * data.entries, 2), k=CHUNK)
        keys = data.keys(numbers)
        began = perf_counter_ns()
        reader.refresh()
        get = reader.get
        values = [get(key) for key in keys]
        ns += perf_counter_ns() - began
        done += CHUNK
        for number, value in zip(numbers, values, strict=True):
            if all(value != data.value_of(number, generation) for generation in range(1, GENERATION_MAX + 1)):
                raise WrongAnswerError(f"get beside a writer, of number {number}")
    return {"us": ns / 1000 / done, "operations": done}


class ProcessBeside:
    """The reader in a process of its own."""

    def __init__(self, engine: str, path: str, scale: Scale) -> None:
        command = [sys.executable, "-m", "benchmarks.readers", engine, path, json.dumps(scale._asdict())]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self._stream = self._process.stdout
        self._stream.readline()  # "ready"

    def running(self) -> bool:
        """Whether it still reads."""
        return self._process.poll() is None

    def figures(self) -> dict[str, Any]:
        """What it measured. Raises subprocess.CalledProcessError when it failed."""
        line = self._stream.readline()
        self._stream.close()
        if self._process.wait():
            raise subprocess.CalledProcessError(self._process.returncode, "benchmarks.readers")
        figures: dict[str, Any] = json.loads(line)
        return figures


class ThreadBeside:
    """The reader as a thread of the writer's process, with the writer's own handle."""

    def __init__(self, get: Callable[[bytes], bytes | None], scale: Scale) -> None:
        self._figures: dict[str, Any] = {}
        reader = Reader(get, lambda: None)
        self._thread = threading.Thread(target=partial(self._run, reader, scale))
        self._thread.start()

    def _run(self, reader: Reader, scale: Scale) -> None:
        self._figures = read(reader, data_of(scale), reads_of(scale))

    def running(self) -> bool:
        """Whether it still reads."""
        return self._thread.is_alive()

    def figures(self) -> dict[str, Any]:
        """What it measured; nothing when it failed, which its traceback says."""
        self._thread.join()
        return self._figures


def data_of(scale: Scale) -> Data:
    """The data of a scale."""
    return Data(scale.entries, scale.key_size, scale.value_size, scale.seed)


def reads_of(scale: Scale) -> int:
    """How many gets a reader does."""
    return max(CHUNK, min(scale.entries, scale.operations_max) // 5)


def main() -> None:
    """The process: open, say so, read, tell."""
    engine, path, scale = sys.argv[1], sys.argv[2], Scale(**json.loads(sys.argv[3]))
    data = data_of(scale)
    reader = READERS[engine](path)
    print("ready", flush=True)
    print(json.dumps(read(reader, data, reads_of(scale))), flush=True)


if __name__ == "__main__":
    main()
