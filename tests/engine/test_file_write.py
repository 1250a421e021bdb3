"""The write of a storage, interpreted and compiled, on real descriptors; what failures mean is in test_storage."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.testing.twins import twins

both = pytest.mark.parametrize("module", twins("lsmcli.engine.file_write"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file"


@pytest.fixture
def fd(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    yield fd
    os.close(fd)


def writer_of(module: ModuleType, fd: int) -> Any:
    writer = module.FileWriter()
    writer._fd, writer._refuses, writer.bytes_written = fd, False, 0
    return writer


@both
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_writes_where_it_is_told_and_counts(module: ModuleType, fd: int, path: Path, kind: type) -> None:
    writer = writer_of(module, fd)
    writer.write(5, kind(b"world"))
    writer.write(0, kind(b"hello"))
    writer.write(10, kind(b""))
    assert path.read_bytes() == b"helloworld"
    assert writer.bytes_written == 10


@both
def test_writes_beyond_four_gigabytes(module: ModuleType, fd: int, path: Path) -> None:
    writer_of(module, fd).write(5 << 30, b"far")
    assert path.stat().st_size == (5 << 30) + 3


@both
def test_a_refusal_and_a_failure_are_told_with_their_number(module: ModuleType, fd: int) -> None:
    writer = writer_of(module, fd)
    writer._refuses = True
    with pytest.raises(OSError, match="not open for writing"):
        writer.write(0, b"x")
    with pytest.raises(OSError, match="Bad file descriptor") as raised:
        writer_of(module, -1).write(0, b"x")
    assert raised.value.errno == errno.EBADF
    full = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(OSError, match="No space left") as raised:
        writer_of(module, full).write(0, b"x")
    assert raised.value.errno == errno.ENOSPC
    os.close(full)


@both
def test_who_replaces_the_call_of_the_system_is_asked(
    module: ModuleType, fd: int, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: real(fd, data[:2], offset))
    with pytest.raises(OSError, match="2 bytes were stored, not 5"):
        writer_of(module, fd).write(0, b"hello")
    assert path.read_bytes() == b"he"
