"""Blocks of whole lines, and chunks that come early and stay small."""

import io
import itertools
from collections.abc import Iterator

import pytest

from lsmcli.engine.constants import KEY_SIZE_MAX
from lsmcli.formats import InputError
from lsmcli.formats.esc import TextError
from lsmcli.formats.rows import (
    CHUNK_ROWS,
    CHUNK_SIZE,
    check_limits,
    chunks_of,
    columns_of,
    line_blocks,
    pieces_of,
    within_limits,
)


def test_blocks_hold_whole_lines_however_the_stream_is_cut() -> None:
    text = b"a\nbb\n\nccc\nend"
    for cuts in itertools.product([False, True], repeat=len(text) - 1):
        starts = [0, *(index + 1 for index, cut in enumerate(cuts) if cut), len(text)]
        pieces = [text[a:b] for a, b in itertools.pairwise(starts)]
        blocks = list(line_blocks(pieces))
        assert b"".join(blocks) == text
        assert all(block.endswith(b"\n") for block in blocks[:-1])


def test_an_endless_line_is_refused_with_its_number() -> None:
    with pytest.raises(InputError, match="longer than 100 bytes") as error:
        list(line_blocks(itertools.chain([b"a\n", b"b\nc"], itertools.repeat(b"x" * 10)), line_size_max=100))
    assert error.value.line == 3


def test_pieces_of_a_stream_are_the_stream() -> None:
    assert b"".join(pieces_of(io.BytesIO(b"abc" * 1000))) == b"abc" * 1000


def test_the_first_pair_does_not_wait_for_the_second() -> None:
    seen = []

    def pairs() -> Iterator[tuple[bytes, bytes]]:
        for number in range(5000):
            seen.append(number)
            yield b"k", b""

    chunks = chunks_of(pairs())
    assert len(next(chunks)) == 1
    assert seen == [0]
    sizes = [1, *map(len, chunks)]
    assert sum(sizes) == 5000
    assert max(sizes) == CHUNK_ROWS


def test_a_chunk_of_large_values_ends_early() -> None:
    sizes = [len(chunk) for chunk in chunks_of((b"k", bytes(CHUNK_SIZE)) for _ in range(20))]
    assert sizes == [1] * 20


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (b"", "the key is empty"),
        (b"a" * (KEY_SIZE_MAX + 1), "at most 4096"),
    ],
)
def test_a_row_outside_the_limits_is_told(key: bytes, reason: str) -> None:
    assert not within_limits([b"a", key], [b"", None])
    with pytest.raises(TextError, match=reason):
        check_limits(key, None)


def test_rows_inside_the_limits_pass() -> None:
    assert within_limits([], [])
    assert within_limits([b"a" * KEY_SIZE_MAX, b"b"], [b"", None])
    check_limits(b"a" * KEY_SIZE_MAX, b"")
    check_limits(b"a", None)


def test_columns_are_the_chunks() -> None:
    pairs = [(b"%d" % number, b"v") for number in range(3000)]
    assert [pair for chunk in columns_of(pairs) for pair in zip(*chunk, strict=True)] == pairs
