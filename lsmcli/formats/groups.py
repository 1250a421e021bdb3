"""Rows in groups whose borders depend on the rows alone, for formats that have groups of their own.

    chunks      aaaa|bbbbbbbbb|c|dddddd         as they were found
    groups      aaaabbb|bbbbbbc|dddddd          rows_max rows, or size_max bytes: the same for the same rows

Invariant: however the same rows are cut into chunks, they come in the same groups, so what is written of them has
the same bytes.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from lsmcli.formats.rows import Columns


class Group(NamedTuple):
    """Rows that are written together."""

    keys: list[bytes]
    values: list[bytes]


def groups_of(chunks: Iterable[Columns], rows_max: int, size_max: int) -> Iterator[Group]:
    """Groups that end with the row that makes them hold rows_max rows or at least size_max bytes. None is empty.

    Memory: a group and a chunk. O(1) per chunk that fits, O(1) per row of one that does not.
    """
    group = Group([], [])
    size = 0
    for keys, values in chunks:
        chunk_size = sum(map(len, keys)) + sum(map(len, values))
        if len(group.keys) + len(keys) < rows_max and size + chunk_size < size_max:
            group.keys.extend(keys)
            group.values.extend(values)
            size += chunk_size
            continue
        for key, value in zip(keys, values, strict=True):
            group.keys.append(key)
            group.values.append(value)
            size += len(key) + len(value)
            if len(group.keys) >= rows_max or size >= size_max:
                yield group
                group = Group([], [])
                size = 0
    if group.keys:
        yield group
