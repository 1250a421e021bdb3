"""Words that only the shell knows, each a click command like all others, so that help and completion know them too."""

import io
import os
import shutil
import time
from collections.abc import Iterator
from typing import Final

import click

from lsmcli.commands.arguments import write_all
from lsmcli.commands.group import Command, print_text
from lsmcli.engine.errors import ScopeError, StateError
from lsmcli.formats.esc import plain, safe_text
from lsmcli.repl.builtins import BUILTINS as BUILTINS_OF_SCRIPTS
from lsmcli.repl.changes import Difference, differences
from lsmcli.repl.loop import Shell, Target
from lsmcli.repl.words import word_text

pass_shell = click.make_pass_decorator(Shell)

COLOR_ADDED: Final = b"\x1b[32m"
COLOR_REMOVED: Final = b"\x1b[31m"
COLOR_OFF: Final = b"\x1b[0m"
SCREEN_HOME: Final = b"\x1b[H"
LINE_REST: Final = b"\x1b[K"
SCREEN_REST: Final = b"\x1b[J"
KEYS_HELP: Final = """\
Lines: words between white space, "..." with escapes, '...', # comment; > FILE, >> FILE, | COMMAND; <<END begins a
here-document; a \\ at the end goes on in the next line. Alt-Enter runs a text of several lines."""


@click.command(
    "help",
    cls=Command,
    examples="""
        help
        help put
        help scope begin
    """,
)
@click.argument("words", nargs=-1, metavar="[COMMAND]...")
@pass_shell
def help_(shell: Shell, words: tuple[str, ...]) -> None:
    """Show the commands, or how one of them is used, with examples."""
    if not words:
        print_text(shell.context, "\n".join([*command_lines(shell), "", KEYS_HELP]))
        return
    ctx = shell.context
    command: click.Command = shell.grammar
    rest = shell.grammar.expanded(list(words))
    while rest and isinstance(command, click.Group):
        name, found, rest = command.resolve_command(ctx, rest)
        assert found is not None
        command = found
        ctx = click.Context(command, info_name=name, parent=ctx)
    print_text(shell.context, command.get_help(ctx))


def command_lines(shell: Shell) -> Iterator[str]:
    """All commands with their one-line help."""
    width = max(map(len, shell.grammar.table))
    for name, (_, line) in shell.grammar.table.items():
        yield f"  {name:<{width}}  {line}"


@click.command("changes", cls=Command, examples="changes")
@pass_shell
def changes(shell: Shell) -> None:
    """Show what the open scope changes, in key order: a line - KEY TAB VALUE as it was, + KEY TAB VALUE as it is.

    It compares all entries, so on a large file it takes as long as two scans.
    """
    session = shell.session
    database = session.database()
    if database.scope_status() is None:
        raise ScopeError("no scope is open; begin one first")
    before = session.database(committed=True)
    in_color = session.out_in_color()
    names_before, names = before.trees(), database.trees()
    for name in dict.fromkeys([*names_before, *names]):
        old = before.tree(name).scan() if name in names_before else iter(())
        new = database.tree(name).scan() if name in names else iter(())
        head = f"tree {safe_text(name)}\n".encode() if len(names) > 1 or len(names_before) > 1 else b""
        write_all(session, change_pieces(differences(old, new), head, in_color=in_color))


def change_pieces(found: Iterator[Difference], head: bytes, *, in_color: bool) -> Iterator[bytes]:
    """The lines of differences behind a head, which stands only before some."""
    for added, key, value in found:
        sign = b"+ " if added else b"- "
        line = sign + plain(key) + b"\t" + plain(value)
        if in_color:
            line = (COLOR_ADDED if added else COLOR_REMOVED) + line + COLOR_OFF
        yield head + line + b"\n"
        head = b""


