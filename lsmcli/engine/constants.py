"""Limits of the engine, each with its reason, and the relations between them.

Sizes are in bytes. A limit that a file can choose at creation (block_size, growth_factor) has
its range here and its value in the superblock.
"""

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB

# A sector is the unit that a disk writes whole; superblock copies are one sector each.
SECTOR_SIZE: Final = 4 * KIB

BLOCK_SIZE_DEFAULT: Final = 32 * KIB
BLOCK_SIZE_MIN: Final = 4 * KIB
BLOCK_SIZE_MAX: Final = 512 * KIB

KEY_SIZE_MIN: Final = 1
KEY_SIZE_MAX: Final = 4096
VALUE_SIZE_MAX: Final = 1 * GIB

# A key takes at most this share of a block, so that any entry fits a value block and an
# index block at least five value blocks; a value past its share lives out of line.
KEY_SHARE_OF_BLOCK: Final = 8
VALUE_SHARE_OF_BLOCK: Final = 2

LEVELS: Final = 7
GROWTH_FACTOR_DEFAULT: Final = 8
GROWTH_FACTOR_MIN: Final = 2  # the reference wants 4; tests use 2 to fill deep levels quickly
GROWTH_FACTOR_MAX: Final = 16

BEATS_PER_BAR: Final = 32

# A bar is full when its entries weigh this much: key + value + ENTRY_WEIGHT each. The weight covers
# the objects of a Python dict entry and exceeds what the WAL adds to an entry.
MEMORY_SIZE_DEFAULT: Final = 32 * MIB
MEMORY_SIZE_MIN: Final = 2 * KIB
ENTRY_WEIGHT: Final = 112

CACHE_SIZE_DEFAULT: Final = 64 * MIB

# The zones at the head of the file; the grid begins behind the second group of superblock copies.
SUPERBLOCK_COPIES: Final = 6
SUPERBLOCK_COPY_SIZE: Final = SECTOR_SIZE
SUPERBLOCK_GROUP_COPIES: Final = 3
SUPERBLOCK_QUORUM_OPEN: Final = 2
SUPERBLOCK_QUORUM_VERIFY: Final = 5
LOCK_OFFSET: Final = SUPERBLOCK_GROUP_COPIES * SUPERBLOCK_COPY_SIZE
LOCK_SIZE: Final = SECTOR_SIZE
WAL_OFFSET_INITIAL: Final = LOCK_OFFSET + LOCK_SIZE
GRID_OFFSET: Final = 512 * KIB
SUPERBLOCK_GROUP_B_OFFSET: Final = GRID_OFFSET - SUPERBLOCK_GROUP_COPIES * SUPERBLOCK_COPY_SIZE
WAL_SIZE_INITIAL: Final = 64 * KIB  # small: every open reads all of the ring
WAL_OFFSET_SECOND: Final = WAL_OFFSET_INITIAL + WAL_SIZE_INITIAL
WAL_SIZE_SECOND: Final = SUPERBLOCK_GROUP_B_OFFSET - WAL_OFFSET_SECOND
WAL_SIZE_MAX: Final = 64 * GIB

# At close, a WAL with more live bytes than this is flushed into tables, so that opening stays quick.
WAL_REPLAY_SIZE_MAX: Final = 256 * KIB

TREE_ID_CATALOG: Final = 1
TREE_ID_MAIN: Final = 2
TREE_ID_MAX: Final = 0xFFFF
TREE_NAME_MAIN: Final = "main"
TREE_NAME_SIZE_MAX: Final = 255

SNAPSHOT_LATEST: Final = 0xFFFF_FFFF_FFFF_FFFF  # snapshot_max of a table that is not deleted

TIME_MAX_S: Final = 253_402_300_800  # the year 10000: past it there is no date to print

# A reader that keeps meeting reused blocks starts again from the new superblock this often: on a busy machine it can be
# overtaken many times in a row by a writer with small memory tables, and to give up would be an error for no reason.
READER_RETRIES_MAX: Final = 64


def superblock_copy_offset(copy: int) -> int:
    """Offset in the file of superblock copy 0 … 5: three at the head, three behind the WAL zone."""
    if copy < SUPERBLOCK_GROUP_COPIES:
        return copy * SUPERBLOCK_COPY_SIZE
    return SUPERBLOCK_GROUP_B_OFFSET + (copy - SUPERBLOCK_GROUP_COPIES) * SUPERBLOCK_COPY_SIZE


def time_stored(clock_s: float) -> int:
    """What a field takes of a clock, in whole seconds since 1970: a clock may be set to anything. (-5.0) = 0."""
    return min(max(int(clock_s), 0), TIME_MAX_S - 1)


def key_size_max_for(block_size: int) -> int:
    """Longest key of a file with this block size: (32 KiB) = 4096, (4 KiB) = 512."""
    return min(KEY_SIZE_MAX, block_size // KEY_SHARE_OF_BLOCK)


def value_inline_max_for(block_size: int) -> int:
    """Longest value that is stored beside its key; a longer one is stored out of line."""
    return block_size // VALUE_SHARE_OF_BLOCK


assert key_size_max_for(BLOCK_SIZE_DEFAULT) == KEY_SIZE_MAX
assert WAL_REPLAY_SIZE_MAX * 3 // 2 < WAL_SIZE_SECOND
assert WAL_OFFSET_SECOND + WAL_SIZE_SECOND == SUPERBLOCK_GROUP_B_OFFSET
assert GRID_OFFSET % BLOCK_SIZE_MAX == 0
assert SUPERBLOCK_QUORUM_VERIFY + SUPERBLOCK_QUORUM_OPEN > SUPERBLOCK_COPIES
