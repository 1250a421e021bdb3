"""Medians of rounds as a table, as JSON and as a chart."""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.process import Run


class Result(NamedTuple):
    """All rounds of one program in one group. peer: its command of another tool, to compare with."""

    group: str
    name: str
    command: str
    peer: bool
    rows: int
    runs: list[Run]

    @property
    def wall_s(self) -> float:
        return statistics.median(run.wall_s for run in self.runs)

    @property
    def cpu_s(self) -> float:
        return statistics.median(run.cpu_s for run in self.runs)

    @property
    def rss_mib_max(self) -> float:
        return max(run.rss_mib_max for run in self.runs)


def best_peer(results: Sequence[Result], group: str) -> Result | None:
    """The fastest other tool of a group."""
    return min((r for r in results if r.group == group and r.peer), key=lambda result: result.wall_s, default=None)


def groups_of(results: Sequence[Result]) -> list[str]:
    """The groups in their order."""
    return list(dict.fromkeys(result.group for result in results))


def table(results: Sequence[Result]) -> str:
    """A line for each program: median and fastest round, time per row, memory, and how many times the best peer."""
    lines = []
    for group in groups_of(results):
        peer = best_peer(results, group)
        lines += [
            "",
            f"{group}",
            f"  {'':34}{'median s':>9}{'min s':>8}{'cpu s':>8}{'µs/row':>8}{'MiB max':>9}{'speed':>8}",
        ]
        for result in (result for result in results if result.group == group):
            ratio = f"{peer.wall_s / result.wall_s:.2f}x" if peer is not None else ""
            fastest_s = min(run.wall_s for run in result.runs)
            per_row_us = result.wall_s / result.rows * 1e6
            lines.append(
                f"  {result.name:34}{result.wall_s:9.2f}{fastest_s:8.2f}{result.cpu_s:8.2f}{per_row_us:8.2f}"
                f"{result.rss_mib_max:9.0f}{ratio:>8}"
            )
        if peer is not None:
            lines.append(f"  speed: 1x is {peer.name}, the fastest of the others")
    return "\n".join(lines).lstrip("\n") + "\n"


def commands(results: Sequence[Result]) -> str:
    """What was run, word for word."""
    words = {result.name: result.command for result in results}  # the same, however many rows
    width = max(map(len, words), default=0)
    return "".join(f"  {name:{width}}  {command}\n" for name, command in words.items())


def as_json(results: Sequence[Result], about: dict[str, object]) -> str:
    """All rounds, for programs."""
    return json.dumps(
        {
            **about,
            "results": [
                {
                    "group": result.group,
                    "name": result.name,
                    "command": result.command,
                    "rows": result.rows,
                    "wall_s_median": round(result.wall_s, 4),
                    "rss_mib_max": round(result.rss_mib_max, 1),
                    "runs": [{name: round(value, 4) for name, value in run._asdict().items()} for run in result.runs],
                }
                for result in results
            ],
        },
        indent=1,
    )


def chart(results: Sequence[Result], path: Path, title: str) -> None:
    """Horizontal bars, a panel for each group that has peers, as SVG. Needs matplotlib, of the extra lsmcli[bench]."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update(
        {"svg.hashsalt": "lsmcli", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    )
    from matplotlib import pyplot

    groups = [group for group in groups_of(results) if best_peer(results, group) is not None]
    counts = [sum(result.group == group for result in results) for group in groups]
    figure, panels = pyplot.subplots(
        len(groups), 1, squeeze=False, figsize=(7.5, 0.8 + sum(0.28 * count + 0.5 for count in counts)),
        gridspec_kw={"height_ratios": counts},
    )  # fmt: skip
    for panel, group in zip(panels[:, 0], groups, strict=True):
        shown = sorted((r for r in results if r.group == group), key=lambda result: result.wall_s, reverse=True)
        colours = ["#9aa5b1" if result.peer else "#1f6feb" for result in shown]
        bars = panel.barh([result.name for result in shown], [result.wall_s for result in shown], color=colours)
        panel.bar_label(bars, [f"{result.wall_s:.2f} s" for result in shown], padding=3)
        panel.set_title(group, loc="left", fontsize=10, fontweight="bold")
        panel.margins(x=0.12)
    figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
