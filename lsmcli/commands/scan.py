"""scan: print the entries of a range in key order."""

from collections.abc import Iterable, Iterator, Sequence

import click

from lsmcli.commands.arguments import (
    DataArguments,
    data_options,
    json_option,
    shown_pairs,
    write_all,
)
from lsmcli.commands.group import Command
from lsmcli.commands.output import COLOR_KEY, COLOR_OFF
from lsmcli.commands.ranges import key_range, range_options
from lsmcli.formats.rows import chunks_of, columns_of


@click.command(
    "scan",
    cls=Command,
    examples="""
        scan
        scan --prefix user: --limit 10
        scan --from 2024 --to 2025 --reverse
        scan --keys-only -0 | xargs -0 -n1 echo
        scan --json
    """,
)
@range_options
@click.option("--reverse", is_flag=True, help="From the last key to the first.")
@click.option("--limit", type=click.IntRange(min=0), metavar="N", help="At most N entries.")
@click.option("--keys-only", is_flag=True, help="Print keys, one per line; values are not read.")
@click.option("--values-only", is_flag=True, help="Print values, one per line.")
@click.option("-0", "--print0", is_flag=True, help="Print raw bytes, and NUL after each key and each value.")
@json_option
@data_options(reads=True)
def command(
    data: DataArguments, key_from: str | None, key_to: str | None, prefix: str | None, reverse: bool,
    limit: int | None, keys_only: bool, values_only: bool, print0: bool, as_json: bool,
) -> None:  # fmt: skip
    """Print entries in key order, a line KEY TAB VALUE for each, as they are found.

    Bounds are half-open: --from is included, --to is not. A field of printable text is printed as it is; any other
    in double quotes with escapes, so that no field holds a tab or a line end. `import` reads these lines.
    """
    if keys_only and values_only:
        raise click.UsageError("--keys-only excludes --values-only")
    if print0 and as_json:
        raise click.UsageError("--print0 excludes --json")
    keys = key_range(data, key_from, key_to, prefix)
    pairs = data.read().scan(*keys, reverse=reverse, limit=limit, keys_only=keys_only)
    parts = (0,) if keys_only else (1,) if values_only else (0, 1)
    if as_json:
        pieces = json_pieces(pairs, parts, ascii_only=data.session.out_is_terminal())
    elif print0:
        pieces = (b"".join([pair[part] + b"\0" for pair in chunk for part in parts]) for chunk in chunks_of(pairs))
    else:
        pieces = line_pieces(data, pairs, parts)
    write_all(data.session, pieces)


def line_pieces(data: DataArguments, pairs: Iterable[tuple[bytes, bytes]], parts: Sequence[int]) -> Iterator[bytes]:
    """Lines of fields between tabs, in the formats that were chosen."""
    from lsmcli.commands.encoding import CODECS
    from lsmcli.formats import tsv

    auto = CODECS["auto"]
    in_color = data.session.out_in_color()
    if parts == (0, 1) and not in_color and data.key_codec is auto and data.value_codec is auto:
        yield from tsv.pieces_of_columns(columns_of(pairs))
        return
    before, after = (COLOR_KEY, COLOR_OFF) if in_color else (b"", b"")
    for chunk in chunks_of(pairs):
        rows = ((before + key + after, value) for key, value in shown_pairs(data, chunk))
        yield b"".join([b"\t".join([row[part] for part in parts]) + b"\n" for row in rows])


def json_pieces(pairs: Iterable[tuple[bytes, bytes]], parts: Sequence[int], *, ascii_only: bool) -> Iterator[bytes]:
    """One object per line, with the members that were asked for."""
    from lsmcli.formats import json_text, jsonl

    if parts == (0, 1):
        yield from jsonl.pieces_of_columns(columns_of(pairs), ascii_only=ascii_only)
        return
    part = parts[0]
    name = ("key", "value")[part]
    for chunk in chunks_of(pairs):
        texts = [json_text.text_of(pair[part], ascii_only=ascii_only) for pair in chunk]
        yield "".join([f'{{"{name}": {text}}}\n' for text in texts]).encode()
