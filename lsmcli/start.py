"""Where the program starts and ends: imports of modules run with the garbage collector asleep, and so does much else.

An import makes thousands of objects and no garbage; looking for some all the same takes a tenth of it.
"""

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn


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


def end_process(code: int) -> NoReturn:
    """End at once: the file is closed, and freeing every object first would take a tenth of a one-shot get."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with suppress(OSError, ValueError):  # it is broken, which the exit code already says
                stream.flush()
    os._exit(code)


def main() -> NoReturn:
    """Run the command line of this process, and end it with the exit code; see lsmcli.cli.main."""
    try:
        with uncollected():
            from lsmcli.one_get import one_get

            code = one_get(sys.argv[1:])
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - a border, as in cli.main
        from lsmcli import cli

        code = cli.told(error)
    if code is None:
        with importing():
            from lsmcli import cli
        code = cli.main()
    end_process(code)
