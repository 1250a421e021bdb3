"""Redis commands: arrays and inline lines, what is stored of them, and what is refused rather than half stored."""

import pytest

from lsmcli.formats import InputError, resp
from lsmcli.formats.resp import command_text
from lsmcli.formats.rows import ReadOptions, Section, WriteOptions
from tests.formats.streams import Bad, error_of, pairs_read, read_with_bad, rows_read, written

SIZES = (1, 3, 11, 1 << 20)


def commands(*lines: str) -> bytes:
    return b"".join(command_text(line.encode().split()) for line in lines)


def test_set_commands_are_written_for_redis_cli() -> None:
    assert written("resp", [(b"a", b"1\r\n")]) == b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$3\r\n1\r\n\r\n"


@pytest.mark.parametrize("size", SIZES)
def test_commands_become_rows_in_their_order(size: int) -> None:
    text = commands("set a 1", "SET b 2", "DEL a c", "MSET d 4 e 5", "UNLINK d", "SET a 6")
    assert rows_read("resp", text, size=size) == [
        (None, 1, b"a", b"1"),
        (None, 2, b"b", b"2"),
        (None, 3, b"a", None),
        (None, 3, b"c", None),
        (None, 4, b"d", b"4"),
        (None, 4, b"e", b"5"),
        (None, 5, b"d", None),
        (None, 6, b"a", b"6"),
    ]


@pytest.mark.parametrize("size", SIZES)
def test_inline_commands_are_read_as_redis_reads_them(size: int) -> None:
    text = b'SET a 1\r\n\r\nset "b c" \'it\\\'s\'\n  SET "\\x00\\n" ""  \n' + commands("SET d 4") + b"DEL a\n"
    assert pairs_read("resp", text, size=size) == [
        (b"a", b"1"),
        (b"b c", b"it's"),
        (b"\x00\n", b""),
        (b"d", b"4"),
        (b"a", None),
    ]


@pytest.mark.parametrize("size", SIZES)
def test_databases_are_trees(size: int) -> None:
    text = commands("SET a 0", "SELECT 3", "SET a 3", "DEL b", "SELECT 0", "SET b 0")
    assert [(tree, key) for tree, _, key, _ in rows_read("resp", text, size=size)] == [
        (None, b"a"),
        (b"3", b"a"),
        (b"3", b"b"),
        (None, b"b"),
    ]


def test_trees_that_are_databases_are_written_and_others_refused() -> None:
    sections = [Section(b"main", [([b"a"], [b"1"])]), Section(b"15", [([b"a"], [b"2"])])]
    text = b"".join(resp.write(sections, WriteOptions(name="resp")))
    assert text == commands("SELECT 0", "SET a 1", "SELECT 15", "SET a 2")
    for tree in (b"users", b"16", b"0"):
        with pytest.raises(InputError, match="1 to 15"):
            written("resp", [], tree=tree)


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("GET a", "GET is no command of an import"),
        ("FLUSHALL", "FLUSHALL is no command"),
        ("SET a", "not with these 1 arguments"),
        ("SET a 1 NX", "not with these 3 arguments"),
        ("SET a 1 EX x", "not with these 4 arguments"),
        ("MSET a 1 b", "not with these 3 arguments"),
        ("DEL", "not with these 0 arguments"),
        ("SETEX a 10 1", "keys do not expire"),
        ("PSETEX a 10 1", "keys do not expire"),
        ("SET a 1 EX 10", "SET … EX: keys do not expire"),
        ("SET a 1 pxat 10", "keys do not expire"),
        ("EXPIRE a 10", "EXPIRE is no command"),
    ],
)
def test_what_cannot_be_stored_is_a_bad_row(command: str, reason: str) -> None:
    text = commands("SET x 1", command, "SET y 2")
    error = error_of("resp", text)
    assert error.line == 2
    assert reason in error.reason
    good, bad = read_with_bad("resp", text)
    assert good == [(b"x", b"1"), (b"y", b"2")]
    assert bad == [Bad(2, 1, error.reason, commands(command).removesuffix(b"\r\n"))]


