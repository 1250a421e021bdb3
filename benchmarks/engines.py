"""The engines of the comparison: one adapter each, with its settings and why they are what they are.

All of them: no compression (a row of its own would have to compare it), a cache of 256 MiB, where there is one that the
program owns, and a log without a sync for each write: what was acknowledged survives a killed process.

    engine      after kill -9        after a power failure
    lsmcli      everything           the last writes may be lost, from the end
    plyvel      everything           the same
    rocksdict   everything           the same
    sqlite3     everything           the same
    lmdb        everything           the whole file may be lost: with sync=False pages reach the disk in any order

So LMDB promises less here than the others do. With its syncs it would promise more, and a put would take milliseconds.
"""

import os
import shutil
import sqlite3
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

from lsmcli.benchmark.beside import Beside, ProcessBeside, Reader, ThreadBeside, reader_words
from lsmcli.benchmark.data import Data
from lsmcli.benchmark.store import CACHE_SIZE, SEEK_TEN, LsmStore, Operations, Pair, Store

WRITE_BUFFER_SIZE = 64 << 20
BLOOM_BITS = 10
MAP_SIZE = 1 << 40
POINT_READS = frozenset({"readrandom", "readhot", "readmissing", "get_many", "seekrandom"})


class Stored(ABC):
    """What the peers' stores share: a path, under which they make a file with companions, or a directory."""

    def __init__(self, path: str) -> None:
        self.path = path

    @abstractmethod
    def open(self) -> Operations:
        """Opens the store, and makes it if it is missing."""

    @abstractmethod
    def close(self) -> None:
        """Closes the store."""

    def beside(self, data: Data, count: int) -> Beside:
        """A reader in a process of its own: benchmarks.readers."""
        words = ["-m", "benchmarks.readers", type(self).__name__, *reader_words(self.path, data, count)]
        return ProcessBeside([sys.executable, *words])

    def clear(self) -> Operations:
        """Removes the store, and opens a new one."""
        self.close()
        for path in Path(self.path).parent.glob(f"{Path(self.path).name}*"):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
        return self.open()


class PlyvelStore(Stored):
    """LevelDB. Bloom filters of 10 bits a key, as its documentation advises for random reads; one process at a time."""

    SETTINGS: ClassVar[dict[str, Any]] = {
        "write_buffer_size": WRITE_BUFFER_SIZE,
        "lru_cache_size": CACHE_SIZE,
        "bloom_filter_bits": BLOOM_BITS,
        "compression": None,
    }

    def open(self) -> Operations:
        """Writes go to the log with one write call and no sync (sync=False is LevelDB's default)."""
        import plyvel

        self.database = database = plyvel.DB(self.path, create_if_missing=True, **self.SETTINGS)

        def write(pairs: list[Pair]) -> None:
            batch = database.write_batch()
            put = batch.put
            for key, value in pairs:
                put(key, value)
            batch.write()

        get = database.get
        self._operations = Operations(
            put=database.put,
            delete=database.delete,
            write=write,
            get=get,
            get_many=lambda keys: [get(key) for key in keys],
            scan=database.iterator,
            scan_reverse=lambda: database.iterator(reverse=True),
            seek=lambda key, count: list(islice(database.iterator(start=key), count)),
            seek_ten=lambda key: list(islice(database.iterator(start=key), SEEK_TEN)),
        )
        return self._operations

    @contextmanager
    def reading(self) -> Iterator[Operations]:
        """One iterator for all seeks: making one costs more than moving it."""
        iterator = self.database.iterator()
        move = iterator.seek

        def seek(key: bytes, count: int) -> list[Pair]:
            move(key)
            return list(islice(iterator, count))

        yield self._operations._replace(seek=seek, seek_ten=lambda key: seek(key, SEEK_TEN))
        iterator.close()

    def beside(self, data: Data, count: int) -> Beside:
        """As a thread, for a second process cannot open the database."""
        return ThreadBeside(Reader(self._operations.get, lambda: None), data, count)

    def compact(self) -> Operations:
        """compact_range over everything."""
        self.database.compact_range()
        return self._operations

    def close(self) -> None:
        """Waits for a compaction that is under way."""
        self.database.close()


