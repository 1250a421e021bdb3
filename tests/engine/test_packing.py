"""Files that are closed with the log's large ring in the middle of them."""

import os
import random
from pathlib import Path

import lsmcli


def put_random(path: Path, rng: random.Random, count: int) -> dict[bytes, bytes]:
    """Puts so many random entries, 100 bytes of value each, in a session of its own."""
    entries = {rng.randbytes(16): rng.randbytes(100) for _ in range(count)}
    with lsmcli.open(path, "c") as database:
        for key, value in entries.items():
            database.put(key, value)
    return entries


def test_a_small_file_is_small_when_it_is_closed(tmp_path: Path, rng: random.Random) -> None:
    path = tmp_path / "a.lsm"
    entries: dict[bytes, bytes] = {}
    for sessions in range(1, 4):
        entries |= put_random(path, rng, 20_000)
        assert os.path.getsize(path) < 1.5 * sessions * 20_000 * 116 + (1 << 20)
        with lsmcli.open(path, "r") as database:
            assert dict(database.scan()) == entries


def test_a_reader_that_still_needs_its_blocks_keeps_the_file_as_it_is(tmp_path: Path, rng: random.Random) -> None:
    path = tmp_path / "a.lsm"
    before = put_random(path, rng, 10_000)
    with lsmcli.open(path, "r") as reader, reader.pinned():
        rows = reader.scan()
        read = dict([next(rows)])
        after = before | put_random(path, rng, 20_000)
        read.update(rows)
        assert read == before
    with lsmcli.open(path, "r") as database:
        assert dict(database.scan()) == after
