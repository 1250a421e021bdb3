"""The one checksum of the data file: XXH3-128.

It finds accidents: rot, torn, lost and misdirected writes. It is no protection against a forger,
so whatever it covers is checked for sense as well before use.
"""

from typing import Final

import xxhash

digest: Final = xxhash.xxh3_128_digest  # checksum() for compiled code, which has no use for a step of ours in between


def checksum(data: bytes | bytearray | memoryview) -> bytes:
    """16 bytes over all of `data`; about 0.1 µs and 0.1 ns per byte."""
    return digest(data)
