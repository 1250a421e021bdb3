"""Looks at the parts of a data file from outside, by path: for people and for programs.

Invariants:
- nothing is written, no lock is taken;
- as much as possible is decoded of a damaged file: a part that cannot be read is told as damaged, in its
  place, and the rest is still shown.

Every function gives mappings of names to numbers, texts, bytes (keys) and lists; they raise FileError when the
file cannot be read, FormatError when it is not a data file, and DamageError when the root is gone.
"""

from collections.abc import Iterator
from typing import Any, Final

from lsmcli.engine import constants, schema
from lsmcli.engine import superblock as superblock_zone
from lsmcli.engine.block_header import verify_block
from lsmcli.engine.constants import SNAPSHOT_LATEST, superblock_copy_offset
from lsmcli.engine.data_file import DataFile
from lsmcli.engine.errors import DamageError, LsmError
from lsmcli.engine.grid import block_count_of
from lsmcli.engine.index_block import IndexBlock
from lsmcli.engine.manifest_log import decode_block
from lsmcli.engine.opening import open_database
from lsmcli.engine.schema import (
    BlockHeader,
    BlockKind,
    BlockReference,
    TableEventKind,
    WalRecordKind,
)
from lsmcli.engine.storage import FileStorage
from lsmcli.engine.table_info import TableInfo
from lsmcli.engine.value_block import ValueBlock
from lsmcli.engine.verifier import Problem, VerifyReport
from lsmcli.engine.verifier import verify as verify_storage
from lsmcli.engine.wal_entry import decode_entries
from lsmcli.engine.wal_recovery import scan_ring

_VALUE_SHOWN_SIZE_MAX: Final = 64


def verify(path: str) -> VerifyReport:
    """Verifies every checksum, order, range and reference of the file, and the owner of every block."""
    storage = FileStorage.open(path, writable=False)
    try:
        return verify_storage(storage, path)
    finally:
        storage.close()


def inspect_superblock(path: str) -> dict[str, Any]:
    """The root of the file and the state of its six copies."""
    storage = FileStorage.open(path, writable=False)
    try:
        copies = []
        newest: schema.Superblock | None = None
        for copy in range(constants.SUPERBLOCK_COPIES):
            offset = superblock_copy_offset(copy)
            decoded = superblock_zone.decode_copy(storage.read(offset, constants.SUPERBLOCK_COPY_SIZE))
            state: dict[str, Any] = {"copy": copy, "offset": offset, "state": "damaged"}
            if decoded is not None:
                state["state"] = "intact" if decoded.copy == copy else f"misplaced, it is copy {decoded.copy}"
                state["sequence"] = decoded.superblock.sequence
                state["checksum"] = decoded.checksum.hex()
                if newest is None or decoded.superblock.sequence > newest.sequence:
                    newest = decoded.superblock
            copies.append(state)
        problem = ""
        try:
            newest = superblock_zone.read(storage, path).superblock
        except DamageError as error:
            problem = str(error)
        if newest is None:
            raise DamageError(f"{path}: no copy of the superblock is intact; run salvage", zone="superblock")
        report: dict[str, Any] = {"copies": copies}
        if problem:
            report["problem"] = problem
        for name, value in newest._asdict().items():
            if not name.startswith("reserved"):
                report[name] = value.hex() if isinstance(value, bytes) else value
        return report
    finally:
        storage.close()


def inspect_wal(path: str) -> Iterator[dict[str, Any]]:
    """Every intact record found in the WAL's ring, live or left over from an earlier lap, by position."""
    storage, file = _open(path)
    try:
        sb = file.superblock
        live: set[bytes] = set()
        problem = ""
        try:
            live = {header.checksum for header, _, _ in file.recovery().records()}
        except DamageError as error:
            problem = str(error)
        for record in scan_ring(storage, uuid=sb.uuid, offset=sb.wal_offset, size=sb.wal_size):
            header = record.header
            shown: dict[str, Any] = {
                "position": record.position,
                "op": header.op,
                "kind": WalRecordKind(header.kind).name.lower(),
                "op_synced": header.op_synced,
                "size": header.size,
                "entries": header.entry_count,
                "live": header.checksum in live,
                "checksum": header.checksum.hex(),
            }
            if header.kind == WalRecordKind.OP and header.entry_count:
                try:
                    shown["key_first"] = decode_entries(record.body, header.entry_count)[0][1]
                except DamageError as error:
                    shown["problem"] = str(error)
            yield shown
        if problem:
            yield {"problem": problem}
    finally:
        storage.close()


