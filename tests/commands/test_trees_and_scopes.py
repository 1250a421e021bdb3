"""tree and scope: several key spaces in one file, and changes that are kept or undone as a whole."""

import json

import pytest

from tests.testing.command_line import Lsm, process


def test_trees_are_key_spaces_of_their_own(lsm: Lsm) -> None:
    lsm.ok("put", "k", "in main")
    lsm.ok("tree", "create", "users")
    lsm.ok("put", "-t", "users", "k", "in users")
    assert lsm.ok("get", "k") == b"in main\n"
    assert lsm.ok("get", "--tree", "users", "k") == b"in users\n"
    assert lsm.run("-t", "users", str(lsm.path), "get", "k").out == b"in users\n"
    assert lsm.ok("get", "-t", "main", "k") == b"in main\n"
    assert lsm.ok("tree", "list") == b"main\nusers\n"
    assert [json.loads(line) for line in lsm.ok("tree", "list", "--json").splitlines()] == [
        {"tree": "main", "compression": "none"},
        {"tree": "users", "compression": "none"},
    ]
    assert "Drop tree users with 1 entry? Add --yes" in lsm.fails(2, "tree", "drop", "users")
    lsm.ok("tree", "drop", "users", "--yes")
    assert lsm.ok("tree", "list") == b"main\n"


def test_a_tree_that_is_not_there_or_there_already(lsm: Lsm) -> None:
    lsm.ok("tree", "create", "users")
    assert "users" in lsm.fails(2, "tree", "create", "users")
    for words in (["scan", "-t", "nope"], ["put", "-t", "nope", "a", "1"], ["tree", "drop", "nope", "--yes"]):
        assert "nope" in lsm.fails(2, *words)


def test_a_tree_may_be_compressed_from_the_beginning_or_later(lsm: Lsm) -> None:
    lsm.ok("tree", "create", "log", "--compression", "zstd", "--levels", "last")
    lsm.ok("tree", "compress", "main", "zstd")
    listed = [json.loads(line) for line in lsm.ok("tree", "list", "--json").splitlines()]
    assert {tree["tree"]: tree["compression"] for tree in listed} == {"main": "zstd", "log": "zstd, last level"}
    shown = lsm.ok("inspect-levels").decode()
    assert "tree main (zstd)\n" in shown and "tree log (zstd, last level)\n" in shown
    rows = b"".join(b"key %04d\t%s\n" % (i, b"value " * 20) for i in range(4000))
    lsm.ok("import", "-", stdin=rows)
    lsm.ok("compact")
    size = lsm.path.stat().st_size
    assert lsm.ok("scan") == rows
    assert b"ok" in lsm.ok("verify")
    lsm.ok("tree", "compress", "main", "none")
    lsm.ok("compact")
    assert lsm.path.stat().st_size > size + 300_000
    assert lsm.ok("scan") == rows
    assert "nope" in lsm.fails(2, "tree", "compress", "nope", "zstd")
    assert "lz4" in lsm.fails(2, "tree", "compress", "main", "lz4")


def test_the_environment_can_name_the_tree(lsm: Lsm, monkeypatch: pytest.MonkeyPatch) -> None:
    lsm.ok("tree", "create", "users")
    monkeypatch.setenv("LSMCLI_TREE", "users")
    lsm.ok("put", "k", "v")
    assert lsm.ok("count", "-t", "main") == b"0\n"
    assert lsm.ok("count") == b"1\n"


def test_a_scope_is_discarded_or_persisted_as_a_whole(lsm: Lsm) -> None:
    lsm.ok("put", "a", "1", "b", "2")
    assert lsm.ok("scope", "status") == b"no scope is open\n"
    assert json.loads(lsm.ok("scope", "status", "--json")) == {"open": False}
    lsm.ok("scope", "begin")
    lsm.ok("put", "a", "changed")
    lsm.ok("delete", "b")
    status = json.loads(lsm.ok("scope", "status", "--json"))
    assert status["open"] and status["durable"] and status["changes"] == 2
    assert lsm.ok("scope", "status").startswith(b"scope    open\ndurable  yes\nchanges  2\n")
    assert lsm.ok("scan") == b"a\tchanged\n"
    assert lsm.ok("scan", "--committed") == b"a\t1\nb\t2\n"
    assert lsm.ok("count", "--committed") == b"2\n"
    assert lsm.ok("get", "--committed", "b") == b"2\n"
    assert lsm("exists", "--committed", "b").code == 0
    assert lsm.ok("export", "--committed") == b"a\t1\nb\t2\n"
    lsm.ok("scope", "discard")
    assert lsm.ok("scan") == b"a\t1\nb\t2\n"
    lsm.ok("scope", "begin")
    lsm.ok("put", "a", "kept")
    lsm.ok("scope", "persist")
    assert lsm.ok("scan", "--committed") == b"a\tkept\nb\t2\n"


def test_a_scope_spans_processes(lsm: Lsm) -> None:
    lsm.ok("put", "a", "1")
    for words in (["scope", "begin"], ["put", "a", "2"], ["scope", "discard"]):
        assert process(str(lsm.path), *words).returncode == 0
    assert lsm.ok("get", "a") == b"1\n"


def test_scope_commands_in_the_wrong_state(lsm: Lsm) -> None:
    assert "no such file" in lsm.fails(5, "scope", "persist")
    lsm.ok("put", "a", "1")
    lsm.fails(2, "scope", "persist")
    lsm.fails(2, "scope", "discard")
    lsm.ok("scope", "begin")
    lsm.fails(2, "scope", "begin")
