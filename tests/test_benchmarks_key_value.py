"""The comparison with other stores: every adapter answers right, rows and ratios are those of the medians."""

import json
from pathlib import Path

import pytest

from benchmarks import key_value, key_value_report
from benchmarks.engines import ENGINES, Engine, version_of
from benchmarks.key_value_report import MEMORY, Failure, Figures, Row, Run
from benchmarks.plan import GOALS, PLAN, Step
from benchmarks.worker import Scale, file_size, memory_now, written_now
from lsmcli.benchmark.data import Data
from lsmcli.benchmark.workbench import Workbench
from lsmcli.benchmark.workloads import WORKLOADS

SCALE = Scale(entries=1_000, key_size=16, value_size=100, seed=7, operations_max=1_000)


def bench_of(engine: str, path: Path) -> Workbench:
    try:
        version_of(ENGINES[engine])
    except ImportError:
        pytest.skip(f"{engine} is not installed: make bench installs it")
    return Workbench(ENGINES[engine].store(str(path)), Data(1_000, 16, 100, 7), operations_max=1_000)


@pytest.mark.parametrize("engine", [name for name in ENGINES if not ENGINES[name].environment])
def test_every_workload_gets_right_answers_from_every_engine(engine: str, tmp_path: Path) -> None:
    bench = bench_of(engine, tmp_path / "db")
    for name in WORKLOADS:
        if WORKLOADS[name].fills:
            bench.clear()
        bench.measure(WORKLOADS[name].run)
        bench.verify()
    bench.store.close()
    bench.calls = bench.store.open()
    bench.verify()  # what is closed is kept
    bench.store.close()


def test_the_plan_names_workloads_once_and_goals_name_rows() -> None:
    assert len({step.row for step in PLAN}) == len(PLAN)
    known = {*WORKLOADS, "open"}
    assert {step.workload for step in PLAN} == known
    of_latencies = {f"{step.row}, {name}" for step in PLAN if step.stamped for name in ("p50", "p99", "p99.9", "max")}
    others = {"file size after compaction", "bytes written, fillrandom"}
    assert set(GOALS) <= {step.row for step in PLAN} | of_latencies | others
    assert all(step.workload in known for step in key_value.steps_named("readrandom,open"))
    with pytest.raises(SystemExit, match="no workload readrandm; there are fillseq"):
        key_value.steps_named("readrandm")


def runs(row: str, **us: float) -> list[Run]:
    return [Run(row, engine.replace("_", "-"), {"us": figure}) for engine, figure in us.items()]


FIGURES = Figures(
    SCALE,
    [
        *runs("fillrandom", lsmcli=2.0, lsmcli_pure=9.0, lmdb=4.0, plyvel=3.0),
        *runs("fillrandom", lsmcli=1.0, lsmcli_pure=8.0, lmdb=4.0, plyvel=6.0),
        *runs("fillrandom", lsmcli=9.0, lsmcli_pure=7.0, lmdb=4.0, plyvel=9.0),
        *runs("readhot", lsmcli=2.0, lsmcli_pure=2.0, lmdb=1.0),
        *runs("open", lsmcli=10_000.0),
        Run(MEMORY, "lsmcli", {"memory_mib": 10.0}),
        Run(MEMORY, "lmdb-each", {"memory_mib": 1.0}),  # for doing less
    ],
    {"put": 0.05, "get": 0.03},
    3,
    [Failure("open", "lmdb", "exit 1")],
)  # fmt: skip


def test_medians_are_compared_with_the_best_peer() -> None:
    rows = {row.name: row for row in key_value_report.rows_of(FIGURES)}
    assert rows["fillrandom"].figures == {"lsmcli": 2.0, "lsmcli-pure": 8.0, "lmdb": 4.0, "plyvel": 6.0}
    assert (rows["fillrandom"].best_peer, rows["fillrandom"].ratio) == ("lmdb", 2.0)
    assert (rows["readhot"].best_peer, rows["readhot"].ratio) == ("lmdb", 0.5)
    assert (rows["open"].best_peer, rows["open"].ratio) == (None, None)
    assert rows[MEMORY].figures == {"lsmcli": 10.0}


