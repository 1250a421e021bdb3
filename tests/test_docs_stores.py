"""The page about the formats of other stores is true: its examples run, and show what happens.

pytest tests/test_docs_stores.py --rewrite      writes what happens into the page; review the difference
"""

from pathlib import Path

from tests.testing.transcript import replayed

PAGE = Path(__file__).resolve().parent.parent / "docs" / "formats_stores.md"


def test_the_examples_show_what_the_programs_print(tmp_path: Path, rewrite: bool) -> None:
    text = PAGE.read_text("utf-8")
    now = replayed(text, tmp_path)
    assert text.count("\n$ ") >= 10
    if rewrite:
        PAGE.write_text(now, "utf-8")
    else:
        assert text == now, "run: pytest --rewrite tests/test_docs_stores.py"
