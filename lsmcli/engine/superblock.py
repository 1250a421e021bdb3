"""The root of the file: six copies of one record, replaced as a whole by quorum.

Invariants:
- what a superblock points at is on disk before its first copy is written; the caller has synced it;
- copies 0-2 are on disk before copies 3-5 are touched, so three intact copies exist at every moment;
- nothing is repaired before the root is known, and nothing but copies is ever repaired;
- a superblock that comes out of read() makes sense in itself and fits its file: every size, count and
  offset in it is bounded by the length of the file.

A copy, one sector:

    +----------------------------+-----------------------+---------------------+
    | magic, copy, checksum 40 B | Superblock            | zeros               |
    +----------------------------+-----------------------+---------------------+
    |                            |<------ covered by the checksum ------------>|

The copy number lies outside, so all copies have one checksum. A later version may lengthen the record:
magic and checksum stay where they are, so that this version can tell "newer" from "damaged".
"""

from collections.abc import Iterator
from typing import Final, NamedTuple, NoReturn

from lsmcli.engine import constants, schema, superblock_quorums
from lsmcli.engine.checksum import checksum
from lsmcli.engine.errors import (
    DamageError,
    FileError,
    FormatError,
    LimitError,
    NewerFormatError,
    NoSpaceError,
    OutcomeUnknownError,
    ReadOnlyError,
)
from lsmcli.engine.schema import Superblock
from lsmcli.engine.storage import Storage
from lsmcli.engine.superblock_quorums import Quorum, SuperblockCopy

BODY_OFFSET: Final = schema.SUPERBLOCK_COPY_HEAD.size
BODY_SIZE: Final = constants.SUPERBLOCK_COPY_SIZE - BODY_OFFSET
CHECKSUM_NONE: Final = bytes(schema.CHECKSUM_SIZE)
COPIES: Final = range(constants.SUPERBLOCK_COPIES)
COUNTER_END: Final = 1 << 62  # no file counts that far; keeps every sum inside a u64, whatever a file claims

# A reader beside a writer may see copies of three checkpoints, or a file shorter than the root it read.
READ_ATTEMPTS_MAX: Final = 3


class SuperblockRead(NamedTuple):
    """The root as found. `quorum` says which slots hold it."""

    superblock: Superblock
    checksum: bytes
    quorum: Quorum
    slots_checksum: bytes  # of all that the six slots hold
    between_groups: bool  # all of the second group have the superblock before, as while a checkpoint is being made

    @property
    def slots_to_repair(self) -> tuple[int, ...]:
        """Slots that do not hold their own copy of the root."""
        return self.quorum.slots_to_repair


def superblock_checksum(superblock: Superblock) -> bytes:
    """The checksum that all six copies of this superblock carry."""
    return checksum(_encode_body(superblock))


def _encode_body(superblock: Superblock) -> bytes:
    return schema.SUPERBLOCK.pack(superblock).ljust(BODY_SIZE, b"\0")


def encode_copy(superblock: Superblock, copy: int) -> bytes:
    """The sector for slot `copy`, 0 … 5: SUPERBLOCK_COPY_SIZE bytes."""
    assert copy in COPIES
    body = _encode_body(superblock)
    head = schema.SuperblockCopyHead(schema.MAGIC, copy, 0, checksum(body))
    return schema.SUPERBLOCK_COPY_HEAD.pack(head) + body


def decode_copy(data: bytes) -> SuperblockCopy | None:
    """What a slot holds, or None when its magic, size or checksum is wrong.

    The fields are as stored: any version, any numbers.
    """
    if len(data) != constants.SUPERBLOCK_COPY_SIZE:
        return None
    head = schema.SUPERBLOCK_COPY_HEAD.unpack(data)
    if head.magic != schema.MAGIC or head.checksum != checksum(memoryview(data)[BODY_OFFSET:]):
        return None
    return SuperblockCopy(head.copy, schema.SUPERBLOCK.unpack(data, BODY_OFFSET), head.checksum)


