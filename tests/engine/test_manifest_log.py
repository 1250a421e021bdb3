"""The manifest log against a dict of the newest records, on a real grid with small blocks in memory.

The language: a Notebook is a log and the dict it must agree with; insert, update and remove tell both; checkpoint()
writes, checks the bound and the space in use, and reads the file again.
"""

import random
import struct
from collections.abc import Callable, Iterator

import pytest

from lsmcli.engine.block_header import HEADER_SIZE
from lsmcli.engine.constants import LEVELS, SNAPSHOT_LATEST
from lsmcli.engine.errors import DamageError, FileError, NoSpaceError
from lsmcli.engine.grid import Grid
from lsmcli.engine.manifest_log import LogBlock, LoggedTable, ManifestLog, decode_block
from lsmcli.engine.schema import (
    CHAIN_HEAD,
    REFERENCE_NONE,
    TABLE_EVENT,
    BlockKind,
    BlockReference,
    ChainHead,
    TableEventKind,
)
from lsmcli.engine.table_info import TableInfo
from tests.testing.grid import BLOCK_SIZE, MemoryStorage, grid_new, grid_reopened
from tests.testing.levels import table

INSERT, UPDATE, REMOVE = TableEventKind
GRID_BLOCKS = 100_000  # tables in these tests are addresses only: they claim blocks that nobody writes


class Notebook:
    """See the top of this file."""

    def __init__(self, grid: Grid | None = None) -> None:
        self.grid = grid_new(400) if grid is None else grid
        self.log = ManifestLog(self.grid)
        self.expected: dict[tuple[int, int], bytes] = {}
        self.tables: dict[tuple[int, int], TableInfo] = {}

    def insert(self, address: int, *, tree_id: int = 2, key: bytes = b"key", level: int = 0) -> TableInfo:
        info = table(key, key_max=key + b"z", tree_id=tree_id, address=address, level=level)
        self._note(info, INSERT)
        return info

    def update(self, info: TableInfo, snapshot_max: int) -> None:
        info.snapshot_max = snapshot_max
        self._note(info, UPDATE)

    def remove(self, info: TableInfo) -> None:
        self.log.append(info, REMOVE)
        del self.expected[info.tree_id, info.reference.address]
        del self.tables[info.tree_id, info.reference.address]

    def checkpoint(self) -> None:
        reference, block_count = self.log.checkpoint()
        assert block_count <= self.log.block_count_max()
        assert self.grid.free_set is not None
        assert self.grid.free_set.count_acquired == 2 * block_count
        assert self.reopened(reference, block_count) == self.expected
        self.grid.free_set.checkpoint_durable(graduate=True)

    def reopened(self, reference: BlockReference, block_count: int) -> dict[tuple[int, int], bytes]:
        return read(grid_reopened(self.grid, GRID_BLOCKS), reference, block_count)

    def _note(self, info: TableInfo, kind: TableEventKind) -> None:
        self.log.append(info, kind)
        self.expected[info.tree_id, info.reference.address] = info.to_event(kind)
        self.tables[info.tree_id, info.reference.address] = info


def read(grid: Grid, reference: BlockReference, block_count: int) -> dict[tuple[int, int], bytes]:
    found = {}
    for record in ManifestLog(grid).open(reference, block_count):
        key = (record.event.tree_id, record.event.address)
        assert key not in found
        found[key] = record.pack()
    return found


def test_an_empty_log_has_no_blocks() -> None:
    notebook = Notebook()
    assert notebook.log.checkpoint() == (REFERENCE_NONE, 0)
    assert notebook.reopened(REFERENCE_NONE, 0) == {}


def test_the_newest_record_of_a_table_counts_across_checkpoints() -> None:
    notebook = Notebook()
    first, second = notebook.insert(10), notebook.insert(11)
    notebook.checkpoint()
    notebook.update(first, 5)
    notebook.remove(second)
    notebook.checkpoint()
    first.snapshot_max = SNAPSHOT_LATEST
    notebook.update(first, SNAPSHOT_LATEST)
    notebook.checkpoint()
    assert notebook.log.block_count == 1


def test_an_address_can_be_used_again_by_any_tree() -> None:
    notebook = Notebook()
    notebook.remove(notebook.insert(10, tree_id=2))
    notebook.insert(10, tree_id=3)
    notebook.checkpoint()
    notebook.remove(notebook.tables[3, 10])
    notebook.insert(10, tree_id=3, key=b"other")
    notebook.checkpoint()
    notebook.remove(notebook.tables[3, 10])
    notebook.checkpoint()
    notebook.insert(10, tree_id=2)
    notebook.checkpoint()


