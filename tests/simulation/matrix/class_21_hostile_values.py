r"""Class 21: hostile keys and values, in every way that they come in and go out: on a terminal and in pipes.

Injects: NUL, control characters, sequences that steer a terminal, C1, bidirectional marks, invalid UTF-8, half
surrogates, line ends, text that looks like options, prefixes, quotes or rows, nothing at all, the longest key and one
byte more, as keys and as values, of every command that takes or shows some.

Must hold: they are stored byte for byte, and come back so through everything that writes for programs; what goes to a
terminal holds no character that is not printable, unless the bytes themselves were asked for; messages neither. What
cannot be taken is refused in one line, and changes nothing.

Cases: each payload with each command and each format, in this process; and all of them once more as the arguments of
a process of its own.
"""

import base64
import json
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final
from unittest import mock

import lsmcli
from lsmcli.commands.encoding import CODECS
from lsmcli.engine.constants import KEY_SIZE_MAX
from lsmcli.formats.esc import parse_field, parse_quoted, plain, quoted
from tests.testing.invocation import Outcome, invoke, no_syncs, one_line, run_batch
from tests.testing.payloads import payloads
from tests.testing.trial import Trial

CASES: Final = 5_000
SLICES: Final = 2
SHARE: Final = 0.2

Model = dict[bytes, bytes]

# What each format that keeps all bytes is read back with.
READERS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "auto": parse_field,
    "esc": parse_quoted,
    "hex": lambda shown: bytes.fromhex(shown.decode("ascii")),
    "base64": lambda shown: base64.b64decode(shown, validate=True),
    "json": lambda shown: _of_json(json.loads(shown)),
    "raw": lambda shown: shown,
}
AS_THEY_ARE: Final = {"raw", "utf8"}  # formats that ask for the bytes themselves, also on a terminal


@no_syncs()
def run(trial: Trial) -> None:
    """Stores every payload in every way, then shows each in every way."""
    some = payloads(trial.rng("payloads"))
    path = trial.directory / "t.lsm"
    model: Model = {key: some[-index] for index, key in enumerate(some, 1) if key}
    with lsmcli.open(path, "n") as database:
        database.put_many(model.items())
    for number, data in enumerate(some):
        _store(trial, trial.directory / "in.lsm", data, number)
    for key in model:
        _show(trial, path, model, key)
    _all_at_once(trial, path, model)
    _limits(trial, path, model)
    if trial.begin("all of them as the arguments of a process"):
        _arguments(trial.directory / "process", [data for data in some if b"\0" not in data])


def _of_json(item: object) -> bytes:
    if isinstance(item, dict):
        assert item.keys() == {"$base64", "encoded"}
        return base64.b64decode(item["encoded"], validate=True)
    assert isinstance(item, str)
    return item.encode()


# --- in ---------------------------------------------------------------------------------------------------------------


def _ways_in(data: bytes, folder: Path) -> Iterator[tuple[str, list[str], bytes]]:
    """Name, words and standard input of every command that stores a payload: as a value, and as a key."""
    escaped = "".join(f"\\x{byte:02x}" for byte in data)
    encoded = base64.b64encode(data).decode()
    file = folder / "value"
    file.write_bytes(data)
    for side, words in (("value", ["put", "--", "key"]), ("key", ["put", "--"])):
        value = [] if side == "value" else ["value"]
        yield f"hex, {side}", [*words, f"hex:{data.hex()}", *value], b""
        yield f"base64, {side}", [*words, f"b64:{encoded}", *value], b""
        yield f"escapes, {side}", [*words, f"esc:{escaped}", *value], b""
        yield f"raw, {side}", [*words, f"raw:{os.fsdecode(data)}", *value], b""
        yield f"literal, {side}", ["put", "-L", *words[1:], os.fsdecode(data), *value], b""
        row = (b"key", data) if side == "value" else (data, b"value")
        yield f"tsv, {side}", ["import", "--format", "tsv"], b"%s\t%s\n" % (plain(row[0]), plain(row[1]))
        members = [f'"{name}": {_json_text(item)}' for name, item in zip(("key", "value"), row, strict=True)]
        yield f"jsonl, {side}", ["import", "--format", "jsonl"], f"{{{', '.join(members)}}}\n".encode()
        yield f"script, {side}", ["exec"], b"put -- %s %s\n" % (_word(row[0]), _word(row[1]))
    yield "standard input", ["put", "key", "-"], data
    yield "file", ["put", "key", f"@{file}"], b""


def _word(data: bytes) -> bytes:
    """A word of a script that stands for these bytes: the quoted form says what its escapes are."""
    return b'"raw:' + quoted(data)[1:]


