"""The page about import shows what the program prints."""

from pathlib import Path

from tests.testing.transcript import ROOT, replayed

PAGE = ROOT / "docs" / "import.md"


def test_the_examples_of_the_page_show_what_happens(tmp_path: Path, rewrite: bool) -> None:
    text = PAGE.read_text("utf-8")
    now = replayed(text, tmp_path)
    if rewrite:
        PAGE.write_text(now, "utf-8")
    else:
        assert text == now, "run: pytest --rewrite tests/test_docs_import.py"
