"""Readers of the peers, each in a process of its own beside the writer: see lsmcli.benchmark.beside.

LevelDB cannot be open in two processes: its reader is a thread of the writer's. RocksDB's is a "secondary" instance.
"""

import sys
from typing import Any

from benchmarks.engines import MAP_SIZE, LmdbEachStore, LmdbStore, RocksStore, SqliteStore
from lsmcli.benchmark.beside import Reader, serve


def rocks_reader(path: str) -> Reader:
    """A secondary instance, with the options of the first one."""
    import rocksdict

    access = rocksdict.AccessType.secondary(f"{path}.secondary")
    database = rocksdict.Rdict(path, RocksStore.options(), access_type=access)
    return Reader(database.get, database.try_catch_up_with_primary)


class LmdbReader:
    """One transaction between two refreshes."""

    def __init__(self, path: str) -> None:
        import lmdb

        self._environment: Any = lmdb.open(path, readonly=True, map_size=MAP_SIZE)
        self._transaction = self._environment.begin()

    def get(self, key: bytes) -> bytes | None:
        """By way of the transaction of now."""
        value: bytes | None = self._transaction.get(key)
        return value

    def refresh(self) -> None:
        """The next transaction."""
        self._transaction.abort()
        self._transaction = self._environment.begin()


def lmdb_reader(path: str) -> Reader:
    """A reading environment."""
    reader = LmdbReader(path)
    return Reader(reader.get, reader.refresh)


def sqlite_reader(path: str) -> Reader:
    """Another connection: each query sees the newest state."""
    return Reader(SqliteStore(path).open().get, lambda: None)


READERS = {
    LmdbEachStore.__name__: lmdb_reader,
    RocksStore.__name__: rocks_reader,
    LmdbStore.__name__: lmdb_reader,
    SqliteStore.__name__: sqlite_reader,
}


if __name__ == "__main__":
    serve(sys.argv[2:], READERS[sys.argv[1]])
