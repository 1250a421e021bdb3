"""The digest of a source: the same however its bytes are cut into pieces, and compared at the place expected."""

from collections.abc import Iterator
from itertools import pairwise

import pytest

from lsmcli.commands.sources import Digest
from lsmcli.engine.errors import StateError

SOURCE = b"abcdef"


def cuts(data: bytes) -> Iterator[list[bytes]]:
    """Every way to cut bytes into pieces."""
    for bits in range(1 << (len(data) - 1)):
        places = [0, *(place for place in range(1, len(data)) if bits >> (place - 1) & 1), len(data)]
        yield [data[start:end] for start, end in pairwise(places)]


def digest_of(data: bytes, options: bytes = b"options") -> bytes:
    digest = Digest(options, "source")
    digest.read_whole([data])
    return digest.digest()


@pytest.mark.parametrize("size", range(len(SOURCE) + 1))
def test_what_was_read_before_is_found_again_in_whatever_pieces(size: int) -> None:
    for pieces in cuts(SOURCE):
        digest = Digest(b"options", "source")
        digest.expect(size, digest_of(SOURCE[:size]))
        seen = 0
        assert digest.matched == (size == 0)
        for piece in digest.of(pieces):
            seen += len(piece)
            assert digest.matched == (seen >= size)
        assert digest.digest() == digest_of(SOURCE)
        assert digest.size == len(SOURCE)


@pytest.mark.parametrize("size", range(1, len(SOURCE) + 1))
def test_other_bytes_are_refused_before_anything_behind_them_is_handed_over(size: int) -> None:
    for pieces in cuts(SOURCE):
        digest = Digest(b"options", "source")
        digest.expect(size, digest_of(SOURCE[: size - 1] + b"X"))
        handed_over = b""
        with pytest.raises(StateError, match="source is not what it was"):
            for piece in digest.of(pieces):
                handed_over += piece
        assert len(handed_over) < size


def test_other_options_and_a_shorter_source_are_refused() -> None:
    digest = Digest(b"other options", "source")
    with pytest.raises(StateError):
        digest.expect(0, digest_of(b""))
    digest = Digest(b"options", "source")
    digest.expect(7, digest_of(SOURCE + b"g"))
    with pytest.raises(StateError, match="it ends after 6 bytes, and 7 had been read"):
        list(digest.of([SOURCE]))
