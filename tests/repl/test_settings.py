"""Settings and history: files of a user."""

import os
import stat
from pathlib import Path

import pytest

from lsmcli.engine.errors import FileError, StateError
from lsmcli.repl.history import FileHistory, entries_of, history_path, record_of
from lsmcli.repl.settings import Settings, config_path, load, pager_of


def test_settings_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('keys = "vi"\nmode = "json"\npager = ""\ntimer = true\nstartup = ["scan"]\n[aliases]\na = "get"\n')
    assert load(str(path)) == Settings("vi", "json", "auto", "", True, False, ("scan",), {"a": "get"}, {})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("kys = 1", "no setting 'kys'"),
        ('keys = "nano"', "keys is one of emacs, vi"),
        ("timer = 1", "timer is true or false"),
        ("pager = 1", "pager is a command"),
        ("startup = [1]", "startup is a list"),
        ('aliases = "a"', "aliases is a table"),
        ("=", "c.toml"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "c.toml"
    path.write_text(text)
    with pytest.raises(StateError, match=reason):
        load(str(path))


def test_the_usual_file_may_be_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert config_path() == str(tmp_path / "lsmcli" / "config.toml")
    assert load(None) == Settings()
    with pytest.raises(FileError, match="no such file"):
        load(str(tmp_path / "named.toml"))
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    assert os.path.isabs(config_path())


def test_the_environment_goes_before_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LSMCLI_PAGER", raising=False)
    monkeypatch.setenv("PAGER", "more")
    assert pager_of(Settings()) == "more"
    assert pager_of(Settings(pager="cat")) == "cat"
    monkeypatch.setenv("LSMCLI_PAGER", "")
    assert pager_of(Settings(pager="cat")) == ""


def test_history_keeps_each_line_once_and_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "state" / "h"
    history = FileHistory(str(path))
    for line in ("get a", "put b 1", "get a", "get a", " secret", 'put c "x\ny"'):
        history.append_string(line)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(FileHistory(str(path)).load_history_strings()) == ['put c "x\ny"', "get a", "put b 1"]
    assert b"secret" not in path.read_bytes()
    path.chmod(0o644)
    history.append_string("scan")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_history_that_cannot_be_kept_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    history = FileHistory(str(tmp_path / "file" / "h"))
    history.append_string("get a")
    assert list(history.load_history_strings()) == []
    FileHistory(os.devnull).append_string("get a")


def test_any_text_is_an_entry() -> None:
    for text in ("a", "a\nb", "+", "a\n\n+b", "\udcff é"):
        assert entries_of(record_of(text)) == [text]


def test_each_data_file_has_a_history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    one, two = history_path("a/x.lsm"), history_path("b/x.lsm")
    assert one != two
    assert one.startswith(str(tmp_path / "lsmcli" / "history" / "x.lsm."))
