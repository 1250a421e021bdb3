"""Ctrl-C and SIGTERM while a command changes the data file: heeded where nothing is half done.

    reading a source        the signal is heeded at once, also while nothing comes out of a pipe
    inside the engine       it is remembered, and heeded by the next `check`
    a second one            is heeded at once, wherever that is; the file is still all or nothing, by its log

Invariant: outside of the `with` block the handlers are those that were there before.
"""

import signal
import threading
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any, Final

from lsmcli.session import Terminated

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """A context manager that takes the two signals. in_midst: whether one was heeded where something was half done.

    Raises KeyboardInterrupt for Ctrl-C and Terminated for SIGTERM. In a thread other than the main one, where Python
    allows no handlers, it does nothing.
    """

    def __init__(self) -> None:
        self.in_midst = False
        self._signal = 0
        self._waiting = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:  # what a shell started in the background ignores
                    self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *outcome: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        again, self._signal = self._signal != 0, number
        if again or self._waiting:
            self.in_midst = not self._waiting
            self._stop()

    def _stop(self) -> None:
        raise Terminated if self._signal == signal.SIGTERM else KeyboardInterrupt

    def check(self) -> None:
        """Raise if a signal came. To be called where nothing is half done."""
        if self._signal:
            self._stop()

    def check_terminated(self) -> None:
        """Raise if SIGTERM came. To be called when all is done: Ctrl-C was meant for that and came too late, but a
        shell or a script is not to go on."""
        if self._signal == signal.SIGTERM:
            self._stop()

    def guarded(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Pass pieces on; a signal is heeded before and while the next one is waited for."""
        source = iter(pieces)
        while True:
            self._waiting = True
            try:
                self.check()  # behind the assignment: a signal in between would else wait for a piece that never comes
                piece = next(source, None)
            finally:
                self._waiting = False
            if piece is None:
                return
            yield piece
