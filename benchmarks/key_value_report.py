"""Rows of the comparison of key-value stores: medians of rounds as a table, as JSON and as a chart.

A row has a figure for each engine, smaller is better, and a ratio: the best peer's figure by lsmcli's. 2.00x is twice
as fast. Where there is a floor and an aim for a row, they stand behind it, and what is missed is marked.
"""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.engines import ENGINES
from benchmarks.plan import GOAL_SIZES, GOALS, Goal
from benchmarks.worker import Scale

OURS = "lsmcli"
PURE = "lsmcli-pure"
MEMORY = "peak memory"
WRITES = ("fillseq", "fillrandom", "overwrite")


class Run(NamedTuple):
    """What one engine answered about one step of one round."""

    row: str
    engine: str
    answer: dict[str, Any]


class Failure(NamedTuple):
    """Where an engine ended in one round: its rows from here on are missing."""

    row: str
    engine: str
    reason: str


class Figures(NamedTuple):
    """All rounds at one scale so far. loop_us: what the loop itself takes of an operation."""

    scale: Scale
    runs: list[Run]
    loop_us: dict[str, float]
    rounds: int
    failures: list[Failure]


class Row(NamedTuple):
    """A row of the table: an engine's figure is the median of its rounds."""

    name: str
    unit: str
    figures: dict[str, float]

    @property
    def best_peer(self) -> str | None:
        """The peer with the smallest figure."""
        peers = [name for name in self.figures if ENGINES[name].peer]
        return min(peers, key=self.figures.__getitem__, default=None)

    @property
    def ratio(self) -> float | None:
        """How many times better than the best peer; None where there is nothing to compare."""
        ours, best = self.figures.get(OURS), self.best_peer
        return None if best is None or not ours else self.figures[best] / ours

    @property
    def verdict(self) -> str:
        """Floor and aim, and which of them is reached; nothing for a row without."""
        goal = GOALS.get(self.name)
        if goal is None or OURS not in self.figures:
            return ""
        worth = self.figures[OURS] if goal.limit else self.ratio
        if worth is None:
            return ""
        form = "{:g}" if goal.limit else "{:g}x"
        words = f"{form.format(goal.floor)} / {form.format(goal.aim)}"
        met = "aim" if meets(goal.aim, worth, goal) else "floor" if meets(goal.floor, worth, goal) else "MISSED"
        return f"{words}  {met}"


def meets(wanted: float, worth: float, goal: Goal) -> bool:
    """Whether a figure reaches a bound."""
    return worth <= wanted if goal.limit else worth >= wanted


# What else an answer holds, and the row that it becomes: behind the row of its workload, or behind all of them.
LATENCIES = {
    "p50": "p50_us", "p99": "p99_us", "p99.9": "p99.9_us", "max": "p100_us", "puts": "put_us", "refresh": "refresh_us",
}  # fmt: skip
OTHERS = [
    *((f"bytes written, {row}", "× put", row, "bytes_written", "bytes_put") for row in WRITES),
    *((f"cpu of all threads, {row}", "µs", row, "cpu_us", "") for row in WRITES),
    ("file size after fillrandom", "× data", "fillrandom", "file_size", "data_size"),
    ("file size after compaction", "× data", "compact", "file_size", "data_size"),
    (MEMORY, "MiB", MEMORY, "memory_mib", ""),
]


def rows_of(figures: Figures) -> list[Row]:
    """All rows, in the order of the plan; those of sizes and memory behind them."""
    wanted = []
    for row in dict.fromkeys(run.row for run in figures.runs):
        wanted.append((row, "µs", row, "us", ""))
        wanted += [(f"{row}, {name}", "µs", row, field, "") for name, field in LATENCIES.items()]
    rows = []
    for name, unit, row, field, divisor in [*wanted, *OTHERS]:
        found: dict[str, list[float]] = {}
        for run in figures.runs:
            if row == MEMORY and ENGINES[run.engine].only:
                continue  # it did less than the others
            if run.row == row and field in run.answer:
                share = run.answer[divisor] if divisor else 1
                found.setdefault(run.engine, []).append(run.answer[field] / share)
        if found:
            rows.append(Row(name, unit, {engine: statistics.median(values) for engine, values in found.items()}))
    return rows


