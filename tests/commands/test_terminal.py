"""On a terminal: questions are asked, colours shown, and nothing in the data can steer it."""

import os
import pty
import select
import signal
import sys
from pathlib import Path

import lsmcli
from tests.testing.command_line import Lsm

QUESTION = b"[y/N]: "
INTERRUPT = b"\x03"
WAITS_MAX = 20  # of two seconds


def on_terminal(*words: str, answer: bytes = b"", **environment: str) -> tuple[int, bytes]:
    """Exit code of a command on a terminal of its own, and what that shows."""
    child, terminal = pty.fork()
    if child == 0:
        variables = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
        variables |= {"PYTHONPATH": str(Path(lsmcli.__file__).parent.parent), "TERM": "xterm"} | environment
        os.execvpe(sys.executable, [sys.executable, "-m", "lsmcli", *words], variables)
    shown = b""
    ended = False
    waits = 0
    while not ended and waits < WAITS_MAX:
        if not select.select([terminal], [], [], 2)[0]:
            waits += 1
            if answer == INTERRUPT and QUESTION in shown:
                # One that comes right before input() begins to wait is noticed only with the next.
                os.write(terminal, answer)
            continue
        try:
            some = os.read(terminal, 4096)
        except OSError:  # how a terminal ends
            some = b""
        ended = not some
        shown += some
        if answer and shown.endswith(QUESTION):
            os.write(terminal, answer)
    if not ended:
        os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.close(terminal)  # only now: it would send the child a SIGHUP
    assert ended, shown
    return code, shown.replace(b"\r\n", b"\n")


def test_a_range_is_deleted_after_a_yes_only(lsm: Lsm) -> None:
    lsm.ok("put", *"a1 1 a2 2 b 3".split())
    code, shown = on_terminal("t.lsm", "delete", "--prefix", "a", answer=b"n\n")
    assert code == 0
    assert b"Delete 2 entries? [y/N]" in shown
    assert b"nothing was deleted" in shown
    assert lsm.ok("count") == b"3\n"
    code, shown = on_terminal("t.lsm", "delete", "--prefix", "a", answer=b"y\n")
    assert code == 0
    assert b"deleted 2 entries" in shown
    assert lsm.ok("scan") == b"b\t3\n"


def test_ctrl_c_at_the_question_changes_nothing(lsm: Lsm) -> None:
    lsm.ok("tree", "create", "users")
    code, shown = on_terminal("t.lsm", "tree", "drop", "users", answer=INTERRUPT)
    assert code == 130
    assert b"Traceback" not in shown
    assert lsm.ok("tree", "list") == b"main\nusers\n"


def test_colours_unless_the_environment_says_no(lsm: Lsm) -> None:
    lsm.ok("put", "a", "1")
    assert on_terminal("t.lsm", "scan") == (0, b"\x1b[36ma\x1b[0m\t1\n")
    assert on_terminal("t.lsm", "scan", NO_COLOR="1") == (0, b"a\t1\n")
    assert on_terminal("t.lsm", "scan", TERM="dumb") == (0, b"a\t1\n")
    assert on_terminal("--color", "never", "t.lsm", "scan") == (0, b"a\t1\n")


def test_data_cannot_steer_the_terminal(lsm: Lsm) -> None:
    evil = "\x1b]0;title\x07\x9b31m\u202e\x7f"
    lsm.ok("put", "hex:" + evil.encode().hex(), evil)
    for words in (["scan"], ["scan", "--json"], ["get", "--json", "hex:" + evil.encode().hex()], ["export"]):
        code, shown = on_terminal("--no-color", "t.lsm", *words)
        assert code == 0
        assert shown.decode().replace("\n", "").replace("\t", "").isprintable(), (words, shown)
