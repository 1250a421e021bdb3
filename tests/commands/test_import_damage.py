"""Sources that are damaged, cut off or not what they seem, on the command line: the error with its line, exit code 6,
and a data file that is as it was, byte for byte. No tool should end in success while it loses data.
"""

import gzip
import lzma
import re
from pathlib import Path

import pytest

from tests.testing.command_line import Lsm

PLACE = re.compile(r"^Error: (\S+?):(\d+):(\d+): .*; nothing was imported$")

Pairs = list[tuple[bytes, bytes]]
PAIRS: Pairs = [(b"a", b"1"), (b"b\n", b'say "hi"'), (b"c\xff", b"")]


class Import:
    """A data file with one entry, and a source to import into it."""

    def __init__(self, lsm: Lsm) -> None:
        self.lsm = lsm
        lsm.ok("put", "before", "1")
        self.before = lsm.path.read_bytes()

    def refused(self, text: bytes, *options: str, name: str = "rows") -> tuple[int, str]:
        """The line and the message of the error with which a source is refused; the data file is as it was."""
        Path(name).write_bytes(text)
        message = self.lsm.fails(6, "import", *options, name)
        assert self.lsm.path.read_bytes() == self.before, message
        found = PLACE.match(message)
        if found is None:
            assert message.startswith(f"Error: {name}: "), message
            assert message.endswith("; nothing was imported"), message
            return 0, message
        assert found[1] == name
        return int(found[2]), message

    def taken(self, text: bytes, *options: str) -> dict[bytes, bytes]:
        """What is in a new data file once a source has been imported into it."""
        Path("taken").write_bytes(text)
        new = Lsm(Path("taken.lsm"), self.lsm._monkeypatch)
        new.path.unlink(missing_ok=True)
        new.ok("import", *options, "taken")
        items = new.ok("scan", "-0").split(b"\0")[:-1]
        return dict(zip(items[0::2], items[1::2], strict=True))


@pytest.fixture
def imported(lsm: Lsm) -> Import:
    return Import(lsm)


@pytest.mark.parametrize(
    ("name", "text", "line", "reason"),
    [
        ("ragged", b"a,1\nb\nc,3\n", 2, "instead of 2"),
        ("ragged, more", b"a,1\nb,2,3\n", 2, "fields"),
        ("empty line", b"a,1\n\nb,2\n", 2, "empty"),
        ("NUL", b"a,1\nb,\x002\n", 2, "NUL"),
        ("unterminated quote", b'a,1\nb,"2\nc,3\n', 2, "not closed"),
        ("text behind a quote", b'a,1\n"b"x,2\n', 2, "closing quote"),
        ("UTF-16", "a,1\nb,2\n".encode("utf-16-le"), 1, "NUL"),
    ],
)
def test_csv(imported: Import, name: str, text: bytes, line: int, reason: str) -> None:
    found, message = imported.refused(text, "--format", "csv")
    assert (found, reason in message) == (line, True), message


@pytest.mark.parametrize(
    ("options", "text", "line", "reason"),
    [
        ((), b"id,id,name\n1,2,3\n", 1, "twice"),
        (("--header",), b"x,x\n1,2\n", 1, "twice"),
        ((), b"id,name,age\n1,Ann\n", 2, "fields"),
        (("--key-column", "nowhere"), b"id,name\n1,Ann\n", 1, "nowhere"),
    ],
)
def test_csv_with_a_header(imported: Import, options: tuple[str, ...], text: bytes, line: int, reason: str) -> None:
    if not options:
        options = ("--key-column", "id")
    found, message = imported.refused(text, "--format", "csv", *options)
    assert (found, reason in message) == (line, True), message


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b'{"key": "b", "value": %s}\n' % (b"9" * 5000), ""),
        (b'{"key": "b", "value": %s}\n' % (b"[" * 100_000), ""),
        (b'{"key": "b", "value": NaN}\n', "NaN"),
        (b'{"key": "b", "value": "1", "key": "c"}\n', "twice"),
        (b'{"key": "b", "value": "\xff"}\n', "UTF-8"),
        (b'{"key": "b", "value": "\\ud800"}\n', "surrogate"),
        (b'{"key": "b", "value": "1"\n', ""),
        (b'{"key": "b"}\n', "value"),
        (b'{"key": {"$base64": true, "encoded": "A"}, "value": "1"}\n', "base64"),
        (b'{"key": "b", "value": "half', ""),
    ],
)
def test_json_lines(imported: Import, text: bytes, reason: str) -> None:
    good = b'{"key": "a", "value": "1"}\n'
    line, message = imported.refused(good + text, "--format", "jsonl")
    assert (line, reason in message) == (2, True), message
    if text.endswith(b"\n"):
        imported.refused(b"[" + good.rstrip() + b",\n" + text + b"]", "--format", "json")


DUMP = b"VERSION=3\nformat=%s\ntype=btree\nHEADER=END\n%sDATA=END\n"


