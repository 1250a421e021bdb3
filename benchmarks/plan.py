"""What is compared: the workloads in their order, the rows that they give, and what the rows are to reach.

Invariant: a row is named after the workload and the state of the store, in the table, in JSON and in the chart.
"""

from typing import NamedTuple


class Step(NamedTuple):
    """One workload of a round. wants: the state of the store, see benchmarks.worker."""

    row: str
    workload: str
    wants: str
    stamped: bool = False


PLAN = [
    Step("fillseq", "fillseq", "empty"),
    Step("fillbatch", "fillbatch", "empty"),
    Step("fillrandom", "fillrandom", "empty"),
    Step("readrandom, before compaction", "readrandom", "raw"),
    Step("overwrite", "overwrite", "loaded", stamped=True),
    Step("compact", "compact", "loaded"),
    Step("readrandom, after compaction", "readrandom", "compacted"),
    Step("readhot", "readhot", "compacted"),
    Step("readmissing", "readmissing", "compacted"),
    Step("get_many(500)", "get_many", "compacted"),
    Step("readseq", "readseq", "compacted"),
    Step("readreverse", "readreverse", "compacted"),
    Step("seekrandom + 10", "seekrandom", "compacted"),
    Step("open", "open", "compacted"),
    *(Step(f"ycsb-{name}", f"ycsb-{name}", "loaded") for name in "abcdef"),
    Step("readwhilewriting", "readwhilewriting", "empty"),
    Step("deleterandom", "deleterandom", "loaded"),
]


class Goal(NamedTuple):
    """What a row is to reach: times the best peer, or, where `limit` is set, at most so much.

    Meant for 1,000,000 entries of 16 + 100 bytes; opening, and bytes written, for 10,000,000.
    """

    floor: float
    aim: float
    limit: bool = False


GOAL_SIZES = (16, 100)  # bytes of a key and of a value: goals are for no other entries
GOALS = {
    "fillrandom": Goal(1.5, 3),
    "fillbatch": Goal(2, 4),
    "overwrite": Goal(1.5, 3),
    "overwrite, p99.9": Goal(100, 20, limit=True),
    "overwrite, max": Goal(5_000, 1_000, limit=True),
    "readrandom, after compaction": Goal(1.0, 1.5),
    "readrandom, before compaction": Goal(0.8, 1.2),
    "readhot": Goal(1.0, 2),
    "readmissing": Goal(1.2, 2),
    "get_many(500)": Goal(1.2, 3),
    "readseq": Goal(0.8, 1.2),
    "seekrandom + 10": Goal(0.8, 1.2),
    "open": Goal(30_000, 5_000, limit=True),
    "file size after compaction": Goal(1.10, 1.10, limit=True),
    "bytes written, fillrandom": Goal(12, 12, limit=True),
}
