"""benchmark: what it prints, what it refuses, and that no file is left or touched."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lsmcli.benchmark.workloads import WORKLOADS
from tests.testing.command_line import Lsm

SMALL = ("benchmark", "--entries", "1000")
READS = "readrandom readhot readmissing get_many readseq readreverse seekrandom ycsb-c".split()
LATENCIES = ("p50_us", "p99_us", "p99.9_us", "max_us")


def test_a_line_for_each_workload_in_the_order_in_which_they_are_named(lsm: Lsm, tmp_path: Path) -> None:
    lines = lsm.ok(*SMALL, "readrandom", "fillseq", "compact", "readrandom").decode().splitlines()
    assert [line.split()[0] for line in lines] == ["workload", "readrandom", "fillseq", "compact", "readrandom"]
    assert len({len(line) for line in lines}) == 1
    assert list(tmp_path.iterdir()) == []


def test_without_names_the_usual_workloads_run(lsm: Lsm) -> None:
    lines = lsm.ok(*SMALL).decode().splitlines()
    assert {line.split()[0] for line in lines[1:]} == {name for name in WORKLOADS if not name.startswith("ycsb")}


@pytest.mark.parametrize("name", WORKLOADS)
def test_each_workload_runs_alone(lsm: Lsm, name: str) -> None:
    record = json.loads(lsm.ok(*SMALL, "--json", "--key-size", "8", "--value-size", "16", name))
    assert record["workload"] == name
    assert record["operations"] >= 500
    assert record["us_per_operation"] == pytest.approx(
        record["seconds"] * 1e6 / record["operations"], rel=0.01, abs=0.01
    )
    assert record["file_size"] > 24_000
    assert (record["bytes_written"] > 0) == (name not in READS)
    latencies = [record[field] for field in LATENCIES]
    assert (record.get("put_us", 0) > 0) == (name == "readwhilewriting")
    if name in ("readseq", "readreverse", "readwhilewriting"):
        assert latencies == [None] * 4
    else:
        assert latencies == sorted(latencies)
        assert latencies[0] > 0


def test_the_file_is_kept_when_that_is_asked_for(lsm: Lsm, tmp_path: Path) -> None:
    lsm.ok(*SMALL, "--keep", "fillrandom")
    assert list(tmp_path.iterdir()) == [tmp_path / "t.lsm"]
    assert lsm.ok("count") == b"1000\n"
    assert lsm("verify").code == 0


def test_a_file_that_is_there_is_left_alone(lsm: Lsm) -> None:
    lsm.ok("put", "a", "1")
    before = lsm.path.read_bytes()
    assert "is there already" in lsm.fails(2, *SMALL)
    assert lsm.path.read_bytes() == before
    lsm.path.write_bytes(b"")
    assert "is there already" in lsm.fails(2, *SMALL)


@pytest.mark.parametrize(
    ("code", "words", "said"),
    [
        (2, ("readrandm",), "no workload 'readrandm': there are fillseq"),
        (8, ("--entries", "999"), "999 entries: a benchmark takes 1000 to"),
        (8, ("--key-size", "7"), "7 bytes of a key"),
        (8, ("--key-size", "513"), "513 bytes of a key"),
        (8, ("--value-size", "-1"), "-1 bytes of a value"),
        (8, ("--value-size", "1048577"), "1048577 bytes of a value"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is_written(
    lsm: Lsm, tmp_path: Path, code: int, words: tuple[str, ...], said: str
) -> None:
    assert said in lsm.fails(code, "benchmark", *words)
    assert list(tmp_path.iterdir()) == []


def test_read_only_and_a_missing_folder_are_refused(lsm: Lsm, tmp_path: Path) -> None:
    result = lsm.run("--read-only", "t.lsm", *SMALL)
    assert (result.code, result.out) == (5, b"")
    assert "--read-only was given" in result.err
    result = lsm.run("missing/t.lsm", *SMALL)
    assert (result.code, result.out) == (5, b"")
    assert "its folder is not there" in result.err
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_answer_is_damage_and_leaves_no_file(lsm: Lsm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lsmcli.engine.database.Database.get", lambda self, key: None)
    result = lsm(*SMALL, "readrandom")
    assert result.code == 4
    assert "the benchmark got a wrong answer: get of b'0000" in result.err
    assert list(tmp_path.iterdir()) == []


def test_progress_is_shown_when_it_is_asked_for(lsm: Lsm, monkeypatch: pytest.MonkeyPatch) -> None:
    assert lsm(*SMALL, "fillseq").err == ""
    monkeypatch.setattr("lsmcli.commands.progress.PLAIN_EVERY_S", 0.0)
    assert "fillseq: 100 %, 1000 rows" in lsm(*SMALL, "--progress", "plain", "fillseq").err


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_leaves_no_file(tmp_path: Path, number: int, code: int) -> None:
    command = [sys.executable, "-m", "lsmcli", "t.lsm", "benchmark", "--progress", "plain", "--entries", "200000"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent.parent)}
    process = subprocess.Popen(
        [*command, *["fillseq"] * 100], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    )
    assert process.stdout is not None
    process.stdout.readline()  # the header: from here on it writes
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert b"Traceback" not in errors
    assert list(tmp_path.iterdir()) == []
