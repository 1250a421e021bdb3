"""A data file on the real disk whose system calls fail as they are told."""

import os
from collections.abc import Callable
from typing import Any

HEAD = bytes(range(256)) * 80  # what such a file holds at first: it goes past the lock sector


def failing(name: str, *outcomes: int, then: int | None = None) -> Callable[..., object]:
    """os.`name`, but its first calls end as told: raise this errno; for pwrite -n: store n bytes only."""
    real = getattr(os, name)
    left = list(outcomes)

    def call(*arguments: Any) -> object:
        outcome = left.pop(0) if left else then
        if outcome is None:
            return real(*arguments)
        if outcome > 0:
            raise OSError(outcome, os.strerror(outcome))
        fd, data, offset = arguments
        return real(fd, bytes(data)[:-outcome], offset) if outcome else 0

    return call
