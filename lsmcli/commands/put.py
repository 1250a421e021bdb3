"""put: store values under keys, all in one atomic step."""

from collections.abc import Sequence

import click

from lsmcli.commands.arguments import DataArguments, data_options
from lsmcli.commands.group import Command


@click.command(
    "put",
    cls=Command,
    examples="""
        put user:1 Ada
        put user:1 Ada user:2 Grace
        put report @report.pdf
        date | lsmcli my.lsm put now -
        put hex:00ff raw:hex:is-text-here
        put -- -5 negative
    """,
)
@click.argument("words", nargs=-1, required=True, metavar="KEY VALUE [KEY VALUE]...")
@data_options(reads=False)
def command(data: DataArguments, words: tuple[str, ...]) -> None:
    """Store each VALUE under its KEY: all of them or, if anything is wrong, none.

    A VALUE of - is read from standard input and @PATH from a file, both byte for byte. A KEY or VALUE may start
    with hex: b64: esc: u64be: u32be: i64be:, or with raw: which makes the rest literal; -L turns all of that off.
    The data file is created if it is missing. When the command ends, the data is on the disk.
    """
    store(data, words)


def store(data: DataArguments, words: Sequence[str]) -> None:
    """Store values under keys, given as alternating words, in one atomic step."""
    if len(words) == 2:
        key, value = data.key(words[0]), data.value(words[1])
        data.write().put(key, value)
    else:
        pairs = pairs_of(data, words)
        data.write().put_many(pairs)


def pairs_of(data: DataArguments, words: Sequence[str]) -> list[tuple[bytes, bytes]]:
    """Keys and values of alternating words; UsageError if the last key has no value."""
    if len(words) % 2:
        raise click.UsageError(f"no value for the key {words[-1]!r}")
    keys = [data.key(word) for word in words[0::2]]
    return list(zip(keys, map(data.value, words[1::2]), strict=True))
