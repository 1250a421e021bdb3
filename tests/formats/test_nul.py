"""Lists that NUL ends: pairs of records, and nothing that holds a NUL itself."""

import pytest

from lsmcli.formats import InputError
from tests.formats.streams import Bad, error_of, read_with_bad, rows_read, written


def test_key_and_value_are_two_records() -> None:
    assert written("nul", [(b"a", b"1\n"), (b"b", b"")]) == b"a\x001\n\x00b\x00\x00"
    assert rows_read("nul", b"a\x001\x00b\x00\x00", size=2) == [(None, 1, b"a", b"1"), (None, 2, b"b", b"")]


@pytest.mark.parametrize(("pair", "what"), [((b"a\x00b", b""), "key"), ((b"a", b"\x00"), "value")])
def test_a_nul_cannot_be_written(pair: tuple[bytes, bytes], what: str) -> None:
    with pytest.raises(InputError, match=f"the {what} holds a NUL") as caught:
        written("nul", [(b"a", b"1"), pair])
    assert caught.value.line == 2


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        (b"a", 1, "no NUL at its end"),
        (b"a\x00", 1, "a key without a value"),
        (b"a\x001\x00b\x002", 2, "no NUL at its end"),
        (b"a\x001\x00b\x00", 2, "a key without a value"),
        (b"a\x001\x00\n", 2, "no NUL at its end"),
        (b"\x001\x00", 1, "key is empty"),
    ],
)
def test_half_a_pair_is_an_error(text: bytes, line: int, reason: str) -> None:
    error = error_of("nul", text)
    assert reason in error.reason
    assert error.line == line


def test_bad_keys_are_handed_over_and_the_rest_is_read() -> None:
    long = b"k" * 4097
    good, bad = read_with_bad("nul", b"a\x001\x00\x002\x00%s\x003\x00b\x004\x00" % long)
    assert good == [(b"a", b"1"), (b"b", b"4")]
    assert bad[0] == Bad(2, 1, "the key is empty", b"\x002")
    assert (bad[1].line, bad[1].raw) == (3, long + b"\x003")
