"""CSV: every byte comes back, a bad row is named with its place, and no row is filled up, cut or split wrongly."""

import csv as peer
import io
import random
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsmcli.engine.constants import MIB
from lsmcli.formats import InputError, csv
from lsmcli.formats.rows import ReadOptions, Section, WriteOptions, columns_of
from tests.formats.streams import Bad, error_of, pairs_read, read_with_bad, rows_read

Pairs = list[tuple[bytes, bytes]]

FIELDS = st.one_of(
    st.binary(max_size=12),
    st.text(max_size=8).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.text(alphabet='",\r\n\0\ufeffa', max_size=6).map(str.encode),
)
PAIRS = st.lists(st.tuples(FIELDS.filter(bool), FIELDS), max_size=8)


def written(pairs: Pairs, **options: Any) -> bytes:
    return b"".join(csv.write([Section(None, columns_of(pairs))], WriteOptions(**options)))


@settings(max_examples=50)
@given(PAIRS, st.sampled_from([None, b";", b"\t", b"|", b"-"]), st.sampled_from(["auto", "base64"]))
def test_every_pair_comes_back(pairs: Pairs, delimiter: bytes | None, encoding: str) -> None:
    text = written(pairs, delimiter=delimiter, encoding=encoding)
    options = ReadOptions(delimiter=delimiter)
    assert pairs_read("csv", text, options) == pairs
    assert pairs_read("csv", text, options, size=1) == pairs


@settings(max_examples=50)
@given(PAIRS)
def test_every_pair_comes_back_without_a_header(pairs: Pairs) -> None:
    assert pairs_read("csv", written(pairs, header=False), ReadOptions(header=False)) == pairs


def test_every_short_mix_of_awkward_bytes_comes_back_and_the_module_csv_reads_the_same() -> None:
    alphabet = [b'"', b",", b"\r", b"\n", b"a", b"\xff"]
    fields = [b"".join(parts) for length in range(4) for parts in product(alphabet, repeat=length)]
    pairs = [(b"k" + field, fields[-index]) for index, field in enumerate(fields)]
    text = written(pairs)
    assert pairs_read("csv", text) == pairs
    rows = list(peer.reader(io.StringIO(text.decode("latin-1"), newline="")))[1:]
    assert [tuple(field.encode("latin-1") for field in row) for row in rows] == pairs


def test_what_the_module_csv_writes_is_read(rng: random.Random) -> None:
    rows = [(f"k{number}", "".join(rng.choices('ab",\r\n é', k=rng.randrange(9)))) for number in range(3000)]
    for quoting in (peer.QUOTE_ALL, peer.QUOTE_MINIMAL):
        stream = io.StringIO(newline="")
        peer.writer(stream, quoting=quoting).writerows([("key", "value"), *rows])
        text = stream.getvalue().encode()
        for size in (7, 1000, 1 << 20):
            assert pairs_read("csv", text, size=size) == [(key.encode(), value.encode()) for key, value in rows]


def test_what_is_written() -> None:
    pairs = [(b"a", b"1"), (b"b c", b""), (b'say "hi"', b"x,y"), (b"n", b"a\nb"), (b"\xff", b"\0")]
    assert written(pairs) == b'key,value\na,1\nb c,\n"say ""hi""","x,y"\nn,"a\nb"\n\xff,"\0"\n'
    assert written(pairs[:1], header=False) == b"a,1\n"
    assert written([(b"\xff", b"")], encoding="base64") == b"key_b64,value_b64\n/w==,\n"
    assert written([(b"a,b", b"a;b")], delimiter=b";") == b'key;value\na,b;"a;b"\n'
    assert written([]) == b"key,value\n"


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        (b"", []),
        (b"key,value\n", []),
        (b"Key,Value\r\na,1\r\nb,2\r\n", [(b"a", b"1"), (b"b", b"2")]),
        (b"\xef\xbb\xbfkey,value\na,1\n", [(b"a", b"1")]),
        (b'\xef\xbb\xbf"key","value"\n"a","1"\n', [(b"a", b"1")]),
        (b'"\xef\xbb\xbfa",1\n', [(b"\xef\xbb\xbfa", b"1")]),
        (b"id,name\n7,Ann\n", [(b"id", b"name"), (b"7", b"Ann")]),
        (b"a,\xff\xfe\n", [(b"a", b"\xff\xfe")]),
        (b'a,"1\r\n2"\r\n', [(b"a", b"1\r\n2")]),
        (b'a, "\n'.replace(b' "', b' x"'[:2]), [(b"a", b" x")]),
        (b'"a","x\0y"\n', [(b"a", b"x\0y")]),
        (b"key_b64,value_b64\nAP8=,\n", [(b"\0\xff", b"")]),
    ],
)
def test_what_other_programs_write_is_read(text: bytes, pairs: Pairs) -> None:
    assert pairs_read("csv", text) == pairs
    assert pairs_read("csv", text, size=1) == pairs


