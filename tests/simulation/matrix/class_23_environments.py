"""Class 23: locales and environments.

Injects: the locales C, POSIX and C.UTF-8, UTF-8 mode on and off, another encoding of the standard streams, no home,
narrow and huge terminals, TERM=dumb, colours forbidden and forced, warnings as errors, no environment at all.

Must hold: the bytes that go in are the bytes that come out, and the exit codes are the same, in every one of them;
messages become ASCII where nothing else can be written, and are never the reason of a failure.

Cases: ENVIRONMENTS times COMMANDS; the commands of one environment run one after the other in one process, which got
all their words as its arguments.
"""

from typing import Final

from tests.testing.invocation import END, PACKAGE, Outcome, environment, run_batch
from tests.testing.trial import Trial

CASES: Final = 240
ROUNDS: Final = 12

ENVIRONMENTS: Final[tuple[dict[str, str], ...]] = (
    {"LC_ALL": "C.UTF-8"},
    {"LC_ALL": "C"},
    {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"LC_ALL": "C", "PYTHONIOENCODING": "latin-1"},
    {"LC_ALL": "en_US.ISO-8859-1", "PYTHONUTF8": "0"},
    {"LANG": "de_DE.UTF-8", "LANGUAGE": "de", "LC_MESSAGES": "de_DE.UTF-8"},
    {"LC_ALL": "C", "PYTHONUTF8": "1", "PYTHONIOENCODING": "ascii:strict"},
    {"LC_ALL": "C.UTF-8", "HOME": "/nonexistent", "XDG_CONFIG_HOME": "/nonexistent"},
    {"LC_ALL": "C.UTF-8", "COLUMNS": "1", "LINES": "1", "TERM": "dumb"},
    {"LC_ALL": "C.UTF-8", "COLUMNS": "100000", "TERM": "unknown", "NO_COLOR": "1"},
    {"LC_ALL": "C.UTF-8", "PYTHONWARNINGS": "error", "PYTHONDEVMODE": "1", "PYTHONOPTIMIZE": "1"},
    {"PATH": "", "TZ": "Nowhere/At_All"},
)

KEY: Final = "ключ é".encode() + b"\xff\x1b"
TEXT: Final = "wért 😀".encode()

COMMANDS: Final[tuple[tuple[int, tuple[bytes, ...]], ...]] = (
    (0, (b"t.lsm", b"put", KEY, TEXT)),
    (0, (b"t.lsm", b"put", TEXT, KEY, b"plain", b"text")),
    (0, (b"t.lsm", b"get", KEY)),
    (0, (b"t.lsm", b"get", b"--raw", TEXT)),
    (1, (b"t.lsm", b"get", KEY + b"2")),
    (0, (b"t.lsm", b"get", b"--json", KEY, TEXT)),
    (0, (b"t.lsm", b"scan")),
    (0, (b"t.lsm", b"scan", b"-0")),
    (0, (b"t.lsm", b"scan", b"--json", b"--prefix", "кл".encode())),
    (0, (b"t.lsm", b"count")),
    (0, (b"t.lsm", b"exists", KEY)),
    (0, (b"t.lsm", b"tree", b"create", "дерево".encode())),
    (0, (b"t.lsm", b"tree", b"list")),
    (0, (b"-t", "дерево".encode(), b"t.lsm", b"put", b"a", TEXT)),
    (0, (b"t.lsm", b"export", "выход.tsv".encode())),
    (0, ("файл.lsm".encode(), b"import", "выход.tsv".encode())),
    (0, (b"t.lsm", b"delete", TEXT)),
    (5, ("нет\xff".encode("latin-1", "replace") + b"\xff.lsm", b"get", KEY)),
    (2, (b"t.lsm", "полож".encode(), KEY)),
    (0, (b"t.lsm", b"--help")),
)

assert all(END not in words for _, words in COMMANDS)


def run(trial: Trial) -> None:
    """One of the environments, beside the first one."""
    variables = ENVIRONMENTS[trial.round % len(ENVIRONMENTS)]
    expected = outcomes = None
    for index, (code, words) in enumerate(COMMANDS):
        if not trial.begin(f"{b' '.join(words)!r} in {variables}"):
            continue
        if outcomes is None or expected is None:
            expected, outcomes = _outcomes(trial, ENVIRONMENTS[0], "first"), _outcomes(trial, variables, "other")
        _compare(outcomes[index], expected[index], code, is_help=words[-1] == b"--help")


def _outcomes(trial: Trial, variables: dict[str, str], name: str) -> list[Outcome]:
    folder = trial.directory / name
    folder.mkdir()
    if variables.get("PATH") == "":
        return run_batch([words for _, words in COMMANDS], folder, variables | {"PYTHONPATH": str(PACKAGE)})
    return run_batch([words for _, words in COMMANDS], folder, environment(**variables))


def _compare(outcome: Outcome, expected: Outcome, code: int, *, is_help: bool) -> None:
    assert outcome.code == expected.code == code, (outcome, expected)
    if not is_help:  # as wide as the terminal
        assert outcome.out == expected.out, (outcome, expected)
    assert (outcome.err == b"") == (expected.err == b""), (outcome, expected)
    assert b"Traceback" not in outcome.err + outcome.out, outcome
    assert b"\x1b" not in outcome.err, outcome
    assert outcome.err.count(b"\n") == expected.err.count(b"\n"), (outcome, expected)
