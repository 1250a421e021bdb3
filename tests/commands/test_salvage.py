"""salvage, doctor, verify and torture as commands: what they print, their exit codes, and what they leave alone."""

import json
from pathlib import Path

import pytest

from lsmcli.commands.salvage import loss_line, report_lines
from lsmcli.engine.constants import GRID_OFFSET
from lsmcli.engine.salvage_report import Loss, SalvageReport, TreeCount
from tests.testing.command_line import Lsm


@pytest.fixture
def filled(lsm: Lsm) -> Lsm:
    """A file with a table in it, and something in the log."""
    lsm.ok("import", stdin=b"".join(b"key%05d\tvalue %d\n" % (number, number) for number in range(2000)))
    lsm.ok("compact")
    lsm.ok("put", "later", "in the log")
    return lsm


def rescued(lsm: Lsm, path: str = "out.lsm") -> Lsm:
    return Lsm(Path(path), lsm._monkeypatch)


def spoil(lsm: Lsm, needle: bytes) -> None:
    """Changes a byte in the last place that holds this."""
    data = bytearray(lsm.path.read_bytes())
    data[data.rindex(needle)] ^= 1
    lsm.path.write_bytes(data)


def test_a_whole_file_is_copied(filled: Lsm) -> None:
    before = filled.path.read_bytes()
    out = filled.ok("salvage", "out.lsm").decode().splitlines()
    assert out == ["tree main: 2001 entries kept", "whole: 2001 entries kept, nothing is lost"]
    assert rescued(filled).ok("scan") == filled.ok("scan")
    assert rescued(filled).ok("verify").startswith(b"ok: ")
    assert filled.path.read_bytes() == before


def test_what_is_lost_is_named_and_the_rest_is_kept(filled: Lsm) -> None:
    spoil(filled, b"value 1000")
    result = filled("salvage", "out.lsm")
    assert result.code == 4
    first, *_, last = result.out.decode().splitlines()
    assert first.startswith("lost: value block ")
    assert "of tree main, keys key" in first
    assert last.startswith("damaged: ")
    kept = rescued(filled)
    count = int(kept.ok("count"))
    assert 1 < count < 2001
    assert kept.ok("get", "later") == b"in the log\n"
    report = json.loads(filled("salvage", "again.lsm", "--json").out)
    assert report["kept"] == count
    assert report["complete"] is False
    (loss,) = report["losses"]
    assert loss["key_min"] <= "key01000" <= loss["key_max"]
    assert loss["entries"] == 2001 - count


def test_without_a_root_all_is_found(filled: Lsm) -> None:
    data = bytearray(filled.path.read_bytes())
    data[: 12 * 1024] = bytes(12 * 1024)
    data[GRID_OFFSET - 12 * 1024 : GRID_OFFSET] = bytes(12 * 1024)
    expected = filled.ok("scan")
    filled.path.write_bytes(data)
    assert filled("get", "later").code == 7
    result = filled("salvage", "out.lsm")
    assert result.code == 4
    assert b"not certain" in result.out
    assert rescued(filled).ok("scan") == expected


def test_an_existing_file_is_never_replaced(filled: Lsm) -> None:
    Path("out.lsm").write_bytes(b"mine")
    assert "is there already" in filled.fails(2, "salvage", "out.lsm")
    assert "is there already" in filled.fails(2, "salvage", str(filled.path))
    assert Path("out.lsm").read_bytes() == b"mine"
    assert "its folder is not there" in filled.fails(5, "salvage", "missing/out.lsm")
    assert "--safe" in filled.run("--safe", str(filled.path), "salvage", "new.lsm").err


def test_what_is_no_data_file_leaves_nothing(lsm: Lsm) -> None:
    lsm.path.write_bytes(b"text\n" * 1000)
    assert "holds nothing that this program wrote" in lsm.fails(7, "salvage", "out.lsm")
    assert sorted(path.name for path in Path().iterdir()) == [lsm.path.name]
    assert "no such file" in rescued(lsm, "missing.lsm").fails(5, "salvage", "out.lsm")


def test_an_open_scope_comes_along(filled: Lsm) -> None:
    filled.ok("scope", "begin")
    filled.ok("put", "later", "changed")
    filled.ok("delete", "key00001")
    assert b"with 2 changes: persist or discard it" in filled.ok("salvage", "out.lsm")
    out = rescued(filled)
    assert out.ok("get", "later") == b"changed\n"
    out.ok("scope", "discard")
    assert out.ok("get", "later") == b"in the log\n"
    assert out.ok("get", "key00001") == b"value 1\n"


