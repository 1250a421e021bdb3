"""Progress appears late, tells the truth about rate and time left, and leaves no trace on a terminal."""

import io
from pathlib import Path

import pytest

from lsmcli.commands.progress import Progress, progress_of
from lsmcli.session import Session


class Clock:
    """A clock that a test sets, in seconds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 0.0
        monkeypatch.setattr("lsmcli.commands.progress.monotonic", lambda: self.now_s)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def shown(clock: Clock, *steps: tuple[float, int, int], total: int | None, plain: bool = False) -> str:
    stream = io.StringIO()
    progress = Progress("import", total, stream, plain=plain)
    for seconds, done, rows in steps:
        clock.now_s = seconds
        progress.advance(done, rows)
    progress.close()
    return stream.getvalue()


def test_a_bar_appears_late_and_is_removed(clock: Clock) -> None:
    assert shown(clock, (0.4, 50, 5), total=200) == ""
    clock.now_s = 0.0
    text = shown(clock, (0.4, 50, 5), (1.0, 100, 10), (1.1, 110, 11), total=200)
    assert text == "\r\x1b[Kimport [##########..........] 50 %, 10 rows, 10/s, 1 s left" + "\r\x1b[K"


def test_a_pipe_has_a_counter_and_no_end(clock: Clock) -> None:
    assert shown(clock, (2.0, 3 << 20, 5000), total=None) == "\r\x1b[Kimport: 3.0 MiB, 5000 rows, 2500/s\r\x1b[K"


def test_plain_lines_come_every_five_seconds_and_stay(clock: Clock) -> None:
    steps = [(float(second), second * 10, second) for second in range(12)]
    assert shown(clock, *steps, total=120, plain=True) == (
        "import: 42 %, 5 rows, 1/s, 7 s left\nimport: 83 %, 10 rows, 1/s, 2 s left\n"
    )


def test_more_bytes_than_were_known_are_not_more_than_all(clock: Clock) -> None:
    assert "100 %, 1 rows, 1/s, 0 s left" in shown(clock, (1.0, 300, 1), total=200)


@pytest.mark.parametrize(
    ("mode", "verbosity", "terminal", "expected"),
    [
        ("auto", 0, True, "bar"), ("auto", 0, False, ""), ("auto", -1, True, ""),
        ("bar", 0, False, "bar"), ("bar", -1, True, ""),
        ("plain", 0, False, "plain"), ("plain", 0, True, "plain"), ("plain", -1, False, ""),
        ("none", 0, True, ""),
    ],
)  # fmt: skip
def test_who_sees_what(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, mode: str, verbosity: int, terminal: bool, expected: str
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: terminal)
    monkeypatch.setattr("sys.stderr", stream)
    clock.now_s = 0.0
    progress = progress_of(Session(str(Path("t.lsm")), verbosity=verbosity), "import", 100, mode)
    clock.now_s = 10.0
    progress.advance(10, 1)
    text = stream.getvalue()
    assert {"": text == "", "bar": "[##" in text, "plain": text.endswith("left\n") and "[" not in text}[expected], text