@pytest.mark.parametrize(
    ("text", "line", "column", "reason"),
    [
        (b"a,1\nb\n", 2, 2, "1 field instead of 2"),
        (b"a,1\nb,2,3\n", 2, 5, "3 fields instead of 2"),
        (b'a,1\n"b\n,","2",3\n', 3, 8, "3 fields instead of 2"),
        (b"a,1\n\nb,2\n", 2, 1, "the line is empty"),
        (b"a,1\nb,2\n\n", 3, 1, "the line is empty"),
        (b"a,1\n,2\n", 2, 1, "the key is empty"),
        (b"a,1\n" + b"k" * 5000 + b",2\n", 2, 1, "the key has 5000 bytes"),
        (b"a,1\nb,\0\n", 2, 3, "a NUL byte"),
        (b"a\0,1\n", 1, 1, "a NUL byte"),
        (b"a,1\nb,2\rc,3\n", 2, 3, "a carriage return"),
        (b'a,1\nb,5" disk\n', 2, 3, "a quote inside a field"),
        (b'a,1\nb, "x"\n', 2, 3, "a quote inside a field"),
        (b'a,1\n"b"x,2\n', 2, 1, "text follows the closing quote"),
        (b'a,1\nb,"2\nc,3\n', 2, 3, "a double quote is not closed"),
        (b'a,1\n"b\nc\n', 2, 1, "a double quote is not closed"),
        (b'a,"', 1, 3, "a double quote is not closed"),
        (b'a,"x""', 1, 3, "a double quote is not closed"),
        (b"a,1\nb,2", 2, 4, "no line end"),
        (b"a,1\nb,2\r", 2, 4, "no line end"),
        (b'a,1\nb,"2"', 2, 6, "no line end"),
        (b"key,value", 1, 10, "no line end"),
        (b"a\n", 1, 2, "only one field"),
        (b"a;1\nb;2\n", 1, 4, "only one field"),
        (b"a,b,c\n1,2,3\n", 1, 1, "3 columns: choose with --key-column"),
    ],
)
def test_a_bad_row_is_named(text: bytes, line: int, column: int, reason: str) -> None:
    for size in (1, 3, 1000):
        with pytest.raises(InputError, match=reason) as error:
            pairs_read("csv", text, size=size)
        assert (error.value.line, error.value.column) == (line, column)


def test_bad_rows_are_handed_over_and_the_others_read() -> None:
    text = b'a,1\nbad\n\nb,"2\n3"\n"x"y,1\nc,4\n"m\nn",5,6\nd,"7"\n'
    for size in (1, 5, 1000):
        found, bad = read_with_bad("csv", text, size=size)
        assert found == [(b"a", b"1"), (b"b", b"2\n3"), (b"c", b"4"), (b"d", b"7")]
        assert bad == [
            Bad(2, 4, "1 field instead of 2", b"bad"),
            Bad(3, 1, "the line is empty", b""),
            Bad(6, 1, "text follows the closing quote of a field", b'"x"y,1'),
            Bad(9, 6, "3 fields instead of 2", b'"m\nn",5,6'),
        ]


def test_an_open_quote_is_no_bad_row_but_the_end() -> None:
    with pytest.raises(InputError, match="not closed"):
        read_with_bad("csv", b'a,1\nb,"2\nc,3\n')


