"""How far a long command is: a bar on a terminal, a counter where the end is not known, lines for a log.

bar        import [####......] 43 %, 430000 rows, 350000/s, 2 s left      one line, written anew, removed at the end
counter    import: 120.3 MiB, 430000 rows, 350000/s                       the same, for a pipe
plain      the same text without a bar, one line every 5 seconds
"""

import sys
from collections.abc import Callable
from time import monotonic
from typing import Any, Final, TextIO

import click

from lsmcli.commands.output import bar_text, size_text
from lsmcli.session import Session

BAR_EVERY_S: Final = 0.5
PLAIN_EVERY_S: Final = 5.0
BAR_WIDTH: Final = 20
MODES: Final = ("auto", "bar", "plain", "none")


def progress_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """--progress, as `progress_mode`."""
    return click.option(
        "--progress",
        "progress_mode",
        type=click.Choice(MODES),
        default="auto",
        show_default=True,
        help="auto: a bar on a terminal; plain: a line every 5 seconds.",
    )(function)


class Progress:
    """What tells on standard error how far a command is, at most every half second.

    `advance` may be called as often as one likes: between two lines it costs one look at the clock.
    """

    __slots__ = ("_began_s", "_every_s", "_label", "_plain", "_shown", "_shown_s", "_stream", "_total")

    def __init__(self, label: str, total: int | None, stream: TextIO | None, *, plain: bool = False) -> None:
        """total: of what `advance` counts, None if unknown; stream: None to show nothing; plain: whole lines."""
        self._label = label
        self._total = total
        self._stream = stream
        self._plain = plain
        self._every_s = PLAIN_EVERY_S if plain else BAR_EVERY_S
        self._began_s = self._shown_s = monotonic()
        self._shown = False

    def advance(self, done: int, rows: int) -> None:
        """done: bytes so far; rows so far, 0 where rows are not what is counted."""
        now_s = monotonic()
        if self._stream is None or now_s - self._shown_s < self._every_s:
            return
        text = self._text(done, rows, now_s - self._began_s)
        self._stream.write(f"{text}\n" if self._plain else f"\r\x1b[K{text}")
        self._stream.flush()
        self._shown = True
        self._shown_s = now_s

    def _text(self, done: int, rows: int, seconds: float) -> str:
        rate = f"{rows} rows, {rows / seconds:.0f}/s" if rows else f"{size_text(int(done / seconds))}/s"
        if not self._total:
            return f"{self._label}: {size_text(done)}, {rate}"
        share = min(1.0, done / self._total)
        left = f", {seconds / share - seconds:.0f} s left" if share else ""
        lead = f"{self._label}:" if self._plain else f"{self._label} [{bar_text(share, BAR_WIDTH)}]"
        return f"{lead} {100 * share:.0f} %, {rate}{left}"

    def close(self) -> None:
        """Remove the bar; lines stay."""
        if self._shown and not self._plain and self._stream is not None:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._shown = False


def progress_of(session: Session, label: str, total: int | None, mode: str) -> Progress:
    """The progress that --progress asks for: nothing when quiet, and with "auto" nothing where no terminal is."""
    stream = sys.stderr if session.verbosity >= 0 else None
    if mode == "none" or (mode == "auto" and stream is not None and not stream.isatty()):
        stream = None
    return Progress(label, total, stream, plain=mode == "plain")
