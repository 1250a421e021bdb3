"""ldb of rocksdb-tools."""

from collections.abc import Callable

import pytest

from tests.interop.conftest import BINARY, TEXT, Ours, Pairs, Tool, many

ToolOf = Callable[[str], Tool]

# Plain lines carry no line end.
PLAIN = [pair for pair in TEXT if b"\n" not in pair[0] + pair[1]]


@pytest.mark.parametrize("pairs", [BINARY, many(5_000)], ids=["awkward", "many"])
def test_what_we_export_comes_back_through_rocksdb(tool: ToolOf, ours: Ours, pairs: Pairs) -> None:
    ldb = tool("ldb")
    dump = ours.export(pairs, "ours.ldb", name="ldb")
    assert ldb("--db=their", "--create_if_missing", "--hex", "load", stdin=dump.read_bytes()) == b""
    theirs = ldb("--db=their", "--hex", "dump")
    rows = [line.split(" ==> ") for line in theirs.decode().splitlines()[:-1]]
    assert [(bytes.fromhex(key[2:]), bytes.fromhex(value[2:])) for key, value in rows] == pairs
    assert ours.imported(theirs, name="ldb") == pairs
    assert theirs == dump.read_bytes()


def test_plain_lines_come_back(tool: ToolOf, ours: Ours) -> None:
    ldb = tool("ldb")
    dump = ours.export(PLAIN, "ours.ldb", name="ldb", encoding="plain")
    assert ldb("--db=their", "--create_if_missing", "load", stdin=dump.read_bytes()) == b""
    theirs = ldb("--db=their", "dump")
    assert theirs == dump.read_bytes()
    assert ours.imported(theirs, name="ldb") == PLAIN
