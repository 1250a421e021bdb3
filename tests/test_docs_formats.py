"""The page about formats is true: each source on it gives the rows, or the error, that follow."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from lsmcli.formats import InputError, tsv
from lsmcli.formats.detect import SIGNATURES, format_of_source
from lsmcli.formats.rows import ReadOptions
from tests.formats.streams import pairs_read

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "formats.md").read_text("utf-8")
EXAMPLE = re.compile(r"^```(csv|tsv|jsonl|json)((?: [^\n]*)?)\n(.*?)^```\n\n```(rows|error)\n(.*?)^```$", re.M | re.S)
SWITCHES: dict[str, dict[str, Any]] = {"--header": {"header": True}, "--lenient": {"lenient": True}}
NAMES = {
    "--key-column": "key",
    "--value-column": "value",
    "--key-template": "key_template",
    "--value-format": "value_format",
}


def options_of(words: str) -> ReadOptions:
    """The words behind the name of a format, as a reader gets them from the command."""
    options: dict[str, Any] = {}
    rest = iter(shlex.split(words))
    for word in rest:
        options |= SWITCHES[word] if word in SWITCHES else {NAMES[word]: next(rest)}
    return ReadOptions(**options)


@pytest.mark.parametrize("example", EXAMPLE.findall(PAGE), ids=lambda example: f"{example[0]}{example[1]}")
def test_the_examples_are_what_happens(example: tuple[str, ...]) -> None:
    name, words, source, kind, expected = example
    assert format_of_source("-", source.encode()) == name
    try:
        found = pairs_read(name, source.encode(), options_of(words))
    except InputError as error:
        assert (kind, expected) == ("error", f"{error.line}:{error.column}: {error.reason}\n")
    else:
        shown = tsv.lines_of([key for key, _ in found], [value for _, value in found if value is not None])
        assert (kind, expected) == ("rows", shown.decode())


def test_every_block_is_an_example() -> None:
    assert len(EXAMPLE.findall(PAGE)) * 4 == PAGE.count("```") > 80


def test_the_table_of_endings_is_that_of_the_program() -> None:
    for signature in SIGNATURES:
        if signature.name in ("csv", "tsv", "jsonl", "json"):
            assert f"| `{signature.name}` | {' '.join(f'`{ending}`' for ending in signature.endings)} |" in PAGE