class RocksStore(Stored):
    """RocksDB, as its tuning guide begins: dynamic level sizes, blocks of 16 KiB, index and filters in the cache.

    raw_mode: keys and values are bytes as they are. Background jobs: as many as there are cores.
    """

    SETTINGS: ClassVar[dict[str, Any]] = {
        "write_buffer_size": WRITE_BUFFER_SIZE,
        "block_cache": CACHE_SIZE,
        "bloom_filter": BLOOM_BITS,
        "block_size": 16384,
        "cache_index_and_filter_blocks": True,
        "pin_l0_filter_and_index_blocks_in_cache": True,
        "level_compaction_dynamic_level_bytes": True,
        "max_background_jobs": max(2, os.cpu_count() or 2),
        "bytes_per_sync": 1 << 20,
        "compression": "none",
        "raw_mode": True,
    }

    @classmethod
    def options(cls) -> Any:
        """SETTINGS as options of rocksdict."""
        import rocksdict

        wanted = cls.SETTINGS
        table = rocksdict.BlockBasedOptions()
        table.set_block_cache(rocksdict.Cache(wanted["block_cache"]))
        table.set_bloom_filter(wanted["bloom_filter"], False)
        table.set_block_size(wanted["block_size"])
        table.set_cache_index_and_filter_blocks(wanted["cache_index_and_filter_blocks"])
        table.set_pin_l0_filter_and_index_blocks_in_cache(wanted["pin_l0_filter_and_index_blocks_in_cache"])
        options = rocksdict.Options(raw_mode=wanted["raw_mode"])
        options.set_write_buffer_size(wanted["write_buffer_size"])
        options.set_block_based_table_factory(table)
        options.set_level_compaction_dynamic_level_bytes(wanted["level_compaction_dynamic_level_bytes"])
        options.set_max_background_jobs(wanted["max_background_jobs"])
        options.set_bytes_per_sync(wanted["bytes_per_sync"])
        options.set_compression_type(rocksdict.DBCompressionType.none())
        return options

    def open(self) -> Operations:
        """Writes go to the log without a sync, RocksDB's default."""
        import rocksdict

        self.database = database = rocksdict.Rdict(self.path, self.options())

        def write(pairs: list[Pair]) -> None:
            batch = rocksdict.WriteBatch(raw_mode=True)
            put = batch.put
            for key, value in pairs:
                put(key, value)
            database.write(batch)

        items = database.items
        self._operations = Operations(
            put=database.put,
            delete=database.delete,
            write=write,
            get=database.get,
            get_many=database.get,  # of a list: one MultiGet
            scan=items,
            scan_reverse=lambda: items(backwards=True),
            seek=lambda key, count: list(islice(items(from_key=key), count)),
            seek_ten=lambda key: list(islice(items(from_key=key), SEEK_TEN)),
        )
        return self._operations

    def reading(self) -> AbstractContextManager[Operations]:
        """The same functions: to move an iterator takes three calls for each entry, more than making a new one."""
        return nullcontext(self._operations)

    def compact(self) -> Operations:
        """compact_range over everything."""
        self.database.compact_range(None, None)
        return self._operations

    def close(self) -> None:
        """Waits for background work."""
        self.database.close()


