"""The gate of coverage lets nothing through that falls short, and names files that exist."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import coverage_gate
from tests.coverage_gate import ENGINE, WHOLE, main, percent

ROOT = Path(__file__).resolve().parent.parent


def entry(statements: int = 10, branches: int = 4, missing: tuple[int, ...] = ()) -> dict[str, Any]:
    summary = {
        "covered_lines": statements - len(missing),
        "covered_branches": branches,
        "num_statements": statements,
        "num_branches": branches,
    }
    return {"summary": summary, "missing_lines": list(missing), "missing_branches": []}


def report(**changed: dict[str, Any]) -> dict[str, Any]:
    names = [name for group in WHOLE.values() for name in group]
    return {"files": {f"{ENGINE}{name}.py": changed.get(name, entry()) for name in [*names, *changed]}}


def judged(monkeypatch: pytest.MonkeyPatch, found: dict[str, Any]) -> int:
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(found)))
    return main()


def test_all_reached_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert judged(monkeypatch, report()) == 0


def test_one_line_of_the_log_is_enough_to_fail(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert judged(monkeypatch, report(wal=entry(missing=(7,)))) == 1
    assert "not reached: lsmcli/engine/wal.py: 7\n" in capsys.readouterr().out


def test_a_branch_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    half = entry()
    half["summary"]["covered_branches"] -= 1
    half["missing_branches"] = [[3, 5]]
    assert judged(monkeypatch, report(free_set=half)) == 1
    assert "free_set.py: 3->5\n" in capsys.readouterr().out


def test_the_rest_may_lack_a_little(monkeypatch: pytest.MonkeyPatch) -> None:
    assert judged(monkeypatch, report(scan=entry(1000, 0, tuple(range(10))))) == 0
    assert judged(monkeypatch, report(scan=entry(1000, 0, tuple(range(100))))) == 1


def test_a_file_that_was_not_measured_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    found = report()
    del found["files"][f"{ENGINE}wal.py"]
    with pytest.raises(KeyError):
        judged(monkeypatch, found)


def test_nothing_is_all_of_nothing() -> None:
    assert percent([]) == 100.0


def test_the_groups_name_files_that_exist() -> None:
    for names in coverage_gate.WHOLE.values():
        assert all((ROOT / ENGINE / f"{name}.py").is_file() for name in names)
