r"""Class 22: sources that are damaged, cut, or never were what they claim to be, at `import`.

Injects: of every format that both writes and reads, a valid file that is cut at every byte, has a byte changed, a piece
missing or doubled, zeros or line ends in it; and by hand: half lines, rows with too many fields, quotes that stay
open, huge fields, byte order marks, members that occur twice, numbers that are none, or have 5,000 digits, brackets
100,000 deep, another thing than an object.

Must hold: exit code 0, with all rows that the source has; or one line that names the line and the reason, exit code 6,
and the data file is byte for byte what it was: no row of it is stored. A cut source is never taken with a part of its
rows only, unless the cut is between two rows, where nothing can tell it.

Cases: every cut of each format, and CHANGES seeded changes of each; the ones by hand.
"""

import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import lsmcli
from lsmcli.formats import FORMATS
from tests.testing.invocation import Outcome, invoke, no_syncs, one_line
from tests.testing.trial import Trial

CASES: Final = 3_000
SLICES: Final = 2
SHARE: Final = 0.15
CHANGES: Final = 700

Model = dict[bytes, bytes]

ROWS: Final[Model] = {
    b"a": b"1",
    b"b\tc": b"two\nlines",
    b"d": b"",
    "é".encode(): "wért 😀".encode(),
    b"\x00\xff": b'"quoted", \\ and more',
    b"key": b"value",
    b"z,z": b"\xc3(",
}
BEFORE: Final[Model] = {b"a": b"before", b"kept": b"as it was"}

BY_HAND: Final[tuple[tuple[str, bytes], ...]] = (
    ("tsv", b"a\n"), ("tsv", b"a\tb\tc\n"), ("tsv", b'"a\tb\n'), ("tsv", b'"a"x\tb\n'), ("tsv", b"\n"),
    ("tsv", b"\tvalue\n"), ("tsv", b'"\\x0"\tb\n'), ("tsv", b"k" * 5000 + b"\tv\n"), ("tsv", b"\xff\xfea\0\t\0b\0\n\0"),
    ("tsv", b"ok\t1\n" * 3 + b"bad\n"), ("tsv", b"\0" * 5000), ("tsv", b'"' * 5001 + b"\n"),
    ("jsonl", b"{"), ("jsonl", b'{"key": "a"'), ("jsonl", b'{"key": "a", "value": "1"}}\n'), ("jsonl", b"[]\n"),
    ("jsonl", b'{"key": "a", "key": "b", "value": "1"}\n'), ("jsonl", b'{"key": "a", "value": NaN}\n'),
    ("jsonl", b'{"key": "a", "value": Infinity}\n'), ("jsonl", b'{"key": "a", "value": 1e999}\n'), ("jsonl", b"5\n"),
    ("jsonl", b'{"key": "a", "value": %s}\n' % (b"9" * 5000)), ("jsonl", b"[" * 100_000), ("jsonl", b'"text"\n'),
    ("jsonl", b'{"key": "a", "value": %s' % (b'{"x":' * 50_000)), ("jsonl", b"null\n"), ("jsonl", b"\xff\xfe{\0}\0"),
    ("jsonl", b'{"key": "", "value": "1"}\n'), ("jsonl", b'{"key": "\\ud800", "value": "1"}\n'),
    ("jsonl", b'{"key": "a", "value": "1", "x": 1}\n'), ("jsonl", b'{"key": {"$base64": true, "encoded": "A"}}\n'),
    ("jsonl", b'{"key": "a\nb", "value": "1"}\n'), ("jsonl", b'{"value": "1"}\n'),
    ("jsonl", b'{"key": 1, "value": "1"}\n'),
    ("jsonl", b'{"key": "%s", "value": "1"}\n' % (b"k" * 5000)), ("jsonl", b'{"key": "a", "deleted": false}\n'),
)  # fmt: skip


