"""Rows for benchmarks: random keys of 16 and values of 100 bytes of text, from a fixed seed, as files of each format.

Invariant: the same count and seed give the same bytes, on any machine.
"""

import base64
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

KEY_SIZE = 16
VALUE_SIZE = 100
CHUNK_ROWS = 30_000
SEED = 20_011_003

Columns = tuple[list[str], list[str]]


class Form(NamedTuple):
    """How a file of rows is written: what stands before and behind them, and one row."""

    head: str
    row: Callable[[str, str], str]
    tail: Callable[[int], str]


FORMS = {
    "csv": Form("", lambda key, value: f"{key},{value}\n", lambda count: ""),
    "tsv": Form("", lambda key, value: f"{key}\t{value}\n", lambda count: ""),
    "ldb": Form("", lambda key, value: f"{key} ==> {value}\n", lambda count: f"Keys in range: {count}\n"),
    "lmdb": Form(
        "VERSION=3\nformat=print\ntype=btree\nmapsize=1099511627776\nmaxreaders=126\nHEADER=END\n",
        lambda key, value: f" {key}\n {value}\n",
        lambda count: "DATA=END\n",
    ),
}


def columns(count: int, seed: int = SEED) -> Iterator[Columns]:
    """Chunks of keys and values. Keys repeat with a chance of about count² / 2^65: never, here."""
    rng = random.Random(seed)
    while count:
        rows = min(count, CHUNK_ROWS)
        count -= rows
        digits = rng.randbytes(rows * KEY_SIZE // 2).hex()
        letters = base64.urlsafe_b64encode(rng.randbytes(rows * VALUE_SIZE * 3 // 4)).decode("ascii")
        keys = [digits[at : at + KEY_SIZE] for at in range(0, len(digits), KEY_SIZE)]
        yield keys, [letters[at : at + VALUE_SIZE] for at in range(0, len(letters), VALUE_SIZE)]


def write(path: Path, form: Form, count: int, *, in_order: bool = False) -> None:
    """A file of `count` rows, in random order or in the order of their keys (which holds them all in memory)."""
    with path.open("w", encoding="ascii", newline="") as stream:
        stream.write(form.head)
        if in_order:
            pairs = sorted(pair for keys, values in columns(count) for pair in zip(keys, values, strict=True))
            stream.writelines(form.row(key, value) for key, value in pairs)
        else:
            for keys, values in columns(count):
                stream.write("".join(map(form.row, keys, values)))
        stream.write(form.tail(count))


if __name__ == "__main__":
    target, name, number, order = sys.argv[1:]
    write(Path(target), FORMS[name], int(number), in_order=order == "sorted")
