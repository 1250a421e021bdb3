"""The formats of other stores on the command line: out of one data file and into another, nothing lost, and no way to
lose anything that ends with success. Each case is one in which a tool of another store does."""

from pathlib import Path

import pytest

import lsmcli
from tests.formats.test_stores import ALL_BYTES, AWKWARD
from tests.testing.command_line import Lsm

PAIRS = sorted(dict(ALL_BYTES + AWKWARD).items())
EXIT_USAGE, EXIT_INPUT = 2, 6


def fill(path: Path, pairs: list[tuple[bytes, bytes]], tree: str = "main") -> None:
    with lsmcli.open(path) as database:
        (database.tree(tree) if tree == "main" else database.create_tree(tree)).put_many(pairs)


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lsm:
    """A second data file."""
    return Lsm(tmp_path / "other.lsm", monkeypatch)


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        ("csv", "auto"), ("tsv", "auto"), ("jsonl", "auto"), ("json", "auto"), ("bdb", "hex"), ("bdb", "print"),
        ("lmdb", "hex"), ("ldb", "hex"), ("cdbmake", "auto"), ("resp", "auto"), ("parquet", "auto"), ("arrow", "auto"),
        ("arrow", "stream"),
    ],
)  # fmt: skip
def test_the_checksum_is_the_same_behind_every_format(
    lsm: Lsm, other: Lsm, tmp_path: Path, name: str, encoding: str
) -> None:
    if name in ("parquet", "arrow"):
        pytest.importorskip("pyarrow")
    fill(lsm.path, PAIRS)
    options = [] if encoding == "auto" else ["--encoding", encoding]
    file = tmp_path / "rows"  # its first bytes alone tell the format
    lsm.ok("export", "--format", name, *options, str(file))
    other.ok("import", str(file))
    assert other.ok("checksum") == lsm.ok("checksum")
    if name not in ("parquet", "arrow"):
        assert lsm.ok("export", "--format", name, *options) == file.read_bytes()


@pytest.mark.parametrize("name", ["bdb", "lmdb", "resp"])
def test_trees_keep_their_names(lsm: Lsm, other: Lsm, tmp_path: Path, name: str) -> None:
    fill(lsm.path, PAIRS)
    fill(lsm.path, [(b"k", b"of 7")], "7")
    lsm.ok("export", "--all-trees", "--format", name, str(tmp_path / "rows"))
    other.ok("import", str(tmp_path / "rows"))
    assert other.ok("checksum", "--all-trees") == lsm.ok("checksum", "--all-trees")


HEAD = b"VERSION=3\nformat=bytevalue\ntype=btree\nHEADER=END\n"
HEAD_PRINT = HEAD.replace(b"bytevalue", b"print")


@pytest.mark.parametrize(
    ("name", "text", "place"),
    [
        ("bdb", HEAD + b" 61\n 62\n", "7:1: the dump is cut off"),  # mdb_load, db_load: exit 0
        ("bdb", HEAD + b" 61\n 6\nDATA=END\n", "6:3: an odd number"),  # mdb_load: exit 0; db_load: garbage
        ("bdb", HEAD + b" 61\n62\nDATA=END\n", "6:1: '62' is no line of data"),  # mdb_load: exit 0
        ("bdb", HEAD_PRINT + b" a\\zz\n 1\nDATA=END\n", "5:3: a backslash"),  # mdb_load: exit 0, another key
        ("ldb", b"a ==> 1\nb 2\nKeys in range: 2\n", "2:4: no ' ==> '"),  # ldb load: exit 0
        ("ldb", b"0x61 ==> 0x6\nKeys in range: 1\n", "1:13: an odd number"),  # ldb --hex load: SIGABRT
        ("ldb", b"a ==> 1\n", "2:1: the dump is cut off"),  # ldb load: exit 0
        ("cdbmake", b"+1,1:a->1\n", "2:1: the stream is cut off"),
        ("resp", b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$5\r\n1\r\n", "1:25: the stream is cut off"),
        ("nul", b"a\0001", "1:1: the list is cut off"),
        ("arrow", b"\xff\xff\xff\xff\x10\x00\x00\x00", "1:1: damaged, or cut off"),
    ],
)
def test_what_others_lose_without_a_word_is_an_error_and_changes_nothing(
    lsm: Lsm, tmp_path: Path, name: str, text: bytes, place: str
) -> None:
    if name == "arrow":
        pytest.importorskip("pyarrow")
    source = tmp_path / "source"
    source.write_bytes(text)
    assert f"{source}:{place}" in lsm.fails(EXIT_INPUT, "import", "--format", name, str(source))
    assert not lsm.path.exists()
    fill(lsm.path, [(b"kept", b"1")])
    before = lsm.path.read_bytes()
    assert place in lsm.fails(EXIT_INPUT, "import", "--format", name, "-", stdin=text)
    assert lsm.path.read_bytes() == before


def test_upper_case_hex_is_the_same_bytes(lsm: Lsm) -> None:
    lsm.ok("import", "-", stdin=HEAD + b" 6A\n 4B\nDATA=END\n")  # db_load stores 6f and 4f
    assert lsm.ok("get", "j") == b"K\n"


def test_a_script_of_sql_is_not_taken_for_rows(lsm: Lsm, other: Lsm, tmp_path: Path) -> None:
    fill(lsm.path, PAIRS)
    lsm.ok("export", str(tmp_path / "rows.sql"))
    assert "only be written" in other.fails(EXIT_USAGE, "import", str(tmp_path / "rows.sql"))


def test_what_a_format_cannot_hold_leaves_the_old_file(lsm: Lsm, tmp_path: Path) -> None:
    fill(lsm.path, [(b"a", b"\x00")])
    dest = tmp_path / "rows.nul"
    dest.write_bytes(b"old")
    assert "holds a NUL" in lsm.fails(EXIT_INPUT, "export", str(dest))
    assert dest.read_bytes() == b"old"
