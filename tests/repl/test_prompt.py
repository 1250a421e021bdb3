"""The shell on a terminal: keys in, screen out."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.testing.command_line import Lsm, process
from tests.testing.terminal import Terminal


def eventually(holds: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait until something holds."""
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.fixture
def birds(lsm: Lsm) -> Lsm:
    lsm.ok(
        "put", "bird:wren:size", "9 cm", "bird:wren:song", "loud", "bird:crane:size", "115 cm", "evil", "\x1b[31m\x07"
    )
    return lsm


def test_a_session(birds: Lsm) -> None:
    with Terminal("t.lsm") as shell:
        shell.wait("t.lsm:main>")
        shell.keys("scan --ke")
        shell.wait("--keys-only")
        shell.wait("Print keys, one per line")
        shell.keys("\x15get bird:w")
        shell.wait("bird:wren:")
        shell.keys("\t\tr")
        shell.keys("\x15scan --prefx a")
        shell.wait("--prefx", raw=True)
        assert "\x1b[0;31;4m--prefx" in shell.raw
        shell.keys("\x15scope begin\r")
        shell.wait("(scope +0)>")
        shell.keys("put bird:wren:size '9 m'\r")
        shell.wait("(scope +1)>")
        text = shell.answer("changes", "+ bird:wren:size\t9 m")
        assert "- bird:wren:size\t9 cm" in text
        shell.answer("scope discard", "undone\r\n")
        shell.wait("t.lsm:main>")
        shell.keys("put a 1\r")
        eventually(lambda: birds("get", "a").out == b"1\n")
        shell.answer("undo", "1 key is as before")
        assert '"\\x1b[31m\\a"' in shell.answer("get evil", '"\\x1b')
        shell.keys("\x12chan")
        shell.wait("I-search")
        shell.keys("\x07\x15")
        shell.answer("gte a", "Error: no command 'gte'")
        shell.keys("put long 'open\r")
        shell.wait("...")
        shell.keys("end'\r")
        shell.wait("t.lsm:main>")
        shell.answer("get long", '"open\\nend"')
        shell.keys("\x1b[200~put pasted 1\nput pasted 2\n\x1b[201~")
        shell.wait("pasted 2")
        shell.keys("\x03")
        shell.wait("t.lsm:main>")
        shell.keys("scope begin\r")
        shell.wait("(scope +0)>")
        shell.keys("\x04")
        assert shell.exit_code() == 0
        assert "stays open" in shell.shown
    assert birds("exists", "pasted").code == 1
    history = next(Path("lsmcli/history").iterdir()).read_text()
    assert "+changes\n" in history


def test_exit_codes_history_and_settings(birds: Lsm) -> None:
    Path("lsmcli").mkdir()
    Path("lsmcli/config.toml").write_text(
        'startup = ["count"]\ntimer = true\n[aliases]\nlast = "scan --reverse --limit 1"\n'
    )
    with Terminal("t.lsm") as shell:
        shell.wait("4\r\n")
        shell.answer("last --keys-only", "evil\r\n")
        shell.wait(" ms\r\n")
        shell.keys("exit 3\r")
        assert shell.exit_code() == 3
    with Terminal("t.lsm", LSMCLI_COLOR="never") as shell:
        shell.wait("main>")
        shell.keys("\x1b[A\x1b[A\r")
        shell.wait("evil\r\n")


def test_more_than_a_screenful_goes_to_the_pager_and_ctrl_c_comes_back(lsm: Lsm) -> None:
    lsm.ok("import", stdin=b"".join(b"%06d\tvalue\n" % number for number in range(200_000)))
    with Terminal("t.lsm", LSMCLI_PAGER="cat > paged; echo done paging") as shell:
        shell.wait("main>")
        shell.answer("scan --limit 10", "000009\tvalue")
        assert not Path("paged").exists()
        shell.answer("scan --limit 5000", "done paging")
        assert Path("paged").read_bytes().count(b"\n") == 5000
    with Terminal("t.lsm", LSMCLI_PAGER="") as shell:
        shell.wait("main>")
        shell.keys("scan\r")
        shell.wait("000500\tvalue")
        began_s = time.monotonic()
        shell.keys("\x03")
        shell.wait("interrupted")
        shell.wait("main>")
        assert time.monotonic() - began_s < 2.0  # 0.2 s on a quiet machine
        shell.answer("count", "200000")
        shell.keys("watch 0.1 count\r")
        shell.wait("200000\x1b[K", raw=True)
        shell.keys("\x03")
        shell.wait("main>")


def test_other_processes_work_beside_an_open_shell(lsm: Lsm) -> None:
    lsm.ok("put", "n", "0")
    with Terminal("t.lsm") as shell:
        shell.wait("main>")
        for number in range(1, 6):
            assert process("t.lsm", "put", "n", str(number)).returncode == 0
            shell.answer("get n", f"\r\n{number}\r\n")
            shell.keys(f"put m {number}\r")
            eventually(lambda number=number: process("t.lsm", "get", "m").stdout == b"%d\n" % number)  # type: ignore[misc]
            shell.answer("get m", f"\r\n{number}\r\n")
