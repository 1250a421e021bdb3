"""A cursor over a stream of pieces, for formats whose records say how long they are.

    pieces      ....|........|.....|....
    data             [........·.....]         what is held: from the start of the current record on
                              ^ at            everything before it was taken

Invariant: what is held is bounded by the record being read and one piece, whatever the size of the stream.
"""

from collections.abc import Iterable, Iterator


class Cursor:
    """The bytes of a stream that were not taken yet. `data[at:]` are those at hand.

    base: offset of data[0] in the stream, in bytes. Whoever reads may move `at` forward within data.
    """

    __slots__ = ("at", "base", "data", "pieces")

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self.pieces: Iterator[bytes] = iter(pieces)
        self.data = b""
        self.at = 0
        self.base = 0

    @property
    def offset(self) -> int:
        """Offset in the stream of the next byte."""
        return self.base + self.at

    def more(self) -> bool:
        """Fetch one more piece behind what is at hand; False at the end of the stream."""
        return self.hold(len(self.data) - self.at + 1)

    def hold(self, size: int) -> bool:
        """Have at least `size` bytes at hand; False if the stream ends before, with all of its rest at hand.

        What was taken is dropped, so indexes into data from before do not hold any longer. O(size) in all, however
        many pieces it takes.
        """
        missing = size - (len(self.data) - self.at)
        if missing <= 0:
            return True
        parts = [self.data[self.at :]]
        while missing > 0:
            piece = next(self.pieces, None)
            if piece is None:
                break
            parts.append(piece)
            missing -= len(piece)
        self.base += self.at
        self.data = b"".join(parts)
        self.at = 0
        return missing <= 0

    def line(self, size_max: int) -> bytes | None:
        """Take the bytes up to and with the next LF. None if there is none in the next size_max bytes, or at all.

        For short lines, such as counts: each piece that it takes is searched and copied again.
        """
        while (end := self.data.find(b"\n", self.at, self.at + size_max)) == -1:
            if len(self.data) - self.at >= size_max or not self.more():
                return None
        text = self.data[self.at : end + 1]
        self.at = end + 1
        return text
