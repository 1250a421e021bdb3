r"""Compressed sources and exports: gzip, zstd and xz, known by their first bytes whatever the name says.

    pieces of a file -> decompressed -> pieces for a reader       pieces of a writer -> compressed -> pieces for a file

Invariants:
- a piece that comes out is bounded (READ_SIZE, 64 MiB for zstd), whatever its input grows to: a bomb costs time,
  not memory;
- all of the input is accounted for: a stream that is cut, damaged, or followed by anything else but another stream
  of its kind is an InputError, never a short result;
- the same content gives the same compressed bytes: no time and no name is written.

gzip and xz are in Python's standard library; zstd needs the extra: pip install 'lsmcli[zstd]'.
"""

import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, Protocol

from lsmcli.engine.constants import KIB, MIB
from lsmcli.formats import InputError
from lsmcli.formats.rows import READ_SIZE

if TYPE_CHECKING:
    from types import ModuleType

# Name -> the first bytes of a stream. The endings of file names stand in detect.ENDINGS_COMPRESSED.
MAGIC: Final = {"gzip": b"\x1f\x8b\x08", "zstd": b"\x28\xb5\x2f\xfd", "xz": b"\xfd7zXZ\x00"}

_XZ_MEMORY_MAX: Final = 512 * MIB  # what an xz file may ask for; the highest preset, xz -9, asks for 65 MiB
_ZSTD_WINDOW_MAX: Final = 128 * MIB  # what the program zstd takes unless told --long

# zstandard offers no limit of the output. Its format has one: 4 bytes (a block of one repeated byte) grow to
# 128 KiB at most. So 2 KiB of input at a time give 64 MiB at most, and usually about 10 KiB.
_ZSTD_STEP: Final = 2 * KIB

_EXTRA_MISSING: Final = "zstd needs a package that is not installed: pip install 'lsmcli[zstd]', or use gzip or xz"


def kind_of(head: bytes) -> str | None:
    """The name of the compression of a stream that starts with these bytes."""
    return next((name for name, magic in MAGIC.items() if head.startswith(magic)), None)


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


class _Stream(Protocol):
    """One compressed stream: the pieces that its input gives; at its end, the input behind it."""

    errors: tuple[type[Exception], ...]

    def pieces(self, data: bytes) -> Iterator[bytes]: ...
    @property
    def eof(self) -> bool: ...
    @property
    def unused(self) -> bytes: ...


class _Gzip:
    errors: tuple[type[Exception], ...] = (zlib.error,)

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)

    def pieces(self, data: bytes) -> Iterator[bytes]:
        while data:
            yield self._stream.decompress(data, READ_SIZE)
            data = self._stream.unconsumed_tail

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def unused(self) -> bytes:
        return self._stream.unused_data


class _Xz:
    def __init__(self) -> None:
        lzma = _lzma()
        self.errors: tuple[type[Exception], ...] = (lzma.LZMAError,)
        self._stream: Any = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_MAX)

    def pieces(self, data: bytes) -> Iterator[bytes]:
        yield self._stream.decompress(data, READ_SIZE)
        while not (self._stream.needs_input or self._stream.eof):
            yield self._stream.decompress(b"", READ_SIZE)

    @property
    def eof(self) -> bool:
        return bool(self._stream.eof)

    @property
    def unused(self) -> bytes:
        return bytes(self._stream.unused_data)


class _Zstd:
    def __init__(self) -> None:
        package = _zstandard()
        self.errors: tuple[type[Exception], ...] = (package.ZstdError,)
        self._stream: Any = package.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_MAX).decompressobj()
        self._rest = b""

    def pieces(self, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), _ZSTD_STEP):
            yield self._stream.decompress(data[start : start + _ZSTD_STEP])
            if self._stream.eof:
                self._rest = data[start + _ZSTD_STEP :]
                return

    @property
    def eof(self) -> bool:
        return bool(self._stream.eof)

    @property
    def unused(self) -> bytes:
        return bytes(self._stream.unused_data) + self._rest


def _lzma() -> "ModuleType":
    try:
        import lzma
    except ImportError:
        raise InputError("this Python was built without xz (the module lzma): use gzip", line=0) from None
    return lzma


def _zstandard() -> "ModuleType":
    try:
        import zstandard
    except ImportError:
        raise InputError(_EXTRA_MISSING, line=0) from None
    return zstandard


_STREAMS: Final[dict[str, Callable[[], _Stream]]] = {"gzip": _Gzip, "zstd": _Zstd, "xz": _Xz}


def decompressed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """What the pieces of a source hold: decompressed if they are compressed, else as they are.

    Raises InputError where the compressed data is cut, damaged, or followed by something else, and if zstd is needed
    and not installed.
    """
    pieces = iter(pieces)
    head = b""
    for piece in pieces:
        head += piece
        if not any(magic.startswith(head) for magic in MAGIC.values()):
            break
    kind = kind_of(head)
    rest = chain([head] if head else [], pieces)
    return rest if kind is None else _members(kind, rest)


def _members(kind: str, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The content of all streams of this kind, one behind the other, as the programs themselves join them."""
    stream = _STREAMS[kind]()
    begun = False  # some byte of this stream was read
    offset = 0
    for piece in pieces:
        data = piece
        while data:
            begun = True
            try:
                yield from _pieces_cut(stream.pieces(data))
            except stream.errors as error:
                raise InputError(f"the {kind} data is damaged near its byte {offset}: {error}", line=0) from None
            if not stream.eof:
                break
            data = stream.unused
            begun = False
            if data and not (kind_of(data) == kind or MAGIC[kind].startswith(data)):
                at = offset + len(piece) - len(data)
                raise InputError(f"something else follows the {kind} data, from its byte {at} on", line=0)
            stream = _STREAMS[kind]()
        offset += len(piece)
    if begun:
        raise InputError(f"the {kind} data is cut: it ends after {offset} bytes, inside a stream", line=0)


def _pieces_cut(pieces: Iterator[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        for start in range(0, len(piece), READ_SIZE):
            yield piece[start : start + READ_SIZE]


def compressed(pieces: Iterable[bytes], kind: str, level: int | None = None) -> Iterator[bytes]:
    """The pieces as one compressed stream; kind: a name of MAGIC; level: None for what each program takes by itself.

    Raises InputError if zstd is wanted and not installed, before anything is taken from the pieces.
    """
    stream: _Compressor
    if kind == "gzip":
        stream = zlib.compressobj(6 if level is None else level, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    elif kind == "xz":
        lzma = _lzma()
        stream = lzma.LZMACompressor(lzma.FORMAT_XZ, preset=level)
    else:
        stream = _zstandard().ZstdCompressor(level=3 if level is None else level).compressobj()
    return _compressed(pieces, stream)


def _compressed(pieces: Iterable[bytes], stream: _Compressor) -> Iterator[bytes]:
    yield from filter(None, map(stream.compress, pieces))
    yield stream.flush()
