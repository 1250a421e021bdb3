"""What tests of the engine on the real disk share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lsmcli.engine.storage import FileStorage
from tests.testing.real_file import HEAD


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "users.lsm")


@pytest.fixture
def file(path: str) -> Iterator[FileStorage]:
    storage = FileStorage.create(path, HEAD)
    yield storage
    storage.close()
