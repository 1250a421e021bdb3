"""put, get, exists, delete, scan, count: what one types, what one sees, how it ends."""

import json
import random
from pathlib import Path

import pytest

from tests.testing.command_line import Lsm

AWKWARD = [
    b"",
    b"a",
    b"a\tb",
    b"a\nb",
    b"\x00",
    b"\xff\xfe",
    b'"',
    b"\x1b[31mred",
    "\u202ebidi é".encode(),
    bytes(range(256)),
]


def test_what_was_put_is_got(lsm: Lsm) -> None:
    assert lsm.ok("put", "a", "1", "b", "2") == b""
    assert lsm.ok("get", "a") == b"1\n"
    assert lsm.ok("get", "a", "b") == b"a\t1\nb\t2\n"


@pytest.mark.parametrize("value", AWKWARD)
def test_any_value_goes_in_by_a_file_and_comes_out_raw(lsm: Lsm, value: bytes) -> None:
    Path("value").write_bytes(value)
    lsm.ok("put", "file", "@value")
    lsm.ok("put", "input", "-", stdin=value)
    lsm.ok("put", "hex", "hex:" + value.hex())
    for key in ("file", "input", "hex"):
        assert lsm.ok("get", "--raw", key) == value
    shown = lsm.ok("get", "file")
    assert shown.endswith(b"\n")
    assert shown[:-1].decode().isprintable()
    assert json.loads(lsm.ok("get", "--json", "file"))["key"] == "file"


@pytest.mark.parametrize("key", [key for key in AWKWARD if key])
def test_any_key_can_be_used(lsm: Lsm, key: bytes) -> None:
    word = "hex:" + key.hex()
    lsm.ok("put", word, "here")
    assert lsm.ok("get", word) == b"here\n"
    assert lsm.ok("get", "-x", key.hex()) == b"68657265\n"
    assert lsm.ok("scan", "--key-format", "hex") == key.hex().encode() + b"\there\n"
    assert lsm("exists", word).code == 0
    lsm.ok("delete", word)
    assert lsm("exists", word).code == 1


def test_an_absent_key_is_exit_code_1_and_silence_on_standard_output(lsm: Lsm) -> None:
    lsm.ok("put", "a", "1")
    result = lsm("get", "zz")
    assert (result.code, result.out, result.err) == (1, b"", "not found: zz\n")
    assert lsm.run("-q", str(lsm.path), "get", "zz") == (1, b"", "")
    assert lsm("get", "--raw", "zz")[:2] == (1, b"")
    assert lsm("get", "zz", "a")[:2] == (1, b"a\t1\n")
    assert lsm("exists", "zz") == (1, b"", "")
    assert lsm("exists", "a") == (0, b"", "")


def test_a_literal_word_has_no_prefix(lsm: Lsm) -> None:
    lsm.ok("put", "-L", "hex:61", "@x", "k", "-")
    assert lsm.ok("get", "-L", "hex:61") == b"@x\n"
    assert lsm.ok("get", "raw:hex:61") == b"@x\n"
    assert lsm.ok("get", "k") == b"-\n"


def test_numbers_as_keys_are_in_order_and_shown_as_numbers(lsm: Lsm) -> None:
    lsm.ok("put", "u64be:10", "ten", "u64be:9", "nine")
    assert lsm.ok("scan", "--key-format", "u64be") == b"9\tnine\n10\tten\n"
    assert lsm.ok("get", "--key-format", "u64be", "9") == b"nine\n"


def test_put_is_all_or_nothing(lsm: Lsm) -> None:
    assert "no value for the key 'b'" in lsm.fails(2, "put", "a", "1", "b")
    assert "'g' is not a hex digit, at offset 5 of 'hex:0g'" in lsm.fails(2, "put", "a", "1", "hex:0g", "2")
    assert "a key has at least one byte" in lsm.fails(8, "put", "a", "1", "", "2")
    assert "at most 4096" in lsm.fails(8, "put", "a", "1", "k" * 4097, "2")
    assert "no such file" in lsm.fails(5, "put", "a", "1", "b", "@missing")
    assert "is a directory" in lsm.fails(5, "put", "b", "@.")
    assert "only one can be" in lsm.fails(2, "put", "a", "-", "b", "-")
    assert not lsm.path.exists()


def test_keys_that_start_with_a_dash_go_behind_two(lsm: Lsm) -> None:
    assert "goes behind --" in lsm.fails(2, "put", "-5", "x")
    lsm.ok("put", "--", "-5", "-x")
    assert lsm.ok("get", "--", "-5") == b"-x\n"


