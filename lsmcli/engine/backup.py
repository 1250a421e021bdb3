"""A backup: a copy of a data file in one of its states, made while a writer goes on.

Invariants:
- the copy opens as exactly one committed op of the source, with everything that was acknowledged before the backup
  began; an open durable scope is open in the copy too, with its changes;
- every block is verified on its way, and the finished copy is read back, through its references, before it gets
  its name: a copy that is there is whole;
- the name is given in one step, to a synced file; nobody's file is replaced unless it is asked for, and then only a
  data file that nobody writes to. Whatever fails, what was at the name before is still there.

    source    superblock s    log behind s    blocks in use    large values that only the log refers to
                  |               | first          | verified        | verified
                  v last          v                v                 v
    .lsmcli-….tmp ----- synced, superblock written, read back, compacted on request ----- rename ----> DEST

The pin keeps the blocks of state s. The log is not pinned, so it comes first; when the superblock is still s after
that, what was copied is the log behind s.
"""

import os
import time
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from lsmcli.engine import file_name, storage_errors
from lsmcli.engine import superblock as superblock_zone
from lsmcli.engine.block_chain import chain_addresses
from lsmcli.engine.block_header import verify_block
from lsmcli.engine.constants import GRID_OFFSET, MIB, READER_RETRIES_MAX
from lsmcli.engine.content_checksum import checksum_of_file
from lsmcli.engine.contents import contents_of
from lsmcli.engine.data_file import DataFile
from lsmcli.engine.database import Database
from lsmcli.engine.errors import DamageError, FileError, StateError
from lsmcli.engine.lock_holder import Writer
from lsmcli.engine.opening import open_database
from lsmcli.engine.schema import BlockKind, ChainReference, WalRecordKind
from lsmcli.engine.storage import FileStorage
from lsmcli.engine.wal_entry import decode_entries

_RUN_SIZE: Final = 1 * MIB

Advance = Callable[[int], None]  # is told how many bytes were copied so far


class BackupResult(NamedTuple):
    """What a copy holds."""

    checksum: bytes  # of all trees, see content_checksum
    entries: int
    size: int  # of the copy, in bytes; blocks that are not in use are holes in it


def backup(
    source: Database,
    dest: str,
    *,
    compact: bool = False,
    committed: bool = False,
    force: bool = False,
    advance: Advance = lambda size: None,
) -> BackupResult:
    """Copies the newest state of a file, open for reading, to the new file `dest`.

    compact: the copy is compacted, and shown to hold the same; it needs twice the space meanwhile. committed: an open
    scope is discarded in the copy. force: replaces a data file that nobody writes to.
    Raises FileError and NoSpaceError about `dest`, DamageError about the source, StateError if both are one file.
    """
    assert source.read_only
    path = file_name.resolve(dest)
    _refuse_taken(source, dest, path, force=force)
    temporary = os.path.join(os.path.dirname(path), f".lsmcli-{os.urandom(8).hex()}.tmp")
    try:
        target = FileStorage(file_name.create_exclusive(temporary), dest, temporary, writable=True)
    except OSError as error:
        raise storage_errors.create_error(error, dest) from error
    try:
        try:
            with source.pinned() as pin:
                _copy(source, target, advance)
        finally:
            target.close()
        try:
            result = _finished(temporary, compact=compact, committed=committed)
        except DamageError:
            if not pin.held and source.forest.file.superblock_moved():
                raise source.too_old() from None
            raise
        _publish(temporary, dest, path, force=force)
        return result
    finally:
        file_name.unlink_if_there(temporary)


def _refuse_taken(source: Database, dest: str, path: str, *, force: bool) -> None:
    if not os.path.lexists(path):
        return
    if os.path.samefile(path, source.path):
        raise StateError(f"{dest} is the data file itself; name another file")
    if not force:
        raise FileError(f"{dest} exists already; choose another name, or replace it with --force")


def _copy(source: Database, target: FileStorage, advance: Advance) -> None:
    file, chains = _copy_log(source, target)
    free_set = file.free_set_open()
    ring = file.ring_addresses()
    in_use = {address for address in free_set.acquired_addresses() if address not in ring}
    for chain in chains:
        in_use.update(chain_addresses(file.grid, chain, BlockKind.LARGE))
    _copy_blocks(file, target, sorted(in_use), advance)
    # Free blocks at the end are left out.
    block_count = max([*ring, *free_set.acquired_addresses()], default=0)
    size = file.grid.offset(max(block_count, *in_use, 0) + 1) if in_use else file.grid.offset(block_count + 1)
    if target.size() < max(size, GRID_OFFSET):
        target.write(max(size, GRID_OFFSET) - 1, b"\0")
    target.sync()
    superblock_zone.write(
        target,
        file.superblock._replace(block_count=block_count, storage_size=file.grid.offset(block_count + 1)),
    )


