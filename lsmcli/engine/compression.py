"""Which tables of a tree are compressed: a setting of each tree, kept in the catalog.

    ("compression", tree id)     TreeCompression; no entry: nothing is compressed

Invariants:
- the setting says what is written from now on; what a block is says its header, so that any mix can be read;
- nothing depends on it but the size of the file: a setting that cannot be read counts as none.

    levels    all      last
    0         zstd     -          cheap: what is written here is soon written again
    1         zstd     -
    2         zstd     zstd       the deepest in use, where most of the entries are
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from lsmcli.engine import composite_key
from lsmcli.engine.block_codec import codec_available
from lsmcli.engine.constants import TREE_ID_MAIN
from lsmcli.engine.errors import DamageError, FileError, LimitError
from lsmcli.engine.schema import TREE_COMPRESSION, Codec, CompressedLevels, TreeCompression

FIELD: Final = b"compression"

_CODECS: Final = {codec.name.lower(): codec for codec in Codec}
_LEVELS: Final = {levels.name.lower(): levels for levels in CompressedLevels}


class Compression(NamedTuple):
    """A codec, and the levels whose tables are written with it."""

    codec: Codec = Codec.NONE
    levels: CompressedLevels = CompressedLevels.ALL

    def __str__(self) -> str:
        """(Codec.ZSTD, CompressedLevels.LAST) = "zstd, last level"."""
        name = self.codec.name.lower()
        return f"{name}, last level" if self.codec and self.levels is CompressedLevels.LAST else name

    @property
    def names(self) -> tuple[str, str]:
        """What compression_named() takes."""
        return self.codec.name.lower(), self.levels.name.lower()

    def codec_for(self, *, last: bool) -> Codec:
        """The codec of a table that is written to a level with nothing below it, or to one with something."""
        return self.codec if last or self.levels is CompressedLevels.ALL else Codec.NONE


COMPRESSION_NONE: Final = Compression()


def compression_named(codec: str, levels: str = "all") -> Compression:
    """The setting with these names: "zstd" or "none", and "all" or "last". Raises LimitError for any other."""
    if codec not in _CODECS:
        raise LimitError(f"there is no compression {codec!r}: choose one of {', '.join(_CODECS)}")
    if levels not in _LEVELS:
        raise LimitError(f"compression is for {' or '.join(_LEVELS)} levels, not {levels!r}")
    return Compression(_CODECS[codec], _LEVELS[levels])


def key_of(tree_id: int) -> bytes:
    """The key of a tree's setting in the catalog."""
    return composite_key.encode(FIELD, tree_id.to_bytes(2, "big"))


def packed(compression: Compression) -> bytes | None:
    """The value of a tree's entry in the catalog; None: it needs none."""
    if compression.codec is Codec.NONE:
        return None
    return TREE_COMPRESSION.pack(TreeCompression(compression.codec, compression.levels))


def unpacked(value: bytes | None) -> Compression:
    """The setting out of the catalog. Raises DamageError."""
    if value is None:
        return COMPRESSION_NONE
    if len(value) == TREE_COMPRESSION.size:
        stored = TREE_COMPRESSION.unpack(value)
        if stored.codec in _CODECS.values() and stored.levels in _LEVELS.values():
            return Compression(Codec(stored.codec), CompressedLevels(stored.levels))
    raise DamageError("the catalog gives a tree an unknown compression; set it again", zone="value")


def compression_of(catalog_get: Callable[[bytes], bytes | None], tree_id: int) -> Compression:
    """What tables of a tree are to be written with, now and by this process."""
    if tree_id < TREE_ID_MAIN:
        return COMPRESSION_NONE
    try:
        compression = unpacked(catalog_get(key_of(tree_id)))
    except (DamageError, FileError):
        return COMPRESSION_NONE
    return compression if compression.codec is Codec.NONE or codec_available() else COMPRESSION_NONE
