r"""A script for SQLite: sqlite3 file.db < kv.sql, or .read kv.sql. Written only.

    BEGIN;
    CREATE TABLE IF NOT EXISTS "kv"("k" BLOB PRIMARY KEY, "v" BLOB) WITHOUT ROWID;
    INSERT OR REPLACE INTO "kv" VALUES
    (x'757365723a31',x'416461'),
    (x'757365723a32',x'');
    COMMIT;
    SELECT CASE WHEN count(*) >= 2 THEN 'complete: 2 rows in kv' ELSE 'INCOMPLETE: … ' END FROM "kv";

Invariants:
- keys and values are blob literals: every byte comes back, and nothing in them is SQL;
- all rows are stored, or none: a script that was cut off has no COMMIT;
- the last line, which the script prints, proves that it was run to its end and that no row is missing;
- the bytes depend on the rows alone, not on how they were found.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from lsmcli.engine.constants import KIB, TREE_NAME_MAIN
from lsmcli.formats import InputError
from lsmcli.formats.esc import plain
from lsmcli.formats.groups import Group, groups_of
from lsmcli.formats.rows import Section, WriteOptions

TREES: Final = True
TABLE_MAIN: Final = "kv"

STATEMENT_ROWS_MAX: Final = 500
STATEMENT_SIZE_MAX: Final = 64 * KIB  # of keys and values, where no single row is larger
ROW_SIZE_MAX: Final = 499_000_000  # as hex digits it is just under the 1,000,000,000 bytes that SQLite takes


def write(sections: Iterable[Section], options: WriteOptions) -> Iterator[bytes]:
    """The script: a table for each tree, kv for main. Raises InputError for what SQLite would refuse."""
    proofs = []
    tables: set[str] = set()
    row = 0
    yield b"BEGIN;\n"
    for section in sections:
        table = _table_of(section.tree, tables)
        yield f'CREATE TABLE IF NOT EXISTS {table}("k" BLOB PRIMARY KEY, "v" BLOB) WITHOUT ROWID;\n'.encode()
        insert = f"INSERT OR REPLACE INTO {table} VALUES\n".encode()
        row_first = row
        for group in groups_of(section.chunks, STATEMENT_ROWS_MAX, STATEMENT_SIZE_MAX):
            yield insert + _literals(group, row) + b";\n"
            row += len(group.keys)
        proofs.append(_proof(table, row - row_first))
    yield b"COMMIT;\n"
    yield "".join(proofs).encode()


def _literals(group: Group, row: int) -> bytes:
    sizes = [len(key) + len(value) for key, value in zip(group.keys, group.values, strict=True)]
    if max(sizes) > ROW_SIZE_MAX:
        number = row + 1 + next(index for index, size in enumerate(sizes) if size > ROW_SIZE_MAX)
        raise InputError(f"SQLite takes rows of at most {ROW_SIZE_MAX} bytes as text", line=number)
    rows = map("',x'".join, zip(map(bytes.hex, group.keys), map(bytes.hex, group.values), strict=True))
    return ("(x'" + "'),\n(x'".join(rows) + "')").encode("ascii")


def _table_of(tree: bytes | None, tables: set[str]) -> str:
    """The quoted name of the table of a tree; names of tables differ in more than the case of letters."""
    try:
        name = TABLE_MAIN if tree in (None, TREE_NAME_MAIN.encode()) else (tree or b"").decode()
    except UnicodeDecodeError:
        raise InputError(f"tree {plain(tree or b'').decode()}: its name is not UTF-8", line=1) from None
    folded = name.casefold()
    if "\0" in name or folded.startswith("sqlite_") or folded in tables:
        shown = plain(name.encode()).decode()
        raise InputError(f"tree {shown}: SQLite cannot have a table of this name here: rename the tree", line=1)
    tables.add(folded)
    return '"' + name.replace('"', '""') + '"'


def _proof(table: str, rows: int) -> str:
    name = table[1:-1].replace('""', '"').replace("'", "''")
    return (
        f"SELECT CASE WHEN count(*) >= {rows} THEN 'complete: {rows} rows in {name}' "
        f"ELSE 'INCOMPLETE: of {rows} rows there are only ' || count(*) || ' in {name}' END FROM {table};\n"
    )
