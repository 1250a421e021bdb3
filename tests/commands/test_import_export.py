"""import and export: everything comes back, a bad row changes nothing, a destination is replaced whole."""

import os
import random
import stat
from pathlib import Path

import pytest

from tests.testing.command_line import Lsm

FORMATS = ["tsv", "jsonl"]


@pytest.mark.parametrize("name", FORMATS)
def test_what_was_exported_is_imported_byte_for_byte(lsm: Lsm, rng: random.Random, name: str) -> None:
    model = {rng.randbytes(rng.randrange(1, 9)): rng.randbytes(rng.randrange(40)) for _ in range(2500)}
    model |= {b"k%d" % number: b"text" for number in range(2500)}
    lines = b"".join(b"%s\t%s\n" % (hexed(key), hexed(value)) for key, value in model.items())
    lsm.ok("import", "--format", "tsv", "-", stdin=lines)
    exported = lsm.ok("export", "--format", name)
    other = Lsm(Path("other.lsm"), lsm._monkeypatch)
    result = other("import", stdin=exported)
    assert result.code == 0
    assert result.err.startswith(f"imported={len(model)} deleted=0 rejected=0 bytes={len(exported)} seconds=")
    assert other.ok("scan", "-0") == b"".join(b"%s\0%s\0" % (key, model[key]) for key in sorted(model))
    assert other.ok("export", "--format", name) == exported


def hexed(data: bytes) -> bytes:
    return b'"' + b"".join(b"\\x%02x" % byte for byte in data) + b'"'


def test_scan_output_is_importable(lsm: Lsm) -> None:
    lsm.ok("put", "a", "1", "hex:0009", 'esc:"\\n"')
    Lsm(Path("other.lsm"), lsm._monkeypatch).ok("import", stdin=lsm.ok("scan"))
    assert Lsm(Path("other.lsm"), lsm._monkeypatch).ok("scan") == lsm.ok("scan")


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("rows.tsv", b"a\t1\n"),
        ("rows.jsonl", b'{"key": "a", "value": "1"}\n'),
        ("rows.json", b'{"key": "a", "value": "1"}\n'),
        ("rows.dat", b"a\t1\n"),
        ("rows.dat2", b'{"key": "a", "value": "1"}\n'),
    ],
)
def test_the_format_is_told_by_name_and_content(lsm: Lsm, file: str, text: bytes) -> None:
    Path(file).write_bytes(text)
    lsm.ok("import", file)
    assert lsm.ok("scan") == b"a\t1\n"


def test_a_row_can_delete_and_the_last_of_equal_keys_counts(lsm: Lsm) -> None:
    lsm.ok("put", "gone", "1")
    rows = b'{"key":"a","value":"1"}\n{"key":"gone","deleted":true}\n{"key":"a","value":"2"}\n'
    assert lsm("import", stdin=rows).err.startswith("imported=2 deleted=1 rejected=0")
    assert lsm.ok("scan") == b"a\t2\n"


def test_json_values_go_in_and_out(lsm: Lsm) -> None:
    lsm.ok("import", "--value-format", "json", stdin=b'{"key": "a", "value": {"x": [1, 2]}}\n')
    assert lsm.ok("get", "a") == b'{"x":[1,2]}\n'
    assert lsm.ok("export", "--format", "jsonl", "--value-format", "json") == b'{"key": "a", "value": {"x":[1,2]}}\n'
    lsm.ok("put", "b", "text")
    Path("out.jsonl").write_bytes(b"as it was")
    assert "is not JSON" in lsm.fails(6, "export", "out.jsonl", "--value-format", "json")
    assert Path("out.jsonl").read_bytes() == b"as it was"
    assert os.listdir() == ["out.jsonl", "t.lsm"] or sorted(os.listdir()) == ["out.jsonl", "t.lsm"]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (b"a\t1\nb\n", "rows:2:2: no tab"),
        (b"a\t1\n\t2\n", "rows:2:1: the key is empty"),
        (b'{"key": "a", "value": "1"}\n{"key"\n', "rows:2:7: not JSON"),
        (b"a\t1\n" + b"k" * 5000 + b"\t\n", "rows:2:1: the key has 5000 bytes"),
    ],
)
def test_a_bad_row_is_named_and_nothing_is_changed(lsm: Lsm, text: bytes, where: str) -> None:
    Path("rows").write_bytes(text)
    error = lsm.fails(6, "import", "rows")
    assert where in error
    assert error.endswith("nothing was imported")
    assert not lsm.path.exists()
    lsm.ok("put", "a", "before")
    before = lsm.path.read_bytes()
    lsm.fails(6, "import", "rows")
    assert lsm.path.read_bytes() == before


