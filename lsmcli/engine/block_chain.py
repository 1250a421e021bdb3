"""A payload of any size as a chain of blocks: an out-of-line value, the free set.

Invariants:
- the last link is written first, so that each link holds the reference of the next one;
- every link but the last is full, so that the size of the payload fixes the number of links and the
  payload of each;
- `index` falls by one from link to link and is 0 in the last: a chain cannot have a cycle, and its
  length is known, and checked against the file's, before the first block is read;
- either all links have a second copy, or none has.

    ChainReference     index 2               index 1               index 0
    +----------+       +------+---------+    +------+---------+    +------+------+
    | head  ---------> | next | payload | -> | next | payload | -> | none | rest |
    +----------+       +------+---------+    +------+---------+    +------+------+
                       full                  full                  1 byte … full

The free set lives in such a chain, whose own blocks it does not count as used: they are not chosen
yet when it is encoded. Who reads it marks them; so it is written once, and agrees with itself.
"""

from collections.abc import Iterator
from io import BytesIO
from typing import Final

from lsmcli.engine.block_header import HEADER_SIZE, ZONE_BY_KIND, block_damage
from lsmcli.engine.constants import BLOCK_SIZE_MIN
from lsmcli.engine.errors import DamageError
from lsmcli.engine.free_set import FreeSet, Reservation
from lsmcli.engine.grid import Grid
from lsmcli.engine.schema import (
    CHAIN_HEAD,
    CHAIN_NONE,
    REFERENCE_NONE,
    BlockKind,
    BlockReference,
    ChainHead,
    ChainReference,
)

PAYLOAD_OFFSET: Final = HEADER_SIZE + CHAIN_HEAD.size
assert PAYLOAD_OFFSET < BLOCK_SIZE_MIN


def chain_capacity(block_size: int) -> int:
    """Payload bytes of a full link: (32 KiB) = 32,624."""
    return block_size - PAYLOAD_OFFSET