def inspect_manifest(path: str) -> Iterator[dict[str, Any]]:
    """The events of the manifest log, newest block first, within a block oldest first."""
    storage, file = _open(path)
    try:
        sb = file.superblock
        reference = BlockReference(sb.manifest_address, sb.manifest_address_twin, sb.manifest_checksum)
        for _ in range(sb.manifest_block_count):
            try:
                block = decode_block(file.grid.read(reference, BlockKind.MANIFEST), reference.address, sb.block_size)
            except LsmError as error:
                yield {"block": reference.address, "problem": str(error)}
                return
            for event, key_min, key_max in block.records:
                info = TableInfo.from_event(event, key_min, key_max)
                yield {
                    "block": reference.address,
                    "event": TableEventKind(event.event).name.lower(),
                } | _table_report(info)
            reference = block.older
    finally:
        storage.close()


def inspect_tables(path: str, tree: str | None = None, level: int | None = None) -> Iterator[dict[str, Any]]:
    """The live tables, sorted by tree, level and keys. Raises TreeError for an unknown tree."""
    tree_id = None if tree is None else _tree_id(path, tree)
    storage, file = _open(path)
    try:
        problem = ""
        tables: list[TableInfo] = []
        try:
            tables.extend(file.tables())
        except DamageError as error:
            problem = str(error)
        for info in sorted(tables, key=_table_order):
            if tree_id in (None, info.tree_id) and level in (None, info.level):
                yield _table_report(info)
        if problem:
            yield {"problem": problem}
    finally:
        storage.close()


def inspect_grid(path: str) -> dict[str, Any]:
    """How many blocks the grid has, of which kind, and how many of them are free."""
    storage, file = _open(path)
    try:
        sb = file.superblock
        report: dict[str, Any] = {
            "block_size": sb.block_size,
            "block_count": sb.block_count,
            "block_count_file": block_count_of(storage.size(), sb.block_size),
            "wal_blocks": len(file.ring_addresses()),
        }
        try:
            free_set = file.free_set_open()
        except DamageError as error:
            report["problem"] = str(error)
            return report
        report["used"] = free_set.count_acquired
        report["free"] = free_set.count_free
        ring = file.ring_addresses()
        kinds = {kind.name.lower(): 0 for kind in BlockKind} | {"damaged": 0}
        for address in free_set.acquired_addresses():
            if address not in ring:
                header = _header_of(file, address)
                kinds["damaged" if header is None else BlockKind(header.kind).name.lower()] += 1
        return report | {f"blocks_{name}": count for name, count in kinds.items()}
    finally:
        storage.close()


def inspect_block(path: str, address: int) -> dict[str, Any]:
    """One block of the grid by its address, from 1: the header, and what the body holds."""
    storage, file = _open(path)
    try:
        block_size = file.superblock.block_size
        report: dict[str, Any] = {"address": address, "offset": file.grid.offset(address)}
        block_count = file.grid.block_count_file()
        if not 1 <= address <= block_count:
            return report | {"problem": f"there is no block {address}: the file has blocks 1 to {block_count}"}
        data = storage.read(file.grid.offset(address), block_size)
        header = schema.BLOCK_HEADER.unpack(data)
        for name, value in header._asdict().items():
            if not name.startswith("reserved") and name != "address":
                report[name] = value.hex() if isinstance(value, bytes) else value
        report["address_stored"] = header.address
        try:
            verify_block(data, file.superblock.uuid, address)
            report["kind"] = BlockKind(header.kind).name.lower()
            report |= _body_report(file.grid.codec.decoded(data[: header.size]), header, block_size)
        except DamageError as error:
            report["problem"] = str(error)
        return report
    finally:
        storage.close()