def test_a_bad_row_far_behind_undoes_what_was_stored_already(lsm: Lsm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lsmcli.commands.import_.AHEAD_SIZE", 1)
    monkeypatch.setattr("lsmcli.formats.rows.READ_SIZE", 1000)
    lsm.ok("put", "a", "before")
    rows = b"".join(b"k%05d\tvalue\n" % number for number in range(3000)) + b"bad\n"
    assert "3001:4: no tab" in lsm.fails(6, "import", stdin=rows)
    assert lsm.ok("scan") == b"a\tbefore\n"


def test_inside_an_open_scope_the_batches_before_stay_in_it(lsm: Lsm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lsmcli.commands.import_.AHEAD_SIZE", 1)
    monkeypatch.setattr("lsmcli.formats.rows.READ_SIZE", 1000)
    lsm.ok("scope", "begin")
    rows = b"".join(b"k%05d\tvalue\n" % number for number in range(300)) + b"bad\n"
    error = lsm.fails(6, "import", stdin=rows)
    assert "rows before it are in the open scope" in error
    count = int(lsm.ok("count"))
    assert f"; {count} rows before it" in error
    assert 0 < count <= 300
    lsm.ok("scope", "discard")
    assert lsm.ok("count") == b"0\n"


def test_an_empty_import_makes_an_empty_file(lsm: Lsm) -> None:
    assert lsm("import").err.startswith("imported=0 deleted=0 rejected=0 bytes=0")
    assert lsm.ok("count") == b"0\n"


def test_an_export_replaces_its_destination_whole(lsm: Lsm) -> None:
    lsm.ok("put", "a", "1")
    Path("out.tsv").write_bytes(b"old")
    Path("link.tsv").symlink_to("out.tsv")
    assert lsm("export", "link.tsv").err.startswith("exported=1 bytes=4 seconds=")
    assert Path("out.tsv").read_bytes() == b"a\t1\n"
    assert Path("link.tsv").is_symlink()
    assert sorted(os.listdir()) == ["link.tsv", "out.tsv", "t.lsm"]
    lsm.ok("export", "--header", "out.tsv")
    assert Path("out.tsv").read_bytes() == b"key\tvalue\na\t1\n"
    lsm.ok("import", "--header", "out.tsv")
    assert lsm.ok("scan") == b"a\t1\n"


def test_an_export_into_a_pipe_is_written_as_it_goes(lsm: Lsm) -> None:
    lsm.ok("put", "a", "1")
    os.mkfifo("pipe")
    reader = os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)
    lsm.ok("export", "pipe")
    assert os.read(reader, 100) == b"a\t1\n"
    os.close(reader)
    assert stat.S_ISFIFO(os.stat("pipe").st_mode)


def test_the_data_file_is_neither_source_nor_destination(lsm: Lsm) -> None:
    lsm.ok("put", "a", "1")
    before = lsm.path.read_bytes()
    assert "is the data file itself" in lsm.fails(2, "export", "t.lsm")
    assert "is the data file itself" in lsm.fails(2, "import", "./t.lsm")
    assert lsm.path.read_bytes() == before


def test_options_that_do_not_fit_the_format(lsm: Lsm) -> None:
    lsm.ok("put", "a", "1")
    lsm.fails(2, "import", "--format", "jsonl", "--header", stdin=b"{}")
    lsm.fails(2, "import", "--format", "tsv", "--value-format", "json", stdin=b"a\t1")
    lsm.fails(2, "export", "--format", "jsonl", "--header")
    lsm.fails(2, "export", "--format", "tsv", "--value-format", "json")
    assert "no such file" in lsm.fails(5, "import", "missing.tsv")
    assert "no such file" in lsm.fails(5, "export", "missing/out.tsv")
    assert "is a directory" in lsm.fails(5, "import", ".")
