"""Interchange formats: one file per format, its reader and its writer side by side, all pure.

A format is a module with

    EXTENSIONS           file name endings that mean it, in lower case
    sniff(head)          whether a stream that starts with these bytes looks like it
    read(blocks, ...)    blocks of whole lines -> Rows, or InputError with line, column and reason
    write(pairs, ...)    (key, value) pairs -> pieces of the output

and one line in FORMATS below. A reader holds one block at a time, whatever the size of the stream.
"""

from typing import Final

# Name -> module; a module is imported when its format is used.
FORMATS: Final = {"tsv": "lsmcli.formats.tsv", "jsonl": "lsmcli.formats.jsonl"}


class InputError(ValueError):
    """A row that cannot be taken: which line (from 1), which column (from 1, in bytes) and why.

    source: where the line is, for the message `source:line:column: reason`.
    """

    def __init__(self, reason: str, *, line: int, column: int = 1, source: str = "input") -> None:
        super().__init__(f"{source}:{line}:{column}: {reason}")
        self.reason = reason
        self.line = line
        self.column = column
