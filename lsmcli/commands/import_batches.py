"""An import in batches: every N rows are one atomic op, with the record of how far the source was read in that same op.

    rows of source a     1 2 3 | 4 5 6 | 7        three ops; the last one says that a is complete
    record of a             3       6     7, complete
    killed behind op 2, then --resume: a is read again, rows 1 to 6 are passed over, 7 is stored

Invariants:
- what a record counts is in the file, and nothing else of its source: rows and record are one op;
- nothing is stored behind a record before the bytes that it has seen were seen again;
- memory is bounded: a batch is stored early when its rows have become large.
"""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from lsmcli.commands.import_rows import Counts, Opened
from lsmcli.commands.import_targets import TargetOptions, Trees, size_of
from lsmcli.engine import import_progress
from lsmcli.engine.constants import MIB
from lsmcli.engine.errors import ConflictError, StateError
from lsmcli.engine.schema import ImportProgress, ImportState
from lsmcli.formats.rows import Rows
from lsmcli.session import Session

if TYPE_CHECKING:
    from lsmcli.engine.database import Database

# A batch goes into the file when it has grown so large, however few rows it has, unless --memory says otherwise.
BATCH_SIZE_MAX: Final = 64 * MIB

_PROGRESS_NONE: Final = ImportProgress(bytes(16), 0, 0, 0, 0, 0, 0, 0, 0, ImportState.UNDER_WAY, 0, 0)


class Part(NamedTuple):
    """Rows that wait for their batch."""

    tree_id: int
    keys: list[bytes]
    values: list[bytes | None]
    lines: Sequence[int]


