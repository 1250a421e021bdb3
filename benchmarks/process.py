"""One run of a program: how long it took, and the most memory that it had."""

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple


class Run(NamedTuple):
    """One process, from its start to its end."""

    wall_s: float
    cpu_s: float  # user and system, on all cores
    rss_mib_max: float


class FailedError(RuntimeError):
    """A program that did not end with success: what it measured is worth nothing."""


def run(command: Sequence[str], cwd: Path, *, stdin: Path | None = None, stdout: Path | None = None) -> Run:
    """Run a program to its end. stdin: a file, else nothing; stdout: a file that is replaced, else nowhere.

    Python programs keep the bytecode of what they import, as installed ones have it, whatever the environment says.
    Raises FailedError unless it exits with 0.
    """
    errors = cwd / "stderr"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with (
        open(stdin or os.devnull, "rb") as source,
        open(stdout or os.devnull, "wb") as dest,
        errors.open("wb") as log,
    ):
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=cwd, stdin=source, stdout=dest, stderr=log, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        said = errors.read_text(errors="replace").strip()
        raise FailedError(f"{' '.join(command)}: exit {process.returncode}: {said[-500:]}")
    return Run(wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
