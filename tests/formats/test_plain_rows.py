"""The fast path of rows, interpreted and compiled: what it answers is what a naive reader and writer say."""

import random
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsmcli.engine.constants import KEY_SIZE_MAX
from lsmcli.engine.entry_pack import pack_entries
from lsmcli.engine.packed_entries import PackedEntries, packed_entries
from lsmcli.formats.esc import is_plain
from tests.testing.twins import twins

COMMA, TAB, SEMICOLON = b",\t;"

both = pytest.mark.parametrize("rows", twins("lsmcli.formats.plain_rows"))

# Few different bytes, so that the interesting ones meet.
fields = st.lists(st.sampled_from(b'ab",\t;\r\n\x00\x7f\xc3\xa4\xff %\xef\xbb\xbf'), max_size=6).map(bytes)
pairs = st.lists(st.tuples(fields, fields), max_size=8)


def split_naively(block: bytes, separator: int) -> tuple[list[bytes], list[bytes]] | None:
    lines = block.split(b"\n")
    if lines[-1] == b"":
        del lines[-1]
    parts = [line.split(bytes((separator,))) for line in lines]
    for part in parts:
        if len(part) != 2 or not 0 < len(part[0]) <= KEY_SIZE_MAX:
            return None
        if part[0].startswith(b'"') or part[1].startswith(b'"'):
            return None
    if b"\r" in block or b"\0" in block or (b'"' in block and separator != TAB):
        return None
    return [key for key, _ in parts], [value for _, value in parts]


def csv_naively(keys: list[bytes], values: list[bytes], separator: int) -> bytes:
    def field(data: bytes) -> bytes:
        special = any(byte in data for byte in (separator, *b'"\r\n\0')) or data.startswith(b"\xef\xbb\xbf")
        return b'"' + data.replace(b'"', b'""') + b'"' if special else data

    rows = zip(keys, values, strict=True)
    return b"".join(field(key) + bytes((separator,)) + field(value) + b"\n" for key, value in rows)


def columns_of(rows: list[tuple[bytes, bytes]]) -> tuple[list[bytes], list[bytes]]:
    return [key for key, _ in rows], [value for _, value in rows]


@both
@pytest.mark.parametrize(
    ("block", "answer"),
    [
        (b"", ([], [])),
        (b"a,1\n", ([b"a"], [b"1"])),
        (b"a,1", ([b"a"], [b"1"])),
        (b"a,\nb,2", ([b"a", b"b"], [b"", b"2"])),
        (b"\x01,\xff\n", ([b"\x01"], [b"\xff"])),
        (b"a,\x00\n", None),
        (b"\n", None),
        (b"a\n", None),
        (b",1\n", None),
        (b"a,1\n\n", None),
        (b"a,1,\n", None),
        (b"a\nb,1,2\n", None),
        (b"a,1\r\n", None),
        (b'a,"1"\n', None),
        (b'a,x"1"\n', None),
        (b"k" * KEY_SIZE_MAX + b",v\n", ([b"k" * KEY_SIZE_MAX], [b"v"])),
        (b"k" * (KEY_SIZE_MAX + 1) + b",v\n", None),
    ],
    ids=repr,
)
def test_split(rows: ModuleType, block: bytes, answer: object) -> None:
    assert rows.split_rows(block, COMMA) == answer


@both
def test_with_tabs_a_quote_inside_a_field_is_a_byte_like_any_other(rows: ModuleType) -> None:
    assert rows.split_rows(b'a"\t{"b": 1}\n', TAB) == ([b'a"'], [b'{"b": 1}'])
    assert rows.split_rows(b'"a\t1\n', TAB) is None
    assert rows.split_rows(b'a\t"1\n', TAB) is None
    assert rows.split_rows(b'a\t1\n"b\t2\n', TAB) is None


@both
@pytest.mark.parametrize("separator", [COMMA, TAB, SEMICOLON])
@given(block=st.lists(st.sampled_from(b'aaab,,\t\t;\n\n\n"\r'), max_size=30).map(bytes))
def test_split_agrees_with_the_naive_reader(rows: ModuleType, separator: int, block: bytes) -> None:
    assert rows.split_rows(block, separator) == split_naively(block, separator)


@both
@pytest.mark.parametrize("separator", [COMMA, TAB, SEMICOLON, 1, ord("%"), 0xFF])
@given(items=pairs)
def test_csv_agrees_with_the_naive_writer(rows: ModuleType, separator: int, items: list[tuple[bytes, bytes]]) -> None:
    keys, values = columns_of(items)
    assert rows.join_csv(keys, values, separator) == csv_naively(keys, values, separator)


@both
def test_a_byte_order_mark_at_the_beginning_of_a_field_is_quoted(rows: ModuleType) -> None:
    mark = b"\xef\xbb\xbf"
    assert rows.join_csv([mark + b"k", b"l"], [mark, b"x" + mark]) == b'"%bk","%b"\nl,x%b\n' % (mark, mark, mark)


