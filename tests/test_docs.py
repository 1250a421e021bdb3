"""The documents are true: links lead somewhere, the map names every file, the examples run."""

import ast
import doctest
import re
from pathlib import Path

import pytest

from tests.test_style import ENGINE_ORDER
from tests.testing.transcript import replayed

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.*)$", re.M)
FENCED = re.compile(r"^```.*?^```$", re.M | re.S)
MAP = ROOT / "docs" / "ARCHITECTURE.md"
MAP_SECTION = re.compile(r"(?P<mark><!-- files: (?P<name>\w+) -->\n).*?(?=<!-- end -->)", re.S)


def anchor(heading: str) -> str:
    """The anchor of a heading: ("Bars and beats: nobody pays") = "bars-and-beats-nobody-pays"."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def broken_links(page: Path) -> list[str]:
    """Links of a page to files or headings that are not there; other sites are not asked."""
    broken = []
    for target in LINK.findall(FENCED.sub("", page.read_text("utf-8"))):
        if "://" in target:
            continue
        path, _, fragment = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        if not linked.exists():
            broken.append(target)
            continue
        anchors = {anchor(heading) for heading in HEADING.findall(linked.read_text("utf-8"))} if fragment else {""}
        if fragment not in anchors:
            broken.append(target)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    assert broken_links(page) == []


def test_a_broken_link_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A title: two\n[a](gone.md) [b](#a-title-two) [c](#elsewhere) [d](https://example.org)\n")
    assert broken_links(page) == ["gone.md", "#elsewhere"]


def opening(path: Path) -> str:
    """The first paragraph of a file's docstring, in one line."""
    text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    return " ".join(text.partition("\n\n")[0].split()).replace("|", "\\|")


def map_rows(name: str) -> str:
    """The rows of one section of the map."""
    package = ROOT / "lsmcli"
    if name == "engine":
        files = [package / "engine" / f"{module}.py" for module in ENGINE_ORDER]
    else:
        files = sorted(path for path in package.rglob("*.py") if path.parent.name != "engine")
        files.sort(key=lambda path: len(path.relative_to(package).parts))
    files = [path for path in files if path.exists() and path.read_text("utf-8").strip()]
    rows = [f"| `{path.relative_to(package).as_posix().removeprefix('engine/')}` | {opening(path)} |" for path in files]
    return "\n".join(["| file | |", "| --- | --- |", *rows]) + "\n"


def test_the_map_names_every_file_with_its_opening(rewrite: bool) -> None:
    page = MAP.read_text("utf-8")
    expected = MAP_SECTION.sub(lambda found: found["mark"] + map_rows(found["name"]), page)
    if rewrite:
        MAP.write_text(expected, "utf-8")
    else:
        assert page == expected, "run: pytest --rewrite tests/test_docs.py"


def test_the_examples_of_the_library_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    results = doctest.testfile(
        str(ROOT / "docs" / "library.md"), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE
    )
    assert results.attempted > 20
    assert results.failed == 0


def test_the_tour_of_the_readme_shows_what_the_programs_print(tmp_path: Path, rewrite: bool) -> None:
    page = ROOT / "README.md"
    text = page.read_text("utf-8")
    now = replayed(text, tmp_path)
    if rewrite:
        page.write_text(now, "utf-8")
    else:
        assert text == now, "run: pytest --rewrite tests/test_docs.py"


def test_a_transcript_that_differs_is_noticed(tmp_path: Path) -> None:
    page = "text\n```console\n$ echo one\ntwo\n$ echo three >&2; exit 1\n```\n$ not a block\n"
    assert replayed(page, tmp_path) == page.replace("two\n", "one\n").replace("exit 1\n", "exit 1\nthree\n")
