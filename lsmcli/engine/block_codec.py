"""The codecs of value blocks: a block that says it has one is stored compressed, and is in memory as if it had none.

Invariants:
- the checksum covers the bytes as stored, so it is verified before anything is decompressed;
- what a block claims is bounded before memory is given to it: it grows to at most RAW_SHARE blocks;
- every other way in which a body can be wrong is DamageError, and what comes out is a block as ValueBlock takes it.

    stored     BlockHeader | zstd( ValueBlockHead | key sizes | value sizes | flags | keys | values )
    in memory  BlockHeader |       ValueBlockHead | key offsets | value offsets | flags | keys | values

zstd needs the package zstandard, which the engine imports only when it meets such a block.
"""

import sys
from typing import Any, Final

from lsmcli.engine.errors import DamageError, LibraryError
from lsmcli.engine.schema import BLOCK_HEADER, VALUE_BLOCK_HEAD, BlockHeader, BlockKind, Codec, offset_code_for

# What a block may hold uncompressed, in blocks. More would save space for few kinds of data only, and a lookup that
# finds its block neither in memory nor in the cache has to decompress all of it.
RAW_SHARE: Final = 4

# Of 64 KiB of the benchmark's entries level 1 leaves 0.46 in 100 µs, level 3 leaves 0.45 in 150, and LZ4 0.51 in 50; of
# program text 0.32, 0.30 and 0.45. A block is compressed seldom, so the better ratio is worth the time, up to here.
_ZSTD_LEVEL: Final = 1

_PAYS: Final = (4, 5)  # of its size: what does not get so small stays as it is

_HEADER_SIZE: Final = BLOCK_HEADER.size
_CODEC_AT: Final = BLOCK_HEADER.offset("codec")
_COLUMNS_AT: Final = VALUE_BLOCK_HEAD.size
_WIDTHS: Final = {"H": 2, "I": 4}
_WIDTH_RAW: Final = 4  # of the offsets in memory: what was compressed may be longer than a u16 tells

_LIBRARY_MISSING: Final = "zstd needs a package that is not installed: pip install 'lsmcli[zstd]'"


class BlockCodec:
    """Compresses and decompresses bodies of value blocks of one file. Not safe for several threads at a time."""

    __slots__ = ("_compressor", "_decompressor", "_width", "raw_size_max")

    def __init__(self, block_size: int) -> None:
        self.raw_size_max: Final = RAW_SHARE * block_size  # header and body of a block that has been decompressed
        self._width = _WIDTHS[offset_code_for(block_size)]
        self._compressor: Any = None
        self._decompressor: Any = None

    def compressed(self, body: bytes) -> bytes:
        """The body as zstd stores it: 100 µs for 64 KiB. Raises LibraryError."""
        if self._compressor is None:
            self._compressor = zstandard().ZstdCompressor(level=_ZSTD_LEVEL, write_content_size=True)
        stored: bytes = self._compressor.compress(body)
        return stored

    def pays(self, data: bytes) -> bool:
        """Whether blocks like this one, which is not compressed, would hold more entries if they were."""
        return len(self.compressed(data[_HEADER_SIZE:])) < len(data) * _PAYS[0] // _PAYS[1]

    def decoded(self, data: bytes) -> bytes:
        """A verified block, header and body, of which the body is decompressed: 20 µs for 64 KiB.

        Raises DamageError, LibraryError.
        """
        if data[_CODEC_AT] == Codec.NONE:
            return data
        header = BLOCK_HEADER.unpack(data)
        body = self._decompressed(data, header)
        raw = _with_offsets(body, self._width)
        if raw is None:
            raise _damage(header, "does not hold the columns that its head tells")
        return data[:_HEADER_SIZE] + raw

    def _decompressed(self, data: bytes, header: BlockHeader) -> bytes:
        package = zstandard()
        stored = data[_HEADER_SIZE : header.size]
        size = header.size_decoded - _HEADER_SIZE
        assert 0 <= size <= self.raw_size_max
        try:
            if package.frame_content_size(stored) != size:
                raise _damage(header, "is not as large as its header tells")
            if self._decompressor is None:
                self._decompressor = package.ZstdDecompressor()
            body: bytes = self._decompressor.decompress(stored, read_across_frames=False, allow_extra_data=False)
        except package.ZstdError as error:
            raise _damage(header, f"cannot be decompressed ({error})") from error
        return body  # which is as large as the frame says, or zstd would not have made it


def codec_problem(header: BlockHeader, block_size: int) -> str:
    """What is wrong with the codec and the sizes that a header tells; "" when nothing is."""
    if header.codec == Codec.NONE:
        return "" if header.size_decoded == header.size else "its two sizes differ"
    if header.codec != Codec.ZSTD:
        return f"its codec, {header.codec}, is unknown"
    if header.kind != BlockKind.VALUE:
        return "it is compressed, which only value blocks may be"
    if not header.size <= header.size_decoded <= RAW_SHARE * block_size:
        return f"its size of {header.size_decoded} bytes before compression cannot be"
    return ""


def zstandard() -> Any:
    """The package that compresses. Raises LibraryError."""
    try:
        import zstandard as package
    except ImportError:
        raise LibraryError(f"the file has compressed tables: {_LIBRARY_MISSING}") from None
    return package


def codec_available() -> bool:
    """Whether zstandard() would find the package, which is not imported: that takes as long as a whole lookup."""
    if "zstandard" in sys.modules:
        return sys.modules["zstandard"] is not None
    from importlib.machinery import PathFinder

    return PathFinder.find_spec("zstandard") is not None


def codec_required(name: str) -> None:
    """LibraryError, which tells that it is about `name`, where compressed blocks could not be read or written."""
    if not codec_available():
        raise LibraryError(f"{name}: {_LIBRARY_MISSING}")


def sized_body(
    entry_count: int,
    tombstone_count: int,
    large_count: int,
    keys_size: int,
    values_size: int,
    *columns: bytes | bytearray,
) -> bytes:
    """The body before compression: the head, and key sizes, value sizes, flags, keys, values."""
    head = VALUE_BLOCK_HEAD.struct.pack(entry_count, tombstone_count, large_count, keys_size, values_size, 0)
    return b"".join((head, *columns))


def _with_offsets(body: bytes, width: int) -> bytes | None:
    """A body with offsets in the place of its sizes, of `width` bytes each; None where the columns do not fill it."""
    from lsmcli.engine.sized_columns import offsets_of  # not where nothing is compressed

    if len(body) < _COLUMNS_AT:
        return None
    head = VALUE_BLOCK_HEAD.unpack(body)
    count, keys_size, values_size = head.entry_count, head.keys_size, head.values_size
    if len(body) != _COLUMNS_AT + count * (2 * width + 1) + keys_size + values_size:
        return None
    values_at = _COLUMNS_AT + count * width
    flags_at = values_at + count * width
    key_offsets = offsets_of(body[_COLUMNS_AT:values_at], width, _WIDTH_RAW, keys_size)
    value_offsets = offsets_of(body[values_at:flags_at], width, _WIDTH_RAW, values_size)
    if key_offsets is None or value_offsets is None:
        return None
    return b"".join((body[:_COLUMNS_AT], key_offsets, value_offsets, body[flags_at:]))


def _damage(header: BlockHeader, what: str) -> DamageError:
    message = f"value block {header.address} {what}; run verify to see what is lost"
    return DamageError(message, zone="value", address=header.address)