def _body_report(data: bytes, header: BlockHeader, block_size: int) -> dict[str, Any]:
    """What the body of a verified block holds. Raises DamageError."""
    if header.kind == BlockKind.VALUE:
        keys, values, flags = ValueBlock(data).columns()
        entries = [
            {"key": key, "value": value[:_VALUE_SHOWN_SIZE_MAX], "value_size": len(value), "flags": flag}
            for key, value, flag in zip(keys, values, flags, strict=True)
        ]
        return {"entries": entries}
    if header.kind == BlockKind.INDEX:
        index = IndexBlock(data)
        blocks = [
            {"address": reference.address, "checksum": reference.checksum.hex(), "entries": count, "key_max": key}
            for reference, count, key in zip(index.references, index.entry_counts, index.keys_last, strict=True)
        ]
        return {"entry_count": index.entry_count, "tombstone_count": index.tombstone_count, "value_blocks": blocks}
    if header.kind == BlockKind.MANIFEST:
        block = decode_block(data, header.address, block_size)
        events = [
            {"event": TableEventKind(event.event).name.lower()}
            | _table_report(TableInfo.from_event(event, key_min, key_max))
            for event, key_min, key_max in block.records
        ]
        return {"older": block.older.address, "events": events}
    head_end = schema.BLOCK_HEADER.size + schema.CHAIN_HEAD.size
    if len(data) < head_end:
        raise DamageError(f"block {header.address} is too short for a link of a chain", zone="grid")
    head = schema.CHAIN_HEAD.unpack(data, schema.BLOCK_HEADER.size)
    return {"next": head.next_address, "index": head.index, "payload_size": len(data) - head_end}


def inspect_constants() -> dict[str, Any]:
    """Limits and layout of this version of the program."""
    report: dict[str, Any] = {
        "format_version": schema.FORMAT_VERSION,
        "format_version_oldest": schema.FORMAT_VERSION_OLDEST,
    }
    for name in dir(constants):
        value = getattr(constants, name)
        if name.isupper() and isinstance(value, (int, str)):
            report[name.lower()] = value
    for name in dir(schema):
        value = getattr(schema, name)
        if isinstance(value, schema.Layout):
            report[f"{name.lower()}_size"] = value.size
    return report


def _open(path: str) -> tuple[FileStorage, DataFile]:
    storage = FileStorage.open(path, writable=False)
    try:
        return storage, DataFile(storage, cache_size=0, writable=False)
    except BaseException:
        storage.close()
        raise


def _tree_id(path: str, name: str) -> int:
    with open_database(path, "r", committed=False) as database:
        return database.tree_id(name)


def _header_of(file: DataFile, address: int) -> BlockHeader | None:
    try:
        return verify_block(
            file.storage.read(file.grid.offset(address), file.superblock.block_size), file.superblock.uuid, address
        )
    except LsmError:
        return None


def _table_order(info: TableInfo) -> tuple[Any, ...]:
    return (info.tree_id, info.level, info.key_min, info.key_max, info.snapshot_min, info.snapshot_max)


def _table_report(info: TableInfo) -> dict[str, Any]:
    """A table as one flat record."""
    return {
        "tree": info.tree_id,
        "level": info.level,
        "key_min": info.key_min,
        "key_max": info.key_max,
        "snapshot_min": info.snapshot_min,
        "snapshot_max": "latest" if info.snapshot_max == SNAPSHOT_LATEST else info.snapshot_max,
        "entries": info.entry_count,
        "tombstones": info.tombstone_count,
        "large": info.large_count,
        "value_blocks": info.block_count,
        "bytes": info.values_size,
        "address": info.reference.address,
        "checksum": info.reference.checksum.hex(),
    }


__all__ = [
    "Problem",
    "VerifyReport",
    "inspect_block",
    "inspect_constants",
    "inspect_grid",
    "inspect_manifest",
    "inspect_superblock",
    "inspect_tables",
    "inspect_wal",
    "verify",
]
