"""JSON lines: always valid JSON, every byte back, and strict where JSON is loose."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsmcli.formats import InputError, jsonl
from lsmcli.formats.rows import ReadOptions, Section, WriteOptions, columns_of

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
        (b'{"key": "a", "value": "1"} x', 27, "text follows"),
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
