"""Flips every single bit of a small file in which all zones are in use, and counts what comes of it, by zone.

    python -m tests.simulation.every_bit [--seed 1] [--jobs 2] [--every 1]

A bit is one of three:

    used       the file is opened and asked for everything; in superblock, manifest and free set a writer then opens
               it, and has to restore the byte
    filling    free space of the log's ring, the rest of a sector or block: read together with what is used. What reads
               it has to give the very same as without the flip
    not read   a reader that asks for everything never looks at it: nothing to flip

and its outcome: right, right and repaired, or an error that names the zone. Anything else ends the run with the bit and
what was wrong. --every n: each n-th bit alone, for a quick look.
"""

import argparse
import random
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from typing import Final

from lsmcli.engine import constants
from lsmcli.engine import superblock as superblock_zone
from lsmcli.engine.data_file import DataFile
from lsmcli.engine.schema import BLOCK_HEADER, BlockKind, BlockReference
from tests.simulation.matrix.class_07_single_bits import (
    CACHE_SIZE,
    is_second_copy,
    judge,
    restored,
    tree_names,
    tree_of,
)
from tests.testing.operations import BLOCK_SIZE
from tests.testing.sample import REPAIRED, damages_met, sample_of
from tests.testing.storage import SimulatedStorage

PART_SIZE: Final = 256  # bytes in one task of a process
FILLING: Final = "filling"
RIGHT: Final = "right"
RESTORED: Final = "right, and repaired"
TOLD: Final = "an error that names the zone"
Outcomes = Counter[tuple[str, str]]  # (zone, outcome)


