"""One command on the command line, and scripts of many, beside the programs of other stores: `make bench`.

    python -m benchmarks.command_lines [--lines 100000] [--rounds 5] [--output DIR]

A one-shot command is a process: its start is most of its time, so what Python and click take by themselves stands
beside it. Import and export have a benchmark of their own, benchmarks.import_export.

A program that fails is left out from there on, and told of at the end; the exit code is 1 then.

Durability differs: `lsmcli put` and a commit of sqlite3 are on the disk when they end, `ldb put` syncs nothing. LMDB's
programs have no one-shot get or put.
"""

import argparse
import os
import platform
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks import report, rows
from benchmarks.import_export import LSMCLI, is_there, tell
from benchmarks.process import FailedError, Run, run

REPEATS = 10  # of a one-shot command in each round
SQLITE_TABLE = "CREATE TABLE kv(k TEXT PRIMARY KEY, v TEXT) WITHOUT ROWID"


class Case(NamedTuple):
    """One program in one group. rows: how many entries it handles; fresh: it begins with an empty directory."""

    group: str
    name: str
    command: list[str]
    rows: int = 1
    stdin: str = ""
    peer: bool = True
    needs: str = ""
    fresh: bool = False


def cases(key: str, lines: int) -> Iterator[Case]:
    """Every program. key: one that is there."""
    ours = [str(LSMCLI), "our.lsm"]
    python = [sys.executable, "-c"]
    yield Case("one get", "lsmcli get", [*ours, "get", key], peer=False)
    yield Case("one get", "python -c pass", [*python, "pass"], peer=False)
    yield Case("one get", "python -c 'import click'", [*python, "import click"], peer=False)
    yield Case("one get", "ldb get", ["ldb", "--db=their", "get", key], needs="ldb")
    yield Case("one get", "sqlite3", ["sqlite3", "their.db", f"SELECT v FROM kv WHERE k = '{key}'"], needs="sqlite3")
    yield Case("one put", "lsmcli put", [*ours, "put", "key", "value"], peer=False)
    yield Case("one put", "ldb put", ["ldb", "--db=their", "put", "key", "value"], needs="ldb")
    yield Case(
        "one put", "sqlite3", ["sqlite3", "their.db", "INSERT OR REPLACE INTO kv VALUES ('key', 'value')"],
        needs="sqlite3",
    )  # fmt: skip
    group = f"a script of {lines:,} puts"
    yield Case(group, "lsmcli exec", [*ours, "exec"], lines, "script.lsm", peer=False, fresh=True)
    yield Case(
        group, "ldb load", ["ldb", "--db=their", "--create_if_missing", "load"], lines, "script.ldb",
        needs="ldb", fresh=True,
    )  # fmt: skip
    yield Case(
        group, "sqlite3, one transaction", ["sqlite3", "their.db"], lines, "script.sql", needs="sqlite3", fresh=True
    )
    yield Case(group, "mdb_load", ["mdb_load", "-n", "their.mdb"], lines, "script.mdb", needs="mdb_load", fresh=True)


