"""`lsmcli FILE get KEY` without an option, by the short way: without click and all that click imports.

Click takes more than half of the time of such a process. It is left out where there is nothing for it to do.

Invariants:
- perhaps is an answer: what is not as plain as that, and whatever goes wrong before something is printed, is None with
  nothing changed. The ordinary way then does it all from the beginning, and words what there is to say;
- what is printed, and the exit code, are those of commands.get. A test compares them.
"""

import os
from collections.abc import Sequence

_SETTINGS = ("LSMCLI_", "_LSMCLI_")  # so begin the names of the variables that click looks at
_NO_SETTING = "LSMCLI_PURE"


def one_get(words: Sequence[str]) -> int | None:
    """Answers these words of a command line, and returns the exit code; None: the ordinary way is needed.

    Raises what writing to standard output does, and FileError when it is closed.
    """
    if len(words) != 3 or words[1] != "get" or words[0].startswith("-") or words[2].startswith("-"):
        return None
    if any(name.startswith(_SETTINGS) and name != _NO_SETTING for name in os.environ):
        return None
    from lsmcli.commands.encoding import CODECS, quoted_for_message
    from lsmcli.session import Session

    codec = CODECS["auto"]
    session = Session(words[0])
    try:
        key = codec.parse(words[2])
        value = session.tree().get(key)
        session.close()
    except Exception:  # noqa: BLE001 - the ordinary way meets it again, and tells
        return None
    if value is None:
        session.message(f"not found: {quoted_for_message(key)}")
        return 1
    session.out.write(codec.show(value) + b"\n")
    session.out.flush()
    return 0
