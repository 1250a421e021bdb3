"""The pages about the shell and about scripts are true: their examples run, and show what happens.

pytest tests/test_docs_shell.py --rewrite      writes what happens into the pages; review the difference
"""

import re
from io import BytesIO
from pathlib import Path

import pytest

from lsmcli.repl.loop import SHELL_ALIASES, SHELL_BUILTINS, Shell, shell_of
from lsmcli.repl.settings import Settings, settings_of
from lsmcli.session import Session
from tests.testing.transcript import programs, run, steady

DOCS = Path(__file__).resolve().parent.parent / "docs"
CONSOLE = re.compile(r"(?<=^```console\n).*?(?=^```$)", re.M | re.S)
SHELL = re.compile(r"(?<=^```shell\n).*?(?=^```$)", re.M | re.S)
PROMPT = "birds.lsm:main> "


def replayed_scripts(page: str, directory: Path) -> str:
    """The page with what its commands print now; lines that begin with "> " belong to the command before them."""
    environment = programs(directory / "bin")
    work = directory / "work"
    work.mkdir()
    code = 0

    def run_block(block: re.Match[str]) -> str:
        nonlocal code
        shown = []
        for command in re.findall(r"^\$ .*\n(?:^> .*\n)*", block.group(), re.M):
            text = "\n".join(line[2:] for line in command.splitlines())
            output = run(f'(exit {code}); {text}\necho "code $?"', work, environment)
            output, _, last = output.rpartition("code ")
            code = int(last)
            shown += [command, steady(output)]
        return "".join(shown)

    return CONSOLE.sub(run_block, page)


def replayed_shell(page: str, shell: Shell, capfd: pytest.CaptureFixture[str]) -> str:
    """The page with what the shell prints now."""

    def run_block(block: re.Match[str]) -> str:
        shown = []
        for line in block.group().splitlines():
            if line.startswith(PROMPT):
                out = BytesIO()
                before = shell.session.redirect(out)
                shell.run_text(line.removeprefix(PROMPT))
                shell.session.redirect(before)
                captured = capfd.readouterr()
                shown += [line + "\n", out.getvalue().decode() + captured.out + captured.err]
        return "".join(shown)

    return SHELL.sub(run_block, page)


def test_the_examples_of_scripts(tmp_path: Path, rewrite: bool) -> None:
    page = DOCS / "scripts.md"
    text = page.read_text("utf-8")
    now = replayed_scripts(text, tmp_path)
    if rewrite:
        page.write_text(now, "utf-8")
    else:
        assert text == now, "run: pytest --rewrite tests/test_docs_shell.py"


def test_the_examples_of_the_shell(
    tmp_path: Path, rewrite: bool, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    page = DOCS / "shell.md"
    text = page.read_text("utf-8")
    now = replayed_shell(text, shell_of(Session("birds.lsm"), Settings(), pager="", terminal=False), capfd)
    if rewrite:
        page.write_text(now, "utf-8")
    else:
        assert text == now, "run: pytest --rewrite tests/test_docs_shell.py"


def test_every_word_of_the_shell_is_named() -> None:
    text = (DOCS / "shell.md").read_text("utf-8")
    for name in [*SHELL_BUILTINS, *SHELL_ALIASES]:
        assert re.search(rf"[`\s]{re.escape(name)}[`\s]", text, re.I), name


def test_the_settings_of_the_page_are_settings() -> None:
    import tomllib

    text = (DOCS / "shell.md").read_text("utf-8")
    (block,) = re.findall(r"^```toml\n(.*?)^```$", text, re.M | re.S)
    table = tomllib.loads(block)
    assert set(table) == set(Settings._fields)
    assert settings_of(table).keys == "vi"


def test_a_wrong_example_is_noticed(tmp_path: Path) -> None:
    page = "```console\n$ cat <<E\n> a\n> E\nb\n$ false\n$ echo $?\n0\n```\n"
    assert replayed_scripts(page, tmp_path) == page.replace("\nb\n", "\na\n").replace("\n0\n", "\n1\n")
