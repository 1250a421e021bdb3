"""What all formats of text promise: every byte back, the same rows however a source is cut, InputError if any error."""

import random
import tracemalloc
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsmcli.engine.constants import MIB
from lsmcli.formats import FORMATS, InputError
from lsmcli.formats.rows import ReadOptions
from tests.formats.streams import Bad, Pair, error_of, pairs_read, read_with_bad, written

NAMES = ["csv", "tsv", "jsonl", "json"]
ALL_BYTES = bytes(range(256))

# One byte of each kind that means something in some of the formats, and bytes that mean nothing.
ALPHABET = [b'"', b"\\", b",", b"\t", b"\n", b"\r", b"\0", b"{", b"}", b"[", b"]", b":", b"a", b"\xff", b"\xef\xbb\xbf"]


@pytest.mark.parametrize("name", NAMES)
def test_every_byte_comes_back_wherever_it_stands(name: str) -> None:
    pairs = [(bytes((byte,)), bytes((byte, byte))) for byte in range(256)]
    pairs += [(b"k" + bytes((byte,)) + b"k", b"v" + bytes((byte,)) + b"v") for byte in range(256)]
    pairs += [(ALL_BYTES, ALL_BYTES * 2), (ALL_BYTES[::-1], b"")]
    assert pairs_read(name, written(name, pairs)) == pairs
    assert pairs_read(name, written(name, pairs), size=3) == pairs


@pytest.mark.parametrize("name", NAMES)
def test_what_others_lose_is_kept(name: str) -> None:
    """A blob with a NUL, which is cut elsewhere; bytes that are not UTF-8; a value that looks like an end mark."""
    pairs = [(b"k", b"\x00\xff"), (b"l", b"DATA=END"), (b"m", b"a\\b"), (b"n", b" padded "), (b"o", b"0x6A")]
    assert pairs_read(name, written(name, pairs)) == pairs


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [("csv", b"a,1\nbad\n", 2), ("tsv", b"a\t1\nbad\n", 2), ("jsonl", b'{"key":"a","value":"1"}\nbad\n', 2)],
)
def test_a_line_without_the_delimiter_is_never_passed_over(name: str, text: bytes, line: int) -> None:
    assert error_of(name, text).line == line


def outcome(name: str, data: bytes, options: ReadOptions, size: int) -> Any:
    """Everything that a reader says of a source: its rows, its bad rows, the error that it ends in."""
    bad: list[Bad] = []
    found: list[Pair] = []

    def note(error: InputError, raw: bytes) -> None:
        bad.append(Bad(error.line, error.column, error.reason, raw))

    pieces = (data[at : at + size] for at in range(0, len(data), size))
    try:
        for rows in import_module(FORMATS[name]).read(pieces, options._replace(on_bad=note)):
            found += zip(rows.keys, rows.values, strict=True)
    except InputError as error:
        return found, bad, (error.line, error.column, error.reason)
    return found, bad, None


OPTIONS = st.sampled_from(
    [
        ReadOptions(),
        ReadOptions(lenient=True),
        ReadOptions(header=True),
        ReadOptions(key="a"),
        ReadOptions(key="1", value="2"),
        ReadOptions(key_template="{a}-{a}", value="*"),
        ReadOptions(value_format="json"),
        ReadOptions(encoding="base64"),
    ]
)
SOURCES = st.one_of(
    st.lists(st.sampled_from([*ALPHABET, b"a,1\n", b"b\t2\n", b'{"key":"a","value":"1"}']), max_size=12).map(b"".join),
    st.binary(max_size=30),
)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=150)
@given(SOURCES, OPTIONS)
def test_any_bytes_give_rows_or_an_input_error_and_the_same_however_they_are_cut(
    name: str, source: bytes, options: ReadOptions
) -> None:
    whole = outcome(name, source, options, 1 << 20)
    for size in (1, 5):
        found, bad, error = outcome(name, source, options, size)
        assert (bad, error) == whole[1:]
        if error is None:
            assert found == whole[0]


@pytest.mark.parametrize("name", NAMES)
def test_a_changed_byte_gives_rows_or_an_input_error(name: str, rng: random.Random) -> None:
    pairs = [(rng.randbytes(4), "".join(rng.choices('ab",\n\\é', k=6)).encode()) for _ in range(40)]
    source = bytearray(written(name, pairs))
    for _ in range(400):
        at = rng.randrange(len(source))
        before = source[at]
        source[at] = rng.choice([0, 10, 13, 34, 44, 92, 123, 125, 255, rng.randrange(256)])
        try:
            pairs_read(name, bytes(source), size=rng.choice([7, 1000, 1 << 20]))
        except InputError as error:
            assert 1 <= error.line <= source.count(b"\n") + 1
            assert error.column >= 1
        source[at] = before


@pytest.mark.parametrize("name", NAMES)
def test_bad_rows_are_never_more_than_told(name: str) -> None:
    pairs = [(b"k%d" % number, b"v") for number in range(300)]
    source = (
        written(name, pairs).replace(b"k7", b"k" * 5000).replace(b"k1", b"k1\0" if name in ("csv", "tsv") else b"k1\1")
    )
    found, bad = read_with_bad(name, source)
    assert len(found) + len(bad) == 300
    assert len(bad) == sum(b"k1" in key or b"k7" in key for key, _ in pairs)


@pytest.mark.parametrize("name", NAMES)
def test_memory_does_not_grow_with_the_source(name: str) -> None:
    text = written(name, [(b"key%06d" % number, b"v" * 100) for number in range(500)])
    body = text.strip(b"[]\n") + (b",\n" if name == "json" else b"\n")
    body = body.removeprefix(b"key,value\n")

    def pieces() -> Iterator[bytes]:
        yield b"[" if name == "json" else b""
        for _ in range(30):
            yield body
        yield b'{"key": "z", "value": ""}]' if name == "json" else b""

    tracemalloc.start()
    try:
        count = sum(len(rows.keys) for rows in import_module(FORMATS[name]).read(pieces(), ReadOptions()))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 15_000 + (name == "json")
    assert peak < MIB < 30 * len(body) // 1.5
