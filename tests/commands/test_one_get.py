"""A get by the short way: it prints what the command prints, with its exit code, or leaves all to the command."""

import os
from collections.abc import Sequence

import pytest

from lsmcli.one_get import one_get
from tests.testing.command_line import Lsm, process

LEFT = -1


def shortly(words: Sequence[str]) -> int:
    """one_get() as a program of its own, with LEFT where it leaves the words to the ordinary way."""
    code = one_get(words)
    return LEFT if code is None else code


def same(lsm: Lsm, key: str) -> int:
    """Both ways must do the same; returns the exit code."""
    short = lsm.run(str(lsm.path), "get", key, main=shortly)
    assert short == lsm("get", key)
    return short.code


VALUES = [
    b"",
    b"1",
    b"two words",
    "café".encode(),
    b"a\nb\n",
    b'"quoted',
    b"\x00\xff\x1b[0m",
    bytes(range(256)),
    b"v" * 70_000,
]


def test_values_of_all_kinds_are_shown_as_the_command_shows_them(lsm: Lsm) -> None:
    for number, value in enumerate(VALUES):
        lsm.ok("put", f"k{number}", "-", stdin=value)
        assert same(lsm, f"k{number}") == 0


def test_keys_of_all_kinds_are_read_as_the_command_reads_them(lsm: Lsm) -> None:
    for key in [
        "a",
        "a b",
        "hex:00ff",
        "0x00",
        "b64:YWI=",
        "esc:a\\x00b",
        "u64be:42",
        "raw:hex:1",
        "\udcff",
        "@a",
        "é",
        "x:y",
    ]:
        lsm.ok("put", key, "value")
        assert same(lsm, key) == 0
        lsm.ok("delete", key)
        assert same(lsm, key) == 1


def test_a_key_that_is_absent_is_told_of(lsm: Lsm) -> None:
    lsm.ok("put", "a", "1")
    result = lsm.run(str(lsm.path), "get", "b\n" * 100, main=shortly)
    assert (result.code, result.out) == (1, b"")
    assert result.err.startswith('not found: "b\\nb\\n')
    assert result == lsm("get", "b\n" * 100)


def test_a_get_sees_into_an_open_scope(lsm: Lsm) -> None:
    lsm.ok("put", "a", "1")
    lsm.ok("scope", "begin")
    lsm.ok("put", "a", "2")
    assert same(lsm, "a") == 0
    assert lsm.run(str(lsm.path), "get", "a", main=shortly).out == b"2\n"


@pytest.mark.parametrize(
    "words",
    [
        "get",
        "get a b",
        "get -x a",
        "get a -x",
        "get --raw a",
        "get -- a",
        "put a 1",
        "exists a",
        "scan",
        "get hex:zz",
        "--help",
    ],
)
def test_other_words_are_left_to_the_command(lsm: Lsm, words: str) -> None:
    lsm.ok("put", "a", "1")
    before = lsm.path.read_bytes()
    result = lsm.run(str(lsm.path), *words.split(), main=shortly)
    assert result == (LEFT, b"", "")
    assert lsm.path.read_bytes() == before


@pytest.mark.parametrize(
    "words", [[], ["-q"], ["-q", "t.lsm", "get", "a"], ["--read-only", "get", "a"], ["", "get", "a"]]
)
def test_options_before_the_file_are_left_to_the_command(lsm: Lsm, words: list[str]) -> None:
    assert lsm.run(*words, main=shortly) == (LEFT, b"", "")


def test_what_goes_wrong_is_left_to_the_command(lsm: Lsm) -> None:
    get = [str(lsm.path), "get"]
    assert lsm.run(*get, "a", main=shortly) == (LEFT, b"", "")  # no file
    lsm.ok("put", "a", "1")
    assert lsm.run(*get, "", main=shortly) == (LEFT, b"", "")
    assert lsm.run(*get, "k" * 5000, main=shortly) == (LEFT, b"", "")
    lsm.path.write_bytes(bytes(8192))
    assert lsm.run(*get, "a", main=shortly) == (LEFT, b"", "")


@pytest.mark.parametrize("name", ["LSMCLI_TREE", "LSMCLI_GET_RAW", "LSMCLI_DEBUG", "_LSMCLI_COMPLETE"])
def test_where_the_environment_sets_options_the_command_is_asked(
    lsm: Lsm, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    lsm.ok("put", "a", "1")
    monkeypatch.setenv(name, "1")
    assert lsm.run(str(lsm.path), "get", "a", main=shortly).code == LEFT


def test_the_program_goes_either_way(lsm: Lsm) -> None:
    lsm.ok("put", "a", "1")
    assert (process("t.lsm", "get", "a").returncode, process("t.lsm", "get", "a").stdout) == (0, b"1\n")
    assert (process("t.lsm", "get", "b").returncode, process("t.lsm", "get", "b").stderr) == (1, b"not found: b\n")
    assert process("t.lsm", "get", "--raw", "a").stdout == b"1"
    assert process("t.lsm", "get", "hex:zz").returncode == 2
    assert process("gone.lsm", "get", "a").returncode == 5


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_device_is_an_error(lsm: Lsm) -> None:
    lsm.ok("put", "a", "1")
    with open("/dev/full", "wb") as full:
        done = process("t.lsm", "get", "a", stdout=full)
    assert (done.returncode, done.stderr) == (5, b"Error: standard output: no space left on device\n")