class LmdbStore(Stored):
    """LMDB: no sync (see above), and no writemap, so that what a killed process has written is with the system.

    A transaction for each put, get_many by cursor.getmulti, batches by cursor.putmulti. Reads without a write between
    them share one transaction, which is LMDB at its best: it then answers from one state, and does not see later
    writes. The other rows ("transaction each") begin one for every get, which sees them, as the other engines' do.
    """

    SETTINGS: ClassVar[dict[str, Any]] = {
        "sync": False,
        "map_async": False,
        "writemap": False,
        "readahead": True,
        "map_size": MAP_SIZE,
    }

    def open(self) -> Operations:
        """The environment in a directory of its own."""
        import lmdb

        self.environment = lmdb.open(self.path, **self.SETTINGS)
        begin = self.environment.begin

        def put(key: bytes, value: bytes) -> None:
            with begin(write=True) as transaction:
                transaction.put(key, value)

        def delete(key: bytes) -> None:
            with begin(write=True) as transaction:
                transaction.delete(key)

        def write(pairs: list[Pair]) -> None:
            with begin(write=True) as transaction, transaction.cursor() as cursor:
                cursor.putmulti(pairs)

        def get(key: bytes) -> bytes | None:
            with begin() as transaction:
                value: bytes | None = transaction.get(key)
                return value

        def get_many(keys: list[bytes]) -> list[Pair]:
            with begin() as transaction, transaction.cursor() as cursor:
                return list(cursor.getmulti(keys))

        def scan(reverse: bool = False) -> Iterator[Pair]:
            with begin() as transaction, transaction.cursor() as cursor:
                yield from cursor.iterprev() if reverse else cursor.iternext()

        def seek(key: bytes, count: int) -> list[Pair]:
            with begin() as transaction, transaction.cursor() as cursor:
                return list(islice(cursor.iternext(), count)) if cursor.set_range(key) else []

        self._operations = Operations(
            put=put,
            delete=delete,
            write=write,
            get=get,
            get_many=get_many,
            scan=scan,
            scan_reverse=lambda: scan(reverse=True),
            seek=seek,
            seek_ten=lambda key: seek(key, SEEK_TEN),
        )
        return self._operations

    def reading(self) -> AbstractContextManager[Operations]:
        """One transaction and one cursor for all of it."""
        return self._in_one_transaction()

    @contextmanager
    def _in_one_transaction(self) -> Iterator[Operations]:
        with self.environment.begin() as transaction, transaction.cursor() as cursor:
            move, following = cursor.set_range, cursor.iternext

            def seek(key: bytes, count: int) -> list[Pair]:
                return list(islice(following(), count)) if move(key) else []

            def scan_reverse() -> Iterator[Pair]:
                cursor.last()
                return iter(cursor.iterprev())

            def scan() -> Iterator[Pair]:
                cursor.first()
                return iter(cursor.iternext())

            yield self._operations._replace(
                get=transaction.get,
                get_many=cursor.getmulti,
                scan=scan,
                scan_reverse=scan_reverse,
                seek=seek,
                seek_ten=lambda key: list(islice(following(), SEEK_TEN)) if move(key) else [],
            )

    def compact(self) -> Operations:
        """LMDB has no compaction in place: a compacting copy takes the place of the environment."""
        copy = f"{self.path}.copy"
        os.mkdir(copy)
        self.environment.copy(copy, compact=True)
        self.environment.close()
        shutil.rmtree(self.path)
        os.rename(copy, self.path)
        return self.open()

    def close(self) -> None:
        """Unmaps the file."""
        self.environment.close()


class LmdbEachStore(LmdbStore):
    """LMDB with a transaction for every get."""

    def reading(self) -> AbstractContextManager[Operations]:
        """The functions that begin a transaction each."""
        return nullcontext(self._operations)


