"""Lines in the editor of the user: small scripts stand in for one."""

import os
import stat
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from lsmcli.engine.errors import StateError
from lsmcli.repl.editor import edited, editor_words
from tests.repl.test_loop import Talk, talk

__all__ = ["talk"]

Editor = Callable[[str], Path]


@pytest.fixture
def editor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Editor:
    """`editor(code)` makes an editor of Python code, in which `path` is the file; what it was given is in `seen`."""
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    script, seen = tmp_path / "my editor.py", tmp_path / "seen"

    def make(code: str) -> Path:
        head = "import os, pathlib, sys\npath = pathlib.Path(sys.argv[-1])\n"
        script.write_text(f"{head}pathlib.Path({str(seen)!r}).write_bytes(path.read_bytes())\n{code}\n")
        return seen

    monkeypatch.setenv("EDITOR", f"'{sys.executable}' '{script}' --wait")
    return make


def test_the_last_text_is_edited_shown_and_run(talk: Talk, editor: Editor) -> None:
    seen = editor("path.write_text(path.read_text().replace('1', '7') + 'get a\\n')")
    talk("put a 1")
    assert talk("edit") == "7\nput a 7\nget a\n"  # the result, then the lines, which are on standard error
    assert seen.read_text() == "put a 1\n"
    assert talk("undo") == "undone: 1 key is as before\n"
    assert talk("scan") == "a\t1\n"


def test_what_was_edited_is_the_last_text_then_and_edit_itself_never_is(talk: Talk, editor: Editor) -> None:
    seen = editor("path.write_text('get b\\n')")
    talk("alias e = edit")
    talk("put a 1")
    talk("get a")
    for before in ("get a\n", "get b\n"):
        talk("e")
        assert seen.read_text() == before
        assert talk.code == 1


def test_words_are_edited_instead(talk: Talk, editor: Editor) -> None:
    seen = editor("path.write_bytes(path.read_bytes())")
    assert talk("edit put -t main -- 'a b' \"x\\n\" # comment") == 'put -t main -- "a b" "x\\n"\n'
    assert seen.read_bytes() == b'put -t main -- "a b" "x\\n"\n'
    assert talk("get 'a b' --raw") == "x\n"


def test_bytes_that_are_no_text_come_back_as_they_were(talk: Talk, editor: Editor) -> None:
    editor("path.write_bytes(b'put \\xff @\\xfe\\nput \\xff \\x1b\\n')")
    Path(os.fsdecode(b"\xfe")).write_bytes(b"1")
    shown = talk("edit")
    assert talk.code == 0
    assert "\x1b" not in shown
    assert talk("scan") == '"\\xff"\t"\\x1b"\n'


def test_what_was_not_saved_does_not_run(talk: Talk, editor: Editor) -> None:
    editor("pass")
    talk("put a 1")
    assert talk("edit put a 2") == "the text was not saved: nothing of it runs\n"
    editor("path.write_text('')")
    assert talk("edit put a 2") == ""
    editor("path.write_text('put a 2'); sys.exit(3)")
    assert "ended with the exit code 3: nothing of the text runs" in talk("edit")
    editor("path.unlink()")
    assert "lines.txt: no such file" in talk("edit")
    assert talk("get a") == "1\n"


def test_the_first_failing_line_ends_the_text(talk: Talk, editor: Editor) -> None:
    editor("path.write_text('put a 1\\nget zz\\nput a 2\\n')")
    assert "not found: zz" in talk("edit\nput b 1")
    assert talk.code == 1
    assert talk("scan") == "a\t1\n"
    editor("path.write_text('put \"a')")
    assert talk("edit").endswith("Error: a double quote is not closed\n")


def test_the_file_is_private_and_goes_away(talk: Talk, editor: Editor, tmp_path: Path) -> None:
    found = tmp_path / "found"
    editor(
        f"modes = [oct(os.stat(name).st_mode & 0o777) for name in (path, path.parent)]\n"
        f"pathlib.Path({str(found)!r}).write_text(f'{{path}} {{modes}}')\n"
        "pathlib.Path(str(path) + '~').write_text('backup')"
    )
    talk("edit")
    path, _, modes = found.read_text().partition(" ")
    assert modes == "['0o600', '0o700']"
    assert not Path(path).parent.exists()


def test_edit_in_a_script_or_in_itself_is_refused(talk: Talk, editor: Editor) -> None:
    seen = editor("path.write_text('edit\\n')")
    assert "edit is for lines that are typed" in talk("edit")
    assert talk.code == 2
    seen.unlink()
    Path("s").write_bytes(b"edit\n")
    assert "edit is for lines that are typed" in talk("source s")
    assert "watch does not watch an editor" in talk("watch 1 edit")
    assert not seen.exists()


def test_the_environment_names_the_editor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISUAL", "code --wait 'a b'")
    monkeypatch.setenv("EDITOR", "vi")
    assert editor_words() == ["code", "--wait", "a b"]
    monkeypatch.setenv("VISUAL", " ")
    assert editor_words() == ["vi"]
    for wrong, message in (("", "no editor is named"), ("vi 'x", "no closing quotation")):
        monkeypatch.setenv("EDITOR", wrong)
        with pytest.raises(StateError, match=message):
            editor_words()


def test_an_editor_that_is_not_there_and_no_shell(talk: Talk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", "no-such-editor; touch made")
    assert "no-such-editor;: no such file" in talk("edit")
    monkeypatch.setenv("EDITOR", "true ; touch made")
    assert "not saved" in talk("edit")
    assert not Path("made").exists()


def test_too_much_text_is_refused(monkeypatch: pytest.MonkeyPatch, editor: Editor) -> None:
    monkeypatch.setattr("lsmcli.repl.editor.TEXT_SIZE_MAX", 4)
    editor("path.write_text('12345')")
    with pytest.raises(StateError, match="make it a script"):
        edited("")
    editor(f"path.write_text('1234'); os.chmod(path, {stat.S_IRUSR})")
    assert edited("") == "1234"
