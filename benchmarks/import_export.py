"""Import and export beside the command lines of other stores: `make bench-import`.

    python -m benchmarks.import_export [--rows 1000000] [--rounds 5] [--large 10000000] [--output DIR] [--only TEXT]

Every program is started anew for every round, in a directory of its own, with an empty database (import) or the one
that its own import made (export). The programs of a group take turns, so that a busy moment of the machine meets
them all; medians are compared. Inputs are in the page cache: they were just written, and are read once before.

Durability differs: lsmcli, sqlite3, mdb_load and DuckDB sync what they stored before they end; ldb load does not.
"""

import argparse
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks import report, rows
from benchmarks.process import Run, run

LSMCLI = Path(sys.executable).parent / "lsmcli"

DUCKDB_IMPORT = """import duckdb
db = duckdb.connect("their.duckdb")
db.execute("CREATE TABLE kv(k VARCHAR PRIMARY KEY, v VARCHAR)")
db.execute("COPY kv FROM '{source}' (FORMAT csv, HEADER false, DELIMITER ',')")
db.close()"""

SQLITE_TABLE = "CREATE TABLE kv(k TEXT PRIMARY KEY, v TEXT)"
SQLITE_CLUSTERED = f"{SQLITE_TABLE} WITHOUT ROWID"

IMPORT = "import, {} rows"
EXPORT = "export, {} rows"


class Case(NamedTuple):
    """One program in one group. `stdin`, `needs`: names in the directory of inputs, and of programs or libraries."""

    group: str
    name: str
    command: list[str]
    stdin: str = ""
    stdout: bool = False  # what it prints is written to a file
    peer: bool = True
    needs: str = ""
    home: str = ""  # the directory whose database an export reads


def cases(count: int, inputs: Path, *, peers: bool) -> list[Case]:
    """Every program that is measured with so many rows."""

    def lsm(*words: str) -> list[str]:
        return [str(LSMCLI), "--quiet", "our.lsm", *words]

    imports = IMPORT.format(f"{count:,}")
    exports = EXPORT.format(f"{count:,}")
    ours = [
        Case(imports, "lsmcli import csv", lsm("import", str(inputs / "random.csv")), peer=False, home="lsmcli"),
        Case(imports, "lsmcli import tsv", lsm("import", str(inputs / "random.tsv")), peer=False),
        Case(imports, "lsmcli import csv, sorted", lsm("import", str(inputs / "sorted.csv")), peer=False),
        Case(imports, "lsmcli import tsv, sorted", lsm("import", str(inputs / "sorted.tsv")), peer=False),
    ]
    out = [
        Case(
            exports, "lsmcli export tsv", lsm("export", "--format", "tsv", "-"), stdout=True, peer=False, home="lsmcli"
        ),
        Case(
            exports, "lsmcli export csv", lsm("export", "--format", "csv", "-"), stdout=True, peer=False, home="lsmcli"
        ),
    ]
    if not peers:
        return [case for case in ours + out if "sorted" not in case.name and "import tsv" not in case.name]
    duckdb = DUCKDB_IMPORT.format(source=inputs / "random.csv")
    load = ["ldb", "--db=their", "--create_if_missing", "load"]
    theirs = [
        Case(imports, "ldb load", load, stdin="random.ldb", needs="ldb", home="ldb"),
        Case(
            imports, "ldb load, bulk, no log", [*load, "--bulk_load", "--disable_wal"],
            stdin="random.ldb", needs="ldb",
        ),
        Case(
            imports, "sqlite3 .import",
            ["sqlite3", "their.db", SQLITE_TABLE, ".mode csv", f".import {inputs / 'random.csv'} kv"],
            needs="sqlite3", home="sqlite3",
        ),
        Case(
            imports, "sqlite3 .import, WITHOUT ROWID",
            ["sqlite3", "their.db", SQLITE_CLUSTERED, ".mode csv", f".import {inputs / 'random.csv'} kv"],
            needs="sqlite3", home="sqlite3_clustered",
        ),
        Case(imports, "mdb_load", ["mdb_load", "-n", "-f", str(inputs / "random.lmdb"), "their.mdb"], needs="mdb_load",
             home="mdb_load"),
        Case(imports, "DuckDB COPY", [sys.executable, "-c", duckdb], needs="duckdb"),
    ]  # fmt: skip
    their_out = [
        Case(exports, "ldb scan", ["ldb", "--db=their", "scan"], stdout=True, needs="ldb", home="ldb"),
        Case(
            exports, "mdb_dump -p", ["mdb_dump", "-n", "-p", "their.mdb"],
            stdout=True, needs="mdb_load", home="mdb_load",
        ),
        Case(
            exports, "sqlite3 -csv, by key", ["sqlite3", "-csv", "their.db", "SELECT k, v FROM kv ORDER BY k"],
            stdout=True, needs="sqlite3", home="sqlite3",
        ),
        Case(
            exports, "sqlite3 -csv, WITHOUT ROWID",
            ["sqlite3", "-csv", "their.db", "SELECT k, v FROM kv ORDER BY k"],
            stdout=True, needs="sqlite3", home="sqlite3_clustered",
        ),
    ]  # fmt: skip
    return [*ours, *theirs, *out, *their_out]


def is_there(needed: str) -> bool:
    """Whether a program, or a library, is installed."""
    from importlib.util import find_spec

    return not needed or shutil.which(needed) is not None or find_spec(needed) is not None