def test_a_log_whose_tables_are_all_removed_is_empty_again() -> None:
    notebook = Notebook()
    tables = [notebook.insert(10 + i) for i in range(200)]
    notebook.checkpoint()
    assert notebook.log.block_count > 3
    for info in tables:
        notebook.remove(info)
    notebook.checkpoint()
    assert notebook.log.checkpoint() == (REFERENCE_NONE, 0)
    assert notebook.log.live_size == 0


def test_a_value_that_only_a_snapshot_sees_is_a_record_without_keys() -> None:
    notebook = Notebook()
    value = table(b"", key_max=b"", address=7, snapshot_max=9)
    value.block_count = 0
    notebook.log.append(value, INSERT)
    notebook.expected[2, 7] = value.to_event(INSERT)
    notebook.checkpoint()
    notebook.log.append(value, REMOVE)
    del notebook.expected[2, 7]
    notebook.checkpoint()


def test_what_a_log_wrote_another_goes_on_with() -> None:
    notebook = Notebook()
    for i in range(300):
        notebook.insert(1_000 + i)
    notebook.checkpoint()
    notebook.remove(notebook.tables[2, 1_007])
    notebook.checkpoint()
    reference, block_count = notebook.log.head, notebook.log.block_count
    live_size = notebook.log.live_size
    notebook.grid.block_count, block_count_real = GRID_BLOCKS, notebook.grid.block_count
    notebook.log = ManifestLog(notebook.grid)
    assert len(list(notebook.log.open(reference, block_count))) == 299
    notebook.grid.block_count = block_count_real
    assert notebook.log.live_size == live_size
    assert notebook.log.head == reference
    for i in range(20):
        notebook.remove(notebook.tables[2, 1_100 + i])
        notebook.checkpoint()


def test_long_runs_with_reused_addresses_agree_with_the_dict(rng: random.Random) -> None:
    for address_count in (3, 40, 300):
        notebook = Notebook()
        for _ in range(60):
            for _ in range(rng.choice((1, 2, 10, 60))):
                key = (rng.choice((1, 2)), rng.randrange(1, address_count))
                info = notebook.tables.get(key)
                other = (3 - key[0], key[1])
                if info is None and other not in notebook.tables:
                    notebook.insert(key[1], tree_id=key[0], key=bytes(rng.choice((1, 20, 500))), level=rng.randrange(7))
                elif info is not None:
                    if rng.random() < 0.5:
                        notebook.remove(info)
                    else:
                        notebook.update(info, rng.randrange(1, 99))
            notebook.checkpoint()
        assert notebook.log.block_count > 0


def test_a_hundred_thousand_events_leave_a_log_of_twice_the_live_tables() -> None:
    notebook = Notebook(grid_new(2_000))
    rng = random.Random(5)
    log, grid = notebook.log, notebook.grid
    assert grid.free_set is not None
    cold = [table(b"c%08d" % i, key_max=b"d%08d" % i, address=i) for i in range(1, 400)]
    live: list[TableInfo] = []
    events, checkpoints = len(cold), 0
    for info in cold:
        log.append(info, INSERT)
    while events < 100_000:
        for _ in range(rng.choice((5, 100, 400))):
            events += 1
            if live and rng.random() < 0.5:
                index = rng.randrange(len(live))
                live[index], live[-1] = live[-1], live[index]
                log.append(live.pop(), REMOVE)
            else:
                live.append(table(b"h%08d" % rng.randrange(10**8), key_max=b"i", address=1_000 + events))
                log.append(live[-1], INSERT)
        log.checkpoint()
        checkpoints += 1
        assert log.block_count <= log.block_count_max()
        assert grid.free_set.count_acquired == 2 * log.block_count
        grid.free_set.checkpoint_durable(graduate=True)
    found = read(grid_reopened(grid, 1 << 30), log.head, log.block_count)
    assert len(found) == len(cold) + len(live)
    assert grid.bytes_written / BLOCK_SIZE / 2 < checkpoints + 3 * events * 100 / BLOCK_SIZE


def test_a_quiet_log_pays_few_blocks_for_each_checkpoint() -> None:
    notebook = Notebook(grid_new(2_000))
    for i in range(2_000):
        notebook.insert(10 + i)
    notebook.checkpoint()
    hot = notebook.insert(5_000)
    for step in range(200):
        written = notebook.grid.bytes_written
        notebook.update(hot, 1 + step)
        notebook.log.checkpoint()
        assert (notebook.grid.bytes_written - written) // (2 * BLOCK_SIZE) <= 3 + 1
        assert notebook.log.block_count <= notebook.log.block_count_max()


