"""What the manifest keeps of one table: where it is, what it spans, and at which snapshots it is visible.

Invariants:
- only `level` (a move) and `snapshot_max` (a removal) ever change; the rest is what was written;
- snapshot_min <= snapshot_max, both inclusive; SNAPSHOT_LATEST stands for "not deleted";
- a table is known by its tree and by the address of its index block.

            snapshot_min          snapshot_max
                 v                     v
    ops  1  2  3 [4  5  6  7  8  9  10 ] 11 12     the table is read at snapshots 4 … 10
"""

from lsmcli.engine.constants import SNAPSHOT_LATEST
from lsmcli.engine.key_range import KeyRange
from lsmcli.engine.schema import TABLE_EVENT, BlockReference, TableEvent, TableEventKind


class TableInfo:
    """One table of one tree. Sizes in bytes, snapshots are ops."""

    __slots__ = (
        "block_count",
        "entry_count",
        "key_max",
        "key_min",
        "large_count",
        "level",
        "reference",
        "snapshot_max",
        "snapshot_min",
        "tombstone_count",
        "tree_id",
        "values_size",
    )

    def __init__(
        self,
        *,
        tree_id: int,
        level: int,
        reference: BlockReference,
        key_min: bytes,
        key_max: bytes,
        block_count: int,
        entry_count: int,
        tombstone_count: int,
        large_count: int,
        values_size: int,
        snapshot_min: int,
        snapshot_max: int = SNAPSHOT_LATEST,
    ) -> None:
        self.tree_id = tree_id
        self.level = level
        self.reference = reference  # of the index block
        self.key_min = key_min  # inclusive
        self.key_max = key_max  # inclusive
        self.block_count = block_count  # value blocks
        self.entry_count = entry_count  # tombstones included
        self.tombstone_count = tombstone_count
        self.large_count = large_count
        self.values_size = values_size  # keys and values as stored
        self.snapshot_min = snapshot_min
        self.snapshot_max = snapshot_max

    def visible(self, snapshot: int) -> bool:
        """Whether a reader at this snapshot reads the table."""
        return self.snapshot_min <= snapshot <= self.snapshot_max

    @property
    def key_range(self) -> KeyRange:
        """The keys it spans, both ends inclusive."""
        return KeyRange(self.key_min, self.key_max)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TableInfo):
            return NotImplemented
        return self.reference.address == other.reference.address and self.tree_id == other.tree_id

    def __hash__(self) -> int:
        return hash((self.tree_id, self.reference.address))

    def __repr__(self) -> str:
        return (
            f"TableInfo(tree_id={self.tree_id}, level={self.level}, address={self.reference.address}, "
            f"keys={self.key_min[:16]!r}…{self.key_max[:16]!r}, entry_count={self.entry_count}, "
            f"snapshots={self.snapshot_min}…{self.snapshot_max})"
        )

    def to_event(self, kind: TableEventKind) -> bytes:
        """The record of the manifest log: TableEvent, key_min, key_max."""
        event = TableEvent(
            event=kind,
            level=self.level,
            tree_id=self.tree_id,
            block_count=self.block_count,
            entry_count=self.entry_count,
            tombstone_count=self.tombstone_count,
            large_count=self.large_count,
            key_min_size=len(self.key_min),
            key_max_size=len(self.key_max),
            values_size=self.values_size,
            snapshot_min=self.snapshot_min,
            snapshot_max=self.snapshot_max,
            address=self.reference.address,
            checksum=self.reference.checksum,
        )
        return TABLE_EVENT.pack(event) + self.key_min + self.key_max

    @classmethod
    def from_event(cls, event: TableEvent, key_min: bytes, key_max: bytes) -> "TableInfo":
        """The table of a record; the manifest log has checked the record's numbers and keys."""
        return cls(
            tree_id=event.tree_id,
            level=event.level,
            reference=BlockReference(event.address, 0, event.checksum),
            key_min=key_min,
            key_max=key_max,
            block_count=event.block_count,
            entry_count=event.entry_count,
            tombstone_count=event.tombstone_count,
            large_count=event.large_count,
            values_size=event.values_size,
            snapshot_min=event.snapshot_min,
            snapshot_max=event.snapshot_max,
        )