def write_inputs(inputs: Path, count: int, *, peers: bool) -> None:
    """All input files, and one reading of each, which brings it into the page cache.

    By a process of its own: a child's peak of memory begins with what its parent has, and sorting takes a lot.
    """
    wanted = [("random", "csv")]
    if peers:
        wanted += [("random", "tsv"), ("random", "ldb"), ("random", "lmdb"), ("sorted", "csv"), ("sorted", "tsv")]
    for order, form in wanted:
        path = inputs / f"{order}.{form}"
        command = [sys.executable, "-m", "benchmarks.rows", str(path), form, str(count), order]
        subprocess.run(command, check=True, cwd=Path(__file__).parent.parent)
        with path.open("rb") as stream:
            while stream.read(1 << 20):
                pass


def measured(case: Case, directory: Path, inputs: Path) -> Run:
    """One round of a program. An import begins with an empty directory, an export with what the import left."""
    home = directory / (case.home or "scratch")
    if "import" in case.group:
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir()
    os.sync()  # what others wrote is not this program's to wait for
    result = run(
        case.command, home,
        stdin=inputs / case.stdin if case.stdin else None,
        stdout=directory / "output" if case.stdout else None,
    )  # fmt: skip
    if not case.home:
        shutil.rmtree(home)
    return result


def check_ours(directory: Path, count: int) -> None:
    """Make sure that what was measured is all of the work: our file holds every row, and our export too."""
    home = directory / "lsmcli"
    run([str(LSMCLI), "our.lsm", "count"], home, stdout=directory / "count")
    found = int((directory / "count").read_text())
    run([str(LSMCLI), "--quiet", "our.lsm", "export", "--format", "tsv", str(directory / "check.tsv")], home)
    with (directory / "check.tsv").open("rb") as stream:
        lines = sum(1 for _ in stream)
    if found != count or lines != count:
        raise SystemExit(f"of {count} rows {found} were imported and {lines} exported")


def measure(count: int, rounds: int, *, peers: bool, only: str) -> list[report.Result]:
    """All programs with so many rows."""
    with tempfile.TemporaryDirectory(prefix="lsmcli-bench-") as name:
        directory = Path(name)
        inputs = directory / "inputs"
        inputs.mkdir()
        tell(f"writing {count:,} rows")
        write_inputs(inputs, count, peers=peers)
        every = cases(count, inputs, peers=peers)
        homes = {case.home for case in every if only in case.name} - {""}  # an export reads what its import made
        chosen = [case for case in every if only in case.name or (case.home in homes and "import" in case.group)]
        for case in chosen:
            if not is_there(case.needs):
                tell(f"{case.name}: {case.needs} is not installed, left out")
        chosen = [case for case in chosen if is_there(case.needs)]
        runs: dict[str, list[Run]] = {case.name: [] for case in chosen}
        for number in range(1, rounds + 1):
            for case in chosen:
                runs[case.name].append(measured(case, directory, inputs))
                tell(f"round {number}: {case.name}: {runs[case.name][-1].wall_s:.2f} s")
        if any(case.name == "lsmcli import csv" for case in chosen):
            check_ours(directory, count)
        return [
            report.Result(
                case.group, case.name, shown(case, str(directory)), case.peer, count, runs[case.name]
            )
            for case in chosen
        ]  # fmt: skip


def shown(case: Case, directory: str) -> str:
    """A command as one would type it, without the names of temporary directories."""
    text = shlex.join(case.command).replace(f"{directory}/inputs/", "").replace(str(LSMCLI), "lsmcli")
    text = text.replace(sys.executable, "python").replace("\n", "; ")
    return text + (f" < {case.stdin}" if case.stdin else "") + (" > output" if case.stdout else "")


def tell(text: str) -> None:
    """A line about the progress, on standard error."""
    print(text, file=sys.stderr, flush=True)


def main(words: Sequence[str] | None = None) -> None:
    """Measure, print, and write the chart and the figures into the output directory."""
    parser = argparse.ArgumentParser(description="Import and export beside other tools.")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows beside the peers [1000000]")
    parser.add_argument("--large", type=int, default=0, help="rows of one more run of lsmcli alone [none]")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", metavar="TEXT", help="programs whose name has this in it")
    parser.add_argument("--output", type=Path, metavar="DIR", help="write import_export.svg and .json there")
    wanted = parser.parse_args(words)
    results = measure(wanted.rows, wanted.rounds, peers=True, only=wanted.only)
    if wanted.large:
        results += measure(wanted.large, 1, peers=False, only=wanted.only)
    about = f"{rows.KEY_SIZE} + {rows.VALUE_SIZE} bytes of text, random order, seed {rows.SEED}"
    print(f"Import and export of rows of {about}; {wanted.rounds} rounds in turn\n")
    print(report.table(results))
    print("Command lines:\n" + report.commands(results))
    if wanted.output is not None:
        wanted.output.mkdir(parents=True, exist_ok=True)
        machine: dict[str, object] = {"python": platform.python_version(), "cores": os.cpu_count(), "about": about}
        (wanted.output / "import_export.json").write_text(report.as_json(results, machine) + "\n")
        title = f"{wanted.rows:,} rows of {rows.KEY_SIZE} + {rows.VALUE_SIZE} bytes: median of {wanted.rounds} rounds"
        report.chart(results, wanted.output / "import_export.svg", title)


if __name__ == "__main__":
    main()
