"""Blocks of whole lines, and chunks that come early and stay small."""

import io
import itertools
from collections.abc import Iterator

import pytest

from lsmcli.engine.constants import KEY_SIZE_MAX
from lsmcli.formats import InputError
from lsmcli.formats.rows import CHUNK_ROWS, CHUNK_SIZE, Rows, check_rows, chunks_of, line_blocks, pieces_of


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
    ("pairs", "line", "reason"),
    [
        ([(b"a", b""), (b"", b"")], 8, "empty"),
        ([(b"a", b""), (b"a" * (KEY_SIZE_MAX + 1), b"")], 8, "at most 4096"),
        ([(b"", None)], 7, "empty"),
    ],
)
def test_a_row_outside_the_limits_is_named(pairs: list, line: int, reason: str) -> None:
    with pytest.raises(InputError, match=reason) as error:
        check_rows(Rows(7, pairs))
    assert error.value.line == line


def test_rows_inside_the_limits_pass() -> None:
    check_rows(Rows(1, []))
    check_rows(Rows(1, [(b"a" * KEY_SIZE_MAX, b""), (b"b", None)]))
