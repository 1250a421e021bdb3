"""diff: what the trees of another data file hold that those of this one do not, and the other way round."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from lsmcli.commands.arguments import write_all
from lsmcli.commands.contents import Selection, selection_of, selection_options
from lsmcli.commands.group import Command
from lsmcli.commands.output import json_line
from lsmcli.engine.database import Database
from lsmcli.engine.differences import Difference, Side, Value, differences, value_bytes
from lsmcli.formats.esc import plain, safe_text
from lsmcli.session import Session

EXIT_DIFFERENT = 1

COLORS = {b"-": b"\x1b[31m", b"+": b"\x1b[32m", b"~": b"\x1b[33m"}
COLOR_OFF = b"\x1b[0m"


@click.command(
    "diff",
    cls=Command,
    examples="""
        diff copy.lsm
        diff copy.lsm --all-trees --brief
        diff old.lsm --prefix user: --format jsonl
    """,
)
@click.argument("other", metavar="OTHER")
@selection_options
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["text", "jsonl"]),
    default="text",
    show_default=True,
    help="jsonl: an object with key, old and new for each.",
)
@click.option("--brief", is_flag=True, help="Only tell whether they differ; ends at the first difference.")
@click.option("--summary", is_flag=True, help="Only print how many keys were added, removed and changed.")
@click.pass_context
def command(ctx: click.Context, /, other: str, format_name: str, brief: bool, summary: bool, **options: Any) -> None:
    """Print what differs from OTHER in key order, and exit with 0 for nothing, 1 for something, more for an error.

    A line is - KEY TAB VALUE for what only this file has, + KEY TAB VALUE for what only OTHER has, and ~ KEY TAB VALUE
    TAB VALUE, this one's first, where the values differ. Both are read as they are now, though writers may go on. Parts
    that a file and its copy still have in common are not read.
    """
    session: Session = ctx.obj
    if brief and summary:
        raise click.UsageError("--brief excludes --summary")
    selection = selection_of(session, **options)
    session.refuse_outside(other)
    counts = Counts()
    with both_opened(session, other, selection) as (database, database_other):
        pieces = all_pieces(database, database_other, selection, counts, as_json=format_name == "jsonl",
                            in_color=session.out_in_color() and format_name == "text")  # fmt: skip
        if brief:
            for _ in pieces:
                write_all(session, [f"{safe_text(session.path)} and {safe_text(other)} differ\n".encode()])
                break
        elif summary:
            for _ in pieces:
                continue
            write_all(session, [f"{counts.text()}\n".encode()])
        else:
            write_all(session, pieces)
            session.message(counts.text())
    if counts.any:
        ctx.exit(EXIT_DIFFERENT)


class Counts:
    """How many differences were met so far."""

    __slots__ = ("added", "changed", "removed", "trees")

    def __init__(self) -> None:
        self.added = self.removed = self.changed = 0
        self.trees = 0  # that only one of the files has

    @property
    def any(self) -> bool:
        """Whether there is a difference."""
        return bool(self.added or self.removed or self.changed or self.trees)

    def text(self) -> str:
        """The summary."""
        trees = f" trees={self.trees}" if self.trees else ""
        return f"added={self.added} removed={self.removed} changed={self.changed}{trees}"


@contextmanager
def both_opened(session: Session, other: str, selection: Selection) -> Iterator[tuple[Database, Database]]:
    """Both files, open for reading, each held in its state."""
    import lsmcli

    database = session.database(committed=selection.committed)
    with database.pinned(), lsmcli.open(other, "r", committed=selection.committed) as database_other:
        with database_other.pinned():
            yield database, database_other


def all_pieces(
    old: Database, new: Database, selection: Selection, counts: Counts, *, as_json: bool, in_color: bool
) -> Iterator[bytes]:
    """The lines of all trees that are compared."""
    names = selection.names_in(old)
    if not selection.names:
        names = sorted({*names, *new.trees()}, key=lambda name: name.encode(errors="surrogateescape"))
    for name in names:
        sides = []
        for database in (old, new):
            there = bool(selection.names) or name in database.trees()
            sides.append(Side(database, database.tree_id(name) if there else None))
        head = b"" if len(names) == 1 or as_json else f"tree {safe_text(name)}\n".encode()
        lonely = [sign for sign, side in zip("-+", sides, strict=True) if side.tree() is None]
        if lonely:
            counts.trees += 1
            sign = "+" if lonely == ["-"] else "-"
            yield json_line({"tree": name, "only": sign}).encode() + b"\n" if as_json else b"%s tree %s\n" % (
                sign.encode(), safe_text(name).encode(),
            )  # fmt: skip
            head = b""
        for difference in differences(sides[0], sides[1], selection.start, selection.end):
            if as_json:
                yield json_text(difference, None if len(names) == 1 else name, counts)
            else:
                yield head + text_line(difference, counts, in_color=in_color)
                head = b""


def text_line(difference: Difference, counts: Counts, *, in_color: bool) -> bytes:
    """One difference as a line of text, counted."""
    sign, values = counted(difference, counts)
    line = b"%s %s\t%s" % (sign, plain(difference.key), b"\t".join(plain(value_bytes(value)) for value in values))
    return (COLORS[sign] + line + COLOR_OFF if in_color else line) + b"\n"


def json_text(difference: Difference, tree: str | None, counts: Counts) -> bytes:
    """One difference as a line of JSON, counted; a key that is not there has no old, or no new."""
    counted(difference, counts)
    row: dict[str, Any] = {} if tree is None else {"tree": tree}
    row["key"] = difference.key
    if difference.old is not None:
        row["old"] = value_bytes(difference.old)
    if difference.new is not None:
        row["new"] = value_bytes(difference.new)
    return json_line(row).encode("utf-8", "surrogateescape") + b"\n"


def counted(difference: Difference, counts: Counts) -> tuple[bytes, list[Value]]:
    """The sign of a difference and the values that there are."""
    if difference.old is None:
        counts.added += 1
        sign = b"+"
    elif difference.new is None:
        counts.removed += 1
        sign = b"-"
    else:
        counts.changed += 1
        sign = b"~"
    return sign, [value for value in (difference.old, difference.new) if value is not None]
