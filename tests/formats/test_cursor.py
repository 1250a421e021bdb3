"""The cursor: the same bytes come out, however the stream is cut."""

import random

import pytest

from lsmcli.formats.cursor import Cursor


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    pieces, at = [], 0
    for size in sizes:
        pieces.append(data[at : at + size])
        at += size
    return [*pieces, data[at:]]


def test_bytes_are_taken_in_order_whatever_the_pieces(rng: random.Random) -> None:
    for _ in range(300):
        data = rng.randbytes(rng.randrange(60))
        cursor = Cursor(cut(data, [rng.randrange(8) for _ in range(rng.randrange(12))]))
        taken = b""
        while True:
            size = rng.randrange(1, 9)
            whole = cursor.hold(size)
            assert whole == (len(data) - len(taken) >= size)
            assert cursor.offset == len(taken)
            if not whole:
                break
            taken += cursor.data[cursor.at : cursor.at + size]
            cursor.at += size
        assert taken + cursor.data[cursor.at :] == data
        assert not cursor.more()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_lines_are_taken_whole(size: int) -> None:
    data = b"*3\r\n$10\r\n\nlong line\nrest"
    cursor = Cursor(data[at : at + size] for at in range(0, len(data), size))
    assert [cursor.line(20) for _ in range(5)] == [b"*3\r\n", b"$10\r\n", b"\n", b"long line\n", None]
    assert cursor.data[cursor.at :] == b"rest"
    assert cursor.offset == len(data) - 4


def test_a_line_that_is_too_long_is_not_taken() -> None:
    cursor = Cursor([b"12345", b"67\n8\n"])
    assert cursor.line(7) is None
    assert cursor.offset == 0
    assert cursor.line(8) == b"1234567\n"
    assert cursor.line(2) == b"8\n"
    assert cursor.line(2) is None


def test_what_was_taken_is_dropped() -> None:
    cursor = Cursor(bytes(100) for _ in range(1000))
    for _ in range(1000):
        assert cursor.hold(100)
        cursor.at += 100
        assert len(cursor.data) <= 200
