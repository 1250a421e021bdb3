"""import: store the rows of files or of standard input.

    sources -> Reader (rows of each, bad ones noted) -> Target (whole, batches, nowhere) -> one summary line

Invariants:
- exit code 0 means that every row of every source is on the disk, apart from those that --max-errors allows to be bad;
- whatever ends an import early, the last line tells what is in the file.
"""

import os
from collections.abc import Sequence
from time import monotonic
from typing import Any, Final, NamedTuple

import click

from lsmcli.commands.arguments import tree_option
from lsmcli.commands.files import file_error, refuse_data_file, source_opened
from lsmcli.commands.group import Command
from lsmcli.commands.import_batches import Batches
from lsmcli.commands.import_rows import Counts, Reader
from lsmcli.commands.import_targets import Nowhere, Target, TargetOptions, Whole
from lsmcli.commands.interrupts import Interrupts
from lsmcli.commands.progress import progress_of, progress_option
from lsmcli.commands.rejects import Rejects
from lsmcli.commands.sources import Source, sources_of
from lsmcli.engine.constants import GIB, KIB, MIB
from lsmcli.engine.errors import ConflictError
from lsmcli.formats import FORMATS, InputError
from lsmcli.formats.rows import ReadOptions
from lsmcli.session import Session, Terminated
from lsmcli.start import uncollected

EXIT_REJECTED: Final = 6
_UNITS: Final = {"": 1, "k": KIB, "m": MIB, "g": GIB}


class ImportOptions(NamedTuple):
    """What the command line asks for, apart from how to read and how to store."""

    batch_rows: int | None
    resume: bool
    errors_max: int | None
    rejects_path: str | None
    progress_mode: str
    dry_run: bool


def size_option(ctx: click.Context, param: click.Parameter, text: str | None) -> int | None:
    """A size in bytes: "65536", "64k", "256MiB", "1G". UsageError for anything else."""
    if text is None:
        return None
    number = text.lower().removesuffix("b").removesuffix("i")
    unit = number[-1:] if number[-1:] in ("k", "m", "g") else ""
    digits = number.removesuffix(unit)
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= 15):
        raise click.BadParameter(f"{text!r} is not a size: write 65536, 64k, 256M or 1G")
    return int(digits) * _UNITS[unit]


def delimiter_option(ctx: click.Context, param: click.Parameter, text: str | None) -> bytes | None:
    """The bytes of a delimiter; \\t is a tab."""
    return None if text is None else os.fsencode(text.replace("\\t", "\t"))


def names_option(ctx: click.Context, param: click.Parameter, text: str | None) -> tuple[str, ...] | None:
    """Names of columns, with commas between them."""
    return None if text is None else tuple(name.strip() for name in text.split(","))


@click.command(
    "import",
    cls=Command,
    examples="""
        import users.tsv
        import --key-column id 'logs/*.csv.gz'
        import --format jsonl - < users.jsonl
        import --batch 10000 --resume users.csv
        import --max-errors 10 --rejects bad.jsonl users.csv
    """,
)
@click.argument("words", nargs=-1, metavar="[SOURCE...|-]")
@click.option("--format", "name", type=click.Choice(list(FORMATS)), help="Told by name and content if not given.")
@click.option("--header/--no-header", default=None, help="csv, tsv: whether the first row holds names.")
@click.option("--columns", callback=names_option, metavar="NAMES", help="csv, tsv: names of the columns: id,name.")
@click.option("--key-column", "key", metavar="COLUMN", help="The key, by name or number from 1.")
@click.option("--value-column", "value", metavar="COLUMN", help="The value; * for all, as a JSON object.")
@click.option("--key-template", metavar="TEXT", help="The key with columns in it: '{country}/{id}'.")
@click.option("--delimiter", callback=delimiter_option, metavar="BYTES", help="csv, ldb: what is between fields.")
@click.option("--value-format", type=click.Choice(["auto", "json"]), default="auto", help="json: values are any JSON.")
@click.option(
    "--encoding", type=click.Choice(["auto", "base64", "hex", "plain"]), default="auto",
    help="How keys and values are written: base64; for ldb hex or plain.",
)  # fmt: skip
@click.option("--lenient", is_flag=True, help="Take what other programs write against their own format.")
@click.option(
    "--on-conflict", "--if-exists", "on_conflict", default="replace", show_default=True,
    type=click.Choice(["replace", "skip", "fail"]), help="What becomes of a key that is there.",
)  # fmt: skip
@click.option("--memory", "memory_size", callback=size_option, metavar="SIZE", help="Memory for sorting.  [128M]")
@click.option("--batch", "batch_rows", type=click.IntRange(min=1), metavar="N", help="Store every N rows at once.")
@click.option("--resume", is_flag=True, help="With --batch: go on behind what is stored already.")
@click.option("--max-errors", "errors_max", type=click.IntRange(min=0), metavar="N", help="Pass over N bad rows.")
@click.option("--rejects", "rejects_path", metavar="FILE", help="Pass over bad rows, and keep them in FILE.")
@click.option("-n", "--dry-run", is_flag=True, help="Check all rows, and store none.")
@progress_option
@tree_option
@click.pass_obj
def command(
    session: Session, /, words: tuple[str, ...], tree_name: str | None, on_conflict: Any, memory_size: int | None,
    batch_rows: int | None, resume: bool, errors_max: int | None, rejects_path: str | None, progress_mode: str,
    dry_run: bool, **reading: Any,
) -> None:  # fmt: skip
    """Store the rows of files, or of standard input, all or none: a bad row is named and nothing is stored.

    A SOURCE may be a pattern such as '*.csv', and compressed. Later rows win over earlier ones. With --batch every N
    rows are stored at once, and after an interrupt --resume goes on behind them. The data file is created if it is
    missing. A summary goes to standard error.
    """
    if resume and batch_rows is None:
        raise click.UsageError("--resume goes with --batch N: without it an import is stored as a whole or not at all")
    reading["name"] = reading["name"] or ""
    options = ImportOptions(batch_rows, resume, errors_max, rejects_path, progress_mode, dry_run)
    sources = sources_of(session, words)
    check_rejects_path(session, rejects_path, sources)
    storing = TargetOptions(tree_name, on_conflict, memory_size)
    run_import(session, sources, ReadOptions(**reading), storing, options)