def _json_text(data: bytes) -> str:
    try:
        return json.dumps(data.decode())
    except UnicodeDecodeError:
        return json.dumps({"$base64": True, "encoded": base64.b64encode(data).decode()})


def _store(trial: Trial, path: Path, data: bytes, number: int) -> None:
    for name, words, stdin in _ways_in(data, trial.directory):
        if not trial.begin(f"payload {number} {data[:20]!r} comes in as {name}", sampled=True):
            continue
        path.unlink(missing_ok=True)
        outcome = invoke([str(path), *words], stdin)
        key, value = (data, b"value") if name.endswith("key") else (b"key", data)
        if not key:
            assert outcome.code in (6, 8), outcome
            assert b"key is empty" in outcome.err and outcome.err.count(b"\n") <= 2, outcome
            assert not path.exists()
            continue
        assert outcome.code == 0, outcome
        with lsmcli.open(path, "r") as database:
            assert dict(database.scan()) == {key: value}


# --- out --------------------------------------------------------------------------------------------------------------


def _show(trial: Trial, path: Path, model: Model, key: bytes) -> None:
    """Every command that shows one entry, to a program and on a terminal."""
    word = f"hex:{key.hex()}"
    within = {each: value for each, value in model.items() if each.startswith(key)}
    file = str(path)
    for format_ in CODECS:
        for terminal in (False, True):
            where = "terminal" if terminal else "pipe"
            if trial.begin(f"get {key[:20]!r} as {format_} to a {where}", sampled=True):
                words = [file, "get", "--value-format", format_, word]
                _one(invoke(words, terminal=terminal), format_, model[key], terminal=terminal)
            if trial.begin(f"scan {key[:20]!r} as {format_} to a {where}", sampled=True):
                words = ["--color", "never", file, "scan", "--key-format", format_, "--keys-only", "--limit", "1"]
                words += ["--from", _as_bound(format_, key)]
                if format_ not in ("u64be", "u32be", "i64be"):
                    _one(invoke(words, terminal=terminal), format_, key, terminal=terminal)
    for name, check in _questions(file, word, key, model, within):
        if trial.begin(f"{name} of {key[:20]!r}", sampled=True):
            check()


def _as_bound(format_: str, key: bytes) -> str:
    """The word that is this key, in a format that holds for arguments too."""
    if format_ in ("auto", "len", "none", "redacted"):
        return f"hex:{key.hex()}"
    if format_ == "json":
        return _json_text(key)
    if format_ == "hex":
        return key.hex()
    if format_ == "base64":
        return base64.b64encode(key).decode()
    return "".join(f"\\x{byte:02x}" for byte in key) if format_ == "esc" else os.fsdecode(key)


def _one(outcome: Outcome, format_: str, data: bytes, *, terminal: bool) -> None:
    if format_ == "utf8" and outcome.code == 2:
        assert "not UTF-8" in one_line(outcome)  # the bound
        return
    assert outcome.code == 0 and outcome.err == b"", outcome
    shown = outcome.out.removesuffix(b"\n")
    if not terminal or format_ not in AS_THEY_ARE:
        _steers_nothing(outcome, terminal=terminal)
    if format_ in READERS:
        assert READERS[format_](shown) == data, (format_, shown, data)


def _steers_nothing(outcome: Outcome, *, terminal: bool) -> None:
    """A terminal is shown text only; and messages are text wherever they go."""
    for output in (outcome.out, outcome.err) if terminal else (outcome.err,):
        assert output.decode().replace("\n", "").replace("\t", "").isprintable(), output


def _questions(
    file: str, word: str, key: bytes, model: Model, within: Model
) -> Iterator[tuple[str, Callable[[], None]]]:
    """The other commands, each with a function that runs it and examines its answer."""
    yield "raw value", partial(_says, [file, "get", "--raw", word], model[key])
    yield "presence", partial(_says, [file, "exists", word], b"")
    yield "count", partial(_says, [file, "count", "--prefix", word], b"%d\n" % len(within))
    fields = [item for pair in sorted(within.items()) for item in (*pair, b"")]
    yield "scan with NULs", partial(_says, [file, "scan", "-0", "--prefix", word], _nul_between(fields))
    yield "scan backward", partial(_rows, [file, "scan", "--reverse", "--prefix", word], within)
    yield "lines", partial(_rows, [file, "scan", "--prefix", word], within)
    yield "dry deletion", partial(_says, [file, "delete", "--dry-run", "--prefix", word], None)
    for terminal in (False, True):
        yield "json of one", partial(_json, [file, "get", "--json", word], {key: model[key]}, terminal)
        yield "json of many", partial(_json, [file, "scan", "--json", "--prefix", word], within, terminal)
        yield "rows", partial(_printable, [file, "scan", "--prefix", word], terminal)
        yield "absence", partial(_absent, [file, "get", f"{word}00ff1b"], terminal)


