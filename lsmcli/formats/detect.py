r"""Which format a source has: by the ending of its name and by its first bytes.

    1. --format names it;
    2. else the ending, if the first bytes can be of that format;
    3. else the first signature below that the bytes match, the strictest first;
    4. else the ending all the same, so that the error is about its format; without one, nobody can tell.

An ending of a compressed file is passed over: users.csv.gz ends with .csv. The bytes are always decompressed ones.
"""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from lsmcli.formats import FORMATS, InputError
from lsmcli.formats.rows import BYTE_ORDER_MARK

HEAD_SIZE: Final = 4096  # so many of the first bytes are looked at
ENDINGS_COMPRESSED: Final = {".gz": "gzip", ".zst": "zstd", ".xz": "xz"}

# Fields without control characters, each with its NUL: what begins so is no archive, database or picture.
_TEXTS_BEFORE_NUL: Final = rb"(?:[^\x00-\x08\x0e-\x1f\x7f]*+\0)++[^\x00-\x08\x0e-\x1f\x7f]*+\Z"
_UTF_16: Final = (b"\xff\xfe", b"\xfe\xff")


class Signature(NamedTuple):
    """How a format is known: endings of names in lower case, and a pattern that its first bytes match."""

    name: str
    endings: tuple[str, ...]
    pattern: bytes  # matched at the start, behind a byte order mark


SIGNATURES: Final = (
    Signature("parquet", (".parquet", ".pq"), rb"PAR1"),
    Signature("arrow", (".arrow", ".arrows", ".feather", ".ipc"), rb"ARROW1|\xff\xff\xff\xff"),
    Signature("bdb", (".bdb", ".dump"), rb"VERSION="),
    Signature("cdbmake", (".cdb", ".cdbmake"), rb"\+\d+,\d+:|\n\Z"),
    Signature("resp", (".resp", ".redis", ".aof"), rb"\*\d+\r?\n\$|(?i:M?SET|DEL|P?SETEX|SELECT) [^\n\t]*(?:\n|\Z)"),
    Signature("ldb", (".ldb",), rb"0x[0-9A-Fa-f]* ==> |[^\n\t]* ==> "),
    Signature("sql", (".sql",), rb"BEGIN( TRANSACTION)?;|PRAGMA |CREATE TABLE |INSERT INTO "),  # written only
    Signature("json", (".json",), rb"\s*\["),
    Signature("jsonl", (".jsonl", ".ndjson", ".json"), rb"\s*\{"),
    Signature("tsv", (".tsv", ".tab", ".txt"), rb"[^\n]*\t"),
    Signature("nul", (".nul",), _TEXTS_BEFORE_NUL),
    Signature("csv", (".csv",), rb'"|[^\n]*[,;]'),
    Signature("lmdb", (".lmdb", ".mdb"), rb"(?!)"),  # read as bdb; the name is for writing
)


def format_of_source(path: str, head: bytes) -> str:
    """The name of the format of a source with this path ("-" for a pipe) and these first, decompressed bytes.

    Raises InputError if neither tells, or the text is UTF-16. An empty source of unknown ending is "tsv", with no rows.
    """
    text = head[:HEAD_SIZE].removeprefix(BYTE_ORDER_MARK)
    if text.startswith(_UTF_16):
        raise InputError("text in UTF-16: turn it into UTF-8 first, with iconv -f UTF-16 -t UTF-8", line=0)
    by_ending = list(_with_ending(path))
    for signature in (*by_ending, *SIGNATURES):
        if re.match(signature.pattern, text):
            return signature.name
    if by_ending:
        return by_ending[0].name
    if not head:
        return "tsv"
    names = ", ".join(FORMATS)
    raise InputError(f"neither its name nor its first bytes tell the format: add --format ({names})", line=0)


def format_of_dest(path: str) -> str | None:
    """The name of the format that the ending of a file to be written tells, or None."""
    return next((signature.name for signature in _with_ending(path)), None)


def compression_of_dest(path: str) -> str | None:
    """The compression that the ending of a file to be written tells, or None."""
    return next((kind for ending, kind in ENDINGS_COMPRESSED.items() if path.lower().endswith(ending)), None)


def _with_ending(path: str) -> Iterator[Signature]:
    name = path.rpartition("/")[2].lower()
    for ending in ENDINGS_COMPRESSED:
        name = name.removesuffix(ending)
    return (signature for signature in SIGNATURES if name.endswith(signature.endings))
