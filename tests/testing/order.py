"""O8: the order of a run's writes, judged call by call from the record alone.

    blocks, log  ->  sync 1  ->  superblock copies 0-2  ->  sync 2  ->  copies 3-5  ->  sync 3  ->  space is reused

Invariants that are asserted:
- when a copy of a new superblock is written, all that it needs is synced; before copy 3, copies 0-2;
- no block and no live byte of the log that a durable superblock needs gets other bytes; while copies of two superblocks
  are on disk, both need theirs.
"""

from lsmcli.engine import constants
from lsmcli.engine.constants import GRID_OFFSET, superblock_copy_offset
from lsmcli.engine.data_file import DataFile
from lsmcli.engine.superblock import decode_copy, encode_copy
from lsmcli.engine.verifier import _Verification
from tests.testing.operations import BLOCK_SIZE
from tests.testing.pages import Pages
from tests.testing.storage import SimulatedStorage
from tests.testing.trace import Trace, play
from tests.testing.trial import Trial

_COPY_OFFSETS = {superblock_copy_offset(copy): copy for copy in range(constants.SUPERBLOCK_COPIES)}


class Needed:
    """What one durable superblock needs: blocks of the grid, and the live bytes of its log."""

    def __init__(self, disk: SimulatedStorage) -> None:
        storage = SimulatedStorage(disk.image_synced, writable=False)
        verification = _Verification(storage, "needed")
        verification.run()
        # Between two groups of copies the one that is not written yet is rightly called damaged.
        problems = [problem for problem in verification.report.problems if problem.zone != "superblock"]
        assert not problems, problems
        assert verification.file is not None
        self.blocks = set(verification.owners) - set(verification.file.ring_addresses())
        self.log = _live_bytes(verification.file)
        self.sequence = verification.file.superblock.sequence

    def log_grew(self, disk: SimulatedStorage) -> None:
        """After a sync that no superblock was part of."""
        self.log = _live_bytes(DataFile(SimulatedStorage(disk.image_synced), cache_size=0, writable=False))

    def touched_by(self, offset: int, data: bytes, disk: SimulatedStorage) -> str:
        """What is needed and would change; "" when nothing."""
        old = disk.image.read(offset, len(data))
        for at in range(offset - offset % BLOCK_SIZE, offset + len(data), BLOCK_SIZE):
            address = (at - GRID_OFFSET) // BLOCK_SIZE + 1
            if address in self.blocks and _differ(data, old, offset, at, at + BLOCK_SIZE):
                return f"block {address}"
        for live in self.log:
            if _differ(data, old, offset, live.start, live.stop):
                return f"the log from byte {live.start} on"
        return ""


def _differ(data: bytes, old: bytes, offset: int, start: int, stop: int) -> bool:
    """Whether a write at `offset` changes bytes between start and stop of the disk."""
    begin, end = max(start - offset, 0), max(stop - offset, 0)
    return data[begin:end] != old[begin:end]


def _live_bytes(file: DataFile) -> list[range]:
    """Where the records behind the checkpoint lie, as places on the disk."""
    offset = file.superblock.wal_offset
    recovery = file.recovery()
    live = []
    position = recovery.start.position
    for _, _, after in recovery.records():
        live.append(range(offset + (position if after.position > position else 0), offset + after.position))
        position = after.position
    return live


def assert_order(trace: Trace, trial: Trial) -> None:
    """Goes through the record from its first call to its last."""
    disk = trace.start.reopen()
    disk.sync()
    needed = [Needed(disk)]
    copies_written = copies_begun = False  # since the last sync began; before that
    for number, change in enumerate(trace.changes):
        try:
            if change.kind == "write":
                copy = _COPY_OFFSETS.get(change.offset)
                copies_written |= copy is not None
                if copy is not None:
                    _assert_synced_before(disk, copy, change.data)
                for each in needed if copy is None else ():
                    what = each.touched_by(change.offset, change.data, disk)
                    assert not what, f"superblock {each.sequence} still needs {what}"
            play(disk, change)
            if change.kind == "sync_begin":
                copies_begun, copies_written = copies_written, False
            elif change.kind in ("sync", "sync_end"):
                beside = change.kind == "sync_end"
                synced, copies_begun = copies_begun or (copies_written and not beside), False
                copies_written = copies_written and beside
                if not synced:
                    needed[-1].log_grew(disk)
                    continue
                newest = Needed(disk)
                # Behind the first group both are on disk, behind the second one only the newest counts.
                needed = [needed[-1], newest] if newest.sequence != needed[-1].sequence else [newest]
                trial.mark("a checkpoint whose order was judged")
        except AssertionError as error:
            error.add_note(f"storage call {number}: {change.kind} {change.offset} {len(change.data)}")
            raise


def _assert_synced_before(disk: SimulatedStorage, copy: int, data: bytes) -> None:
    """With this superblock the disk would be whole if power failed now, whatever else is not synced: ops that were put
    since the sync before it. Before the second group the first one is synced."""
    written = decode_copy(data)
    assert written is not None
    for other in range(constants.SUPERBLOCK_GROUP_COPIES if copy >= constants.SUPERBLOCK_GROUP_COPIES else 0):
        stored = disk.image_synced.read(superblock_copy_offset(other), len(data))
        assert stored == encode_copy(written.superblock, other), f"copy {copy} is written before {other} is synced"
    image = Pages(disk.image_synced)
    for other in range(constants.SUPERBLOCK_COPIES):
        image.write(superblock_copy_offset(other), encode_copy(written.superblock, other))
    Needed(SimulatedStorage(image))
