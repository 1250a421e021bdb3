"""The format of the data file, pinned: a kept file opens for ever, and the same calls give the same bytes.

The kept file has every zone in use: tables on several levels, tombstones, out-of-line values in tables and
in the WAL, a second tree, a durable scope that is open, and a WAL that was closed cleanly.

Where things go in a file, and when, is no part of the format: it may change, and a second file tells what today's code
makes of the calls that made the kept one. So a change of either is seen, and meant:

- of the format: raise FORMAT_VERSION, keep the old file under its name, and write a new one;
- of where things go: write the second file anew with --rewrite, in a commit that says why. The kept one stays.
"""

import gzip
from pathlib import Path

import pytest

from lsmcli.engine import superblock
from lsmcli.engine.data_file import DataFile
from lsmcli.engine.forest import Forest
from lsmcli.engine.large_values import write_large
from lsmcli.engine.schema import FORMAT_VERSION, ScopeState
from lsmcli.engine.verifier import verify
from lsmcli.engine.wal_entry import encode_entries
from tests.testing.storage import SimulatedStorage

GOLDEN = Path(__file__).parent / "golden" / f"format_{FORMAT_VERSION}.lsm.gz"
TODAY = GOLDEN.with_name(f"today_{FORMAT_VERSION}.lsm.gz")
BLOCK_SIZE = 4096
MEMORY_SIZE = 8192
KEYS = 300
TREE_ID_OTHER = 3


def key(i: int) -> bytes:
    return b"key %05d" % i


def value(i: int) -> bytes:
    return bytes([i % 256]) * (i % 90)


def large(i: int) -> bytes:
    return b"large %d " % i * 1000


def expected_before_scope() -> dict[bytes, bytes]:
    entries = {key(i): value(i) for i in range(KEYS) if i % 7}
    return entries | {b"large in a table": large(1), b"large in the wal": large(2), bytes(range(256)): b"\0"}


def expected_in_scope() -> dict[bytes, bytes]:
    entries = expected_before_scope() | {b"in the scope": b"yes"}
    del entries[key(1)]
    return entries


class AtOnce(SimulatedStorage):
    """A sync beside is over at once."""

    def sync_begin(self) -> bool:
        begun = super().sync_begin()
        self.looks = 0
        return begun


class Writer:
    """Ops on a forest over a simulated disk, without the parts that differ from run to run, or between compiled and
    interpreted code: into how many slices a job is cut. So a job is finished when it has begun."""

    def __init__(self, storage: SimulatedStorage) -> None:
        file = DataFile(storage, cache_size=1 << 20, writable=True)
        self.forest = Forest(file, memory_size=MEMORY_SIZE, pid=4711, clock_s=lambda: 1_700_000_000.0)
        self.forest.open(committed=False)

    def op(self, *entries: tuple[int, bytes, bytes | None]) -> None:
        body = encode_entries(entries)
        self.forest.prepare(len(body))
        self.forest.write(list(entries), body)
        self.forest.finish_jobs()

    def op_large(self, name: bytes, content: bytes) -> None:
        self.forest.prepare(1000)
        chain = write_large(self.forest.file, 2, content, op=self.forest.op + 1)
        self.forest.write([(2, name, chain)], encode_entries([(2, name, chain)]))


def image_new() -> bytes:
    """The bytes of the kept file, made by the code of today."""
    _, head = superblock.format_file(
        uuid=bytes(range(16)), created_s=1_600_000_000, block_size=BLOCK_SIZE, growth_factor=2
    )
    storage = AtOnce(head)
    writer = Writer(storage)
    for i in range(KEYS):
        writer.op((2, key(i), value(i)), (TREE_ID_OTHER, key(i), b""))
    writer.op_large(b"large in a table", large(1))
    writer.op((2, bytes(range(256)), b"\0"))
    writer.op(*((2, key(i), None) for i in range(0, KEYS, 7)))
    writer.forest.flush()
    writer.forest.checkpoint()
    writer.op_large(b"large in the wal", large(2))
    writer.forest.scope_begin(ScopeState.DURABLE)
    writer.op((2, b"in the scope", b"yes"), (2, key(1), None))
    writer.forest.close(replay_size_max=1 << 20)
    return bytes(storage.image)


def entries_of(image: bytes, *, committed: bool, tree_id: int = 2) -> dict[bytes, bytes]:
    file = DataFile(SimulatedStorage(image, writable=False), cache_size=1 << 20, writable=False)
    forest = Forest(file, memory_size=MEMORY_SIZE, pid=1, clock_s=lambda: 0.0)
    forest.open(committed=committed)
    tree = forest.tree(tree_id)
    candidates = [key(i) for i in range(KEYS)]
    candidates += [b"large in a table", b"large in the wal", bytes(range(256)), b"in the scope"]
    found = {candidate: tree.get(candidate) for candidate in candidates}
    return {candidate: content for candidate, content in found.items() if content is not None}


@pytest.fixture(scope="module", params=[GOLDEN, TODAY], ids=["kept", "today"])
def kept(request: pytest.FixtureRequest) -> bytes:
    path: Path = request.param
    return gzip.decompress(path.read_bytes())


def test_the_same_calls_give_the_same_bytes(rewrite: bool) -> None:
    image = image_new()
    if rewrite:
        TODAY.write_bytes(gzip.compress(image, mtime=0))
    assert gzip.decompress(TODAY.read_bytes()) == image


def test_the_kept_file_has_its_entries(kept: bytes) -> None:
    assert entries_of(kept, committed=True) == expected_before_scope()
    assert entries_of(kept, committed=False) == expected_in_scope()
    assert entries_of(kept, committed=True, tree_id=TREE_ID_OTHER) == {key(i): b"" for i in range(KEYS)}


def test_the_kept_file_is_whole(kept: bytes) -> None:
    report = verify(SimulatedStorage(kept, writable=False))
    assert report.problems == []
    assert report.counts["tables"] >= 3
    assert report.counts["large_values"] == 2
    assert report.counts["tombstones"] > 0


def test_a_writer_goes_on_with_the_kept_file(kept: bytes) -> None:
    storage = SimulatedStorage(kept)
    writer = Writer(storage)
    writer.forest.scope_discard()
    writer.op((2, b"in the scope", b"new"))
    writer.forest.close(replay_size_max=0)
    assert entries_of(bytes(storage.image), committed=True) == expected_before_scope() | {b"in the scope": b"new"}
    assert verify(SimulatedStorage(bytes(storage.image), writable=False)).problems == []