@click.command("undo", cls=Command, examples="undo")
@pass_shell
def undo(shell: Shell) -> None:
    """Take back the last command of this session that wrote, in one step; a script counts as one command.

    It is refused if another process has changed one of its keys since, if a scope began or ended, or if the command
    changed more than 100,000 keys.
    """
    count = shell.undo.undo(shell.session.database(write=True, create=False))
    shell.session.message(f"undone: {count} {'key is' if count == 1 else 'keys are'} as before")


@click.command("source", cls=Command, examples="source users.script")
@click.argument("script", metavar="SCRIPT")
@pass_shell
def source(shell: Shell, script: str) -> None:
    """Run the lines of SCRIPT, as `exec` does."""
    ctx = click.get_current_context()
    ctx.exit(shell.click_command(["exec", "--", script]))


@click.command(
    "alias",
    cls=Command,
    examples="""
        alias
        alias last = scan --reverse --limit 1
    """,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("words", nargs=-1, metavar="[NAME = COMMAND...]", type=click.UNPROCESSED)
@pass_shell
def alias(shell: Shell, words: tuple[str, ...]) -> None:
    """Let NAME stand for COMMAND and its first words; without arguments, show the aliases."""
    if not words:
        for name, meant in shell.aliases_of_user().items():
            print_text(shell.context, f"{safe_text(name)} = {line_of(meant)}")
        return
    if len(words) < 3 or words[1] != "=":
        raise click.UsageError("write it as: alias NAME = COMMAND")
    shell.set_alias(words[0], line_of(list(words[2:])))


def line_of(words: list[str]) -> str:
    """Words as one types them."""
    return " ".join(word_text(os.fsencode(word)).decode() for word in words)


@click.command(
    "watch",
    cls=Command,
    examples="""
        watch 1 inspect-levels
        watch --count 3 0.5 count --prefix user:
    """,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="Stop after N times.")
@click.argument("seconds", type=click.FloatRange(min=0.05, max=86_400), metavar="SECONDS")
@click.argument("words", nargs=-1, required=True, metavar="COMMAND...", type=click.UNPROCESSED)
@pass_shell
def watch(shell: Shell, count: int | None, seconds: float, words: tuple[str, ...]) -> None:
    """Run COMMAND every so many SECONDS and draw its result in place, until Ctrl-C."""
    command = shell.grammar.expanded(list(words))
    if command[0].lower() in ("watch", "edit"):
        raise click.UsageError(f"watch does not watch {'itself' if command[0].lower() == 'watch' else 'an editor'}")
    if shell.session.atomic:
        raise click.UsageError("watch lets go of the file between two rounds: not inside of --atomic")
    is_terminal = shell.session.out_is_terminal()
    done = 0
    try:
        while True:
            shown = result_of(shell, command)
            out = shell.session.out
            if is_terminal:
                columns, rows = shutil.get_terminal_size()
                out.write(screen_of(shown, rows=rows, columns=columns, first=done == 0))
            else:
                out.write(shown)
            out.flush()
            done += 1
            if done == count:
                return
            time.sleep(seconds)
    except KeyboardInterrupt:
        if is_terminal:
            shell.session.out.write(b"\n")


def result_of(shell: Shell, command: list[str]) -> bytes:
    """What a command prints now; the file is let go of."""
    from lsmcli.repl.outputs import sent_to

    result = io.BytesIO()
    with sent_to(shell.session, result):
        shell.command(command)
    shell.session.command_done()
    shell.session.close_writer()
    return result.getvalue()


def screen_of(shown: bytes, *, rows: int, columns: int, first: bool) -> bytes:
    """What draws the lines in place of those before, without a flicker; cut to the size of the screen."""
    lines = [line.decode(errors="replace")[:columns].encode() for line in shown.split(b"\n")[: max(1, rows - 1)]]
    start = SCREEN_HOME + SCREEN_REST if first else SCREEN_HOME
    return start + b"".join(line + LINE_REST + b"\n" for line in lines[:-1]) + lines[-1] + LINE_REST + SCREEN_REST


@click.command("timer", cls=Command, examples="timer on")
@click.argument("switch", type=click.Choice(["on", "off"]), metavar="on|off")
@pass_shell
def timer(shell: Shell, switch: str) -> None:
    """Show how long each command took."""
    shell.timer = switch == "on"


@click.command("mode", cls=Command, examples="mode json")
@click.argument("name", type=click.Choice(["text", "json"]), metavar="text|json")
@pass_shell
def mode(shell: Shell, name: str) -> None:
    """Choose how results are shown; json is --json for every command that has it."""
    shell.mode = name
    shell.has_plain_forms = name == "text"


def target_of(shell: Shell, path: str | None, *, tee: bool) -> Target | None:
    """A file for results, checked by opening it; None for no path or -."""
    if path is None or path == "-":
        return None
    from lsmcli.repl.outputs import opened_for_writing

    shell.session.refuse_outside(path)
    with opened_for_writing(path, shell.session.path, append=False):
        return Target(path, tee=tee)


@click.command(
    "output",
    cls=Command,
    examples="""
        output results.txt
        output
    """,
)
@click.argument("path", required=False, metavar="[FILE|-]")
@pass_shell
def output(shell: Shell, path: str | None) -> None:
    """Send the results of all commands that follow to FILE, which is replaced; without FILE, to the terminal again."""
    shell.target = target_of(shell, path, tee=False)


@click.command("once", cls=Command, examples="once result.txt")
@click.argument("path", metavar="FILE")
@pass_shell
def once(shell: Shell, path: str) -> None:
    """Send the results of the next command to FILE, which is replaced."""
    shell.target_once = target_of(shell, path, tee=False)


@click.command(
    "tee",
    cls=Command,
    examples="""
        tee log.txt
        tee
    """,
)
@click.argument("path", required=False, metavar="[FILE|-]")
@pass_shell
def tee(shell: Shell, path: str | None) -> None:
    """Send the results of all commands that follow to FILE too, which is replaced; without FILE, no more."""
    shell.target = target_of(shell, path, tee=True)


@click.command("open", cls=Command, examples="open other.lsm")
@click.argument("path", metavar="FILE")
@pass_shell
def open_(shell: Shell, path: str) -> None:
    """Go on with the data file FILE, which the first writing command creates if it is missing."""
    shell.session.refuse_outside(path)
    if shell.session.atomic:
        raise click.UsageError("--atomic ends in the file that it began in")
    if os.path.isdir(path):
        raise StateError(f"{safe_text(path)} is a folder: name a data file")
    shell.open_file(path)


@click.command(
    "edit",
    cls=Command,
    examples="""
        edit
        edit put crane '115 cm'
    """,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("words", nargs=-1, metavar="[WORD]...", type=click.UNPROCESSED)
@pass_shell
def edit(shell: Shell, words: tuple[str, ...]) -> None:
    """Open the last text of this session, or WORDs, in the editor; the lines that were saved are shown, and run.

    The editor is what VISUAL names, else EDITOR. Leaving it without saving runs nothing.
    """
    from lsmcli.repl.editor import edited

    shell.session.refuse_outside("edit")
    if shell.depth or shell.runs_edited:
        raise click.UsageError("edit is for lines that are typed: not in a script, nor in what was edited")
    shell.session.out.flush()
    shell.edited = edited((line_of(list(words)) if words else shell.text_last.rstrip("\n")) + "\n")
    if shell.edited is None:
        shell.session.message("the text was not saved: nothing of it runs")


BUILTINS: Final = {
    **BUILTINS_OF_SCRIPTS,
    "help": help_,
    "changes": changes,
    "undo": undo,
    "source": source,
    "alias": alias,
    "watch": watch,
    "timer": timer,
    "mode": mode,
    "output": output,
    "once": once,
    "tee": tee,
    "open": open_,
    "edit": edit,
}
