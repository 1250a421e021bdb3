"""Fewer operations that still fail: from a long failing run to the few of its operations that matter.

    fails:  p p b p r c p d p p      take out halves, quarters … single ones, as long as what is left still fails
    left:     b   r     d

An operation that makes no sense any more, since one that it needed is gone, is left out when the run is repeated.
"""

from collections.abc import Callable, Sequence

from tests.testing.model import Model, entries_between
from tests.testing.operations import Operation

RUNS_MAX = 400


def fits(operation: Operation, model: Model) -> bool:
    """Whether the operation makes sense in the model's state."""
    kind, arguments = operation.kind, operation.arguments
    if kind in ("persist", "discard"):
        return model.state.before is not None
    if kind.startswith("begin"):
        return model.state.before is None
    if kind == "create_tree":
        return arguments[0] not in model.trees
    return not arguments or arguments[0] in model.trees


def take(operation: Operation, model: Model) -> None:
    """The effect of an operation on a model that has no database beside it."""
    kind, arguments = operation.kind, operation.arguments
    if kind in ("put", "remove", "batch"):
        model.write(*arguments)
    elif kind == "delete_range":
        name, start, end = arguments
        keys = [key for key, _ in entries_between(model.trees[name], start, end)]
        if keys:
            model.write(name, [(key, None) for key in keys])
    elif kind == "create_tree":
        model.create_tree(arguments[0])
    elif kind == "drop_tree":
        model.drop_tree(arguments[0])
    elif kind in ("begin_durable", "begin_bound"):
        model.begin(durable=kind == "begin_durable")
    elif kind == "persist":
        model.persist()
    elif kind == "discard" or (kind == "reopen" and model.state.before is not None and not model.state.durable):
        model.discard()


def shrink(
    operations: Sequence[Operation], fails: Callable[[Sequence[Operation]], bool], runs_max: int = RUNS_MAX
) -> list[Operation]:
    """The fewest operations found, in their order, for which fails() still holds; asked runs_max times at most."""
    left = list(operations)
    size = len(left) // 2
    runs = 0
    while size:
        begin = 0
        while begin < len(left) and runs < runs_max:
            without = left[:begin] + left[begin + size :]
            runs += 1
            if fails(without):
                left = without
            else:
                begin += size
        size //= 2
    return left
