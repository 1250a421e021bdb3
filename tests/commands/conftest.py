"""A data file of its own for every test of a command."""

from pathlib import Path

import pytest

from tests.testing.command_line import Lsm


@pytest.fixture
def lsm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lsm:
    """The command line on a file that does not exist yet, in an environment without our variables."""
    for name in ("NO_COLOR", "CLICOLOR_FORCE", "FORCE_COLOR", "LSMCLI_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return Lsm(Path("t.lsm"), monkeypatch)
