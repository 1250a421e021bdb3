"""The corpus of class 20: crafted files, kept, each of which once led the engine where no other had.

    python -m tests.simulation.hostile_corpus [--seconds 60] [--seed 1]

forges files as class 20 does, notes which steps from line to line the engine takes with each, and keeps a file that
takes a new one. With LSMCLI_PURE=1, or the steps of compiled code are not seen. The whole files that they are made from
are kept as they were when the corpus began, and each forgery as what differs: so the corpus stays what it is, whatever
the engine writes by then.

    tests/data/hostile/plain.lsm.xz     a file of all zones, closed
    tests/data/hostile/scope.lsm.xz     the same with an open scope that has outgrown memory
    tests/data/hostile/corpus.txt       FILE <tab> the fields that were changed <tab> OFFSET:BYTES …    (hexadecimal)
"""

import argparse
import lzma
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final, NamedTuple

from tests.simulation.matrix.class_20_hostile_files import Forger, harmless, in_a_scope, named
from tests.testing.operations import Profile
from tests.testing.pages import Pages
from tests.testing.sample import sample_of
from tests.testing.storage import SimulatedStorage

FOLDER: Final = Path(__file__).resolve().parent.parent / "data" / "hostile"
CORPUS: Final = FOLDER / "corpus.txt"
BASES: Final = ("plain", "scope")
SEED_OF_BASES: Final = 20
_GAP_MAX: Final = 8  # bytes between two differences that are written as one
_ENGINE: Final = "lsmcli/engine/"

Step = tuple[CodeType, int, int]


class Kept(NamedTuple):
    """One file of the corpus: what it was made from, what was changed, and the bytes that differ."""

    base: str
    label: str
    patches: tuple[tuple[int, bytes], ...]

    def image(self) -> Pages:
        """The file."""
        pages = Pages(base_image(self.base))
        for offset, data in self.patches:
            pages.write(offset, data)
        return pages

    def line(self) -> str:
        """As it stands in the corpus."""
        patches = " ".join(f"{offset:x}:{data.hex()}" for offset, data in self.patches)
        return f"{self.base}\t{self.label}\t{patches}\n"


def corpus() -> list[Kept]:
    """All that is kept."""
    kept = []
    for line in CORPUS.read_text("ascii").splitlines():
        base, label, patches = line.split("\t")
        pairs = [patch.split(":") for patch in patches.split()]
        kept.append(Kept(base, label, tuple((int(offset, 16), bytes.fromhex(data)) for offset, data in pairs)))
    return kept


def base_image(name: str) -> Pages:
    """One of the whole files."""
    return Pages(lzma.decompress((FOLDER / f"{name}.lsm.xz").read_bytes()))


def profile_of_bases() -> Profile:
    """How the files of the corpus are opened."""
    return sample_of(random.Random(SEED_OF_BASES)).profile


def differences(before: bytes, after: bytes) -> Iterator[tuple[int, bytes]]:
    """Where two files of one length differ: (offset, bytes of the second one)."""
    at, end = 0, len(before)
    while at < end:
        if before[at : at + 4096] == after[at : at + 4096]:
            at += 4096
            continue
        if before[at] == after[at]:
            at += 1
            continue
        last = at
        stop = at + 1
        while stop < end and stop - last <= _GAP_MAX:
            if before[stop] != after[stop]:
                last = stop
            stop += 1
        yield at, after[at : last + 1]
        at = last + 1


class Steps:
    """A context in which every step from line to line in the engine is noted."""

    def __init__(self) -> None:
        self.seen: set[Step] = set()

    def __enter__(self) -> "Steps":
        sys.settrace(self._call)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _call(self, frame: FrameType, _event: str, _argument: Any) -> Any:
        code = frame.f_code
        if _ENGINE not in code.co_filename:
            return None
        line = 0
        seen = self.seen

        def step(frame: FrameType, event: str, _argument: Any) -> Any:
            nonlocal line
            if event == "line":
                seen.add((code, line, frame.f_lineno))
                line = frame.f_lineno
            return step

        return step


def grow(seconds: float, seed: int) -> tuple[int, int]:
    """Forges for so long; how many files were tried, and how many kept."""
    profile = profile_of_bases()
    seen: set[Step] = set()
    for kept in [Kept(base, "", ()) for base in BASES] + corpus():
        seen |= _steps(profile, kept.image())
    rng = random.Random(seed)
    forgers = {base: Forger(base_image(base)) for base in BASES}
    tried = found = 0
    deadline_s = time.monotonic() + seconds
    while time.monotonic() < deadline_s:
        base = rng.choice(BASES)
        chosen = forgers[base].choose(rng)
        image = forgers[base].forged(chosen, lambda: rng)
        tried += 1
        steps = _steps(profile, image)
        if not steps <= seen:
            seen |= steps
            whole = base_image(base)
            patches = tuple(differences(whole.read(0, len(whole)), image.read(0, len(image))))
            with CORPUS.open("a", encoding="ascii") as file:
                file.write(Kept(base, named(chosen), patches).line())
            found += 1
            sys.stderr.write(f"\r{found} kept of {tried}")
    sys.stderr.write("\n")
    return tried, found


def _steps(profile: Profile, image: Pages) -> set[Step]:
    disk = SimulatedStorage(image)
    with Steps() as steps:
        harmless(profile, disk, writes=True, seconds_max=60.0)
    return steps.seen


def begin() -> None:
    """Writes the whole files, and an empty corpus."""
    FOLDER.mkdir(exist_ok=True)
    sample = sample_of(random.Random(SEED_OF_BASES))
    for name, image in zip(BASES, (sample.image, in_a_scope(sample)), strict=True):
        (FOLDER / f"{name}.lsm.xz").write_bytes(lzma.compress(image.read(0, len(image)), preset=9))
    CORPUS.write_text("", "ascii")


def main() -> None:
    """The command line; see the top of this file."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.hostile_corpus")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--begin", action="store_true", help="throw the corpus away first, and the whole files too")
    arguments = parser.parse_args()
    if arguments.begin:
        begin()
    tried, found = grow(arguments.seconds, arguments.seed)
    sys.stdout.write(f"{tried} files, {found} of them kept\n")


if __name__ == "__main__":
    main()