def test_scan_by_range_prefix_limit_and_direction(lsm: Lsm) -> None:
    words = ["a", "b1", "b2", "b3", "c"]
    lsm.ok("put", *(part for word in words for part in (word, word.upper())))

    def keys(*options: str) -> list[str]:
        return lsm.ok("scan", "--keys-only", *options).decode().split()

    assert keys() == words
    assert keys("--from", "b1", "--to", "b3") == ["b1", "b2"]
    assert keys("--prefix", "b") == ["b1", "b2", "b3"]
    assert keys("--reverse", "--limit", "2") == ["c", "b3"]
    assert keys("--prefix", "b", "--reverse", "--limit", "1") == ["b3"]
    assert keys("--limit", "0") == []
    assert keys("--from", "zz") == []
    assert lsm.ok("scan", "--values-only", "--prefix", "b") == b"B1\nB2\nB3\n"
    assert lsm.ok("count", "--prefix", "b") == b"3\n"
    assert lsm.ok("count", "--from", "b2") == b"3\n"
    assert lsm.ok("count", "--to", "b2") == b"2\n"
    assert lsm.ok("count") == b"5\n"
    assert "excludes" in lsm.fails(2, "scan", "--prefix", "b", "--to", "c")
    assert "excludes" in lsm.fails(2, "scan", "--keys-only", "--values-only")
    assert "excludes" in lsm.fails(2, "scan", "--json", "-0")
    lsm.fails(2, "scan", "--limit", "-1")


def test_scan_against_a_sorted_dictionary(lsm: Lsm, rng: random.Random) -> None:
    model = {rng.randbytes(rng.randrange(1, 4)): rng.randbytes(rng.randrange(6)) for _ in range(300)}
    lsm.ok("put", *(word for pair in model.items() for word in ("hex:" + pair[0].hex(), "hex:" + pair[1].hex())))
    for _ in range(20):
        low, high = sorted(rng.randbytes(rng.randrange(1, 3)) for _ in range(2))
        expected = [(key, model[key]) for key in sorted(model) if low <= key < high]
        options = ["--from", "hex:" + low.hex(), "--to", "hex:" + high.hex()]
        lines = lsm.ok("scan", "--key-format", "auto", "--value-format", "hex", *options).splitlines()
        assert [bytes.fromhex(line.split(b"\t")[1].decode()) for line in lines] == [value for _, value in expected]
        raw = lsm.ok("scan", "-0", *options)
        assert raw == b"".join(key + b"\0" + value + b"\0" for key, value in expected)
        assert lsm.ok("count", *options) == b"%d\n" % len(expected)


def test_scan_as_json(lsm: Lsm) -> None:
    lsm.ok("put", "a", "1", "hex:ff", "esc:x\\ny")
    assert lsm.ok("scan", "--json") == (
        b'{"key": "a", "value": "1"}\n{"key": {"$base64": true, "encoded": "/w=="}, "value": "x\\ny"}\n'
    )
    assert lsm.ok("scan", "--json", "--keys-only", "--limit", "1") == b'{"key": "a"}\n'
    assert lsm.ok("scan", "--json", "--values-only", "--limit", "1") == b'{"value": "1"}\n'


def test_colour_when_it_is_asked_for(lsm: Lsm, monkeypatch: pytest.MonkeyPatch) -> None:
    lsm.ok("put", "a", "1")
    colored = b"\x1b[36ma\x1b[0m\t1\n"
    path = str(lsm.path)
    assert lsm.run("--color", "always", path, "scan").out == colored
    assert lsm.run(path, "scan").out == b"a\t1\n"
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert lsm.run(path, "scan").out == colored
    monkeypatch.setenv("NO_COLOR", "1")
    assert lsm.run(path, "scan").out == b"a\t1\n"
    assert lsm.run("--color", "always", path, "scan").out == colored
    assert lsm.run("--color", "always", "--no-color", path, "scan").out == b"a\t1\n"


def test_delete_keys_and_ranges(lsm: Lsm) -> None:
    lsm.ok("put", *"a 1 b 2 c 3 d 4 e 5 e1 6".split())
    lsm.ok("delete", "a", "zz")
    lsm.ok("delete", "b")
    assert lsm.ok("delete", "--range", "c", "e", "--dry-run") == b"2\n"
    assert lsm.ok("delete", "-n", "c", "zz") == b"1\n"
    assert lsm.ok("count") == b"4\n"
    assert lsm("delete", "--range", "c", "e", "--yes") == (0, b"", "deleted 2 entries\n")
    assert "Delete 2 entries? Add --yes" in lsm.fails(2, "delete", "--prefix", "e")
    assert lsm("delete", "--prefix", "zz") == (0, b"", "deleted 0 entries\n")
    assert lsm("delete", "--prefix", "e1", "-y").err == "deleted 1 entry\n"
    assert lsm.ok("scan") == b"e\t5\n"


def test_delete_of_too_much_or_nothing_is_a_mistake(lsm: Lsm) -> None:
    lsm.ok("put", "a", "1")
    before = lsm.path.read_bytes()
    for words in (
        ["delete"],
        ["delete", "a", "--prefix", "a"],
        ["delete", "--prefix", "", "--yes"],
        ["delete", "--prefix", "hex:", "--yes"],
        ["delete", "--range", "hex:", "raw:", "--yes"],
        ["delete", "--range", "b", "a", "--yes"],
        ["delete", "--range", "a", "", "--yes"],
        ["delete", "--range", "a"],
    ):
        lsm.fails(2, *words)
    assert lsm.path.read_bytes() == before


def test_raw_takes_one_key(lsm: Lsm) -> None:
    lsm.fails(2, "get", "--raw", "a", "b")
    lsm.fails(2, "get", "--raw", "--json", "a")


def test_a_long_key_in_a_message_is_shortened(lsm: Lsm) -> None:
    lsm.ok("put", "a", "1")
    assert len(lsm("get", "k" * 4000).err) < 120
