"""Parquet and Arrow: every byte comes back, in bounded groups, and no damage or missing end passes for data."""

import io
import random
import sys

import pytest

from lsmcli.formats import InputError, arrow
from lsmcli.formats.detect import format_of_source
from lsmcli.formats.rows import ReadOptions, Section, WriteOptions
from tests.formats.streams import Bad, Pair, pairs_read, read_with_bad, written
from tests.formats.test_stores import ALL_BYTES, AWKWARD

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

FORMS = [("parquet", "auto"), ("arrow", "auto"), ("arrow", "stream")]
EVERY_FORM = pytest.mark.parametrize(("name", "encoding"), FORMS)
Pairs = list[tuple[bytes, bytes]]


def read(name: str, data: bytes, options: ReadOptions | None = None, *, size: int = 1 << 20) -> list[Pair]:
    return pairs_read(name, data, (options or ReadOptions())._replace(file=io.BytesIO(data)), size=size)


def file_of(name: str, columns: dict[str, object]) -> bytes:
    """What another program might write."""
    table = pyarrow.table(columns)
    sink = io.BytesIO()
    if name == "parquet":
        parquet.write_table(table, sink)
    else:
        with pyarrow.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
    return sink.getvalue()


@EVERY_FORM
@pytest.mark.parametrize("pairs", [[], AWKWARD, ALL_BYTES, [(b"%06d" % n, bytes(n % 97)) for n in range(100_000)]])
def test_every_pair_comes_back(name: str, encoding: str, pairs: Pairs) -> None:
    data = written(name, pairs, encoding=encoding)
    assert read(name, data) == pairs
    assert format_of_source("-", data) == name
    assert written(name, pairs, encoding=encoding) == data


def test_a_stream_is_read_from_a_pipe_however_it_is_cut() -> None:
    data = written("arrow", AWKWARD, encoding="stream")
    for size in (1, 3, 64, 1 << 20):
        assert pairs_read("arrow", data, size=size) == AWKWARD


def test_the_bytes_depend_on_the_rows_alone() -> None:
    rows = [(b"%05d" % number, bytes(number % 997)) for number in range(3000)]
    for name, encoding in FORMS:
        single = [([key], [value]) for key, value in rows]
        options = WriteOptions(name=name, encoding=encoding)
        assert b"".join(arrow.write([Section(None, single)], options)) == written(name, rows, encoding=encoding)


def test_a_table_of_pyarrow_has_the_same_rows() -> None:
    data = written("parquet", AWKWARD)
    assert parquet.read_table(io.BytesIO(data)).to_pydict() == {
        "key": [key for key, _ in AWKWARD],
        "value": [value for _, value in AWKWARD],
    }


def test_groups_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrow, "GROUP_SIZE_MAX", 1000)
    pairs = [(b"%04d" % number, bytes(96)) for number in range(95)]
    data = written("parquet", pairs)
    groups = parquet.ParquetFile(io.BytesIO(data)).metadata
    assert [groups.row_group(number).num_rows for number in range(groups.num_row_groups)] == [10] * 9 + [5]
    assert read("parquet", data) == pairs


@EVERY_FORM
def test_no_truncation_passes_for_the_whole(name: str, encoding: str) -> None:
    data = written(name, [(b"key", b"value"), (b"b", b"")], encoding=encoding)
    for size in range(len(data)):
        with pytest.raises(InputError):
            read(name, data[:size])
    if encoding == "stream":
        with pytest.raises(InputError, match="follows"):
            read(name, data + b"x")


@EVERY_FORM
def test_damage_never_ends_in_anything_but_an_error_of_the_input(name: str, encoding: str, rng: random.Random) -> None:
    data = written(name, [(b"key", b"value"), (b"b", b"")], encoding=encoding)
    for _ in range(500):
        damaged = bytearray(data)
        for _ in range(rng.randrange(1, 4)):
            damaged[rng.randrange(len(data))] = rng.randrange(256)
        try:
            read(name, bytes(damaged))
        except InputError as error:
            assert "\n" not in str(error)


def test_a_damaged_page_of_parquet_is_not_data() -> None:
    data = written("parquet", [(b"key", b"unmistakable")])
    with pytest.raises(InputError, match="damaged"):
        read("parquet", data.replace(b"unmistakable", b"unmistakeble", 1))


