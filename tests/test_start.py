"""Starting up: the garbage collector sleeps while modules are imported, and not a moment longer."""

import gc

import pytest

from lsmcli.start import importing


def test_nothing_is_collected_while_importing() -> None:
    assert gc.isenabled()
    with importing():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_an_import_that_fails_wakes_the_collector_too() -> None:
    with pytest.raises(ImportError), importing():
        raise ImportError
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with importing():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
