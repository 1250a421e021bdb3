"""A pin: as long as it is held, no writer reuses what this reading handle reads.

Invariants:
- the pin is taken first, and the newest state is looked for after it: see below;
- the kernel takes it back when the process dies, however that happens;
- a pin makes nobody wait: the writer goes on, and the file grows instead of using space again.

    reader                     writer
    pin taken
    newest superblock: s
                               checkpoint s + 1 is durable; what s alone needs is quarantined
                               checkpoint s + 2 is durable; would free it, asks for pins first: stays quarantined

Whoever finds superblock s newest after taking the pin has taken it before s + 1 was durable. What s needs is
freed no earlier than that moment, and only after asking.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lsmcli.engine.database import Database


class Pin:
    """The context manager of Database.pinned(); `held` tells whether the system could do it."""

    def __init__(self, database: "Database") -> None:
        self._database = database
        self.held = False

    def __enter__(self) -> "Pin":
        database = self._database
        with database.lock:
            forest = database.usable()
            if database.read_only:
                database.pins += 1
                self.held = forest.file.storage.set_pin(held=True)
                try:
                    if forest.file.superblock_moved():
                        database.refresh()
                except BaseException:
                    self._release()
                    raise
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        with self._database.lock:
            if self._database.read_only:
                self._release()

    def _release(self) -> None:
        database = self._database
        database.pins -= 1
        if database.pins == 0:
            database.forest.file.storage.set_pin(held=False)
