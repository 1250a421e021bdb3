"""Tables and entries for tests: written as the builder writes them, or by hand, crafted to lie."""

import random
from collections.abc import Iterable

from lsmcli.engine.columns import Columns
from lsmcli.engine.grid import Grid
from lsmcli.engine.schema import (
    BLOCK_HEADER,
    CHAIN_REFERENCE,
    FLAG_LARGE,
    FLAG_TOMBSTONE,
    BlockHeader,
    BlockKind,
    ChainReference,
    Codec,
)
from lsmcli.engine.table import TableBuilder
from lsmcli.engine.table_info import TableInfo
from lsmcli.engine.value_block import StoredValue

TREE_ID = 2


def large(number: int) -> ChainReference:
    """A reference to an out-of-line value that does not exist; equal numbers give equal references."""
    return ChainReference(number, 0, bytes((number % 256,)) * 16, 20_000, 5, 0, number)


def columns_from(items: Iterable[tuple[bytes, StoredValue]]) -> Columns:
    """Sorted (key, stored value) pairs as columns."""
    keys, values, flags = [], [], bytearray()
    for key, value in items:
        keys.append(key)
        if value is None:
            values.append(b"")
            flags.append(FLAG_TOMBSTONE)
        elif isinstance(value, ChainReference):
            values.append(CHAIN_REFERENCE.pack(value))
            flags.append(FLAG_LARGE)
        else:
            values.append(value)
            flags.append(0)
    return Columns(keys, values, bytes(flags))


def items_from(columns: Columns) -> list[tuple[bytes, StoredValue]]:
    """The inverse of columns_from()."""
    items: list[tuple[bytes, StoredValue]] = []
    for key, value, flag in zip(columns.keys, columns.values, columns.flags, strict=True):
        if flag == FLAG_TOMBSTONE:
            assert value == b""
            items.append((key, None))
        elif flag == FLAG_LARGE:
            items.append((key, CHAIN_REFERENCE.unpack(value)))
        else:
            assert flag == 0
            items.append((key, value))
    return items


def items_random(
    rng: random.Random, count: int, *, key_size_max: int = 12, value_size_max: int = 60
) -> list[tuple[bytes, StoredValue]]:
    """Sorted entries with distinct keys; a tenth are tombstones, a tenth are large."""
    keys: set[bytes] = set()
    while len(keys) < count:
        keys.add(rng.randbytes(rng.randint(1, key_size_max)))
    items: list[tuple[bytes, StoredValue]] = []
    for key in sorted(keys):
        kind = rng.randrange(10)
        if kind == 0:
            items.append((key, None))
        elif kind == 1:
            items.append((key, large(rng.randrange(1, 1000))))
        else:
            items.append((key, rng.randbytes(rng.randint(0, value_size_max))))
    return items


def tables_built(
    grid: Grid, columns: Columns, *, chunk: int = 1 << 30, level: int = 0, codec: int = Codec.NONE
) -> list[TableInfo]:
    """The columns as tables, appended in chunks of so many entries."""
    size = sum(map(len, columns.keys + columns.values)) + 9 * len(columns.keys)
    reservation = grid.reserve(8 + size // (grid.block_size // 4))
    builder = TableBuilder(
        grid, tree_id=TREE_ID, level=level, snapshot_min=7, acquire=lambda: grid.acquire(reservation), codec=codec
    )
    for start in range(0, len(columns.keys), chunk):
        builder.append(columns.cut(start, start + chunk))
    tables = builder.finish()
    grid.forfeit(reservation)
    return tables


def table_built(grid: Grid, columns: Columns) -> TableInfo:
    """The columns as a single table."""
    (info,) = tables_built(grid, columns)
    return info


def raw_block(kind: BlockKind, body: bytes, address: int = 17) -> bytes:
    """What grid.read() would return for this body; the checksums are not those of the content."""
    size = BLOCK_HEADER.size + len(body)
    nothing = bytes(16)
    header = BlockHeader(nothing, nothing, nothing, address, 0, size, size, TREE_ID, kind, 0, 0, 0, 0, 7, 0)
    return BLOCK_HEADER.pack(header) + body
