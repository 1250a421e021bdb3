"""The command line: global options, the list of commands, and the one place where an error becomes an exit code.

    lsmcli [GLOBAL OPTIONS] FILE COMMAND [ARGUMENTS]

    words -> Root (click) -> Session -> one command -> synced, flushed, closed -> exit code
                                 |
                                 +-- any error -> one line on standard error -> exit code

Invariants:
- an error is one line on standard error and never a traceback, unless LSMCLI_DEBUG=1 asks for one;
- the exit code is 0 only if what was written is on the disk and what was printed is out;
- only the module of the invoked command is imported.
"""

import os
import sys
from collections.abc import Sequence
from typing import Final

import click

from lsmcli.commands.group import Group
from lsmcli.engine import errors
from lsmcli.engine.constants import TREE_NAME_MAIN
from lsmcli.formats import InputError
from lsmcli.formats.esc import safe_text
from lsmcli.session import WAIT_S, Session, Terminated
from lsmcli.start import end_process, importing

EXIT_OK: Final = 0
EXIT_NEGATIVE: Final = 1
EXIT_USAGE: Final = 2
EXIT_LOCKED: Final = 3
EXIT_DAMAGED: Final = 4
EXIT_FILE: Final = 5
EXIT_INPUT: Final = 6
EXIT_FORMAT: Final = 7
EXIT_LIMIT: Final = 8
EXIT_INTERNAL: Final = 70
EXIT_INTERRUPTED: Final = 130
EXIT_PIPE: Final = 141
EXIT_TERMINATED: Final = 143

# The first line that an error is an instance of decides.
EXIT_CODES: Final[tuple[tuple[type[BaseException], int], ...]] = (
    (click.ClickException, EXIT_USAGE),
    (errors.LimitError, EXIT_LIMIT),
    (errors.ConflictError, EXIT_INPUT),
    (errors.StateError, EXIT_USAGE),
    (errors.LockedError, EXIT_LOCKED),
    (errors.SnapshotTooOldError, EXIT_LOCKED),
    (errors.DamageError, EXIT_DAMAGED),
    (errors.LibraryError, EXIT_FILE),
    (errors.FileError, EXIT_FILE),
    (errors.FormatError, EXIT_FORMAT),
    (InputError, EXIT_INPUT),
    (BrokenPipeError, EXIT_PIPE),
    (OSError, EXIT_FILE),
    (click.Abort, EXIT_INTERRUPTED),
    (KeyboardInterrupt, EXIT_INTERRUPTED),
    (Terminated, EXIT_TERMINATED),
    (BaseException, EXIT_INTERNAL),
)

COMMANDS: Final = {
    "put": ("lsmcli.commands.put", "Store values under keys."),
    "get": ("lsmcli.commands.get", "Print the values of keys."),
    "exists": ("lsmcli.commands.exists", "Tell by the exit code whether a key is there."),
    "delete": ("lsmcli.commands.delete", "Remove keys, or all keys of a range."),
    "scan": ("lsmcli.commands.scan", "Print the entries of a range in key order."),
    "count": ("lsmcli.commands.count", "Print how many entries a range holds."),
    "scope": ("lsmcli.commands.scope", "Changes that are kept or undone as a whole."),
    "tree": ("lsmcli.commands.tree", "List, create and drop trees."),
    "import": ("lsmcli.commands.import_", "Store the rows of a file."),
    "export": ("lsmcli.commands.export", "Write the entries to a file."),
    "diff": ("lsmcli.commands.diff", "Print what differs from another data file."),
    "backup": ("lsmcli.commands.backup", "Copy the data file while others use it."),
    "checksum": ("lsmcli.commands.checksum", "Print a checksum of what a tree holds."),
    "exec": ("lsmcli.commands.exec", "Run the lines of a script."),
    "sync": ("lsmcli.commands.sync", "Bring what was written to the disk."),
    "compact": ("lsmcli.commands.compact", "Bring all levels down and give space back."),
    "stats": ("lsmcli.commands.stats", "Print the counters of the data file."),
    "inspect-levels": ("lsmcli.commands.inspect_levels", "Show the levels of every tree and how full they are."),
    "inspect": ("lsmcli.commands.inspect", "Show superblock, wal, manifest, tables, grid, a block, constants."),
    "verify": ("lsmcli.commands.verify", "Check every checksum, order and reference."),
    "doctor": ("lsmcli.commands.doctor", "Verify, and say what should be done about the file."),
    "salvage": ("lsmcli.commands.salvage", "Write what a damaged file still holds to a new one."),
    "benchmark": ("lsmcli.commands.benchmark", "Measure how fast puts, gets and scans are on this disk."),
    "torture": ("lsmcli.commands.torture", "Try this disk: kill writers at random, and check what is left."),
}

EXAMPLES: Final = """
    lsmcli my.lsm put user:1 Ada user:2 Grace
    lsmcli my.lsm get user:1
    lsmcli my.lsm scan --prefix user:
    lsmcli my.lsm import users.tsv
    lsmcli my.lsm put --help
"""

