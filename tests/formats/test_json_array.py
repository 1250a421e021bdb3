"""JSON arrays: a stream like any other, cut anywhere, and broken where the array is broken."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsmcli.engine.constants import MIB
from lsmcli.formats import InputError, json_array
from lsmcli.formats.rows import ReadOptions, Section, WriteOptions, columns_of
from tests.formats.streams import Bad, Pair, error_of, pairs_read, read_with_bad, rows_read

FIELDS = st.one_of(st.binary(max_size=12), st.text(alphabet='[]{}",\\ \né\0', max_size=8).map(str.encode))


def written(pairs: list[tuple[bytes, bytes]], **options: Any) -> bytes:
    return b"".join(json_array.write([Section(None, columns_of(pairs))], WriteOptions(**options)))


@settings(max_examples=50)
@given(st.lists(st.tuples(FIELDS.filter(bool), FIELDS), max_size=6), st.booleans())
def test_every_pair_comes_back_however_it_is_cut(pairs: list[tuple[bytes, bytes]], ascii_only: bool) -> None:
    text = written(pairs, ascii_only=ascii_only)
    assert len(json.loads(text)) == len(pairs)
    for size in (1, 2, 7, 1 << 20):
        assert pairs_read("json", text, size=size) == pairs
    compact = json.dumps(json.loads(text), separators=(",", ":")).encode()
    assert pairs_read("json", compact, size=3) == pairs
    assert pairs_read("json", json.dumps(json.loads(text), indent=3).encode(), size=3) == pairs


def test_what_is_written() -> None:
    assert written([]) == b"[]\n"
    assert written([(b"a", b"1"), (b"\xff", b"")]) == (
        b'[\n{"key": "a", "value": "1"},\n{"key": {"$base64": true, "encoded": "/w=="}, "value": ""}\n]\n'
    )


def test_lines_and_offsets_are_those_of_the_source() -> None:
    text = b'\xef\xbb\xbf\n[ {"key":"a",\n"value":"1"} ,\n\n {"key":"b","value":"[\\"]"}]\n'
    for size in (1, 10, 1000):
        assert rows_read("json", text, size=size) == [(None, 2, b"a", b"1"), (None, 5, b"b", b'["]')]
    *_, last = json_array.read([text], ReadOptions())
    assert last.end == len(text)


def test_several_trees_and_deletions() -> None:
    text = (
        b'[{"key":"a","value":"1"},{"key":"b","value":"2","tree":"t"},'
        b'{"key":"c","deleted":true,"tree":"t"},{"key":"d","value":""}]'
    )
    parts = list(json_array.read([text], ReadOptions()))
    assert [(part.tree, part.keys, part.values) for part in parts] == [
        (None, [b"a"], [b"1"]),
        (b"t", [b"b", b"c"], [b"2", None]),
        (None, [b"d"], [b""]),
    ]
    sections = [Section(None, [([b"a"], [b"1"])]), Section(b"t", [([b"b"], [b"2"])])]
    text = b"".join(json_array.write(sections, WriteOptions()))
    assert [part.tree for part in json_array.read([text], ReadOptions())] == [None, b"t"]


@pytest.mark.parametrize(
    ("text", "line", "column", "reason"),
    [
        (b"", 1, 1, "not a JSON array"),
        (b'{"key":"a","value":"1"}', 1, 1, "not a JSON array"),
        (b"[", 1, 2, "the array is cut"),
        (b'[{"key":"a","value":"1"}', 1, 25, "the array is cut"),
        (b'[{"key":"a","value":"1"},', 1, 26, "the array is cut"),
        (b'[{"key":"a","value":"1"},]', 1, 26, "a row is missing"),
        (b'[,{"key":"a","value":"1"}]', 1, 2, "a row is missing"),
        (b'[{"key":"a","value":"1"}\n{"key":"b","value":"1"}]', 2, 1, "is expected after a row"),
        (b'[{"key":"a","value":"1"}]\n]', 2, 1, "text follows the array"),
        (b'[{"key":"a","value":"1"}][]', 1, 26, "text follows the array"),
        (b'[\n  {"key":"a","value":"1"', 2, 3, "cut inside the row that begins here"),
        (b'[\n  {"key":"a","value":"1', 2, 3, "cut inside the row that begins here"),
        (b'["a', 1, 2, "cut inside the row that begins here"),
        (b"[" * 100_000, 1, 2, "cut inside the row that begins here"),
    ],
)
def test_a_broken_array_ends_the_reading(text: bytes, line: int, column: int, reason: str) -> None:
    for size in (7, 1000, 1 << 20):
        with pytest.raises(InputError, match=reason) as error:
            read_with_bad("json", text, size=size)
        assert (error.value.line, error.value.column) == (line, column)


def test_bad_rows_are_handed_over_and_the_others_read() -> None:
    text = (
        b'[5, {"key":"a","value":"1"}, "s", [],\n{"key":"b"}, {"key":"c","value":NaN}, null,\n'
        b'{"key":"d","value":"2"}, ' + b"[" * 5000 + b"]" * 5000 + b"]"
    )
    for size in (1, 11, 1000):
        found, bad = read_with_bad("json", text, size=size)
        assert found == [(b"a", b"1"), (b"d", b"2")]
        assert [row.raw[:20] for row in bad] == [
            b"5", b'"s"', b"[]", b'{"key":"b"}', b'{"key":"c","value":N', b"null", b"[" * 20,
        ]  # fmt: skip
        assert bad[4] == Bad(2, 33, "NaN is not JSON", b'{"key":"c","value":NaN}')
        assert "nested too deeply" in bad[6].reason


def test_a_file_cut_anywhere_is_noticed() -> None:
    text = written([(b"a", b"1"), (b'"\\\xff', b"[{"), (b"c", b"")])
    for size in range(len(text) - 1):
        assert error_of("json", text[:size]).line
    assert len(pairs_read("json", text[:-1])) == 3


def test_a_long_array_is_never_held_whole() -> None:
    rows = b",".join(b'{"key":"%d","value":"%s"}' % (number, b"v" * 90) for number in range(500))
    given_out = 0

    def pieces() -> Iterator[bytes]:
        nonlocal given_out
        yield b"["
        for _ in range(20):
            given_out += 1
            yield rows + b","
        yield rows + b"]"

    found: list[Pair] = []
    for part in json_array.read(pieces(), ReadOptions()):
        found += zip(part.keys, part.values, strict=True)
        assert abs(len(found) - given_out * 500) <= 500
    assert len(found) == 21 * 500


def test_a_value_of_many_megabytes_takes_linear_time() -> None:
    value = (b'\\"[' * 1000 + b"text" * 1000) * 600
    assert len(value) > 4 * MIB
    text = written([(b"a", value)])
    assert pairs_read("json", text, size=64 * 1024) == [(b"a", value)]
