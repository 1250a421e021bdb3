"""mdb_load and mdb_dump of lmdb-utils."""

from collections.abc import Callable

import pytest

from lsmcli.engine.constants import MIB
from lsmcli.formats.rows import ReadOptions
from tests.formats.streams import error_of, pairs_read
from tests.interop.conftest import BINARY, Ours, Pairs, Tool, lines_of_dump, many

ToolOf = Callable[[str], Tool]


@pytest.mark.parametrize("encoding", ["hex", "print"])
@pytest.mark.parametrize("pairs", [BINARY, many(5_000)], ids=["awkward", "many"])
def test_what_we_export_comes_back_through_lmdb(tool: ToolOf, ours: Ours, pairs: Pairs, encoding: str) -> None:
    dump = ours.export(pairs, "ours.dump", name="lmdb", encoding=encoding)
    tool("mdb_load")("-n", "-f", dump, "env.mdb")
    theirs = tool("mdb_dump")("-n", "env.mdb")
    items = [bytes.fromhex(line[1:].decode()) for line in lines_of_dump(theirs)]
    assert list(zip(items[0::2], items[1::2], strict=True)) == pairs
    assert ours.imported(theirs, name="lmdb") == pairs


def test_more_than_the_default_map_is_loaded(tool: ToolOf, ours: Ours) -> None:
    pairs = [(b"%08d" % number, b"") for number in range(80_000)]  # small entries take several times their size
    tool("mdb_load")("-n", "-f", ours.export(pairs, "ours.dump", name="lmdb"), "env.mdb")
    assert (ours.directory / "env.mdb").stat().st_size > 1 * MIB
    assert ours.imported(tool("mdb_dump")("-n", "env.mdb"), name="lmdb") == pairs


def test_a_named_database_is_a_tree(tool: ToolOf, ours: Ours) -> None:
    tool("mdb_load")("-n", "-f", ours.export(BINARY, "ours.dump", name="lmdb", tree="users"), "env.mdb")
    theirs = tool("mdb_dump")("-n", "-s", "users", "env.mdb")
    assert b"\ndatabase=users\n" in theirs
    assert ours.imported(theirs, name="lmdb", tree="users") == BINARY
    assert ours.imported(tool("mdb_dump")("-n", "-a", "env.mdb"), name="bdb", tree="users") == BINARY


def test_the_lone_backslash_of_an_old_mdb_dump_is_refused_rather_than_misread(tool: ToolOf, ours: Ours) -> None:
    pairs = [(b"a\\zz", b"1")]
    tool("mdb_load")("-n", "-f", ours.export(pairs, "ours.dump", name="lmdb"), "env.mdb")
    theirs = tool("mdb_dump")("-n", "-p", "env.mdb")
    if b" a\\zz\n" in theirs:  # LMDB up to 0.9.24, whose own mdb_load reads it as another key
        assert "backslash" in error_of("lmdb", theirs).reason
        assert pairs_read("lmdb", theirs, ReadOptions(lenient=True)) == pairs
    else:
        assert pairs_read("lmdb", theirs) == pairs