EXIT_CODES_HELP: Final = (
    "Exit codes: 0 success, 1 absent, 2 usage, 3 locked, 4 damage, 5 file or disk, 6 bad input row, 7 not a data file, "
    "8 limit, 70 internal error, 130 interrupted, 141 output pipe closed, 143 terminated."
)


class Root(Group):
    """The root: it knows that FILE comes before COMMAND, and tells who leaves FILE out."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command behind FILE; help on `lsmcli FILE --help` and `lsmcli COMMAND --help`."""
        path = str(ctx.params["file"])
        file_is_command = path in self.table and not os.path.lexists(path)
        if args[0] in ("-h", "--help"):
            command = self.get_command(ctx, path) if file_is_command else None
            if command is not None:
                ctx.params["file"] = "FILE"
                return path, command, args
            click.echo(ctx.get_help())
            ctx.exit()
        if file_is_command:
            raise click.UsageError(f"FILE is missing before the command: lsmcli FILE {path} {' '.join(args)}", ctx)
        if args[0].startswith("-"):
            raise click.UsageError(f"{args[0]}: options go before FILE or behind the command", ctx)
        return super().resolve_command(ctx, args)

    def unknown_command(self, ctx: click.Context, name: str) -> str:
        """The message for a word that is no command, also when FILE and COMMAND changed places."""
        path = str(ctx.params["file"])
        if path in self.table:
            return f"FILE is missing before the command: lsmcli FILE {path} {name}"
        return super().unknown_command(ctx, name)


def seconds(ctx: click.Context, param: click.Parameter, text: str) -> float:
    """Seconds as a number with an optional s: "5", "0.5s"."""
    try:
        value = float(text.removesuffix("s"))
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1e9:
        raise click.BadParameter(f"{text!r} is not a number of seconds")
    return value


def print_version(ctx: click.Context, param: click.Parameter, wanted: bool) -> None:
    """Program, engine, format range and Python, a line each."""
    if not wanted or ctx.resilient_parsing:
        return
    from lsmcli import __version__
    from lsmcli.engine.schema import FORMAT_VERSION, FORMAT_VERSION_OLDEST

    python = ".".join(map(str, sys.version_info[:3]))
    click.echo(f"lsmcli {__version__}")
    click.echo(f"engine {__version__}, {code_kind()}")
    click.echo(f"file format {FORMAT_VERSION}, reads {FORMAT_VERSION_OLDEST} to {FORMAT_VERSION}")
    click.echo(f"{sys.implementation.name} {python}")
    ctx.exit()


def code_kind() -> str:
    """Whether the hot loops run as compiled code."""
    from lsmcli.engine.entry_order import COMPILED

    return "compiled" if COMPILED else "interpreted"


@click.group(
    cls=Root,
    table=COMMANDS,
    examples=EXAMPLES,
    epilog=EXIT_CODES_HELP,
    invoke_without_command=True,
    no_args_is_help=False,
    context_settings={"max_content_width": 100},
)
@click.argument("file", required=False, default=None, metavar="FILE")
@click.option("-t", "--tree", default=TREE_NAME_MAIN, metavar="NAME", help="The tree to work on.  [main]")
@click.option("--read-only", is_flag=True, help="Refuse commands that write.")
@click.option("--wait", default=str(WAIT_S), metavar="SECS", callback=seconds, help="Wait for another writer.  [2]")
@click.option("-q", "--quiet", is_flag=True, help="No messages on standard error, apart from errors.")
@click.option("-v", "--verbose", count=True, help="More messages, such as timings.")
@click.option("--color", type=click.Choice(["auto", "always", "never"]), default="auto", help="When to colour.  [auto]")
@click.option("--safe", is_flag=True, help="Refuse other files, and commands of the system's shell.")
@click.option("--network", is_flag=True, help="Write even on a network file system: no other computer does.")
@click.option("--config", metavar="FILE", help="Settings of the shell.  [~/.config/lsmcli/config.toml]")
@click.option("--history-file", envvar="LSMCLI_HISTFILE", metavar="FILE", help="Lines typed in the shell.")
@click.option("--no-color", is_flag=True, help="The same as --color never.")
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    allow_from_autoenv=False,
    callback=print_version,
    help="Print versions and exit.",
)
@click.pass_context
def root(
    ctx: click.Context, file: str | None, tree: str, read_only: bool, wait: float, quiet: bool,
    verbose: int, color: str, no_color: bool, safe: bool, network: bool,
    config: str | None, history_file: str | None,
) -> None:  # fmt: skip
    """An ordered key-value database in one crash-safe file.

    FILE is the data file; what follows it is one command. Without one it opens a shell on a terminal, and runs
    the lines of standard input otherwise.
    These options can be set in the environment too: LSMCLI_COLOR=never is --color never.
    """
    if file is None:
        click.echo(ctx.get_help(), err=True)
        ctx.exit(EXIT_USAGE)
    if ctx.invoked_subcommand is None and file in COMMANDS and not os.path.lexists(file):
        raise click.UsageError(f"FILE is missing before the command: lsmcli FILE {file}", ctx)
    ctx.obj = Session(
        file,
        tree_name=tree,
        read_only=read_only,
        wait_s=wait,
        verbosity=-1 if quiet else verbose,
        color="never" if no_color else color,
        safe=safe,
        network=network,
    )
    if ctx.invoked_subcommand is None:
        run_lines(ctx, config, history_file)


