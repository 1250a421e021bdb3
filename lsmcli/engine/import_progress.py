"""How far an import in batches has come: one record per source and tree, in the catalog tree.

Invariants:
- a record is written in the same op as the rows that it counts, so it is never ahead of them nor behind;
- it says which bytes of the source were read for these rows, by a digest: an import goes on only behind the same bytes;
- a complete record stays until the next import in batches begins, so that an import that was killed after its last
  op, and is resumed, finds that all was done.

    key     composite_key(b"import", XXH3-128 of the tree's name, a zero byte and the source's name)
    value   ImportProgress (schema), name of the source, at most IMPORT_NAME_SIZE_MAX bytes, for people
"""

from typing import TYPE_CHECKING, Final, NamedTuple

from lsmcli.engine import composite_key
from lsmcli.engine.checksum import checksum
from lsmcli.engine.constants import TREE_ID_CATALOG
from lsmcli.engine.errors import DamageError
from lsmcli.engine.key_range import prefix_end
from lsmcli.engine.schema import IMPORT_NAME_SIZE_MAX, IMPORT_PROGRESS, ImportProgress, ImportState

if TYPE_CHECKING:
    from lsmcli.engine.database import Database

_FIELD: Final = b"import"

# An entry as Database.apply takes it.
Entry = tuple[int, bytes, bytes | None]


class ImportRecord(NamedTuple):
    """One record with its name. key: of its entry in the catalog."""

    key: bytes
    progress: ImportProgress
    name: bytes


def key_of(tree_name: bytes, source_name: bytes) -> bytes:
    """The key of the record of a source that is imported into a tree."""
    return composite_key.encode(_FIELD, checksum(tree_name + b"\0" + source_name))


def entry_of(key: bytes, progress: ImportProgress, source_name: bytes) -> Entry:
    """The entry that stores a record, to be written in the op of its rows."""
    name = source_name[:IMPORT_NAME_SIZE_MAX]
    return TREE_ID_CATALOG, key, IMPORT_PROGRESS.pack(progress._replace(name_size=len(name))) + name


def entry_removed(key: bytes) -> Entry:
    """The entry that removes a record."""
    return TREE_ID_CATALOG, key, None


def decoded(key: bytes, value: bytes) -> ImportRecord:
    """The record of an entry. Raises DamageError when it makes no sense."""
    if len(value) >= IMPORT_PROGRESS.size:
        progress = IMPORT_PROGRESS.unpack(value)
        name = value[IMPORT_PROGRESS.size :]
        if progress.name_size == len(name) and progress.state in ImportState.__members__.values():
            return ImportRecord(key, progress, name)
    raise DamageError("the catalog's record of an import makes no sense; run verify", zone="value")


def find(database: "Database", key: bytes) -> ImportProgress | None:
    """The record of this key, None when there is none. Raises DamageError."""
    value = database.read(TREE_ID_CATALOG, lambda tree: tree.get(key))
    return None if value is None else decoded(key, value).progress


def records(database: "Database") -> list[ImportRecord]:
    """All records of a file, in order of their keys. Raises DamageError."""
    start = composite_key.encode_field(_FIELD)
    steps = database.scan_columns(TREE_ID_CATALOG, start, prefix_end(start), reverse=False, entries_first=64)
    return [decoded(key, value) for columns in steps for key, value in zip(columns.keys, columns.values, strict=True)]
