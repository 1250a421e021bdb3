"""sqlite3: .read of our script, .import of our CSV and TSV, and our import of what it writes."""

from collections.abc import Callable

import pytest

from tests.interop.conftest import BINARY, TEXT, Ours, Pairs, Tool, many

ToolOf = Callable[[str], Tool]

TABLE = "CREATE TABLE kv(k TEXT PRIMARY KEY, v TEXT) WITHOUT ROWID"

# Fields that need no quotes in TSV, where each side has rules of its own for them.
PLAIN = [pair for pair in TEXT if not set(b'\n\t"').intersection(pair[0] + pair[1])]


def stored(sqlite: Tool) -> Pairs:
    """The rows of kv, as hex digits that sqlite3 makes."""
    rows = sqlite("-noheader", "-separator", " ", "their.db", "SELECT hex(k), hex(v) FROM kv ORDER BY k").decode()
    return [(bytes.fromhex(key), bytes.fromhex(value)) for key, value in (row.split(" ") for row in rows.splitlines())]


@pytest.mark.parametrize("pairs", [BINARY, many(5_000)], ids=["awkward", "many"])
def test_our_script_is_read(tool: ToolOf, ours: Ours, pairs: Pairs) -> None:
    sqlite = tool("sqlite3")
    script = ours.export(pairs, "ours.sql", name="sql")
    assert sqlite("-bail", "their.db", f".read {script.name}") == f"complete: {len(pairs)} rows in kv\n".encode()
    assert stored(sqlite) == pairs


def test_a_script_that_was_cut_off_leaves_nothing(tool: ToolOf, ours: Ours) -> None:
    sqlite = tool("sqlite3")
    script = ours.export(TEXT, "ours.sql", name="sql").read_bytes()
    assert sqlite("their.db", stdin=script[: script.index(b"COMMIT")]) == b""
    assert sqlite("their.db", ".tables") == b""


def test_our_csv_is_imported(tool: ToolOf, ours: Ours) -> None:
    sqlite = tool("sqlite3")
    rows = ours.export(TEXT, "ours.csv", name="csv")
    assert sqlite("their.db", TABLE, ".mode csv", f".import --skip 1 {rows.name} kv") == b""
    assert stored(sqlite) == TEXT


def test_our_tsv_is_imported(tool: ToolOf, ours: Ours) -> None:
    sqlite = tool("sqlite3")
    rows = ours.export(PLAIN, "ours.tsv", name="tsv")
    assert sqlite("their.db", TABLE, ".mode tabs", f".import {rows.name} kv") == b""
    assert stored(sqlite) == PLAIN


@pytest.mark.parametrize(("name", "flags", "pairs"), [("csv", ["-csv", "-header"], TEXT), ("tsv", ["-tabs"], PLAIN)])
def test_their_rows_are_read(tool: ToolOf, ours: Ours, name: str, flags: list[str], pairs: Pairs) -> None:
    sqlite = tool("sqlite3")
    sqlite("-bail", "their.db", f".read {ours.export(pairs, 'ours.sql', name='sql').name}")
    query = "SELECT CAST(k AS TEXT) AS key, CAST(v AS TEXT) AS value FROM kv"
    assert ours.imported(sqlite(*flags, "their.db", query), name=name) == pairs
