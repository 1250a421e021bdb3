"""The simulated disk itself: what a crash leaves of it, and what each of its faults does."""

import random

import pytest

from lsmcli.engine.errors import NoSpaceError, OutcomeUnknownError
from tests.testing.storage import Fault, SimulatedStorage


class TestSimulatedStorage:
    def test_power_failure_keeps_any_subset_of_unsynced_sectors(self) -> None:
        storage = SimulatedStorage(b"." * 2048)
        storage.write(500, b"a" * 600)
        assert [(offset, len(data or b"")) for offset, data in storage.units()] == [(500, 12), (512, 512), (1024, 76)]
        for keep in range(8):
            image = storage.crash(keep).image
            assert image[500:1100] == b"".join(
                (b"a" if keep >> i & 1 else b".") * size for i, size in enumerate((12, 512, 76))
            )
        storage.sync()
        assert storage.crash(0).image == storage.image

    def test_power_failure_may_lose_a_change_of_length(self) -> None:
        storage = SimulatedStorage(b"..")
        storage.allocate(600)
        storage.write(1, b"a" * 3)
        assert [len(storage.crash(keep).image) for keep in range(4)] == [2, 600, 4, 600]
        assert storage.crash(-1).image == storage.image

    def test_kill_keeps_everything_but_makes_nothing_durable(self) -> None:
        storage = SimulatedStorage(b"..")
        storage.faults = {1: Fault.WRITE_FAILS}
        storage.write(0, b"a")
        with pytest.raises(OutcomeUnknownError):
            storage.write(1, b"b")
        with pytest.raises(OutcomeUnknownError):
            storage.sync()
        again = storage.reopen()
        assert again.image == b"a."
        assert again.crash(0).image == b".."
        again.sync()
        assert again.crash(0).image == b"a."
        assert storage.crash(0).image == b".."

    @pytest.mark.parametrize(("fault", "read", "on_disk"), [
        (Fault.WRITE_FAILS, b"....", b"...."), (Fault.WRITE_TORN, b"ab..", b"ab.."),
        (Fault.WRITE_LOST, b"abcd", b"...."), (Fault.NO_SPACE, b"....", b"...."),
    ])  # fmt: skip
    def test_faults_of_a_write(self, fault: Fault, read: bytes, on_disk: bytes) -> None:
        storage = SimulatedStorage(b"....")
        storage.faults = {0: fault}
        try:
            storage.write(0, b"abcd")
        except (OutcomeUnknownError, NoSpaceError):
            assert fault is not Fault.WRITE_LOST
        assert storage.read(0, 4) == read
        assert storage.crash(-1).image == on_disk

    @pytest.mark.parametrize(("fault", "read"), [(Fault.SYNC_KEEPS, b"a."), (Fault.SYNC_REVERTS, b"..")])
    def test_faults_of_a_sync(self, fault: Fault, read: bytes) -> None:
        storage = SimulatedStorage(b"..")
        storage.faults = {1: fault}
        storage.write(0, b"a")
        with pytest.raises(OutcomeUnknownError):
            storage.sync()
        again = storage.reopen()
        again.sync()
        assert again.image == read
        assert again.crash(-1).image == b".."

    def test_same_seed_same_crash(self) -> None:
        storage = SimulatedStorage(bytes(100_000))
        storage.write(0, b"a" * 100_000)
        images = {bytes(storage.crash(random.Random(seed)).image) for seed in range(20)}
        assert len(images) > 5
        assert storage.fork().crash(random.Random(3)).image == storage.crash(random.Random(3)).image
