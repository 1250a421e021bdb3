"""Interchange formats: one file per format, its reader and its writer side by side, all pure.

A format is a module with

    TREES                   whether one stream can carry rows of several trees
    read(pieces, options)   pieces of the source, cut anywhere -> Rows (see rows)
    write(sections, options)   sections of columns, one per tree -> pieces of the output

one line in FORMATS below, and one in detect.SIGNATURES, which tells it by file name and first bytes. A format that
has one side only leaves the other function out. A reader holds about one piece, or one row, in memory, whatever the
size of the source. Errors are InputError, of two kinds:

    a bad row               goes to options.on_bad, which raises it or notes it; then the reader goes on behind it
    a broken structure      (an open quote, a dump without its end mark, half an array) is always raised
"""

from typing import Final

# Name -> module; a module is imported when its format is used.
FORMATS: Final = {
    "csv": "lsmcli.formats.csv",
    "tsv": "lsmcli.formats.tsv",
    "jsonl": "lsmcli.formats.jsonl",
    "json": "lsmcli.formats.json_array",
    "bdb": "lsmcli.formats.bdb",
    "lmdb": "lsmcli.formats.bdb",
    "ldb": "lsmcli.formats.ldb",
    "cdbmake": "lsmcli.formats.cdbmake",
    "resp": "lsmcli.formats.resp",
    "sql": "lsmcli.formats.sql",
    "nul": "lsmcli.formats.nul",
    "parquet": "lsmcli.formats.arrow",
    "arrow": "lsmcli.formats.arrow",
}


class InputError(ValueError):
    """A row that cannot be taken: which line (from 1), which column (from 1, in bytes) and why.

    line 0: the whole source is meant, or a place that has no line.
    source: where the line is, for the message `source:line:column: reason`.
    """

    def __init__(self, reason: str, *, line: int, column: int = 1, source: str = "input") -> None:
        super().__init__(f"{source}:{line}:{column}: {reason}" if line else f"{source}: {reason}")
        self.reason = reason
        self.line = line
        self.column = column
