"""The workloads against a dictionary, and against dictionaries that lie: every wrong answer is found out."""

import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from lsmcli.benchmark.beside import Beside, ProcessBeside, Reader, ThreadBeside
from lsmcli.benchmark.data import Data, Zipf
from lsmcli.benchmark.latencies import Latencies
from lsmcli.benchmark.store import SEEK_TEN, LsmStore, Operations, Pair
from lsmcli.benchmark.workbench import Measurement, Workbench, WrongAnswerError
from lsmcli.benchmark.workloads import WORKLOADS
from lsmcli.engine.errors import FileError

ENTRIES = 2_000
OTHERS = [name for name, workload in WORKLOADS.items() if not workload.fills]


class DictStore:
    """A dictionary as a store. `changed`: functions that take the place of its own, to lie."""

    def __init__(self, **changed: Any) -> None:
        self.entries: dict[bytes, bytes] = {}
        self.changed = changed

    def pairs(self, start: bytes = b"", *, reverse: bool = False) -> Iterator[Pair]:
        return iter(sorted((pair for pair in self.entries.items() if pair[0] >= start), reverse=reverse))

    def open(self) -> Operations:
        entries = self.entries
        honest = Operations(
            put=entries.__setitem__,
            delete=entries.pop,
            write=entries.update,
            get=entries.get,
            get_many=lambda keys: [entries.get(key) for key in keys],
            scan=self.pairs,
            scan_reverse=lambda: self.pairs(reverse=True),
            seek=lambda key, count: list(islice(self.pairs(key), count)),
            seek_ten=lambda key: list(islice(self.pairs(key), SEEK_TEN)),
        )
        return honest._replace(**{name: change(getattr(honest, name)) for name, change in self.changed.items()})

    def clear(self) -> Operations:
        self.entries.clear()
        return self.open()

    def reading(self) -> AbstractContextManager[Operations]:
        return nullcontext(self.open())

    def beside(self, data: Data, count: int) -> Beside:
        return ThreadBeside(Reader(self.open().get, lambda: None), data, count)

    def compact(self) -> Operations:
        return self.open()

    def close(self) -> None:
        pass


def bench_of(store: Any, *, loaded: bool = True, stamped: bool = False) -> Workbench:
    bench = Workbench(store, Data(ENTRIES, 16, 20, 7), operations_max=1_000, stamped=stamped)
    if loaded:
        bench.measure(WORKLOADS["fillbatch"].run)
    return bench


def measured(name: str, store: Any = None, *, stamped: bool = False) -> Measurement:
    """One workload on a store that holds what it wants."""
    bench = bench_of(store or DictStore(), loaded=not WORKLOADS[name].fills, stamped=stamped)
    return bench.measure(WORKLOADS[name].run)


