"""A million entries through the library: put, read, overwritten in part, half deleted, compacted, reopened, scanned.

    python -m tests.simulation.million [COUNT]

Twice: with the default settings, and with memory tables so small that at least three levels are in use.
Each run is a process of its own and prints its figures; the exit code is 1 when an answer is wrong, the
verifier finds a problem, or the process has taken 300 MiB of memory or more.

No model is held: the key of number i is a bijective mixture of i, its value a hash of the key, so that every
pair that comes out tells which number it is and whether its value is right; a byte for each number notes
that it has been seen.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import xxhash

import lsmcli
from lsmcli.engine.database import Database
from lsmcli.engine.storage import FileStorage
from lsmcli.engine.verifier import verify

COUNT = 1_000_000
RSS_MIB_MAX = 300
KEY_SIZE = 16
VALUE_SIZE = 100
BATCH = 1000
SETTINGS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "small": {"block_size": 8192, "growth_factor": 4, "memory_size": 1 << 20, "cache_size": 4 << 20},
}
LEVELS_MIN = {"defaults": 1, "small": 3}

_MASK = (1 << 64) - 1
_ODD = 0x9E37_79B9_7F4A_7C15
_ODD_INVERSE = pow(_ODD, -1, 1 << 64)


def key_of(number: int) -> bytes:
    """16 bytes; ascending numbers give keys in no order."""
    mixed = number * _ODD & _MASK
    mixed ^= mixed >> 32
    head = (mixed * _ODD & _MASK).to_bytes(8, "big")
    return head + xxhash.xxh3_64_digest(head)


def number_of(key: bytes) -> int:
    """The inverse of key_of()."""
    mixed = int.from_bytes(key[:8], "big") * _ODD_INVERSE & _MASK
    mixed ^= mixed >> 32
    return mixed * _ODD_INVERSE & _MASK


def value_of(key: bytes, generation: int) -> bytes:
    return (xxhash.xxh3_128_digest(key, generation) * 7)[:VALUE_SIZE]


def generation_of(number: int) -> int:
    """Every tenth entry is put twice."""
    return int(number % 10 == 0)


def levels_in_use(database: Database) -> int:
    return sum(level["tables"] > 0 for tree in database.levels() for level in tree["levels"] if tree["tree"] == "main")


def check_scan(pairs: Iterator[tuple[bytes, bytes]], count: int, step: int) -> None:
    """Ascending keys, right values, and exactly the numbers 0, step, 2 * step …"""
    seen = bytearray(count)
    last = b""
    for key, value in pairs:
        number = number_of(key)
        assert last < key
        assert number < count and number % step == 0 and not seen[number]
        assert key == key_of(number) and value == value_of(key, generation_of(number))
        seen[number] = 1
        last = key
    assert sum(seen) == len(range(0, count, step))


def check_gets(database: Database, count: int, step: int) -> None:
    """A fiftieth of all keys, present and absent, by single and by many lookups."""
    for number in range(0, count, 100):
        key = key_of(number)
        assert database.get(key) == value_of(key, generation_of(number))
        neighbour = key_of(number + 1)
        expected = value_of(neighbour, generation_of(number + 1)) if (number + 1) % step == 0 else None
        assert database.get_many([neighbour, key_of(count + number)]) == [expected, None]


class Figures:
    """Prints one line for each step: its time, and memory, file and levels after it."""

    def __init__(self, name: str, path: str) -> None:
        self.name = name
        self.path = path
        self.start_s = time.monotonic()

    def line(self, step: str, levels: int) -> None:
        seconds = time.monotonic() - self.start_s
        size_mib = os.path.getsize(self.path) / 2**20
        sys.stdout.write(
            f"{self.name:9} {step:22} {seconds:7.1f} s   rss {rss_mib():4.0f} MiB   file {size_mib:6.1f} MiB"
            f"   levels {levels}\n"
        )
        sys.stdout.flush()
        self.start_s = time.monotonic()


def rss_mib() -> float:
    """The most memory that this process has taken."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run(name: str, path: str, count: int) -> None:
    """One run, in this process."""
    figures = Figures(name, path)
    settings = dict(SETTINGS[name])
    later = {key: value for key, value in settings.items() if key not in ("block_size", "growth_factor")}
    with lsmcli.open(path, "n", **settings) as database:
        for number in range(count):
            key = key_of(number)
            database.put(key, value_of(key, 0))
        figures.line("put one by one", levels := levels_in_use(database))
        for number in range(0, count, 10):
            key = key_of(number)
            database.put(key, value_of(key, 1))
        figures.line("a tenth overwritten", max(levels, levels_in_use(database)))
        check_gets(database, count, 1)
        check_scan(database.scan(), count, 1)
        figures.line("read back", levels := max(levels, levels_in_use(database)))
        assert levels >= LEVELS_MIN[name] or count < COUNT
        for start in range(1, count, 2 * BATCH):
            with database.batch() as batch:
                for number in range(start, min(count, start + 2 * BATCH), 2):
                    batch.delete(key_of(number))
        figures.line("half deleted", levels_in_use(database))
        check_gets(database, count, 2)
        result = database.compact()
        figures.line("compacted", levels_in_use(database))
        assert result.bytes_written > 0
    with lsmcli.open(path, "w", **later) as database:
        check_scan(database.scan(), count, 2)
        check_gets(database, count, 2)
        assert len(database) == len(range(0, count, 2))
        figures.line("reopened and scanned", levels_in_use(database))
    storage = FileStorage.open(path, writable=False)
    try:
        problems = verify(storage).problems
    finally:
        storage.close()
    assert problems == []
    figures.line("verified", 0)
    assert rss_mib() < RSS_MIB_MAX, f"{rss_mib():.0f} MiB of memory, at most {RSS_MIB_MAX} are allowed"


def main(arguments: list[str]) -> int:
    if len(arguments) == 3:
        run(arguments[0], arguments[1], int(arguments[2]))
        return 0
    count = int(arguments[0]) if arguments else COUNT
    with tempfile.TemporaryDirectory() as directory:
        for name in SETTINGS:
            command = [sys.executable, "-m", "tests.simulation.million", name, str(Path(directory) / name), str(count)]
            code = subprocess.run(command, check=False).returncode
            if code:
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
