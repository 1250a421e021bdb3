"""What the words of a line mean: the click commands of the command line, the words that only lines know, and aliases.

    "SET a 1"  ->  alias "set" = "put"  ->  command put, words a 1
    ".tables"  ->  alias                ->  command tree, word list

Invariants:
- names of commands and of built-in aliases may be written in any case; a command wins over an alias;
- an alias of the user is expanded once: it cannot refer to itself.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import click

from lsmcli.cli import COMMANDS
from lsmcli.commands.group import Group

# Words that people bring along from elsewhere.
ALIASES: Final[Mapping[str, Sequence[str]]] = {
    "set": ("put",),
    "del": ("delete",),
    "keys": ("scan", "--keys-only", "--prefix"),
    ".exit": ("exit",),
    ".quit": ("quit",),
    ".tables": ("tree", "list"),
    ".dump": ("export",),
    ".import": ("import",),
}

BUILTINS: Final = {
    "use": ("lsmcli.repl.builtins", "Work on another tree from here on."),
    "exit": ("lsmcli.repl.builtins", "Leave, with an exit code."),
    "quit": ("lsmcli.repl.builtins", "Leave, with an exit code."),
}


class Grammar(Group):
    """The commands that a line may begin with. Imports a command when it is asked for."""

    def __init__(
        self,
        builtins: Mapping[str, tuple[str, str]] = BUILTINS,
        aliases: Mapping[str, Sequence[str]] = ALIASES,
    ) -> None:
        """builtins: word -> (module that has it in its BUILTINS, one line of help)."""
        super().__init__(None, table={**COMMANDS, **builtins})
        self.aliases: dict[str, list[str]] = {name: list(words) for name, words in aliases.items()}

    def get_command(self, ctx: click.Context | None, cmd_name: str) -> click.Command | None:
        """The command of this name, in any case."""
        name = cmd_name.lower()
        entry = self.table.get(name)
        if entry is None:
            return None
        from importlib import import_module

        module = import_module(entry[0])
        command: click.Command = module.BUILTINS[name] if hasattr(module, "BUILTINS") else module.command
        return command

    def expanded(self, words: list[str]) -> list[str]:
        """The words with an alias at their beginning replaced."""
        if not words or words[0].lower() in self.table:
            return words
        alias = self.aliases.get(words[0].lower())
        if alias is None:
            return words
        if alias[-1] == "--prefix" and len(words) == 1:
            return alias[:-1]
        rest = [word.removesuffix("*") for word in words[1:]] if alias[-1] == "--prefix" else words[1:]
        return alias + rest

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that args[0] names; UsageError with near names if there is none."""
        command = self.get_command(ctx, args[0])
        if command is None:
            raise click.UsageError(self.unknown_command(ctx, args[0]))
        return args[0].lower(), command, args[1:]

    def list_commands(self, ctx: click.Context | None) -> list[str]:
        """All first words of lines, without the aliases."""
        return list(self.table)