def format_file(*, uuid: bytes, created_s: int, block_size: int, growth_factor: int) -> tuple[Superblock, bytes]:
    """The first superblock and the first GRID_OFFSET bytes of a new file: all of it.

    LimitError when block_size (bytes, a power of two) or growth_factor is out of its range.
    """
    assert len(uuid) == schema.UUID_SIZE
    if not _block_size_allowed(block_size):
        raise LimitError(
            f"block size {block_size} is not a power of two from {constants.BLOCK_SIZE_MIN} to "
            f"{constants.BLOCK_SIZE_MAX}; choose one, such as {constants.BLOCK_SIZE_DEFAULT}"
        )
    if not constants.GROWTH_FACTOR_MIN <= growth_factor <= constants.GROWTH_FACTOR_MAX:
        raise LimitError(
            f"growth factor {growth_factor} is not within {constants.GROWTH_FACTOR_MIN} to "
            f"{constants.GROWTH_FACTOR_MAX}; choose one, such as {constants.GROWTH_FACTOR_DEFAULT}"
        )
    zeros = schema.SUPERBLOCK.unpack(bytes(schema.SUPERBLOCK.size))
    superblock = zeros._replace(
        version=schema.FORMAT_VERSION,
        block_size=block_size,
        growth_factor=growth_factor,
        uuid=uuid,
        sequence=1,
        wal_offset=constants.WAL_OFFSET_INITIAL,
        wal_size=constants.WAL_SIZE_INITIAL,
        wal_chain=checksum(uuid),
        storage_size=constants.GRID_OFFSET,
        created_s=created_s,
    )
    head = bytearray(constants.GRID_OFFSET)
    for copy in COPIES:
        offset = constants.superblock_copy_offset(copy)
        head[offset : offset + constants.SUPERBLOCK_COPY_SIZE] = encode_copy(superblock, copy)
    assert len(head) == constants.GRID_OFFSET
    return superblock, bytes(head)


def read(storage: Storage, name: str = "the file") -> SuperblockRead:
    """The root of the file; `name` is for messages. Changes nothing, needs no lock.

    FormatError: not a data file. NewerFormatError: a later version wrote it. DamageError, zone
    "superblock": no quorum, a fork, a field without sense, or a file cut short. FileError: the disk
    refuses to read. Six reads of a sector; a damaged root is read again, since a writer may be busy.
    """
    for _ in range(READ_ATTEMPTS_MAX - 1):
        try:
            return _read_once(storage, name)
        except DamageError:
            continue
    return _read_once(storage, name)


def _read_once(storage: Storage, name: str) -> SuperblockRead:
    sectors = _read_sectors(storage)
    if not any(sector.startswith(schema.MAGIC) for sector in sectors):
        raise FormatError(f"{name} is not an lsmcli file: {_what_instead(storage.size())}; check the path")
    slots = [decode_copy(sector) for sector in sectors]
    _refuse_other_versions(slots, name)
    known = [found if found and _version_known(found.superblock) else None for found in slots]
    quorum = superblock_quorums.choose(known)
    superblock = quorum.superblock
    if superblock.features_incompatible & ~schema.FEATURES_INCOMPATIBLE_KNOWN:
        raise NewerFormatError(
            f"{name} uses features {superblock.features_incompatible:#x} that this program does not know; update lsmcli"
        )
    check_sense(superblock, quorum.checksum)
    file_size = storage.size()  # after the copies: a writer beside us only makes it longer
    if file_size < superblock.storage_size:
        _damaged(
            superblock,
            f"truncated: the file is {file_size} bytes, its superblock says {superblock.storage_size}; "
            "restore it from a backup, or use salvage",
        )
    group_b = COPIES[constants.SUPERBLOCK_GROUP_COPIES :]
    behind = [
        slot for slot in group_b if (found := slots[slot]) and (found.copy, found.checksum) == (slot, superblock.parent)
    ]
    between_groups = quorum.slots_to_repair == tuple(behind) == tuple(group_b)
    return SuperblockRead(superblock, quorum.checksum, quorum, checksum(b"".join(sectors)), between_groups)


def slots_checksum(storage: Storage) -> bytes:
    """The same as when the root was read: then it would be found again. A fiftieth of the cost of that."""
    return checksum(b"".join(_read_sectors(storage)))


def _read_sectors(storage: Storage) -> list[bytes]:
    """What the six slots hold; nothing where one cannot be read. FileError when none can."""
    sectors: list[bytes] = []
    failure: FileError | None = None
    for copy in COPIES:
        try:
            data = storage.read(constants.superblock_copy_offset(copy), constants.SUPERBLOCK_COPY_SIZE)
        except FileError as error:
            failure = error
            data = b""
        sectors.append(data)
    if failure is not None and not any(sector.startswith(schema.MAGIC) for sector in sectors):
        raise failure
    return sectors


def _what_instead(file_size: int) -> str:
    if file_size == 0:
        return "it is empty"
    if file_size < constants.GRID_OFFSET:
        return f"it is {file_size} bytes long and does not begin as one"
    return "it does not begin as one"


