"""The page about the command line is true: its console blocks are run, and show what happens.

pytest tests/test_docs_cli.py --rewrite      writes what happens into the page; review the difference
"""

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from lsmcli.cli import COMMANDS, EXIT_CODES

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "cli.md"
BLOCK = re.compile(r"(?<=^```console\n).*?(?=^```$)", re.M | re.S)

# What differs between runs, and what stands for it on the page.
VARYING = [
    (re.compile(r"seconds=\d+\.\d+"), "seconds=0.001"),
    (re.compile(r"kills=\d+ steps=\d+"), "kills=1 steps=500"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"), "2026-01-01T00:00:00Z"),
]


class Shell:
    """Runs commands one after the other in one directory, with `lsmcli` on the path; `$?` is that of the one before."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.code = 0
        programs = directory / "bin"
        programs.mkdir()
        program = programs / "lsmcli"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m lsmcli "$@"\n')
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        self.work = directory / "work"
        self.work.mkdir()
        self.environment = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "LC_ALL": "C.UTF-8",
            "HOME": str(directory),
        }

    def run(self, command: str) -> str:
        """What a command prints, on both outputs."""
        done = subprocess.run(
            ["bash", "-c", f"(exit {self.code}); {command}"],
            cwd=self.work,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=60,
            check=False,
        )
        self.code = done.returncode
        output = done.stdout.decode()
        for pattern, replacement in VARYING:
            output = pattern.sub(replacement, output)
        return output if not output or output.endswith("\n") else output + "\n"


def replayed(block: str, shell: Shell) -> str:
    """The block with the output that its commands have now."""
    commands = [line[2:] for line in block.splitlines() if line.startswith("$ ")]
    assert block.startswith("$ ")
    return "".join(f"$ {command}\n{shell.run(command)}" for command in commands)


def test_the_examples_show_what_happens(tmp_path: Path, rewrite: bool) -> None:
    text = PAGE.read_text("utf-8")
    shell = Shell(tmp_path)
    now = BLOCK.sub(lambda match: replayed(match[0], shell), text)
    if rewrite:
        PAGE.write_text(now, "utf-8")
    assert now.splitlines() == PAGE.read_text("utf-8").splitlines()
    assert "internal error" not in now


def test_a_wrong_example_is_noticed(tmp_path: Path) -> None:
    block = "$ echo a\nb\n$ false\n$ echo $?\n1\n"
    assert replayed(block, Shell(tmp_path)) == "$ echo a\na\n$ false\n$ echo $?\n1\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example(name: str) -> None:
    examples = "".join(BLOCK.findall(PAGE.read_text("utf-8")))
    assert re.search(rf"lsmcli (-\S+ \S+ )?(\w+\.lsm )?{name}\b(?!-)", examples)


def test_every_exit_code_is_explained() -> None:
    codes = {code for _, code in EXIT_CODES} | {0, 1}
    rows = re.findall(r"^\| ([\d, ]+) \|", PAGE.read_text("utf-8"), re.M)
    assert {int(code) for row in rows for code in row.split(",")} == codes