def test_a_full_disk_leaves_every_event_to_be_written_later() -> None:
    storage = MemoryStorage()
    notebook = Notebook(grid_new(2, storage=storage))
    notebook.insert(10)
    notebook.checkpoint()
    storage.size_max = storage.size()
    for i in range(200):
        notebook.insert(20 + i)
    before = (notebook.log.head, notebook.log.block_count)
    with pytest.raises(NoSpaceError):
        notebook.log.checkpoint()
    assert (notebook.log.head, notebook.log.block_count) == before
    notebook.remove(notebook.tables[2, 25])
    storage.size_max = 1 << 40
    notebook.checkpoint()


def test_a_write_that_fails_gives_back_every_block(monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = Notebook()
    notebook.insert(9)
    notebook.checkpoint()
    assert notebook.grid.free_set is not None
    for i in range(300):
        notebook.insert(10 + i)
    write = MemoryStorage.write
    for failing in range(10):
        countdown = iter(range(failing, -1, -1))

        def failing_write(
            storage: MemoryStorage, offset: int, data: bytes, countdown: Iterator[int] = countdown
        ) -> None:
            if next(countdown) == 0:
                raise FileError("the write failed")
            write(storage, offset, data)

        monkeypatch.setattr(MemoryStorage, "write", failing_write)
        with pytest.raises(FileError, match="the write failed"):
            notebook.log.checkpoint()
        assert notebook.grid.free_set.count_acquired == 2
        assert notebook.grid.free_set.count_reserved == 0
    monkeypatch.undo()
    notebook.checkpoint()


def test_one_bad_copy_of_each_block_is_read_from_its_twin_and_two_are_damage() -> None:
    notebook = Notebook()
    storage = notebook.grid.storage
    assert isinstance(storage, MemoryStorage)
    for i in range(200):
        notebook.insert(10 + i)
    notebook.checkpoint()
    references = notebook.log.references()
    for reference in references:
        storage.data[notebook.grid.offset(reference.address) + 200] ^= 1
    assert notebook.reopened(references[-1], len(references)) == notebook.expected
    storage.data[notebook.grid.offset(references[0].address_twin) + 300] ^= 1
    with pytest.raises(DamageError) as caught:
        notebook.reopened(references[-1], len(references))
    assert caught.value.zone == "manifest"


# Files that somebody made, with checksums that hold.


def body_of(
    records: list[bytes], *, entry_count: int | None = None, index: int = 0, older: BlockReference = REFERENCE_NONE
) -> bytes:
    count = len(records) if entry_count is None else entry_count
    head = ChainHead(older.address, older.address_twin, older.checksum, count, index, 0)
    return CHAIN_HEAD.pack(head) + b"".join(records)


def record_of(key_min: bytes = b"a", key_max: bytes = b"b", **changes: int) -> bytes:
    event = TABLE_EVENT.unpack(table(b"a", key_max=b"b", address=50).to_event(INSERT))
    event = event._replace(key_min_size=len(key_min), key_max_size=len(key_max))
    return LoggedTable(event._replace(**changes), key_min, key_max).pack()  # type: ignore[arg-type]  # all numbers


def written(grid: Grid, body: bytes) -> BlockReference:
    reservation = grid.reserve(2)
    address = grid.acquire(reservation)
    return grid.write(address, BlockKind.MANIFEST, body, address_twin=grid.acquire(reservation))


def test_two_records_of_a_table_in_one_block_the_later_counts() -> None:
    grid = grid_new(60)
    later = record_of(level=3)
    reference = written(grid, body_of([record_of(), later, record_of(address=51), record_of(address=51, event=REMOVE)]))
    assert read(grid_reopened(grid), reference, 1) == {(2, 50): later}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "too few"),
        (bytes(47), "too few"),
        (body_of([]), "0 records"),
        (body_of([record_of()], entry_count=2), "2 records do not fit"),
        (body_of([record_of(), record_of()], entry_count=1), "follow its last record"),
        (body_of([record_of(b"a" * 100), record_of()[:60]], entry_count=2), "record 1 of 2 is cut off"),
        (body_of([record_of(key_max_size=2)]), "keys of record 0 are cut off"),
        (body_of([record_of(event=0)]), "kind, 0"),
        (body_of([record_of(event=4)]), "kind, 4"),
        (body_of([record_of(level=LEVELS)]), "level, 7"),
        (body_of([record_of(tree_id=0)]), "names no tree"),
        (body_of([record_of(address=0)]), "names no tree or no block"),
        (body_of([record_of(address=61)]), "block 61, outside the grid"),
        (body_of([record_of(), record_of(tree_id=3)]), "block 50 belongs to two tables"),
        (body_of([record_of(b"")]), "0 and 1 bytes"),
        (body_of([record_of(b"a", b"b" * 513)]), "1 and 513 bytes"),
        (body_of([record_of(b"c", b"b")]), "keys are out of order"),
        (body_of([record_of(snapshot_min=9, snapshot_max=8)]), "snapshots, 9 to 8"),
        (body_of([record_of(entry_count=0)]), "counts of entries are 0"),
        (body_of([record_of(tombstone_count=3)]), "counts of entries are 2, 3"),
        (body_of([record_of(large_count=3)]), "counts of entries are 2, 1, 3"),
        (body_of([record_of(block_count=0)]), "has no keys"),
    ],
)
def test_a_crafted_block_is_damage(body: bytes, reason: str) -> None:
    grid = grid_new(60)
    reference = written(grid, body)
    with pytest.raises(DamageError, match=reason) as caught:
        read(grid_reopened(grid), reference, 1)
    assert (caught.value.zone, caught.value.address) == ("manifest", reference.address)
    assert "\n" not in str(caught.value)


