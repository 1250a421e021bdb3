"""Tables and levels as pictures: "a---e  lm" is a table of the keys a to e and one of the keys l to m.

Only the first and the last letter of a word count; the letters between may be drawn to scale.
"""

import itertools

from lsmcli.engine.constants import SNAPSHOT_LATEST, TREE_ID_MAIN
from lsmcli.engine.manifest_level import ManifestLevel
from lsmcli.engine.schema import BlockReference
from lsmcli.engine.table_info import TableInfo

_addresses = itertools.count(1)


def table(
    word: str | bytes,
    *,
    key_max: bytes | None = None,
    tree_id: int = TREE_ID_MAIN,
    level: int = 0,
    address: int | None = None,
    snapshot_min: int = 1,
    snapshot_max: int = SNAPSHOT_LATEST,
) -> TableInfo:
    """A table from the first to the last letter of a word, or from a key to a key. The address is a new one."""
    if isinstance(word, str):
        key_min, key_max = word[0].encode(), word[-1].encode()
    else:
        assert key_max is not None
        key_min = word
    address = next(_addresses) if address is None else address
    return TableInfo(
        tree_id=tree_id,
        level=level,
        reference=BlockReference(address, 0, address.to_bytes(16, "little")),
        key_min=key_min,
        key_max=key_max,
        block_count=1,
        entry_count=2,
        tombstone_count=1,
        large_count=0,
        values_size=100,
        snapshot_min=snapshot_min,
        snapshot_max=snapshot_max,
    )


def pictured(picture: str) -> ManifestLevel:
    """The level that a picture shows."""
    level = ManifestLevel()
    level.load(table(word) for word in picture.split())
    return level


def shown(tables: list[TableInfo]) -> str:
    """The picture of tables, at the least width: "a-e l-m"."""
    return " ".join(f"{table.key_min.decode()}-{table.key_max.decode()}" for table in tables)
