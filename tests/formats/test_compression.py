"""Compressed sources: known by content, whole or refused, and never more in memory than a few pieces."""

import gzip
import io
import lzma
import random
import sys
import zlib
from collections.abc import Callable, Iterator

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from lsmcli.formats import InputError
from lsmcli.formats.compression import MAGIC, compressed, decompressed, kind_of
from lsmcli.formats.detect import ENDINGS_COMPRESSED
from lsmcli.formats.rows import READ_SIZE

KINDS = list(MAGIC)
TEXT = b"".join(b"key%06d\tvalue %d\n" % (number, number * 7919) for number in range(300))
# Each as its own program writes it.
PEERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zstd": lambda data: zstandard.ZstdCompressor().compress(data),
    "xz": lzma.compress,
}
PEERS_BACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "zstd": lambda data: zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)).read(),
    "xz": lzma.decompress,
}


def plain(*pieces: bytes) -> bytes:
    return b"".join(decompressed(pieces))


def packed(kind: str, *pieces: bytes) -> bytes:
    return b"".join(compressed(pieces, kind))


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_program_writes_is_read_however_it_is_cut(kind: str) -> None:
    data = PEERS[kind](TEXT)
    assert kind_of(data) == kind
    assert plain(data) == TEXT
    assert plain(*(data[index : index + 1] for index in range(len(data)))) == TEXT


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pieces", [(), (b"",), (TEXT,), (TEXT, b"", TEXT)], ids=["none", "empty", "one", "three"])
def test_what_is_written_the_program_reads(kind: str, pieces: tuple[bytes, ...]) -> None:
    data = packed(kind, *pieces)
    assert PEERS_BACK[kind](data) == b"".join(pieces)
    assert plain(data) == b"".join(pieces)
    assert packed(kind, *pieces) == data


@pytest.mark.parametrize("kind", KINDS)
def test_streams_side_by_side_are_one(kind: str) -> None:
    data = PEERS[kind](TEXT) + PEERS[kind](b"") + PEERS[kind](b"end\n")
    assert plain(data) == TEXT + b"end\n"
    assert plain(*(data[index : index + 1] for index in range(len(data)))) == TEXT + b"end\n"


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_at_any_byte_is_noticed(kind: str) -> None:
    data = PEERS[kind](TEXT[:600])
    for size in range(len(MAGIC[kind]), len(data)):
        with pytest.raises(InputError, match=f"the {kind} data is cut"):
            plain(data[:size])
    assert plain(data[: len(MAGIC[kind]) - 1]) == data[: len(MAGIC[kind]) - 1]


@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_bit_is_never_taken_for_data(kind: str, rng: random.Random) -> None:
    data = bytearray(
        zstandard.ZstdCompressor(write_checksum=True).compress(TEXT) if kind == "zstd" else PEERS[kind](TEXT)
    )
    for _ in range(300):
        index, bit = rng.randrange(len(MAGIC[kind]), len(data)), 1 << rng.randrange(8)
        data[index] ^= bit
        try:
            assert plain(bytes(data)) == TEXT  # the head of gzip holds a time and flags that change nothing
        except InputError as error:
            assert kind in error.reason
            assert error.line == 0
        data[index] ^= bit


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("garbage", [b"\0", b"garbage", b"\0" * 512, *MAGIC.values()], ids=repr)
def test_whatever_follows_is_refused(kind: str, garbage: bytes) -> None:
    data = PEERS[kind](TEXT) + garbage
    for pieces in ((data,), tuple(data[index : index + 1] for index in range(len(data)))):
        with pytest.raises(InputError, match=r"something else follows|is cut|is damaged"):
            plain(*pieces)


@pytest.mark.parametrize("kind", KINDS)
def test_a_bomb_comes_in_small_pieces(kind: str) -> None:
    zeros = bytes(READ_SIZE)
    data = packed(kind, *(zeros for _ in range(20)))
    assert len(data) < 200_000
    sizes = [len(piece) for piece in decompressed([data])]
    assert sum(sizes) == 20 * READ_SIZE
    assert max(sizes) <= READ_SIZE


def test_plain_data_passes_unchanged_and_is_not_waited_for() -> None:
    taken = []

    def pieces() -> Iterator[bytes]:
        for piece in (b"a\t1\n", b"b\t2\n"):
            taken.append(piece)
            yield piece

    stream = decompressed(pieces())
    assert next(stream) == b"a\t1\n"
    assert taken == [b"a\t1\n"]
    assert b"".join(stream) == b"b\t2\n"


@given(st.binary(max_size=40))
def test_any_bytes_pass_or_are_refused(data: bytes) -> None:
    try:
        found = plain(*(data[index : index + 1] for index in range(len(data))))
    except InputError:
        assert kind_of(data)
    else:
        assert found == data or kind_of(data)


@pytest.mark.parametrize("kind", KINDS)
def test_damage_behind_the_magic_is_an_input_error(kind: str, rng: random.Random) -> None:
    for size in range(200):
        with pytest.raises(InputError):
            plain(MAGIC[kind] + rng.randbytes(size) + b"\xff")


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    data = PEERS["zstd"](TEXT)
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(InputError, match=r"pip install 'lsmcli\[zstd\]'"):
        plain(data)
    with pytest.raises(InputError, match=r"pip install 'lsmcli\[zstd\]'"):
        compressed([TEXT], "zstd")


def test_every_compression_has_an_ending() -> None:
    assert set(ENDINGS_COMPRESSED.values()) == set(MAGIC)
    assert zlib.decompress(packed("gzip", b"x"), zlib.MAX_WBITS | 16) == b"x"
