"""cdbmake records: lengths that have to fit, and an end that has to be there."""

import pytest

from lsmcli.engine.constants import VALUE_SIZE_MAX
from lsmcli.formats import InputError
from tests.formats.streams import Bad, error_of, pairs_read, read_with_bad, rows_read, written


def test_records_are_written_as_cdbmake_reads_them() -> None:
    assert written("cdbmake", [(b"user:1", b"Ada"), (b"x", b"")]) == b"+6,3:user:1->Ada\n+1,0:x->\n\n"


def test_records_are_numbered() -> None:
    assert rows_read("cdbmake", b"+1,1:a->1\n+1,1:b->2\n\n") == [(None, 1, b"a", b"1"), (None, 2, b"b", b"2")]


def test_leading_zeros_are_numbers() -> None:
    assert pairs_read("cdbmake", b"+01,001:a->1\n\n") == [(b"a", b"1")]


@pytest.mark.parametrize(
    ("text", "line", "column", "reason"),
    [
        (b"", 1, 1, "cut off"),
        (b"+1,1:a->1\n", 2, 1, "cut off"),
        (b"+1,1:a->1\n+1", 2, 3, "cut off"),
        (b"+1,1:a->", 1, 1, "within a record"),
        (b"+1,1:a=>1\n\n", 1, 7, "no ->"),
        (b"+1,1:ab->1\n\n", 1, 7, "no ->"),
        (b"+1,1:a->12\n\n", 1, 10, "no line end"),
        (b"+1,2:a->1\n\n", 2, 1, "cut off"),
        (b"+1,1:a->1\r\n\r\n", 1, 10, "no line end"),
        (b"+1,1:a->1\n-1\n", 2, 1, "begins with"),
        (b"+1;1:a->1\n\n", 1, 1, "begins with"),
        (b"+-1,1:a->1\n\n", 1, 1, "begins with"),
        (b"+12345678901,1:a->1\n\n", 1, 1, "begins with"),
        (b"+1,%d:a->1\n\n" % (VALUE_SIZE_MAX + 1), 1, 2, "a length above"),
        (b"+1,1:a->1\n\n+1,1:b->2\n\n", 2, 2, "something follows"),
        (b"+0,1:->1\n\n", 1, 6, "key is empty"),
    ],
)
def test_what_is_wrong_is_told_with_its_record(text: bytes, line: int, column: int, reason: str) -> None:
    error = error_of("cdbmake", text)
    assert reason in error.reason
    assert (error.line, error.column) == (line, column)


def test_a_length_of_a_gigabyte_that_is_not_there_costs_nothing() -> None:
    with pytest.raises(InputError, match="within a record"):
        pairs_read("cdbmake", b"+1,1000000000:a->1\n\n")


def test_keys_outside_the_limits_are_bad_rows() -> None:
    long = b"k" * 4097
    text = b"+1,1:a->1\n+0,1:->1\n+4097,1:%s->1\n+1,1:b->2\n\n" % long
    good, bad = read_with_bad("cdbmake", text, size=100)
    assert good == [(b"a", b"1"), (b"b", b"2")]
    assert bad[0] == Bad(2, 6, "the key is empty", b"+0,1:->1")
    assert bad[1].line == 3
    assert bad[1].raw == b"+4097,1:%s->1" % long