def chain_block_count(payload_size: int, block_size: int) -> int:
    """Links of a payload, not counting second copies: (0 bytes) = 0, (1 byte) = 1."""
    return -(-payload_size // chain_capacity(block_size))


def write_chain(
    grid: Grid,
    kind: BlockKind,
    payload: bytes | bytearray | memoryview,
    *,
    twins: bool,
    tree_id: int = 0,
    op: int,
    reservation: Reservation | None = None,
) -> ChainReference:
    """Writes `payload`, in bytes, and returns where it is; CHAIN_NONE when it is empty. Not synced.

    Takes chain_block_count(…) blocks, twice as many with twins, from `reservation`, which must have
    them, or else from the grid. Raises NoSpaceError and what Storage.write raises; what was acquired
    until then is released again.
    """
    count = chain_block_count(len(payload), grid.block_size)
    if count == 0:
        return CHAIN_NONE
    copies = 2 if twins else 1
    own = grid.reserve(count * copies) if reservation is None else reservation
    assert len(own) >= count * copies
    addresses = [grid.acquire(own) for _ in range(count * copies)]
    # Ascending in reading order; the second copies lie together behind them, because damage is local.
    twin_addresses = addresses[count:] if twins else [0] * count
    try:
        reference = write_links(
            grid, kind, payload, list(zip(addresses[:count], twin_addresses, strict=True)), tree_id, op
        )
    except BaseException:
        grid.release_all(addresses)
        raise
    return ChainReference(*reference, size=len(payload), block_count=count, reserved=0, op=op)


def write_links(
    grid: Grid,
    kind: BlockKind,
    payload: bytes | bytearray | memoryview,
    addresses: list[tuple[int, int]],
    tree_id: int,
    op: int,
) -> BlockReference:
    """Writes the links of a chain to these addresses (of each link the first copy and the second one, or 0), in
    reading order, and returns the reference of the first."""
    view = memoryview(payload)
    capacity = chain_capacity(grid.block_size)
    reference = REFERENCE_NONE
    for index, (address, address_twin) in enumerate(reversed(addresses)):
        position = (len(addresses) - 1 - index) * capacity
        head = CHAIN_HEAD.pack(ChainHead(*reference, entry_count=0, index=index, reserved=0))
        body = b"".join((head, view[position : position + capacity]))
        reference = grid.write(address, kind, body, tree_id=tree_id, snapshot=op, address_twin=address_twin)
    return reference


def read_chain(grid: Grid, reference: ChainReference, kind: BlockKind) -> bytes:
    """The whole payload. Raises DamageError when any link is not what it should be; FileError."""
    # Not b"".join(…): that keeps all blocks until the end, twice the memory and half the speed.
    payload = BytesIO()
    for piece in iterate_chain(grid, reference, kind):
        payload.write(piece)
    return payload.getvalue()


def iterate_chain(grid: Grid, reference: ChainReference, kind: BlockKind) -> Iterator[memoryview]:
    """The payload piece by piece, in bounded memory: one block, and a hint for the next.

    Raises DamageError as soon as a link is wrong: what came before was right, but is not all.
    """
    for _, link in _iterate_links(grid, reference, kind, whole=True):
        yield memoryview(link)[PAYLOAD_OFFSET:]


def chain_links(grid: Grid, reference: ChainReference, kind: BlockKind) -> Iterator[BlockReference]:
    """The reference of each link, one after the other, whose block has then been read and verified.

    Raises DamageError, FileError.
    """
    for link, _ in _iterate_links(grid, reference, kind, whole=True):
        yield link


def chain_addresses(grid: Grid, reference: ChainReference, kind: BlockKind) -> Iterator[int]:
    """The blocks of the chain, of each link its first copy and then its second.

    A chain without twins is read by PAYLOAD_OFFSET bytes per link, which leaves its bodies
    unverified. That is enough for addresses: each is given out only after the header that stands
    there has proved to be the one that the link before refers to, by checksum. Where rot altered a
    reference nothing matches it; what a forged link could still do, it could do with a forged body.
    A chain with twins is read whole, since a bad body has to be seen to be answered from the twin.

    Raises DamageError.
    """
    for link, _ in _iterate_links(grid, reference, kind, whole=reference.address_twin != 0):
        yield link.address
        if link.address_twin:
            yield link.address_twin


def release_chain(grid: Grid, reference: ChainReference, kind: BlockKind) -> None:
    """Releases all blocks of the chain. Raises DamageError, and then releases none."""
    grid.release_all(list(chain_addresses(grid, reference, kind)))


def _iterate_links(
    grid: Grid, reference: ChainReference, kind: BlockKind, *, whole: bool
) -> Iterator[tuple[BlockReference, bytes]]:
    """Each link's reference with its bytes: header, head and, when `whole`, payload."""
    _check_reference(grid, reference, kind)
    capacity = chain_capacity(grid.block_size)
    payload_size = reference.size - (reference.block_count - 1) * capacity  # of the last link
    link = BlockReference(reference.address, reference.address_twin, reference.checksum)
    for index in reversed(range(reference.block_count)):
        data = grid.read(link, kind) if whole else grid.read_prefix(link, kind, PAYLOAD_OFFSET)
        if len(data) < PAYLOAD_OFFSET:
            raise _link_damage(kind, link, "it is too short for a link")
        if whole and len(data) != PAYLOAD_OFFSET + (capacity if index else payload_size):
            raise _link_damage(kind, link, f"it has {len(data) - PAYLOAD_OFFSET} bytes of a chain of {reference.size}")
        head = CHAIN_HEAD.unpack(data, HEADER_SIZE)
        if head.index != index:
            raise _link_damage(kind, link, f"it is link {head.index}, where link {index} is expected")
        following = BlockReference(head.next_address, head.next_address_twin, head.next_checksum)
        if index == 0:
            if following != REFERENCE_NONE:
                raise _link_damage(kind, link, "the chain goes on behind its end")
        elif (following.address_twin == 0) != (reference.address_twin == 0):
            raise _link_damage(kind, link, "only a part of the chain has second copies")
        elif whole:
            grid.prefetch((following,))
        yield link, data
        link = following


def _check_reference(grid: Grid, reference: ChainReference, kind: BlockKind) -> None:
    """Bounds what the reference claims, before anything is read or allocated for it."""
    if reference.address == 0:
        if (reference.size, reference.block_count) != (0, 0):
            raise _damage(kind, f"{reference.size} bytes in {reference.block_count} blocks, but no address")
    elif reference.size == 0 or reference.block_count != chain_block_count(reference.size, grid.block_size):
        raise _damage(kind, f"{reference.size} bytes do not take {reference.block_count} blocks")
    elif reference.block_count > grid.block_count_file():
        raise _damage(kind, f"{reference.block_count} blocks in a file of {grid.block_count_file()}")


def _link_damage(kind: BlockKind, link: BlockReference, problem: str) -> DamageError:
    return block_damage(ZONE_BY_KIND[kind], link.address, problem)


def _damage(kind: BlockKind, problem: str) -> DamageError:
    zone = ZONE_BY_KIND[kind]
    return DamageError(
        f"a reference to a chain ({zone}) is damaged: {problem}; verify the file to see what is affected", zone=zone
    )


# The free set as a chain


def write_free_set(grid: Grid, *, op: int, keep: int = 0) -> ChainReference:
    """Writes the grid's free set, with twins, for the coming superblock; CHAIN_NONE if all is free.

    The caller has released the chain of the superblock before, and everything else that the coming
    one does not need. Free blocks at the end, but for `keep` of them, leave the grid:
    grid.block_count is what the superblock records, and grid.shrink_finish() follows it.
    Raises NoSpaceError, with nothing written.
    """
    assert grid.free_set is not None
    # Reserved before the grid shrinks: taken afterwards, they might make it grow again.
    count = chain_block_count(grid.free_set.encoded_size_max(), grid.block_size)
    reservation = grid.reserve(2 * count)
    try:
        grid.shrink_begin(keep)
        encoded = grid.free_set.encode()
        return write_chain(grid, BlockKind.FREE_SET, encoded, twins=True, op=op, reservation=reservation)
    finally:
        grid.forfeit(reservation)


def read_free_set(grid: Grid, reference: ChainReference) -> FreeSet:
    """The free set that a superblock refers to, for grid.block_count blocks, its own chain included.

    With a reference like CHAIN_NONE every block is free.

    Raises DamageError when it does not add up, or claims the blocks of its own chain.
    """
    kind = BlockKind.FREE_SET
    free_set = FreeSet.open(grid.block_count, read_chain(grid, reference, kind))
    for address in chain_addresses(grid, reference, kind):
        if not 1 <= address <= grid.block_count or not free_set.is_free(address):
            raise block_damage(ZONE_BY_KIND[kind], address, "the free set counts a block of its own as used")
        free_set.mark_acquired(address)
    return free_set
