"""redis-cli --pipe into a real server on the loopback interface, and what the server itself writes to its log."""

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.interop.conftest import BINARY, Ours, Pairs, Tool, many

ToolOf = Callable[[str], Tool]
HOST = "127.0.0.1"


class Server:
    """A server of the test's own: a free port, nothing kept but an append-only file."""

    def __init__(self, program: Tool, directory: Path) -> None:
        with socket.socket() as free:
            free.bind((HOST, 0))
            self.port = str(free.getsockname()[1])
        directory.mkdir()
        settings = {"port": self.port, "bind": HOST, "dir": str(directory), "save": "", "appendonly": "yes"}
        settings |= {"appendfsync": "no", "aof-use-rdb-preamble": "no", "loglevel": "warning"}
        words = [word for name, value in settings.items() for word in (f"--{name}", value)]
        self.process = subprocess.Popen([program.path, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline_s = time.monotonic() + 20
        while True:
            assert self.process.poll() is None, "the server ended"
            try:
                self.connection = socket.create_connection((HOST, int(self.port)), timeout=20)
                break
            except ConnectionRefusedError:
                assert time.monotonic() < deadline_s, "the server does not answer"
                time.sleep(0.02)
        self.stream = self.connection.makefile("rwb")

    def ask(self, *words: bytes) -> object:
        """The reply to a command, spoken without any code of ours."""
        self.stream.write(b"*%d\r\n" % len(words))
        for word in words:
            self.stream.write(b"$%d\r\n" % len(word) + word + b"\r\n")
        self.stream.flush()
        return self.reply()

    def reply(self) -> object:
        line = self.stream.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b"$":
            data = self.stream.read(int(rest) + 2)
            return data[:-2]
        if kind == b"*":
            return [self.reply() for _ in range(int(rest))]
        assert kind in (b"+", b":"), line
        return rest

    def pairs(self) -> Pairs:
        """All that the server holds."""
        keys = self.ask(b"KEYS", b"*")
        assert isinstance(keys, list)
        values = self.ask(b"MGET", *keys)
        assert isinstance(values, list)
        return sorted(zip(keys, values, strict=True))

    def stop(self) -> None:
        self.stream.close()
        self.connection.close()
        self.process.terminate()
        self.process.wait(timeout=20)


@pytest.fixture
def server(tool: ToolOf, tmp_path: Path) -> Iterator[Server]:
    """A server that ends with the test."""
    running = Server(tool("redis-server"), tmp_path / "redis")
    yield running
    running.stop()


@pytest.mark.parametrize("pairs", [BINARY, many(5_000)], ids=["awkward", "many"])
def test_what_we_export_comes_back_through_redis(
    server: Server, tool: ToolOf, ours: Ours, tmp_path: Path, pairs: Pairs
) -> None:
    commands = ours.export(pairs, "ours.resp", name="resp")
    said = tool("redis-cli")("-h", HOST, "-p", server.port, "--pipe", stdin=commands.read_bytes())
    assert said.endswith(b"errors: 0, replies: %d\n" % len(pairs))
    assert server.pairs() == pairs
    # What the server wrote to its append-only file are commands as it understood them.
    server.ask(b"DEL", pairs[0][0], pairs[1][0])
    server.stop()
    log = b"".join(path.read_bytes() for path in sorted((tmp_path / "redis" / "appendonlydir").glob("*.incr.aof")))
    assert ours.imported(log, name="resp") == pairs[2:]
