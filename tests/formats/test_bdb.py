"""Flat text of Berkeley DB and LMDB: sections, headers, and every way in which other tools lose data of it silently."""

import pytest

from lsmcli.formats import InputError, bdb
from lsmcli.formats.rows import ReadOptions, Section, WriteOptions
from tests.formats.streams import Bad, error_of, pairs_read, read_with_bad, rows_read, written

HEAD = b"VERSION=3\nformat=bytevalue\ntype=btree\nHEADER=END\n"
HEAD_PRINT = b"VERSION=3\nformat=print\ntype=btree\nHEADER=END\n"
LENIENT = ReadOptions(lenient=True)


def test_a_dump_is_written_as_db_load_wants_it() -> None:
    assert written("bdb", [(b"a\\", b""), (b"b", b"\xff")]) == HEAD + b" 615c\n \n 62\n ff\nDATA=END\n"
    assert written("bdb", [(b"a\\", b"\n")], encoding="print") == HEAD_PRINT + b" a\\5c\n \\0a\nDATA=END\n"


def test_the_flavour_for_lmdb_has_room_in_its_map() -> None:
    lines = written("lmdb", [(b"a", b"1")]).split(b"\n")
    assert lines[3:6] == [b"mapsize=1099511627776", b"maxreaders=126", b"HEADER=END"]


def test_trees_are_sections() -> None:
    sections = [Section(b"main", [([b"a"], [b"1"])]), Section(b"users", []), Section(b"x y", [([b"a"], [b"2"])])]
    text = b"".join(bdb.write(sections, WriteOptions(name="bdb")))
    assert text.count(b"DATA=END\n") == 3
    for size in (1, 5, 1000):
        assert rows_read("bdb", text, size=size) == [(b"main", 6, b"a", b"1"), (b"x y", 20, b"a", b"2")]


def test_sections_may_differ_in_their_format() -> None:
    # mdb_load 0.9.24 keeps the format of the first section for all of them, and stores the digits as data.
    text = HEAD_PRINT + b" 61\n 62\nDATA=END\n" + HEAD + b" 61\n 62\nDATA=END\n"
    assert pairs_read("bdb", text) == [(b"61", b"62"), (b"a", b"b")]


def test_either_case_of_hex_is_read_as_the_same_bytes() -> None:
    # db_load 5.3 stores 6f 4f for 6A 4B.
    assert pairs_read("bdb", HEAD + b" 6A\n 4B\n 6b\n 4b\nDATA=END\n") == [(b"j", b"K"), (b"k", b"K")]


def test_blanks_at_either_end_are_data() -> None:
    assert pairs_read("bdb", HEAD_PRINT + b"  a \n  \nDATA=END\n") == [(b" a ", b" ")]


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        (b"", 1, "before HEADER=END"),
        (b"VERSION=3\n", 2, "before HEADER=END"),
        (b"VERSION=2\nHEADER=END\n", 1, "VERSION=3 is missing"),
        (b"hello\n", 1, "VERSION=3 is missing"),
        (b"VERSION=3\r\n", 1, "CR LF"),
        (b"VERSION=3\nHEADER=END\n", 2, "bytevalue or print"),
        (b"VERSION=3\nformat=hex\n", 2, "bytevalue or print"),
        (b"VERSION=3\ntype=recno\n", 2, "btree or hash"),
        (b"VERSION=3\nfromat=print\n", 2, "nothing of that name"),
        (b"VERSION=3\nformat\n", 2, "name=value"),
        (b"VERSION=3\nformat=print\nformat=print\n", 3, "second time"),
        (b"VERSION=3\ndatabase=\n", 2, "name of a tree"),
        (b"VERSION=3\nduplicates=1\n", 2, "--lenient"),
        (b"VERSION=3\nformat=print\ndupsort=1\n", 3, "--lenient"),
        (HEAD, 5, "before DATA=END"),
        (HEAD + b" 61\n 62\n", 7, "before DATA=END"),
        (HEAD + b" 61\n 62\nDATA=EN", 7, "cut off"),
        (HEAD + b" 61\n 62\nDATA=END", 7, "cut off"),
        (HEAD + b" 61\n 6", 6, "cut off"),
        (HEAD + b" 61\nDATA=END\n", 6, "a value is missing"),
        (HEAD + b" 61\n62\nDATA=END\n", 6, "begins with a space"),
        (HEAD + b" 61\n 62\n\n 63\n 64\nDATA=END\n", 7, "begins with a space"),
        (HEAD + b" 61\n 62\nDATA=END\n 63\n 64\n", 8, "VERSION=3 is missing"),
        (HEAD + b" 61\n 6\nDATA=END\n", 6, "odd number"),
        (HEAD + b" 6x\n 61\nDATA=END\n", 5, "'x' is no hex digit"),
        (HEAD + b" 61\r\n 62\r\nDATA=END\n", 5, "0x0d is no hex digit"),
        (HEAD + b" \n 61\nDATA=END\n", 5, "key is empty"),
        (HEAD_PRINT + b" a\n b\nDATA=END\r\n", 7, "DATA=END"),
        (HEAD_PRINT + b" a\r\n b\r\nDATA=END\n", 5, "0x0d stands unescaped"),
        (HEAD_PRINT + b" a\\b\n c\nDATA=END\n", 5, "backslash"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: bytes, line: int, reason: str) -> None:
    error = error_of("bdb", text)
    assert error.line == line
    assert reason in error.reason


def test_the_column_of_a_wrong_digit_is_told() -> None:
    error = error_of("bdb", HEAD + b" 61\n 62\n 63\n 6g\nDATA=END\n")
    assert (error.line, error.column) == (8, 3)


def test_bad_rows_are_handed_over_and_the_rest_is_read() -> None:
    text = HEAD + b" 61\n 62\n 6\n 63\n 64\n 6z\n \n 65\n" + b"66" * 5000 + b"\n"
    text = text.replace(b"\n6666", b"\n 6666") + b" 67\n 68\n 69\nDATA=END\n"
    for size in (1, 3, 1 << 20):
        good, bad = read_with_bad("bdb", text, size=size)
        assert good == [(b"a", b"b"), (b"h", b"i")]
        assert [(row.line, row.column) for row in bad] == [(7, 3), (10, 3), (11, 2), (13, 2)]
        assert bad[0] == Bad(7, 3, "an odd number of hex digits", b" 6\n 63")


def test_a_missing_space_is_never_passed_over() -> None:
    # Were it only a bad row, the keys and values behind it would change places.
    with pytest.raises(InputError, match="space"):
        read_with_bad("bdb", HEAD + b"61\n 62\n 63\n 64\n65\n 66\nDATA=END\n")


def test_lenient_takes_duplicates_and_the_backslash_of_an_old_mdb_dump() -> None:
    text = HEAD_PRINT.replace(b"type", b"dupsort=1\ntype") + b" a\\z\n 1\n a\\z\n 2\nDATA=END\n"
    assert pairs_read("bdb", text, LENIENT) == [(b"a\\z", b"1"), (b"a\\z", b"2")]


def test_what_mdb_load_would_refuse_is_not_written() -> None:
    with pytest.raises(InputError, match="at most 511") as caught:
        written("lmdb", [(b"a", b""), (b"k" * 512, b"")])
    assert caught.value.line == 2
    assert written("bdb", [(b"k" * 512, b"")])


def test_a_tree_whose_name_is_no_line_is_not_written() -> None:
    with pytest.raises(InputError, match="does not fit into a line"):
        written("bdb", [], tree=b"a\nb")
