"""What is wrong, wasteful or noteworthy about a data file, as findings that each name the command that helps.

Invariants:
- nothing is written; a file that cannot be opened still gets the findings that verifying it gives;
- `findings` is a pure function of facts: each rule is a line of it, with its threshold beside it.

    error      data is damaged: the exit code of doctor is 4
    warning    nothing is lost, but something should be done
    note       worth knowing
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from lsmcli.engine.constants import MIB
from lsmcli.engine.data_file import DataFile
from lsmcli.engine.errors import LsmError
from lsmcli.engine.opening import open_database
from lsmcli.engine.schema import FORMAT_VERSION
from lsmcli.engine.storage import FileStorage
from lsmcli.engine.verifier import VerifyReport, verify

# Below this size nobody minds what a file wastes.
SIZE_NOTED_MIN: Final = 4 * MIB
FREE_SHARE_NOTED: Final = 0.5  # of the file's blocks
TOMBSTONE_SHARE_NOTED: Final = 0.2  # of the entries in tables
TOMBSTONES_NOTED_MIN: Final = 1000
REWRITE_SHARE_NOTED: Final = 0.5  # of the bytes in tables that lie above the deepest level in use
DAMAGE_SHOWN_MAX: Final = 20


class Finding(NamedTuple):
    """severity: "error", "warning" or "note". command: what helps, as it is typed behind `lsmcli FILE`."""

    severity: str
    subject: str
    message: str
    command: str


class Facts(NamedTuple):
    """What the findings follow from. stats and levels are those of Database, empty if the file cannot be opened.

    blocks_free of the grid's block_count; replayed: records of the log that the next open goes through again.
    """

    report: VerifyReport
    stats: dict[str, Any]
    levels: list[dict[str, Any]]
    version: int
    blocks_free: int
    block_count: int
    replayed: int
    closed_cleanly: bool
    problem: str


def facts_of(path: str) -> Facts:
    """Verifies the file and looks at it. Reads all of it. Raises FileError, FormatError."""
    storage = FileStorage.open(path, writable=False)
    try:
        report = verify(storage, path)
    finally:
        storage.close()
    facts = Facts(report, {}, [], FORMAT_VERSION, 0, 0, 0, True, "")
    try:
        facts = _with_file(path, facts)
        with open_database(path, "r", committed=False) as database:
            return facts._replace(stats=database.stats(), levels=database.levels())
    except LsmError as error:
        return facts._replace(problem=str(error))


def _with_file(path: str, facts: Facts) -> Facts:
    storage = FileStorage.open(path, writable=False)
    try:
        file = DataFile(storage, cache_size=0, writable=False, name=path)
        recovery = file.recovery()
        replayed = sum(1 for _ in recovery.records())
        free_set = file.free_set_open()
        return facts._replace(
            version=file.superblock.version,
            blocks_free=free_set.count_free,
            block_count=free_set.block_count,
            replayed=replayed,
            closed_cleanly=recovery.closed_cleanly,
        )
    finally:
        storage.close()


def findings(facts: Facts) -> list[Finding]:
    """Everything that there is to say, worst first."""
    order = ("error", "warning", "note")
    found = [*_damage(facts), *_state(facts), *_space(facts)]
    return sorted(found, key=lambda finding: order.index(finding.severity))


def _damage(facts: Facts) -> Iterator[Finding]:
    """What verify found, by what helps against it."""
    problems = facts.report.problems
    damage = [problem for problem in problems if problem.kind == "damage"]
    for problem in damage[:DAMAGE_SHOWN_MAX]:
        yield Finding("error", problem.zone, problem.message, "salvage OUT")
    if len(damage) > DAMAGE_SHOWN_MAX:
        more = len(damage) - DAMAGE_SHOWN_MAX
        yield Finding("error", "damage", f"{more} more places are damaged; verify lists them all", "salvage OUT")
    if facts.problem and not damage:
        yield Finding("error", "file", facts.problem, "salvage OUT")
    for problem in problems:
        if problem.kind == "copy":
            yield Finding("warning", problem.zone, f"{problem.message} (another copy of it holds)", "sync")
    leaks = sum(problem.kind == "leak" for problem in problems)
    if leaks:
        message = f"{leaks} blocks are in use by nobody: their space is lost until the file is copied"
        yield Finding("warning", "free set", message, "salvage OUT")


def _state(facts: Facts) -> Iterator[Finding]:
    """Scopes, the log, the format."""
    stats = facts.stats
    if stats.get("scope") == "durable":
        message = f"a scope is open, with {stats['scope_changes']} changes that others do not see yet"
        yield Finding("warning", "scope", message, "scope persist")
    if not facts.closed_cleanly:
        message = f"no writer has closed it; each open goes through {facts.replayed} records of the log again"
        yield Finding("note", "log", message, "sync")
    if facts.version < FORMAT_VERSION:
        message = f"its format is version {facts.version}, this program writes {FORMAT_VERSION}"
        yield Finding("note", "format", message, "export OUT")


def _space(facts: Facts) -> Iterator[Finding]:
    """What a full compaction would give."""
    stats = facts.stats
    if not stats or stats["file_size"] < SIZE_NOTED_MIN:
        return
    if facts.block_count and facts.blocks_free > FREE_SHARE_NOTED * facts.block_count:
        share = round(100 * facts.blocks_free / facts.block_count)
        yield Finding("note", "space", f"{share} % of the file are free blocks", "compact")
    entries, tombstones = stats["table_entries"], stats["table_tombstones"]
    if tombstones >= TOMBSTONES_NOTED_MIN and tombstones > TOMBSTONE_SHARE_NOTED * entries:
        share = round(100 * tombstones / entries)
        yield Finding("note", "tombstones", f"{share} % of the entries in tables are removed keys", "compact")
    for tree in facts.levels:
        sizes = [level["bytes"] for level in tree["levels"] if level["bytes"]]
        if sum(sizes) >= SIZE_NOTED_MIN and sum(sizes[:-1]) > REWRITE_SHARE_NOTED * sum(sizes):
            share = round(100 * sum(sizes[:-1]) / sum(sizes))
            message = f"{share} % of tree {tree['tree']} lie above its deepest level, and may replace what is below"
            yield Finding("note", "levels", message, "compact")
