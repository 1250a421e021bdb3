"""The shell on a terminal: keys in, screen out."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.testing.command_line import Lsm, process
from tests.testing.terminal import Terminal


def eventually(holds: Callable[[], bool], seconds: float = 60.0) -> None:
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
        shell.wait("--keys-only", redraw=True)
        shell.wait("Print keys, one per line", redraw=True)
        shell.keys("\x15get bird:w")
        shell.wait("bird:wren:", redraw=True)
        shell.keys("\t\tr")
        shell.keys("\x15scan --prefx a")
        shell.wait("\x1b[0;31;4m--prefx", raw=True, redraw=True)
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
        shell.keys("\x03")  # while the scan waits for its output to be read
        shell.wait("interrupted")
        shell.wait("main>")
        assert "199999" not in shell.shown
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


def test_the_editor_gets_the_terminal_and_its_text_runs(lsm: Lsm) -> None:
    lsm.ok("put", "a", "1")
    Path("editor.py").write_text(
        "import os, pathlib, sys\n"
        "assert os.isatty(0) and os.isatty(1)\n"
        "path = pathlib.Path(sys.argv[-1])\n"
        "path.write_text(path.read_text().replace('get', 'put').rstrip() + ' edited\\nscan\\n')\n"
    )
    with Terminal("t.lsm", VISUAL=f"{sys.executable} editor.py", EDITOR="false") as shell:
        shell.wait("main>")
        shell.keys("get k\x18\x05")
        shell.wait("\nk\tedited\r\n")
        shell.wait("main>")
        assert lsm("get", "k").out == b"edited\n"
        shell.answer("edit get m", "\nm\tedited\r\n")
        assert "put m edited\r\nscan\r\n" in shell.shown
    with Terminal("--safe", "t.lsm", VISUAL=f"{sys.executable} editor.py") as shell:
        shell.wait("main>")
        shell.keys("get k\x18\x05\r")
        shell.wait("edited\r\n")
        assert lsm("get", "k").out == b"edited\n"
        shell.answer("edit get n", "--safe forbids")


def test_an_edited_line_may_hold_any_bytes_and_an_error_keeps_the_line(lsm: Lsm) -> None:
    Path("editor.py").write_text(
        "import pathlib, sys\n"
        "path = pathlib.Path(sys.argv[-1])\n"
        "text = path.read_bytes()\n"
        "if text.startswith(b'put b'):\n"
        "    pathlib.Path('left').touch()\n"
        "    sys.exit(7 * (b'failed' in text))\n"
        "path.write_bytes(text.rstrip() + b'\\xff\\n')\n"
    )
    with Terminal("t.lsm", VISUAL=f"{sys.executable} editor.py") as shell:
        shell.wait("main>")
        shell.bytes(b"put a x\xfe\x18\x05")
        eventually(lambda: lsm("get", "a", "--raw").out == b"x\xfe\xff")
        shell.wait("main>")
        shell.keys("put b failed\x18\x05")
        shell.wait("ended with the exit code 7")
        shell.forget()  # what is shown from here on was drawn behind the editor
        shell.wait("put b failed", redraw=True)
        shell.keys("\r")
        eventually(lambda: lsm("get", "b").out == b"failed\n")
        shell.forget()
        shell.wait("main>", redraw=True)
        Path("left").unlink()
        shell.keys("put b not-saved\x18\x05")
        eventually(Path("left").exists)
        shell.forget()
        shell.wait("put b not-saved", redraw=True)
        assert lsm("get", "b").out == b"failed\n"
        shell.keys("\r")
        eventually(lambda: lsm("get", "b").out == b"not-saved\n")
    with Terminal("t.lsm", VISUAL="", EDITOR="") as shell:
        shell.wait("main>")
        shell.keys("get a\x18\x05")
        shell.wait("no editor is named")
