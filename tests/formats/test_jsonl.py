"""JSON lines: always valid JSON, every byte back, and strict where JSON is loose."""

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsmcli.formats import InputError, jsonl
from lsmcli.formats.rows import ReadOptions, Section, WriteOptions, columns_of
from tests.formats.streams import error_of, pairs_read, read_with_bad, rows_read

Pairs = list[tuple[bytes, bytes | None]]


def read(*pieces: bytes, values: str = "bytes") -> Pairs:
    found = list(jsonl.read(pieces, ReadOptions(value_format=values)))
    return [pair for rows in found for pair in zip(rows.keys, rows.values, strict=True)]


def write(pairs: list[tuple[bytes, bytes]], values: str = "bytes", ascii_only: bool = False) -> bytes:
    return b"".join(
        jsonl.write([Section(None, columns_of(pairs))], WriteOptions(value_format=values, ascii_only=ascii_only))
    )


FIELDS = st.one_of(st.binary(max_size=12), st.text(max_size=8).map(lambda s: s.encode("utf-8", "surrogatepass")))


@given(st.lists(st.tuples(FIELDS.filter(bool), FIELDS), max_size=8), st.booleans())
def test_every_pair_comes_back(pairs: list[tuple[bytes, bytes]], ascii_only: bool) -> None:
    text = write(pairs, ascii_only=ascii_only)
    assert read(text) == pairs
    lines = text.decode().split("\n")[:-1]
    assert len(lines) == len(pairs)
    assert all(json.loads(line).keys() == {"key", "value"} for line in lines)
    assert text.isascii() or not ascii_only


def test_bytes_beyond_utf8_are_base64() -> None:
    assert write([(b"\x00\xff", b"\xc3\xa9")]) == (
        '{"key": {"$base64": true, "encoded": "AP8="}, "value": "é"}\n'.encode()
    )


def test_values_as_json_are_embedded_and_stored_compactly() -> None:
    assert read(b'{"key": "a", "value": {"x": [1, null, "\xc3\xa9"]}}\n', values="json") == [
        (b"a", '{"x":[1,null,"é"]}'.encode())
    ]
    assert write([(b"a", b'{"x":[1]}')], values="json") == b'{"key": "a", "value": {"x":[1]}}\n'
    with pytest.raises(InputError, match="is not JSON") as error:
        write([(b"a", b"1"), (b"b", b"text")], values="json")
    assert error.value.line == 2


def test_a_deleted_row_has_no_value() -> None:
    assert read(b'{"key": "a", "deleted": true}\n') == [(b"a", None)]


def test_blank_lines_are_passed_over_and_counted() -> None:
    rows = list(jsonl.read([b'\n{"key":"a","value":""}\n\n \n{"key":"b","value":""}\n\n'], ReadOptions()))
    assert [found for part in rows for found in zip(part.lines, part.keys, strict=True)] == [(2, b"a"), (5, b"b")]


@pytest.mark.parametrize(
    ("text", "column", "reason"),
    [
        (b'{"key": "a", "value": "1"', 26, "not JSON"),
        (b'{"key": "\xc3\xa9", "value": x}', 24, "not JSON"),
        (b'{"key": "a", "value": "1"} x', 28, "text follows"),
        (b"[1]", 1, "a row is an object"),
        (b'{"key": "a", "key": "b", "value": ""}', 21, "occurs twice"),
        (b'{"key": "a", "value": NaN}', 23, "NaN is not JSON"),
        (b'{"key": "a", "value": 1e999}', 23, "beyond the largest double"),
        (b'{"key": "a", "value": {"x": {"y": 1, "y": 2}}}', 23, "occurs twice"),
        (b'{"key": "a", "value": 1}', 23, "not a string"),
        (b'{"key": 1, "value": ""}', 9, '"key" is not a string'),
        (b'{"value": ""}', 1, 'no "key"'),
        (b'{"key": "a"}', 1, 'no "value"'),
        (b'{"key": "a", "value": "", "deleted": true}', 38, "instead of"),
        (b'{"key": "a", "deleted": false}', 25, "instead of"),
        (b'{"key": "a", "value": "", "ttl_ms": 5}', 37, "unknown member 'ttl_ms'"),
        (b'{"key": "\\ud800", "value": ""}', 1, "surrogate"),
        (b'{"key": "a", "value": "\xff"}', 24, "not UTF-8"),
        (b'{"key": "a", "value": {"$base64": true, "encoded": "AP8"}}', 23, "not base64"),
        (b'{"key": "a", "value": {"$base64": true, "encoded": 5}}', 23, "not base64"),
        (b'{"key": "a", "value": ' + b"9" * 5000 + b"}", 23, "too many digits"),
        (b'{"key": "a", "value": ' + b"[" * 100_000, 23, "nested too deeply"),
    ],
)
def test_a_bad_row_is_named(text: bytes, column: int, reason: str) -> None:
    with pytest.raises(InputError, match=reason) as error:
        read(b'{"key": "first", "value": ""}\n' + text + b"\n")
    assert (error.value.line, error.value.column) == (2, column)


