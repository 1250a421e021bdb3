"""Salvage of what is no data file, or was made by someone who knows how checksums are made."""

import random
import struct

import pytest

from lsmcli.engine import superblock as superblock_zone
from lsmcli.engine.block_header import HEADER_SIZE
from lsmcli.engine.checksum import checksum
from lsmcli.engine.constants import GRID_OFFSET, SUPERBLOCK_COPIES, SUPERBLOCK_COPY_SIZE, superblock_copy_offset
from lsmcli.engine.errors import FormatError, LsmError
from lsmcli.engine.grid import block_count_of
from lsmcli.engine.schema import BLOCK_HEADER, CHECKSUM_SIZE, BlockKind, Superblock
from tests.testing.lost_parts import blocks, made, salvaged, without, without_superblock
from tests.testing.operations import BLOCK_SIZE
from tests.testing.storage import SimulatedStorage


@pytest.mark.parametrize("image", [b"", b"text\n" * 1000, bytes(1 << 20), b"\xff" * (1 << 20)], ids=len)
def test_what_is_no_data_file_is_refused(image: bytes) -> None:
    with pytest.raises(FormatError, match="nothing that this program wrote"):
        salvaged(image)


@pytest.mark.parametrize("number", range(18))
def test_rubbish_ends_in_a_report_or_a_typed_error(seed: int, number: int) -> None:
    image, _ = made(seed + number % 3)
    rng = random.Random(f"{seed}/rubbish {number}")
    damaged = bytearray(image)
    for _ in range(rng.choice((1, 10, 300))):
        at = rng.randrange(len(damaged))
        damaged[at : at + 64] = rng.randbytes(min(64, len(damaged) - at))
    if number % 4 == 0:
        del damaged[rng.randrange(len(damaged)) :]
    try:
        salvaged(damaged)
    except LsmError:
        pass


def forged(rng: random.Random, image: bytes | bytearray, address: int) -> bytearray:
    """The image with a block that was altered by someone who knows how checksums are made."""
    forgery = bytearray(image)
    at = GRID_OFFSET + (address - 1) * BLOCK_SIZE
    header = BLOCK_HEADER.unpack(forgery, at)
    if not HEADER_SIZE <= header.size <= BLOCK_SIZE:
        return forgery
    for _ in range(rng.choice((1, 3, 20))):
        # The columns of counts and offsets stand first.
        place = rng.randrange(HEADER_SIZE, min(header.size, HEADER_SIZE + rng.choice((24, 200, BLOCK_SIZE))))
        forgery[at + place] = rng.choice((0, 1, 0x7F, 0xFF, rng.randrange(256)))
    if rng.random() < 0.3:
        header = header._replace(
            tree_id=rng.randrange(6), level=rng.choice((0, 3, 255)), snapshot=rng.choice((0, 1 << 63))
        )
    header = header._replace(checksum_body=checksum(forgery[at + HEADER_SIZE : at + header.size]))
    packed = BLOCK_HEADER.pack(header)[CHECKSUM_SIZE:]
    forgery[at : at + HEADER_SIZE] = checksum(packed) + packed
    return forgery


@pytest.mark.parametrize("number", range(30))
def test_forged_blocks_do_no_harm(seed: int, number: int) -> None:
    """Without a root and a manifest every block is taken at its word: a report or a typed error, and soon."""
    image, _ = made(seed + number % 3)
    rng = random.Random(f"{seed}/forged {number}")
    every = range(1, block_count_of(len(image), BLOCK_SIZE) + 1)
    forgery: bytes | bytearray = image
    for address in rng.sample(every, min(len(every), 30)):
        forgery = forged(rng, forgery, address)
    forgery = without_superblock(forgery)
    if number % 2:
        forgery = without(forgery, blocks(bytes(forgery), BlockKind.MANIFEST))
    try:
        salvaged(forgery, include_stale=number % 3 == 0)
    except LsmError:
        pass


@pytest.mark.parametrize("number", range(20))
def test_a_forged_root_does_no_harm(seed: int, number: int) -> None:
    image, _ = made(seed + number % 3)
    rng = random.Random(f"{seed}/root {number}")
    root = superblock_zone.read(SimulatedStorage(image)).superblock
    fields = [name for name, value in root._asdict().items() if isinstance(value, int)]
    for name in rng.sample(fields, rng.choice((1, 2, 5))):
        try:
            changed = Superblock(**root._asdict() | {name: rng.choice((0, 1, 2, 1 << 31, getattr(root, name) + 1))})
            superblock_zone.encode_copy(changed, 0)
        except struct.error:
            continue
        root = changed
    forgery = bytearray(image)
    for copy in range(SUPERBLOCK_COPIES):
        at = superblock_copy_offset(copy)
        forgery[at : at + SUPERBLOCK_COPY_SIZE] = superblock_zone.encode_copy(root, copy)
    try:
        salvaged(forgery)
    except LsmError:
        pass
