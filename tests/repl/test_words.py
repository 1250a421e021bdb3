"""Lines and words: examples, and every byte string through quotes and back."""

import random

import pytest

from lsmcli.repl.words import (
    Line,
    LineError,
    OpenError,
    Redirection,
    commands_of,
    is_complete,
    place,
    split,
    word_text,
    words_of,
)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (b"", []),
        (b"  \t\r\n", []),
        (b"put a b", [b"put", b"a", b"b"]),
        (b"  put\ta  b \r\n", [b"put", b"a", b"b"]),
        (rb'put "a b" "\x00\xFF\n\"\\"', [b"put", b"a b", b'\x00\xff\n"\\']),
        (rb"put 'a \n b' 'it\'s'", [b"put", rb"a \n b", b"it's"]),
        (b"put \"\" ''", [b"put", b"", b""]),
        (b'scan --prefix="a b"', [b"scan", b"--prefix=a b"]),
        (rb"put a\b c:\x", [b"put", rb"a\b", rb"c:\x"]),
        (b"put a b # c 'd", [b"put", b"a", b"b"]),
        (b"put a b#c", [b"put", b"a", b"b#c"]),
        (b"put a '#'", [b"put", b"a", b"#"]),
        (b"# only this", []),
        (b"put a>b c|d", [b"put", b"a>b", b"c|d"]),
        (b"put '>' \"|\"", [b"put", b">", b"|"]),
        (b"put a \\\n  b", [b"put", b"a", b"b"]),
        (b"put a # why\n b", [b"put", b"a", b"b"]),
        ("put ключ é".encode(), [b"put", "ключ".encode(), "é".encode()]),
    ],
)
def test_words(source: bytes, words: list[bytes]) -> None:
    assert split(source) == Line(words)


@pytest.mark.parametrize(
    ("source", "line"),
    [
        (b"scan > a.txt", Line([b"scan"], Redirection(">", b"a.txt"))),
        (b"scan >> 'a b'", Line([b"scan"], Redirection(">>", b"a b"))),
        (b"scan | grep 'a b' | wc -l # x", Line([b"scan"], Redirection("|", b"grep 'a b' | wc -l # x"))),
        (b"scan | grep \"it's", Line([b"scan"], Redirection("|", b"grep \"it's"))),
        (b"put a - <<END", Line([b"put", b"a", b"-"], None, b"END")),
        (b"put a - <<E | wc", Line([b"put", b"a", b"-"], Redirection("|", b"wc"), b"E")),
    ],
)
def test_redirections(source: bytes, line: Line) -> None:
    assert split(source) == line


@pytest.mark.parametrize(
    ("source", "offset", "reason"),
    [
        (b'put "a', 4, "double quote is not closed"),
        (b'put a "b\\"', 6, "double quote is not closed"),
        (b"put 'a", 4, "single quote is not closed"),
        (b'put "a"b', 7, "white space"),
        (b'put {"a":1}', 8, "white space"),
        (rb'put "a\xzz"', 6, "no escape"),
        (b"scan >", 5, "name of a file"),
        (b"scan > a b", 9, "nothing else"),
        (b"scan |", 5, "followed by a command"),
        (b"put <<", 4, "ends the here-document"),
        (b"put <<A b", 8, "is the last"),
        (b"put a \\", 6, "goes on"),
    ],
)
def test_mistakes_have_a_place(source: bytes, offset: int, reason: str) -> None:
    with pytest.raises(LineError, match=reason) as caught:
        split(source)
    assert caught.value.offset == offset


def test_the_short_way_splits_as_the_long_one() -> None:
    rng = random.Random(1)
    for _ in range(3000):
        source = bytes(rng.choice(b"ab: \t\r\x0b\x0c\x1c\x85\xa0-") for _ in range(rng.randrange(12)))
        assert split(source).words == [word.data for word in words_of(source)]


def test_any_bytes_can_be_typed() -> None:
    rng = random.Random(2)
    samples = [bytes([first, second]) for first in range(256) for second in b"a \"'\\#"]
    samples += [rng.randbytes(rng.randrange(8)) for _ in range(2000)] + [b"", b"|", b">", b">>", b"<<A", b"#", b"\\"]
    for data in samples:
        assert split(b"put " + word_text(data) + b" x").words == [b"put", data, b"x"], data


def test_commands_of_a_script() -> None:
    text = b'# head\n\nput a 1\nput b - <<END\nx\n  END\nEND\nput c \\\n 3\nput "d\nput e 5'
    commands = list(commands_of(text.splitlines(keepends=True)))
    assert [(command.number, command.line.words, command.body) for command in commands] == [
        (3, [b"put", b"a", b"1"], None),
        (4, [b"put", b"b", b"-"], b"x\n  END\n"),
        (8, [b"put", b"c", b"3"], None),
        (10, [], None),
        (11, [b"put", b"e", b"5"], None),
    ]
    assert [command.number for command in commands if command.error] == [10]


def test_a_here_document_without_end() -> None:
    (command,) = commands_of([b"put a - <<END\n", b"x\n"])
    assert isinstance(command.error, OpenError)


def test_places_count_lines_and_columns() -> None:
    (command,) = commands_of([b"put a \\\n", b'  "b"c\n'])
    assert command.error is not None
    assert place(command, command.error.offset) == (2, 6)


@pytest.mark.parametrize(
    ("text", "complete"),
    [
        (b"put a b", True),
        (b'put a "b', False),
        (b'put a "b\nc"', True),
        (b"put a \\", False),
        (b"put a \\\n", False),
        (b"put a \\\n\n", True),
        (b"put a - <<E", False),
        (b"put a - <<E\nx\nE", True),
        (b'put "a"b', True),
    ],
)
def test_a_text_is_complete_or_waits_for_more(text: bytes, complete: bool) -> None:
    assert is_complete(text) == complete
