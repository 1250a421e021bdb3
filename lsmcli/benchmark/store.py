"""What a benchmark needs of a store, and how lsmcli provides it.

A store hands out its own functions, as they are wherever that is possible: a benchmark in Python must not measure a
wrapper in Python. What belongs to a reading transaction or to an open cursor is only valid inside of `reading()`.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from lsmcli.benchmark.beside import Beside
    from lsmcli.benchmark.data import Data
    from lsmcli.engine.database import Database

SEEK_TEN: Final = 10
CACHE_SIZE: Final = 256 << 20
MEMORY_SIZE: Final = 64 << 20  # twice the default: what LevelDB and RocksDB are advised to take for a busy writer

Pair = tuple[bytes, bytes]


class Operations(NamedTuple):
    """The functions of an open store."""

    put: Callable[[bytes, bytes], Any]
    delete: Callable[[bytes], Any]
    write: Callable[[list[Pair]], Any]  # one atomic batch
    get: Callable[[bytes], bytes | None]
    get_many: Callable[[list[bytes]], Any]  # values in the order of the keys, or pairs of what was found
    scan: Callable[[], Iterator[Pair]]
    scan_reverse: Callable[[], Iterator[Pair]]
    seek: Callable[[bytes, int], list[Pair]]  # so many entries, from a key on
    seek_ten: Callable[[bytes], list[Pair]]


class Store(Protocol):
    """A store that one process has open for writing."""

    def open(self) -> Operations:
        """Open it, or make it."""

    def clear(self) -> Operations:
        """Close it, and open an empty one in its place."""

    def reading(self) -> AbstractContextManager[Operations]:
        """The functions for a run of reads without a write between them: in one transaction, where there is one."""

    def beside(self, data: "Data", count: int) -> "Beside":
        """Start a reader that does so many gets beside this writer."""

    def compact(self) -> Operations:
        """Bring it into the form that is the best to read. Returns its functions, which may be others now."""

    def close(self) -> None:
        """Close it. It may be opened again."""


def pairs_found(keys: list[bytes], result: list[Any]) -> dict[bytes, bytes]:
    """What `get_many` found, whether it answered with values or with pairs."""
    if result and isinstance(result[0], tuple):
        return dict(result)
    return {key: value for key, value in zip(keys, result, strict=True) if value is not None}


class LsmStore:
    """lsmcli, as the library opens it: every write survives a killed process, and none waits for a sync."""

    SETTINGS: Final[dict[str, Any]] = {
        "cache_size": CACHE_SIZE,
        "memory_size": MEMORY_SIZE,
        "block_size": "32 KiB (default)",
    }

    def __init__(self, path: str) -> None:
        self.path = path
        self.database: Database
        self._operations: Operations

    def open(self) -> Operations:
        """Opens the file for writing, and makes it if it is missing."""
        import lsmcli

        self.database = database = lsmcli.open(self.path, "c", cache_size=CACHE_SIZE, memory_size=MEMORY_SIZE)
        self._operations = Operations(
            put=database.put,
            delete=database.delete,
            write=database.put_many,
            get=database.get,
            get_many=database.get_many,
            scan=database.scan,
            scan_reverse=lambda: database.scan(reverse=True),
            seek=lambda key, count: list(database.scan(key, limit=count)),
            seek_ten=lambda key: list(database.scan(key, limit=SEEK_TEN)),
        )
        return self._operations

    def clear(self) -> Operations:
        """Puts a new, empty file in the place of this one."""
        import lsmcli

        self.database.close()
        lsmcli.open(self.path, "n").close()
        return self.open()

    def reading(self) -> AbstractContextManager[Operations]:
        """The same functions: no transaction is needed."""
        return nullcontext(self._operations)

    def beside(self, data: "Data", count: int) -> "Beside":
        """In a process of its own."""
        from lsmcli.benchmark.beside import lsmcli_beside

        return lsmcli_beside(self.path, data, count)

    def compact(self) -> Operations:
        """Merges all levels into one."""
        self.database.compact()
        return self._operations

    def close(self) -> None:
        """Closes the file, which syncs it."""
        self.database.close()
