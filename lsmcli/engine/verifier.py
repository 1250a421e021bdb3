"""Verifies a whole data file: every checksum, order, range and reference, and the owner of every block.

Invariants:
- nothing is written, and damage in one place does not keep the others from being verified;
- every block of the grid is free or has exactly one owner: the WAL's ring, the manifest log, the free set,
  a table, or an out-of-line value. Whatever breaks that is a problem, named by zone and block;
- a block that is found to have an owner already is not read for another one: what a crafted file claims many times
  over costs no more than its blocks.

    superblock --> free set, manifest log --> index blocks --> value blocks --> out-of-line values
         '------> WAL --> out-of-line values that are in no table yet
"""

from collections.abc import Iterator
from itertools import islice
from operator import lt
from typing import Final, NamedTuple

from lsmcli.engine import constants
from lsmcli.engine import superblock as superblock_zone
from lsmcli.engine.block_chain import chain_links
from lsmcli.engine.columns import Columns
from lsmcli.engine.data_file import DataFile
from lsmcli.engine.errors import DamageError, FileError, LsmError
from lsmcli.engine.forest import Forest
from lsmcli.engine.free_set import FreeSet
from lsmcli.engine.index_block import fingerprints_packed
from lsmcli.engine.manifest_log import decode_block
from lsmcli.engine.schema import (
    BLOCK_HEADER,
    CHAIN_HEAD,
    CHAIN_REFERENCE,
    FLAG_LARGE,
    FLAG_TOMBSTONE,
    BlockKind,
    BlockReference,
    ChainReference,
)
from lsmcli.engine.storage import Storage
from lsmcli.engine.table import read_index
from lsmcli.engine.table_info import TableInfo
from lsmcli.engine.table_iterator import TableIterator
from lsmcli.engine.wal_entry import decode_entries

# A verification beside a writer starts again when the file changed under it.
_ATTEMPTS_MAX: Final = 8
_LOGGED: Final = ", in the log"  # ends the name of an owner that only the log refers to


class Problem(NamedTuple):
    """One thing that is wrong.

    kind: "damage"; "copy" where another copy holds, so that the next writer repairs it; "leak" for a block that
    nobody uses, which costs its space and nothing else.
    """

    zone: str
    address: int | None  # of the grid block, None when the zone has no blocks
    message: str
    kind: str = "damage"


class VerifyReport(NamedTuple):
    """Everything that is wrong with a file, and how much of each thing was verified."""

    problems: list[Problem]
    counts: dict[str, int]

    @property
    def ok(self) -> bool:
        return not self.problems


def verify(storage: Storage, name: str = "the file") -> VerifyReport:
    """Verifies the file. Reads all of it; memory grows with the number of blocks, a byte for each.

    Raises FormatError when it is not a data file at all.
    """
    verification = _Verification(storage, name)
    verification.run()
    for _ in range(_ATTEMPTS_MAX - 1):
        if verification.report.ok or not verification.moved():
            break
        verification = _Verification(storage, name)
        verification.run()
    return verification.report


