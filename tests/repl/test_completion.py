"""Suggestions and marks: pure functions of a line."""

import random

import pytest

from lsmcli.repl.completion import Sources, highlight, hint, key_word, suggest, typed_bytes
from lsmcli.repl.grammar import Grammar
from lsmcli.repl.keys import next_segments
from lsmcli.repl.loop import SHELL_ALIASES, SHELL_BUILTINS
from lsmcli.repl.words import split

GRAMMAR = Grammar(SHELL_BUILTINS, SHELL_ALIASES)
SOURCES = Sources(lambda begun, tree: [f"<{begun}|{tree}>"], lambda: ["main", "mine"], lambda begun: [begun + "*"])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("sc", ["scan", "scope"]),
        ("SC", ["scan", "scope"]),
        ("scan --ke", ["--keys-only", "--key-format"]),
        ("scan --key-format he", ["hex"]),
        ("scan --from us", ["<us|None>"]),
        ("scan -t m", ["main", "mine"]),
        ("scan -t mine --prefix u", ["<u|mine>"]),
        ("get user", ["<user|None>"]),
        ("get a ", ["<|None>"]),
        ('get "a b', ['<"a b|None>']),
        ("put a ", []),
        ("put a 1 b", ["<b|None>"]),
        ("delete --range a ", ["<|None>"]),
        ("tree dr", ["drop"]),
        ("tree drop m", ["main", "mine"]),
        ("import f", ["f*"]),
        ("scan > f", ["f*"]),
        ("scan | gr", []),
        ("timer o", ["on", "off"]),
        ("help sc", ["scan", "scope"]),
        ("watch 1 sca", ["scan"]),
        ("get -- -", ["<-|None>"]),
        ("zzz a", []),
    ],
)
def test_suggestions(text: str, found: list[str]) -> None:
    assert [suggestion.text for suggestion in suggest(text, GRAMMAR, SOURCES)] == found


def test_suggestions_explain_themselves() -> None:
    metas = {found.text: found.meta for found in suggest("scan --lim", GRAMMAR, SOURCES)}
    assert metas == {"--limit": "At most N entries."}
    assert hint("scan --limit ", GRAMMAR).startswith("scan [OPTIONS]")
    assert hint("tree drop ", GRAMMAR).startswith("tree drop [OPTIONS] NAME   Delete the tree")
    assert hint("sca", GRAMMAR) == hint("zzz ", GRAMMAR) == ""


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("put a 'b'", ["command:put", "string:'b'"]),
        ("pu", []),
        ("pux", ["error:pux"]),
        ("pu a", ["error:pu"]),
        ("scan --prefx a", ["command:scan", "error:--prefx"]),
        ("scan --pref", ["command:scan"]),
        ("scan --prefix=a --limit 3", ["command:scan", "option:--prefix=a", "option:--limit"]),
        ("scan --key-format hux ", ["command:scan", "option:--key-format", "error:hux"]),
        ("tree drup x", ["command:tree", "error:drup"]),
        ("scan | less", ["command:scan", "operator:|", "comment:"]),
        ("get a # b", ["command:get", "comment: # b"]),
        ('get "a', ["command:get", 'error:"a']),
        ("get -- -x", ["command:get", "option:--"]),
        ("SET a b", ["command:SET"]),
    ],
)
def test_marks(text: str, parts: list[str]) -> None:
    found = [f"{part.kind}:{part.text}" for part in highlight(text, GRAMMAR) if part.kind]
    assert found == [part for part in parts if part != "comment:"]


def test_marks_and_suggestions_take_any_line() -> None:
    rng = random.Random(5)
    pieces = [
        "put",
        "scan",
        "tree",
        " ",
        " ",
        " ",
        "--",
        "-x",
        "--limit",
        '"',
        "'",
        "\\",
        "|",
        ">",
        "<<",
        "#",
        "é",
        "\n",
        "a",
    ]
    for _ in range(3000):
        text = "".join(rng.choice(pieces) for _ in range(rng.randrange(9)))
        assert "".join(part.text for part in highlight(text, GRAMMAR)) == text
        list(suggest(text, GRAMMAR, SOURCES))
        hint(text, GRAMMAR)


class Sorted:
    """A tree over a list."""

    def __init__(self, keys: list[bytes]) -> None:
        self.keys = sorted(keys)
        self.read = 0

    def scan(
        self, start: bytes | None = None, end: bytes | None = None, prefix: bytes | None = None,
        reverse: bool = False, limit: int | None = None, keys_only: bool = False,
    ) -> list[tuple[bytes, bytes]]:  # fmt: skip
        found = [(key, b"") for key in self.keys if key >= (start or b"") and (end is None or key < end)][:limit]
        self.read += len(found)
        return found


def test_keys_go_on_by_segment() -> None:
    keys = [b"user:%d:%s" % (number, field) for number in range(3) for field in (b"mail", b"name")] + [
        b"zoo",
        b"\xff\xff",
    ]
    tree = Sorted(keys)
    assert next_segments(tree, b"", 50) == [b"user:", b"zoo", b"\xff\xff"]
    assert next_segments(tree, b"us", 50) == [b"user:"]
    assert next_segments(tree, b"user:", 50) == [b"user:0:", b"user:1:", b"user:2:"]
    assert next_segments(tree, b"user:1:", 50) == [b"user:1:mail", b"user:1:name"]
    assert next_segments(tree, b"\xff", 50) == [b"\xff\xff"]
    assert next_segments(tree, b"x", 50) == []


def test_few_keys_are_read_of_many() -> None:
    tree = Sorted([b"a:%05d" % number for number in range(3000)] + [b"b:%05d" % number for number in range(3000)])
    assert next_segments(tree, b"", 50) == [b"a:", b"b:"]
    assert tree.read < 200
    assert len(next_segments(tree, b"a:", 50)) == 50


def test_a_suggested_key_is_that_key_again() -> None:
    for key in (b"a", b"two words", b"hex:00", b"-x", b"@a", b'"', b"\x00\xff", "é".encode(), b"#a", b"raw:x", b"a:b"):
        (word,) = split(key_word(key).encode()).words
        assert word.removeprefix(b"raw:") == key or word == key, key
    assert typed_bytes('"two w') == b"two w"
    assert typed_bytes("user:") == b"user:"
    assert typed_bytes("raw:hex:") == b"hex:"
