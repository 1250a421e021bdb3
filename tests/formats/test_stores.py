"""What holds for every format of another store: all bytes come back, however they are cut, and no end is made up."""

import random
import tracemalloc
from importlib import import_module
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsmcli.formats import FORMATS, InputError
from lsmcli.formats.detect import format_of_source
from lsmcli.formats.rows import ReadOptions, Section, WriteOptions
from tests.formats.streams import pairs_read, rows_read, written


class Form(NamedTuple):
    name: str
    encoding: str = "auto"
    no_nul: bool = False  # it cannot carry a NUL
    read_as: str = ""  # the format that is detected, if it is not the name


FORMS = [
    Form("bdb"),
    Form("bdb", "print"),
    Form("lmdb", read_as="bdb"),
    Form("ldb"),
    Form("cdbmake"),
    Form("resp"),
    Form("nul", no_nul=True),
]
EVERY_FORM = pytest.mark.parametrize("form", FORMS, ids=lambda form: f"{form.name}-{form.encoding}")

AWKWARD = [
    (b"a", b""),
    (b"\n", b"\n\n"),
    (b"\r\n", b"\r"),
    (b"->\n+1,1:", b"+1,1:a->b\n"),
    (b"a ==> b", b" ==> "),
    (b"DATA=END", b"VERSION=3\nDATA=END\n"),
    (b"Keys in range: 3", b"0x"),
    (b"\\", b"\\x\\5c\\\\"),
    (b" ", b"  "),
    (b"\xff\xfe", "café ☃".encode()),
    (b"*3\r\n$3\r\nSET\r\n", b"$1\r\n"),
    (b'"', b"'"),
    (b"k" * 511, b"v" * 5000),
]
ALL_BYTES = [(bytes([byte]), bytes([byte, byte])) for byte in range(256)]


def storable(form: Form, pairs: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [pair for pair in pairs if not (form.no_nul and b"\0" in pair[0] + pair[1])]


@EVERY_FORM
@pytest.mark.parametrize("size", [1, 2, 7, 64, 1 << 20])
def test_every_pair_comes_back_however_the_stream_is_cut(form: Form, size: int) -> None:
    pairs = storable(form, AWKWARD + ALL_BYTES)
    assert pairs_read(form.name, written(form.name, pairs, encoding=form.encoding), size=size) == pairs


@EVERY_FORM
@given(
    pairs=st.lists(st.tuples(st.binary(min_size=1, max_size=9), st.binary(max_size=12)), max_size=6),
    size=st.integers(1, 40),
)
def test_any_pairs_come_back(form: Form, pairs: list[tuple[bytes, bytes]], size: int) -> None:
    pairs = storable(form, pairs)
    assert pairs_read(form.name, written(form.name, pairs, encoding=form.encoding), size=size) == pairs


@EVERY_FORM
def test_many_rows_come_back(form: Form, rng: random.Random) -> None:
    pairs = storable(form, [(b"%08d" % number, rng.randbytes(rng.randrange(200))) for number in range(4000)])
    text = written(form.name, pairs, encoding=form.encoding)
    assert pairs_read(form.name, text, size=10_000) == pairs
    assert written(form.name, pairs, encoding=form.encoding) == text


@EVERY_FORM
def test_nothing_comes_back_as_nothing(form: Form) -> None:
    assert pairs_read(form.name, written(form.name, [], encoding=form.encoding)) == []


@EVERY_FORM
def test_no_truncation_passes_for_the_whole(form: Form) -> None:
    pairs = [(b"key", b"value"), (b"b", b""), (b"\xff", b"x ==> y")]
    text = written(form.name, pairs, encoding=form.encoding)
    # Redis and NUL lists have no end mark: what ends between two rows is a shorter stream, and nobody can tell.
    between = {len(written(form.name, pairs[:count])) for count in range(3)} if form.name in ("resp", "nul") else set()
    for size in range(len(text)):
        if size in between:
            assert len(pairs_read(form.name, text[:size])) < len(pairs)
            continue
        with pytest.raises(InputError) as caught:
            pairs_read(form.name, text[:size])
        assert caught.value.line >= 1
        assert caught.value.column >= 1
        for cut in (1, 5):
            with pytest.raises(InputError):
                pairs_read(form.name, text[:size], size=cut)


@EVERY_FORM
def test_no_byte_changed_makes_a_reader_fail_otherwise_than_by_its_own_error(form: Form, rng: random.Random) -> None:
    text = written(
        form.name,
        [(b"key", b"value"), (b"b", b"a\\\n"), (b"\xff", b"")][: 2 if form.no_nul else 3],
        encoding=form.encoding,
    )
    for at in range(len(text)):
        for byte in {0, 0x0A, 0x20, 0x39, 0xFF, rng.randrange(256)}:
            changed = text[:at] + bytes([byte]) + text[at + 1 :]
            try:
                rows_read(form.name, changed)
            except InputError as error:
                assert "\n" not in str(error)


@EVERY_FORM
def test_memory_is_bounded_whatever_the_size_of_the_stream(form: Form) -> None:
    chunk = [b"k%07d" % number for number in range(64)], [b"v" * 1000] * 64  # some 64 KB
    module = import_module(FORMATS[form.name])

    def peak_of(chunks: int) -> int:
        """The most memory that writing and reading so many chunks took, side by side: nothing is kept."""
        options = WriteOptions(name=form.name, encoding=form.encoding)
        text = module.write([Section(None, (chunk for _ in range(chunks)))], options)
        tracemalloc.start()
        try:
            assert sum(len(rows.keys) for rows in module.read(text, ReadOptions(name=form.name))) == 64 * chunks
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak_of(1)
    assert peak_of(60) < 1.5 * peak_of(6)


@EVERY_FORM
def test_what_is_written_is_detected(form: Form) -> None:
    pairs = [(b"key", b"value"), (b"b", b"1")]
    text = written(form.name, pairs, encoding=form.encoding)
    assert format_of_source("-", text) == (form.read_as or form.name)


@EVERY_FORM
def test_something_behind_the_end_is_an_error(form: Form) -> None:
    text = written(form.name, [(b"key", b"value")], encoding=form.encoding)
    with pytest.raises(InputError):
        pairs_read(form.name, text + b"garbage\n")
    with pytest.raises(InputError):
        pairs_read(form.name, text + b"x", size=1)


@pytest.mark.parametrize("path", ["rows.sql", "-"])
def test_a_script_of_sql_is_detected_so_that_nobody_takes_it_for_rows(path: str) -> None:
    assert format_of_source(path, written("sql", [(b"key", b"value")])) == "sql"
    assert format_of_source(path, b"PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n") == "sql"
