"""Where the program starts: imports of modules run with the garbage collector asleep, and so does much else.

An import makes thousands of objects and no garbage; looking for some all the same takes a tenth of it.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing() -> Iterator[None]:
    """For a block that imports much: no collection in it, and none later looks at what it made."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


@contextmanager
def uncollected() -> Iterator[None]:
    """For a block that makes millions of objects, and no cycles of them that matter."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def main() -> int:
    """Run the command line of this process; see lsmcli.cli.main."""
    with importing():
        from lsmcli import cli
    return cli.main()
