"""docs/internals/data_file.md shows every record of the format, and shows it as schema.py declares it.

The prose is written by hand; the tables between `<!-- record: Name -->` (or `enum:`, `zones`) and `<!-- end -->` are
made from schema.py, comments included, so that no fact stands in two places. `pytest --rewrite` makes them anew.
"""

import ast
import re
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path

from lsmcli.engine import constants, schema
from lsmcli.engine.value_block import encode_value_block

PAGE = Path(__file__).resolve().parent.parent / "docs" / "internals" / "data_file.md"
SECTION = re.compile(
    r"(?P<mark><!-- (?P<kind>record|enum|zones)(?:: (?P<name>\w+))? -->\n)(?P<table>.*?)(?=<!-- end -->)", re.S
)
TYPE_NAMES = {"B": "u8", "H": "u16", "I": "u32", "Q": "u64"}
TYPE_SIZES = {"B": 1, "H": 2, "I": 4, "Q": 8}

RECORDS = {value.record.__name__: value for value in vars(schema).values() if isinstance(value, schema.Layout)}
ENUMS = {
    name: value
    for name, value in vars(schema).items()
    if isinstance(value, type) and issubclass(value, IntEnum) and value is not IntEnum
}


def size_of(code: str) -> int:
    """Bytes of one field: ("H") = 2, ("16s") = 16."""
    return int(code[:-1]) if code.endswith("s") else TYPE_SIZES[code]


def comments_of(source: str, class_name: str) -> dict[str, str]:
    """The comment at the end of each field's line, by field."""
    lines = source.splitlines()
    body = next(node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == class_name)
    comments = {}
    for node in body.body:
        if isinstance(node, ast.AnnAssign):
            name = ast.unparse(node.target)
        elif isinstance(node, ast.Assign):
            name = ast.unparse(node.targets[0])
        else:
            continue
        _, *parts = lines[node.lineno - 1].split("  # ")
        said = "; ".join(part for part in parts if not part.startswith(("type: ignore", "noqa")))
        comments[name] = re.sub(r"^hides tuple\.\w+\. ", "", said).replace("|", "\\|")
    return comments


SCHEMA_SOURCE = Path(schema.__file__).read_text("utf-8")


def record_table(name: str) -> str:
    """Offset, size, type, name and meaning of every field of a record."""
    layout = RECORDS[name]
    comments = comments_of(SCHEMA_SOURCE, name)
    rows = ["| offset | size | type | field | |", "| ---: | ---: | --- | --- | --- |"]
    offset = 0
    for field, code in layout.fields:
        type_name = TYPE_NAMES.get(code, "bytes")
        rows.append(f"| {offset} | {size_of(code)} | {type_name} | `{field}` | {comments.get(field, '')} |")
        offset += size_of(code)
    assert offset == layout.size
    return "\n".join([*rows, f"| **{layout.size}** | | | | |"]) + "\n"


def enum_table(name: str) -> str:
    """The values of an enumeration and their names."""
    comments = comments_of(SCHEMA_SOURCE, name)
    rows = ["| value | name | |", "| ---: | --- | --- |"]
    rows += [f"| {member.value} | `{member.name}` | {comments.get(member.name, '')} |" for member in ENUMS[name]]
    return "\n".join(rows) + "\n"


def zones_table(_: str) -> str:
    """The zones at the head of the file."""
    kib, group_size = constants.KIB, constants.SUPERBLOCK_GROUP_COPIES * constants.SUPERBLOCK_COPY_SIZE
    zones = [
        (0, group_size, "superblock copies 0, 1, 2"),
        (constants.LOCK_OFFSET, constants.LOCK_SIZE, "lock sector: who is writing"),
        (constants.WAL_OFFSET_INITIAL, constants.WAL_SIZE_INITIAL, "first WAL ring, that of a new file"),
        (constants.WAL_OFFSET_SECOND, constants.WAL_SIZE_SECOND, "second WAL ring"),
        (constants.SUPERBLOCK_GROUP_B_OFFSET, group_size, "superblock copies 3, 4, 5"),
    ]
    rows = ["| offset | size | zone |", "| ---: | ---: | --- |"]
    rows += [f"| {offset // kib} KiB | {size // kib} KiB | {zone} |" for offset, size, zone in zones]
    rows += [f"| {constants.GRID_OFFSET // kib} KiB | n × block_size | grid: blocks 1 … n |"]
    assert all(a[0] + a[1] == b[0] for a, b in zip(zones, [*zones[1:], (constants.GRID_OFFSET,)], strict=True))
    return "\n".join(rows) + "\n"


TABLES: dict[str, Callable[[str], str]] = {"record": record_table, "enum": enum_table, "zones": zones_table}


def rewritten(page: str) -> str:
    """The page with every table made anew."""
    return SECTION.sub(lambda found: found["mark"] + TABLES[found["kind"]](found["name"] or ""), page)


def test_the_tables_are_those_of_the_schema(rewrite: bool) -> None:
    if rewrite:
        PAGE.write_text(rewritten(PAGE.read_text("utf-8")), "utf-8")
    page = PAGE.read_text("utf-8")
    assert page == rewritten(page), "run: pytest --rewrite tests/test_docs_data_file.py"


def test_every_record_and_enumeration_is_shown_once() -> None:
    shown = [found["name"] for found in SECTION.finditer(PAGE.read_text("utf-8")) if found["name"]]
    assert sorted(shown) == sorted([*RECORDS, *ENUMS])


def test_the_schema_was_read() -> None:
    assert {"BlockHeader", "Superblock", "WalRecordHeader"} <= set(RECORDS)
    assert {"BlockKind", "WalRecordKind"} <= set(ENUMS)


def test_the_version_is_named() -> None:
    assert f"Format version: {schema.FORMAT_VERSION}\n" in PAGE.read_text("utf-8")


def test_the_worked_example_of_a_value_block_is_what_the_code_writes() -> None:
    example = PAGE.read_text("utf-8").partition("A worked example")[2].partition("```\n")[2].partition("```")[0]
    digits = "".join(line.partition("   ")[0] for line in example.splitlines())
    flags = bytes([0, schema.FLAG_TOMBSTONE])
    body = encode_value_block([b"a", b"bc"], [b"xyz", b""], flags, constants.BLOCK_SIZE_DEFAULT)
    assert bytes.fromhex(digits) == body


def test_a_table_that_differs_is_noticed() -> None:
    page = "<!-- record: WalEntry -->\n| offset |\n<!-- end -->\n"
    assert rewritten(page) != page
    assert rewritten(rewritten(page)) == rewritten(page)
    assert "| 5 | 4 | u32 | `value_size` | of the bytes that follow" in rewritten(page)
