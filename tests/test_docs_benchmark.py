"""The page about benchmarks shows what the program prints, and names every workload."""

from pathlib import Path

from lsmcli.benchmark.workloads import WORKLOADS
from tests.testing.transcript import ROOT, replayed

PAGE = ROOT / "docs" / "benchmark.md"


def test_the_examples_of_the_page_show_what_happens(tmp_path: Path, rewrite: bool) -> None:
    text = PAGE.read_text("utf-8")
    now = replayed(text, tmp_path)
    if rewrite:
        PAGE.write_text(now, "utf-8")
    else:
        assert text == now, "run: pytest --rewrite tests/test_docs_benchmark.py"


def test_every_workload_is_explained() -> None:
    text = PAGE.read_text("utf-8")
    assert [name for name in WORKLOADS if f"`{name}`" not in text and not name.startswith("ycsb-")] == []
