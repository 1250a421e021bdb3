"""The catalog: the tree that maps the names of the other trees to their ids.

    ("tree", name)          id of the tree, 2 bytes
    ("next tree id", "")    the lowest id that was never used, 3 bytes
    ("compression", id)     see compression

Keys are composite (see composite_key). The main tree and the catalog itself are not in it.
"""

from collections.abc import Iterator
from typing import Final

from lsmcli.engine import composite_key
from lsmcli.engine.columns import Columns
from lsmcli.engine.constants import TREE_ID_MAIN
from lsmcli.engine.errors import DamageError

FIELD_TREE: Final = b"tree"
KEY_NEXT_ID: Final = composite_key.encode(b"next tree id", b"")
START: Final = composite_key.encode(FIELD_TREE, b"")
TREE_ID_FIRST: Final = TREE_ID_MAIN + 1
TREE_ID_SIZE: Final = 2


def key_of(name: str) -> bytes:
    """The key of a tree's entry."""
    return composite_key.encode(FIELD_TREE, name.encode(errors="surrogateescape"))


def trees_of(steps: Iterator[Columns]) -> dict[str, int]:
    """Names and ids, from a scan of the catalog that begins at START. Raises DamageError."""
    trees: dict[str, int] = {}
    for columns in steps:
        for key, value in zip(columns.keys, columns.values, strict=True):
            field, name = composite_key.decode(key)
            if field == FIELD_TREE:
                tree_id = int.from_bytes(value, "little")
                if len(value) != TREE_ID_SIZE or tree_id < TREE_ID_FIRST:
                    raise DamageError("the catalog gives a tree an impossible id; run verify", zone="value")
                trees[name.decode(errors="surrogateescape")] = tree_id
    return trees
