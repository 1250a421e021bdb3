"""The spill of a scope that has outgrown memory: what was before it is flushed, and a pinned snapshot takes over.

mutable   [before | scope]      ->    immutable [before]  -> flushed, pinned
                                      mutable   [scope]      goes on in a new bar
"""

from typing import TYPE_CHECKING

from lsmcli.engine.compaction_plan import flush
from lsmcli.engine.scope import Mark

if TYPE_CHECKING:
    from lsmcli.engine.forest import Forest


def spill(forest: "Forest") -> None:
    """Parts the memory tables of the open scope in two, and begins a new bar. A checkpoint is good to have then.

    Raises NoSpaceError and DamageError, with the scope as it was.
    """
    scope = forest.scope_required()
    assert scope.after is not None
    with forest.flushing_all():
        while True:
            forest.bar_complete()
            if not any(tree.table_immutable.entries for tree in forest.trees.values()):
                break
            _bar_again(forest)
    for tree in forest.trees.values():
        tree.scope_spill(forest.bar.number)
    try:
        for _ in flush(forest.jobs()):
            pass
    except BaseException:
        for tree in forest.trees.values():
            tree.scope_unspill()
        raise
    scope.spilled = True
    forest.marks[forest.bar.number + 1] = Mark(scope.after, scope.bytes_put, 0)
    forest.bar = forest.bar_new(forest.bar.number + 1)
    forest.bar.fill = sum(tree.table_mutable.weight for tree in forest.trees.values())
    scope.after = None


def _bar_again(forest: "Forest") -> None:
    """Begins the bar anew, with the same memory tables: its work is done, but more has come up."""
    fill = forest.bar.fill
    forest.bar = forest.bar_new(forest.bar.number)
    forest.bar.fill = fill
