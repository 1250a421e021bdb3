"""A reader beside a writer: in a process of its own, or as a thread where a store cannot be open in two processes.

    writer   ── starts ──>  reader: opens the store, says "ready"
    puts, puts, puts, ...   looks for what is new, gets ten thousand keys, looks for what is new, ...
             <── figures ── ends

What is read may have been put at any time, so each value is compared with all that can have been put under its key.
"""

import subprocess
import sys
import threading
from collections.abc import Callable
from time import perf_counter_ns
from typing import Any, Final, NamedTuple, Protocol

from lsmcli.benchmark.data import GENERATION_MAX, Data
from lsmcli.benchmark.store import CACHE_SIZE
from lsmcli.benchmark.workbench import CHUNK, WrongAnswerError
from lsmcli.engine.errors import FileError

REFRESH_EVERY: Final = 10 * CHUNK
_WRONG: Final = "wrong: "
_CHILD: Final = "from lsmcli.benchmark.beside import child; child()"


class Reader(NamedTuple):
    """get: as of the state that was newest when `refresh` was called."""

    get: Callable[[bytes], bytes | None]
    refresh: Callable[[], Any]


class Reads(NamedTuple):
    """How many gets were done, and how long they took with the refreshes between them; those by themselves."""

    operations: int
    ns: int
    refreshes: int
    refresh_ns: int


class Beside(Protocol):
    """A reader that reads."""

    def running(self) -> bool:
        """Whether it still does."""

    def reads(self) -> Reads:
        """Waits for its end: what it measured. Raises FileError or WrongAnswerError when it failed."""

    def stop(self) -> None:
        """Ends it, if it has not ended."""


def read(reader: Reader, data: Data, count: int) -> Reads:
    """So many gets by chance. Raises WrongAnswerError for a value that was never put under its key."""
    rng = data.rng("reader")
    ns = done = refreshes = refresh_ns = 0
    get = reader.get
    while done < count:
        if done % REFRESH_EVERY == 0:
            began = perf_counter_ns()
            reader.refresh()
            refresh_ns += perf_counter_ns() - began
            refreshes += 1
        numbers = rng.choices(range(0, 2 * data.entries, 2), k=CHUNK)
        keys = data.keys(numbers)
        began = perf_counter_ns()
        values = [get(key) for key in keys]
        ns += perf_counter_ns() - began
        done += CHUNK
        for number, value in zip(numbers, values, strict=True):
            if all(value != data.value_of(number, generation) for generation in range(1, GENERATION_MAX + 1)):
                raise WrongAnswerError(f"get of {data.keys([number])[0]!r} beside a writer")
    return Reads(done, ns + refresh_ns, refreshes, refresh_ns)


class ProcessBeside:
    """The reader in a process of its own: the words of `reader_words` behind a command that calls `serve`."""

    def __init__(self, command: list[str]) -> None:
        # Without a buffer of its own: one would swallow what `communicate` is to read.
        self._process = subprocess.Popen(command, bufsize=0, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert self._process.stdout is not None
        self._process.stdout.readline()  # "ready"

    def running(self) -> bool:
        """Whether it still reads."""
        return self._process.poll() is None

    def reads(self) -> Reads:
        """What it measured."""
        out, errors = self._process.communicate()
        if self._process.returncode:
            said = errors.decode(errors="replace").strip().splitlines() or [f"exit {self._process.returncode}"]
            raise FileError(f"the reader beside the writer failed: {said[-1]}")
        if out.startswith(_WRONG.encode()):
            raise WrongAnswerError(out.decode(errors="replace").removeprefix(_WRONG).strip())
        return Reads(*map(int, out.split()))

    def stop(self) -> None:
        """Kills it, which does a reader no harm."""
        if self.running():
            self._process.kill()
            self._process.communicate()


class ThreadBeside:
    """The reader as a thread of the writer's process."""

    def __init__(self, reader: Reader, data: Data, count: int) -> None:
        self._result: Reads | WrongAnswerError | None = None
        self._thread = threading.Thread(target=self._run, args=(reader, data, count), daemon=True)
        self._thread.start()

    def _run(self, reader: Reader, data: Data, count: int) -> None:
        try:
            self._result = read(reader, data, count)
        except WrongAnswerError as error:
            self._result = error

    def running(self) -> bool:
        """Whether it still reads."""
        return self._thread.is_alive()

    def reads(self) -> Reads:
        """What it measured."""
        self._thread.join()
        if isinstance(self._result, WrongAnswerError):
            raise self._result
        if self._result is None:
            raise FileError("the reader beside the writer failed")
        return self._result

    def stop(self) -> None:
        """Waits for its end: a thread cannot be killed."""
        self._thread.join()


def reader_words(path: str, data: Data, count: int) -> list[str]:
    """What a reader's process is told: where, of what, and how much it reads."""
    return [path, *map(str, (data.entries, data.key_size, data.value_size, data.seed, count))]


def serve(words: list[str], reader_of: Callable[[str], Reader]) -> None:
    """The reader's process: opens the store, says so, reads, tells."""
    path, *numbers = words
    entries, key_size, value_size, seed, count = map(int, numbers)
    data = Data(entries, key_size, value_size, seed)
    reader = reader_of(path)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    try:
        reads = read(reader, data, count)
    except WrongAnswerError as error:
        sys.stdout.write(f"{_WRONG}{error.what}\n")
    else:
        sys.stdout.write(f"{' '.join(map(str, reads))}\n")


def lsmcli_reader(path: str) -> Reader:
    """A reading handle of lsmcli, which takes no lock."""
    import lsmcli

    database = lsmcli.open(path, "r", cache_size=CACHE_SIZE)
    return Reader(database.get, database.refresh)


def lsmcli_beside(path: str, data: Data, count: int) -> ProcessBeside:
    """A reader of lsmcli."""
    return ProcessBeside([sys.executable, "-c", _CHILD, *reader_words(path, data, count)])


def child() -> None:
    """The process of lsmcli's reader."""
    serve(sys.argv[1:], lsmcli_reader)
