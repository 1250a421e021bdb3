"""delete: remove keys, or all keys of a range."""

import click

from lsmcli.commands.arguments import DataArguments, confirm, data_options, yes_option
from lsmcli.commands.encoding import quoted_for_message
from lsmcli.commands.group import Command
from lsmcli.commands.output import entries_text
from lsmcli.commands.ranges import KeyRange


@click.command(
    "delete",
    cls=Command,
    examples="""
        delete user:1 user:2
        delete --prefix session: --yes
        delete --range 2023 2024
        delete --range 2023 2024 --dry-run
    """,
)
@click.argument("keys", nargs=-1, metavar="[KEY]...")
@click.option("--range", "bounds", nargs=2, metavar="FROM TO", help="All keys from FROM to before TO.")
@click.option("--prefix", metavar="KEY", help="All keys that start with this.")
@click.option("-n", "--dry-run", is_flag=True, help="Print how many entries it would delete, and delete none.")
@yes_option
@data_options(reads=False, values=False)
def command(
    data: DataArguments, keys: tuple[str, ...], bounds: tuple[str, str] | None, prefix: str | None,
    dry_run: bool, yes: bool,
) -> None:  # fmt: skip
    """Remove KEYs, or all keys of a range or with a prefix, in one atomic step.

    A KEY that is absent is no error. For a range it tells how many entries it is about to delete and asks; where
    nobody can be asked it wants --yes. The data file is never created.
    """
    if (len(keys) > 0) + (bounds is not None) + (prefix is not None) != 1:
        raise click.UsageError("give either KEYs, or --range FROM TO, or --prefix KEY")
    if bounds is None and prefix is None:
        delete_keys(data, [data.key(word) for word in keys], dry_run)
        return
    key_range = range_of(data, bounds, prefix)
    if dry_run:
        count = data.read().count(*key_range)
        data.session.out.write(b"%d\n" % count)
        return
    if not yes:
        count = data.read().count(*key_range)
        if count == 0:
            data.session.message("deleted 0 entries")
            return
        if not confirm(data.session, f"Delete {entries_text(count)}?", yes):
            data.session.message("nothing was deleted")
            return
    count = data.write(create=False).delete_range(*key_range)
    data.session.message(f"deleted {entries_text(count)}")


def delete_keys(data: DataArguments, keys: list[bytes], dry_run: bool) -> None:
    """Remove keys in one atomic step."""
    if dry_run:
        count = sum(value is not None for value in data.read().get_many(keys))
        data.session.out.write(b"%d\n" % count)
        return
    tree = data.write(create=False)
    if len(keys) == 1:
        tree.delete(keys[0])
        return
    with tree.batch() as batch:
        for key in keys:
            batch.delete(key)


def range_of(data: DataArguments, bounds: tuple[str, str] | None, prefix: str | None) -> KeyRange:
    """The range to delete; UsageError if it is empty by its bounds, or would be everything by mistake."""
    if prefix is not None:
        start_of_keys = data.bound(prefix)
        if not start_of_keys:
            raise click.UsageError(f"the prefix {prefix!r} stands for no bytes: every key starts with it")
        return KeyRange(None, None, start_of_keys)
    assert bounds is not None
    start, end = map(data.bound, bounds)
    if start >= end:
        reason = f"FROM {quoted_for_message(start)} is not before TO {quoted_for_message(end)}"
        raise click.UsageError(f"the range is empty: {reason}")
    return KeyRange(start, end, None)
