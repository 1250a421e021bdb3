"""The naive model: what a database holds, as dicts of dicts, with a copy of everything for each open scope.

Invariants:
- nothing that was handed out changes: a change copies the dict that it changes, so that a State can be
  kept for every op of a run and compared later;
- `op` rises by one with each change, as the engine's op numbers do.
"""

from collections.abc import Iterable
from typing import NamedTuple

MAIN = "main"

Trees = dict[str, dict[bytes, bytes]]


class State(NamedTuple):
    """What there was after one op."""

    trees: Trees  # as seen inside of the open scope, if there is one
    before: Trees | None  # what was when the open scope began; None: no scope is open
    durable: bool  # the open scope survives its process

    @property
    def committed(self) -> Trees:
        """What a reader that looks past an open scope sees."""
        return self.trees if self.before is None else self.before

    @property
    def surviving(self) -> "State":
        """What is left when the process dies: a bound scope is undone."""
        if self.before is None or self.durable:
            return self
        return State(self.before, None, False)


class Model:
    """The state of now, and the state after every op: history[op]."""

    def __init__(self) -> None:
        self.state = State({MAIN: {}}, None, False)
        self.history = [self.state]

    @property
    def op(self) -> int:
        return len(self.history) - 1

    @property
    def trees(self) -> Trees:
        return self.state.trees

    def _become(self, state: State) -> None:
        self.state = state
        self.history.append(state)

    def change_nothing(self) -> None:
        """An op that no tree shows."""
        self._become(self.state)

    def resume(self, state: State, op: int) -> None:
        """Goes on from a state that was found on disk."""
        self.state = state
        self.history = [state] * (op + 1)

    def write(self, name: str, entries: Iterable[tuple[bytes, bytes | None]]) -> None:
        """Puts, and removes where the value is None, in their order, as one op."""
        tree = dict(self.trees[name])
        for key, value in entries:
            if value is None:
                tree.pop(key, None)
            else:
                tree[key] = value
        self._become(self.state._replace(trees={**self.trees, name: tree}))

    def create_tree(self, name: str) -> None:
        assert name not in self.trees
        self._become(self.state._replace(trees={**self.trees, name: {}}))

    def drop_tree(self, name: str) -> None:
        self._become(self.state._replace(trees={other: tree for other, tree in self.trees.items() if other != name}))

    def begin(self, *, durable: bool) -> None:
        assert self.state.before is None
        self._become(State(self.trees, self.trees, durable))

    def persist(self) -> None:
        assert self.state.before is not None
        self._become(State(self.trees, None, False))

    def discard(self) -> None:
        assert self.state.before is not None
        self._become(State(self.state.before, None, False))


def entries_between(
    tree: dict[bytes, bytes], start: bytes | None, end: bytes | None, *, reverse: bool = False, limit: int | None = None
) -> list[tuple[bytes, bytes]]:
    """The entries of [start, end), in the order of a scan."""
    kept = [
        (key, value) for key, value in tree.items() if (start is None or key >= start) and (end is None or key < end)
    ]
    kept.sort(reverse=reverse)
    return kept if limit is None else kept[: max(0, limit)]
