"""The escaped form: every byte string comes back, and nothing in it can steer a terminal or break a line."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsmcli.formats.esc import (
    TextError,
    is_plain,
    parse_escapes,
    parse_field,
    parse_quoted,
    plain,
    quoted,
    safe_text,
)

ALPHABET = [b'"', b"\\", b"x", b"n", b"0", b"\n", b"\x00", b"\xff", "é".encode(), b" "]
SHORT = [b"".join(parts) for length in range(5) for parts in itertools.product(ALPHABET, repeat=length)]


def test_every_short_mix_of_awkward_bytes_comes_back() -> None:
    for data in SHORT:
        assert parse_field(plain(data)) == data
        assert parse_quoted(quoted(data)) == data


@given(st.binary(max_size=64))
def test_all_bytes_come_back(data: bytes) -> None:
    assert parse_field(plain(data)) == data
    assert parse_quoted(quoted(data)) == data


@given(st.text(max_size=32))
def test_what_is_printed_is_always_printable(text: str) -> None:
    shown = plain(text.encode("utf-8", "surrogatepass")).decode()
    assert shown.isprintable()
    assert safe_text(text).isprintable()


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"user:1", b"user:1"),
        ("café".encode(), "café".encode()),
        (b'say "hi"', b'say "hi"'),
        (b"C:\\new", b"C:\\new"),
        (b"", b""),
        (b"a\nb", rb'"a\nb"'),
        (b"a\tb", rb'"a\tb"'),
        (b'"x', rb'"\"x"'),
        (b"\x00\xff", rb'"\x00\xff"'),
        (b"\x1b[31mred", rb'"\x1b[31mred"'),
        ("\u202eevil".encode(), rb'"\xe2\x80\xaeevil"'),
        (b"\a\b\r\\", rb'"\a\b\r\\"'),
    ],
)
def test_plain_where_it_is_safe_and_quoted_where_not(data: bytes, shown: bytes) -> None:
    assert plain(data) == shown
    assert is_plain(data) == (shown == data)


@pytest.mark.parametrize(
    ("text", "data"),
    [
        (rb'"\x4A\x4a"', b"JJ"),
        (rb'"\q\"\\"', b'q"\\'),
        (b'""', b""),
        ('"é"'.encode(), "é".encode()),
    ],
)
def test_the_reader_takes_more_than_the_writer_writes(text: bytes, data: bytes) -> None:
    assert parse_quoted(text) == data


@pytest.mark.parametrize(
    ("text", "offset", "reason"),
    [
        (b'"', 0, "not closed"),
        (b'"abc', 0, "not closed"),
        (rb'"abc\"', 0, "not closed"),
        (b'"a"b', 3, "follows the closing quote"),
        (b'"a"b"', 3, "follows the closing quote"),
        (rb'"a\xg0"', 2, "two hex digits"),
        (rb'"a\x1"', 2, "two hex digits"),
    ],
)
def test_a_wrong_escape_is_named_with_its_offset(text: bytes, offset: int, reason: str) -> None:
    with pytest.raises(TextError, match=reason) as error:
        parse_quoted(text)
    assert error.value.offset == offset


def test_a_backslash_at_the_end_of_bare_escapes_is_an_error() -> None:
    with pytest.raises(TextError):
        parse_escapes(b"abc\\")
