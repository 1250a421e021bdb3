"""Click groups and commands of this program: examples in the help, lazy loading, suggestions on typos."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

from lsmcli.session import Session


def show_help(ctx: click.Context, param: click.Parameter, wanted: bool) -> None:
    """Print the help of the command and end."""
    if wanted and not ctx.resilient_parsing:
        print_text(ctx, ctx.get_help())
        ctx.exit()


def print_text(ctx: click.Context, text: str) -> None:
    """A text for people, with the data of the command if it has a session, for a shell sends that somewhere else."""
    session = ctx.find_object(Session)
    if session is None:
        click.echo(text)
    else:
        session.out.write(text.encode("utf-8", "surrogateescape") + b"\n")


def help_option() -> click.Option:
    """-h/--help. An option of our own, since click's looks for translations of its one line: 2 ms of every start."""
    return click.Option(
        ["-h", "--help"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        allow_from_autoenv=False,
        callback=show_help,
        help="Show this message and exit.",
    )


class Command(click.Command):
    """A command whose help shows examples before its options.

    examples: lines as one types them behind `lsmcli FILE`; a line that names lsmcli itself is shown as it is.
    """

    def __init__(self, name: str | None, *, examples: str = "", **attributes: Any) -> None:
        super().__init__(name, add_help_option=False, **attributes)
        self.params.append(help_option())
        self.examples = examples

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Description, then examples."""
        super().format_help_text(ctx, formatter)
        write_examples(self.examples, formatter)


def write_examples(examples: str, formatter: click.HelpFormatter) -> None:
    """An Examples section, one line of input per line of output."""
    lines = [line.strip() for line in examples.strip().splitlines()]
    if lines:
        with formatter.section("Examples"):
            for line in lines:
                shown = line if "lsmcli" in line else f"lsmcli my.lsm {line}"
                formatter.write(f"{'':>{formatter.current_indent}}{shown}\n")


class Group(click.Group):
    """A group that lists its commands from a table, imports only the one that is called, and suggests near names."""

    command_class = Command

    def __init__(
        self, *args: Any, table: Mapping[str, tuple[str, str]] | None = None, examples: str = "", **attributes: Any
    ) -> None:
        """table: command -> (module that holds it as `command`, one line of help)."""
        super().__init__(*args, add_help_option=False, **attributes)
        self.params.append(help_option())
        self.table = dict(table or {})
        self.examples = examples

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the table, then of definition."""
        return [*self.table, *self.commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now if it is in the table."""
        if cmd_name in self.table:
            command: click.Command = import_module(self.table[cmd_name][0]).command
            return command
        return self.commands.get(cmd_name)

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Description, then examples."""
        super().format_help_text(ctx, formatter)
        write_examples(self.examples, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands with their one-line help, none of them imported for it."""
        rows = [(name, line) for name, (_, line) in self.table.items()]
        rows += [(name, command.get_short_help_str(limit=90)) for name, command in self.commands.items()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that args[0] names; UsageError with near names if there is none."""
        command = self.get_command(ctx, args[0])
        if command is not None:
            return args[0], command, args[1:]
        raise click.UsageError(self.unknown_command(ctx, args[0]), ctx)

    def unknown_command(self, ctx: click.Context, name: str) -> str:
        """The message for a word that is no command."""
        from difflib import get_close_matches

        near = get_close_matches(name, self.list_commands(ctx), n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"one of {', '.join(self.list_commands(ctx))}"
        return f"no command {name!r}: {hint}"
