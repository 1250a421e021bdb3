"""Tab-separated lines: written for cut and sort, read back byte for byte, strict about the rest."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsmcli.formats import InputError, tsv
from lsmcli.formats.rows import ReadOptions, Section, WriteOptions, columns_of

Pairs = list[tuple[bytes, bytes | None]]


def read(*pieces: bytes, header: bool = False) -> Pairs:
    found = list(tsv.read(pieces, ReadOptions(header=header)))
    return [pair for rows in found for pair in zip(rows.keys, rows.values, strict=True)]


def write(pairs: list[tuple[bytes, bytes]], header: bool = False) -> bytes:
    return b"".join(tsv.write([Section(None, columns_of(pairs))], WriteOptions(header=header)))


FIELDS = st.one_of(st.binary(max_size=12), st.text(max_size=8).map(lambda s: s.encode("utf-8", "surrogatepass")))


@given(st.lists(st.tuples(FIELDS.filter(bool), FIELDS), max_size=8))
def test_every_pair_comes_back(pairs: list[tuple[bytes, bytes]]) -> None:
    text = write(pairs)
    assert read(text) == pairs
    assert text.count(b"\n") == len(pairs)
    assert text.count(b"\t") == len(pairs)
    text.decode()


def test_many_chunks_come_back(rng: random.Random) -> None:
    pairs = [(b"%08d" % number, rng.randbytes(rng.randrange(20))) for number in range(5000)]
    assert read(write(pairs)) == pairs


def test_fields_that_are_valid_only_when_joined_are_escaped() -> None:
    # C3 ends one field and A9 begins the next: side by side they would pass for one character.
    pairs = [(b"a\xc3", b"\xa9b"), (b"\xc3", b"\xa9")]
    assert write(pairs) == b'"a\\xc3"\t"\\xa9b"\n"\\xc3"\t"\\xa9"\n'


def test_plain_fields_are_written_as_they_are() -> None:
    assert write([(b"a", b"1"), ("ä".encode(), b"x y\\z")]) == "a\t1\nä\tx y\\z\n".encode()


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        (b"", []),
        (b"a\t1\r\nb\t\r\n", [(b"a", b"1"), (b"b", b"")]),
        (b"\xef\xbb\xbfa\t1\n", [(b"a", b"1")]),
        (b"a\t\xff\n", [(b"a", b"\xff")]),
        (b'a\tsay "hi"\n', [(b"a", b'say "hi"')]),
        (b'"\\x61"\t"\\t"\n', [(b"a", b"\t")]),
        (b"a\\n\tb\\n\n", [(b"a\\n", b"b\\n")]),
    ],
)
def test_what_other_programs_write_is_read(text: bytes, pairs: Pairs) -> None:
    assert read(text) == pairs


def test_a_header_is_skipped_and_written() -> None:
    assert read(b"key\tvalue\na\t1\n", header=True) == [(b"a", b"1")]
    assert write([(b"a", b"1")], header=True) == b"key\tvalue\na\t1\n"


@pytest.mark.parametrize(
    ("text", "line", "column", "reason"),
    [
        (b"a\t1\nb\n", 2, 2, "no tab"),
        (b"a\t1\n\nb\t2\n", 2, 1, "empty"),
        (b"a\t1\t2\n", 1, 4, "second tab"),
        (b'a\t1\nb\t"x\n', 2, 3, "not closed"),
        (b'ab\t"x\\xzz"\n', 1, 6, "two hex digits"),
        (b'"a"b\t1\n', 1, 4, "follows"),
        (b"a\t1\nb\t2\tx\nc\n", 2, 4, "second tab"),
        (b"a\t1\nb\t2\x003\n", 2, 4, "NUL"),
        (b"a\t1\n\t2\n", 2, 1, "the key is empty"),
        (b"a\t1\nb\t2", 2, 4, "no line end"),
        (b'a\t1\nb\t"2"', 2, 6, "no line end"),
    ],
)
def test_a_bad_line_is_named(text: bytes, line: int, column: int, reason: str) -> None:
    for pieces in ([text], [text[index : index + 1] for index in range(len(text))]):
        with pytest.raises(InputError, match=reason) as error:
            read(*pieces)
        assert (error.value.line, error.value.column) == (line, column)


def test_a_line_after_the_header_is_counted_from_the_top() -> None:
    with pytest.raises(InputError) as error:
        read(b"key\tvalue\nbad\n", header=True)
    assert error.value.line == 2


def test_a_file_cut_anywhere_but_between_rows_is_noticed() -> None:
    text = write([(b"a", b"1"), (b"b\t", b'"\n'), (b"c", b"")])
    whole = {0: 0, 4: 1, len(text) - 3: 2}
    for size in range(len(text)):
        for header in (False, True):
            cut = b"key\tvalue\n" * header + text[:size]
            if size in whole:
                assert len(read(cut, header=header)) == whole[size]
            else:
                with pytest.raises(InputError):
                    read(cut, header=header)
    for size in range(1, 10):
        with pytest.raises(InputError, match="no line end"):
            read(b"key\tvalue\n"[:size], header=True)


def test_lenient_takes_what_may_have_been_cut_and_nul_bytes() -> None:
    rows = list(tsv.read([b"a\t\0\nb\t2"], ReadOptions(lenient=True)))
    assert [(part.keys, part.values) for part in rows] == [([b"a"], [b"\0"]), ([b"b"], [b"2"])]
