"""A writing and a reading process on one file, for real. Every interleaving, on a simulated disk, is class 18."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

import lsmcli
from lsmcli.engine.errors import SnapshotTooOldError

BLOCK_SIZE_REAL = 4096

WRITER = """
import sys, time, lsmcli
database = lsmcli.open(sys.argv[1], "w", memory_size=65536)
until = time.monotonic() + float(sys.argv[2])
version = 0
while time.monotonic() < until:
    version += 1
    stamp = b"%d" % version
    database.put_many([(b"all %02d" % i, stamp) for i in range(20)] + [(b"fill %d" % (version % 5000), stamp * 40)])
    if version % 3000 == 0:
        database.compact()
    if version % 500 == 0:
        with database.batch() as batch:
            for i in range(0, 5000, 7):
                batch.delete(b"fill %d" % i)
database.close()
print(version)
"""


@pytest.mark.slow
def test_two_processes_on_one_file(tmp_path: Path) -> None:
    """The writer stamps twenty keys at once with a rising number: a reader finds one number in all of them."""
    path = tmp_path / "shared.lsm"
    lsmcli.open(path, block_size=BLOCK_SIZE_REAL).close()
    seconds = 6.0
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(seconds)], stdout=subprocess.PIPE) as writer:
        versions = [0]
        too_old = streams = 0
        until = time.monotonic() + seconds + 1
        while time.monotonic() < until:
            with lsmcli.open(path, "r", cache_size=1 << 20) as database:
                for _ in range(5):
                    found = database.get_many([b"all %02d" % i for i in range(20)])
                    assert len(set(found)) == 1
                    versions.append(int(found[0] or 0))
                    pairs = list(database.scan(prefix=b"all "))
                    assert len({value for _, value in pairs}) <= 1
                    try:
                        streams += 1
                        largest = max(
                            (int(value[: len(value) // 40]) for _, value in database.scan(prefix=b"fill")), default=0
                        )
                        versions.append(max(largest, versions[-1]) if largest else versions[-1])
                    except SnapshotTooOldError:
                        too_old += 1
                    database.refresh()
        output = writer.communicate()[0]
    assert versions == sorted(versions)
    assert len(set(versions)) > 5
    assert versions[-1] == int(output)
    assert too_old <= streams
    with lsmcli.open(path, "r") as database:
        assert database[b"all 00"] == output.strip()
