"""Formats are told by content and by name, and nobody guesses where neither tells."""

from importlib.util import find_spec

import pytest

from lsmcli.formats import FORMATS, InputError
from lsmcli.formats.detect import (
    ENDINGS_COMPRESSED,
    SIGNATURES,
    compression_of_dest,
    format_of_dest,
    format_of_source,
)

# The first bytes of sources as their own programs write them.
HEADS = [
    ("parquet", b"PAR1\x15\x04\x15"),
    ("arrow", b"ARROW1\0\0"),
    ("arrow", b"\xff\xff\xff\xff\x80\x00\x00\x00"),
    ("bdb", b"VERSION=3\nformat=bytevalue\ntype=btree\nHEADER=END\n 61\n 31\nDATA=END\n"),
    ("cdbmake", b"+1,1:a->1\n\n"),
    ("cdbmake", b"\n"),
    ("resp", b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n"),
    ("resp", b"SET a 1\r\n"),
    ("resp", b"set a 1\n"),
    ("resp", b'MSET a 1 b "2 3"'),
    ("resp", b"DEL a\n"),
    ("ldb", b"0x61 ==> 0x31\nKeys in range: 1\n"),
    ("ldb", b"a ==> 1\n"),
    ("ldb", b"a, b ==> 1\n"),
    ("json", b'[{"key":"a","value":"1"}]'),
    ("json", b"\n [\n]"),
    ("jsonl", b'{"key":"a","value":"1"}\n'),
    ("jsonl", b'\n{"key":"a, b","value":"1"}\n'),
    ("tsv", b"a\t1\n"),
    ("tsv", b"a,b\t1\n"),
    ("tsv", b'"\\x00"\t\n'),
    ("tsv", b"SET a\t1\n"),
    ("nul", b"a\x001\x00b\x002\x00"),
    ("nul", b"a\x00two\nlines\x00\xc3\xa9"),
    ("csv", b"a,1\n"),
    ("csv", b"key,value\n"),
    ("csv", b'"a","b c"\n'),
    ("csv", b"a;1\n"),
    ("tsv", b""),
]


@pytest.mark.parametrize(("name", "head"), HEADS)
def test_content_tells(name: str, head: bytes) -> None:
    assert format_of_source("-", head) == name
    assert format_of_source("rows.unknown", head) == name
    if head and not head.startswith(b"\xff"):
        assert format_of_source("-", b"\xef\xbb\xbf" + head) == name


@pytest.mark.parametrize(("name", "head"), HEADS)
def test_the_ending_of_the_right_format_never_hides_it(name: str, head: bytes) -> None:
    for signature in SIGNATURES:
        if signature.name == name:
            for ending in signature.endings:
                assert format_of_source(f"Where.d/rows{ending.upper()}", head) == name
                assert format_of_source(f"rows{ending}.gz", head) == name


@pytest.mark.parametrize(
    ("path", "head", "name"),
    [
        ("rows.csv", b"SET a 1\n", "resp"),  # no comma: what it is, it is not CSV
        ("rows.csv", b"SET a,1\n", "csv"),
        ("rows.csv", b"a ==> b,c\n", "csv"),
        ("rows.tsv", b"a ==> b\tc\n", "tsv"),
        ("rows.tsv", b"[1]\tc\n", "tsv"),
        ("rows.csv", b'"{","x"\n', "csv"),
        ("rows.json", b'{"key":"a","value":"1"}\n', "jsonl"),
        ("rows.jsonl", b'[{"key":"a","value":"1"}]', "json"),
        ("rows.csv", b"PAR1\x15\x04", "parquet"),
        ("rows.txt", b"VERSION=3\n", "bdb"),
        ("rows.csv", b"only words\n", "csv"),
        ("rows.tsv", b"", "tsv"),
        ("rows.csv.zst", b"", "csv"),
        ("rows.jsonl", b"", "jsonl"),
    ],
)
def test_name_and_content_together(path: str, head: bytes, name: str) -> None:
    assert format_of_source(path, head) == name


def test_nobody_guesses() -> None:
    with pytest.raises(InputError, match="add --format") as error:
        format_of_source("-", b"only words\n")
    assert str(error.value).startswith("input: neither")
    assert all(name in error.value.reason for name in FORMATS)


@pytest.mark.parametrize(
    "head",
    [
        b"PK\x03\x04\x14\0\0\0",
        b"SQLite format 3\0\x10\0\x01\x01\0",
        b"BZh91AY&SY\0\x01",
        b"\x7fELF\x02\x01\x01\0\0",
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    ],
)
def test_what_is_no_list_of_rows_is_not_taken_for_one(head: bytes) -> None:
    with pytest.raises(InputError, match="add --format"):
        format_of_source("-", head)


def test_utf_16_is_told_apart() -> None:
    for encoding in ("utf-16-le", "utf-16-be"):
        with pytest.raises(InputError, match="iconv"):
            format_of_source("rows.csv", "\ufeffa,1\n".encode(encoding))


@pytest.mark.parametrize(
    ("path", "name", "compression"),
    [
        ("rows.tsv", "tsv", None),
        ("a.b/rows.CSV.GZ", "csv", "gzip"),
        ("rows.jsonl.zst", "jsonl", "zstd"),
        ("rows.json.xz", "json", "xz"),
        ("rows.lmdb", "lmdb", None),
        ("rows.sql", "sql", None),
        ("rows.gz", None, "gzip"),
        ("csv", None, None),
        ("-", None, None),
    ],
)
def test_a_destination_is_told_by_its_ending(path: str, name: str | None, compression: str | None) -> None:
    assert format_of_dest(path) == name
    assert compression_of_dest(path) == compression


def test_every_format_has_one_signature() -> None:
    assert sorted(signature.name for signature in SIGNATURES) == sorted(FORMATS)
    endings = [ending for signature in SIGNATURES for ending in signature.endings]
    assert len(set(endings)) == len(endings) - 1  # .json is of two: arrays and lines
    assert not set(endings) & set(ENDINGS_COMPRESSED)


def test_the_formats_of_text_are_there() -> None:
    for name in ("csv", "tsv", "json", "jsonl"):
        assert find_spec(FORMATS[name])
