"""A second thread: it waits, it ends when it is told to, and a forked child does not wait for it. What it does when
there is work is told in test_piece_merge."""

import gc
import os
from types import ModuleType

import pytest

from tests.testing.twins import compiled, interpreted

MODULE = "lsmcli.engine.second_thread"

fast = compiled(MODULE)
compiled_only = pytest.mark.skipif(fast is None, reason="not compiled here")


def threads() -> set[str]:
    """The threads of this process, those that the interpreter does not know of included."""
    return set(os.listdir("/proc/self/task"))


@pytest.fixture
def loops() -> ModuleType:
    assert fast is not None
    return fast


@compiled_only
def test_it_ends_when_it_is_stopped_or_forgotten(loops: ModuleType) -> None:
    before = threads()
    thread = loops.SecondThread()
    assert thread.start()
    assert len(threads() - before) == 1
    assert not thread.take_back()  # there is nothing to take
    thread.wait()  # for nothing: at once
    thread.stop()
    thread.stop()
    assert thread.start(), "it may be started again"
    del thread
    gc.collect()
    for _ in range(100):
        assert loops.SecondThread().start()
    loops.SecondThread().stop()


@compiled_only
def test_it_yields_the_processor_where_the_system_allows(loops: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = os.sched_getscheduler(0)
    assert loops.SecondThread().start()
    assert os.sched_getscheduler(0) == policy

    def refused(pid: int, policy: int, param: os.sched_param) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refused)
    assert loops.SecondThread().start()


@compiled_only
def test_a_forked_child_has_none_to_stop(loops: ModuleType) -> None:
    thread = loops.SecondThread()
    assert thread.start()
    pid = os.fork()
    if pid == 0:
        thread.stop()
        del thread
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    thread.stop()


def test_interpreted_there_is_none() -> None:
    thread = interpreted(MODULE).SecondThread()
    assert not thread.start()