def chain(grid: Grid, indexes: list[int]) -> list[BlockReference]:
    """Blocks with these positions, oldest first, each with a table of its own."""
    references = [REFERENCE_NONE]
    for number, index in enumerate(indexes):
        references.append(written(grid, body_of([record_of(address=1 + number)], index=index, older=references[-1])))
    return references[1:]


@pytest.mark.parametrize(("block_count", "left_count"), [(30, 1), (120, 8)], ids=["into one", "to the bound at once"])
def test_a_log_of_nearly_empty_blocks_is_gathered(block_count: int, left_count: int) -> None:
    grid = grid_new(2 * block_count + 20)
    log = ManifestLog(grid)
    live = list(log.open(chain(grid, list(range(block_count)))[-1], block_count))
    log.append(table("x", address=block_count + 1), INSERT)
    assert log.checkpoint()[1] == log.block_count <= left_count
    assert log.block_count_max() >= left_count
    assert len(read(grid_reopened(grid), log.head, log.block_count)) == len(live) + 1


def test_positions_count_on_over_their_end() -> None:
    grid = grid_new(60)
    head = chain(grid, [2**32 - 2, 2**32 - 1, 0, 1])[-1]
    assert len(read(grid_reopened(grid), head, 4)) == 4
    assert len(read(grid_reopened(grid), head, 3)) == 3


@pytest.mark.parametrize("indexes", [[0, 0], [1, 0], [0, 2], [5, 5], [0, 2**32 - 1]])
def test_positions_out_of_order_are_damage(indexes: list[int]) -> None:
    grid = grid_new(60)
    with pytest.raises(DamageError, match="its position is"):
        read(grid_reopened(grid), chain(grid, indexes)[-1], 2)


def test_a_count_that_the_chain_does_not_have_is_damage() -> None:
    grid = grid_new(60)
    head = chain(grid, [0, 1, 2])[-1]
    with pytest.raises(DamageError, match="ends at 3 of 4"):
        read(grid_reopened(grid), head, 4)
    for reference, count in ((head, 0), (REFERENCE_NONE, 1), (head, 61), (head, 2**32 - 1)):
        with pytest.raises(DamageError, match="the superblock counts"):
            read(grid_reopened(grid), reference, count)


def test_no_change_of_a_block_is_more_than_damage(rng: random.Random) -> None:
    records = [record_of(b"a" * rng.randrange(1, 40), b"b", address=10 + i) for i in range(6)]
    whole = bytes(HEADER_SIZE) + body_of(records)

    def flip(data: bytearray) -> None:
        data[rng.randrange(HEADER_SIZE, len(data))] = rng.choice((0, 1, 255, rng.randrange(256)))

    def count(data: bytearray) -> None:
        struct.pack_into("<I", data, rng.randrange(HEADER_SIZE, len(data) - 4), rng.choice((0, 7, 2**31, 2**32 - 1)))

    def cut(data: bytearray) -> None:
        del data[rng.randrange(len(data)) :]

    changes: list[Callable[[bytearray], None]] = [flip, count, cut]
    outcomes = {True: 0, False: 0}
    for _ in range(3_000):
        data = bytearray(whole)
        rng.choice(changes)(data)
        try:
            decoded: LogBlock | None = decode_block(bytes(data), 1, BLOCK_SIZE)
        except DamageError:
            decoded = None
        outcomes[decoded is not None] += 1
    assert min(outcomes.values()) > 100
