"""The bytes of a simulated disk as pages that copies share: a copy costs a microsecond, however long the disk is.

Invariants:
- a page never changes: a write puts another one in its place, so a copy that shares it sees nothing of it;
- every page but the last one is PAGE_SIZE long, and the last one is not empty.

    original   [ p0 ][ p1 ][ p2 ]            a write of some bytes of page 1 of the copy:
    copy       [ p0 ][ p1 ][ p2 ]      ->    [ p0 ][ q1 ][ p2 ]

It behaves as a bytearray does, as far as tests ask: len, bytes, ==, slices, `del image[n:]` and extend.
"""

from collections.abc import Iterable
from typing import overload

PAGE_SIZE = 4096
_ZEROS = bytes(PAGE_SIZE)


class Pages:
    """A mutable run of bytes, cheap to copy."""

    __slots__ = ("_pages", "_size")

    def __init__(self, data: "bytes | bytearray | memoryview | Pages" = b"") -> None:
        self._pages: list[bytes]
        self._size: int
        if isinstance(data, Pages):
            self._pages, self._size = data._pages.copy(), data._size
            return
        stored = bytes(data)
        self._pages = [_shared(stored[at : at + PAGE_SIZE]) for at in range(0, len(stored), PAGE_SIZE)]
        self._size = len(stored)

    def read(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes, fewer where the disk ends."""
        size = min(size, self._size - offset)
        if size <= 0:
            return b""
        first, skipped = divmod(offset, PAGE_SIZE)
        if skipped + size <= PAGE_SIZE:
            page = self._pages[first]
            return page if size == len(page) else page[skipped : skipped + size]
        last = (offset + size - 1) // PAGE_SIZE
        return b"".join(self._pages[first : last + 1])[skipped : skipped + size]

    def write(self, offset: int, data: bytes) -> None:
        """Stores bytes; the disk grows with zeros where they lie behind its end."""
        if data and offset + len(data) > self._size:
            self.resize(offset + len(data))
        pages = self._pages
        at = 0
        while at < len(data):
            index, skipped = divmod(offset + at, PAGE_SIZE)
            page = pages[index]
            part = data[at : at + PAGE_SIZE - skipped]
            pages[index] = part if len(part) == len(page) else page[:skipped] + part + page[skipped + len(part) :]
            at += len(part)

    def resize(self, size: int) -> None:
        """Sets the length: cuts, or adds zeros."""
        pages = self._pages
        if size < self._size:
            del pages[-(-size // PAGE_SIZE) :]
            if size % PAGE_SIZE:
                pages[-1] = pages[-1][: size % PAGE_SIZE]
        else:
            if self._size % PAGE_SIZE:
                pages[-1] = pages[-1].ljust(min(PAGE_SIZE, size - self._size // PAGE_SIZE * PAGE_SIZE), b"\0")
            whole, rest = divmod(size, PAGE_SIZE)
            pages.extend([_ZEROS] * (whole - len(pages)))
            if rest and len(pages) == whole:
                pages.append(bytes(rest))
        self._size = size

    def key(self) -> int:
        """A hash of the contents."""
        return hash(tuple(self._pages))

    def __len__(self) -> int:
        return self._size

    def __bytes__(self) -> bytes:
        return b"".join(self._pages)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Pages):
            return self._pages == other._pages
        if isinstance(other, bytes | bytearray | memoryview):
            return bytes(self) == other
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]  # it changes

    @overload
    def __getitem__(self, index: int) -> int: ...

    @overload
    def __getitem__(self, index: slice) -> bytes: ...

    def __getitem__(self, index: int | slice) -> bytes | int:
        if isinstance(index, int):
            return self.read(index if index >= 0 else self._size + index, 1)[0]
        begin, end, step = index.indices(self._size)
        assert step == 1
        return self.read(begin, max(0, end - begin))

    def __setitem__(self, index: slice, data: bytes | bytearray | memoryview) -> None:
        begin, end, _ = index.indices(self._size)
        assert end - begin == len(data), "a disk does not grow in its middle"
        self.write(begin, bytes(data))

    def __delitem__(self, index: slice) -> None:
        begin, end, _ = index.indices(self._size)
        assert end == self._size, "a disk is cut at its end only"
        self.resize(begin)

    def extend(self, data: Iterable[int]) -> None:
        """Adds bytes at the end."""
        self.write(self._size, bytes(data))


def _shared(page: bytes) -> bytes:
    return _ZEROS if page == _ZEROS else page