def table(figures: Figures) -> str:
    """A line for each row, a column for each engine."""
    rows = rows_of(figures)
    engines = [name for name in ENGINES if any(name in row.figures for row in rows)]
    scale = figures.scale
    goals = (scale.key_size, scale.value_size) == GOAL_SIZES
    lines = [
        f"{title(scale)}, seed {scale.seed}, median of {figures.rounds} round{'s' * (figures.rounds != 1)}",
        f"{'':40}{''.join(f'{name:>12}' for name in engines)}     ratio to best peer{'   floor / aim' * goals}",
    ]
    for row in rows:
        cells = "".join(f"{shown(row.figures[name]) if name in row.figures else '':>12}" for name in engines)
        ratio = f"{row.ratio:8.2f}x {row.best_peer:12}" if row.ratio is not None else f"{'':22}"
        lines.append(f"{row.name:32}{row.unit:8}{cells} {ratio}  {row.verdict if goals else ''}".rstrip())
    lines += [f"FAILED: {each.engine} in {each.row}: {each.reason}" for each in figures.failures]
    loop = ", ".join(f"a {name} {cost:.3f} µs" for name, cost in figures.loop_us.items())
    lines.append(f"the benchmark's own loop, which is in every figure: {loop}")
    if PURE in engines:
        both = [row for row in rows if row.unit == "µs" and {PURE, OURS} <= set(row.figures)]
        slowest = max(((row.figures[PURE] / row.figures[OURS], row.name) for row in both), default=(0.0, "no row"))
        lines.append(f"interpreted: at most {slowest[0]:.1f} times the compiled code's time, in {slowest[1]}")
    return "\n".join(lines)


def title(scale: Scale) -> str:
    """How many entries of what sizes."""
    return f"{scale.entries:,} entries of {scale.key_size} + {scale.value_size} bytes"


def shown(value: float) -> str:
    """A figure with three digits that count."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 20 else f"{value:.2f}"


def growth(first: Figures, other: Figures) -> str:
    """What an operation of lsmcli costs at another number of entries, as a multiple of what it costs at the first."""
    ours = {row.name: row.figures[OURS] for row in rows_of(first) if OURS in row.figures}
    lines = [f"lsmcli, {other.scale.entries:,} entries: cost of an operation by that at {first.scale.entries:,}"]
    lines += [
        f"  {row.name:32}{row.figures[OURS] / ours[row.name]:6.2f}"
        for row in rows_of(other)
        if row.unit == "µs" and ours.get(row.name) and OURS in row.figures
    ]
    return "\n".join(lines)


def as_text(figures: Sequence[Figures], about: dict[str, Any]) -> str:
    """Settings, and a table for each scale."""
    parts = [f"Python {about['python']}, {about['cores']} cores", "", "Settings"]
    for name, settings in about["engines"].items():
        parts.append(f"  {name:12}" + ", ".join(f"{key}={value}" for key, value in settings.items()))
    for each in figures:
        parts += ["", table(each)]
    for each in figures[1:]:
        if each.scale[1:] == figures[0].scale[1:]:
            parts += ["", growth(figures[0], each)]
    return "\n".join(parts)


def as_json(figures: Sequence[Figures], about: dict[str, Any]) -> str:
    """Rows and all rounds, for programs."""
    scales = []
    for each in figures:
        rows = [
            {"row": row.name, "unit": row.unit, "median": row.figures, "best_peer": row.best_peer, "ratio": row.ratio}
            | {"goal": row.verdict}
            for row in rows_of(each)
        ]
        runs = [run._asdict() for run in each.runs]
        failures = [failure._asdict() for failure in each.failures]
        scales.append(
            {**each.scale._asdict(), "rounds": each.rounds, "loop_us": each.loop_us}
            | {"rows": rows, "failures": failures, "runs": runs}
        )
    return json.dumps({**about, "scales": scales}, indent=1)


def chart(figures: Figures, path: Path) -> None:
    """The ratio of every timed row as a bar, as SVG. Needs matplotlib, of the extra lsmcli[bench]."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update(
        {"svg.hashsalt": "lsmcli", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    )
    from matplotlib import pyplot

    rows = [row for row in rows_of(figures) if row.unit == "µs" and row.ratio is not None][::-1]
    if not rows:
        return
    figure, panel = pyplot.subplots(figsize=(8, 0.9 + 0.26 * len(rows)))
    ratios = [row.ratio or 0.0 for row in rows]
    bars = panel.barh(
        [row.name for row in rows],
        [r - 1 for r in ratios],
        left=1,
        color=["#1f6feb" if r >= 1 else "#c98b2b" for r in ratios],
    )
    panel.bar_label(bars, [f"{row.ratio:.2f}x {row.best_peer}" for row in rows], padding=3)
    panel.axvline(1, color="#57606a", linewidth=0.8)
    panel.set_xscale("log")
    panel.margins(x=0.25, y=0.01)
    what = f"Speed of lsmcli, 1x is the best of the others; {title(figures.scale)}"
    panel.set_title(what, loc="left", fontsize=10)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
