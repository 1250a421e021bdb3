"""compact, stats, inspect-levels, inspect, verify: reports for people and for programs, that change nothing."""

import json
from pathlib import Path

import pytest

from lsmcli.commands.inspect_levels import key_range_text, report
from lsmcli.commands.output import bar_text, record_line, report_lines, scalar_text, size_text
from tests.testing.command_line import Lsm

REPORTS = [
    ["stats"],
    ["inspect-levels"],
    ["inspect", "superblock"],
    ["inspect", "wal"],
    ["inspect", "manifest"],
    ["inspect", "tables"],
    ["inspect", "grid"],
    ["inspect", "block", "1"],
    ["inspect", "constants"],
    ["verify"],
]


@pytest.fixture
def filled(lsm: Lsm) -> Lsm:
    """A file with a table in it, and something in memory."""
    rows = b"".join(b"key%05d\tvalue %d\n" % (number, number) for number in range(2000))
    lsm.ok("import", stdin=rows)
    lsm.ok("compact")
    lsm.ok("put", "later", "hex:00")
    return lsm


@pytest.mark.parametrize("words", REPORTS, ids=" ".join)
def test_a_report_is_text_or_json_and_changes_nothing(filled: Lsm, words: list[str]) -> None:
    before = filled.path.read_bytes()
    text = filled.ok(*words)
    assert text
    assert text.decode().replace("\n", "").isprintable()
    for line in filled.ok(*words, "--json").splitlines():
        assert isinstance(json.loads(line), dict)
    assert filled.path.read_bytes() == before


@pytest.mark.parametrize("words", [words for words in REPORTS if words != ["inspect", "constants"]], ids=" ".join)
def test_a_report_needs_the_file(lsm: Lsm, words: list[str]) -> None:
    assert "no such file" in lsm.fails(5, *words)
    assert not lsm.path.exists()


def test_compact_reports_bytes(filled: Lsm) -> None:
    assert filled.ok("compact").split()[::5] == [b"read", b"written", b"freed"]
    assert json.loads(filled.ok("compact", "--json")).keys() == {"bytes_read", "bytes_written", "bytes_freed"}
    assert "no such file" in Lsm(Path("missing.lsm"), filled._monkeypatch).fails(5, "compact")


def test_compact_keeps_every_entry(filled: Lsm) -> None:
    before = filled.ok("scan")
    filled.ok("compact")
    assert filled.ok("scan") == before


def test_levels_count_every_entry(filled: Lsm) -> None:
    tree = json.loads(filled.ok("inspect-levels", "--json"))
    memory = tree["memory"]["mutable_entries"] + tree["memory"]["immutable_entries"]
    assert sum(level["entries"] for level in tree["levels"]) + memory == 2001
    assert [level["tables_max"] for level in tree["levels"]] == [8 ** (level + 1) for level in range(7)]
    filled.ok("tree", "create", "users")
    assert filled.ok("inspect-levels", "-t", "users").startswith(b"tree users\n")
    assert "nope" in filled.fails(2, "inspect-levels", "-t", "nope")


def test_verify_names_the_damage(filled: Lsm) -> None:
    assert filled.ok("verify").startswith(b"ok: ")
    data = bytearray(filled.path.read_bytes())
    at = data.rindex(b"value 1000")  # the log, at the head of the file, holds it too, but is done with
    data[at] ^= 1
    filled.path.write_bytes(data)
    result = filled("verify")
    assert result.code == 4
    assert b"block" in result.out
    assert result.out.splitlines()[-1].startswith(b"damaged: ")
    assert json.loads(filled("verify", "--json").out)["ok"] is False
    assert "Error: " in filled("get", "key01000").err
    assert filled("get", "key01000").code == 4
    assert filled("scan").code == 4


LEVEL = {
    "level": 0,
    "tables": 4,
    "tables_max": 8,
    "tables_invisible": 1,
    "entries": 1234,
    "tombstones": 5,
    "bytes": 1536,
    "key_min": b"a\x00",
    "key_max": b"zz",
}
MEMORY = {
    "mutable_entries": 1,
    "mutable_weight": 50,
    "immutable_entries": 0,
    "immutable_weight": 0,
    "memory_size": 100,
    "bar": 3,
    "beat": 4,
}


def test_the_picture_of_levels() -> None:
    empty = LEVEL | {"level": 1, "tables": 0, "tables_max": 64, "tables_invisible": 0, "entries": 0, "tombstones": 0}
    empty |= {"bytes": 0, "key_min": None, "key_max": None}
    tree = {
        "tree": "ma\nin",
        "compression": "none",
        "levels": [LEVEL, empty],
        "memory": MEMORY,
        "bytes_put": 100,
        "bytes_written": 250,
    }
    assert list(report([tree])) == [
        "tree ma\\nin",
        "  level    tables    of  fill          kept    entries    tombstones    bytes  keys",
        "-------  --------  ----  ----------  ------  ---------  ------------  -------  -------------",
        '      0         4     8  #####.....       1       1234             5  1.5 KiB  "a\\x00" .. zz',
        "      1         0    64  ..........       0          0             0      0 B",
        '    all         4    72                   1       1234             5  1.5 KiB  "a\\x00" .. zz',
        "mutable table:   #####..... 1 entry, 50 B of 100 B",
        "immutable table: .......... 0 entries, 0 B of 100 B",
        "bar, beat:       3, 4",
        "write amplification: 2.50 (250 B written, 100 B put)",
    ]


def test_small_pieces_of_text() -> None:
    assert [size_text(size) for size in (0, 1023, 1024, 1536, 1 << 30)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "1.5 KiB",
        "1.0 GiB",
    ]
    assert [bar_text(part, 4) for part in (0.0, 0.01, 0.5, 1.0, 7.0)] == ["....", "#...", "##..", "####", "####"]
    assert scalar_text(b"\x00") == '"\\x00"'
    assert scalar_text("a\x1b") == "a\\x1b"
    assert scalar_text([True, None, {"a": b"b"}]) == "[yes, -, {a=b}]"
    assert record_line({"a": 1, "b": b"x", "c": "y z", "d": b""}) == 'a=1 b=x c="y z" d=""'
    assert list(report_lines({"a": 1, "bb": {"c": 2}, "d": [{"e": 3}]})) == ["a   1", "bb", "  c  2", "d", "  e=3"]


def test_long_keys_are_shortened_in_the_picture() -> None:
    assert key_range_text(b"a" * 30, b"b" * 20) == "aaaaaaaaaaaaaaaaa... .. bbbbbbbbbbbbbbbbbbbb"
    assert key_range_text(None, None) == ""
