"""What a damaged log still holds: the ops that are newer than the tables, in memory.

Invariants:
- what an intact log says is what an open would make of it;
- behind a hole a record counts only if it continues ops that were acknowledged: a torn tail that some recovery
  has dropped does not come back;
- without a root, only the chain of records that ends with the newest op counts: of each key that it touches it has
  the last write, so it may begin before the checkpoint, but nothing may be missing in it.

    with a root       op_checkpoint | 7 8 9 | hole | 12 13      7 8 9 12 13, and ops 10 to 11 are told as lost
    without one       … 3 4 | hole | 7 8 9                      7 8 9
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from lsmcli.engine.constants import key_size_max_for
from lsmcli.engine.data_file import recovery_of
from lsmcli.engine.errors import DamageError
from lsmcli.engine.salvage_survey import Root, read_padded
from lsmcli.engine.schema import (
    WAL_RECORD_HEADER,
    WAL_SCOPE_BEGIN,
    ChainReference,
    ScopeState,
    Superblock,
    WalRecordHeader,
    WalRecordKind,
)
from lsmcli.engine.storage import Storage
from lsmcli.engine.wal_entry import decode_entries
from lsmcli.engine.wal_recovery import scan_ring

Value = bytes | ChainReference | None
Memory = dict[int, dict[bytes, Value]]  # by tree id


class Found(NamedTuple):
    """An intact record, and where its body is in the file."""

    header: WalRecordHeader
    offset_body: int


class Log:
    """The effect of the records: what lies over the tables, and the scope that is open.

    memory: newest value of each key, the changes of an open scope included
    op: of the last record
    scope: the state of the open scope, NONE without one
    pinned: the op as of which the tables are without the open scope; None: its changes are only in memory
    base: the op as of which the tables count now, once a scope that had outgrown memory was discarded
    lost: first and last op of each hole
    notes: what could not be understood, in sentences
    """

    def __init__(self, superblock: Superblock | None, block_size: int) -> None:
        self.memory: Memory = {}
        self.op = 0
        self.scope = ScopeState.NONE
        self.pinned: int | None = None
        self.base: int | None = None
        self.lost: list[tuple[int, int]] = []
        self.notes: list[str] = []
        self._key_size_max = key_size_max_for(block_size)
        self._before: dict[tuple[int, bytes], tuple[bool, Value]] = {}  # whether it was in memory, and what
        if superblock is not None:
            self.op = superblock.op_checkpoint
            if superblock.scope_state != ScopeState.NONE:
                self.scope = ScopeState(superblock.scope_state)
                self.pinned = superblock.scope_snapshot

    def apply(self, header: WalRecordHeader, body: bytes) -> None:
        """The effect of one record. Raises DamageError for one that makes no sense."""
        kind = header.kind
        self.op = max(self.op, header.op)
        if kind == WalRecordKind.OP:
            entries = decode_entries(body, header.entry_count)
            if any(len(key) > self._key_size_max for _, key, _ in entries):
                raise DamageError(f"write-ahead log: op {header.op} has a key that is too long", zone="wal")
            for tree_id, key, value in entries:
                tree = self.memory.setdefault(tree_id, {})
                if self.scope != ScopeState.NONE and self.pinned is None:
                    self._before.setdefault((tree_id, key), (key in tree, tree.get(key)))
                tree[key] = value
        elif kind == WalRecordKind.SCOPE_BEGIN and self.scope == ScopeState.NONE:
            durable = len(body) == WAL_SCOPE_BEGIN.size and WAL_SCOPE_BEGIN.unpack(body).state == ScopeState.DURABLE
            self.scope = ScopeState.DURABLE if durable else ScopeState.BOUND
        elif kind == WalRecordKind.SCOPE_PERSIST:
            self._scope_end()
        elif kind == WalRecordKind.SCOPE_DISCARD:
            self.discard()

    def discard(self) -> None:
        """Undoes what the open scope changed."""
        if self.pinned is not None:
            self.base = self.pinned
            self.memory = {}
        else:
            self.memory = self.committed()
        self._scope_end()

    def _scope_end(self) -> None:
        self.scope = ScopeState.NONE
        self.pinned = None
        self._before = {}

    def committed(self) -> Memory:
        """What lies over the tables without the changes of the open scope."""
        if self.pinned is not None:
            return {}
        memory = {tree_id: dict(tree) for tree_id, tree in self.memory.items()}
        for (tree_id, key), (was_there, value) in self._before.items():
            if was_there:
                memory[tree_id][key] = value
            else:
                memory[tree_id].pop(key, None)
        return memory


def read_log(storage: Storage, superblock: Superblock) -> Log:
    """The log of a file whose root is known. Memory as for an open."""
    log = Log(superblock, superblock.block_size)
    recovery = recovery_of(storage, superblock)
    try:
        for header, body, _ in recovery.records():
            log.apply(header, body)
        return log
    except DamageError as error:
        log.notes.append(str(error))
    acknowledged = recovery.op_synced
    ring = (superblock.wal_offset, superblock.wal_size)
    records = [found for found in find_records(storage, superblock.uuid, [ring]) if found.header.op > log.op]
    for chain in sorted(chains_of(records), key=_newness, reverse=True):
        acknowledged = max(acknowledged, *(found.header.op_synced for found in chain))
    op = log.op
    for chain in sorted(chains_of(records), key=lambda chain: chain[0].header.op):
        if op < chain[0].header.op <= acknowledged:
            if chain[0].header.op > op + 1:
                log.lost.append((op + 1, chain[0].header.op - 1))
            _replay(storage, log, chain)
            op = chain[-1].header.op
    if op < acknowledged:
        log.lost.append((op + 1, acknowledged))
    return log


def find_log(storage: Storage, root: Root, places: Iterable[tuple[int, int]], *, op_tables: int) -> Log:
    """The log of a file without a root, from wherever records are: `places` are offsets and sizes in bytes.

    op_tables: the newest op that some table knows of. The chain that ends with the newest op counts, unless it ends
    before the tables do; of others, only what is newer than all tables and was acknowledged.
    """
    log = Log(None, root.block_size)
    chains = sorted(chains_of(list(find_records(storage, root.uuid, places))), key=_newness)
    if not chains:
        return log
    acknowledged, op_last = _newness(chains[-1])
    newest = chains.pop() if op_last >= op_tables else []
    op_first = newest[0].header.op if newest else op_last + 1
    older = sorted((chain for chain in chains), key=lambda chain: chain[0].header.op)
    wanted = [
        [found for found in chain if op_tables < found.header.op < min(op_first, acknowledged + 1)] for chain in older
    ]
    op = op_tables
    for chain in [*wanted, newest]:
        if chain and chain[-1].header.op > op:
            if op and chain[0].header.op > op + 1:
                log.lost.append((op + 1, chain[0].header.op - 1))
            _replay(storage, log, chain)
            op = chain[-1].header.op
    return log


def find_records(storage: Storage, uuid: bytes, places: Iterable[tuple[int, int]]) -> Iterator[Found]:
    """Every intact record in these places, one that stands twice once."""
    seen: set[bytes] = set()
    for offset, size in places:
        try:
            for record in scan_ring(storage, uuid=uuid, offset=offset, size=size):
                if record.header.checksum not in seen:
                    seen.add(record.header.checksum)
                    yield Found(record.header, offset + record.position + WAL_RECORD_HEADER.size)
        except DamageError:
            continue  # a place crafted to keep the search busy: what it gave so far counts


def chains_of(records: list[Found]) -> list[list[Found]]:
    """The records as chains, each record behind the one whose checksum it carries."""
    following: dict[bytes, Found] = {}
    for found in records:
        following.setdefault(found.header.checksum_previous, found)
    checksums = {found.header.checksum for found in records}
    chains = []
    for found in records:
        if found.header.checksum_previous in checksums or following[found.header.checksum_previous] is not found:
            continue
        chain = [found]
        while (after := following.get(chain[-1].header.checksum)) is not None:
            if after.header.op - chain[-1].header.op not in (0, 1) or len(chain) == len(records):
                break
            chain.append(after)
        chains.append(chain)
    return chains


def _newness(chain: list[Found]) -> tuple[int, int]:
    """What is known to have been acknowledged decides first: a dropped tail may have higher ops."""
    return max(found.header.op_synced for found in chain), chain[-1].header.op


def _replay(storage: Storage, log: Log, chain: list[Found]) -> None:
    for found in chain:
        try:
            log.apply(found.header, read_padded(storage, found.offset_body, found.header.size))
        except DamageError as error:
            log.notes.append(str(error))
            log.lost.append((found.header.op, found.header.op))