@pytest.mark.parametrize(
    ("form", "data", "line", "reason"),
    [
        (b"bytevalue", b" 61\n 3\n", 5, ""),  # odd: mdb_load loads a part, db_load stores garbage, both with exit 0
        (b"bytevalue", b" 61\n 3g\n", 5, ""),
        (b"bytevalue", b" 61\n31\n", 6, "begin"),  # mdb_load takes nothing, and exits 0
        (b"bytevalue", b" 61\n", 6, "value is missing"),
        (b"bytevalue", b" 61\r\n 31\r\n", 5, ""),
        (b"print", b" a\\b\n 1\n", 5, ""),  # what mdb_dump 0.9.24 writes for a backslash, and cannot read
        (b"print", b" a\n \\g0\n", 5, ""),
    ],
)
def test_dumps_of_berkeley_db(imported: Import, form: bytes, data: bytes, line: int, reason: str) -> None:
    found, message = imported.refused(DUMP % (form, data))
    assert found in (line, line + 1), message
    assert reason in message


def test_upper_case_hex_gives_the_right_bytes(imported: Import) -> None:
    assert imported.taken(DUMP % (b"bytevalue", b" 6A4B\n fF\n")) == {b"jK": b"\xff"}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (b"0x61 ==> 0x31\n0x62 0x32\nKeys in range: 2\n", 2),  # ldb load ignores it, and exits 0
        (b"0x61 ==> 0x31\n0x6 ==> 0x32\nKeys in range: 2\n", 2),  # ldb dies of it
        (b"0x61 ==> 0x31\n0x6g ==> 0x32\nKeys in range: 2\n", 2),
        (b"0x61 ==> 0x31\nKeys in range: 2\n", 2),
        (b"0x61 ==> 0x31\n", 2),
    ],
)
def test_dumps_of_ldb(imported: Import, text: bytes, line: int) -> None:
    found, message = imported.refused(text, "--format", "ldb")
    assert found == line, message


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n*1\r\n$8\r\nFLUSHALL\r\n", 2),
        (b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$5\r\n1\r\n", 1),
    ],
)
def test_commands_of_redis(imported: Import, text: bytes, line: int) -> None:
    found, message = imported.refused(text, "--format", "resp")
    assert found == line, message


def test_marks_and_line_ends_of_other_systems_belong_to_no_key(imported: Import) -> None:
    for text, name in [(b"key,value\r\na,1\r\nb,2\r\n", "csv"), (b"a\t1\r\nb\t2\r\n", "tsv")]:
        assert imported.taken(text, "--format", name) == {b"a": b"1", b"b": b"2"}
        assert imported.taken(b"\xef\xbb\xbf" + text, "--format", name) == {b"a": b"1", b"b": b"2"}


EXPORTED = ["csv", "tsv", "jsonl", "json", "bdb", "lmdb", "ldb", "cdbmake", "resp", "nul", "arrow", "parquet"]
CUT_UNSEEN = {"csv", "tsv", "nul", "jsonl", "resp"}  # the end of a row may be the end of all: nothing follows the rows


@pytest.mark.parametrize("name", EXPORTED)
def test_a_source_that_is_cut_off_anywhere(imported: Import, name: str) -> None:
    """Either it is refused, or it is a source with fewer rows or a shorter last one, in formats without an end mark."""
    if name in ("arrow", "parquet"):
        pytest.importorskip("pyarrow")
    new = Lsm(Path("whole.lsm"), imported.lsm._monkeypatch)
    new.ok("put", *[word for key, value in PAIRS for word in ("hex:" + key.hex(), "hex:" + value.hex())])
    text = new.ok("export", "--format", name)
    assert imported.taken(text, "--format", name) == dict(PAIRS)
    step = max(1, len(text) // 150)
    cut_unseen = 0
    for size in range(0, len(text), step):
        Path("rows").write_bytes(text[:size])
        imported.lsm.path.write_bytes(imported.before)
        result = imported.lsm("import", "--format", name, "rows")
        if result.code == 6:
            assert result.err.splitlines()[-1].startswith("Error: rows:"), result
            assert imported.lsm.path.read_bytes() == imported.before, size
            continue
        assert result.code == 0, (size, result)
        items = imported.lsm.ok("scan", "-0").split(b"\0")[:-1]
        found = [pair for pair in zip(items[0::2], items[1::2], strict=True) if pair[0] != b"before"]
        if found == PAIRS:
            continue  # all but the last line end
        assert name in CUT_UNSEEN or size == 0, (size, result)
        cut_unseen += 1
        assert [pair[0] for pair in found] == [key for key, _ in PAIRS[: len(found)]], (size, found)
        assert found[:-1] == PAIRS[: len(found)][:-1], (size, found)
        if found:
            assert PAIRS[len(found) - 1][1].startswith(found[-1][1]), (size, found)
    assert (cut_unseen > 1) == (name in CUT_UNSEEN)


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress], ids=["gzip", "xz"])
def test_compressed_sources_that_are_damaged(imported: Import, compress) -> None:  # type: ignore[no-untyped-def]
    whole = compress(b"a\t1\nb\t2\n")
    assert imported.taken(whole, "--format", "tsv") == {b"a": b"1", b"b": b"2"}
    for size in range(6, len(whole)):
        imported.refused(whole[:size], "--format", "tsv")
    for at in range(len(whole) // 2, len(whole) - 1):
        imported.refused(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :], "--format", "tsv")
    imported.refused(whole + b"trailing", "--format", "tsv")
    assert imported.taken(whole + compress(b"c\t3\n"), "--format", "tsv") == {b"a": b"1", b"b": b"2", b"c": b"3"}


def test_a_format_that_nothing_tells(imported: Import) -> None:
    _, message = imported.refused(b"neither this nor that\n", name="rows.dat")
    assert "--format" in message
    imported.refused(bytes(range(256)), name="rows.dat")