class _Verification:
    """One pass over the file."""

    def __init__(self, storage: Storage, name: str) -> None:
        self.storage = storage
        self.name = name
        self.report = VerifyReport([], {})
        self.file: DataFile | None = None
        self.owners: dict[int, str] = {}
        self.chains: set[int] = set()
        self.complete = True  # every owner could be read, so that blocks without one are lost

    def moved(self) -> bool:
        """Whether a writer went on meanwhile."""
        return self.file is not None and self.file.superblock_moved()

    def run(self) -> None:
        try:
            self._superblock()
            self.file = file = DataFile(self.storage, cache_size=0, writable=False)
        except DamageError as error:
            self._problem(error)
            return
        self._ring()
        free_set = self._free_set()
        tables = self._manifest()
        for info in tables:
            self._table(info)
        self._wal()
        self._levels()
        if free_set is not None and self.complete:
            self._accounts(free_set)
        self.report.counts["tables"] = len(tables)
        self.report.counts["blocks"] = file.superblock.block_count
        self.report.counts["blocks_used"] = len(self.owners)

    def _count(self, name: str, number: int) -> None:
        self.report.counts[name] = self.report.counts.get(name, 0) + number

    def _problem(self, error: DamageError) -> None:
        self.report.problems.append(Problem(error.zone, error.address, str(error)))

    def _own(self, address: int, owner: str, zone: str) -> bool:
        """Notes who a block belongs to; a second owner is a problem, and gets False."""
        other = self.owners.setdefault(address, owner)
        if other is owner:
            return True
        message = f"block {address} belongs to {other} and to {owner}; run salvage"
        self.report.problems.append(Problem(zone, address, message))
        return False

    def _superblock(self) -> None:
        read = superblock_zone.read(self.storage, self.name)
        for slot in () if read.between_groups else read.slots_to_repair:
            message = f"superblock copy {slot} is damaged; the others hold, and the next writer repairs it"
            self.report.problems.append(Problem("superblock", None, message, "copy"))
        self._count("superblock_copies", constants.SUPERBLOCK_COPIES - len(read.slots_to_repair))

    def _ring(self) -> None:
        assert self.file is not None
        for address in self.file.ring_addresses():
            self._own(address, "the WAL", "wal")

    def _free_set(self) -> FreeSet | None:
        assert self.file is not None
        reference = self.file.free_set_reference()
        try:
            for link in self._chain_links(reference, BlockKind.FREE_SET):
                self._both_copies(link, BlockKind.FREE_SET, "the free set")
            return self.file.free_set_open()
        except (DamageError, FileError) as error:
            self._problem(_as_damage(error, "free set", None))
            return None

    def _chain_links(self, reference: ChainReference, kind: BlockKind) -> Iterator[BlockReference]:
        """The references of a chain's blocks, from its head on."""
        assert self.file is not None
        grid = self.file.grid
        link = BlockReference(reference.address, reference.address_twin, reference.checksum)
        for _ in range(reference.block_count):
            yield link
            link = _chain_next(grid.read(link, kind))

    def _both_copies(self, reference: BlockReference, kind: BlockKind, owner: str) -> None:
        """Verifies and owns a block and its second copy, each by itself."""
        assert self.file is not None
        bad: list[Problem] = []
        copies = [address for address in (reference.address, reference.address_twin) if address]
        for address in copies:
            self._own(address, owner, owner.removeprefix("the "))
            try:
                self.file.grid.read_copy(reference, kind, address)
            except (DamageError, FileError) as error:
                zone = error.zone if isinstance(error, DamageError) else owner.removeprefix("the ")
                bad.append(Problem(zone, address, str(error), "copy"))
        if len(bad) == len(copies):
            bad = [problem._replace(kind="damage") for problem in bad]
        self.report.problems.extend(bad)

    def _manifest(self) -> list[TableInfo]:
        """Every table of the manifest log, both copies of whose blocks are verified."""
        assert self.file is not None
        file, sb = self.file, self.file.superblock
        reference = BlockReference(sb.manifest_address, sb.manifest_address_twin, sb.manifest_checksum)
        tables = []
        try:
            for _ in range(sb.manifest_block_count):
                self._both_copies(reference, BlockKind.MANIFEST, "the manifest")
                data = file.grid.read(reference, BlockKind.MANIFEST)
                reference = decode_block(data, reference.address, sb.block_size).older
            tables = list(file.tables())
        except (DamageError, FileError) as error:
            self.complete = False
            self._problem(_as_damage(error, "manifest", None))
        self._count("manifest_blocks", sb.manifest_block_count)
        return tables

    def _table(self, info: TableInfo) -> None:
        """Every block of a table, or the chain of a dropped value that a pinned snapshot sees."""
        assert self.file is not None
        grid = self.file.grid
        address = info.reference.address
        if info.block_count == 0:
            chain = ChainReference(address, 0, info.reference.checksum, info.values_size, info.entry_count, 0, 0)
            self._large(chain)
            return
        owner = f"the table of tree {info.tree_id} at block {address}"
        self._own(address, owner, "index")
        try:
            index = read_index(grid, info)
        except (DamageError, FileError) as error:
            self.complete = False
            self._problem(_as_damage(error, "index", address))
            return
        iterator = TableIterator(grid, info)
        for block, reference in enumerate(index.references):
            if not self._own(reference.address, owner, "value"):
                self.complete = False
                continue
            try:
                columns = iterator.block_columns(block)
                fingerprints = index.fingerprints(block)
                if fingerprints_packed(columns.keys) != fingerprints:
                    message = f"index block {address} has other fingerprints than the keys of value block {block}"
                    raise DamageError(message, zone="index", address=address)
            except (DamageError, FileError) as error:
                if index.block_flags[block] & FLAG_LARGE:
                    self.complete = False
                self._problem(_as_damage(error, "value", reference.address))
                continue
            self._columns(columns)
        self._count("index_blocks", 1)
        self._count("value_blocks", len(index.references))

    def _columns(self, columns: Columns) -> None:
        """Counts the entries of a value block and verifies their out-of-line values."""
        assert all(map(lt, columns.keys, islice(columns.keys, 1, None)))
        self._count("entries", len(columns.keys))
        self._count("tombstones", columns.flags.count(FLAG_TOMBSTONE))
        if FLAG_LARGE in columns.flags:
            for value, flag in zip(columns.values, columns.flags, strict=True):
                if flag & FLAG_LARGE:
                    self._large(CHAIN_REFERENCE.unpack(value))

    def _large(self, chain: ChainReference, *, logged: bool = False) -> None:
        """Verifies and owns the blocks of an out-of-line value, once. logged: no table refers to it yet."""
        assert self.file is not None
        if chain.address in self.chains:
            return
        self.chains.add(chain.address)
        self._count("large_values", 1)
        owner = f"the value at block {chain.address}" + (_LOGGED if logged else "")
        try:
            for link in chain_links(self.file.grid, chain, BlockKind.LARGE):
                owned = [self._own(address, owner, "large value") for address in link[:2] if address]
                if not all(owned):
                    self.complete = False
                    break
        except (DamageError, FileError) as error:
            self.complete = False
            self._problem(_as_damage(error, "large value", chain.address))

    def _wal(self) -> None:
        assert self.file is not None
        recovery = self.file.recovery()
        try:
            for header, body, _ in recovery.records():
                self._count("wal_records", 1)
                if header.entry_count:
                    for _, _, value in decode_entries(body, header.entry_count):
                        if type(value) is ChainReference:
                            self._large(value, logged=True)
        except (DamageError, FileError) as error:
            self.complete = False
            self._problem(_as_damage(error, "wal", None))

    def _levels(self) -> None:
        """Opens the file as a reader does: levels disjoint, scopes in order."""
        try:
            file = DataFile(self.storage, cache_size=0, writable=False)
            forest = Forest(file, memory_size=constants.MEMORY_SIZE_DEFAULT, pid=0, clock_s=lambda: 0.0)
            forest.open(committed=False)
        except (DamageError, FileError) as error:
            message = str(error)
            if all(problem.message != message for problem in self.report.problems):
                self._problem(_as_damage(error, "manifest", None))

    def _accounts(self, free_set: FreeSet) -> None:
        """Compares what the free set says with what has an owner."""
        assert self.file is not None
        for address in free_set.acquired_addresses():
            if address not in self.owners:
                message = f"block {address} is in use by nobody: its space is lost until the file is copied"
                self.report.problems.append(Problem("free set", address, message, "leak"))
        for address, owner in self.owners.items():
            # A value that only the WAL refers to may be newer than the free set.
            newer = owner.endswith(_LOGGED) or address > free_set.block_count
            if not newer and not free_set.is_acquired(address):
                message = f"block {address} belongs to {owner}, but the free set calls it free"
                self.report.problems.append(Problem("free set", address, message))


def _chain_next(block: bytes) -> BlockReference:
    """The next link's reference out of a verified block of a chain."""
    if len(block) < BLOCK_HEADER.size + CHAIN_HEAD.size:
        raise DamageError("a block of a chain is too short for its head", zone="free set")
    head = CHAIN_HEAD.unpack(block, BLOCK_HEADER.size)
    return BlockReference(head.next_address, head.next_address_twin, head.next_checksum)


def _as_damage(error: LsmError, zone: str, address: int | None) -> DamageError:
    if isinstance(error, DamageError):
        return error
    return DamageError(str(error), zone=zone, address=address)
