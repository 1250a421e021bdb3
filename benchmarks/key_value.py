"""lsmcli beside LevelDB, RocksDB, LMDB and SQLite, each through its Python API: `make bench`.

    python -m benchmarks.key_value [--entries N ...] [--sizes 16+100 ...] [--rounds 3] [--engines A,B]
                                   [--workloads X,Y] [--output DIR]

Each engine has a process of its own (benchmarks.worker). In every round each workload is done by one engine after the
other, so that a busy moment of the machine meets them all; medians of the rounds are compared. Reads without a write
between them are done in one reading transaction where an engine has such; "lmdb-each" begins one for every call. The
ratio is taken against the best peer of all, which for reads is LMDB within one transaction.

Runs take long and are left alone. So an engine that fails is out for the rest of its round, the others go on, and the
table says so; and what is known is written after every figure. Exits with 1 when anything failed.

"Before compaction" is the store as fillrandom left it: not reopened. Workloads that are left out are made up for: a
store that must hold entries gets them in batches.
"""

import argparse
import json
import os
import platform
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from benchmarks import key_value_report as report
from benchmarks.engines import ENGINES, version_of
from benchmarks.key_value_report import MEMORY, Failure, Figures, Run
from benchmarks.plan import PLAN, Step
from benchmarks.worker import Scale
from lsmcli.benchmark.data import KEY_SIZE_MIN
from lsmcli.benchmark.workbench import Workbench

ROOT = Path(__file__).resolve().parent.parent
FINISH = Step(MEMORY, "finish", "")
_BEGAN_S = time.monotonic()
ANSWER_S_MAX = 3600  # the longest workload: 10,000,000 puts, one at a time, into a store that is slow at it


class WorkerFailedError(RuntimeError):
    """A worker that ended, or hung, before it answered."""