class Flipped:
    """The sample, and a disk with it on which one bit at a time is flipped."""

    def __init__(self, seed: int) -> None:
        self.sample = sample_of(random.Random(seed))
        self.names = tree_names(self.sample)
        self.disk = SimulatedStorage(self.sample.image)
        self.file = DataFile(self.disk, cache_size=0, writable=False)  # as it is without a flip
        self.log = self._log()
        self.read = self._read_bytes()

    def parts(self) -> list[tuple[str, range]]:
        """Every byte that is used or filling, by zone, in pieces for one task each."""
        parts = list(self.sample.zones)
        read = self.read
        for zone, used in self.sample.zones:
            if is_second_copy(self.sample, zone, used):  # read where the first one is damaged, and then as a whole
                end = -(-used.stop // BLOCK_SIZE) * BLOCK_SIZE
                read[used.stop : end] = b"\1" * (end - used.stop)
        for _, used in self.sample.zones:
            read[used.start : used.stop] = bytes(len(used))
        end = 0
        while (begin := read.find(1, end)) >= 0:
            end = read.find(0, begin)
            end = end if end >= 0 else len(read)
            parts.append((FILLING, range(begin, end)))
        return [(zone, part[at : at + PART_SIZE]) for zone, part in parts for at in range(0, len(part), PART_SIZE)]

    def _read_bytes(self) -> bytearray:
        """For each byte of the file 1 when a reader that asks for everything reads it."""
        read = bytearray(len(self.sample.image))

        def note(_operation: int, kind: str, offset: int, size: int) -> None:
            end = min(offset + size, len(read))
            if kind == "read" and offset < end:
                read[offset:end] = b"\1" * (end - offset)

        storage = self.disk.reopen()
        storage.hook = note
        assert damages_met(self.sample, storage) == []
        return read

    def flip_all(self, zone: str, part: range, every: int) -> Outcomes:
        """All bits of one part. AssertionError, with the bit, when one of them gives what it must not."""
        outcomes: Outcomes = Counter()
        tree, repaired = None, False
        if zone != FILLING:
            whole = next(used for name, used in self.sample.zones if name == zone and part.start in used)
            tree = tree_of(self.sample, self.names, zone, whole)
            repaired = zone in REPAIRED
        for bit in range(8 * part.start, 8 * part.stop, every):
            self.disk.flip(bit)
            try:
                if zone == FILLING:
                    outcome = self._filling(bit // 8)
                else:
                    damages = damages_met(self.sample, self.disk, thorough=False, cache_size=CACHE_SIZE)
                    judge(damages, zone, tree)
                    outcome = TOLD if damages else RIGHT
                    if repaired:
                        assert restored(self.sample, self.disk.reopen()), "a writer has not repaired it"
                        outcome = RESTORED
            except Exception as error:
                place = f"bit {bit % 8} of byte {bit // 8} ({zone})"
                raise AssertionError(f"{place}: {type(error).__name__}: {error}") from error
            outcomes[zone, outcome] += 1
            self.disk.flip(bit)
        return outcomes

    def _filling(self, byte: int) -> str:
        """What reads this byte has to give the same, whatever it is."""
        image = self.sample.image
        if byte >= constants.GRID_OFFSET:
            address = (byte - constants.GRID_OFFSET) // BLOCK_SIZE + 1
            header = BLOCK_HEADER.unpack(image.read(self.file.grid.offset(address), BLOCK_HEADER.size))
            reference = BlockReference(header.address, header.address_twin, header.checksum)
            data = self.file.grid.read_copy(reference, BlockKind(header.kind), address)
            assert data == image.read(self.file.grid.offset(address), header.size)
            return RIGHT
        sb = self.file.superblock
        if sb.wal_offset <= byte < sb.wal_offset + sb.wal_size:
            assert self._log() == self.log, "the log is another one"
            return RIGHT
        # The rest of a superblock's sector is covered by its checksum, but for four bytes.
        found = superblock_zone.read(self.disk)
        assert found.checksum == self.file.superblock_checksum
        if not found.slots_to_repair:
            return RIGHT
        writer = self.disk.reopen()
        superblock_zone.repair(writer, found)
        assert writer.image == image, "a writer has not repaired it"
        return RESTORED

    def _log(self) -> tuple[object, ...]:
        recovery = self.file.recovery()
        records = list(recovery.records())
        return records, recovery.tail, recovery.op_synced, recovery.closed_cleanly, recovery.dropped


_flipped = cache(Flipped)


def _task(seed: int, zone: str, part: range, every: int) -> Outcomes:
    return _flipped(seed).flip_all(zone, part, every)


def report(outcomes: Outcomes, bits_not_read: int) -> str:
    """A table: zone, bits, and how many of them had each outcome."""
    columns = (RIGHT, RESTORED, TOLD)
    zones = [*sorted({zone for zone, _ in outcomes} - {FILLING}), FILLING]
    rows = [(zone, [outcomes[zone, outcome] for outcome in columns]) for zone in zones]
    rows.append(("all", [sum(counts) for counts in zip(*(counts for _, counts in rows), strict=True)]))
    lines = [f"{'zone':<12} {'bits':>9}" + "".join(f" {name:>30}" for name in columns)]
    lines += [f"{zone:<12} {sum(counts):>9,}" + "".join(f" {count:>30,}" for count in counts) for zone, counts in rows]
    lines.append(f"not read     {bits_not_read:>9,}")
    return "\n".join(lines)


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def main() -> None:
    """The command line; see the top of this file."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.every_bit", description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--every", type=int, default=1, help="each n-th bit alone")
    arguments = parser.parse_args()
    start_s = time.monotonic()
    flipped = _flipped(arguments.seed)
    parts = flipped.parts()
    bits = 8 * len(flipped.sample.image)
    outcomes: Outcomes = Counter()
    with ProcessPoolExecutor(arguments.jobs) as pool:
        tasks = [pool.submit(_task, arguments.seed, zone, part, arguments.every) for zone, part in parts]
        for done, task in enumerate(tasks, 1):
            outcomes += task.result()
            sys.stderr.write(f"\r{done} of {len(tasks)} parts")
    sys.stderr.write("\n")
    _print(f"a file of {len(flipped.sample.image):,} bytes, seed {arguments.seed}: every bit flipped, one at a time")
    _print(report(outcomes, bits - 8 * sum(len(part) for _, part in parts)))
    _print(f"no wrong answer, no error that names another zone; {time.monotonic() - start_s:,.0f} s")


if __name__ == "__main__":
    main()