def test_lines_and_offsets_are_those_of_the_source() -> None:
    text = b'key,value\r\na,1\r\n"b\nc",2\r\nd,"x\ny"\r\ne,5\n'
    for size in (1, 1000):
        assert [line for _, line, _, _ in rows_read("csv", text, size=size)] == [2, 3, 5, 7]
    *_, last = csv.read([text], ReadOptions())
    assert last.end == len(text)


def test_lenient_takes_quotes_and_nuls_as_they_stand() -> None:
    options = ReadOptions(lenient=True)
    assert pairs_read("csv", b'a,5" disk\nb,\0\nc,3', options) == [(b"a", b'5" disk'), (b"b", b"\0"), (b"c", b"3")]


def test_a_file_cut_anywhere_but_between_rows_is_noticed() -> None:
    pairs = [(b"a", b"1"), (b"b,\n", b'"'), (b"c", b"")]
    text = written(pairs)
    whole = {len(b"key,value\n"): 0, len(text) - 3: 2, len(b"key,value\na,1\n"): 1, 0: 0}
    for size in range(len(text)):
        if size in whole:
            assert pairs_read("csv", text[:size]) == pairs[: whole[size]]
        else:
            assert error_of("csv", text[:size]).line
            assert error_of("csv", text[:size].replace(b"\n", b"\r\n")).line


def test_a_field_of_many_megabytes_is_read_and_an_open_quote_does_not_hold_all_copies() -> None:
    large = (b"x" * 97 + b'\n"') * (MIB // 8)
    assert pairs_read("csv", written([(b"a", large), (b"b", b"")])) == [(b"a", large), (b"b", b"")]
    text = b'a,1\nb,"2\n' + b"c,3\n" * (MIB // 2)
    assert error_of("csv", text).line == 2


def test_many_blocks_come_back_fast_path_and_careful_path_in_turn(rng: random.Random) -> None:
    pairs = [(b"%08d" % number, b"v" * rng.randrange(30)) for number in range(20_000)]
    for number in range(0, 20_000, 4001):
        pairs[number] = (pairs[number][0], b'a "quoted"\nvalue')
    text = written(pairs)
    for size in (5000, 64_000):
        found = rows_read("csv", text, size=size)
        assert [(key, value) for _, _, key, value in found] == pairs
        assert found[-1][1] == text.count(b"\n")


@pytest.mark.parametrize("delimiter", [b"", b",,", b'"', b"\n", b"\0"])
def test_a_delimiter_is_one_byte_that_means_nothing_else(delimiter: bytes) -> None:
    assert "the delimiter" in error_of("csv", b"a,1\n", ReadOptions(delimiter=delimiter)).reason


@pytest.mark.parametrize(
    "options", [ReadOptions(), ReadOptions(key="1", value="2", header=True), ReadOptions(lenient=True)]
)
def test_the_three_paths_say_the_same(
    rng: random.Random, monkeypatch: pytest.MonkeyPatch, options: ReadOptions
) -> None:
    """Plain rows, well-formed rows with quotes and all others, in turn, against the careful path alone."""
    good = [b"a,1\n", b'"b",2\n', b'c,"x\ny"\n', b'"d ""q""","\r\n"\r\n', b"e,\n", b'"f","\0"\n']
    bad = [b"\n", b"x\n", b'g"h,1\n', b'"i"j,1\n', b"k,\0\n", b"l,1,2\n", b",1\n", b"m\rn,1\n", b'"o"\n']
    for _ in range(60):
        source = b"a,1\n" + b"".join(rng.choices([*good, *good, *good, rng.choice(bad)], k=40))
        monkeypatch.setattr("lsmcli.formats.csv._CAREFUL_SIZE", rng.choice([1, 30, 200]))
        quick = [read_with_bad("csv", source, options, size=size) for size in (3, 50, 1 << 20)]
        lines = rows_read("csv", source, options._replace(on_bad=lambda error, raw: None))
        with monkeypatch.context() as patched:
            patched.setattr("lsmcli.formats.csv._rows_plain", lambda *_: None)
            patched.setattr("lsmcli.formats.csv._rows_quoted", lambda *_: None)
            assert quick == [read_with_bad("csv", source, options)] * 3
            assert lines == rows_read("csv", source, options._replace(on_bad=lambda error, raw: None))