def _version_known(superblock: Superblock) -> bool:
    return schema.FORMAT_VERSION_OLDEST <= superblock.version <= schema.FORMAT_VERSION


def _refuse_other_versions(slots: list[SuperblockCopy | None], name: str) -> None:
    """Two intact copies of another version say that it owns the file; one may be a stray."""
    versions = [found.superblock.version for found in slots if found is not None]
    newer = [version for version in versions if version > schema.FORMAT_VERSION]
    if len(newer) >= constants.SUPERBLOCK_QUORUM_OPEN:
        raise NewerFormatError(
            f"{name} has format version {max(newer)}, this program knows up to {schema.FORMAT_VERSION}; update lsmcli"
        )
    older = [version for version in versions if version < schema.FORMAT_VERSION_OLDEST]
    if len(older) >= constants.SUPERBLOCK_QUORUM_OPEN:
        raise FormatError(
            f"{name} has format version {max(older)}, this program knows {schema.FORMAT_VERSION_OLDEST} and later; "
            "open it with an earlier lsmcli"
        )


def _block_size_allowed(block_size: int) -> bool:
    in_range = constants.BLOCK_SIZE_MIN <= block_size <= constants.BLOCK_SIZE_MAX
    return in_range and block_size & (block_size - 1) == 0


def check_sense(superblock: Superblock, checksum_found: bytes) -> None:
    """DamageError when the checksum holds but a field cannot be what this program writes."""
    if superblock_checksum(superblock) != checksum_found:
        _damaged(superblock, "there are bytes behind its last field")
    if not _block_size_allowed(superblock.block_size):
        _damaged(superblock, f"block size {superblock.block_size} is not allowed")
    if not constants.GROWTH_FACTOR_MIN <= superblock.growth_factor <= constants.GROWTH_FACTOR_MAX:
        _damaged(superblock, f"growth factor {superblock.growth_factor} is not allowed")
    if superblock.scope_state > max(schema.ScopeState):
        _damaged(superblock, f"scope state {superblock.scope_state} is unknown")
    if not 0 < superblock.sequence < COUNTER_END:
        _damaged(superblock, f"its sequence is {superblock.sequence}")
    if max(superblock.op_checkpoint, superblock.op_synced, superblock.scope_snapshot) >= COUNTER_END:
        _damaged(superblock, "an op number is out of range")
    if max(superblock.bytes_put, superblock.bytes_written, superblock.scope_change_count) >= COUNTER_END:
        _damaged(superblock, "a counter is out of range")
    grid_end = constants.GRID_OFFSET + superblock.block_count * superblock.block_size
    if grid_end > superblock.storage_size:
        _damaged(superblock, f"{superblock.block_count} blocks do not fit a file of {superblock.storage_size} bytes")
    _check_wal_zone(superblock, grid_end)
    _check_chain(
        superblock,
        "manifest",
        superblock.manifest_address,
        superblock.manifest_address_twin,
        superblock.manifest_block_count,
    )
    _check_chain(
        superblock,
        "free set",
        superblock.free_set_address,
        superblock.free_set_address_twin,
        superblock.free_set_block_count,
    )
    if superblock.free_set_size > superblock.free_set_block_count * superblock.block_size:
        _damaged(superblock, f"a free set of {superblock.free_set_size} bytes does not fit its blocks")


def _check_wal_zone(superblock: Superblock, grid_end: int) -> None:
    """The ring is one of the two at the head of the file, or lies on whole blocks' offsets inside the grid."""
    offset, size = superblock.wal_offset, superblock.wal_size
    at_head = (offset, size) in (
        (constants.WAL_OFFSET_INITIAL, constants.WAL_SIZE_INITIAL),
        (constants.WAL_OFFSET_SECOND, constants.WAL_SIZE_SECOND),
    )
    in_grid = (
        offset >= constants.GRID_OFFSET
        and (offset - constants.GRID_OFFSET) % superblock.block_size == 0
        and 0 < size <= constants.WAL_SIZE_MAX
        and size % schema.WAL_ALIGNMENT == 0
        and offset + size <= grid_end
    )
    if not (at_head or in_grid):
        _damaged(superblock, f"a WAL of {size} bytes cannot lie at byte {offset}")
    if superblock.wal_position > size or superblock.wal_position % schema.WAL_ALIGNMENT:
        _damaged(superblock, f"position {superblock.wal_position} is not in a WAL of {size} bytes")


