"""Lines of ldb: hex and plain are never confused, the count has to be right, and nothing is passed over."""

import pytest

from lsmcli.formats import InputError
from lsmcli.formats.rows import ReadOptions
from tests.formats.streams import Bad, error_of, pairs_read, read_with_bad, rows_read, written

LENIENT = ReadOptions(lenient=True)


def test_hex_is_written_as_ldb_writes_it() -> None:
    text = written("ldb", [(b"j\xff", b""), (b"k1", b"v1")])
    assert text == b"0x6AFF ==> 0x\n0x6B31 ==> 0x7631\nKeys in range: 2\n"


def test_plain_is_written_where_it_comes_back() -> None:
    pairs = [(b"k", b"a ==> b"), (b"l", b""), (b"\xff", b" \r")]
    text = written("ldb", pairs, encoding="plain")
    assert text == b"k ==> a ==> b\nl ==> \n\xff ==>  \r\nKeys in range: 3\n"
    assert pairs_read("ldb", text) == pairs


@pytest.mark.parametrize(
    ("pair", "reason"),
    [
        ((b"a\nb", b""), "a line end"),
        ((b"a", b"\n"), "a line end"),
        ((b"a ==> b", b""), "the delimiter"),
        ((b"a ==>", b" ==> b"), "the delimiter"),
        ((b"a ==", b"> b"), ""),
        ((b"Keys in range: 7", b""), "passes over"),
        ((b"Created bg thread 0x1", b""), "passes over"),
        ((b"0x41", b"0x42"), "looks like hex"),
        ((b"0x41", b"42"), ""),
    ],
)
def test_plain_is_not_written_where_it_is_ambiguous(pair: tuple[bytes, bytes], reason: str) -> None:
    if reason:
        with pytest.raises(InputError, match=reason):
            written("ldb", [pair], encoding="plain")
    else:
        assert pairs_read("ldb", written("ldb", [pair], encoding="plain")) == [pair]
    assert pairs_read("ldb", written("ldb", [pair])) == [pair]


def test_the_first_row_tells_hex_from_plain() -> None:
    text = b"Created bg thread 0x7f\nk ==> 0x\n0x41 ==> 0x42\nKeys in range: 2\n"
    for size in (1, 30, 1000):
        assert rows_read("ldb", text, size=size) == [(None, 2, b"k", b"0x"), (None, 3, b"0x41", b"0x42")]
    assert pairs_read("ldb", b"0x41 ==> 0x42\nKeys in range: 1\n") == [(b"A", b"B")]
    plain = ReadOptions(encoding="plain")
    assert pairs_read("ldb", b"0x41 ==> 0x42\nKeys in range: 1\n", plain) == [(b"0x41", b"0x42")]


def test_a_scan_of_an_old_ldb_is_read_with_its_delimiter() -> None:
    options = LENIENT._replace(delimiter=b" : ")
    assert pairs_read("ldb", b"k1 : v1\nk2 : a ==> b\n", options) == [(b"k1", b"v1"), (b"k2", b"a ==> b")]


@pytest.mark.parametrize(
    ("text", "line", "column", "reason"),
    [
        (b"", 1, 1, "cut off"),
        (b"a ==> 1\n", 2, 1, "ldb scan writes none"),
        (b"a ==> 1\nKeys in range: 1", 2, 1, "cut off"),
        (b"a ==> 1\nb ==> 2\nKeys in range: 1\n", 3, 1, "counts 1 keys and holds 2"),
        (b"a ==> 1\nKeys in range: 2\n", 2, 1, "counts 2 keys and holds 1"),
        (b"a ==> 1\nKeys in range: 1\nb ==> 2\n", 3, 1, "something follows"),
        (b"a ==> 1\nb = 2\nKeys in range: 2\n", 2, 6, "no ' ==> ' in the line"),
        (b"a ==> 1\n\nKeys in range: 2\n", 2, 1, "no ' ==> ' in the line"),
        (b"'6B31' seq:1, type:1 => 7631\nInternal keys in range: 1\n", 1, 29, "idump"),
        (b"0x41 ==> 0x4\nKeys in range: 1\n", 1, 13, "odd number"),
        (b"0x41 ==> 0x42\n0x4g ==> 0x\nKeys in range: 2\n", 2, 4, "'g' is no hex digit"),
        (b"0x41 ==> 0x42\n0x43 ==> 44\nKeys in range: 2\n", 2, 10, "no 0x"),
        (b"0x41 ==> 0x42\n43 ==> 0x44\nKeys in range: 2\n", 2, 1, "no 0x"),
        (b"0x41 ==> 0x42\r\nKeys in range: 1\r\n", 1, 14, "0x0d"),
        (b"0x ==> 0x42\nKeys in range: 1\n", 1, 1, "key is empty"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: bytes, line: int, column: int, reason: str) -> None:
    error = error_of("ldb", text)
    assert reason in error.reason
    assert (error.line, error.column) == (line, column)


def test_bad_rows_are_handed_over_and_counted() -> None:
    text = b"0x41 ==> 0x42\nnothing\n0x4 ==> 0x\n0x43 ==> 0x44\nKeys in range: 4\n"
    for size in (1, 20, 1000):
        good, bad = read_with_bad("ldb", text, size=size)
        assert good == [(b"A", b"B"), (b"C", b"D")]
        assert bad[0] == Bad(2, 8, "no ' ==> ' in the line", b"nothing")
        assert bad[1] == Bad(3, 4, "an odd number of hex digits", b"0x4 ==> 0x")
