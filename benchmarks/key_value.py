"""lsmcli beside LevelDB, RocksDB, LMDB and SQLite, each through its Python API: `make bench`.

    python -m benchmarks.key_value [--entries N ...] [--rounds 3] [--engines A,B] [--workloads X,Y] [--output DIR]

Each engine has a process of its own (benchmarks.worker). In every round each workload is done by one engine after the
other, so that a busy moment of the machine meets them all; medians of the rounds are compared. Reads without a write
between them are done in one reading transaction where an engine has such; "lmdb-each" begins one for every call. The
ratio is taken against the best peer of all, which for reads is LMDB within one transaction.

"Before compaction" is the store as fillrandom left it: not reopened. Workloads that are left out are made up for: a
store that must hold entries gets them in batches.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import key_value_report as report
from benchmarks.engines import ENGINES, version_of
from benchmarks.key_value_report import Figures, Run
from benchmarks.plan import PLAN, Step
from benchmarks.worker import Scale
from lsmcli.benchmark.workbench import Workbench

ROOT = Path(__file__).resolve().parent.parent
FINISH = {"workload": "finish"}


class WorkerFailedError(RuntimeError):
    """A worker that ended before it answered: what it measured is worth nothing."""


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

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """What the worker answers. Raises WorkerFailedError."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended; its empty answer says so
        line = self._process.stdout.readline()
        if not line:
            raise WorkerFailedError(f"{self.engine}: {question['workload']}: exit {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *outcome: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if outcome[0] is not None:
            self._process.kill()
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def one_round(engines: Sequence[str], steps: Sequence[Step], directory: Path, scale: Scale) -> Iterator[Run]:
    """Every workload by every engine, in turn."""
    with ExitStack() as stack:
        processes = [stack.enter_context(Process(engine, directory, scale)) for engine in engines]
        for step in steps:
            for process in processes:
                only = ENGINES[process.engine].only
                if not only or step.workload in only:
                    asked = {"workload": step.workload, "wants": step.wants, "stamped": step.stamped}
                    yield Run(step.row, process.engine, process.ask(asked))
        for process in processes:
            yield Run(report.MEMORY, process.engine, process.ask(FINISH))


def measure(engines: Sequence[str], steps: Sequence[Step], scale: Scale, rounds: int, where: Path | None) -> list[Run]:
    """All rounds at one scale, with a line about each figure on standard error."""
    runs = []
    with tempfile.TemporaryDirectory(prefix="lsmcli-bench-", dir=where) as name:
        for number in range(1, rounds + 1):
            for run in one_round(engines, steps, Path(name), scale):
                runs.append(run)
                figure = f"{run.answer['us']:.3f} µs" if "us" in run.answer else f"{run.answer['memory_mib']:.0f} MiB"
                tell(f"{scale.entries:,}, round {number}: {run.row}: {run.engine}: {figure}")
    return runs


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
    """A line about the progress, on standard error."""
    print(text, file=sys.stderr, flush=True)


def parsed(words: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description="lsmcli beside other embedded stores, through their Python APIs.")
    parser.add_argument("--entries", type=int, nargs="+", default=[1_000_000], metavar="N", help="[1000000]")
    parser.add_argument("--key-size", type=int, default=16, help="bytes, 8 or more [16]")
    parser.add_argument("--value-size", type=int, default=100, help="bytes [100]")
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


def main(words: Sequence[str] | None = None) -> None:
    """Measure, print, and write the figures and the chart into the output directory."""
    wanted = parsed(words)
    steps = steps_named(wanted.workloads)
    versions = engines_there(wanted.engines.split(","))
    figures: list[Figures] = []
    for entries in wanted.entries:
        scale = Scale(entries, wanted.key_size, wanted.value_size, wanted.seed, wanted.operations)
        figures.append(
            Figures(scale, measure(list(versions), steps, scale, wanted.rounds, wanted.directory), loop_costs(scale))
        )
    about: dict[str, object] = {
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "rounds": wanted.rounds,
        "engines": {name: {"version": version, **ENGINES[name].settings} for name, version in versions.items()},
    }
    text = report.as_text(figures, about)
    print(text)
    if wanted.output is not None:
        wanted.output.mkdir(parents=True, exist_ok=True)
        (wanted.output / "key_value.txt").write_text(text + "\n")
        (wanted.output / "key_value.json").write_text(report.as_json(figures, about) + "\n")
        report.chart(figures[0], wanted.output / "key_value.svg")


if __name__ == "__main__":
    main()
