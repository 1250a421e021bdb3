"""The workloads, named as in LevelDB's db_bench and in YCSB. Each is a function of a workbench.

    fillseq  fillbatch  fillrandom  readwhilewriting     begin with an empty store: whoever runs them sees to that
    all others                                           find every entry, in the form that those before them left

Keys are drawn by the workload's own source of chance, so the same seed asks the same of every store.
"""

from collections.abc import Callable, Iterator
from functools import partial
from random import Random
from time import sleep
from typing import Any, Final, NamedTuple

from lsmcli.benchmark.data import Zipf
from lsmcli.benchmark.store import SEEK_TEN, pairs_found
from lsmcli.benchmark.workbench import CHUNK, Workbench, WrongAnswerError, chunks

BATCH: Final = 1_000
GET_MANY: Final = 500
HOT_SHARE: Final = 100  # one key in so many is hot
DELETE_SHARE: Final = 2
SEEK_SHARE: Final = 10  # a workload of longer operations does one for so many entries
READER_SHARE: Final = 5
READER_POLL_S: Final = 0.01
YCSB_SHARE: Final = 5
YCSB_SCAN_SHARE: Final = 20
SCAN_MAX: Final = 100  # entries of a scan of YCSB E


class Workload(NamedTuple):
    """fills: it begins with an empty store, all others with one that holds every entry.

    share: there is one operation for so many entries.
    """

    run: Callable[[Workbench], None]
    fills: bool = False
    share: int = 1


# -- writes -------------------------------------------------------------------------------------------------------


def fillseq(bench: Workbench) -> None:
    """All entries in the order of their keys, one put at a time."""
    for numbers in chunks(range(0, 2 * bench.data.entries, 2)):
        bench.puts(bench.calls.put, numbers)


def fillrandom(bench: Workbench) -> None:
    """All entries in random order, one put at a time."""
    for numbers in chunks(bench.data.order):
        bench.puts(bench.calls.put, [2 * number for number in numbers])


def fillbatch(bench: Workbench) -> None:
    """All entries in random order, in atomic batches of a thousand."""
    data = bench.data
    for order in chunks(data.order, BATCH):
        numbers = [2 * number for number in order]
        pairs = list(zip(data.keys(numbers), data.put_values(numbers), strict=True))
        bench.timed(partial(bench.calls.write, pairs), len(pairs), len(pairs) * data.entry_size)


def overwrite(bench: Workbench) -> None:
    """Every entry gets a new value, in another random order, one put at a time."""
    order = bench.data.order
    for numbers in chunks(order):
        bench.puts(bench.calls.put, [2 * order[number] for number in numbers])


def deleterandom(bench: Workbench) -> None:
    """Every second entry of the random order is removed, one at a time; what is left is checked."""
    for numbers in chunks(bench.data.order[::DELETE_SHARE]):
        bench.deletes(bench.calls.delete, [2 * number for number in numbers])
    bench.verify()


def compact(bench: Workbench) -> None:
    """The store is brought into its best form: one operation for all entries."""
    count = bench.data.stored_count()
    bench.calls = bench.timed(bench.store.compact, count, count * bench.data.entry_size)


# -- reads --------------------------------------------------------------------------------------------------------