def _copy_log(source: Database, target: FileStorage) -> tuple[DataFile, list[ChainReference]]:
    """Copies the log behind the newest superblock; the file as of that superblock, and the large values in the log."""
    for _ in range(READER_RETRIES_MAX):
        file = source.forest.file
        chains: list[ChainReference] = []
        recovery = file.recovery()
        try:
            for header, body, _ in recovery.records():
                if header.kind == WalRecordKind.OP:
                    values = (value for _, _, value in decode_entries(body, header.entry_count))
                    chains += [value for value in values if type(value) is ChainReference]
            for begin, end in file.log_parts(recovery.start, recovery.tail):
                for position in range(begin, end, _RUN_SIZE):
                    data = file.storage.read(position, min(_RUN_SIZE, end - position))
                    target.write(position, data)
        except DamageError:
            if not file.superblock_moved():
                raise
        if not file.superblock_moved():
            return file, chains
        source.refresh()
    raise source.too_old()


def _copy_blocks(file: DataFile, target: FileStorage, addresses: list[int], advance: Advance) -> None:
    """Copies blocks, each of which proves to be whole; of two copies of one block, one may be damaged."""
    grid = file.grid
    uuid, block_size = file.superblock.uuid, grid.block_size
    damaged: dict[int, DamageError] = {}
    twins: dict[int, int] = {}
    done = 0
    for first, count in _runs(addresses, _RUN_SIZE // block_size):
        data = memoryview(file.storage.read(grid.offset(first), count * block_size))
        for index in range(count):
            address = first + index
            try:
                header = verify_block(bytes(data[index * block_size : (index + 1) * block_size]), uuid, address)
            except DamageError as error:
                damaged[address] = error
                continue
            if header.address_twin:
                twins[header.address] = header.address_twin
                twins[header.address_twin] = header.address
        target.write(grid.offset(first), data)
        done += len(data)
        advance(done)
    for address, damage in damaged.items():
        twin = twins.get(address)
        if twin is None or twin in damaged:
            raise damage
        target.write(grid.offset(address), file.storage.read(grid.offset(twin), block_size))


def _runs(addresses: list[int], count_max: int) -> Iterator[tuple[int, int]]:
    """Ascending addresses as runs of neighbours: ([1, 2, 3, 7], 2) = (1, 2), (3, 1), (7, 1)."""
    index = 0
    while index < len(addresses):
        count = 1
        while (
            count < count_max
            and index + count < len(addresses)
            and addresses[index + count] == addresses[index] + count
        ):
            count += 1
        yield addresses[index], count
        index += count


def _finished(path: str, *, compact: bool, committed: bool) -> BackupResult:
    """Reads the copy back, and does to it what is asked for."""
    result = _read_back(path, committed=committed)
    if not (compact or committed):
        return result
    with open_database(path, "w", command="backup", network=True) as database:
        if committed and database.scope_status() is not None:
            database.scope_discard()
        if compact:
            database.compact()
    again = _read_back(path, committed=committed)
    if again.checksum != result.checksum:
        raise DamageError(
            "the copy holds something else after compaction than before, and was thrown away; verify the source",
            zone="grid",
        )
    return again


def _read_back(path: str, *, committed: bool) -> BackupResult:
    """Every entry of every tree, also of the state before an open scope. Raises DamageError."""
    result = _checksum(path, committed=committed)
    with open_database(path, "r", committed=False) as database:
        scope_open = database.scope_status() is not None
    if scope_open:
        _checksum(path, committed=not committed)
    return result


def _checksum(path: str, *, committed: bool) -> BackupResult:
    with open_database(path, "r", committed=committed) as database:
        trees = [(contents.name, contents.checksum()) for contents in contents_of(database, database.trees())]
    digest = checksum_of_file((name, checksum.digest()) for name, checksum in trees)
    return BackupResult(digest, sum(checksum.entries for _, checksum in trees), os.stat(path).st_size)


def _publish(temporary: str, dest: str, path: str, *, force: bool) -> None:
    """Gives the copy its name."""
    try:
        if force and os.path.lexists(path):
            old = FileStorage.open(dest, writable=True)
            try:
                superblock_zone.read(old, dest)
                old.lock(0.0, lambda: Writer(os.getpid(), int(time.time()), "backup"))
                file_name.replace(temporary, path)
            finally:
                old.close()
        else:
            file_name.publish(temporary, path)
        file_name.sync_directory(path)
    except FileExistsError as error:
        raise FileError(f"{dest} exists already; choose another name, or replace it with --force") from error
    except OSError as error:
        raise storage_errors.create_error(error, dest) from error
