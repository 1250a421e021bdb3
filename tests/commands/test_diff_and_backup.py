"""diff and backup on the command line: what they print, and their exit codes."""

import json
import os
from pathlib import Path

import pytest

from tests.testing.command_line import Lsm


@pytest.fixture
def other(lsm: Lsm) -> Lsm:
    """Another file; the first one has entries."""
    lsm.ok("put", "a", "1", "b", "2", "c", "3")
    lsm("backup", "other.lsm")
    return Lsm(Path("other.lsm"), lsm._monkeypatch)


def test_a_copy_differs_in_nothing(lsm: Lsm, other: Lsm) -> None:
    result = lsm("diff", "other.lsm")
    assert (result.code, result.out, result.err) == (0, b"", "added=0 removed=0 changed=0\n")
    assert lsm.ok("diff", "other.lsm", "--brief", "--all-trees") == b""
    assert lsm.ok("diff", "other.lsm", "--summary") == b"added=0 removed=0 changed=0\n"
    assert lsm.ok("checksum") == other.ok("checksum")


def test_what_differs_is_shown_and_the_exit_code_is_1(lsm: Lsm, other: Lsm) -> None:
    other.ok("delete", "a")
    other.ok("put", "b", "two\tlines\n", "d", "4", "hex:00ff", "")
    result = lsm("diff", "other.lsm")
    assert result.code == 1
    assert result.out == b'+ "\\x00\\xff"\t\n- a\t1\n~ b\t2\t"two\\tlines\\n"\n+ d\t4\n'
    assert result.err == "added=2 removed=1 changed=1\n"
    assert lsm("diff", "other.lsm", "--brief").out == b"t.lsm and other.lsm differ\n"
    assert lsm("diff", "other.lsm", "--summary")[:2] == (1, b"added=2 removed=1 changed=1\n")
    assert lsm("diff", "other.lsm", "--from", "c")[:2] == (1, b"+ d\t4\n")
    assert lsm("diff", "other.lsm", "--prefix", "c")[:2] == (0, b"")
    rows = [json.loads(line) for line in lsm("diff", "other.lsm", "--format", "jsonl").out.splitlines()]
    assert rows == [
        {"key": {"$base64": True, "encoded": "AP8="}, "new": ""},
        {"key": "a", "old": "1"},
        {"key": "b", "old": "2", "new": "two\tlines\n"},
        {"key": "d", "new": "4"},
    ]


def test_colours_on_request(lsm: Lsm, other: Lsm) -> None:
    other.ok("put", "b", "0", "d", "4")
    other.ok("delete", "a")
    assert lsm.run("--color", "always", "t.lsm", "diff", "other.lsm").out == (
        b"\x1b[31m- a\t1\x1b[0m\n\x1b[33m~ b\t2\t0\x1b[0m\n\x1b[32m+ d\t4\x1b[0m\n"
    )


def test_trees_are_compared_by_name(lsm: Lsm, other: Lsm) -> None:
    lsm.ok("tree", "create", "users")
    lsm.ok("put", "-t", "users", "ada", "x")
    other.ok("tree", "create", "empty")
    other.ok("put", "d", "4")
    result = lsm("diff", "other.lsm", "--all-trees")
    assert result.code == 1
    assert result.out == b"+ tree empty\ntree main\n+ d\t4\n- tree users\n- ada\tx\n"
    assert result.err == "added=1 removed=1 changed=0 trees=2\n"
    assert lsm("diff", "other.lsm", "--all-trees", "--format", "jsonl").out.splitlines()[0] == (
        b'{"tree": "empty", "only": "+"}'
    )
    assert "there is no tree 'users'" in lsm.fails(2, "diff", "other.lsm", "-t", "users")


def test_trouble_is_neither_0_nor_1(lsm: Lsm, other: Lsm) -> None:
    assert "excludes" in lsm.fails(2, "diff", "other.lsm", "--brief", "--summary")
    assert "missing.lsm" in lsm.fails(5, "diff", "missing.lsm")
    Path("text").write_bytes(b"text" * 200_000)
    assert "text" in lsm.fails(7, "diff", "text")
    data = bytearray(other.path.read_bytes())
    other.ok("put", *[word for i in range(2000) for word in (f"k{i}", "value" * 10)])
    other.ok("compact")
    data = bytearray(other.path.read_bytes())
    data[512 * 1024 + 1000 : 512 * 1024 + 1100] = os.urandom(100)
    other.path.write_bytes(data)
    assert "other.lsm: " in lsm.fails(4, "diff", "other.lsm")


def test_an_open_scope_counts_unless_it_is_looked_past(lsm: Lsm, other: Lsm) -> None:
    lsm.ok("scope", "begin")
    lsm.ok("put", "a", "changed")
    assert lsm("diff", "other.lsm").code == 1
    assert lsm("diff", "other.lsm", "--committed").code == 0
    lsm.ok("backup", "as-is.lsm")
    assert lsm("diff", "as-is.lsm").code == 0
    lsm.ok("backup", "--committed", "before.lsm")
    assert lsm.run("before.lsm", "diff", "other.lsm").code == 0
    assert b"no scope" in lsm.run("before.lsm", "scope", "status").out


def test_a_backup_sums_up_and_is_never_put_over_a_file(lsm: Lsm, other: Lsm) -> None:
    result = lsm("backup", "copy.lsm")
    checksum = lsm.ok("checksum", "--all-trees").decode().strip()
    assert (result.code, result.out) == (0, b"")
    assert result.err.startswith("copied=3 bytes=")
    assert result.err.endswith(f" checksum={checksum}\n")
    assert lsm.fails(5, "backup", "copy.lsm").startswith("Error: copy.lsm exists already; ")
    assert "is the data file itself" in lsm.fails(2, "backup", "--force", "t.lsm")
    lsm.ok("put", "d", "4")
    lsm.ok("backup", "--force", "--compact", "copy.lsm")
    assert lsm("diff", "copy.lsm", "--brief").code == 0
    assert lsm.run("--safe", "t.lsm", "backup", "other2.lsm").code == 2
    assert lsm.run("--safe", "t.lsm", "diff", "other.lsm").code == 2
    assert sorted(os.listdir()) == ["copy.lsm", "other.lsm", "t.lsm"]


def test_a_file_that_is_not_there_has_no_backup(lsm: Lsm) -> None:
    assert "no such file" in lsm.fails(5, "backup", "copy.lsm")
    assert os.listdir() == []


def test_reading_commands_change_not_one_byte(lsm: Lsm, other: Lsm) -> None:
    before = lsm.path.read_bytes()
    for words in (["diff", "other.lsm"], ["checksum"], ["backup", "copy.lsm"], ["export"]):
        lsm.ok(*words)
    assert lsm.path.read_bytes() == before


def test_a_backup_tells_how_far_it_is(lsm: Lsm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lsmcli.commands.progress.PLAIN_EVERY_S", 0.0)
    lsm.ok("put", *[word for i in range(3000) for word in (f"k{i}", "value" * 10)])
    lsm.ok("compact")
    lines = lsm("backup", "--progress", "plain", "copy.lsm").err.splitlines()
    assert all(line.startswith("backup: ") and line.endswith(" s left") and "/s, " in line for line in lines[:-1])
    assert lines[-1].startswith("copied=3000 ")
    assert len(lines) > 1
