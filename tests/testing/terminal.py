"""A shell on a pseudo-terminal, driven by keys."""

import os
import pty
import re
import select
import signal
import sys
import time
from codecs import getincrementaldecoder
from pathlib import Path
from types import TracebackType

import lsmcli

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|\x1b\][^\x07]*\x07")

SECONDS_MAX = 60.0  # no test depends on it unless it fails
REDRAW_S = 0.5
PATIENCE_S = 2.0


class Terminal:
    """`lsmcli FILE` in a process of its own. shown: all that it wrote so far, without what only steers a terminal."""

    def __init__(self, *words: str, **environment: str) -> None:
        self.raw = ""
        self._decoder = getincrementaldecoder("utf-8")("replace")
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
        if kind is not None:
            os.kill(self._pid, signal.SIGKILL)  # a test that failed must not wait for it
        os.waitpid(self._pid, 0)

    @property
    def shown(self) -> str:
        return ESCAPES.sub("", self.raw)

    def wait(self, text: str, *, raw: bool = False, redraw: bool = False) -> str:
        """Wait until a text is shown, and return what was shown since the last keys; AssertionError if it is not.

        redraw: it is part of what is redrawn while a line is typed. A shell draws only what changed, so the text comes
        in pieces if keys come in pieces, as on a busy machine: Ctrl-L has all of it drawn anew.
        """
        until = time.monotonic() + SECONDS_MAX
        while text not in (self.raw if raw else self.shown):
            assert time.monotonic() < until, (text, self.shown[-2000:])
            if self._read(REDRAW_S):
                continue
            if redraw:
                os.write(self._terminal, b"\x0c")
        return self.shown

    def _read(self, seconds: float) -> bool:
        """Take what is shown within so many seconds; whether anything was. AssertionError at the end of it all."""
        if not select.select([self._terminal], [], [], seconds)[0]:
            return False
        try:
            some = os.read(self._terminal, 65536)
        except OSError:
            some = b""
        assert some, self.shown[-2000:]
        self.raw += self._decoder.decode(some)
        return True

    def keys(self, keys: str) -> None:
        """Press keys, and forget what was shown before."""
        self.bytes(keys.encode())

    def forget(self) -> None:
        """Forget all that was shown so far, also what nobody has waited for."""
        while self._read(0.0):
            pass
        self.raw = ""

    def bytes(self, keys: bytes) -> None:
        """The same for keys that send no text."""
        self.raw = ""
        os.write(self._terminal, keys)

    def answer(self, line: str, text: str) -> str:
        """Type a line, and wait for a text in its result and for the prompt behind that."""
        self.keys(line + "\r")
        self.wait(text)
        until = time.monotonic() + SECONDS_MAX
        while "main" not in self.shown[self.shown.rindex(text) + len(text) :]:
            assert time.monotonic() < until, self.shown[-2000:]
            self._read(REDRAW_S)
        return self.shown

    def send_signal(self, number: int) -> None:
        """Send the shell a signal."""
        os.kill(self._pid, number)

    def hang_up(self) -> None:
        """Close the terminal under the shell. Nothing is shown any more."""
        os.close(self._terminal)
        self._terminal = os.open(os.devnull, os.O_RDONLY)

    def leave(self) -> int:
        """Ctrl-D, and wait for the end. Pressed again now and then: what is pressed between two prompts, before the
        shell has the terminal in its hands again, is lost, as it is in any shell."""
        self.keys("\x04")
        return self.exit_code(again="\x04")

    def exit_code(self, *, again: str = "") -> int:
        """Wait for the end, and press these keys from time to time. AssertionError if it does not come."""
        until = time.monotonic() + SECONDS_MAX
        while True:
            assert time.monotonic() < until, self.shown[-2000:]
            if not select.select([self._terminal], [], [], PATIENCE_S)[0]:
                if again:
                    os.write(self._terminal, again.encode())
                continue
            try:
                some = os.read(self._terminal, 65536)
            except OSError:
                some = b""
            if not some:
                break
            self.raw += self._decoder.decode(some)
        code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        self._pid = os.posix_spawn("/bin/true", ["true"], {})  # so that there is one to wait for
        return code