def write_scripts(directory: Path, lines: int) -> str:
    """The same puts as a script of each program; returns one of the keys."""
    pairs = [pair for keys, values in rows.columns(lines) for pair in zip(keys, values, strict=True)]
    (directory / "script.lsm").write_text("".join(f"put -- {key} {value}\n" for key, value in pairs))
    (directory / "script.ldb").write_text("".join(f"{key} ==> {value}\n" for key, value in pairs))
    rows.write(directory / "script.mdb", rows.FORMS["lmdb"], lines)  # its head says how large the map is to be
    inserts = "".join(f"INSERT INTO kv VALUES ('{key}', '{value}');\n" for key, value in pairs)
    (directory / "script.sql").write_text(f"{SQLITE_TABLE};\nBEGIN;\n{inserts}COMMIT;\n")
    return pairs[lines // 2][0]


def fill(directory: Path, every: Sequence[Case]) -> None:
    """A database of each program in `filled`, made by its own script."""
    filled = directory / "filled"
    filled.mkdir()
    for case in every:
        if case.fresh and case.name != "mdb_load":
            run(case.command, filled, stdin=directory / case.stdin)


def measured(case: Case, directory: Path) -> Run:
    """One round: a script once, a one-shot command some times, of which the mean counts."""
    if case.fresh:
        home = directory / "fresh"
        home.mkdir()
        try:
            os.sync()
            return run(case.command, home, stdin=directory / case.stdin)
        finally:
            shutil.rmtree(home)
    runs = [run(case.command, directory / "filled") for _ in range(REPEATS)]
    return Run(
        sum(each.wall_s for each in runs) / REPEATS,
        sum(each.cpu_s for each in runs) / REPEATS,
        max(each.rss_mib_max for each in runs),
    )


def check(directory: Path, key: str, lines: int) -> None:
    """Make sure that our database holds what the script says, or nothing was measured."""
    filled = directory / "filled"
    run([str(LSMCLI), "our.lsm", "get", key], filled, stdout=directory / "value")
    run([str(LSMCLI), "our.lsm", "count"], filled, stdout=directory / "count")
    value, count = (directory / "value").read_text().strip(), int((directory / "count").read_text())
    if len(value) != rows.VALUE_SIZE or count < lines:
        raise SystemExit(f"of {lines} lines {count} were stored, and {key} holds {value!r}")


def measure(lines: int, rounds: int) -> tuple[list[report.Result], list[str]]:
    """All programs, in turn; and what was said by those that failed."""
    with tempfile.TemporaryDirectory(prefix="lsmcli-bench-") as name:
        directory = Path(name)
        key = write_scripts(directory, lines)
        every = list(cases(key, lines))
        for case in every:
            if not is_there(case.needs):
                tell(f"{case.name}: {case.needs} is not installed, left out")
        every = [case for case in every if is_there(case.needs)]
        fill(directory, every)
        check(directory, key, lines)
        runs: list[tuple[Case, list[Run]]] = [(case, []) for case in every]
        failures = []
        for number in range(1, rounds + 1):
            for case, found in list(runs):
                try:
                    found.append(measured(case, directory))
                except FailedError as error:
                    failures.append(f"{case.group}: {case.name}: {error}")
                    runs.remove((case, found))
                    continue
                tell(f"round {number}: {case.group}: {case.name}: {1000 * found[-1].wall_s:.1f} ms")
        results = [
            report.Result(case.group, case.name, shlex.join(case.command), case.peer, case.rows, found)
            for case, found in runs
        ]
        return results, failures


def table(results: Sequence[report.Result]) -> str:
    """Milliseconds of each program, and how many times as fast as the best of the others it is."""
    lines = []
    for group in report.groups_of(results):
        lines += [group, f"  {'':28}{'ms':>10}{'min ms':>10}{'speed':>9}"]
        best = report.best_peer(results, group)
        for result in (result for result in results if result.group == group):
            ratio = f"{best.wall_s / result.wall_s:.2f}x" if best is not None else ""
            fastest_s = min(run.wall_s for run in result.runs)
            times = f"{1000 * result.wall_s:10.1f}{1000 * fastest_s:10.1f}"
            lines.append(f"  {result.name:28}{times}{ratio:>9}")
        lines.append("")
    wall_s = {result.name: result.wall_s for result in results}
    if "lsmcli get" in wall_s:
        share = wall_s["lsmcli get"] / wall_s["python -c 'import click'"]
        lines.append(f"lsmcli get takes {share:.2f} times as long as python -c 'import click' (at most 1.6)")
    return "\n".join(lines) + "\n"


def main(words: Sequence[str] | None = None) -> int:
    """Measure, print, and write the figures into the output directory."""
    parser = argparse.ArgumentParser(description="Single commands and scripts beside the programs of other stores.")
    parser.add_argument("--lines", type=int, default=100_000, help="puts of a script, and entries to get from [100000]")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, metavar="DIR", help="write command_lines.txt and .json there")
    wanted = parser.parse_args(words)
    results, failures = measure(wanted.lines, wanted.rounds)
    text = table(results) + "".join(f"FAILED: {failure}\n" for failure in failures)
    print(text)
    if wanted.output is not None:
        wanted.output.mkdir(parents=True, exist_ok=True)
        (wanted.output / "command_lines.txt").write_text(text)
        machine: dict[str, object] = {"python": platform.python_version(), "cores": os.cpu_count()}
        (wanted.output / "command_lines.json").write_text(report.as_json(results, machine) + "\n")
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
