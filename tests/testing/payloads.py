"""Hostile bytes, to be keys and values: what steers terminals, breaks text, looks like syntax, or is at a limit."""

import random
from typing import Final

from lsmcli.engine.constants import KEY_SIZE_MAX

_BIDIRECTIONAL: Final = [0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
_INVISIBLE: Final = [0x00AD, 0x200B, 0x200D, 0x2028, 0x2029, 0x2060, 0xFEFF, 0xFFF9, 0xE0001, 0xFDD0, 0xFFFF, 0x10FFFF]

_INVALID: Final = [
    b"\xff", b"\xfe\xff", b"\x80", b"\xc3", b"a\xc3(", b"\xc0\x80", b"\xe0\x80\xaf", b"\xf8\x88\x80\x80\x80",
    b"\xf4\x90\x80\x80", b"\xed\xa0\x80", b"\xed\xb0\x80", b"\xed\xa0\xbd\xed\xb8\x80", b"\xe2\x82", b"ok\xe2\x28\xa1",
]  # fmt: skip

_ESCAPES: Final = [
    b"\x1b[2J\x1b[H", b"\x1b]0;title\x07", b"\x1b]52;c;ZWNobyBoaQ==\x07", b"\x1b]8;;http://x\x1b\\y", b"\x1bP+q\x1b\\",
    b"\x1b[31mred", b"\x1bc", b"\xc2\x9b31m", b"\xc2\x9d0;t\xc2\x9c", b"\x9b31m", b"a\rb", b"a\x08\x08b", b"\x0e\x0f",
]  # fmt: skip

_SYNTAX: Final = [
    b"-", b"--", b"-x", b"--help", b"--tree=x", b"@file", b"@", b"hex:zz", b"hex:6162", b"b64:?", b"esc:\\x0", b"raw:",
    b"u64be:-1", b'"', b'""', b'"open', b'a"b', b"'", b"\\", b"\\x00", b'\\"', b"a\\", b"#comment", b"a\tb", b"\t",
    b"\n", b"\r\n", b"a\nb\n", b"key\tvalue", b'{"key": "a", "value": "1"}', b"[1", b"null", b"NaN", b"1e999", b"$HOME",
    b"`id`", b"; ls", b"> out", b"| cat", b"<<END", b"%s%n", b"*", b" ", b" a ", b"a  b", b"a=b", b",", b'a,"b"',
    b"../../etc", b"/dev/null", b"\xef\xbb\xbfbom", b"not found: x", b"Error: x",
]  # fmt: skip

_TEXT: Final = ["é", "日本語", "😀", "👩‍👩‍👧", "e\u0301", "שלום", "\u0e01\u0e33", "Ⅷ", "a" * 300]


def payloads(rng: random.Random) -> list[bytes]:
    """More than 150 of them, the empty one among them, none twice; a few differ with the seed."""
    found = [b"", *(bytes([byte]) for byte in (*range(0x20), 0x7F))]
    found += [b"\xc2" + bytes([byte]) for byte in range(0x80, 0xA0, 5)]
    found += [b"x" + chr(point).encode() + b"y" for point in (*_BIDIRECTIONAL, *_INVISIBLE)]
    found += [*_INVALID, *_ESCAPES, *_SYNTAX, *(text.encode() for text in _TEXT)]
    found += [bytes(range(256)), b"\0" * 100, b"\xff" * KEY_SIZE_MAX, b"k" * (KEY_SIZE_MAX - 1)]
    found += [rng.randbytes(rng.choice((1, 2, 3, 8, 64, 700))) for _ in range(12)]
    return list(dict.fromkeys(found))