@both
@given(items=pairs)
def test_tsv_is_written_for_plain_fields_and_for_no_others(rows: ModuleType, items: list[tuple[bytes, bytes]]) -> None:
    keys, values = columns_of(items)
    text = rows.join_tsv(keys, values)
    if all(map(is_plain, keys + values)):
        assert text == b"".join(key + b"\t" + value + b"\n" for key, value in items)
    else:
        assert text is None


def packed_of(keys: list[bytes], values: list[bytes]) -> PackedEntries | None:
    _, values_size, raw = pack_entries(keys, values, bytes(len(keys)), 2)
    return packed_entries(raw, 0, len(keys), 2, len(raw) - values_size, KEY_SIZE_MAX)


@both
@pytest.mark.parametrize("separator", [COMMA, TAB, SEMICOLON, 0xFF])
@given(items=st.dictionaries(fields.filter(len), fields, min_size=1, max_size=8))
def test_packed_rows_are_written_as_lists_are(rows: ModuleType, separator: int, items: dict[bytes, bytes]) -> None:
    keys, values = columns_of(sorted(items.items()))
    packed = packed_of(keys, values)
    if packed is None or not rows.COMPILED:
        return
    assert rows.join_packed_tsv(*packed.parts) == rows.join_tsv(keys, values)
    text = rows.join_csv(keys, values, separator)
    quoted = any(
        byte in field or field.startswith(b"\xef\xbb\xbf")
        for field in keys + values
        for byte in (bytes((separator,)), b'"', b"\r", b"\n", b"\0")
    )
    answer = rows.join_packed_csv(*packed.parts, separator)
    assert answer == text or (answer is None and (quoted or b"\xef\xbb\xbf" in text))
    assert answer is None or not quoted


@both
def test_packed_rows_with_wrong_sizes_are_refused(rows: ModuleType) -> None:
    one, two = (1).to_bytes(4, "little"), (2).to_bytes(4, "little")
    assert rows.join_packed_tsv(b"kv", 0, 1, one, one) == (b"k\tv\n" if rows.COMPILED else None)
    for wrong in ((b"kv", 0, 1, one, one + one), (b"kv", 2, 1, one, one), (b"kv", 0, 3, one, one)):
        with pytest.raises(AssertionError):
            rows.join_packed_tsv(*wrong)
    if rows.COMPILED:
        for sizes in ((two, one), (one, two), (b"\xff" * 4, one), (b"", b"")):
            with pytest.raises(AssertionError):
                rows.join_packed_csv(b"kv", 0, 1, *sizes)


@both
@pytest.mark.parametrize("byte", range(256))
def test_each_byte_in_tsv_at_each_place(rows: ModuleType, byte: int) -> None:
    for value in (bytes((byte,)), b"x" + bytes((byte,)), b"x" * 130 + bytes((byte,)) + b"x" * 130):
        text = rows.join_tsv([b"k", b"l"], [value, b""])
        assert text == (b"k\t" + value + b"\nl\t\n" if is_plain(value) else None)


@both
def test_text_that_is_not_ascii_is_plain_if_it_can_be_printed(rows: ModuleType) -> None:
    assert rows.join_tsv(["ключ".encode()], ["значение €".encode()]) == "ключ\tзначение €\n".encode()
    assert rows.join_tsv([b"k"], ["right\u202eleft".encode()]) is None
    assert rows.join_tsv([b"\xc3"], [b"\xa4"]) is None  # halves of one letter in two fields


@both
def test_large_blocks_there_and_back(rows: ModuleType, rng: random.Random) -> None:
    keys = [rng.randbytes(rng.randint(1, 12)).hex().encode() for _ in range(3000)]
    values = [rng.randbytes(rng.randint(0, 200)).hex().encode() for _ in range(3000)]
    assert rows.split_rows(rows.join_csv(keys, values, COMMA), COMMA) == (keys, values)
    assert rows.split_rows(rows.join_tsv(keys, values), TAB) == (keys, values)


@both
def test_random_bytes_have_an_answer(rows: ModuleType, rng: random.Random) -> None:
    for _ in range(300):
        block = rng.randbytes(rng.randrange(200))
        assert rows.split_rows(block, TAB) == split_naively(block, TAB)


@both
def test_what_is_not_bytes_is_refused(rows: ModuleType) -> None:
    for call in (rows.join_tsv, rows.join_csv):
        with pytest.raises((TypeError, AttributeError)):
            call([b"a", None], [b"1", b"2"])
        with pytest.raises((TypeError, AttributeError)):
            call([b"a"], ["text"])
        with pytest.raises((AssertionError, ValueError)):
            call([b"a"], [])
    for separator in b'"\r\n\0':
        with pytest.raises(AssertionError):
            rows.split_rows(b"", separator)


@both
def test_line_ends_are_counted(rows: ModuleType, rng: random.Random) -> None:
    for size in (0, 1, 127, 128, 129, 1000):
        block = bytes(rng.choices(b"\na\x8a", k=size))
        assert rows.count_lines(block) == block.count(b"\n")
    assert rows.count_lines(b"\n" * 1000) == 1000
