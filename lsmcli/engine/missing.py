"""What a lookup says of a key that it knows nothing of. Not in a hot module: each of those exists twice."""

from enum import Enum
from typing import Final


class Missing(Enum):
    """The type of MISSING: a single value, so that type checkers can tell it from stored ones."""

    MISSING = 0

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = Missing.MISSING  # nothing is known of the key, not even a tombstone