class Process:
    """A worker, and the two pipes to it."""

    def __init__(self, engine: str, directory: Path, scale: Scale) -> None:
        self.engine = engine
        home = directory / engine
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir()
        command = [sys.executable, "-m", "benchmarks.worker", engine, str(home / "db"), json.dumps(scale._asdict())]
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "LSMCLI_PURE": "0", **ENGINES[engine].environment},
        )

    def takes_part_in(self, step: Step) -> bool:
        """Whether the engine has this row."""
        only = ENGINES[self.engine].only
        return not only or step is FINISH or step.workload in only

    def ask(self, step: Step, answer_s_max: float = ANSWER_S_MAX) -> dict[str, Any]:
        """What the worker answers. Raises WorkerFailedError; the process is then of no use any more."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        question = {"workload": step.workload, "wants": step.wants, "stamped": step.stamped}
        with suppress(BrokenPipeError):  # it has ended; its empty answer says so
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
        if not select.select([self._process.stdout], [], [], answer_s_max)[0]:
            self._process.kill()
            raise WorkerFailedError(f"no answer for {answer_s_max:g} s")
        line = self._process.stdout.readline()
        if not line:
            raise WorkerFailedError(f"exit {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *outcome: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if outcome[0] is not None:
            self._process.kill()
        with suppress(BrokenPipeError):  # of a question that nobody took
            self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def one_round(engines: Sequence[str], steps: Sequence[Step], directory: Path, scale: Scale) -> Iterator[Run | Failure]:
    """Every workload by every engine, in turn. What an engine has measured before it fails counts."""
    with ExitStack() as stack:
        processes = [stack.enter_context(Process(engine, directory, scale)) for engine in engines]
        for step in [*steps, FINISH]:
            for process in [process for process in processes if process.takes_part_in(step)]:
                outcome: Run | Failure
                try:
                    outcome = Run(step.row, process.engine, process.ask(step))
                except WorkerFailedError as error:
                    processes.remove(process)
                    outcome = Failure(step.row, process.engine, str(error))
                yield outcome


def measure(
    engines: Sequence[str], steps: Sequence[Step], scale: Scale, rounds: int, where: Path | None
) -> Iterator[Figures]:
    """All rounds at one scale: what is known after each figure, with a line about it on standard error."""
    loop_us = loop_costs(scale)
    runs: list[Run] = []
    failures: list[Failure] = []
    with tempfile.TemporaryDirectory(prefix="lsmcli-bench-", dir=where) as name:
        for number in range(1, rounds + 1):
            for outcome in one_round(engines, steps, Path(name), scale):
                if isinstance(outcome, Run):
                    runs.append(outcome)
                    answer = outcome.answer
                    figure = f"{answer['us']:.3f} µs" if "us" in answer else f"{answer['memory_mib']:.0f} MiB"
                else:
                    failures.append(outcome)
                    figure = f"FAILED: {outcome.reason}"
                tell(f"{report.title(scale)}, round {number}: {outcome.row}: {outcome.engine}: {figure}")
                yield Figures(scale, runs, loop_us, number, failures)


def loop_costs(scale: Scale) -> dict[str, float]:
    """What the loop itself takes of each operation, in µs: its function does nothing."""
    import operator

    from benchmarks.engines import NoStore
    from lsmcli.benchmark.data import Data

    data = Data(20_000, scale.key_size, scale.value_size, scale.seed)
    bench = Workbench(NoStore(), data, operations_max=data.entries)
    numbers = range(0, 2 * data.entries, 2)
    costs = {}
    for name, stamped in (("put", False), ("put, with its latency", True)):
        costs[name] = bench.measure(lambda bench: bench.puts(operator.is_, numbers), stamped=stamped).us_per_operation
    keys = data.keys(numbers)
    costs["get"] = bench.answers(operator.truth, keys)[1] / 1000 / len(keys)
    return costs


def engines_there(names: Sequence[str]) -> dict[str, str]:
    """The engines whose library is installed, with its version; a line about each of the others."""
    found = {}
    for name in names:
        try:
            found[name] = version_of(ENGINES[name])
        except ImportError:
            tell(f"{name}: {ENGINES[name].package} is not installed, left out")
    return found


def steps_named(names: str) -> list[Step]:
    """The steps of these workloads, all without a name. Raises SystemExit for a name that is none."""
    wanted = set(filter(None, names.split(",")))
    unknown = wanted - {step.workload for step in PLAN}
    if unknown:
        known = ", ".join(dict.fromkeys(step.workload for step in PLAN))
        raise SystemExit(f"no workload {', '.join(sorted(unknown))}; there are {known}")
    return [step for step in PLAN if not wanted or step.workload in wanted]


def tell(text: str) -> None:
    """A line about the progress, on standard error, with the seconds since the start."""
    print(f"{time.monotonic() - _BEGAN_S:6.0f} s  {text}", file=sys.stderr, flush=True)


def sizes_of(text: str) -> tuple[int, int]:
    """Of a key, at least 8, and of a value. Raises ValueError."""
    key_size, value_size = map(int, text.split("+"))
    if key_size < KEY_SIZE_MIN:
        raise ValueError(text)
    return key_size, value_size


def scales_of(wanted: argparse.Namespace) -> list[Scale]:
    """What is measured, one after the other: every number of entries with the first sizes, then the other sizes."""
    pairs = [(entries, wanted.sizes[0]) for entries in wanted.entries]
    pairs += [(wanted.entries[0], sizes) for sizes in wanted.sizes[1:]]
    return [
        Scale(entries, key_size, value_size, wanted.seed, wanted.operations)
        for entries, (key_size, value_size) in pairs
    ]


def parsed(words: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description="lsmcli beside other embedded stores, through their Python APIs.")
    parser.add_argument("--entries", type=int, nargs="+", default=[1_000_000], metavar="N", help="[1000000]")
    parser.add_argument(
        "--sizes", type=sizes_of, nargs="+", default=[(16, 100)], metavar="KEY+VALUE",
        help="bytes [16+100]; those behind the first with the first number of entries only",
    )  # fmt: skip
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--operations", type=int, default=1_000_000, help="at most so many reads [1000000]")
    parser.add_argument("--engines", default=",".join(name for name in ENGINES if name != "lsmcli-pure"))
    parser.add_argument("--workloads", default="", help="some of them, with commas [all]")
    parser.add_argument("--seed", type=int, default=20_011_003)
    parser.add_argument("--directory", type=Path, help="where the stores are made [the system's temporary directory]")
    parser.add_argument("--output", type=Path, metavar="DIR", help="write key_value.txt, .json and .svg there")
    wanted = parser.parse_args(words)
    unknown = [name for name in wanted.engines.split(",") if name not in ENGINES]
    if unknown:
        parser.error(f"no engine {', '.join(unknown)}; there are {', '.join(ENGINES)}")
    return wanted


def main(words: Sequence[str] | None = None) -> int:
    """Measure and print. What is known is in the output directory at any time, the chart at the end."""
    wanted = parsed(words)
    steps = steps_named(wanted.workloads)
    versions = engines_there(wanted.engines.split(","))
    about: dict[str, object] = {
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "engines": {name: {"version": version, **ENGINES[name].settings} for name, version in versions.items()},
    }
    done: list[Figures] = []
    for scale in scales_of(wanted):
        done.append(Figures(scale, [], {}, 0, []))
        for figures in measure(list(versions), steps, scale, wanted.rounds, wanted.directory):
            done[-1] = figures
            if wanted.output is not None:
                wanted.output.mkdir(parents=True, exist_ok=True)
                (wanted.output / "key_value.txt").write_text(report.as_text(done, about) + "\n")
                (wanted.output / "key_value.json").write_text(report.as_json(done, about) + "\n")
    print(report.as_text(done, about))
    if wanted.output is not None:
        try:
            report.chart(done[0], wanted.output / "key_value.svg")
        except ImportError:
            tell("no chart: matplotlib is not installed")
    return int(any(figures.failures for figures in done))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # what the stores take is given back
    sys.exit(main())
