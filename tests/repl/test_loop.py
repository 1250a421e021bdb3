"""The shell without its terminal: texts in, results and exit codes out."""

from io import BytesIO
from pathlib import Path

import pytest

import lsmcli
from lsmcli.repl.loop import Shell, shell_of
from lsmcli.repl.settings import Settings
from lsmcli.session import Session
from tests.testing.command_line import Lsm


class Talk:
    """`talk("get a")` is what that line prints, on both streams."""

    def __init__(self, shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
        self.shell = shell
        self.code = 0
        self._capsys = capsys

    def __call__(self, text: str) -> str:
        out = BytesIO()
        before = self.shell.session.redirect(out)
        self.code = self.shell.run_text(text)
        self.shell.session.redirect(before)
        return out.getvalue().decode() + self._capsys.readouterr().err


@pytest.fixture
def talk(lsm: Lsm, capsys: pytest.CaptureFixture[str]) -> Talk:
    shell = shell_of(Session(str(lsm.path)), Settings(), pager="", terminal=False)
    return Talk(shell, capsys)


def test_lines_run_and_errors_end_only_their_line(talk: Talk) -> None:
    assert talk("put a 1 b 2") == ""
    assert talk("get a") == "1\n"
    assert talk("GET zz") == "not found: zz\n"
    assert talk.code == 1
    assert talk("gte a").startswith("Error: no command 'gte': did you mean tee or get")
    assert talk.code == 2
    assert talk('put "a') == "Error: a double quote is not closed\n"
    assert talk('put c "two\nlines"\nput d - <<END\nx\nEND\nscan') == 'a\t1\nb\t2\nc\t"two\\nlines"\nd\t"x\\n"\n'
    assert talk("") == ""


def test_the_file_is_free_between_lines_and_reads_are_new(talk: Talk, lsm: Lsm) -> None:
    for number in range(30):
        talk(f"put a {number}")
        assert lsm.ok("get", "a") == f"{number}\n".encode()
        lsm.ok("put", "b", str(number))
        assert talk("get b") == f"{number}\n"


def test_a_writer_elsewhere_is_an_error_of_one_line(talk: Talk, lsm: Lsm) -> None:
    lsm.ok("put", "a", "1")
    talk.shell.session.wait_s = 0.0
    with lsmcli.open("t.lsm"):
        assert "Error: " in talk("put a 2")
        assert talk.code == 3
        assert talk("get a") == "1\n"
    assert talk("put a 2") == ""


def test_words_of_other_shells(talk: Talk) -> None:
    assert talk("SET user:1 Ada") == ""
    assert talk("Get user:1") == "Ada\n"
    assert talk("KEYS user:*") == "user:1\n"
    assert talk("KEYS") == "user:1\n"
    assert talk(".tables") == "main\n"
    assert talk(".dump").startswith("user:1\tAda\nexported=1 bytes=11 ")
    assert talk("DEL user:1") == ""
    assert talk("SCAN") == ""
    Path("s").write_bytes(b"put a 1\nget a\n")
    assert talk(".read s") == "1\n"
    assert talk(".exit 3") == ""
    assert talk.shell.exit_code == 3


def test_undo_takes_back_the_last_writing_command(talk: Talk) -> None:
    talk("put a 0")
    talk("undo")
    assert talk("undo").startswith("Error: nothing to undo")
    talk("put a 1 b 2")
    talk("put a 9 c 3")
    talk("get a")
    assert talk("undo") == "undone: 2 keys are as before\n"
    assert talk("scan") == "a\t1\nb\t2\n"
    assert "nothing to undo" in talk("undo")
    talk("delete --prefix a --yes")
    assert talk("undo") == "undone: 1 key is as before\n"
    talk("import - <<END\na\t7\nx\t8\nEND")
    assert talk("undo") == "undone: 2 keys are as before\n"
    Path("s").write_bytes(b"put s 1\nput s 2\ndelete b\n")
    talk("source s")
    assert talk("undo") == "undone: 2 keys are as before\n"
    assert talk("scan") == "a\t1\nb\t2\n"


def test_undo_of_a_large_value(talk: Talk) -> None:
    Path("large").write_bytes(bytes(range(256)) * 4000)
    talk("put a @large")
    talk("put a 1")
    talk("undo")
    assert talk("get a --value-format len") == "1024000\n"


def test_undo_refuses_what_it_cannot_take_back(talk: Talk, lsm: Lsm, monkeypatch: pytest.MonkeyPatch) -> None:
    talk("put a 1")
    lsm.ok("put", "a", "2")
    assert "a was changed since by another process" in talk("undo")
    assert talk("get a") == "2\n"
    talk("tree create t")
    assert "created or dropped a tree" in talk("undo")
    talk("scope begin")
    assert "it was `scope begin`" in talk("undo")
    talk("put a 3")
    assert "undone" in talk("undo")
    talk("scope discard")
    assert "a scope was discarded" in talk("undo")
    monkeypatch.setattr("lsmcli.repl.undo.KEYS_MAX", 2)
    talk("put a 1 b 2 c 3")
    assert "more than" in talk("undo")


def test_changes_of_a_scope(talk: Talk) -> None:
    talk("put a 1 b 2 c 3")
    assert "no scope is open" in talk("changes")
    talk("scope begin")
    assert talk("changes") == ""
    talk("put b 9 d 4")
    talk("delete a")
    assert talk("changes") == "- a\t1\n- b\t2\n+ b\t9\n+ d\t4\n"
    talk("tree create t")
    talk("put -t t x 1")
    assert talk("changes") == "tree main\n- a\t1\n- b\t2\n+ b\t9\n+ d\t4\ntree t\n+ x\t1\n"
    talk.shell.session.color = "always"
    assert talk("changes").startswith("tree main\n\x1b[31m- a\t1\x1b[0m\n")
    talk("scope discard")
    assert talk("scan --keys-only") == "\x1b[36ma\x1b[0m\n\x1b[36mb\x1b[0m\n\x1b[36mc\x1b[0m\n"


def test_aliases(talk: Talk) -> None:
    talk("put a 1 b 2")
    assert talk("alias last = scan --reverse --limit 1") == ""
    assert talk("last --keys-only") == "b\n"
    assert talk("alias") == "last = scan --reverse --limit 1\n"
    assert "is a command" in talk("alias get = put")
    assert "does not begin with one" in talk("alias x = nothing")
    assert "write it as" in talk("alias x")


def test_results_go_elsewhere(talk: Talk) -> None:
    talk("put a 1")
    assert talk("once o1") == ""
    assert talk("get a") == ""
    assert talk("get a") == "1\n"
    talk("output o2")
    assert talk("get a\nget a") == ""
    talk("output")
    assert talk("get a") == "1\n"
    talk("tee o3")
    assert talk("get a") == "1\n"
    talk("tee")
    talk("scan > o4")
    assert [Path(f"o{number}").read_bytes() for number in (1, 2, 3, 4)] == [b"1\n", b"1\n1\n", b"1\n", b"a\t1\n"]
    assert "data file itself" in talk("output t.lsm")


def test_mode_and_timer(talk: Talk) -> None:
    talk("put a 1")
    talk("mode json")
    assert talk("scan") == '{"key": "a", "value": "1"}\n'
    assert talk("get a") == '{"key": "a", "value": "1"}\n'
    assert talk("get --raw a") == "1"
    assert talk("tree list") == '{"tree": "main", "compression": "none"}\n'
    talk("mode text")
    assert talk("get a") == "1\n"
    talk("timer on")
    assert talk("get a").endswith(" ms\n")


def test_watch(talk: Talk) -> None:
    talk("put a 1")
    assert talk("watch --count 2 0.05 get a") == "1\n1\n"
    assert "watch itself" in talk("watch 1 watch 1 scan")


def test_an_atomic_script_in_the_shell(talk: Talk) -> None:
    talk("put a 1")
    for line in (b"put '' x", b"watch 1 count", b"open other.lsm", b"scope begin"):
        Path("s").write_bytes(b"put a 2\nput b 2\n" + line + b"\n")
        assert "s:3:1: " in talk("exec --atomic s")
        assert talk("scan") == "a\t1\n"
    Path("s").write_bytes(b"put a 2\nput b 2\n")
    assert talk("exec --atomic s\nscan") == "a\t2\nb\t2\n"


def test_undo_tells_that_a_scope_was_discarded(talk: Talk) -> None:
    talk("put a 1")
    for line in (b"tree create t", b"put b 2"):
        Path("s").write_bytes(b"put a 2\n" + line + b"\nget zz\n")
        talk("exec --atomic s")
        assert talk("undo") == (
            "Error: the last writing command cannot be undone: its scope was discarded, so nothing of it is left\n"
        )
        assert talk("scan") == "a\t1\n"
    Path("s").write_bytes(b"scope begin\nput a 2\nscope discard\n")
    talk("source s")
    assert "cannot be undone: a scope was discarded" in talk("undo")
    Path("s").write_bytes(b"get zz\n")
    talk("put a 3")
    talk("exec --atomic s")
    assert talk("undo") == "undone: 1 key is as before\n"  # no scope began, as nothing was written
    Path("s").write_bytes(b"put a 4\n")
    talk("exec --atomic s")
    assert talk("undo") == "undone: 1 key is as before\n"
    assert talk("get a") == "1\n"


def test_help(talk: Talk) -> None:
    listing = talk("help")
    for name in talk.shell.grammar.table:
        assert f"\n  {name} " in "\n" + listing
        text = talk(f"help {name}")
        assert text.startswith(f"Usage: {name} ") or name in ("quit",), text
        assert "Examples:" in text
    assert talk("help scope begin").startswith("Usage: scope begin")
    assert "no command" in talk("help zzz")


def test_use_and_open(talk: Talk) -> None:
    talk("tree create t")
    talk("use t")
    talk("put a 1")
    assert talk("scan -t main") == ""
    assert talk("scan") == "a\t1\n"
    assert talk("open other.lsm") == ""
    assert "no such file" in talk("scan")
    talk("put x 1")
    assert Path("other.lsm").exists()


def test_safe(lsm: Lsm, capsys: pytest.CaptureFixture[str]) -> None:
    shell = shell_of(Session("t.lsm", safe=True), Settings(), pager="less", terminal=True)
    assert shell.pager == ""
    talk = Talk(shell, capsys)
    talk("put a 1")
    assert "--safe forbids" in talk(".import o")
    for line in ("edit", "source s", "output o", "once o", "tee o", "open o.lsm", "scan > o", "scan | cat"):
        assert "--safe forbids" in talk(line), line
    assert sorted(path.name for path in Path().iterdir()) == ["t.lsm"]


def test_an_interrupt_keeps_the_shell_and_the_scope(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    talk("put a 1")
    talk("scope begin")
    talk("put b 2")

    def interrupt(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("lsmcli.engine.keyspace.Keyspace.scan", interrupt)
        assert talk("scan") == "interrupted\n"
        assert talk.code == 130
    assert talk("scan") == "a\t1\nb\t2\n"
    assert talk("scope status").startswith("scope    open\n")
