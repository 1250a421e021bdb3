"""get: print the values of keys."""

from collections.abc import Iterator, Sequence

import click

from lsmcli.commands.arguments import DataArguments, data_options, json_option
from lsmcli.commands.encoding import quoted_for_message
from lsmcli.commands.group import Command

KEYS_AT_ONCE = 64  # so many lookups overlap their reads


@click.command(
    "get",
    cls=Command,
    examples="""
        get user:1
        get user:1 user:2
        get --raw report > report.pdf
        get --value-format hex u64be:42
    """,
)
@click.argument("keys", nargs=-1, required=True, metavar="KEY...")
@click.option("--raw", is_flag=True, help="Print the bytes of the value and nothing else, not even a line end.")
@json_option
@data_options(reads=True)
@click.pass_context
def command(ctx: click.Context, data: DataArguments, keys: tuple[str, ...], raw: bool, as_json: bool) -> None:
    """Print the value of KEY; of several keys, a line KEY TAB VALUE for each.

    A value of printable text is shown as it is; any other in double quotes, with escapes such as \\n and \\x00.
    If a key is absent the exit code is 1, and nothing is printed for it on standard output.
    """
    if not print_values(data, keys, raw=raw, as_json=as_json):
        ctx.exit(1)


def print_values(data: DataArguments, keys: Sequence[str], *, raw: bool = False, as_json: bool = False) -> bool:
    """Print the values that are there, name the absent keys in messages, and tell whether there were none of those."""
    if raw and (len(keys) > 1 or as_json):
        raise click.UsageError("--raw prints one value: it takes one KEY, and no --json")
    wanted = [data.key(word) for word in keys]
    tree = data.read()
    out = data.session.out
    absent = 0
    for start in range(0, len(wanted), KEYS_AT_ONCE):
        some = wanted[start : start + KEYS_AT_ONCE]
        values = tree.get_many(some) if len(some) > 1 else [tree.get(some[0])]
        for key, value in zip(some, values, strict=True):
            if value is None:
                absent += 1
                data.session.message(f"not found: {quoted_for_message(key)}")
            elif raw:
                out.write(value)
            else:
                out.writelines(lines_for(data, key, value, as_json=as_json, with_key=len(wanted) > 1))
    return absent == 0


def colored(data: DataArguments, shown: bytes) -> bytes:
    """A key in colour, where output is coloured."""
    if not data.session.out_in_color():
        return shown
    from lsmcli.commands.output import COLOR_KEY, COLOR_OFF

    return COLOR_KEY + shown + COLOR_OFF


def lines_for(data: DataArguments, key: bytes, value: bytes, *, as_json: bool, with_key: bool) -> Iterator[bytes]:
    """The line for one entry."""
    if as_json:
        from lsmcli.formats import jsonl

        yield from jsonl.pieces_of_columns([([key], [value])], ascii_only=data.session.out_is_terminal())
        return
    if with_key:
        yield colored(data, data.key_codec.show(key)) + b"\t"
    yield data.value_codec.show(value)
    yield b"\n"
