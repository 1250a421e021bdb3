"""A shell on a pseudo-terminal, driven by keys."""

import os
import pty
import re
import select
import sys
import time
from pathlib import Path
from types import TracebackType

import lsmcli

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|\x1b\][^\x07]*\x07")


class Terminal:
    """`lsmcli FILE` in a process of its own. shown: all that it wrote so far, without what only steers a terminal."""

    def __init__(self, *words: str, **environment: str) -> None:
        self.raw = ""
        self._pid, self._terminal = pty.fork()
        if self._pid == 0:
            kept = {name: value for name, value in os.environ.items() if not name.startswith(("LSMCLI_", "NO_COLOR"))}
            kept |= {"TERM": "xterm-256color", "PROMPT_TOOLKIT_NO_CPR": "1", "COLUMNS": "100", "LINES": "24"}
            kept |= {"PYTHONPATH": str(Path(lsmcli.__file__).parent.parent), "XDG_STATE_HOME": os.getcwd()}
            kept |= {"XDG_CONFIG_HOME": os.getcwd(), "LC_ALL": "C.UTF-8"} | environment
            os.execvpe(sys.executable, [sys.executable, "-m", "lsmcli", *words], kept)

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._terminal)
        os.waitpid(self._pid, 0)

    @property
    def shown(self) -> str:
        return ESCAPES.sub("", self.raw)

    def wait(self, text: str, *, seconds: float = 20.0, raw: bool = False) -> str:
        """Wait until a text is shown, and return what was shown since the last keys; AssertionError if it is not."""
        until = time.monotonic() + seconds
        while text not in (self.raw if raw else self.shown):
            left = until - time.monotonic()
            assert left > 0, (text, self.shown[-2000:])
            if select.select([self._terminal], [], [], min(left, 0.5))[0]:
                try:
                    some = os.read(self._terminal, 65536)
                except OSError:
                    some = b""
                assert some, (text, self.shown[-2000:])
                self.raw += some.decode("utf-8", "replace")
        return self.shown

    def keys(self, keys: str) -> None:
        """Press keys, and forget what was shown before."""
        self.raw = ""
        os.write(self._terminal, keys.encode())

    def answer(self, line: str, text: str) -> str:
        """Type a line, and wait for a text in its result and for the prompt behind that."""
        self.keys(line + "\r")
        self.wait(text)
        until = time.monotonic() + 20.0
        while "main" not in self.shown[self.shown.rindex(text) + len(text) :]:
            assert time.monotonic() < until, self.shown[-2000:]
            if select.select([self._terminal], [], [], 0.5)[0]:
                self.raw += os.read(self._terminal, 65536).decode("utf-8", "replace")
        return self.shown

    def exit_code(self) -> int:
        """Wait for the end."""
        while True:
            try:
                some = os.read(self._terminal, 65536)
            except OSError:
                some = b""
            if not some:
                break
            self.raw += some.decode("utf-8", "replace")
        code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        self._pid = os.posix_spawn("/bin/true", ["true"], {})  # so that there is one to wait for
        return code