def operations_of(bench: Workbench, divisor: int = 1) -> int:
    """How many operations a reading workload does."""
    return max(CHUNK, min(bench.data.entries, bench.operations_max) // divisor)


def _drawn(rng: Random, numbers: range, count: int) -> Iterator[list[int]]:
    """So many numbers by chance, with repetitions, in chunks."""
    while count > 0:
        yield rng.choices(numbers, k=min(CHUNK, count))
        count -= CHUNK


def _gets(bench: Workbench, name: str, numbers: range) -> None:
    with bench.store.reading() as calls:
        for chunk in _drawn(bench.rng(name), numbers, operations_of(bench)):
            bench.gets(calls.get, chunk)


def readrandom(bench: Workbench) -> None:
    """Gets of keys that are there, by chance, one at a time."""
    _gets(bench, "readrandom", range(0, 2 * bench.data.entries, 2))


def readhot(bench: Workbench) -> None:
    """The same, all in the first hundredth of the keys."""
    _gets(bench, "readhot", range(0, 2 * max(1, bench.data.entries // HOT_SHARE), 2))


def readmissing(bench: Workbench) -> None:
    """Gets of keys that lie between the others, and are not there."""
    _gets(bench, "readmissing", range(1, 2 * bench.data.entries, 2))


def get_many(bench: Workbench) -> None:
    """Gets of 500 keys by chance at a time. An operation is one key."""
    data, rng = bench.data, bench.rng("get_many")
    with bench.store.reading() as calls:
        for _ in range(max(1, operations_of(bench) // GET_MANY)):
            numbers = rng.choices(range(0, 2 * data.entries, 2), k=GET_MANY)
            keys, expected = data.keys(numbers), data.answers(numbers)
            found = bench.timed(partial(calls.get_many, keys), GET_MANY, GET_MANY * data.entry_size)
            if pairs_found(keys, found) != pairs_found(keys, expected):
                raise WrongAnswerError(f"get_many of {keys[0]!r} and others")


def readseq(bench: Workbench) -> None:
    """All entries in the order of their keys. An operation is one entry."""
    with bench.store.reading() as calls:
        bench.walk(calls.scan, reverse=False, count=min(bench.data.stored_count(), bench.operations_max))


def readreverse(bench: Workbench) -> None:
    """All entries in descending order."""
    with bench.store.reading() as calls:
        bench.walk(calls.scan_reverse, reverse=True, count=min(bench.data.stored_count(), bench.operations_max))


def seekrandom(bench: Workbench) -> None:
    """The ten entries from a key on that is there or not, by chance. An operation is one such scan."""
    data = bench.data
    with bench.store.reading() as calls:
        for numbers in _drawn(bench.rng("seekrandom"), range(2 * data.entries), operations_of(bench, SEEK_SHARE)):
            keys = data.keys(numbers)
            answers, ns = bench.answers(calls.seek_ten, keys)
            if answers != [data.pairs_after(number, SEEK_TEN) for number in numbers]:
                raise WrongAnswerError(f"scans of ten entries, from {keys[0]!r} and others")
            bench.took(len(keys), ns, sum(map(len, answers)) * data.entry_size)


def readwhilewriting(bench: Workbench) -> None:
    """Gets by a reader beside this writer, which overwrites each entry once at most. An operation is a get."""
    fillbatch(bench)
    bench.restart()
    data = bench.data
    count = operations_of(bench, READER_SHARE)
    beside = bench.store.beside(data, count)
    try:
        for numbers in chunks(data.order):  # at most once around: a reader that falls behind would never end
            bench.puts(bench.calls.put, [2 * number for number in numbers])
            if not beside.running():
                break
        while beside.running():
            sleep(READER_POLL_S)
            bench.advance(0)
        reads = beside.reads()
    finally:
        beside.stop()
    puts_us = bench.measured().us_per_operation
    bench.restart()
    bench.beside = puts_us, reads.refresh_ns / 1000 / max(1, reads.refreshes)
    bench.took(reads.operations, reads.ns, reads.operations * data.entry_size)


# -- YCSB ---------------------------------------------------------------------------------------------------------


class Mix(NamedTuple):
    """Shares of reads, updates, inserts, scans and read-modify-writes, in percent."""

    read: int = 0
    update: int = 0
    insert: int = 0
    scan: int = 0
    modify: int = 0
    latest: bool = False  # reads prefer what was inserted last

    def kinds(self) -> list[str]:
        """Names of a hundred operations in these shares."""
        return [kind for kind in ("read", "update", "insert", "scan", "modify") for _ in range(getattr(self, kind))]


MIXES: Final = {
    "a": Mix(read=50, update=50),
    "b": Mix(read=95, update=5),
    "c": Mix(read=100),
    "d": Mix(read=95, insert=5, latest=True),
    "e": Mix(scan=95, insert=5),
    "f": Mix(read=50, modify=50),
}


def ycsb(name: str, bench: Workbench) -> None:
    """One of the six mixes of YCSB: keys by Zipf's law, each operation by itself, and sees those before it."""
    data, rng, mix = bench.data, bench.rng(f"ycsb-{name}"), MIXES[name]
    zipf = Zipf(data.entries, rng)
    kinds = mix.kinds()
    left = operations_of(bench, YCSB_SCAN_SHARE if mix.scan else YCSB_SHARE)
    while left:
        count = min(CHUNK, left)
        operations: list[tuple[str, bytes, Any]] = []
        expected: list[Any] = []
        for kind in rng.choices(kinds, k=count):
            number = _ycsb_number(bench, zipf, kind, latest=mix.latest)
            (key,) = data.keys([number])
            argument: Any = None
            if kind in ("read", "modify"):
                expected += data.answers([number])
            if kind in ("update", "insert", "modify"):
                (argument,) = data.put_values([number])
            elif kind == "scan":
                argument = rng.randint(1, SCAN_MAX)
                expected.append(data.pairs_after(number, argument))
            operations.append((kind, key, argument))
        bench.mixed(operations, expected)
        left -= count


def _ycsb_number(bench: Workbench, zipf: Zipf, kind: str, *, latest: bool) -> int:
    """The number of the key that an operation works on."""
    data = bench.data
    if kind == "insert":
        return data.insert_next()
    rank = zipf.rank()
    if latest and rank < data.inserted:
        return 2 * data.order[(data.inserted - 1 - rank) % data.entries] + 1
    return 2 * data.order[rank]


WORKLOADS: Final = {
    "fillseq": Workload(fillseq, fills=True),
    "fillbatch": Workload(fillbatch, fills=True),
    "fillrandom": Workload(fillrandom, fills=True),
    "overwrite": Workload(overwrite),
    "compact": Workload(compact),
    "readrandom": Workload(readrandom),
    "readhot": Workload(readhot),
    "readmissing": Workload(readmissing),
    "get_many": Workload(get_many),
    "readseq": Workload(readseq),
    "readreverse": Workload(readreverse),
    "seekrandom": Workload(seekrandom, share=SEEK_SHARE),
    **{
        f"ycsb-{name}": Workload(partial(ycsb, name), share=YCSB_SCAN_SHARE if mix.scan else YCSB_SHARE)
        for name, mix in MIXES.items()
    },
    "readwhilewriting": Workload(readwhilewriting, fills=True, share=READER_SHARE),
    "deleterandom": Workload(deleterandom, share=DELETE_SHARE),
}
