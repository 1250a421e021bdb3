"""What stands around changes of a database: the guard against half-done ones, and the scope of a `with` block.

Invariants:
- after an exception that may have left memory and file apart, the handle is of no more use;
- nor is it in a forked child, which shares the file and its lock with the parent.
"""

import os
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

from lsmcli.engine.errors import LsmError, OutcomeUnknownError
from lsmcli.engine.schema import ScopeState

if TYPE_CHECKING:
    from lsmcli.engine.database import Database

# The open handles of this process, to be cut off in a forked child.
HANDLES_OPEN: "weakref.WeakSet[Database]" = weakref.WeakSet()


class Guard:
    """Around every change: an exception that is none of the engine's own (an interrupt, no memory, a mistake
    of ours) may have left memory and file apart, so the handle is given up."""

    def __init__(self, database: "Database") -> None:
        self._database = database

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is not None:
            give_up_after(self._database, error)


def give_up_after(database: "Database", error: BaseException) -> None:
    """Gives the handle up, unless the error is one that is raised with nothing changed."""
    if isinstance(error, LsmError) and not isinstance(error, OutcomeUnknownError):
        return
    if database.unusable is None:
        database.give_up(
            OutcomeUnknownError(
                f"{database.path}: a change was interrupted ({type(error).__name__}), its outcome is unknown; "
                "close and reopen the file to see what is stored"
            )
        )


class BoundScope:
    """The scope of a `with` block. discard() ends it early, undone; the rest of the block is outside of it."""

    def __init__(self, database: "Database") -> None:
        self._database = database
        self._open = False

    def __enter__(self) -> "BoundScope":
        self._database.scope_begin_as(ScopeState.BOUND)
        self._open = True
        return self

    def discard(self) -> None:
        """Undoes every change of the block so far."""
        if self._open:
            self._end(self._database.scope_discard)

    def _end(self, close: Callable[[], None]) -> None:
        """Ends the scope. When that fails the handle is given up: what came after would be undone with the scope."""
        self._open = False
        database = self._database
        try:
            close()
        except LsmError as error:
            if database.unusable is None and database.scope_status() is not None:
                database.give_up(
                    OutcomeUnknownError(
                        f"{database.path}: the scope could not be ended ({error}); "
                        "close and reopen the file, which undoes the scope"
                    )
                )
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if not self._open:
            return
        if kind is None:
            self._end(self._database.scope_persist)
        elif self._database.unusable is None:
            self.discard()


def _cut_off_in_child() -> None:
    for database in list(HANDLES_OPEN):
        database.after_fork()


os.register_at_fork(after_in_child=_cut_off_in_child)
