"""Items of flat text: every byte comes back in either form, and no wrong digit passes for data."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsmcli.formats.bdb_text import hex_decoded, hex_encoded, hex_item, print_decoded, print_encoded, print_item
from lsmcli.formats.esc import TextError

ALPHABET = [b"\\", b"5", b"c", b" ", b"\n", b"\r", b"\x00", b"\x7f", b"\xff", b"a"]
SHORT = [b"".join(parts) for length in range(4) for parts in itertools.product(ALPHABET, repeat=length)]
EVERY_BYTE = [bytes([byte]) for byte in range(256)]


def ascii_of(texts: list[str]) -> list[bytes]:
    return [text.encode("ascii") for text in texts]


@pytest.mark.parametrize("items", [[], EVERY_BYTE, SHORT, [b"plain", b"text"], [b"", b""]])
def test_every_item_comes_back(items: list[bytes]) -> None:
    assert hex_decoded(ascii_of(hex_encoded(items))) == items
    assert print_decoded(ascii_of(print_encoded(items))) == items
    assert [hex_item(text) for text in ascii_of(hex_encoded(items))] == items
    assert [print_item(text) for text in ascii_of(print_encoded(items))] == items


@given(st.lists(st.binary(max_size=20), max_size=6))
def test_what_is_written_is_one_printable_line(items: list[bytes]) -> None:
    for text in hex_encoded(items) + print_encoded(items):
        assert text.isascii()
        assert text.isprintable()


def test_hex_is_written_in_lower_case_and_read_in_either() -> None:
    assert hex_encoded([b"jK\xff"]) == ["6a4bff"]
    assert hex_decoded([b"6A4b", b"fF"]) == [b"jK", b"\xff"]


def test_a_backslash_is_written_as_the_one_form_that_all_read() -> None:
    assert print_encoded([b"a\\b", b"\n"]) == ["a\\5cb", "\\0a"]


def test_print_is_read_as_others_write_it() -> None:
    assert print_decoded([b"a\\\\b", b"\\0A\\ff", "é".encode(), b""]) == [b"a\\b", b"\n\xff", "é".encode(), b""]


@pytest.mark.parametrize(
    ("item", "offset", "reason"),
    [
        (b"0", 1, "odd"),
        (b"00f", 3, "odd"),
        (b"0g", 1, "'g'"),
        (b"00 11", 2, "' '"),
        (b"0\r", 1, "0x0d"),
        (b"0x00", 1, "'x'"),
        ("0é".encode(), 1, "0xc3"),
    ],
)
def test_wrong_hex_is_told_with_its_place(item: bytes, offset: int, reason: str) -> None:
    for decoded in (lambda: hex_item(item), lambda: hex_decoded([b"00", item])):
        with pytest.raises(TextError, match=reason) as caught:
            decoded()
        assert caught.value.offset == offset


@pytest.mark.parametrize(
    ("item", "offset", "reason"),
    [
        (b"a\\b", 1, "backslash"),
        (b"ab\\", 2, "backslash"),
        (b"\\\\\\", 2, "backslash"),
        (b"\\0", 0, "backslash"),
        (b"\\0g", 0, "backslash"),
        (b"a\r", 1, "0x0d"),
        (b"\x00", 0, "0x00"),
        (b"a\x7fb", 1, "0x7f"),
    ],
)
def test_wrong_print_is_told_with_its_place(item: bytes, offset: int, reason: str) -> None:
    for decoded in (lambda: print_item(item), lambda: print_decoded([b"fine", item])):
        with pytest.raises(TextError, match=reason) as caught:
            decoded()
        assert caught.value.offset == offset


def test_lenient_print_takes_the_lone_backslash_of_an_old_mdb_dump() -> None:
    assert print_decoded([b"a\\zb", b"\\", b"\\5c"], lenient=True) == [b"a\\zb", b"\\", b"\\"]
    with pytest.raises(TextError):
        print_decoded([b"\n"], lenient=True)
