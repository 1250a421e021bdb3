"""inspect-levels: the shape of every tree, level by level."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from lsmcli.commands.arguments import committed_option, json_option
from lsmcli.commands.group import Command
from lsmcli.commands.output import bar_text, entries_text, json_line, lines_bytes, scalar_text, size_text
from lsmcli.formats.esc import safe_text
from lsmcli.session import Session

HEADERS = ("level", "tables", "of", "fill", "kept", "entries", "tombstones", "bytes", "keys")
ALIGNMENT = ("right", "right", "right", "left", "right", "right", "right", "right", "left")
KEY_WIDTH_MAX = 20


@click.command(
    "inspect-levels",
    cls=Command,
    examples="""
        inspect-levels
        inspect-levels -t users
        inspect-levels --json
    """,
)
@click.option("-t", "--tree", "tree_name", metavar="NAME", help="Only this tree.")
@committed_option
@json_option
@click.pass_obj
def command(session: Session, tree_name: str | None, committed: bool, as_json: bool) -> None:
    """Show each tree: its levels with their tables and how full they are, its memory tables, its write amplification.

    "of" is how many tables a level may hold, "kept" counts tables that only a snapshot or an open scope still needs.
    Write amplification is bytes written to the file for each byte that was put, since the file was created.
    """
    trees = session.database(committed=committed).levels()
    if tree_name is not None:
        session.tree(tree_name, committed=committed)  # raises TreeError if there is none
        trees = [tree for tree in trees if tree["tree"] == tree_name]
    lines = map(json_line, trees) if as_json else report(trees)
    session.out.writelines(lines_bytes(lines))


def report(trees: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The report for people: a table and three lines per tree."""
    from tabulate import tabulate

    for index, tree in enumerate(trees):
        if index:
            yield ""
        yield f"tree {safe_text(tree['tree'])}{compression_text(tree['compression'])}"
        rows = [*map(level_row, tree["levels"]), total_row(tree["levels"])]
        table = tabulate(rows, HEADERS, tablefmt="simple", colalign=ALIGNMENT, disable_numparse=True)
        yield from (line.rstrip() for line in table.splitlines())
        yield from memory_lines(tree["memory"])
        yield f"write amplification: {amplification_text(tree['bytes_put'], tree['bytes_written'])}"


def compression_text(compression: str) -> str:
    """What stands behind the name of a tree: ("none") = "", ("zstd") = " (zstd)"."""
    return "" if compression == "none" else f" ({compression})"


def level_row(level: Mapping[str, Any]) -> tuple[str, ...]:
    """The row of one level."""
    part = level["tables"] / level["tables_max"] if level["tables_max"] else 0.0
    return (
        str(level["level"]),
        str(level["tables"]),
        str(level["tables_max"]),
        bar_text(part),
        str(level["tables_invisible"]),
        str(level["entries"]),
        str(level["tombstones"]),
        size_text(level["bytes"]),
        key_range_text(level["key_min"], level["key_max"]),
    )


def total_row(levels: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The row that sums the levels."""
    total = {name: sum(level[name] for level in levels) for name in (
        "tables", "tables_max", "tables_invisible", "entries", "tombstones", "bytes")}  # fmt: skip
    keys_min = [level["key_min"] for level in levels if level["key_min"] is not None]
    keys_max = [level["key_max"] for level in levels if level["key_max"] is not None]
    return (
        "all",
        str(total["tables"]),
        str(total["tables_max"]),
        "",
        str(total["tables_invisible"]),
        str(total["entries"]),
        str(total["tombstones"]),
        size_text(total["bytes"]),
        key_range_text(min(keys_min, default=None), max(keys_max, default=None)),
    )


def key_range_text(key_min: bytes | None, key_max: bytes | None) -> str:
    """A key range, each key shortened: (b"a", b"b") = "a .. b"."""
    if key_min is None or key_max is None:
        return ""
    return f"{key_text(key_min)} .. {key_text(key_max)}"


def key_text(key: bytes) -> str:
    """A key, shortened to KEY_WIDTH_MAX characters."""
    text = scalar_text(key)
    return text if len(text) <= KEY_WIDTH_MAX else text[: KEY_WIDTH_MAX - 3] + "..."


def memory_lines(memory: Mapping[str, Any]) -> Iterator[str]:
    """The memory tables: what they hold, and how far the bar is filled."""
    size = memory["memory_size"]
    for name in ("mutable", "immutable"):
        weight = memory[f"{name}_weight"]
        part = weight / size if size else 0.0
        entries = entries_text(memory[f"{name}_entries"])
        yield f"{name + ' table:':<17}{bar_text(part)} {entries}, {size_text(weight)} of {size_text(size)}"
    yield f"{'bar, beat:':<17}{memory['bar']}, {memory['beat']}"


def amplification_text(bytes_put: int, bytes_written: int) -> str:
    """Bytes written for each byte put: (100, 250) = "2.50 (250 B written, 100 B put)"."""
    ratio = f"{bytes_written / bytes_put:.2f}" if bytes_put else "-"
    return f"{ratio} ({size_text(bytes_written)} written, {size_text(bytes_put)} put)"
