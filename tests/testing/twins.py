"""The two forms of a hot module: its source as it is, and what was compiled from it where a compiler was at hand.

    @pytest.mark.parametrize("loops", twins("lsmcli.engine.entry_order"))
    def test_something(loops: ModuleType) -> None: ...      # runs on both

A compiled form that is older than its source fails the test instead of proving something about yesterday's code.
"""

import importlib.util
import os
from types import ModuleType
from unittest import mock

import pytest


def interpreted(name: str) -> ModuleType:
    """The module as its source says, whether or not there is compiled code."""
    spec = importlib.util.find_spec(name)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with mock.patch("lsmcli.engine.uncompiled.PURE", True):
        spec.loader.exec_module(module)
    assert not module.COMPILED
    return module


def compiled(name: str) -> ModuleType | None:
    """The module that was built from the source, if it was."""
    package, _, module = name.rpartition(".")
    spec = importlib.util.find_spec(f"{package}._{module}")
    if spec is None:
        return None
    source = importlib.util.find_spec(name)
    assert source is not None and source.origin is not None and spec.origin is not None
    fresh = os.stat(spec.origin).st_mtime >= os.stat(source.origin).st_mtime
    assert fresh, f"{name} was changed after it was compiled: make compiled"
    twin = importlib.import_module(f"{package}._{module}")
    assert twin.COMPILED
    return twin


def twins(name: str) -> list[object]:
    """Parameters for a test that is to run on both; the compiled one is skipped where it is not built."""
    twin = compiled(name)
    built = pytest.param(twin, id="compiled", marks=() if twin else pytest.mark.skip("not compiled here"))
    return [pytest.param(interpreted(name), id="interpreted"), built]
