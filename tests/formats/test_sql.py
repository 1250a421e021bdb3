"""The SQL script: SQLite gets every byte, all rows or none, and a last line that proves it."""

import sqlite3
from collections.abc import Sequence

import pytest

from lsmcli.formats import InputError, sql
from lsmcli.formats.rows import Section, WriteOptions
from tests.formats.streams import written
from tests.formats.test_stores import ALL_BYTES, AWKWARD

Pairs = list[tuple[bytes, bytes]]


def run(script: bytes, database: sqlite3.Connection | None = None) -> tuple[sqlite3.Connection, list[str]]:
    """What the sqlite3 shell does: one statement after the other; the rows that were printed."""
    database = database or sqlite3.connect(":memory:", isolation_level=None)
    printed = []
    statement = ""
    for line in script.decode().splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            printed += [str(row[0]) for row in database.execute(statement)]
            statement = ""
    return database, printed


def rows_of(database: sqlite3.Connection, table: str = "kv") -> Sequence[tuple[bytes, bytes]]:
    return database.execute(f'SELECT k, v FROM "{table}" ORDER BY k').fetchall()


def test_the_script_is_exactly_this() -> None:
    assert written("sql", [(b"a", b"\x00\xff"), (b"b", b"")]).decode() == (
        "BEGIN;\n"
        'CREATE TABLE IF NOT EXISTS "kv"("k" BLOB PRIMARY KEY, "v" BLOB) WITHOUT ROWID;\n'
        'INSERT OR REPLACE INTO "kv" VALUES\n'
        "(x'61',x'00ff'),\n"
        "(x'62',x'');\n"
        "COMMIT;\n"
        "SELECT CASE WHEN count(*) >= 2 THEN 'complete: 2 rows in kv' "
        "ELSE 'INCOMPLETE: of 2 rows there are only ' || count(*) || ' in kv' END FROM \"kv\";\n"
    )


@pytest.mark.parametrize("pairs", [[], AWKWARD, ALL_BYTES, [(b"%05d" % n, bytes(n % 300)) for n in range(2000)]])
def test_every_byte_arrives(pairs: Pairs) -> None:
    database, printed = run(written("sql", pairs))
    assert rows_of(database) == sorted(pairs)
    assert printed == [f"complete: {len(pairs)} rows in kv"]


def test_a_script_that_was_cut_off_stores_nothing_and_proves_nothing() -> None:
    script = written("sql", [(b"%03d" % number, b"x") for number in range(600)])
    for size in (*range(0, len(script), 997), script.index(b"COMMIT;") + 6):
        database, printed = run(script[:size])
        database.rollback()
        assert database.execute("SELECT count(*) FROM sqlite_master").fetchall() == [(0,)]
        assert printed == []


def test_a_row_that_is_missing_is_told() -> None:
    script = written("sql", [(b"a", b"1"), (b"b", b"2")]).replace(b",\n(x'62',x'32')", b"")
    assert run(script)[1] == ["INCOMPLETE: of 2 rows there are only 1 in kv"]


def test_keys_that_are_there_are_replaced() -> None:
    database, _ = run(written("sql", [(b"a", b"1"), (b"b", b"2")]))
    database, printed = run(written("sql", [(b"a", b"3")]), database)
    assert rows_of(database) == [(b"a", b"3"), (b"b", b"2")]
    assert printed == ["complete: 1 rows in kv"]


def test_trees_are_tables_whatever_their_names() -> None:
    names = ["main", "it's", 'a"b', "select", "naïve x;", "--"]
    sections = [Section(name.encode(), [([b"k"], [name.encode()])]) for name in names]
    database, printed = run(b"".join(sql.write(sections, WriteOptions(name="sql"))))
    for name in names:
        table = "kv" if name == "main" else name.replace('"', '""')
        assert rows_of(database, table) == [(b"k", name.encode())]
    assert len(printed) == len(names)
    assert all(line.startswith("complete: 1 rows in ") for line in printed)


@pytest.mark.parametrize("names", [[b"sqlite_x"], [b"a\x00"], [b"main", b"KV"], [b"a", b"A"], [b"\xff"]])
def test_names_that_sqlite_cannot_have_are_refused(names: list[bytes]) -> None:
    with pytest.raises(InputError, match="tree"):
        b"".join(sql.write([Section(name, []) for name in names], WriteOptions(name="sql")))


def test_the_bytes_depend_on_the_rows_alone() -> None:
    rows = [(b"%05d" % number, bytes(number % 997)) for number in range(1500)]
    whole = b"".join(
        sql.write([Section(None, [([key for key, _ in rows], [value for _, value in rows])])], WriteOptions())
    )
    single = b"".join(sql.write([Section(None, [([key], [value]) for key, value in rows])], WriteOptions()))
    assert whole == single == written("sql", rows)
    assert whole.count(b"INSERT") > 3


def test_a_row_that_sqlite_refuses_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql, "ROW_SIZE_MAX", 10)
    with pytest.raises(InputError, match="at most 10 bytes") as caught:
        written("sql", [(b"a", b""), (b"b", bytes(10))])
    assert caught.value.line == 2
