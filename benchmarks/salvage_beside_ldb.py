"""One damaged block, and what is left: `lsmcli FILE salvage` beside `ldb repair` of RocksDB, on the same entries.

    python benchmarks/salvage_beside_ldb.py [ENTRIES]       200,000 without it; needs the programs ldb and lsmcli

In a copy of the file one block of each kind is filled with zeros. `outside` counts entries that are missing though
they lie outside of what the report names as lost: it must be 0. The database of RocksDB is compacted into as few
files as it likes, and loses 550 bytes, the size of a damaged sector or two, or 32 KiB in the middle of the largest.
"""

import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import lsmcli
from lsmcli.engine.block_chain import chain_addresses
from lsmcli.engine.compaction_context import large_references, table_addresses
from lsmcli.engine.constants import GRID_OFFSET, SUPERBLOCK_COPY_SIZE
from lsmcli.engine.data_file import DataFile
from lsmcli.engine.schema import BlockKind
from lsmcli.engine.storage import FileStorage

BLOCK_SIZE = 32 * 1024
LARGE_EVERY = 20_000
LAST_PUTS = 500

Entries = dict[bytes, bytes]


class Place(NamedTuple):
    """Where bytes are lost."""

    name: str
    offsets: list[int]
    size: int


def entries(count: int) -> Entries:
    """Text entries in random order, some values of them 100 KB long."""
    rng = random.Random(1)
    numbers = list(range(count))
    rng.shuffle(numbers)
    return {
        b"key%08d" % number: b"value %d " % number * (7_000 if number % LARGE_EVERY == 7 else 7) for number in numbers
    }


def make_file(path: Path, data: Entries) -> None:
    """All but the last entries in tables, the last in the log."""
    pairs = list(data.items())
    with lsmcli.open(path, "n", block_size=BLOCK_SIZE) as database:
        for start in range(0, len(pairs) - LAST_PUTS, 1000):
            database.write(pairs[start : min(start + 1000, len(pairs) - LAST_PUTS)])
        database.checkpoint()
    with lsmcli.open(path, "w") as database:
        for key, value in pairs[-LAST_PUTS:]:
            database.put(key, value)


def places(path: Path) -> Iterator[Place]:
    """One block of each kind."""
    storage = FileStorage.open(str(path), writable=False)
    file = DataFile(storage, cache_size=0, writable=False)
    sb = file.superblock
    tables = [info for info in file.tables() if info.tree_id == 2]
    table = max(tables, key=lambda info: info.block_count)
    addresses = table_addresses(file.grid, table)
    chain = next(reference for info in tables for reference in large_references(file.grid, info))
    large = list(chain_addresses(file.grid, chain, BlockKind.LARGE))

    def block(name: str, *wanted: int) -> Place:
        return Place(name, [GRID_OFFSET + (address - 1) * BLOCK_SIZE for address in wanted], BLOCK_SIZE)

    yield Place("nothing", [], 0)
    yield Place("superblock, one copy", [0], SUPERBLOCK_COPY_SIZE)
    yield Place("superblock, all copies", [0, GRID_OFFSET - 3 * SUPERBLOCK_COPY_SIZE], 3 * SUPERBLOCK_COPY_SIZE)
    yield Place("log", [sb.wal_offset + sb.wal_position + 8192], BLOCK_SIZE)
    yield block("manifest, one copy", sb.manifest_address)
    yield block("manifest, both copies", sb.manifest_address, sb.manifest_address_twin)
    yield block("free set, one copy", sb.free_set_address)
    yield block("index", addresses[-1])
    yield block("value", addresses[len(addresses) // 2])
    yield block("large value", large[len(large) // 2])
    storage.close()


def salvage_row(path: Path, folder: Path, data: Entries, place: Place) -> list[str]:
    """Damages a copy of the file and salvages it."""
    damaged, out = folder / "damaged.lsm", folder / "out.lsm"
    shutil.copy(path, damaged)
    with damaged.open("r+b") as stream:
        for offset in place.offsets:
            stream.seek(offset)
            stream.write(bytes(place.size))
    out.unlink(missing_ok=True)
    began_s = time.perf_counter()
    words = [sys.executable, "-m", "lsmcli", str(damaged), "salvage", str(out), "--json"]
    done = subprocess.run(words, stdout=subprocess.PIPE, check=False)
    seconds = time.perf_counter() - began_s
    report = json.loads(done.stdout)
    with lsmcli.open(out, "r") as database:
        kept = dict(database.scan())
    wrong = sum(data.get(key) != value for key, value in kept.items())
    ranges = [(loss["key_min"].encode(), loss["key_max"].encode()) for loss in report["losses"] if loss["key_min"]]
    missing = [key for key in data if key not in kept]
    if any(loss["zone"] == "wal" for loss in report["losses"]):
        missing = [key for key in missing if key not in set(list(data)[-LAST_PUTS:])]
    outside = sum(not any(first <= key <= last for first, last in ranges) for key in missing)
    return [
        place.name,
        f"{len(kept)}",
        f"{len(data) - len(kept)}",
        f"{outside}",
        f"{wrong}",
        f"{done.returncode}",
        f"{seconds:.1f}",
    ]


def ldb_row(folder: Path, data: Entries, size: int) -> list[str]:
    """The same entries in RocksDB, `size` bytes lost in the middle of its largest file, and `ldb repair`."""
    path = folder / "rocks"
    shutil.rmtree(path, ignore_errors=True)
    lines = b"".join(b"%s ==> %s\n" % pair for pair in data.items())
    ldb = ["ldb", f"--db={path}"]
    quiet = partial(subprocess.run, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    quiet([*ldb, "load", "--create_if_missing"], input=lines, check=True)
    quiet([*ldb, "compact"], check=True)
    table = max(path.glob("*.sst"), key=lambda each: each.stat().st_size)
    if size:
        with table.open("r+b") as stream:
            stream.seek(table.stat().st_size // 2)
            stream.write(bytes(size))
    began_s = time.perf_counter()
    done = quiet([*ldb, "repair"], check=False)
    seconds = time.perf_counter() - began_s
    scanned = subprocess.run([*ldb, "scan"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    kept = {line.partition(b" ")[0] for line in scanned.stdout.splitlines()} & set(data)
    name = f"ldb repair, {size} bytes lost" if size else "ldb repair, nothing lost"
    return [name, f"{len(kept)}", f"{len(data) - len(kept)}", "", "", f"{done.returncode}", f"{seconds:.1f}"]


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    data = entries(count)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "whole.lsm"
        make_file(path, data)
        rows += [salvage_row(path, folder, data, place) for place in places(path)]
        if shutil.which("ldb"):
            rows += [ldb_row(folder, data, size) for size in (0, 550, BLOCK_SIZE)]
    lines = [f"{count} entries", "", "| damaged block | kept | missing | outside | wrong | exit code | s |"]
    lines += ["| --- | ---: | ---: | ---: | ---: | ---: | ---: |", *(f"| {' | '.join(row)} |" for row in rows)]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