def _nul_between(fields: list[bytes]) -> bytes:
    pairs = [fields[index : index + 2] for index in range(0, len(fields), 3)]
    return b"".join(item + b"\0" for pair in pairs for item in pair)


def _says(words: list[str], expected: bytes | None) -> None:
    outcome = invoke(words)
    assert outcome.code == 0, outcome
    assert expected is None or outcome.out == expected, outcome


def _rows(words: list[str], expected: Model) -> None:
    outcome = invoke(words)
    rows = [line.split(b"\t") for line in outcome.out.split(b"\n")[:-1]]
    assert all(len(row) == 2 for row in rows), outcome
    pairs = [(parse_field(key), parse_field(value)) for key, value in rows]
    assert pairs == sorted(expected.items(), reverse="--reverse" in words), outcome


def _json(words: list[str], expected: Model, terminal: bool) -> None:
    outcome = invoke(words, terminal=terminal)
    _steers_nothing(outcome, terminal=terminal)
    rows = [json.loads(line) for line in outcome.out.split(b"\n")[:-1]]
    assert {_of_json(row["key"]): _of_json(row["value"]) for row in rows} == expected, outcome


def _printable(words: list[str], terminal: bool) -> None:
    outcome = invoke(["--color", "never", *words], terminal=terminal)
    assert outcome.code == 0, outcome
    _steers_nothing(outcome, terminal=True)


def _absent(words: list[str], terminal: bool) -> None:
    outcome = invoke(words, terminal=terminal)
    assert outcome.code == (1 if len(words[2]) <= 4 + 2 * KEY_SIZE_MAX else 8), outcome
    assert outcome.out == b""
    _steers_nothing(outcome, terminal=True)


# --- all together -----------------------------------------------------------------------------------------------------


def _all_at_once(trial: Trial, path: Path, model: Model) -> None:
    """All entries through an export and an import: the same bytes."""
    for format_ in ("tsv", "jsonl"):
        if trial.begin(f"all through {format_}"):
            exported = invoke([str(path), "export", "--format", format_])
            again = trial.directory / f"again-{format_}.lsm"
            assert invoke([str(again), "import", "--format", format_], exported.out).code == 0
            with lsmcli.open(again, "r") as database:
                assert dict(database.scan()) == model
        if trial.begin(f"all to a terminal as {format_}"):
            _steers_nothing(invoke([str(path), "export", "--format", format_], terminal=True), terminal=True)


def _limits(trial: Trial, path: Path, model: Model) -> None:
    """A key that is one byte too long, a value that is one byte too long: refused in one line, nothing is changed."""
    long = "k" * (KEY_SIZE_MAX + 1)
    for words in (["put", long, "1"], ["get", long], ["exists", long], ["delete", long], ["put", "", "1"], ["get", ""]):
        if trial.begin(f"{words[0]} of a key of {len(words[1])} bytes"):
            outcome = invoke([str(path), *words])
            assert outcome.code == 8, outcome
            one_line(outcome)
    for size in (999, 1000, 1001):
        if trial.begin(f"a value of {size} bytes where 1000 are possible"):
            with mock.patch("lsmcli.commands.files.VALUE_SIZE_MAX", 1000):
                outcome = invoke([str(path), "put", "\x01limit", "-"], b"v" * size)
            assert outcome.code == (8 if size > 1000 else 0), outcome
            assert invoke([str(path), "delete", "\x01limit"]).code == 0
    if trial.begin("nothing was changed"):
        with lsmcli.open(path, "r") as database:
            assert dict(database.scan()) == model


def _arguments(folder: Path, some: list[bytes]) -> None:
    """The words of a process are bytes: stored as they are, shown as they are."""
    folder.mkdir()
    keys = [data for data in some if data]
    lines: list[list[bytes]] = []
    for key in keys:
        lines += [[b"t.lsm", b"put", b"-L", b"--", key, key[::-1]], [b"t.lsm", b"get", b"-L", b"--raw", b"--", key]]
    outcomes = run_batch(lines, folder)
    for key, stored, shown in zip(keys, outcomes[::2], outcomes[1::2], strict=True):
        assert stored == Outcome(0, b"", b""), (key, stored)
        assert shown == Outcome(0, key[::-1], b""), (key, shown)
    with lsmcli.open(folder / "t.lsm", "r") as database:
        assert dict(database.scan()) == {key: key[::-1] for key in keys}
