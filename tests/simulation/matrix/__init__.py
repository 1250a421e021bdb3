"""The fault matrix: 31 classes of faults, each one file, found by its name: class_NN_name.py.

A class file opens with what it injects, what must hold and how many cases it runs, and has

    CASES    how many cases `make test` runs at least
    run      run(trial) -> None: one round of cases, drawn from the trial (tests/testing/trial.py)

and where the defaults do not fit

    SHARE        of the sampled cases of a round, the part that `make test` runs         (1.0)
    SLICES       into how many tests `make test` cuts it, for its processes              (1)
    SITUATIONS   marks that a long run must have met: a missing one is a hole in the harness  (none)
    ROUNDS       how many rounds there are, where `trial.round` goes through a list      (without end)

To add a class is to add a file. `python -m tests.simulation.torture` runs them all for as long as it is told.
"""

import importlib
import pkgutil
from collections.abc import Callable
from typing import NamedTuple

from tests.testing.trial import Trial

CLASSES_EXPECTED = range(1, 32)


class FaultClass(NamedTuple):
    """One row of the matrix."""

    number: int
    name: str
    title: str  # what it is about: the first sentence of its file
    cases: int
    run: Callable[[Trial], None]
    share: float
    slices: int
    rounds: int | None
    situations: tuple[str, ...]


def _title(doc: str) -> str:
    """("Class 9: the disk lies. It …") = "the disk lies"."""
    paragraph = " ".join(doc.split("\n\n", 1)[0].split())
    return paragraph.partition(": ")[2].partition(". ")[0].rstrip(".")


def table(classes: dict[int, FaultClass]) -> str:
    """The matrix as a table of docs/internals/testing.md."""
    lines = ["| class | fault | cases in `make test` |", "| ---: | --- | ---: |"]
    lines += [f"| {each.number} | {each.title} | {each.cases:,} |" for each in classes.values()]
    lines.append(f"| | **all** | **{sum(each.cases for each in classes.values()):,}** |")
    return "\n".join(lines) + "\n"


def load_classes() -> dict[int, FaultClass]:
    """All classes by number; imports every class file."""
    classes: dict[int, FaultClass] = {}
    for module_info in pkgutil.iter_modules(__path__):
        word, _, rest = module_info.name.partition("_")
        if word != "class":
            continue
        digits, _, name = rest.partition("_")
        module = importlib.import_module(f"{__name__}.{module_info.name}")
        number = int(digits)
        assert number not in classes, f"two files for class {number}"
        classes[number] = FaultClass(
            number,
            name.replace("_", " "),
            _title(module.__doc__ or ""),
            module.CASES,
            module.run,
            getattr(module, "SHARE", 1.0),
            getattr(module, "SLICES", 1),
            getattr(module, "ROUNDS", None),
            getattr(module, "SITUATIONS", ()),
        )
    return dict(sorted(classes.items()))