@pytest.mark.parametrize("name", ["parquet", "arrow"])
def test_files_of_other_programs_are_read(name: str) -> None:
    data = file_of(name, {"id": [1, 2], "note": ["ä", ""]})
    assert read(name, data) == [(b"1", "ä".encode()), (b"2", b"")]
    data = file_of(name, {"value": ["x"], "key": ["k"]})
    assert read(name, data) == [(b"k", b"x")]
    data = file_of(name, {"a": [True], "b": [1.5], "c": [b"\xff"], "d": pyarrow.array(["x"]).dictionary_encode()})
    assert read(name, data, ReadOptions(key="b", value="c")) == [(b"1.5", b"\xff")]
    assert read(name, data, ReadOptions(key="4", value="a")) == [(b"x", b"true")]


def test_columns_become_keys_and_values_as_those_of_csv() -> None:
    data = file_of("parquet", {"id": [7], "name": ["Ann"], "age": [30]})
    assert read("parquet", data, ReadOptions(key="id")) == [(b"7", b'{"name":"Ann","age":"30"}')]
    assert read("parquet", data, ReadOptions(key="id", value="*")) == [(b"7", b'{"id":"7","name":"Ann","age":"30"}')]
    assert read("parquet", data, ReadOptions(key_template="{name}/{id}", value="age")) == [(b"Ann/7", b"30")]


@pytest.mark.parametrize(
    ("columns", "options", "reason"),
    [
        ({"a": ["x"], "b": ["y"], "c": ["z"]}, ReadOptions(), "3 columns: choose"),
        ({"a": ["x"], "b": ["y"]}, ReadOptions(key="z", value="a"), "no column 'z': there are a, b"),
        ({"a": ["x"], "b": ["y"]}, ReadOptions(key="3"), "no column '3'"),
        ({"a": ["x"], "b": ["y"]}, ReadOptions(key_template="x"), "names no column"),
        ({"key": [["x"]], "value": ["y"]}, ReadOptions(), "neither bytes nor text"),
    ],
)
def test_columns_that_do_not_fit_are_told(columns: dict[str, object], options: ReadOptions, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        read("parquet", file_of("parquet", columns), options)


def test_nulls_and_keys_outside_the_limits_are_bad_rows() -> None:
    data = file_of("parquet", {"key": [b"a", None, b"", b"b"], "value": [None, b"1", b"2", b"3"]})
    good, bad = read_with_bad("parquet", data, ReadOptions(file=io.BytesIO(data)))
    assert good == [(b"b", b"3")]
    lenient = ReadOptions(lenient=True, file=io.BytesIO(data))
    assert read_with_bad("parquet", data, lenient)[0] == [(b"a", b""), (b"b", b"3")]
    assert bad == [
        Bad(1, 1, "column 2 is null", b"a\t"),
        Bad(2, 1, "column 1 is null", b"\t1"),
        Bad(3, 1, "the key is empty", b"\t2"),
    ]


@pytest.mark.parametrize("name", ["parquet", "arrow"])
def test_a_pipe_cannot_carry_a_file_with_its_directory_at_the_end(name: str) -> None:
    with pytest.raises(InputError, match="name a file, not a pipe"):
        pairs_read(name, written(name, [(b"a", b"1")]))


def test_neither_of_both_is_told() -> None:
    with pytest.raises(InputError, match="neither an Arrow file nor an Arrow stream"):
        read("arrow", b"hello, this is no arrow file")


def test_without_pyarrow_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"lsmcli\[arrow\]"):
        pairs_read("parquet", b"PAR1")
    with pytest.raises(InputError, match=r"lsmcli\[arrow\]"):
        written("arrow", [])


@pytest.mark.parametrize(
    ("column", "text"),
    [
        (pyarrow.array([b"\xff"], pyarrow.large_binary()), b"\xff"),
        (pyarrow.array([b"\xff\x00"], pyarrow.binary(2)), b"\xff\x00"),
        (pyarrow.array([b"\xff"], pyarrow.binary_view()), b"\xff"),
        (pyarrow.array(["\u2603"], pyarrow.string_view()), b"\xe2\x98\x83"),
        (pyarrow.array(["\u2603"], pyarrow.large_string()), b"\xe2\x98\x83"),
        (pyarrow.array([b"x"]).dictionary_encode(), b"x"),
        (pyarrow.array([-5], pyarrow.int64()), b"-5"),
        (pyarrow.array([0.1], pyarrow.float64()), b"0.1"),
        (pyarrow.array([False]), b"false"),
        (pyarrow.array([0], pyarrow.date32()), b"1970-01-01"),
        (pyarrow.array([0], pyarrow.timestamp("ms")), b"1970-01-01 00:00:00.000"),
    ],
    ids=lambda item: str(getattr(item, "type", "")),
)
def test_columns_of_other_types_are_bytes_or_their_text(column: object, text: bytes) -> None:
    assert read("arrow", file_of("arrow", {"key": ["k"], "value": column})) == [(b"k", text)]
