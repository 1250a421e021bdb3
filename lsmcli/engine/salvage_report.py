"""What a salvage kept and what it lost: for people and for programs."""

from typing import Any, NamedTuple


class TreeCount(NamedTuple):
    """What became of one tree: entries kept, and entries withheld because a lost one may have replaced them."""

    tree: str
    kept: int
    withheld: int


class Loss(NamedTuple):
    """One place whose entries are gone. Keys are inclusive; None: unknown. entries counts tombstones too."""

    tree: str
    level: int | None
    zone: str
    address: int | None
    key_min: bytes | None
    key_max: bytes | None
    entries: int | None
    message: str


class SalvageReport:
    """What was kept and what was lost.

    complete: nothing was lost, and that is certain. root: "agreed", "single copy" or "none". manifest: "whole" or
    "damaged". scope_changes: changes of an open scope that are pending in the new file as well, None without one.
    """

    def __init__(self) -> None:
        self.root = "agreed"
        self.manifest = "whole"
        self.trees: list[TreeCount] = []
        self.losses: list[Loss] = []
        self.scope_changes: int | None = None
        self.guessed = 0  # keys that had several versions, of which the newest is a guess
        self.notes: list[str] = []

    @property
    def kept(self) -> int:
        return sum(count.kept for count in self.trees)

    @property
    def withheld(self) -> int:
        return sum(count.withheld for count in self.trees)

    @property
    def lost(self) -> int:
        """Entries that the lost places held, as far as that is known; some of them may have been replaced since."""
        return sum(loss.entries or 0 for loss in self.losses)

    @property
    def complete(self) -> bool:
        certain = self.root == "agreed" and self.manifest == "whole"
        return certain and not self.losses and not self.withheld

    def as_dict(self) -> dict[str, Any]:
        """The report as names, numbers, texts, bytes and lists."""
        return {
            "complete": self.complete,
            "kept": self.kept,
            "lost": self.lost,
            "withheld": self.withheld,
            "root": self.root,
            "manifest": self.manifest,
            "guessed": self.guessed,
            "scope_changes": self.scope_changes,
            "trees": [count._asdict() for count in self.trees],
            "losses": [loss._asdict() for loss in self.losses],
            "notes": self.notes,
        }
