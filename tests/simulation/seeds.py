"""Where the seeds of the fault matrix come from: the commit, so that every commit is tested with other ones.

A seed that once found something stays, as a line of matrix/kept.txt:

    CLASS:SEED:CASE    what it was
"""

import subprocess
from pathlib import Path

import xxhash

SEED_OUTSIDE_A_CLONE = 20_011_003
KEPT = Path(__file__).parent / "matrix" / "kept.txt"
_SEED_BITS = 48


def commit() -> str:
    """The commit that is checked out; a fixed word outside a clone."""
    try:
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
        )
    except OSError:
        return str(SEED_OUTSIDE_A_CLONE)
    return found.stdout.strip() if found.returncode == 0 else str(SEED_OUTSIDE_A_CLONE)


def seed_of_round(base: str, number: int, round_: int, rounds: int | None = None) -> int:
    """The seed of one round of one class. base: the commit, or a seed that was given.

    In a class that has a number of rounds the seed tells the round: it is the seed modulo that number.
    """
    seed: int = xxhash.xxh3_64_intdigest(f"{base}/{number}/{round_}".encode()) & (1 << _SEED_BITS) - 1
    return seed if rounds is None else seed - seed % rounds + round_ % rounds


def parse_replay(text: str) -> tuple[int, int, int]:
    """CLASS:SEED:CASE as three numbers. Raises ValueError."""
    number, seed, case = text.split(":")
    return int(number), int(seed), int(case)


def kept() -> list[tuple[int, int, int]]:
    """The kept seeds."""
    lines = KEPT.read_text(encoding="utf-8").splitlines()
    return [parse_replay(line.split()[0]) for line in lines if line.strip() and not line.startswith("#")]
