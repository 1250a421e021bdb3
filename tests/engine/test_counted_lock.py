"""The lock that tells whether anybody is inside."""

import threading

import pytest

from lsmcli.engine.counted_lock import CountedLock


def test_its_depth_says_how_often_its_owner_is_inside() -> None:
    lock = CountedLock()
    assert lock.depth == 0
    with lock:
        lock.acquire()
        assert lock.depth == 2
        lock.release()
        assert lock.depth == 1
    assert lock.depth == 0


def test_who_does_not_own_it_cannot_release_it() -> None:
    lock = CountedLock()
    with pytest.raises(RuntimeError):
        lock.release()
    assert lock.depth == 0

    def release() -> None:
        with pytest.raises(RuntimeError):
            lock.release()

    with lock:
        thread = threading.Thread(target=release)
        thread.start()
        thread.join()
        assert lock.depth == 1
    assert lock.depth == 0


def test_one_thread_at_a_time_is_inside() -> None:
    lock, depths = CountedLock(), set()

    def enter() -> None:
        for _ in range(2000):
            with lock:
                depths.add(lock.depth)

    threads = [threading.Thread(target=enter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert depths == {1}
    assert lock.depth == 0