# An extra entry, one too few, and every value but the right one.
def one_lost(honest: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *words: list(honest(*words))[1:]


def nothing(honest: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *words: None


def no_pairs(honest: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *words: iter(())


def wrong_value(honest: Callable[..., Any]) -> Callable[..., Any]:
    return lambda key: None if honest(key) is None else b"another"


@pytest.mark.parametrize("stamped", [False, True])
@pytest.mark.parametrize("name", WORKLOADS)
def test_an_honest_store_passes(name: str, stamped: bool) -> None:
    result = measured(name, stamped=stamped)
    assert result.operations > 0
    assert result.seconds > 0
    assert (result.size > 0) == (name != "readmissing")
    calls = {"readseq": 0, "readreverse": 0, "compact": 1, "get_many": result.operations // 500, "fillbatch": 2}
    calls["readwhilewriting"] = 0
    if stamped:
        assert result.latencies.count == calls.get(name, result.operations)


@pytest.mark.parametrize(
    ("name", "operations"),
    [("fillseq", ENTRIES), ("fillrandom", ENTRIES), ("fillbatch", ENTRIES), ("overwrite", ENTRIES),
     ("deleterandom", ENTRIES // 2), ("readrandom", 1_000), ("readseq", 1_000), ("get_many", 1_000)],
)  # fmt: skip
def test_the_number_of_operations(name: str, operations: int) -> None:
    assert measured(name).operations == operations


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("readrandom", {"get": nothing}),
        ("readrandom", {"get": wrong_value}),
        ("readhot", {"get": nothing}),
        ("readmissing", {"get": lambda _: lambda key: b"there"}),
        ("get_many", {"get_many": lambda honest: lambda keys: [None, *honest(keys)[1:]]}),
        ("readseq", {"scan": one_lost}),
        ("readseq", {"scan": no_pairs}),
        ("readreverse", {"scan_reverse": one_lost}),
        ("readreverse", {"scan_reverse": no_pairs}),
        ("seekrandom", {"seek_ten": one_lost}),
        ("deleterandom", {"delete": nothing}),
        ("overwrite", {"put": nothing}),
        ("readwhilewriting", {"get": nothing}),
        ("readwhilewriting", {"get": wrong_value}),
        ("ycsb-a", {"put": nothing}),
        ("ycsb-c", {"get": nothing}),
        ("ycsb-d", {"put": nothing}),
        ("ycsb-e", {"seek": one_lost}),
        ("ycsb-f", {"put": nothing}),
    ],
)  # fmt: skip
def test_a_store_that_lies_is_found_out(name: str, changed: dict[str, Any]) -> None:
    with pytest.raises(WrongAnswerError):
        bench = bench_of(DictStore(**changed))
        bench.measure(WORKLOADS[name].run)
        bench.verify()


def test_a_reader_in_another_process_reads_beside_the_writer(tmp_path: Path) -> None:
    bench = bench_of(LsmStore(str(tmp_path / "t.lsm")), loaded=False)
    result = bench.measure(WORKLOADS["readwhilewriting"].run)
    assert result.operations == 1_000
    assert result.put_us > 0
    assert result.refresh_us > 0
    bench.verify()
    bench.store.close()


@pytest.mark.parametrize(
    ("program", "error", "said"),
    [
        ("print('ready'); print('wrong: get of something')", WrongAnswerError, "wrong answer: get of something"),
        ("print('ready'); raise ValueError('no luck')", FileError, "failed: ValueError: no luck"),
        ("raise SystemExit(3)", FileError, "failed: exit 3"),
    ],
)
def test_a_reader_that_fails_says_why(program: str, error: type[Exception], said: str) -> None:
    beside = ProcessBeside([sys.executable, "-c", program])
    with pytest.raises(error, match=said):
        beside.reads()
    beside.stop()


@pytest.mark.parametrize("changed", [{"put": nothing}, {"scan": one_lost}])
def test_a_fill_that_stores_nothing_is_found_by_verify(changed: dict[str, Any]) -> None:
    bench = bench_of(DictStore(**changed), loaded=False)
    bench.measure(WORKLOADS["fillrandom"].run)
    with pytest.raises(WrongAnswerError):
        bench.verify()


def test_all_workloads_pass_one_after_the_other_on_a_file(tmp_path: Path) -> None:
    bench = bench_of(LsmStore(str(tmp_path / "t.lsm")), loaded=False)
    for name in WORKLOADS:
        if WORKLOADS[name].fills:
            bench.clear()
        bench.measure(WORKLOADS[name].run)
        bench.verify()
    bench.store.close()


@pytest.mark.parametrize("top", [60_000, 200_000])
def test_percentiles_are_those_of_a_sorted_list(top: int) -> None:
    rng = random.Random(top)
    drawn = [rng.randrange(1, top) for _ in range(1_000)]
    latencies = Latencies()
    latencies.add(drawn[:1])
    latencies.add(drawn[1:])
    assert latencies.count == 1_000
    ordered = sorted(drawn)
    for percent in (0.1, 1, 25, 50, 99, 99.9, 100):
        assert latencies.percentile_us(percent) == ordered[round(10 * percent) - 1] / 1000
    assert latencies.percentile_us(0) == ordered[0] / 1000
    assert latencies.percentile_us(99.95) == ordered[-1] / 1000


def test_without_latencies_there_is_no_percentile() -> None:
    with pytest.raises(ValueError, match="no latencies"):
        Latencies().percentile_us(50)


def test_advance_is_told_of_every_operation_and_may_end_it() -> None:
    bench = bench_of(DictStore())
    told: list[int] = []
    bench.advance = told.append
    assert sum(told) == 0
    bench.measure(WORKLOADS["overwrite"].run)
    assert sum(told) == ENTRIES

    def stop(operations: int) -> None:
        raise KeyboardInterrupt

    bench.advance = stop
    with pytest.raises(KeyboardInterrupt):
        bench.measure(WORKLOADS["overwrite"].run)


def test_the_seed_decides_the_data() -> None:
    first, again, other = Data(100, 16, 20, 7), Data(100, 16, 20, 7), Data(100, 16, 20, 8)
    numbers = list(range(0, 200, 2))
    assert first.order == again.order != other.order
    assert first.put_values(numbers) == again.put_values(numbers) != other.put_values(numbers)
    assert sorted(first.order) == list(range(100))


@pytest.mark.parametrize(("key_size", "value_size"), [(8, 0), (8, 1), (16, 100), (512, 3)])
def test_keys_and_values_have_their_sizes_and_keys_their_order(key_size: int, value_size: int) -> None:
    data = Data(50, key_size, value_size, 7)
    keys = data.keys(range(100))
    assert keys == sorted(set(keys))
    assert {len(key) for key in keys} == {key_size}
    assert {len(value) for value in data.put_values(range(100))} == {value_size}


def test_half_of_a_value_can_be_compressed() -> None:
    import zlib

    data = Data(300, 16, 100, 7)
    size = len(zlib.compress(b"".join(data.put_values(range(300)))))
    assert 0.48 < size / 30_000 < 0.58


def test_a_new_value_is_another_one() -> None:
    data = Data(50, 16, 100, 7)
    assert data.answers([4]) == [None]
    (first,) = data.put_values([4])
    (second,) = data.put_values([4])
    assert first != second
    assert data.answers([4, 5]) == [second, None]
    data.forget([4])
    assert data.answers([4]) == [None]


def test_ranks_follow_the_law_of_zipf() -> None:
    data = Data(50, 16, 100, 7)
    zipf = Zipf(1_000_000, data.rng("zipf"))
    ranks = Counter(zipf.rank() for _ in range(20_000))
    assert min(ranks) == 0
    assert max(ranks) < 1_000_000
    assert 0.055 < ranks[0] / 20_000 < 0.075
    assert 0.30 < sum(ranks[rank] for rank in range(100)) / 20_000 < 0.39
