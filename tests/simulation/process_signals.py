"""Signals to the shell on a terminal, and the limit of a file's size, for class 24: real processes, one case each.

type a put, see its value: it is stored           | any number of these
type an import, and strike while it runs          | Ctrl-C, SIGTERM, SIGHUP, the terminal closed, SIGTSTP, SIGKILL
look at the file                                  | what was seen is there, the import as a whole or not at all
"""

import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import lsmcli
from tests.testing.invocation import environment, invoke
from tests.testing.terminal import Terminal

ROWS: Final = 20_000
ROWS_TEXT: Final = b"".join(b"row%06d\t%s\n" % (number, b"v" * 40) for number in range(ROWS))
ROWS_LIMITED: Final = 4_000
STRIKE_S_MAX: Final = 0.06  # behind the key that starts the import
CONTROL_C: Final = "\x03"

# How it strikes, and the exit codes of a shell that ends by it; none: it goes on.
STRIKES: Final[dict[str, set[int]]] = {
    "Ctrl-C": set(),
    "SIGTSTP": set(),
    "SIGTERM": {0, 143, -signal.SIGTERM},
    "SIGHUP": {0, 129, -signal.SIGHUP},
    "SIGKILL": {-signal.SIGKILL},
    "closed terminal": {0, 1, 5, 129, -signal.SIGHUP},
}

_FILE_SIZE: Final = 1_200_000  # room for a new file, and for a part of the rows
_LIMITED: Final = ("import", "exec", "import in batches")


def strike_shell(folder: Path, how: str, rng: random.Random) -> str:
    """A shell, struck in an import. How the import ended: "done" or "undone". AssertionError."""
    (folder / "rows.tsv").write_bytes(ROWS_TEXT)
    path = folder / "shell.lsm"
    seen = {b"key%d" % number: b"value%d" % number for number in range(rng.randrange(1, 4))}
    with Terminal(str(path), XDG_STATE_HOME=str(folder), XDG_CONFIG_HOME=str(folder)) as shell:
        shell.wait("main")
        for key, value in seen.items():
            shell.keys(f"put {key.decode()} {value.decode()}\r")
            shell.answer(f"get --json {key.decode()}", f'"{value.decode()}"')  # not the echo of what was typed
        shell.keys(f"import {folder / 'rows.tsv'}\r")
        time.sleep(rng.random() * STRIKE_S_MAX)
        if how == "Ctrl-C":
            shell.bytes(CONTROL_C.encode())
        elif how == "closed terminal":
            shell.hang_up()
        else:
            shell.send_signal(signal.Signals[how])
        if how == "SIGTSTP":
            time.sleep(0.02)
            shell.send_signal(signal.SIGCONT)
        if not STRIKES[how]:
            shell.answer("get --json key0", '"value0"')
            code = shell.leave()
        else:
            code = shell.exit_code()
    assert code in (STRIKES[how] or {0}), f"the shell ended with {code}"
    assert "Traceback" not in shell.shown, shell.shown[-2000:]
    return _look(path, seen)


def _look(path: Path, seen: dict[bytes, bytes]) -> str:
    """What was seen is stored, the rows are there as a whole or not at all, and the next writer finds a sound file."""
    with lsmcli.open(path, "c") as database:
        held = dict(database.scan())
        rows = sum(key.startswith(b"row") for key in held)
        assert rows in (0, ROWS), f"{rows} of {ROWS} rows"
        assert {key: value for key, value in held.items() if not key.startswith(b"row")} == seen
        database.put(b"after", b"it")
    assert invoke([str(path), "verify"]).code == 0
    return "done" if rows else "undone"


def limit_file_size(folder: Path, number: int) -> None:
    """A process whose files may not grow past a size (SIGXFSZ, EFBIG): no space, never a death by the signal; what was
    stored before stays, and with the limit gone all goes on. AssertionError."""
    path = folder / "limited.lsm"
    with lsmcli.open(path, "n") as database:
        database.put(b"a", b"before")
    kind = _LIMITED[number % len(_LIMITED)]
    value = b"v" * 400
    rows = b"".join(b"row%06d\t%s\n" % (number, value) for number in range(ROWS_LIMITED))
    script = b"".join(b"put row%06d %s\n" % (number, value) for number in range(ROWS_LIMITED))
    words = {"import": ["import"], "exec": ["exec"], "import in batches": ["import", "--batch", "500"]}[kind]
    done = subprocess.run(
        [sys.executable, "-m", "lsmcli", str(path), *words],
        input=script if kind == "exec" else rows,
        capture_output=True,
        env=environment(TMPDIR=str(folder)),
        preexec_fn=_limit,
        check=False,
        timeout=60,
    )
    assert done.returncode == 5, done
    assert b"no space left" in done.stderr and b"Traceback" not in done.stderr, done.stderr
    with lsmcli.open(path, "w") as database:
        held = dict(database.scan())
        assert held.pop(b"a") == b"before"
        assert all(found == value for found in held.values())
        numbers = sorted(int(key[3:]) for key in held)
        assert numbers == list(range(len(numbers))), "a row is missing in between"
        assert kind != "import" or not held, "a part of it happened"
        database.put(b"after", b"it")
    assert invoke([str(path), "verify"]).code == 0


def _limit() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (_FILE_SIZE, _FILE_SIZE))
    os.umask(0o077)
