"""One scan as a database runs it: locked chunk by chunk, begun again by a reader that was overtaken.

Invariants:
- the forest counts open scans: as long as there is one, no block that was released is used again;
- a reader begins again only while nothing was given out: two states are never mixed.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

from lsmcli.engine.columns import Columns
from lsmcli.engine.constants import READER_RETRIES_MAX
from lsmcli.engine.errors import DamageError
from lsmcli.engine.scan import Scan

if TYPE_CHECKING:
    from lsmcli.engine.database import Database


class ScanSteps(Iterator[Columns]):
    """The chunks of one scan. Ends by itself, by close(), or when nobody holds it any more."""

    def __init__(
        self,
        database: "Database",
        tree_id: int,
        start: bytes | None,
        end: bytes | None,
        *,
        reverse: bool,
        entries_first: int,
        restarts: bool = True,
        packed: bool = False,
    ) -> None:
        """restarts: a reader that is overtaken begins again, in a newer state, while nothing was given out.

        packed: whole blocks may come as PackedEntries, whatever the type says: the caller looks for them.
        """
        self._database = database
        self._arguments = (tree_id, start, end, reverse, entries_first, packed)
        self._yielded = not restarts
        self._begin()

    def _begin(self) -> None:
        tree_id, start, end, reverse, entries_first, packed = self._arguments
        self._forest = self._database.forest
        tree = self._forest.tree(tree_id)
        scan = Scan(tree, start, end, reverse=reverse, entries_first=entries_first, packed=packed)
        self._columns = cast("Iterator[Columns]", scan.steps())
        # No call in between, where an interrupt could come: close() counts down exactly what was counted here.
        self._forest.scans_open += 1
        self._scan: Scan | None = scan

    def __next__(self) -> Columns:
        database = self._database
        with database.lock:
            if self._scan is None:
                raise StopIteration
            database.usable()
            for _ in range(READER_RETRIES_MAX):
                try:
                    columns = next(self._columns, None)
                    break
                except DamageError:
                    if not (database.read_only and self._forest.file.superblock_moved()):
                        raise
                    if self._yielded:
                        raise database.too_old() from None
                self.close()
                database.forest_renew()
                database.tree_required(self._arguments[0])
                self._begin()
            else:
                raise database.too_old()
            if columns is None:
                self.close()
                raise StopIteration
            self._yielded = True
            return columns

    def load(self, packed: bytes) -> bytes:
        """The bytes of an out-of-line value of the last columns, from its packed reference. See Database.load."""
        return self._database.load(packed, self._forest)

    def close(self) -> None:
        with self._database.lock:
            if self._scan is not None:
                self._scan.close()
                self._scan = None
                self._forest.scans_open -= 1

    def __del__(self) -> None:
        # Perhaps in the middle of a change, if the garbage collector came by: so only leave a note.
        if getattr(self, "_scan", None) is not None:
            self._database.abandoned.append(self)