def test_a_file_cut_anywhere_is_noticed_unless_whole_rows_remain() -> None:
    text = write([(b"a", b"1"), (b"\xff", b"2")])
    ends = {index + 1 for index, byte in enumerate(text) if byte == 10}
    for cut in range(1, len(text)):
        if cut in ends or cut + 1 in ends:
            read(text[:cut])
        else:
            with pytest.raises(InputError):
                read(text[:cut])


COLUMNS = b'{"id": 7, "name": "Ann", "tags": [1.10, "x"]}\n'


@pytest.mark.parametrize(
    ("options", "pair"),
    [
        ({"key": "id"}, (b"7", b'{"name":"Ann","tags":[1.10,"x"]}')),
        ({"key": "name", "value": "*"}, (b"Ann", b'{"id":7,"name":"Ann","tags":[1.10,"x"]}')),
        ({"key": "id", "value": "name"}, (b"7", b"Ann")),
        ({"key": "id", "value": "tags", "value_format": "json"}, (b"7", b'[1.10,"x"]')),
        ({"key_template": "{name}/{id}"}, (b"Ann/7", b'{"tags":[1.10,"x"]}')),
    ],
)
def test_columns_of_one_s_own_choice(options: dict[str, Any], pair: tuple[bytes, bytes]) -> None:
    assert pairs_read("jsonl", COLUMNS, ReadOptions(**options)) == [pair]
    assert pairs_read("json", b"[" + COLUMNS + b"]", ReadOptions(**options)) == [pair]


@pytest.mark.parametrize(
    ("options", "column", "reason"),
    [
        ({"key": "mail"}, 1, "no 'mail' in the row"),
        ({"key": "id", "value": "mail"}, 1, "no 'mail' in the row"),
        ({"key": "tags"}, 34, '"tags" is not a string'),
        ({"key": "id", "value": "tags"}, 34, "add --value-format json"),
    ],
)
def test_columns_that_do_not_fit_are_bad_rows(options: dict[str, Any], column: int, reason: str) -> None:
    _, bad = read_with_bad("jsonl", b"\n" + COLUMNS, ReadOptions(**options))
    assert [(row.line, row.column) for row in bad] == [(2, column)]
    assert reason in bad[0].reason


def test_options_that_clash_are_an_error_at_once() -> None:
    for name in ("jsonl", "json"):
        assert "exclude each other" in error_of(name, COLUMNS, ReadOptions(key="id", key_template="{id}")).reason
        assert "base64 is for rows" in error_of(name, COLUMNS, ReadOptions(key="id", encoding="base64")).reason
        assert "not valid" in error_of(name, COLUMNS, ReadOptions(key_template="{id")).reason


def test_strings_can_be_base64_all_of_them() -> None:
    text = b"".join(jsonl.write([Section(None, [([b"\xff"], [b"a"])])], WriteOptions(encoding="base64")))
    assert text == b'{"key": "/w==", "value": "YQ=="}\n'
    assert pairs_read("jsonl", text, ReadOptions(encoding="base64")) == [(b"\xff", b"a")]
    assert error_of("jsonl", b'{"key": "/w=", "value": ""}\n', ReadOptions(encoding="base64")).column == 9


def test_rows_of_several_trees_come_in_parts() -> None:
    sections = [Section(None, [([b"a"], [b"1"])]), Section(b"\xff", [([b"b", b"c"], [b"", b"2"])])]
    text = b"".join(jsonl.write(sections, WriteOptions()))
    for size in (1, 1000):
        assert rows_read("jsonl", text, size=size) == [
            (None, 1, b"a", b"1"),
            (b"\xff", 2, b"b", b""),
            (b"\xff", 3, b"c", b"2"),
        ]


def test_bad_rows_are_handed_over_and_the_others_read() -> None:
    text = b'{"key":"a","value":"1"}\n{"key":}\n\n{"key":"","value":"1"}\n{"key":"b","value":"\\u0032"}\n{"key":"c"'
    for size in (1, 30, 1000):
        found, bad = read_with_bad("jsonl", text, size=size)
        assert found == [(b"a", b"1"), (b"b", b"2")]
        assert [(row.line, row.column, row.raw) for row in bad] == [
            (2, 8, b'{"key":}'),
            (4, 1, b'{"key":"","value":"1"}'),
            (6, 11, b'{"key":"c"'),
        ]


def test_plain_rows_and_others_give_the_same(rng: random.Random) -> None:
    pairs = [(b"k%d" % number, "".join(rng.choices('ab"\\é\x1f', k=3)).encode()) for number in range(500)]
    lines = write(pairs).splitlines(keepends=True)
    for size in (1, 3, 50, 500):
        found = [
            pair
            for at in range(0, 500, size)
            for part in jsonl.read([b"".join(lines[at : at + size])], ReadOptions())
            for pair in zip(part.keys, part.values, strict=True)
        ]
        assert found == pairs
