"""What the last writing command of a shell replaced, so that it can be taken back.

    put a 1  ->  (tree, a): before None, after 1     undo: if a still is 1, remove a

Invariants:
- the database tells of every change before it happens (its `observer`);
- undo is one atomic op, and happens only if every key still has what the command gave it: what others wrote
  since is never overwritten;
- memory is bounded: past KEYS_MAX or SIZE_MAX the values are let go of, and undo says that it was too much.
"""

from typing import TYPE_CHECKING, Any, Final

from lsmcli.commands.encoding import quoted_for_message
from lsmcli.engine.constants import MIB, TREE_ID_CATALOG
from lsmcli.engine.errors import StateError

if TYPE_CHECKING:
    from lsmcli.engine.database import Database

KEYS_MAX: Final = 100_000
SIZE_MAX: Final = 64 * MIB

_TOO_MUCH: Final = f"it changed more than {KEYS_MAX} keys or {SIZE_MAX // MIB} MiB"


class Changes:
    """What one command changed: (tree id, key) -> [value before, value after], None for absent."""

    __slots__ = ("reason", "size", "values")

    def __init__(self) -> None:
        self.values: dict[tuple[int, bytes], list[bytes | None]] = {}
        self.size = 0
        self.reason = ""  # why it cannot be undone

    def give_up(self, reason: str) -> None:
        """Let go of all values."""
        self.values.clear()
        self.size = 0
        self.reason = reason


class Undo:
    """The changes of the command that runs, and of the last one that wrote."""

    def __init__(self) -> None:
        self._current = Changes()
        self._last: Changes | None = None

    def begin(self) -> None:
        """A command begins."""
        self._current = Changes()

    def end(self) -> None:
        """It ended; if it wrote, it is the one that undo takes back."""
        if self._current.values or self._current.reason:
            self._last = self._current
        self._current = Changes()

    def refuse(self, reason: str) -> None:
        """The command that runs cannot be undone, nor what was before it."""
        self._current.give_up(reason)

    def attach(self, database: "Database") -> None:
        """See all changes of a database that was opened for writing."""

        def see(entries: list[Any] | None) -> None:
            if entries is None:
                self._current.give_up(_TOO_MUCH)
                return
            for entry in entries:
                self._see(database, *entry)

        database.observer = see

    def _see(self, database: "Database", tree_id: int, key: bytes, value: bytes | None) -> None:
        changes = self._current
        if changes.reason:
            return
        if tree_id == TREE_ID_CATALOG:
            changes.give_up("it created or dropped a tree")
            return
        known = changes.values.get((tree_id, key))
        if known is not None:
            changes.size += len(value or b"") - len(known[1] or b"")
            known[1] = value
        else:
            before = database.read(tree_id, lambda tree: tree.get(key))
            changes.values[tree_id, key] = [before, value]
            changes.size += len(key) + len(before or b"") + len(value or b"")
        if len(changes.values) > KEYS_MAX or changes.size > SIZE_MAX:
            changes.give_up(_TOO_MUCH)

    def undo(self, database: "Database") -> int:
        """Take back the last writing command, and return how many keys that changed. StateError if it cannot be."""
        last = self._last
        if last is None:
            raise StateError("nothing to undo: no command of this session has written since")
        if last.reason:
            raise StateError(f"the last writing command cannot be undone: {last.reason}")
        for (tree_id, key), (_, after) in last.values.items():
            if database.read(tree_id, lambda tree, key=key: tree.get(key)) != after:  # type: ignore[misc]
                raise StateError(f"{quoted_for_message(key)} was changed since by another process: nothing was undone")
        changed = [(tree_id, key, before) for (tree_id, key), (before, after) in last.values.items() if before != after]
        database.apply(changed)
        self._current = Changes()  # an undo is not undone
        self._last = None
        return len(changed)