@pytest.mark.parametrize(
    ("name", "ours", "peer", "verdict"),
    [
        ("fillrandom", 1.0, 3.0, "1.5x / 3x  aim"),
        ("fillrandom", 1.0, 2.9, "1.5x / 3x  floor"),
        ("fillrandom", 1.0, 1.4, "1.5x / 3x  MISSED"),
        ("open", 5_000.0, 1.0, "30000 / 5000  aim"),
        ("open", 5_001.0, 1.0, "30000 / 5000  floor"),
        ("open", 30_001.0, 1.0, "30000 / 5000  MISSED"),
        ("fillseq", 1.0, 9.0, ""),
    ],
)
def test_floors_and_aims(name: str, ours: float, peer: float, verdict: str) -> None:
    assert Row(name, "µs", {"lsmcli": ours, "plyvel": peer}).verdict == verdict


@pytest.mark.slow
def test_a_whole_run_writes_table_figures_and_chart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--engines", "lsmcli,sqlite3", "--workloads", "overwrite,open,readwhilewriting", "--rounds", "1"]
    monkeypatch.setattr(key_value_report, "chart", lambda figures, path: path.write_text("<svg/>"))
    assert key_value.main([*words, "--entries", "1000", "2000", "--output", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert text.strip() == (tmp_path / "key_value.txt").read_text().strip()
    for expected in (
        "1,000 entries of 16 + 100 bytes", "overwrite, p99.9", "bytes written, overwrite", "readwhilewriting, puts",
        "peak memory", "lsmcli, 2,000 entries: cost of an operation by that at 1,000", "synchronous=normal",
    ):  # fmt: skip
        assert expected in text
    figures = json.loads((tmp_path / "key_value.json").read_text())
    assert [scale["entries"] for scale in figures["scales"]] == [1_000, 2_000]
    row = next(row for row in figures["scales"][0]["rows"] if row["row"] == "overwrite")
    assert row["ratio"] == pytest.approx(row["median"]["sqlite3"] / row["median"]["lsmcli"])


def test_a_worker_that_ends_or_hangs_gives_no_figure(tmp_path: Path) -> None:
    with key_value.Process("sqlite3", tmp_path, SCALE) as process:
        for _ in range(2):  # the second time it is not there any more
            with pytest.raises(key_value.WorkerFailedError, match="exit 1"):
                process.ask(Step("row", "no such workload", "empty"))
    with key_value.Process("sqlite3", tmp_path, SCALE) as process:
        with pytest.raises(key_value.WorkerFailedError, match=r"no answer for 0\.01 s"):
            process.ask(PLAN[0], answer_s_max=0.01)


def test_an_engine_that_fails_leaves_the_others_their_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Engine(ENGINES["sqlite3"].store, {}, "sqlite3", environment={"PYTHONHOME": "/nowhere"})
    monkeypatch.setitem(ENGINES, "broken", broken)
    words = ["--engines", "broken,sqlite3", "--workloads", "fillseq,open", "--entries", "1000", "--rounds", "1"]
    monkeypatch.setattr(key_value_report, "chart", lambda figures, path: None)
    assert key_value.main([*words, "--output", str(tmp_path)]) == 1
    assert "FAILED: broken in fillseq: exit 1" in capsys.readouterr().out
    (scale,) = json.loads((tmp_path / "key_value.json").read_text())["scales"]
    assert {row["row"]: list(row["median"]) for row in scale["rows"]}["open"] == ["sqlite3"]


def test_every_number_of_entries_comes_with_the_first_sizes_and_the_other_sizes_with_the_first_number() -> None:
    wanted = key_value.parsed(["--entries", "1000", "5000", "--sizes", "16+100", "16+1000", "8+16"])
    scales = [scale[:3] for scale in key_value.scales_of(wanted)]
    assert scales == [(1_000, 16, 100), (5_000, 16, 100), (1_000, 16, 1_000), (1_000, 8, 16)]
    with pytest.raises(SystemExit):
        key_value.parsed(["--sizes", "4+100"])


def test_goals_are_for_the_sizes_that_they_were_set_for() -> None:
    assert "1.5x / 3x" in key_value_report.table(FIGURES)
    other = key_value_report.table(FIGURES._replace(scale=SCALE._replace(value_size=1_000)))
    assert "2.00x lmdb" in other
    assert "1.5x / 3x" not in other


def test_what_linux_tells_about_a_process(tmp_path: Path) -> None:
    before = written_now()
    (tmp_path / "db").write_bytes(bytes(100_000))
    (tmp_path / "db-wal").write_bytes(bytes(5))
    assert 100_005 <= written_now() - before < 110_000
    assert file_size(str(tmp_path / "db")) == 100_005
    assert memory_now("VmHWM") >= memory_now("VmRSS") > 1_000
