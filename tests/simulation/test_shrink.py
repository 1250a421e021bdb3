"""Shrinking finds the operations that matter."""

from collections.abc import Sequence

from tests.testing.operations import Operation
from tests.testing.shrink import shrink


def test_what_does_not_matter_is_taken_out() -> None:
    operations = [Operation("put", (str(number),)) for number in range(40)]
    asked = 0

    def fails(some: Sequence[Operation]) -> bool:
        nonlocal asked
        asked += 1
        return operations[7] in some and operations[31] in some

    assert shrink(operations, fails) == [operations[7], operations[31]]
    assert asked < 100


def test_a_run_that_needs_all_is_left_as_it_is() -> None:
    operations = [Operation("sync") for _ in range(5)]
    assert shrink(operations, lambda some: len(some) == 5) == operations
