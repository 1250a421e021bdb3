"""import: all rows or none, by batches that can be gone on with, and bad rows that are named, counted and kept."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pytest

import lsmcli
from lsmcli.engine import import_progress
from lsmcli.engine.storage import FileStorage
from lsmcli.engine.verifier import verify
from tests.testing.command_line import Lsm


def rows(first: int, last: int, value: bytes = b"value") -> bytes:
    """Lines of tsv for the keys k00001, k00002, and so on, `last` included."""
    return b"".join(b"k%05d\t%s %d\n" % (number, value, number) for number in range(first, last + 1))


def summary(text: str) -> dict[str, str]:
    """The fields of the summary line."""
    line = next(line for line in text.splitlines() if line.startswith("imported="))
    return dict(field.split("=") for field in line.split())


def numbers(text: str) -> tuple[int, ...]:
    """imported, replaced, skipped, rejected."""
    found = summary(text)
    return tuple(int(found[name]) for name in ("imported", "replaced", "skipped", "rejected"))


def small_pieces(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Sources come in pieces of so many bytes."""
    monkeypatch.setattr("lsmcli.formats.rows.READ_SIZE", size)
    monkeypatch.setattr("lsmcli.commands.import_rows.HEAD_SIZE", 1)


def far_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sources are longer than what is read ahead, and come in small pieces."""
    monkeypatch.setattr("lsmcli.commands.import_targets.AHEAD_SIZE", 1)
    small_pieces(monkeypatch, 1000)


def assert_sound(path: Path) -> None:
    storage = FileStorage.open(str(path), writable=False)
    try:
        assert verify(storage).problems == []
    finally:
        storage.close()


def records(path: Path) -> list[import_progress.ImportRecord]:
    with lsmcli.open(path, "r") as database:
        return import_progress.records(database)


# -- all or none ---------------------------------------------------------------------------------------------------


def test_a_row_can_delete_and_the_last_of_equal_keys_counts(lsm: Lsm) -> None:
    lsm.ok("put", "gone", "1", "a", "0")
    text = b'{"key":"a","value":"1"}\n{"key":"gone","deleted":true}\n{"key":"a","value":"2"}\n'
    found = summary(lsm("import", stdin=text).err)
    assert list(found) == ["imported", "replaced", "skipped", "rejected", "bytes", "seconds", "deleted"]
    assert (found["imported"], found["replaced"], found["deleted"], found["bytes"]) == ("1", "1", "1", str(len(text)))
    assert lsm.ok("scan") == b"a\t2\n"


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (b"a\t1\nb\n", "rows:2:2: no tab"),
        (b"a\t1\n\t2\n", "rows:2:1: the key is empty"),
        (b'{"key": "a", "value": "1"}\n{"key"\n', "rows:2:7: not JSON"),
        (b"a\t1\n" + b"k" * 5000 + b"\t\n", "rows:2:1: the key has 5000 bytes"),
    ],
)
@pytest.mark.parametrize("options", [(), ("--batch", "1000"), ("--dry-run",), ("--max-errors", "0")])
def test_a_bad_row_is_named_and_nothing_is_changed(lsm: Lsm, text: bytes, where: str, options: tuple[str, ...]) -> None:
    Path("rows").write_bytes(text)
    error = lsm.fails(6, "import", *options, "rows")
    assert where in error
    assert error.endswith("nothing was imported")
    assert not lsm.path.exists()
    lsm.ok("put", "a", "before")
    before = lsm.path.read_bytes()
    assert numbers(lsm("import", *options, "rows").err) == (0, 0, 0, 1)
    assert lsm.path.read_bytes() == before


def test_a_bad_row_far_behind_leaves_no_trace_of_those_before(lsm: Lsm, monkeypatch: pytest.MonkeyPatch) -> None:
    far_behind(monkeypatch)
    lsm.ok("put", "a", "before")
    error = lsm.fails(6, "import", stdin=rows(1, 3000) + b"bad\n")
    assert "standard input:3001:4: no tab" in error
    assert error.endswith("nothing was imported")
    assert lsm.ok("scan") == b"a\tbefore\n"
    assert_sound(lsm.path)


def test_memory_for_sorting_may_be_small(lsm: Lsm, monkeypatch: pytest.MonkeyPatch) -> None:
    far_behind(monkeypatch)
    text = b"".join(reversed(rows(1, 5000).splitlines(keepends=True)))
    assert numbers(lsm("import", "--memory", "64k", stdin=text).err) == (5000, 0, 0, 0)
    assert lsm.ok("scan") == rows(1, 5000)
    assert_sound(lsm.path)


def test_rows_go_into_an_open_scope_and_are_undone_with_it(lsm: Lsm, monkeypatch: pytest.MonkeyPatch) -> None:
    far_behind(monkeypatch)
    lsm.ok("put", "a", "before")
    lsm.ok("scope", "begin")
    lsm.fails(6, "import", stdin=rows(1, 300) + b"bad\n")
    assert lsm.ok("count") == b"1\n"
    lsm.ok("import", stdin=rows(1, 300))
    lsm.ok("import", "--batch", "100", stdin=rows(301, 1000))
    assert lsm.ok("count") == b"1001\n"
    lsm.ok("scope", "discard")
    assert lsm.ok("scan") == b"a\tbefore\n"
    assert records(lsm.path) == []


def test_an_empty_import_makes_an_empty_file(lsm: Lsm) -> None:
    assert numbers(lsm("import").err) == (0, 0, 0, 0)
    assert lsm.ok("count") == b"0\n"


def test_a_dry_run_checks_all_and_stores_nothing(lsm: Lsm) -> None:
    result = lsm("import", "--dry-run", stdin=rows(1, 10))
    assert result.code == 0
    assert result.err.startswith("rows=10 rejected=0 bytes=")
    assert "nothing was stored" in result.err
    assert not lsm.path.exists()


def test_the_tree_of_an_import(lsm: Lsm) -> None:
    assert "no tree 'users'" in lsm.fails(2, "import", "-t", "users", stdin=rows(1, 3))
    lsm.ok("tree", "create", "users")
    lsm.ok("import", "-t", "users", stdin=rows(1, 3))
    assert lsm.ok("scan", "-t", "users") == rows(1, 3)
    assert lsm.ok("scan") == b""


@pytest.mark.parametrize("options", [(), ("--batch", "2")])
def test_a_source_names_its_trees_and_they_are_made(lsm: Lsm, options: tuple[str, ...]) -> None:
    lines = [{"key": "a", "value": "1"}, *({"key": f"u{number}", "value": "1", "tree": "users"} for number in range(5))]
    text = "".join(json.dumps(line) + "\n" for line in lines).encode()
    assert numbers(lsm("import", *options, stdin=text).err) == (6, 0, 0, 0)
    assert lsm.ok("tree", "list") == b"main\nusers\n"
    assert lsm.ok("scan") == b"a\t1\n"
    assert lsm.ok("count", "-t", "users") == b"5\n"
    lsm.ok("tree", "create", "other")
    assert "several trees" in lsm.fails(2, "import", *options, "-t", "other", stdin=text)
    lsm.ok("import", *options, "-t", "other", stdin=text.split(b"\n", 1)[1])
    assert lsm.ok("count", "-t", "other") == b"5\n"


@pytest.mark.parametrize("options", [(), ("--batch", "1000")])
def test_a_tree_that_was_made_for_nothing_is_dropped(
    lsm: Lsm, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    far_behind(monkeypatch)
    rows_users = b"".join(b'{"key": "u%d", "value": "1", "tree": "users"}\n' % number for number in range(500))
    lsm.fails(6, "import", *options, stdin=rows_users + b"bad\n")
    assert lsm.ok("tree", "list") == b"main\n"


# -- keys that are there -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [(), ("--batch", "2"), ("--batch", "100")])
def test_what_becomes_of_keys_that_are_there(lsm: Lsm, batch: tuple[str, ...]) -> None:
    lsm.ok("put", "k00002", "old", "k00003", "old")
    result = lsm("import", *batch, "--on-conflict", "skip", stdin=rows(1, 5))
    assert numbers(result.err) == (3, 0, 2, 0)
    assert lsm.ok("get", "k00002", "k00005") == b"k00002\told\nk00005\tvalue 5\n"
    result = lsm("import", *batch, "--if-exists", "replace", stdin=rows(4, 7, b"new"))
    assert numbers(result.err) == (4, 2, 0, 0)
    assert lsm.ok("get", "k00004", "k00007") == b"k00004\tnew 4\nk00007\tnew 7\n"
    assert "replaced=0" in lsm("import", *batch, "--on-conflict", "fail", stdin=rows(8, 9)).err


def test_fail_stores_nothing_and_names_the_key(lsm: Lsm) -> None:
    lsm.ok("put", "k00003", "old")
    error = lsm.fails(6, "import", "--on-conflict", "fail", stdin=rows(1, 5))
    assert "k00003" in error
    assert "there already" in error
    assert lsm.ok("scan") == b"k00003\told\n"
    error = lsm.fails(6, "import", "--batch", "2", "--on-conflict", "fail", stdin=rows(1, 5))
    assert "only the batches before" in error
    assert lsm.ok("scan", "--keys-only") == b"k00001\nk00002\nk00003\n"


# -- sources -------------------------------------------------------------------------------------------------------


def test_several_sources_and_patterns_in_order(lsm: Lsm) -> None:
    for number, name in enumerate(["b.tsv", "a.tsv", "c.tsv", "B.tsv"]):
        Path(name).write_bytes(b"last\t%s\nfrom %d\t%s\n" % (name.encode(), number, name.encode()))
    Path("d.tsv").mkdir()
    assert numbers(lsm("import", "c.tsv", "[ab].tsv", "*.tsv").err) == (5, 0, 0, 0)
    assert lsm.ok("get", "last") == b"B.tsv\n"  # c, then a and b; of *.tsv only B is left, and no directory
    Path("[x].tsv").write_bytes(b"literally\t1\n")
    lsm.ok("import", "[x].tsv")
    assert lsm.ok("get", "literally") == b"1\n"


def test_sources_that_are_none(lsm: Lsm) -> None:
    Path("a.tsv").write_bytes(rows(1, 2))
    lsm.ok("put", "a", "1")
    before = lsm.path.read_bytes()
    assert "no file matches" in lsm.fails(5, "import", "a.tsv", "*.csv")
    assert "no such file" in lsm.fails(5, "import", "a.tsv", "missing.tsv")
    assert "is a directory" in lsm.fails(5, "import", "a.tsv", ".")
    assert "only once" in lsm.fails(2, "import", "-", "a.tsv", "-")
    assert "the data file itself" in lsm.fails(2, "import", "a.tsv", "*.lsm")
    assert lsm.path.read_bytes() == before


def test_a_bad_row_in_the_last_source_undoes_all_of_them(lsm: Lsm) -> None:
    Path("a.tsv").write_bytes(rows(1, 2))
    Path("b.tsv").write_bytes(rows(3, 4) + b"bad\n")
    assert "b.tsv:3:4: no tab" in lsm.fails(6, "import", "a.tsv", "b.tsv")
    assert not lsm.path.exists()


def test_options_that_do_not_fit_are_refused_before_anything_is_read(lsm: Lsm) -> None:
    Path("a.jsonl").write_bytes(b'{"key": "a", "value": "1"}\n')
    assert "--header is for the formats csv, tsv" in lsm.fails(2, "import", "--header", "a.jsonl")
    assert "--delimiter is for the formats csv, ldb" in lsm.fails(2, "import", "--delimiter", ";", "a.jsonl")
    assert "--resume goes with --batch" in lsm.fails(2, "import", "--resume", "a.jsonl")
    assert "is not a size" in lsm.fails(2, "import", "--memory", "lots", "a.jsonl")
    lsm.fails(2, "import", "--batch", "0", "a.jsonl")
    assert not lsm.path.exists()


# -- bad rows ------------------------------------------------------------------------------------------------------

BAD = b"a\t1\nbad\nb\t2\n\xff\xfe\nc\t3\n"


def test_bad_rows_are_passed_over_up_to_a_number(lsm: Lsm) -> None:
    result = lsm("import", "--max-errors", "2", stdin=BAD)
    assert result.code == 0
    assert result.err.splitlines()[0] == "rejected: standard input:2:4: no tab between key and value"
    assert numbers(result.err) == (3, 0, 0, 2)
    assert lsm.ok("scan") == b"a\t1\nb\t2\nc\t3\n"


def test_one_bad_row_more_ends_the_import(lsm: Lsm) -> None:
    result = lsm("import", "--max-errors", "1", stdin=BAD)
    assert result.code == 6
    assert numbers(result.err) == (0, 0, 0, 2)
    assert result.err.splitlines()[-1].startswith("Error: standard input:4:3: no tab")
    assert not lsm.path.exists()


def test_bad_rows_are_kept_in_a_file_with_place_and_reason(lsm: Lsm) -> None:
    Path("rows.tsv").write_bytes(BAD)
    result = lsm("import", "--rejects", "bad.jsonl", "rows.tsv")
    assert result.code == 6  # not all of it was done
    assert result.err.splitlines()[-1] == "2 bad rows were rejected, see bad.jsonl; all others were imported"
    assert numbers(result.err) == (3, 0, 0, 2)
    first, second = map(json.loads, Path("bad.jsonl").read_text("utf-8").splitlines())
    assert first == {
        "source": "rows.tsv", "line": 2, "column": 4, "reason": "no tab between key and value", "row": "bad",
    }  # fmt: skip
    assert second["row"] == {"$base64": True, "encoded": "//4="}
    assert lsm.ok("count") == b"3\n"
    assert lsm("import", "--rejects", "bad.jsonl", "--max-errors", "2", "rows.tsv").code == 0  # they are allowed
    assert lsm("import", "--rejects", "bad.jsonl", "--max-errors", "1", "rows.tsv").code == 6


def test_the_file_of_bad_rows_is_empty_if_there_are_none(lsm: Lsm) -> None:
    Path("bad.jsonl").write_bytes(b"of an earlier import\n")
    lsm.ok("import", "--rejects", "bad.jsonl", stdin=rows(1, 3))
    assert Path("bad.jsonl").read_bytes() == b""


def test_bad_rows_go_to_no_file_that_is_needed(lsm: Lsm) -> None:
    Path("rows.tsv").write_bytes(BAD)
    lsm.ok("put", "a", "1")
    lsm.fails(2, "import", "--rejects", "t.lsm", "rows.tsv")
    assert "is a source" in lsm.fails(2, "import", "--rejects", "./rows.tsv", "rows.tsv")
    lsm.fails(5, "import", "--rejects", "missing/bad.jsonl", "rows.tsv")
    assert Path("rows.tsv").read_bytes() == BAD
    assert lsm.ok("scan") == b"a\t1\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
def test_bad_rows_that_cannot_be_kept_end_the_import(lsm: Lsm) -> None:
    Path("rows.tsv").write_bytes(BAD)
    assert "no space" in lsm.fails(5, "import", "--rejects", "/dev/full", "rows.tsv")
    assert not lsm.path.exists()


# -- batches -------------------------------------------------------------------------------------------------------


def stop_behind(monkeypatch: pytest.MonkeyPatch, batches: int) -> None:
    """The import is interrupted behind so many ops."""
    from lsmcli.engine.database import Database

    apply = Database.apply
    done: list[list[Any]] = []

    def apply_some(self: Database, entries: list[Any]) -> None:
        if len(done) == batches:
            raise KeyboardInterrupt
        done.append(entries)
        apply(self, entries)

    monkeypatch.setattr(Database, "apply", apply_some)


@pytest.mark.parametrize("stop", range(6))
@pytest.mark.parametrize("read_size", [64, 1000, 1 << 20])
def test_an_import_goes_on_behind_the_last_whole_batch(
    lsm: Lsm, monkeypatch: pytest.MonkeyPatch, stop: int, read_size: int
) -> None:
    Path("rows.tsv").write_bytes(rows(1, 95))
    small_pieces(monkeypatch, read_size)
    with monkeypatch.context() as patch:
        stop_behind(patch, stop)
        result = lsm("import", "--batch", "20", "rows.tsv")
    kept = min(20 * stop, 95)
    if stop < 5:
        assert result.code == 130
        expected = f"{kept} rows are stored, in whole batches: import --resume goes on behind them"
        assert result.err.splitlines()[-1] == f"interrupted: {expected if kept else 'nothing was imported'}"
    if lsm.path.exists():
        assert lsm.ok("scan") == rows(1, kept)
    result = lsm("import", "--batch", "30", "--resume", "rows.tsv")
    assert result.code == 0
    assert numbers(result.err) == (95, 0, 0, 0)
    assert lsm.ok("scan") == rows(1, 95)
    assert_sound(lsm.path)


def test_a_complete_import_is_not_done_again(lsm: Lsm) -> None:
    Path("rows.tsv").write_bytes(rows(1, 50))
    lsm.ok("import", "--batch", "20", "rows.tsv")
    lsm.ok("put", "k00001", "changed since")
    result = lsm("import", "--batch", "20", "--resume", "--on-conflict", "fail", "rows.tsv")
    assert result.code == 0
    assert "complete already behind row 50, line 50" in result.err
    assert lsm.ok("get", "k00001") == b"changed since\n"
    result = lsm("import", "--batch", "20", "rows.tsv")  # without --resume it is
    assert numbers(result.err) == (50, 50, 0, 0)
    assert lsm.ok("get", "k00001") == b"value 1\n"


@pytest.mark.parametrize("stop", [1, 9])
@pytest.mark.parametrize(
    "change",
    [
        lambda text: b"K" + text[1:],
        lambda text: text + b"more\t1\n",
        lambda text: text[:-16],
        lambda text: b"",
    ],
)
def test_a_source_that_has_changed_is_refused(
    lsm: Lsm, monkeypatch: pytest.MonkeyPatch, stop: int, change: Callable[[bytes], bytes]
) -> None:
    text = rows(1, 60)
    Path("rows.tsv").write_bytes(text)
    with monkeypatch.context() as patch:
        stop_behind(patch, stop)
        lsm("import", "--batch", "20", "rows.tsv")
    before = lsm.ok("scan")
    Path("rows.tsv").write_bytes(change(text))
    error = lsm.fails(2, "import", "--batch", "20", "--resume", "rows.tsv")
    assert "rows.tsv" in error
    assert "begin anew without --resume" in error
    assert lsm.ok("scan") == before
    lsm.ok("import", "--batch", "20", "rows.tsv")


def test_other_options_are_refused_too(lsm: Lsm, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("rows.tsv").write_bytes(rows(1, 60))
    with monkeypatch.context() as patch:
        stop_behind(patch, 1)
        lsm("import", "--batch", "20", "rows.tsv")
    assert "options" in lsm.fails(2, "import", "--batch", "20", "--resume", "--header", "rows.tsv")


def test_standard_input_is_gone_on_with_by_reading_it_again(lsm: Lsm, monkeypatch: pytest.MonkeyPatch) -> None:
    small_pieces(monkeypatch, 200)
    with monkeypatch.context() as patch:
        stop_behind(patch, 2)
        lsm("import", "--batch", "20", stdin=rows(1, 90))
    assert "is not what it was" in lsm.fails(2, "import", "--batch", "20", "--resume", stdin=rows(2, 90))
    assert "is not what it was" in lsm.fails(2, "import", "--batch", "20", "--resume", stdin=rows(1, 30))
    assert numbers(lsm("import", "--batch", "20", "--resume", stdin=rows(1, 90)).err) == (90, 0, 0, 0)
    assert lsm.ok("scan") == rows(1, 90)


def test_bad_rows_before_the_place_are_counted_and_kept_again(lsm: Lsm, monkeypatch: pytest.MonkeyPatch) -> None:
    text = rows(1, 10) + b"bad\n" + rows(11, 60) + b"bad too\n"
    Path("rows.tsv").write_bytes(text)
    words = ("import", "--batch", "20", "--max-errors", "5", "--rejects", "bad.jsonl", "rows.tsv")
    with monkeypatch.context() as patch:
        stop_behind(patch, 2)
        lsm(*words)
    result = lsm(*words, "--resume")
    assert result.code == 0
    assert numbers(result.err) == (60, 0, 0, 2)
    assert [json.loads(line)["line"] for line in Path("bad.jsonl").read_text("utf-8").splitlines()] == [11, 62]
    assert lsm.ok("scan") == rows(1, 60)


def test_each_source_has_its_own_record_and_old_ones_go(lsm: Lsm, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, first in (("a.tsv", 1), ("b.tsv", 101), ("c.tsv", 201)):
        Path(name).write_bytes(rows(first, first + 49))
    with monkeypatch.context() as patch:
        stop_behind(patch, 4)  # a: 20, 20, 10; b: 20
        lsm("import", "--batch", "20", "a.tsv", "b.tsv")
    result = lsm("import", "--batch", "20", "--resume", "a.tsv", "b.tsv", "c.tsv")
    assert result.err.splitlines()[:2] == [
        "a.tsv: complete already behind row 50, line 50", "b.tsv: going on behind row 20, line 20",
    ]  # fmt: skip
    assert numbers(result.err) == (150, 0, 0, 0)
    assert lsm.ok("count") == b"150\n"
    assert len(records(lsm.path)) == 3
    lsm.ok("import", "--batch", "20", "c.tsv")
    assert [record.name for record in records(lsm.path)] == [os.fsencode(os.path.abspath("c.tsv"))]
    lsm.ok("import", "a.tsv")  # as a whole: it has no record, and leaves those of others
    assert len(records(lsm.path)) == 1


def test_a_batch_of_large_rows_is_stored_early(lsm: Lsm, monkeypatch: pytest.MonkeyPatch) -> None:
    small_pieces(monkeypatch, 4000)
    Path("rows.tsv").write_bytes(b"".join(b"k%d\t%s\n" % (number, b"v" * 3000) for number in range(20)))
    with monkeypatch.context() as patch:
        stop_behind(patch, 3)
        lsm("import", "--batch", "1000", "--memory", "10k", "rows.tsv")
    assert 3 < int(lsm.ok("count")) < 20
    lsm.ok("import", "--batch", "1000", "--resume", "rows.tsv")
    assert lsm.ok("count") == b"20\n"


def test_a_structure_that_breaks_keeps_whole_batches(lsm: Lsm, monkeypatch: pytest.MonkeyPatch) -> None:
    small_pieces(monkeypatch, 300)
    result = lsm("import", "--batch", "20", stdin=rows(1, 50) + b"bad\n")
    assert result.code == 6
    assert "; 20 rows are stored, in whole batches: import --resume goes on behind them" in result.err
    assert lsm.ok("scan") == rows(1, 20)


def test_a_complete_source_has_grown_behind_its_end(lsm: Lsm) -> None:
    lsm.ok("import", "--batch", "20", stdin=rows(1, 50))
    error = lsm.fails(2, "import", "--batch", "20", "--resume", stdin=rows(1, 60))
    assert "has more rows than when it was imported" in error
    assert lsm.ok("scan") == rows(1, 50)


def test_a_record_that_counts_more_rows_than_there_are_is_not_believed(lsm: Lsm) -> None:
    Path("rows.tsv").write_bytes(rows(1, 50))
    lsm.ok("import", "--batch", "20", "rows.tsv")
    with lsmcli.open("t.lsm", "w") as database:
        record = import_progress.records(database)[0]
        database.apply([import_progress.entry_of(record.key, record.progress._replace(rows=60), record.name)])
    assert "has fewer rows than were imported" in lsm.fails(2, "import", "--batch", "20", "--resume", "rows.tsv")


@pytest.mark.parametrize("name", ["parquet", "arrow"])
def test_files_with_their_directory_at_the_end_are_gone_on_with_too(
    lsm: Lsm, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    pytest.importorskip("pyarrow")
    lsm.ok("import", stdin=rows(1, 95))
    Path("rows").write_bytes(lsm.ok("export", "--format", name))
    size = Path("rows").stat().st_size
    lsm.path.unlink()
    with monkeypatch.context() as patch:
        stop_behind(patch, 2)
        lsm("import", "--batch", "20", "rows")
    assert lsm.ok("count") == b"40\n"
    result = lsm("import", "--batch", "20", "--resume", "rows")
    assert numbers(result.err) == (95, 0, 0, 0)
    assert summary(result.err)["bytes"] == str(size)
    assert lsm.ok("scan") == rows(1, 95)
    lsm.ok("import", stdin=rows(1, 96))
    other = lsm.ok("export", "--format", name)
    Path("rows").write_bytes(other[:size].ljust(size, b"\0"))
    assert "is not what it was" in lsm.fails(2, "import", "--batch", "20", "--resume", "--format", name, "rows")


def test_sources_that_cannot_be_read(lsm: Lsm) -> None:
    assert "can only be written" in lsm.fails(2, "import", "--format", "sql", stdin=b"BEGIN;\n")
    if os.path.exists("/proc/self/mem"):  # the first page is nobody's
        assert "/proc/self/mem: " in lsm.fails(5, "import", "--format", "tsv", "/proc/self/mem")
    assert not lsm.path.exists()


def import_from(stream: BinaryIO, *options: str) -> "subprocess.CompletedProcess[bytes]":
    """An import whose standard input is an open file."""
    command = [sys.executable, "-m", "lsmcli", "t.lsm", "import", "--batch", "20", *options]
    return subprocess.run(command, stdin=stream, stderr=subprocess.PIPE, check=False)


def test_standard_input_that_is_a_file_has_a_size(lsm: Lsm) -> None:
    Path("rows.tsv").write_bytes(rows(1, 50))
    for options in ((), ("--resume",)):
        with open("rows.tsv", "rb") as stream:
            assert import_from(stream, *options).returncode == 0
    with open("rows.tsv", "ab") as stream:
        stream.write(rows(51, 51))
    with open("rows.tsv", "rb") as stream:
        done = import_from(stream, "--resume")
    assert done.returncode == 2
    assert b"it has 807 bytes, and had 791" in done.stderr