class SqliteStore(Stored):
    """SQLite of the standard library: write-ahead log, synchronous=NORMAL, keys in a table WITHOUT ROWID.

    As its documentation advises: NORMAL with WAL does not sync a commit; WITHOUT ROWID for a key that is no number and
    rows that are small; autocommit for single puts, executemany in one transaction for batches.
    """

    SETTINGS: ClassVar[dict[str, Any]] = {
        "journal_mode": "wal",
        "synchronous": "normal",
        "cache_size": f"-{CACHE_SIZE >> 10}",
        "mmap_size": str(1 << 40),
        "table": "kv(k BLOB PRIMARY KEY, v BLOB) WITHOUT ROWID",
        "cached_statements": 128,
    }

    def open(self) -> Operations:
        """Autocommit: isolation_level=None."""
        self.connection = connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        for pragma in ("journal_mode", "synchronous", "cache_size", "mmap_size"):
            connection.execute(f"PRAGMA {pragma}={self.SETTINGS[pragma]}").fetchall()
        connection.execute(f"CREATE TABLE IF NOT EXISTS {self.SETTINGS['table']}")
        execute, executemany = connection.execute, connection.executemany
        insert = "INSERT OR REPLACE INTO kv VALUES (?, ?)"
        select = "SELECT v FROM kv WHERE k = ?"

        def write(pairs: list[Pair]) -> None:
            execute("BEGIN")
            executemany(insert, pairs)
            execute("COMMIT")

        def get(key: bytes) -> bytes | None:
            row = execute(select, (key,)).fetchone()
            return None if row is None else row[0]

        def get_many(keys: list[bytes]) -> list[Pair]:
            marks = ",".join("?" * len(keys))
            return execute(f"SELECT k, v FROM kv WHERE k IN ({marks})", keys).fetchall()

        def seek(key: bytes, count: int) -> list[Pair]:
            return execute("SELECT k, v FROM kv WHERE k >= ? ORDER BY k LIMIT ?", (key, count)).fetchall()

        self._operations = Operations(
            put=lambda key, value: execute(insert, (key, value)),
            delete=lambda key: execute("DELETE FROM kv WHERE k = ?", (key,)),
            write=write,
            get=get,
            get_many=get_many,
            scan=lambda: execute("SELECT k, v FROM kv ORDER BY k"),
            scan_reverse=lambda: execute("SELECT k, v FROM kv ORDER BY k DESC"),
            seek=seek,
            seek_ten=lambda key: seek(key, SEEK_TEN),
        )
        return self._operations

    @contextmanager
    def reading(self) -> Iterator[Operations]:
        """One reading transaction, which spares each query the locks of its own."""
        self.connection.execute("BEGIN")
        try:
            yield self._operations
        finally:
            self.connection.execute("COMMIT")

    def compact(self) -> Operations:
        """VACUUM, and the log brought into the file."""
        self.connection.execute("VACUUM")
        self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return self._operations

    def close(self) -> None:
        """Checkpoints the log."""
        self.connection.close()


class NoStore:
    """Stores nothing: for what the loops of the benchmark take by themselves."""

    def open(self) -> Operations:
        """Functions that do nothing."""

        def nothing(*arguments: object) -> Any:
            return None

        return Operations(*[nothing] * len(Operations._fields))

    def clear(self) -> Operations:
        """The same functions."""
        return self.open()

    def reading(self) -> AbstractContextManager[Operations]:
        """The same functions."""
        return nullcontext(self.open())

    def beside(self, data: Data, count: int) -> Beside:
        """A reader that reads nothing."""
        return ThreadBeside(Reader(self.open().get, lambda: None), data, 0)

    def compact(self) -> Operations:
        """Nothing."""
        return self.open()

    def close(self) -> None:
        """Nothing."""


class LsmZstdStore(LsmStore):
    """lsmcli with a tree that is compressed in all levels."""

    def open(self) -> Operations:
        """Opens the file; the setting is kept in it."""
        operations = super().open()
        self.database.set_compression("main", "zstd")
        return operations


class Engine(NamedTuple):
    """One column of the comparison. peer: what lsmcli is compared with. only: the workloads that it takes part in."""

    store: Callable[[str], Store]
    settings: dict[str, Any]
    package: str  # whose version is printed
    peer: bool = True
    environment: Mapping[str, str] = MappingProxyType({})
    only: frozenset[str] = frozenset()


ENGINES = {
    "lsmcli": Engine(LsmStore, LsmStore.SETTINGS, "lsmcli", peer=False),
    "lsmcli-zstd": Engine(LsmZstdStore, LsmStore.SETTINGS | {"compression": "zstd"}, "lsmcli", peer=False),
    "lsmcli-pure": Engine(LsmStore, {"LSMCLI_PURE": "1"}, "lsmcli", peer=False, environment={"LSMCLI_PURE": "1"}),
    "plyvel": Engine(PlyvelStore, PlyvelStore.SETTINGS, "plyvel"),
    "rocksdict": Engine(RocksStore, RocksStore.SETTINGS, "rocksdict"),
    "lmdb": Engine(LmdbStore, LmdbStore.SETTINGS, "lmdb"),
    "lmdb-each": Engine(LmdbEachStore, {"reads": "one transaction for each call"}, "lmdb", only=POINT_READS),
    "sqlite3": Engine(SqliteStore, SqliteStore.SETTINGS, "sqlite3"),
}


def version_of(engine: Engine) -> str:
    """The version of an engine's package. Raises ImportError when it is not installed."""
    if engine.package == "sqlite3":
        return sqlite3.sqlite_version
    from importlib import metadata

    return metadata.version(engine.package)
