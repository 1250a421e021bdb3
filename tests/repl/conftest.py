"""The data file of a test, as the tests of commands have it."""

from tests.commands.conftest import lsm

__all__ = ["lsm"]
