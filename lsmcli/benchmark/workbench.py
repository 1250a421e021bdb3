"""A store under measurement: chunks of operations, of which only the store's own part is timed, and checked answers.

    keys and values of a chunk are made  |  the store takes them: timed  |  its answers are checked  |  next chunk

Invariants:
- what is not the store's work is outside of the timed part; the loop itself is inside, 20 to 40 ns an operation;
- every answer is compared with what was put: a store that loses, or that reads nothing, raises WrongAnswerError.

Between two chunks a store's own threads may go on, which is to their favour.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice, pairwise
from random import Random
from time import perf_counter_ns
from typing import Any, Final, NamedTuple, TypeVar

from lsmcli.benchmark.data import Data
from lsmcli.benchmark.latencies import Latencies
from lsmcli.benchmark.store import Operations, Pair, Store
from lsmcli.engine.errors import DamageError

T = TypeVar("T")

CHUNK: Final = 1_000


class WrongAnswerError(DamageError):
    """A store that answers something else than what was put."""

    def __init__(self, what: str) -> None:
        super().__init__(f"the benchmark got a wrong answer: {what}", zone="benchmark")
        self.what = what


class Measurement(NamedTuple):
    """One workload, once. latencies: of each call; none of them where only chunks were timed.

    Where the operations are the gets of a reader beside a writer: put_us: of a put by the writer, refresh_us: of a look
    for newer writes by the reader.
    """

    operations: int
    seconds: float
    size: int  # bytes of keys and values that went in or came out
    latencies: Latencies
    put_us: float = 0.0
    refresh_us: float = 0.0

    @property
    def us_per_operation(self) -> float:
        return self.seconds * 1e6 / max(1, self.operations)


class Workbench:
    """One store with its data. stamped: take the time of each operation, where one call is one operation.

    operations_max: how many operations a workload that only reads has at most. advance: told of the operations that
    were done since the last call; it may raise, which ends the workload.
    """

    def __init__(
        self,
        store: Store,
        data: Data,
        *,
        operations_max: int,
        stamped: bool = False,
        advance: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.store = store
        self.data = data
        self.operations_max = operations_max
        self.stamped = stamped
        self.advance = advance
        self.calls: Operations = store.open()
        self.restart()

    def restart(self) -> None:
        """Forget what was measured so far."""
        self.beside = (0.0, 0.0)
        self._operations = 0
        self._ns = 0
        self._size = 0
        self._latencies = Latencies()

    def measure(self, workload: Callable[["Workbench"], None], *, stamped: bool | None = None) -> Measurement:
        """Runs a workload. Raises WrongAnswerError, and what the store raises."""
        self.restart()
        before = self.stamped
        self.stamped = before if stamped is None else stamped
        try:
            workload(self)
        finally:
            self.stamped = before
        return self.measured()

    def measured(self) -> Measurement:
        """What was measured so far."""
        return Measurement(self._operations, self._ns / 1e9, self._size, self._latencies, *self.beside)

    def clear(self) -> None:
        """An empty store again."""
        self.data.reset()
        self.calls = self.store.clear()

    def rng(self, name: str) -> Random:
        """A source of chance of a workload's own."""
        return self.data.rng(name)

    def took(self, operations: int, ns: int, size: int) -> None:
        """A chunk is done: so many operations in so many timed nanoseconds."""
        self._operations += operations
        self._ns += ns
        self._size += size
        self.advance(operations)

    # -- chunks of single operations --------------------------------------------------------------

    def puts(self, put: Callable[[bytes, bytes], Any], numbers: Sequence[int]) -> None:
        """One put for each number, with a new value."""
        keys, values = self.data.keys(numbers), self.data.put_values(numbers)
        clock = perf_counter_ns
        if self.stamped:
            stamps: list[int] = []
            stamp = stamps.append
            stamp(clock())
            for key, value in zip(keys, values):  # noqa: B905 - timed, and of one length
                put(key, value)
                stamp(clock())
            ns = self._keep(stamps)
        else:
            began = clock()
            for key, value in zip(keys, values):  # noqa: B905 - timed, and of one length
                put(key, value)
            ns = clock() - began
        self.took(len(keys), ns, len(keys) * self.data.entry_size)

    def gets(self, get: Callable[[bytes], bytes | None], numbers: Sequence[int]) -> None:
        """One get for each number."""
        keys, expected = self.data.keys(numbers), self.data.answers(numbers)
        answers, ns = self.answers(get, keys)
        if answers != expected:
            wrong = next(at for at, answer in enumerate(answers) if answer != expected[at])
            raise WrongAnswerError(f"get of {keys[wrong]!r}")
        self.took(len(keys), ns, (len(keys) - expected.count(None)) * self.data.entry_size)

    def deletes(self, delete: Callable[[bytes], Any], numbers: Sequence[int]) -> None:
        """One removal for each number."""
        keys = self.data.keys(numbers)
        self.data.forget(numbers)
        _, ns = self.answers(delete, keys)
        self.took(len(keys), ns, len(keys) * self.data.key_size)

    def answers(self, call: Callable[[bytes], T], keys: list[bytes]) -> tuple[list[T], int]:
        """What a function answers for each key, and how long all of them took in nanoseconds."""
        clock = perf_counter_ns
        if not self.stamped:
            began = clock()
            answers = [call(key) for key in keys]
            return answers, clock() - began
        answers = []
        stamps: list[int] = []
        take, stamp = answers.append, stamps.append
        stamp(clock())
        for key in keys:
            take(call(key))
            stamp(clock())
        return answers, self._keep(stamps)

    def _keep(self, stamps: list[int]) -> int:
        """Keep the times between stamps as latencies. The clock is read once for each: some 50 ns of every one."""
        self._latencies.add(end - begin for begin, end in pairwise(stamps))
        return stamps[-1] - stamps[0]

    def mixed(self, operations: list[tuple[str, bytes, Any]], expected: list[Any]) -> None:
        """Reads, scans and puts, each by itself: (kind, key, the value or the count). expected: what they answer."""
        calls, clock = self.calls, perf_counter_ns
        get, put, seek = calls.get, calls.put, calls.seek
        answers: list[Any] = []
        stamps: list[int] = []
        take, stamp = answers.append, stamps.append
        stamp(clock())
        for kind, key, argument in operations:
            if kind == "read":
                take(get(key))
            elif kind == "scan":
                take(seek(key, argument))
            else:
                if kind == "modify":
                    take(get(key))
                put(key, argument)
            stamp(clock())
        ns = self._keep(stamps)
        if answers != expected:
            raise WrongAnswerError(f"reads between writes, from {operations[0][1]!r} on")
        self.took(len(operations), ns, len(operations) * self.data.entry_size)

    def timed(self, call: Callable[[], Any], operations: int, size: int) -> Any:
        """One call that counts as so many operations; returns what it returns."""
        began = perf_counter_ns()
        result = call()
        ns = perf_counter_ns() - began
        if self.stamped:
            self._latencies.add([ns])
        self.took(operations, ns, size)
        return result

    # -- ranges -----------------------------------------------------------------------------------

    def walk(self, pairs: Callable[[], Iterator[Pair]], *, reverse: bool, count: int) -> None:
        """The first `count` entries of the whole store, in one direction; they are compared with what is stored."""
        numbers = self.data.stored(reverse=reverse)
        began = perf_counter_ns()
        iterator = iter(pairs())
        ns = perf_counter_ns() - began
        left = count
        while left:
            expected = list(islice(numbers, min(CHUNK, left)))
            began = perf_counter_ns()
            chunk = list(islice(iterator, min(CHUNK, left)))
            ns += perf_counter_ns() - began
            self.check_pairs(chunk, expected)
            self.took(len(chunk), ns, len(chunk) * self.data.entry_size)
            ns = 0
            left -= len(chunk)
            if not chunk:
                return

    def check_pairs(self, pairs: list[Pair], numbers: Sequence[int]) -> None:
        """Raise WrongAnswerError unless these are the entries of these numbers."""
        keys, data = self.data.keys(numbers), self.data
        if [key for key, _ in pairs] != keys or [value for _, value in pairs] != [data.value(n) for n in numbers]:
            raise WrongAnswerError(f"a scan at {keys[0] if keys else pairs[0][0]!r}")

    def verify(self) -> None:
        """Everything that is stored, and nothing else: not timed. Raises WrongAnswerError."""
        numbers = self.data.stored()
        pairs = iter(self.calls.scan())
        while True:
            chunk, expected = list(islice(pairs, CHUNK)), list(islice(numbers, CHUNK))
            if not chunk and not expected:
                return
            self.check_pairs(chunk, expected)


def chunks(numbers: Sequence[int], size: int = CHUNK) -> Iterator[list[int]]:
    """A sequence in pieces."""
    for at in range(0, len(numbers), size):
        yield list(numbers[at : at + size])
