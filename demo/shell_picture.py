"""Makes docs/shell.svg: a real session of the shell on a pseudo-terminal, its last screen drawn as a picture.

make picture
"""

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import tempfile
import termios
import time
from itertools import groupby
from pathlib import Path
from xml.sax.saxutils import escape

import pyte

ROWS, COLUMNS = 26, 92
CELL_WIDTH, CELL_HEIGHT, MARGIN = 8.4, 18, 14
BACKGROUND, FOREGROUND = "#1d1f21", "#d5d8d6"
COLORS = {
    "red": "#e06c75", "green": "#98c379", "brown": "#e5c07b", "blue": "#61afef", "magenta": "#c678dd",
    "cyan": "#56b6c2", "white": "#d5d8d6", "black": "#5c6370", "brightblack": "#7f848e",
}  # fmt: skip

DATA = "".join(f"put user:{number}:name {name} user:{number}:born {born}\n" for number, name, born in (
    (1001, "Ada", 1815), (1002, "Grace", 1906), (1003, "Edsger", 1930), (1004, "Barbara", 1939),
))  # fmt: skip
KEYS = [
    "get user:1002:name\r",
    "scope begin\r",
    "put user:1002:name 'Grace Hopper'\r",
    "delete user:1003:born\r",
    "changes\r",
    "scan --prefx user\x03",
    "scan --prefix user:100",
]


class AnsweringScreen(pyte.Screen):
    """A screen that answers, as a terminal does: the shell asks where the cursor is."""

    terminal = -1

    def write_process_input(self, data: str) -> None:
        """Send an answer to the program."""
        os.write(self.terminal, data.encode())


def screen_of(path: str, home: str) -> pyte.Screen:
    """The screen at the end of the session."""
    screen = AnsweringScreen(COLUMNS, ROWS)
    stream = pyte.ByteStream(screen)
    child, terminal = pty.fork()
    if child == 0:
        environment = {**os.environ, "TERM": "xterm-256color", "XDG_STATE_HOME": home}
        environment |= {"XDG_CONFIG_HOME": home, "LC_ALL": "C.UTF-8", "PROMPT_TOOLKIT_COLOR_DEPTH": "DEPTH_4_BIT"}
        os.chdir(os.path.dirname(path))
        os.execvpe(sys.executable, [sys.executable, "-m", "lsmcli", os.path.basename(path)], environment)
    screen.terminal = terminal
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    for keys in ["", *KEYS]:
        os.write(terminal, keys.encode())
        quiet_since = time.monotonic()
        while time.monotonic() - quiet_since < 1.0:
            if select.select([terminal], [], [], 0.1)[0]:
                stream.feed(os.read(terminal, 65536))
                quiet_since = time.monotonic()
    os.close(terminal)
    os.waitpid(child, 0)
    return screen


def svg_of(screen: pyte.Screen) -> str:
    """The screen as a picture: a text for each run of cells that look alike."""
    width, height = COLUMNS * CELL_WIDTH + 2 * MARGIN, ROWS * CELL_HEIGHT + 2 * MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}">',
        '<g font-size="14" font-family="ui-monospace, Menlo, Consolas, monospace">',
        f'<rect width="100%" height="100%" rx="8" fill="{BACKGROUND}"/>',
    ]
    for row in range(ROWS):
        cells = [(column, screen.buffer[row][column]) for column in range(COLUMNS)]
        for look, group in groupby(cells, lambda cell: cell[1]._replace(data="")):
            run = list(group)
            text = "".join(cell.data for _, cell in run)
            x, y = MARGIN + run[0][0] * CELL_WIDTH, MARGIN + row * CELL_HEIGHT
            fore, back = COLORS.get(look.fg, FOREGROUND), COLORS.get(look.bg, BACKGROUND)
            if look.reverse:
                fore, back = back, fore
            if back != BACKGROUND:
                size = f'width="{len(text) * CELL_WIDTH:.1f}" height="{CELL_HEIGHT}"'
                parts.append(f'<rect x="{x:.1f}" y="{y}" {size} fill="{back}"/>')
            if text.strip():
                style = ' font-weight="bold"' if look.bold else ""
                style += ' text-decoration="underline"' if look.underscore else ""
                place = f'x="{x:.1f}" y="{y + 13}" textLength="{len(text) * CELL_WIDTH:.1f}"'
                parts.append(f'<text {place} fill="{fore}"{style} xml:space="preserve">{escape(text)}</text>')
    return "\n".join([*parts, "</g>", "</svg>"]) + "\n"


def main() -> None:
    """Draw the session into the file that is named."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "users.lsm")
        subprocess.run([sys.executable, "-m", "lsmcli", path], input=DATA.encode(), check=True)
        Path(sys.argv[1]).write_text(svg_of(screen_of(path, folder)), "utf-8")


if __name__ == "__main__":
    main()
