"""The header of a block: made, and held against the reference that asks for it, the file and the bytes behind it.

Invariants:
- a block whose header and body have the checksums that they tell, and the reference too, is the one that was written;
- the usual case, a block that is whole, makes no object of its header; what is wrong is found out, and worded, after.

    reference (address, checksum) ──> header | checksum of the body ──> body | zeros
                                      uuid, address, kind, sizes
"""

import struct
from typing import Final

from lsmcli.engine.block_codec import codec_problem
from lsmcli.engine.checksum import checksum
from lsmcli.engine.errors import DamageError
from lsmcli.engine.schema import BLOCK_HEADER, CHECKSUM_SIZE, BlockHeader, BlockKind, BlockReference, Codec

HEADER_SIZE: Final = BLOCK_HEADER.size

ZONE_BY_KIND: Final = {
    BlockKind.FREE_SET: "free set",
    BlockKind.MANIFEST: "manifest",
    BlockKind.INDEX: "index",
    BlockKind.VALUE: "value",
    BlockKind.LARGE: "large value",
}
ZONE_UNKNOWN: Final = "grid"  # of a block that cannot say what it is
_KINDS_KNOWN: Final = frozenset(int(kind) for kind in BlockKind)

_UNPACK: Final = BLOCK_HEADER.struct.unpack_from
# What the checksum of a header covers: all behind it.
_PACK_COVERED: Final = struct.Struct("<" + "".join(code for _, code in BLOCK_HEADER.fields[1:])).pack


def header_packed(
    checksum_body: bytes,
    uuid: bytes,
    address: int,
    address_twin: int,
    size: int,
    size_decoded: int,
    tree_id: int,
    kind: int,
    codec: int,
    level: int,
    snapshot: int,
) -> bytes:
    """A BlockHeader as it is stored, its checksum first. 1 µs: a third of what an object for it costs."""
    covered = _PACK_COVERED(
        checksum_body, uuid, address, address_twin, size, size_decoded, tree_id, kind, codec, level, 0, 0, snapshot, 0
    )
    return checksum(covered) + covered


def size_of(
    data: bytes, reference: BlockReference, kind: BlockKind, uuid: bytes, block_size: int, *, whole: bool
) -> int:
    """The size of header and body of the block that begins `data`, at least its header; 0 when it is not the one that
    the reference means, or when something is wrong with it: problem_of() tells what. whole: the body is verified, too.

    2 µs, and 0.1 ns per byte of the body.
    """
    header = _UNPACK(data)
    stored, checksum_body, uuid_stored, address, twin, size, size_decoded, _, kind_stored, codec = header[:10]
    right = (
        (address, twin, stored) == reference
        and kind_stored == kind
        and uuid_stored == uuid
        and checksum(data[CHECKSUM_SIZE:HEADER_SIZE]) == stored
        and HEADER_SIZE <= size <= block_size
        and (size == size_decoded if codec == Codec.NONE else not codec_problem(BlockHeader(*header), block_size))
    )
    if right and whole:
        right = size <= len(data) and checksum(memoryview(data)[HEADER_SIZE:size]) == checksum_body
    return size if right else 0


def problem_of(data: bytes, reference: BlockReference, kind: BlockKind, uuid: bytes, block_size: int) -> str:
    """What is wrong with a block of which size_of() has said 0."""
    header = BLOCK_HEADER.unpack(data)
    return (
        _reference_problem(header, reference, kind)
        or _header_problem(header, data, uuid, block_size)
        or _body_problem(header, data)
    )


def verify_block(data: bytes, uuid: bytes, address: int) -> BlockHeader:
    """The header of a raw block that stands at `address`, when the block is whole and of this file.

    For looking at a file whose references are lost. `data` is all of the block, padding included.
    Raises DamageError; its zone is "grid" where the block cannot say what it is.
    """
    if len(data) < HEADER_SIZE:
        raise block_damage(ZONE_UNKNOWN, address, "the file ends before it")
    header = BLOCK_HEADER.unpack(data)
    if problem := _header_problem(header, data, uuid, len(data)):
        raise block_damage(ZONE_UNKNOWN, address, problem)
    if header.kind not in _KINDS_KNOWN:
        raise block_damage(ZONE_UNKNOWN, address, f"its kind, {header.kind}, is unknown")
    zone = ZONE_BY_KIND[BlockKind(header.kind)]
    if address not in (header.address, header.address_twin):
        raise block_damage(zone, address, f"it was written for block {header.address}")
    if problem := _body_problem(header, data):
        raise block_damage(zone, address, problem)
    return header


def block_damage(zone: str, address: int, problem: str) -> DamageError:
    """The error for a block that is not what it should be, in one line."""
    return DamageError(
        f"block {address} ({zone}) is damaged: {problem}; verify the file to see what is affected",
        zone=zone,
        address=address,
    )


def _reference_problem(header: BlockHeader, reference: BlockReference, kind: BlockKind) -> str:
    """Why a header is not the one that the reference means; "" when it is."""
    if header.checksum != reference.checksum:
        return "it is not the block that its reference means: lost, overwritten or reused"
    if header.kind != kind:
        return f"it is of kind {header.kind}, where kind {kind:d} is expected"
    if header.address != reference.address or header.address_twin != reference.address_twin:
        return f"it was written for block {header.address}"
    return ""


def _header_problem(header: BlockHeader, data: bytes, uuid: bytes, block_size: int) -> str:
    """What is wrong with a header by itself; "" when nothing is."""
    if checksum(data[CHECKSUM_SIZE:HEADER_SIZE]) != header.checksum:
        return "its header does not match its checksum"
    if header.uuid != uuid:
        return "it belongs to another file"
    if not HEADER_SIZE <= header.size <= block_size:
        return f"its size, {header.size} bytes, does not fit a block of {block_size}"
    return codec_problem(header, block_size)


def _body_problem(header: BlockHeader, data: bytes) -> str:
    """What is wrong with the body under a good header; "" when nothing is."""
    if len(data) < header.size:
        return "the file ends inside it"
    if checksum(memoryview(data)[HEADER_SIZE : header.size]) != header.checksum_body:
        return "its body does not match its checksum"
    return ""