@no_syncs()
def run(trial: Trial) -> None:
    """Each format that can be written, damaged in every way; then what is written by hand."""
    folder = trial.directory
    target = folder / "t.lsm"
    with lsmcli.open(target, "n", block_size=4096) as database:
        database.put_many(BEFORE.items())
    image = target.read_bytes()
    rng = trial.rng("changes")
    source = _File(folder)
    for name in FORMATS:
        data = source.written(name)
        if data is None:
            continue
        for label, damaged in _damages(rng, data):
            if trial.begin(f"{name} {label}", sampled=True):
                _import(trial, target, image, name, source.at(damaged), label)
    for index, (name, data) in enumerate(BY_HAND):
        if trial.begin(f"{name} by hand {index}"):
            outcome = _import(trial, target, image, name, source.at(data), "")
            assert outcome.code == 6, outcome


class _File:
    """The source of each case, a file; of each format what `export` writes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._rows = folder / "rows.lsm"
        with lsmcli.open(self._rows, "n", block_size=4096) as database:
            database.put_many(ROWS.items())

    def at(self, data: bytes) -> str:
        path = self._folder / "source"
        path.write_bytes(data)
        return str(path)

    def written(self, name: str) -> bytes | None:
        """None: this format is not written, or not read, or a library for it is not here."""
        path = self._folder / f"rows.{name}"
        outcome = invoke([str(self._rows), "export", "--format", name, str(path)])
        if outcome.code != 0:
            assert outcome.code in (2, 6), outcome
            return None
        again = self._folder / f"again.{name}.lsm"
        outcome = invoke([str(again), "import", "--format", name, str(path)])
        if outcome.code == 2:
            return None
        assert outcome.code == 0, (name, outcome)
        assert _contents(again) == ROWS, name
        return path.read_bytes()


def _damages(rng: random.Random, data: bytes) -> Iterator[tuple[str, bytes]]:
    for size in range(len(data)):
        yield f"cut at {size}", data[:size]
    for _ in range(CHANGES):
        at, size = rng.randrange(len(data)), 1 + int(rng.expovariate(0.3))
        part = rng.choice((
            bytes([data[at] ^ 1 << rng.randrange(8)]), bytes(size), b"\n" * size, b'"' * size, b"{[" * size, b"\r",
            b"\t", rng.randbytes(size), data[:size], b"",
        ))  # fmt: skip
        if rng.random() < 0.5:
            yield f"with {part[:20]!r} put in at {at}", data[:at] + part + data[at:]
        else:
            yield f"with {part[:20]!r} for what was at {at}", data[:at] + part + data[at + max(1, len(part)) :]


def _import(trial: Trial, target: Path, image: bytes, name: str, source: str, label: str) -> Outcome:
    """One import into a file that holds something; what it says must be what is there."""
    depth = sys.getrecursionlimit()
    outcome = invoke([str(target), "import", "--format", name, source])
    assert sys.getrecursionlimit() == depth
    assert len(outcome.err) < 5000, outcome
    if outcome.code != 0:
        assert outcome.code == 6, outcome
        text = one_line(outcome)
        assert os.path.basename(source) in text, outcome
        assert target.read_bytes() == image, "an import that failed has changed the file"
        trial.mark(f"{name}: refused")
        return outcome
    stored = _contents(target)
    assert stored.items() >= {key: value for key, value in BEFORE.items() if key not in stored}.items()
    if label.startswith("cut"):
        _assert_rows_whole(stored)
        trial.mark(f"{name}: a cut between two rows")
    target.unlink()
    target.write_bytes(image)
    return outcome


def _assert_rows_whole(stored: Model) -> None:
    """After a cut that nothing can tell: the first rows, each of them whole."""
    imported = sorted(pair for pair in stored.items() if BEFORE.get(pair[0]) != pair[1])
    first = sorted(ROWS.items())[: len(imported)]
    assert imported == first, (imported, first)


def _contents(path: Path) -> Model:
    with lsmcli.open(path, "r") as database:
        return dict(database.scan())