class Batches:
    """Every `batch_rows` rows in one op, or fewer if they are large. A batch never goes over the end of a source."""

    def __init__(
        self, session: Session, options: TargetOptions, counts: Counts, *, batch_rows: int, resume: bool,
        identities: Sequence[bytes],
    ) -> None:  # fmt: skip
        """identities: of all sources."""
        self._session = session
        self._options = options
        self._counts = counts
        self._batch_rows = batch_rows
        self._resume = resume
        self._trees = Trees(session, options.tree_name)
        tree_name = options.tree_name if options.tree_name is not None else session.tree_name
        self._tree_name = os.fsencode(tree_name)
        self._keys = {import_progress.key_of(self._tree_name, identity) for identity in identities}
        self._parts: list[Part] = []
        self._rows = self._size = self._rows_past = 0
        self._progress = _PROGRESS_NONE
        self._stale: list[import_progress.Entry] | None = [] if resume else None

    def __enter__(self) -> "Batches":
        return self

    def __exit__(self, *outcome: object) -> None:
        if outcome[0] is None:
            self._session.database(write=True).sync()
        elif not self._counts.rows_kept:
            self._trees.undo()

    def begin(self, opened: Opened) -> None:
        """Find out how far this source was imported before. StateError if it has changed since."""
        self._opened = opened
        self._key = import_progress.key_of(self._tree_name, opened.source.identity)
        self._progress = _PROGRESS_NONE._replace(size_source=opened.source.size or 0)
        self._rows_past = 0
        self._told = ""
        if not self._resume or not os.path.lexists(self._session.path):
            return
        found = import_progress.find(self._session.database(write=True), self._key)
        if found is None:
            return
        if found.size_source and opened.source.size not in (None, found.size_source):
            raise StateError(
                f"{opened.source.name} is not what it was when the import stopped: it has {opened.source.size} bytes, "
                f"and had {found.size_source}; begin anew without --resume"
            )
        opened.digest.expect(found.size_read, found.digest)
        self._progress = found
        self._rows_past = found.rows
        self._counts.add(found.imported, found.replaced, found.skipped, found.deleted)
        self._counts.rows_kept += found.rows
        state = "complete already" if found.state == ImportState.COMPLETE else "going on"
        self._told = f"{opened.source.name}: {state} behind row {found.rows}, line {found.line}"

    def add(self, rows: Rows) -> None:
        """Take over rows; those that are in the file already are passed over."""
        keys, values, lines = rows.keys, rows.values, rows.lines
        if self._rows_past:
            past = min(self._rows_past, len(keys))
            self._rows_past -= past
            keys, values, lines = keys[past:], values[past:], lines[past:]
        if not keys:
            return
        if self._progress.state == ImportState.COMPLETE:
            raise StateError(
                f"{self._opened.source.name} has more rows than when it was imported; begin anew without --resume"
            )
        self._parts.append(Part(self._trees.id_of(rows.tree), keys, values, lines))
        self._rows += len(keys)
        self._size += size_of(keys, values)
        while self._rows >= self._batch_rows and self._opened.digest.matched:
            self._store(self._taken(self._batch_rows))
        if self._size >= (self._options.memory_size or BATCH_SIZE_MAX) and self._opened.digest.matched:
            self._store(self._taken(self._rows))

    def end(self) -> None:
        """The last batch of a source, which may be empty, says that it is complete."""
        if self._rows_past:
            raise StateError(
                f"{self._opened.source.name} has fewer rows than were imported; begin anew without --resume"
            )
        self._tell()
        if self._progress.state != ImportState.COMPLETE:
            self._store(self._taken(self._rows), complete=True)

    def _tell(self) -> None:
        """Once it is sure that the source is the same: where it goes on."""
        if self._told:
            self._session.message(self._told)
            self._told = ""

    def _taken(self, count: int) -> list[Part]:
        """The first `count` rows that wait, as parts; they wait no more."""
        taken: list[Part] = []
        left = count
        while left:
            part = self._parts[0]
            if len(part.keys) > left:
                cut = part._replace(keys=part.keys[:left], values=part.values[:left], lines=part.lines[:left])
                self._parts[0] = part._replace(
                    keys=part.keys[left:], values=part.values[left:], lines=part.lines[left:]
                )
                part = cut
            else:
                del self._parts[0]
            taken.append(part)
            left -= len(part.keys)
        self._rows -= count
        self._size = sum(size_of(part.keys, part.values) for part in self._parts)
        return taken

    def _store(self, parts: list[Part], *, complete: bool = False) -> None:
        """One op: the rows of the parts, and the record that they are there."""
        self._tell()
        database = self._session.database(write=True)
        latest: dict[int, dict[bytes, bytes | None]] = {}
        for part in parts:
            latest.setdefault(part.tree_id, {}).update(zip(part.keys, part.values, strict=True))
        entries: list[import_progress.Entry] = []
        counts = Counts()
        for tree_id, rows in latest.items():
            entries += self._resolved(database, tree_id, rows, counts)
        rows_count = sum(len(part.keys) for part in parts)
        before, digest = self._progress, self._opened.digest
        progress = before._replace(
            digest=digest.digest(),
            size_read=digest.size,
            rows=before.rows + rows_count,
            line=parts[-1].lines[-1] if parts else before.line,
            imported=before.imported + counts.imported,
            replaced=before.replaced + counts.replaced,
            skipped=before.skipped + counts.skipped,
            deleted=before.deleted + counts.deleted,
            state=ImportState.COMPLETE if complete else ImportState.UNDER_WAY,
        )
        if self._stale is None:
            self._stale = self._stale_records(database)
        record = import_progress.entry_of(self._key, progress, self._opened.source.identity)
        database.apply([*self._stale, *entries, record])
        self._stale = []
        self._progress = progress
        self._counts.add(counts.imported, counts.replaced, counts.skipped, counts.deleted)
        self._counts.rows_kept += rows_count

    def _resolved(
        self, database: "Database", tree_id: int, rows: dict[bytes, bytes | None], counts: Counts
    ) -> list[import_progress.Entry]:
        """The entries for rows, by --on-conflict, as a bulk load resolves them. ConflictError with "fail"."""
        found = database.read(tree_id, lambda tree: tree.lookup_many(list(rows)))
        live = {key for key, value in zip(rows, found, strict=True) if value is not None}
        if live and self._options.on_conflict == "fail":
            key = next(key for key in rows if key in live)
            raise ConflictError(
                f"the key {key[:64]!r} is there already; only the batches before its batch are stored",
                tree_id=tree_id,
                key=key,
            )
        if self._options.on_conflict == "skip":
            counts.skipped += len(live)
            rows = {key: value for key, value in rows.items() if key not in live} if live else rows
            live = set()
        removed = [key for key, value in rows.items() if value is None] if None in rows.values() else []
        deleted = len(live.intersection(removed))
        counts.add(len(rows) - len(removed), len(live) - deleted, 0, deleted)
        return [(tree_id, key, value) for key, value in rows.items()]

    def _stale_records(self, database: "Database") -> list[import_progress.Entry]:
        """Records of imports that are over, and of an earlier start of this one."""
        return [
            import_progress.entry_removed(record.key)
            for record in import_progress.records(database)
            if record.key != self._key and (record.progress.state == ImportState.COMPLETE or record.key in self._keys)
        ]
