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
    assert result.err.startswith(
        f"imported={len(model)} replaced=0 skipped=0 rejected=0 bytes={len(exported)} seconds="
    )
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


def test_json_values_go_in_and_out(lsm: Lsm) -> None:
    lsm.ok("import", "--value-format", "json", stdin=b'{"key": "a", "value": {"x": [1, 2]}}\n')
    assert lsm.ok("get", "a") == b'{"x":[1,2]}\n'
    assert lsm.ok("export", "--format", "jsonl", "--value-format", "json") == b'{"key": "a", "value": {"x":[1,2]}}\n'
    lsm.ok("put", "b", "text")
    Path("out.jsonl").write_bytes(b"as it was")
    assert "is not JSON" in lsm.fails(6, "export", "out.jsonl", "--value-format", "json")
    assert Path("out.jsonl").read_bytes() == b"as it was"
    assert os.listdir() == ["out.jsonl", "t.lsm"] or sorted(os.listdir()) == ["out.jsonl", "t.lsm"]


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
    lsm.fails(2, "export", "--format", "jsonl", "--header")
    lsm.fails(2, "export", "--format", "tsv", "--value-format", "json")
    assert "no such file" in lsm.fails(5, "import", "missing.tsv")
    assert "no such file" in lsm.fails(5, "export", "missing/out.tsv")
    assert "is a directory" in lsm.fails(5, "import", ".")
