"""Console blocks of a document, run again: what a page shows is what the programs print.

    ```console
    $ lsmcli birds.lsm get wren
    9 cm
    ```

All blocks of a page run one after the other in one directory; standard error stands among the output, as on a
terminal. `replayed` returns the page with the real output in place of what was there, so a test compares two
strings, and `--rewrite` writes the second one.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BLOCK = re.compile(r"(?<=^```console\n).*?(?=^```$)", re.M | re.S)

# What differs from run to run, and what stands for it in a page.
VARYING = [
    (re.compile(r"\bseconds=[\d.]+"), "seconds=0.01"),
    (re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"), "2026-01-02T03:04:05Z"),
]


def programs(directory: Path) -> dict[str, str]:
    """An environment in which `lsmcli` and `python` are those that run the tests."""
    directory.mkdir()
    for name, command in (("python", f'"{sys.executable}"'), ("lsmcli", f'"{sys.executable}" -m lsmcli')):
        program = directory / name
        program.write_text(f'#!/bin/sh\nexec {command} "$@"\n', "utf-8")
        program.chmod(0o755)
    path = f"{directory}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LSMCLI_")}
    return kept | {"PATH": path, "PYTHONPATH": str(ROOT), "COLUMNS": "100", "LC_ALL": "C.UTF-8"}


def steady(output: str) -> str:
    """Output with what varies made steady."""
    for pattern, replacement in VARYING:
        output = pattern.sub(replacement, output)
    return output


def replayed(page: str, directory: Path) -> str:
    """The page with the present output of every command in its console blocks, run in a new folder of `directory`."""
    environment = programs(directory / "bin")
    work = directory / "work"
    work.mkdir()

    def run_block(block: re.Match[str]) -> str:
        lines = []
        for line in block.group().splitlines():
            if line.startswith("$ "):
                lines += [line + "\n", steady(run(line[2:], work, environment))]
        return "".join(lines)

    return BLOCK.sub(run_block, page)


def run(command: str, work: Path, environment: dict[str, str]) -> str:
    """What one command prints, on both streams."""
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=work, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        timeout=60, check=False,
    )  # fmt: skip
    return done.stdout.decode("utf-8")
