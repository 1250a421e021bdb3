"""db5.3_load and db5.3_dump of db-util."""

from collections.abc import Callable

import pytest

from tests.interop.conftest import BINARY, Ours, Pairs, Tool, lines_of_dump, many

ToolOf = Callable[[str], Tool]


@pytest.mark.parametrize("encoding", ["hex", "print"])
@pytest.mark.parametrize("pairs", [BINARY, many(5_000)], ids=["awkward", "many"])
def test_what_we_export_comes_back_through_berkeley_db(tool: ToolOf, ours: Ours, pairs: Pairs, encoding: str) -> None:
    tool("db5.3_load")("-f", ours.export(pairs, "ours.dump", name="bdb", encoding=encoding), "their.db")
    theirs = tool("db5.3_dump")("their.db")
    items = [bytes.fromhex(line[1:].decode()) for line in lines_of_dump(theirs)]
    assert list(zip(items[0::2], items[1::2], strict=True)) == pairs
    assert ours.imported(theirs, name="bdb") == pairs


@pytest.mark.parametrize("pairs", [BINARY, many(5_000)], ids=["awkward", "many"])
def test_their_printed_dump_is_read(tool: ToolOf, ours: Ours, pairs: Pairs) -> None:
    tool("db5.3_load")("-f", ours.export(pairs, "ours.dump", name="bdb"), "their.db")
    assert ours.imported(tool("db5.3_dump")("-p", "their.db"), name="bdb") == pairs


def test_a_database_in_a_file_is_a_tree(tool: ToolOf, ours: Ours) -> None:
    tool("db5.3_load")("-f", ours.export(BINARY, "ours.dump", name="bdb", tree="users"), "their.db")
    theirs = tool("db5.3_dump")("their.db")
    assert b"\ndatabase=users\n" in theirs
    assert ours.imported(theirs, name="bdb", tree="users") == BINARY