def check_rejects_path(session: Session, path: str | None, sources: Sequence[Source]) -> None:
    """UsageError or StateError if the file for bad rows is a source or the data file."""
    if path is None:
        return
    session.refuse_outside(path)
    refuse_data_file(path, session.path)
    for source in sources:
        if os.path.exists(path) and os.path.exists(source.path) and os.path.samefile(path, source.path):
            raise click.UsageError(f"--rejects {path} is a source: name another file")


def target_of(
    session: Session, storing: TargetOptions, options: ImportOptions, counts: Counts, sources: Sequence[Source]
) -> Target:
    """Where the rows go."""
    if options.dry_run:
        return Nowhere(counts)
    if options.batch_rows is None:
        return Whole(session, storing, counts)
    return Batches(
        session, storing, counts, batch_rows=options.batch_rows, resume=options.resume,
        identities=[source.identity for source in sources],
    )  # fmt: skip


def run_import(
    session: Session, sources: Sequence[Source], reading: ReadOptions, storing: TargetOptions, options: ImportOptions
) -> None:
    """Import the sources, and tell what was done, however it ends."""
    began_s = monotonic()
    counts = Counts()
    sizes = [source.size for source in sources]
    total = None if None in sizes else sum(filter(None, sizes))
    progress = progress_of(session, "import", total, options.progress_mode)
    rejects = Rejects(session, options.errors_max, options.rejects_path)
    batches = options.batch_rows is not None and not options.dry_run
    target = target_of(session, storing, options, counts, sources)
    interrupts = Interrupts()
    try:
        with interrupts, rejects, uncollected():
            reader = Reader(reading._replace(on_bad=rejects.note), counts, progress, interrupts, digests=batches)
            with target:
                for source in sources:
                    rejects.source = source.name
                    import_source(source, reader, target, counts, interrupts)
                rejects.keep()
                interrupts.check()
    except InputError as error:
        progress.close()
        counts.rejected = max(1, rejects.count)
        tell_unfinished(session, counts, began_s)
        reason = f"{error.reason}; {outcome_of(counts)}"
        raise InputError(reason, line=error.line, column=error.column, source=rejects.source) from None
    except ConflictError:
        progress.close()
        counts.rejected = rejects.count
        tell_unfinished(session, counts, began_s)
        raise
    except (KeyboardInterrupt, Terminated):
        progress.close()
        counts.rejected = rejects.count
        tell_unfinished(session, counts, began_s)
        unsure = ", and perhaps what was being stored: the file tells" if interrupts.in_midst else ""
        session.message(f"interrupted: {outcome_of(counts)}{unsure}")
        raise
    finally:
        progress.close()
    counts.rejected = rejects.count
    finish(session, counts, rejects, options, monotonic() - began_s)
    interrupts.check_terminated()


def import_source(source: Source, reader: Reader, target: Target, counts: Counts, interrupts: Interrupts) -> None:
    """All rows of one source."""
    try:
        with source_opened(source.path) as (stream, _):
            opened = reader.opened(source, stream)
            target.begin(opened)
            for rows in opened.rows:
                interrupts.check()
                counts.rows += len(rows.keys)
                target.add(rows)
            target.end()
    except OSError as error:
        raise file_error(source.name, error) from None


def tell_unfinished(session: Session, counts: Counts, began_s: float) -> None:
    """The summary of an import that did not come to its end."""
    session.message(counts.summary(monotonic() - began_s))


def outcome_of(counts: Counts) -> str:
    """What is in the file after an import that did not come to its end."""
    if not counts.rows_kept:
        return "nothing was imported"
    return f"{counts.rows_kept} rows are stored, in whole batches: import --resume goes on behind them"


def finish(session: Session, counts: Counts, rejects: Rejects, options: ImportOptions, seconds: float) -> None:
    """Tell what was done; the exit code is 6 if rows were rejected that --max-errors does not allow."""
    if options.dry_run:
        session.message(
            f"rows={counts.rows} rejected={counts.rejected} bytes={counts.bytes_read} seconds={seconds:.3f}; "
            "a dry run: nothing was stored"
        )
    else:
        session.message(counts.summary(seconds))
    if counts.rejected and options.errors_max is None:
        done = "all others are good" if options.dry_run else "all others were imported"
        session.message(f"{counts.rejected} bad rows were rejected{rejects.where}; {done}")
        raise click.exceptions.Exit(EXIT_REJECTED)