def _check_chain(superblock: Superblock, what: str, address: int, address_twin: int, links: int) -> None:
    """No chain at all, or two different blocks of the grid and a length that the grid can hold twice."""
    if address == 0 and address_twin == 0 and links == 0:
        return
    in_grid = 1 <= address <= superblock.block_count and 1 <= address_twin <= superblock.block_count
    if not in_grid or address == address_twin or not 1 <= links <= superblock.block_count // 2:
        _damaged(
            superblock,
            f"the {what} cannot have {links} blocks from {address} and {address_twin} on "
            f"in a grid of {superblock.block_count}",
        )


def _damaged(superblock: Superblock, what: str) -> NoReturn:
    if ";" not in what:
        what += "; use salvage to read what is left"
    raise DamageError(f"superblock {superblock.sequence}: {what}", zone="superblock")


def require_writable(superblock: Superblock, name: str = "the file") -> None:
    """ReadOnlyError when the file uses a feature that this program may read around, but not write."""
    unknown = superblock.features_read_only & ~schema.FEATURES_READ_ONLY_KNOWN
    if unknown:
        raise ReadOnlyError(
            f"{name} uses features {unknown:#x} that this program can only read; update lsmcli to write to it"
        )


def write(storage: Storage, superblock: Superblock) -> bytes:
    """Make this the root, as write_in_stages() does, with two syncs that are waited for. Returns its checksum."""
    for _ in write_in_stages(storage, superblock):
        storage.sync()
    return superblock_checksum(superblock)


def write_in_stages(storage: Storage, superblock: Superblock) -> Iterator[None]:
    """Make this the root; what it points at is synced already. Yields twice: it goes on once all that was written
    before is synced.

    Twelve sectors. OutcomeUnknownError when a part failed or fewer than SUPERBLOCK_QUORUM_VERIFY copies can be read
    back: the old root, or this one, is then what the next open finds, and the caller writes nothing more through
    this handle.
    """
    assert superblock.sequence >= 1
    _write_group(storage, superblock, COPIES[: constants.SUPERBLOCK_GROUP_COPIES])
    yield  # sync 2
    _write_group(storage, superblock, COPIES[constants.SUPERBLOCK_GROUP_COPIES :])
    yield  # sync 3
    _verify(storage, superblock, superblock_checksum(superblock))


def _write_group(storage: Storage, superblock: Superblock, copies: range) -> None:
    try:
        _write_copies(storage, superblock, copies)
    except NoSpaceError as error:  # no ordinary full disk: the space of the copies was given out at creation
        raise OutcomeUnknownError(
            f"superblock {superblock.sequence}: no space for its copies: outcome unknown; "
            "free some space, then reopen the file to learn what it holds"
        ) from error


def _write_copies(storage: Storage, superblock: Superblock, copies: range | tuple[int, ...]) -> None:
    for copy in copies:
        storage.write(constants.superblock_copy_offset(copy), encode_copy(superblock, copy))


def _verify(storage: Storage, superblock: Superblock, body_checksum: bytes) -> None:
    """Read back what was just written, by the same rules as the next open will."""
    try:
        quorum = superblock_quorums.choose([decode_copy(sector) for sector in _read_sectors(storage)])
    except (DamageError, FileError) as error:
        raise _not_verified(superblock, 0) from error
    count = len(quorum.slots_intact) if quorum.checksum == body_checksum else 0
    if count < constants.SUPERBLOCK_QUORUM_VERIFY:
        raise _not_verified(superblock, count)


def _not_verified(superblock: Superblock, count: int) -> OutcomeUnknownError:
    return OutcomeUnknownError(
        f"superblock {superblock.sequence}: {count} of {constants.SUPERBLOCK_COPIES} copies read back as written, "
        f"{constants.SUPERBLOCK_QUORUM_VERIFY} are needed: outcome unknown; "
        "check the disk, then reopen the file to learn what it holds"
    )


def repair(storage: Storage, found: SuperblockRead) -> None:
    """Rewrite the slots that do not hold their copy of the root; for the writer, under its lock.

    Slots without the root come first and are synced before a slot is touched that holds the copy of
    another: until then that one may be a needed witness. Nothing is written when all six are intact.
    """
    if found.quorum.slots_missing:
        _write_copies(storage, found.superblock, found.quorum.slots_missing)
        storage.sync()
    if found.quorum.slots_misplaced:
        _write_copies(storage, found.superblock, found.quorum.slots_misplaced)
        storage.sync()
