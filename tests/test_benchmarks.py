"""The benchmarks measure what they say: the same rows every time, whole runs, ratios to the fastest of the others."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks import command_lines, report, rows
from benchmarks.process import FailedError, Run, run
from tests.formats.streams import pairs_read


@pytest.mark.parametrize("name", list(rows.FORMS))
def test_inputs_are_the_same_rows_in_every_format(name: str, tmp_path: Path) -> None:
    expected = [
        (key.encode(), value.encode())
        for keys, values in rows.columns(100)
        for key, value in zip(keys, values, strict=True)
    ]
    assert all(len(key) == 16 and len(value) == 100 for key, value in expected)
    for in_order in (False, True):
        rows.write(tmp_path / "rows", rows.FORMS[name], 100, in_order=in_order)
        found = pairs_read(name, (tmp_path / "rows").read_bytes())
        assert found == (sorted(expected) if in_order else expected)


def test_chunks_do_not_change_the_count() -> None:
    sizes = [len(keys) for keys, values in rows.columns(rows.CHUNK_ROWS + 1) if len(keys) == len(values)]
    assert sizes == [rows.CHUNK_ROWS, 1]


def test_a_run_is_measured_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"data")
    copy = "import shutil, sys; shutil.copyfileobj(sys.stdin.buffer, sys.stdout.buffer)"
    measured = run([sys.executable, "-c", copy], tmp_path, stdin=tmp_path / "in", stdout=tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"data"
    assert 0 < measured.cpu_s
    assert 0 < measured.wall_s
    assert measured.rss_mib_max > 1


def test_a_program_that_fails_is_not_measured(tmp_path: Path) -> None:
    with pytest.raises(FailedError, match="exit 3: no luck"):
        run([sys.executable, "-c", "import sys; sys.stderr.write('no luck'); sys.exit(3)"], tmp_path)


RESULTS = [
    report.Result("import", "ours", "lsmcli import", False, 1000, [Run(1, 1, 5), Run(9, 1, 7), Run(2, 1, 6)]),
    report.Result("import", "slow", "slow load", True, 1000, [Run(8, 1, 5)]),
    report.Result("import", "fast", "fast load", True, 1000, [Run(5, 1, 5)]),
    report.Result("alone", "ours", "lsmcli import", False, 1000, [Run(3, 1, 5)]),
]


def test_medians_are_compared_with_the_fastest_of_the_others() -> None:
    lines = report.table(RESULTS).splitlines()
    assert lines[0] == "import"
    assert lines[2].split() == ["ours", "2.00", "1.00", "1.00", "2000.00", "7", "2.50x"]
    assert lines[3].split()[-1] == "0.62x"
    assert lines[4].split()[-1] == "1.00x"
    assert "1x is fast," in lines[5]
    assert lines[-1].split() == ["ours", "3.00", "3.00", "1.00", "3000.00", "5"]


def test_every_round_is_in_the_figures() -> None:
    figures = json.loads(report.as_json(RESULTS, {"cores": 2}))
    assert figures["cores"] == 2
    assert figures["results"][0]["wall_s_median"] == 2
    assert len(figures["results"][0]["runs"]) == 3


@pytest.mark.slow
def test_command_lines_are_measured_on_what_a_script_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_lines, "REPEATS", 1)
    results, failures = command_lines.measure(200, 1)
    assert failures == []
    assert {result.group for result in results} == {"one get", "one put", "a script of 200 puts"}
    text = command_lines.table(results)
    assert "lsmcli exec" in text
    assert "lsmcli get takes" in text


def test_a_script_that_stored_too_little_is_found_out(tmp_path: Path) -> None:
    key = command_lines.write_scripts(tmp_path, 50)
    ours = [case for case in command_lines.cases(key, 50) if case.name == "lsmcli exec"]
    command_lines.fill(tmp_path, ours)
    command_lines.check(tmp_path, key, 50)
    with pytest.raises(SystemExit, match="of 51 lines 50 were stored"):
        command_lines.check(tmp_path, key, 51)


@pytest.mark.slow
def test_a_program_that_fails_leaves_the_others_their_rows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command_lines, "REPEATS", 1)
    cases = command_lines.cases
    broken = command_lines.Case("one get", "broken", [sys.executable, "-c", "exit('no luck')"])
    monkeypatch.setattr(command_lines, "cases", lambda key, lines: iter([broken, *cases(key, lines)]))
    assert command_lines.main(["--lines", "200", "--rounds", "1"]) == 1
    said = capsys.readouterr().out
    assert said.count("FAILED") == 1
    assert "exit 1: no luck" in said
    assert "lsmcli get takes" in said
