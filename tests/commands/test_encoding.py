"""Arguments become bytes and bytes become output: every codec both ways, every error with its offset."""

import os

import pytest

from lsmcli.commands.encoding import CODECS, PREFIXES, parse_argument
from lsmcli.formats.esc import TextError

SAMPLES = [b"", b"a", b"user:1", b"\x00\xff", b'"quoted"', "héllo".encode(), b"a\nb", bytes(range(256))]
REVERSIBLE = ["esc", "hex", "base64", "json"]


@pytest.mark.parametrize("name", REVERSIBLE)
def test_what_a_codec_shows_it_also_takes(name: str) -> None:
    codec = CODECS[name]
    for data in SAMPLES:
        assert codec.parse(codec.show(data).decode()) == data


@pytest.mark.parametrize("name", ["u64be", "u32be", "i64be"])
def test_numbers_keep_their_order(name: str) -> None:
    codec = CODECS[name]
    low = -5 if name == "i64be" else 0
    numbers = sorted({low, 0, 1, 255, 256, 70_000, 2**31})
    encoded = [codec.parse(str(number)) for number in numbers]
    assert encoded == sorted(encoded)
    assert [int(codec.show(data)) for data in encoded] == numbers


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("plain", b"plain"),
        ("hex:00fF", b"\x00\xff"),
        ("hex:0x00ff", b"\x00\xff"),
        ("hex:", b""),
        ("b64:YWI=", b"ab"),
        ("esc:a\\x00b\\n", b"a\x00b\n"),
        ('esc:"a\\"b"', b'a"b'),
        ("raw:hex:00", b"hex:00"),
        ("raw:", b""),
        ("u64be:42", b"\0\0\0\0\0\0\0\x2a"),
        ("u32be:1", b"\0\0\0\x01"),
        ("i64be:-1", b"\x7f" + b"\xff" * 7),
        ("i64be:0", b"\x80" + b"\0" * 7),
        ("unknown:x", b"unknown:x"),
        ("user:hex:00", b"user:hex:00"),
        ("@file", b"@file"),
    ],
)
def test_prefixes(text: str, data: bytes) -> None:
    assert parse_argument(text) == data


def test_every_byte_string_can_be_written_as_an_argument() -> None:
    for data in SAMPLES:
        assert parse_argument("hex:" + data.hex()) == data
        assert parse_argument("raw:" + os.fsdecode(data)) == data


@pytest.mark.parametrize(
    ("text", "offset", "reason"),
    [
        ("hex:0g", 5, "'g' is not a hex digit"),
        ("hex:0x0", 7, "odd number"),
        ("hex:0 1", 5, "not a hex digit"),
        ("hex:００", 4, "not a hex digit"),
        ("b64:a", 4, "not base64"),
        ("b64:é", 4, "not base64"),
        ("esc:ab\\x1", 6, "two hex digits"),
        ('esc:"ab', 4, "not closed"),
        ("u64be:-1", 6, "outside"),
        ("u64be:18446744073709551616", 6, "outside"),
        ("u64be:x", 6, "not a decimal number"),
        ("u64be:٣", 6, "not a decimal number"),
        ("u64be:" + "9" * 5000, 6, "not a decimal number"),
    ],
)
def test_a_bad_argument_is_named_with_its_offset(text: str, offset: int, reason: str) -> None:
    with pytest.raises(TextError, match=reason) as error:
        parse_argument(text)
    assert error.value.offset == offset


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("auto", rb'"a\x00"'),
        ("raw", b"a\x00"),
        ("utf8", b"a\x00"),
        ("len", b"2"),
        ("none", b""),
        ("hex", b"6100"),
        ("base64", b"YQA="),
        ("json", b'"a\\u0000"'),
        ("u64be", rb'"a\x00"'),
    ],
)
def test_how_two_bytes_are_shown(name: str, shown: bytes) -> None:
    assert CODECS[name].show(b"a\x00") == shown


def test_json_is_text_that_steers_no_terminal() -> None:
    show = CODECS["json"].show
    assert show("né".encode()) == '"né"'.encode()
    assert show("né\u202e\x9b".encode()) == b'"n\\u00e9\\u202e\\u009b"'


def test_redacted_tells_the_size_and_not_the_bytes() -> None:
    shown = CODECS["redacted"].show(b"secret")
    assert b"secret" not in shown
    assert shown.startswith(b"<6 bytes, sha256 ")


def test_a_codec_that_was_chosen_looks_for_no_prefix() -> None:
    assert CODECS["utf8"].parse("hex:61") == b"hex:61"
    with pytest.raises(TextError):
        CODECS["hex"].parse("hex:61")
    with pytest.raises(TextError, match="not JSON"):
        CODECS["json"].parse("[1")
    with pytest.raises(TextError, match="not a JSON string"):
        CODECS["json"].parse("5")
    with pytest.raises(TextError, match="not UTF-8"):
        CODECS["utf8"].parse(os.fsdecode(b"\xff"))


def test_every_prefix_has_a_test_above() -> None:
    assert set(PREFIXES) == {"hex", "b64", "esc", "raw", "u64be", "u32be", "i64be"}
