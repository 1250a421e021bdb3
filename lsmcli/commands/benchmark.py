"""benchmark: how fast this program is on this machine and disk."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from lsmcli.commands.arguments import json_option
from lsmcli.commands.group import Command
from lsmcli.commands.output import json_line, lines_bytes
from lsmcli.commands.progress import progress_of, progress_option
from lsmcli.engine.errors import LimitError, LsmError, ReadOnlyError
from lsmcli.formats.esc import safe_text
from lsmcli.session import Session

if TYPE_CHECKING:
    from lsmcli.benchmark.workbench import Measurement, Workbench
    from lsmcli.commands.interrupts import Interrupts

ENTRIES: Final = 1_000_000
SEED: Final = 1
WORKLOADS_DEFAULT: Final = (
    "fillseq", "fillbatch", "fillrandom", "readrandom", "overwrite", "compact", "readrandom", "readhot", "readmissing",
    "get_many", "readseq", "readreverse", "seekrandom", "deleterandom", "readwhilewriting",
)  # fmt: skip
HEADER: Final = ("workload", "operations", "us/op", "op/s", "MB/s", "p50 us", "p99 us", "p99.9 us", "max us")
WIDTHS: Final = (16, 11, 9, 11, 8, 9, 9, 10, 10)


@click.command(
    "benchmark",
    cls=Command,
    examples="""
        lsmcli new.lsm benchmark
        lsmcli new.lsm benchmark --entries 100000 fillrandom readrandom
        lsmcli new.lsm benchmark --value-size 1000 --json
    """,
)
@click.option("--entries", type=int, default=ENTRIES, metavar="N", help="How many entries.  [1000000]")
@click.option("--key-size", type=int, default=16, metavar="BYTES", help="Of each key, 8 to 512.  [16]")
@click.option("--value-size", type=int, default=100, metavar="BYTES", help="Of each value, up to 1 MiB.  [100]")
@click.option(
    "--seed", type=int, default=SEED, metavar="S", help="The same seed, the same keys in the same order.  [1]"
)
@click.option("--keep", is_flag=True, help="Keep the file.")
@progress_option
@json_option
@click.argument("workloads", nargs=-1, metavar="[WORKLOAD]...")
@click.pass_obj
def command(
    session: Session, entries: int, key_size: int, value_size: int, seed: int, keep: bool, progress_mode: str,
    as_json: bool, workloads: Sequence[str],
) -> None:  # fmt: skip
    """Measure workloads, one after the other, in a file of their own: FILE must not be there yet, and is removed.

    \b
    fillseq fillbatch fillrandom readwhilewriting    begin with an empty file
    overwrite deleterandom compact                   change what is there
    readrandom readhot readmissing get_many readseq readreverse seekrandom
    ycsb-a ... ycsb-f                                the mixes of YCSB

    Every answer is checked. Latencies are those of one call, so of a whole batch in fillbatch and get_many.
    """
    from lsmcli.benchmark.workloads import WORKLOADS
    from lsmcli.commands.files import new_file
    from lsmcli.commands.interrupts import Interrupts

    names = workloads or WORKLOADS_DEFAULT
    for name in names:
        if name not in WORKLOADS:
            raise click.UsageError(f"no workload {name!r}: there are {', '.join(WORKLOADS)}")
    check_sizes(entries, key_size, value_size)
    if session.read_only:
        raise ReadOnlyError(f"{safe_text(session.path)}: a benchmark writes, and --read-only was given")
    with new_file(session.path, keep=keep) as path, Interrupts() as interrupts:
        if not as_json:
            session.out.writelines(lines_bytes([row(HEADER)]))
        watch = Watch(session, interrupts, progress_mode)
        for record in run(path, names, (entries, key_size, value_size, seed), watch):
            session.out.writelines(lines_bytes([json_line(record) if as_json else row(cells(record))]))
            session.out.flush()


def check_sizes(entries: int, key_size: int, value_size: int) -> None:
    """Raise LimitError for what the workloads cannot do."""
    from lsmcli.benchmark import data

    for what, number, least, most in (
        ("entries", entries, data.ENTRIES_MIN, data.ENTRIES_MAX),
        ("bytes of a key", key_size, data.KEY_SIZE_MIN, data.KEY_SIZE_MAX),
        ("bytes of a value", value_size, 0, data.VALUE_SIZE_MAX),
    ):
        if not least <= number <= most:
            raise LimitError(f"{number} {what}: a benchmark takes {least} to {most}")


class Watch(NamedTuple):
    """Who looks at a workload while it runs: signals and progress."""

    session: Session
    interrupts: "Interrupts"
    progress_mode: str

    def measure(self, bench: "Workbench", name: str) -> "Measurement":
        """One workload. Ctrl-C is heeded between two chunks of operations."""
        from lsmcli.benchmark.workloads import WORKLOADS

        workload = WORKLOADS[name]
        progress = progress_of(self.session, name, max(1, bench.data.entries // workload.share), self.progress_mode)
        done = 0

        def advance(operations: int) -> None:
            nonlocal done
            done += operations
            progress.advance(done, done)
            self.interrupts.check()

        bench.advance = advance
        try:
            return bench.measure(workload.run)
        finally:
            progress.close()


def run(path: str, names: Sequence[str], scale: tuple[int, int, int, int], watch: Watch) -> Iterator[dict[str, Any]]:
    """The workloads in their order, each with an empty file or with one that holds all entries, as it wants.

    Yields a record for each; bytes_written: to the file, by this workload; file_size: behind it, in bytes.
    """
    from lsmcli.benchmark.data import Data
    from lsmcli.benchmark.store import LsmStore
    from lsmcli.benchmark.workbench import Workbench
    from lsmcli.benchmark.workloads import WORKLOADS

    store = LsmStore(path)
    data = Data(*scale)
    bench = Workbench(store, data, operations_max=data.entries, stamped=True)
    try:
        for name in names:
            if WORKLOADS[name].fills:
                bench.clear()
            elif not data.stored_count():
                watch.measure(bench, "fillbatch")
            written = store.database.stats()["bytes_written"]
            measured = watch.measure(bench, name)
            stats = store.database.stats()
            sizes = {"bytes_written": stats["bytes_written"] - written, "file_size": stats["file_size"]}
            yield record_of(name, measured) | sizes
    except BaseException:
        with suppress(LsmError):  # what is under way says more
            store.close()
        raise
    store.close()


def record_of(name: str, measured: "Measurement") -> dict[str, Any]:
    """One workload for programs: latencies in microseconds are None where operations are not timed one by one."""
    latencies = {
        field: round(measured.latencies.percentile_us(percent), 3) if measured.latencies.count else None
        for field, percent in (("p50_us", 50), ("p99_us", 99), ("p99.9_us", 99.9), ("max_us", 100))
    }
    seconds = max(measured.seconds, 1e-9)
    return {
        "workload": name,
        "operations": measured.operations,
        "seconds": round(measured.seconds, 6),
        "us_per_operation": round(measured.us_per_operation, 3),
        "operations_per_s": round(measured.operations / seconds),
        "mb_per_s": round(measured.size / seconds / 1e6, 2),
        **latencies,
        **(
            {"put_us": round(measured.put_us, 3), "refresh_us": round(measured.refresh_us, 3)}
            if measured.put_us
            else {}
        ),
    }


def cells(record: dict[str, Any]) -> list[str]:
    """A record as the cells of a row."""
    numbers = [f"{record['operations']}", f"{record['us_per_operation']:.2f}", f"{record['operations_per_s']}"]
    latencies = [record[field] for field in ("p50_us", "p99_us", "p99.9_us", "max_us")]
    shown = ["-" if latency is None else f"{latency:.1f}" for latency in latencies]
    return [record["workload"], *numbers, f"{record['mb_per_s']:.1f}", *shown]


def row(words: Sequence[str]) -> str:
    """A line of the table: the name on the left, numbers on the right."""
    name, *numbers = words
    return f"{name:<{WIDTHS[0]}}" + "".join(f"{word:>{width}}" for word, width in zip(numbers, WIDTHS[1:], strict=True))
