"""How much of the engine the tests must reach, by lines and branches, and whether they do.

    coverage json -q -o - | python -m tests.coverage_gate

What stands between a crash and the data is reached as a whole: each line of it, and each way that each decision can go.
The rest of the engine nearly so. Prints a table; exits with 1 when a group falls short, and names what is missing.
"""

import json
import sys
from collections.abc import Mapping
from typing import Any, Final

ENGINE: Final = "lsmcli/engine/"
ENGINE_MIN: Final = 95.0  # percent

# What must be reached as a whole, by files of the engine.
WHOLE: Final[dict[str, tuple[str, ...]]] = {
    "storage": (
        "storage", "storage_errors", "file_name", "file_system", "file_calls", "file_lock", "lock_holder",
        "scratch_file",
    ),
    "log": ("wal", "wal_entry", "wal_ring"),
    "superblock": ("superblock", "superblock_quorums"),
    "free set": ("free_set",),
    "manifest": ("manifest", "manifest_level", "manifest_log"),
    "recovery": ("wal_recovery", "replay", "data_file", "opening"),
}  # fmt: skip

Summary = Mapping[str, Any]


def percent(summaries: list[Summary]) -> float:
    """Of all lines and branches of some files, those that were reached. 100.0 of nothing."""
    reached = sum(each["covered_lines"] + each["covered_branches"] for each in summaries)
    every = sum(each["num_statements"] + each["num_branches"] for each in summaries)
    return 100.0 * reached / every if every else 100.0


def rows(report: Mapping[str, Any]) -> list[tuple[str, float, float]]:
    """Each group with what it has and what it needs, in percent. KeyError when a file of a group was not measured."""
    files = report["files"]
    found = [
        (group, percent([files[f"{ENGINE}{name}.py"]["summary"] for name in names]), 100.0)
        for group, names in WHOLE.items()
    ]
    engine = [entry["summary"] for path, entry in files.items() if path.startswith(ENGINE)]
    return [*found, ("engine", percent(engine), ENGINE_MIN)]


def missing(report: Mapping[str, Any]) -> list[str]:
    """What the groups that need all of it lack: a line for each file."""
    found = []
    for names in WHOLE.values():
        for name in names:
            entry = report["files"][f"{ENGINE}{name}.py"]
            lines = [str(line) for line in entry["missing_lines"]]
            branches = [f"{before}->{after}" for before, after in entry["missing_branches"]]
            if lines or branches:
                found.append(f"{ENGINE}{name}.py: {', '.join(lines + branches)}")
    return found


def main() -> int:
    """The command line; see the top of this file."""
    report = json.load(sys.stdin)
    table = rows(report)
    for group, has, needs in table:
        sys.stdout.write(f"{group:<12} {has:6.2f} %   of {needs:g} %\n")
    for line in missing(report):
        sys.stdout.write(f"not reached: {line}\n")
    return int(any(has < needs for _, has, needs in table))


if __name__ == "__main__":
    sys.exit(main())
