"""The findings of doctor: a pure function of facts, each rule on either side of its threshold."""

from typing import Any

import pytest

from lsmcli.engine.constants import MIB
from lsmcli.engine.health import DAMAGE_SHOWN_MAX, Facts, findings
from lsmcli.engine.schema import FORMAT_VERSION
from lsmcli.engine.verifier import Problem, VerifyReport

STATS = {"file_size": 100 * MIB, "table_entries": 10_000, "table_tombstones": 0, "scope": "none", "scope_changes": 0}
HEALTHY = Facts(VerifyReport([], {}), STATS, [], FORMAT_VERSION, 10, 100, 0, True, "")


def levels(*sizes: int) -> list[dict[str, Any]]:
    return [{"tree": "main", "levels": [{"bytes": size} for size in sizes]}]


def problems(*kinds: str) -> VerifyReport:
    return VerifyReport([Problem("manifest", 7, "it is bad", kind) for kind in kinds], {})


def found(**changes: Any) -> list[tuple[str, str, str]]:
    return [(each.severity, each.subject, each.command) for each in findings(HEALTHY._replace(**changes))]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"report": problems("damage")}, [("error", "manifest", "salvage OUT")]),
        ({"report": problems("copy")}, [("warning", "manifest", "sync")]),
        ({"report": problems("leak", "leak")}, [("warning", "free set", "salvage OUT")]),
        ({"problem": "cannot be opened"}, [("error", "file", "salvage OUT")]),
        ({"problem": "cannot be opened", "report": problems("damage")}, [("error", "manifest", "salvage OUT")]),
        ({"stats": STATS | {"scope": "durable"}}, [("warning", "scope", "scope persist")]),
        ({"closed_cleanly": False}, [("note", "log", "sync")]),
        ({"version": FORMAT_VERSION - 1}, [("note", "format", "export OUT")]),
        ({"blocks_free": 50}, []),
        ({"blocks_free": 51}, [("note", "space", "compact")]),
        ({"blocks_free": 51, "stats": STATS | {"file_size": MIB}}, []),
        ({"stats": STATS | {"table_tombstones": 2000}}, []),
        ({"stats": STATS | {"table_tombstones": 2001}}, [("note", "tombstones", "compact")]),
        ({"stats": STATS | {"table_tombstones": 900, "table_entries": 1000}}, []),
        ({"levels": levels(0, 3 * MIB, 3 * MIB, 0)}, []),
        ({"levels": levels(1, 3 * MIB, 3 * MIB, 0)}, [("note", "levels", "compact")]),
        ({"levels": levels(MIB, MIB)}, []),
    ],
)
def test_a_fact_gives_a_finding(changes: dict[str, Any], expected: list[tuple[str, str, str]]) -> None:
    assert found(**changes) == expected


def test_the_worst_comes_first_and_long_lists_are_cut() -> None:
    kinds = ["copy", *["damage"] * (DAMAGE_SHOWN_MAX + 5)]
    severities = [severity for severity, _, _ in found(closed_cleanly=False, report=problems(*kinds))]
    assert severities == ["error"] * (DAMAGE_SHOWN_MAX + 1) + ["warning", "note"]