def test_lenient_stores_what_would_expire() -> None:
    text = commands("SETEX a 10 1", "PSETEX b 10 2", "SET c 3 EX 10", "set d 4 pxat 10")
    pairs = [(b"a", b"1"), (b"b", b"2"), (b"c", b"3"), (b"d", b"4")]
    assert pairs_read("resp", text, ReadOptions(lenient=True)) == pairs
    assert "arguments" in error_of("resp", commands("SET a 1 EX x"), ReadOptions(lenient=True)).reason


def test_a_command_with_one_bad_key_stores_none_of_its_keys() -> None:
    good, bad = read_with_bad("resp", command_text([b"MSET", b"a", b"1", b"k" * 4097, b"2"]) + commands("SET b 3"))
    assert good == [(b"b", b"3")]
    assert [row.line for row in bad] == [1]
    assert "4097 bytes" in error_of("resp", command_text([b"SET", b"k" * 4097, b"2"])).reason
    assert "empty" in error_of("resp", command_text([b"SET", b"", b"2"])).reason


@pytest.mark.parametrize(
    ("text", "line", "column", "reason"),
    [
        (b"SET a", 1, 1, "cut off"),
        (b"*", 1, 1, "cut off"),
        (b"*x\r\n", 1, 2, "number of words"),
        (b"*3\n$3\r\n", 1, 2, "number of words"),
        (b"*-1\r\n", 1, 2, "number of words"),
        (b"*1048577\r\n", 1, 2, "number of words"),
        (b"*2\r\n$3\r\nDEL\r\n", 1, 14, "cut off"),
        (b"*2\r\n$3\r\nDEL\r\n:1\r\n", 1, 14, "$ and the length"),
        (b"*2\r\n$-1\r\n", 1, 5, "$ and the length"),
        (b"*2\r\n$3\r\nDELE\r\n", 1, 12, "no CR LF"),
        (b"*2\r\n$4\r\nDEL\r\n$1\r\na\r\n", 1, 13, "no CR LF"),
        (b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$9\r\nb\r\n", 1, 25, "cut off"),
        (b"*3\r\n$3\r\nSET\r\n$1\r\nab\r\n$1\r\nb\r\n", 1, 19, "no CR LF"),
        (b'SET a 1\nSET "a 1\n', 2, 5, "not closed"),
        (b'SET a 1\nSET "a"b 1\n', 2, 5, "text follows"),
        (b'SET "\\xg" 1\n', 1, 6, "two hex digits"),
        (b"SELECT x\nSET a 1\n", 1, 1, "number of a database"),
        (b"SELECT\nSET a 1\n", 1, 1, "number of a database"),
        (b"SET a " + b"1" * (1 << 20), 1, 1, "no line end within"),
    ],
)
def test_a_broken_stream_is_told_with_its_place(text: bytes, line: int, column: int, reason: str) -> None:
    error = error_of("resp", text)
    assert reason in error.reason
    assert (error.line, error.column) == (line, column)


def test_lengths_that_are_not_there_cost_nothing() -> None:
    assert "cut off" in error_of("resp", b"*2\r\n$1000000000\r\nx\r\n").reason
    assert "in one command" in error_of("resp", b"*9\r\n$3\r\nSET\r\n$9999999999\r\nx\r\n").reason


def test_many_values_are_not_held_together() -> None:
    value = bytes(100_000)
    text = written("resp", [(b"%03d" % number, value) for number in range(100)])
    module_rows = list(resp.read((text[at : at + 50_000] for at in range(0, len(text), 50_000)), ReadOptions()))
    assert max(len(rows.keys) for rows in module_rows) <= 5
    assert sum(len(rows.keys) for rows in module_rows) == 100


def test_a_value_that_redis_refuses_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resp, "BULK_SIZE_MAX", 10)
    with pytest.raises(InputError, match="a Redis server takes 10") as caught:
        written("resp", [(b"a", b""), (b"b", bytes(11))])
    assert caught.value.line == 2
