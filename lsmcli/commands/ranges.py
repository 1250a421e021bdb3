"""Ranges of keys as options: --from, --to and --prefix."""

from typing import NamedTuple

import click

from lsmcli.commands.arguments import Callback, DataArguments


class KeyRange(NamedTuple):
    """Keys from `start` to before `end`, or with a prefix; None: no bound."""

    start: bytes | None
    end: bytes | None
    prefix: bytes | None


def range_options(function: Callback) -> Callback:
    """--from, --to and --prefix, as `key_from`, `key_to` and `prefix`."""
    for decorator in (
        click.option("--prefix", metavar="KEY", help="Only keys that start with this; excludes --from and --to."),
        click.option("--to", "key_to", metavar="KEY", help="Before this key."),
        click.option("--from", "key_from", metavar="KEY", help="From this key on."),
    ):
        function = decorator(function)
    return function


def key_range(data: DataArguments, key_from: str | None, key_to: str | None, prefix: str | None) -> KeyRange:
    """The range that the options mean; UsageError if a prefix is given beside bounds."""
    if prefix is not None and (key_from is not None or key_to is not None):
        raise click.UsageError("--prefix excludes --from and --to")
    return KeyRange(*(None if text is None else data.bound(text) for text in (key_from, key_to, prefix)))
