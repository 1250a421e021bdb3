"""export and checksum: several trees, ranges, compression, one state, and what is refused."""

import gzip
import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import lsmcli
from tests.testing.command_line import Lsm, process


@pytest.fixture
def filled(lsm: Lsm) -> Lsm:
    lsm.ok("put", "a", "1", "b", "2", "bc", "", "c", "3")
    lsm.ok("tree", "create", "users")
    lsm.ok("put", "-t", "users", "ada", "x")
    lsm.ok("tree", "create", "empty")
    return lsm


def test_a_range_is_written(filled: Lsm) -> None:
    assert filled.ok("export", "--from", "b", "--to", "c") == b"b\t2\nbc\t\n"
    assert filled.ok("export", "--prefix", "hex:62") == b"b\t2\nbc\t\n"
    assert "excludes" in filled.fails(2, "export", "--prefix", "b", "--to", "c")


def test_the_summary_has_the_checksum_of_what_was_written(filled: Lsm) -> None:
    for words in ([], ["--prefix", "b"], ["-t", "users"], ["--all-trees"], ["-t", "users", "-t", "main"]):
        checksum = filled.ok("checksum", *words).decode().strip()
        assert len(bytes.fromhex(checksum)) == 16
        name = "jsonl" if "-t" in words or "--all-trees" in words else "tsv"
        assert filled("export", "--format", name, *words).err.endswith(f" checksum={checksum}\n")


def test_checksum_tells_more_as_json(filled: Lsm) -> None:
    report = json.loads(filled.ok("checksum", "--all-trees", "--json"))
    assert [(tree["tree"], tree["entries"], tree["bytes"]) for tree in report["trees"]] == [
        ("empty", 0, 0), ("main", 4, 8), ("users", 1, 4),
    ]  # fmt: skip
    assert report["trees"][1]["checksum"] == filled.ok("checksum").decode().strip()
    assert report["checksum"] == filled.ok("checksum", "--all-trees").decode().strip()


def test_a_checksum_looks_into_an_open_scope_or_past_it(filled: Lsm) -> None:
    before = filled.ok("checksum")
    filled.ok("scope", "begin")
    filled.ok("put", "a", "2")
    assert filled.ok("checksum", "--committed") == before != filled.ok("checksum")
    assert filled.ok("export", "--committed").startswith(b"a\t1\n")
    assert filled.ok("export").startswith(b"a\t2\n")


def test_several_trees_need_a_format_that_can(filled: Lsm) -> None:
    error = filled.fails(2, "export", "--all-trees")
    assert "tsv cannot keep several trees apart" in error
    assert "jsonl" in error
    assert "excludes" in filled.fails(2, "export", "--all-trees", "-t", "users")
    assert "there is no tree 'nobody'" in filled.fails(2, "export", "-t", "nobody")


def test_options_go_with_formats(filled: Lsm) -> None:
    for text in ("--header --format json", "--delimiter ;", "--encoding base64", "--encoding hex --format csv"):
        assert "not for" in filled.fails(2, "export", *text.split())


def test_equal_contents_give_equal_bytes(filled: Lsm) -> None:
    other = Lsm(Path("other.lsm"), filled._monkeypatch)
    for key, value in (("c", "3"), ("bc", ""), ("x", "gone"), ("b", "0"), ("b", "2"), ("a", "1")):
        other.ok("put", key, value)
    other.ok("delete", "x")
    other.ok("compact")
    for name in ("tsv", "csv", "jsonl", "json"):
        assert other.ok("export", "--format", name) == filled.ok("export", "--format", name)


def test_a_name_that_ends_in_gz_is_compressed(filled: Lsm) -> None:
    filled.ok("export", "rows.csv.gz")
    once = Path("rows.csv.gz").read_bytes()
    assert gzip.decompress(once) == filled.ok("export", "--format", "csv")
    filled.ok("export", "rows.csv.gz")
    assert Path("rows.csv.gz").read_bytes() == once
    filled.ok("export", "rows.csv", "--compress", "gzip")
    assert Path("rows.csv").read_bytes() == once
    filled.ok("export", "plain.csv.gz", "--compress", "none")
    assert Path("plain.csv.gz").read_bytes() == gzip.decompress(once)


def test_a_counter_goes_to_standard_error_on_request(filled: Lsm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lsmcli.commands.progress.PLAIN_EVERY_S", 0.0)
    result = filled("export", "--progress", "plain")
    assert result.err.startswith("export: 100 %, 4 rows")


WRITER = """
import sys, lsmcli
database = lsmcli.open(sys.argv[1], "w", memory_size=1 << 18)
stamp = 1
print(flush=True)
while sys.stdin.read(1):
    stamp += 1
    database.put_many((b"key %06d" % i, b"%06d " % stamp * 10) for i in range(20_000))
    database.compact()
    print(flush=True)
database.close()
"""


@pytest.mark.slow
def test_an_export_is_one_state_while_a_writer_goes_on(tmp_path: Path) -> None:
    """The reader of the pipe waits for the writer between its reads: without a pin the export would be overtaken."""
    path = tmp_path / "busy.lsm"
    with lsmcli.open(path, block_size=4096, memory_size=1 << 18) as database:
        database.put_many((b"key %06d" % i, b"%06d " % 1 * 10) for i in range(20_000))
        database.compact()
    pipe = subprocess.PIPE
    command = [sys.executable, "-m", "lsmcli", str(path), "export"]
    with (
        subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdin=pipe, stdout=pipe) as writer,
        subprocess.Popen(command, stdout=pipe, stderr=pipe) as export,
    ):
        assert writer.stdin is not None and writer.stdout is not None
        assert export.stdout is not None and export.stderr is not None
        stderr = export.stderr
        writer.stdout.readline()
        found = export.stdout.read(1000)
        for _ in range(4):
            writer.stdin.write(b".")
            writer.stdin.flush()
            writer.stdout.readline()
            found += export.stdout.read(50_000)
        summary: list[bytes] = []
        reader = threading.Thread(target=lambda: summary.append(stderr.read()))
        reader.start()
        found += export.stdout.read()
        reader.join()
        writer.stdin.close()
    assert export.returncode == 0, summary
    assert summary[0].startswith(b"exported=20000 ")
    assert found == b"".join(b"key %06d\t%s\n" % (i, b"%06d " % 1 * 10) for i in range(20_000))


def test_a_full_device_and_a_closed_pipe_are_no_success(filled: Lsm) -> None:
    with open("/dev/full", "wb") as full:
        result = process(str(filled.path), "export", stdout=full)
    assert result.returncode == 5
    assert b"exported=" not in result.stderr