def run_lines(ctx: click.Context, config: str | None, history: str | None) -> None:
    """FILE alone: a shell on a terminal; else the lines of standard input are a script."""
    if all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout)):
        with importing():
            from lsmcli.repl.loop import shell_of
            from lsmcli.repl.prompt import run_shell
            from lsmcli.repl.settings import load, pager_of

        settings = load(config)
        if ctx.get_parameter_source("color") == click.core.ParameterSource.DEFAULT and ctx.obj.color == "auto":
            ctx.obj.color = settings.color
        shell = shell_of(ctx.obj, settings, pager=pager_of(settings), terminal=True)
        ctx.exit(run_shell(shell, history=history))
    from lsmcli.commands.exec import command

    with command.make_context("exec", [], parent=ctx) as inner:
        command.invoke(inner)


def main(words: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code.

    words: without the name of the program. None takes those of the process, and ends it with the exit code.
    """
    if "_LSMCLI_COMPLETE" in os.environ:
        root.main(prog_name="lsmcli")  # click answers the shell's request for completion, and exits
    try:
        code = run(list(sys.argv[1:] if words is None else words))
        if sys.stdout is not None:
            sys.stdout.flush()
    except (Exception, KeyboardInterrupt, Terminated) as error:  # noqa: BLE001 - the border, every error ends here
        code = told(error)
    if words is None:
        end_process(code)
    return code


def told(error: BaseException) -> int:
    """What went wrong is said on standard error; returns the exit code."""
    code = exit_code_of(error)
    if isinstance(error, OSError):
        from lsmcli.commands.files import discard_output

        discard_output()
    report(error, code)
    return code


def run(words: list[str]) -> int:
    """Parse, run and finish one command; whatever goes wrong is raised, once the file is closed."""
    if words[:1] == ["torture"] and not os.path.lexists("torture"):
        words = [os.curdir, *words]  # the one command that makes a file of its own: FILE is the folder for it
    try:
        ctx = root.make_context("lsmcli", words, auto_envvar_prefix="LSMCLI")
    except click.exceptions.Exit as error:  # --version
        return error.exit_code
    with ctx:
        try:
            code = invoke(ctx)
            if ctx.obj is not None:
                ctx.obj.command_done()
        except BaseException as error:
            if ctx.obj is not None:
                error.add_note(ctx.obj.path)
                close_after_error(ctx.obj)
            raise
        if ctx.obj is not None:
            ctx.obj.close()
        return code


def invoke(ctx: click.Context) -> int:
    """Run the command of a parsed command line, and return the exit code that it chose."""
    try:
        root.invoke(ctx)
    except click.exceptions.Exit as error:
        return error.exit_code
    return EXIT_OK


def close_after_error(session: Session) -> None:
    """Close what is open. An error of the engine here is a result of the first one, which says more."""
    try:
        session.close()
    except (errors.LsmError, OSError):
        pass


def exit_code_of(error: BaseException) -> int:
    """The exit code for an error, by EXIT_CODES."""
    return next(code for kind, code in EXIT_CODES if isinstance(error, kind))


def report(error: BaseException, code: int) -> None:
    """One line about an error on standard error; nothing where the user or the reader of a pipe ended it."""
    if sys.stderr is None or code in (EXIT_PIPE, EXIT_INTERRUPTED, EXIT_TERMINATED):
        return
    if os.environ.get("LSMCLI_DEBUG") == "1":
        import traceback

        traceback.print_exception(error)
    sys.stderr.write(f"Error: {safe_text(message_of(error, code))}\n")


def message_of(error: BaseException, code: int) -> str:
    """What happened, where, and what next, in one line."""
    if isinstance(error, click.ClickException):
        ctx = getattr(error, "ctx", None)
        hint = f" (see {ctx.command_path} --help)" if ctx is not None else ""
        unknown = isinstance(error, click.NoSuchOption) and not error.possibilities
        dash = ". A key or value that starts with - goes behind --" if unknown else ""
        text = " ".join(error.format_message().split())
        return (text.removesuffix(".") if dash else text) + dash + hint
    if isinstance(error, OSError) and not isinstance(error, errors.LsmError):
        return f"{error.filename or 'standard output'}: {(error.strerror or str(error)).lower()}"
    if code == EXIT_INTERNAL:
        reason = " ".join(str(error).split())
        return f"internal error, {type(error).__name__}: {reason}: please report it, with what LSMCLI_DEBUG=1 prints"
    return with_path(error)


def with_path(error: BaseException) -> str:
    """The message of an error about the data file, with its path in front if the message does not have it."""
    text = str(error)
    path = next(iter(getattr(error, "__notes__", ())), "")
    about_the_file = isinstance(error, (errors.DamageError, errors.FormatError, errors.LockedError, errors.FileError))
    return f"{path}: {text}" if about_the_file and path and path not in text else text
