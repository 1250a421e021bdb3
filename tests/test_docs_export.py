"""The page about export, checksum, diff and backup is true: its console blocks are run, and show what happens.

pytest tests/test_docs_export.py --rewrite      writes what happens into the page; review the difference
"""

from pathlib import Path

from tests.test_docs_cli import BLOCK, ROOT, Shell, replayed

PAGE = ROOT / "docs" / "export.md"


def test_the_examples_show_what_happens(tmp_path: Path, rewrite: bool) -> None:
    text = PAGE.read_text("utf-8")
    shell = Shell(tmp_path)
    now = BLOCK.sub(lambda match: replayed(match[0], shell), text)
    if rewrite:
        PAGE.write_text(now, "utf-8")
    assert now.splitlines() == PAGE.read_text("utf-8").splitlines()
    assert "internal error" not in now


def test_every_proof_in_one_line_says_the_same() -> None:
    recipes = next(block for block in BLOCK.findall(PAGE.read_text("utf-8")) if "echo the same" in block)
    commands = [line for line in recipes.splitlines() if line.startswith("$ ")]
    assert [line for line in recipes.splitlines() if not line.startswith("$ ")] == ["the same"] * len(commands)