def test_the_report_in_words() -> None:
    report = SalvageReport()
    report.manifest = "damaged"
    report.trees = [TreeCount("main", 10, 2), TreeCount("a b", 1, 0)]
    report.losses = [
        Loss("main", 1, "value", 7, b"a\0", b"k\x00", 5, "gone"),
        Loss("main", 1, "index", 8, b"l", b"m", 2, "gone"),
        Loss("main", 0, "large value", 9, b"z", b"z", 1, "short"),
        Loss("", None, "wal", None, None, None, None, "op 3"),
    ]
    report.guessed = 4
    report.notes = ["note\n"]
    assert list(report_lines(report)) == [
        'lost: value block 7 of tree main, keys after a to "k\\x00", 5 entries: gone',
        "lost: index block 8 of tree main, keys l to m, 2 entries: gone",
        "lost: large value block 9 of tree main, key z, 1 entry: short",
        "lost: wal: op 3",
        "note: note\\n",
        "tree main: 10 entries kept, 2 entries withheld",
        "tree a b: 1 entry kept",
        "withheld: a lost entry may have replaced or removed these; --include-stale keeps them",
        "4 entries had several versions, and which is the newest is a guess",
        "damaged: 11 entries kept, up to 8 entries lost",
    ]
    assert loss_line(report.losses[3]) == "lost: wal: op 3"


# --- doctor ---------------------------------------------------------------------------------------------------------


def test_a_healthy_file(filled: Lsm) -> None:
    before = filled.path.read_bytes()
    page = filled.ok("doctor").decode().splitlines()
    assert page[0].startswith("t.lsm: about 2001 entries in 1 tree")
    assert page[1].startswith("verified: superblock_copies=6")
    assert page[-1] == "healthy: nothing to do"
    whole = json.loads(filled.ok("doctor", "--json"))
    assert whole["ok"] is True
    assert whole["findings"] == []
    assert whole["stats"]["table_entries"] == 2000
    assert filled.path.read_bytes() == before


def test_damage_is_an_error_that_names_salvage(filled: Lsm) -> None:
    spoil(filled, b"value 1000")
    result = filled("doctor")
    assert result.code == 4
    assert b"error: value: " in result.out
    assert b"    lsmcli t.lsm salvage OUT\n" in result.out
    problems = json.loads(filled("verify", "--json").out)["problems"]
    assert [problem["kind"] for problem in problems] == ["damage"]


def test_a_lost_copy_is_a_warning_and_the_command_named_repairs_it(filled: Lsm) -> None:
    with filled.path.open("r+b") as stream:
        stream.write(bytes(4096))
    result = filled("doctor", "--json")
    assert result.code == 4
    (finding,) = json.loads(result.out)["findings"]
    assert (finding["severity"], finding["subject"], finding["command"]) == ("warning", "superblock", "sync")
    filled.ok("sync")
    assert filled.ok("doctor").endswith(b"healthy: nothing to do\n")


def test_a_scope_that_was_forgotten_is_a_warning(filled: Lsm) -> None:
    filled.ok("scope", "begin")
    filled.ok("put", "a", "b")
    assert b"warning: scope: a scope is open, with 1 change" in filled.ok("doctor")


def test_a_file_that_cannot_be_opened_still_gets_its_page(filled: Lsm) -> None:
    spoil(filled, b"in the log")
    result = filled("doctor")
    assert result.code == 4
    assert b"error: wal: " in result.out
    filled.path.write_bytes(b"text\n" * 100)
    assert "is not an lsmcli file" in filled.fails(7, "doctor")


# --- torture --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_torture_needs_no_file_and_leaves_none(lsm: Lsm, tmp_path: Path) -> None:
    result = lsm.run("torture", "--minutes", "0", "--seed", "7")
    assert result.code == 0, result
    assert result.out.startswith(b"ok=yes seed=7 kills=1 steps=")
    (tmp_path / "folder").mkdir()
    report = json.loads(lsm.run("torture", "--minutes", "0", "--json", "folder").out)
    assert report["ok"] is True
    assert not list(tmp_path.rglob("*.lsm"))


def test_a_torture_wants_a_folder(filled: Lsm) -> None:
    assert "name a folder" in filled.fails(2, "torture")
    assert "name a folder" in filled.run("torture", "missing").err
    Path("torture-7.lsm").write_bytes(b"mine")
    assert "is there already" in filled.run("torture", "--seed", "7").err
    assert Path("torture-7.lsm").read_bytes() == b"mine"
