"""What the command line says of a damaged file: one line, exit status 4."""

import random
from pathlib import Path

import pytest

from tests.testing.command_line import Lsm
from tests.testing.sample import Sample, assert_right_or_damage, sample_of
from tests.testing.storage import SimulatedStorage


@pytest.fixture(scope="module")
def sample() -> Sample:
    return sample_of(random.Random(1))


@pytest.mark.parametrize("zone", ["wal", "index", "value"])
def test_the_command_line_tells_of_damage_in_one_line(
    sample: Sample, zone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = SimulatedStorage(sample.image)
    places = [used for name, used in sample.zones if name == zone]
    for bit in (8 * byte for used in places for byte in range(used.start, used.stop, max(1, len(used) // 12))):
        storage.flip(bit)
        if assert_right_or_damage(sample, storage):
            path = tmp_path / "flipped.lsm"
            path.write_bytes(bytes(storage.image))
            lsm = Lsm(path, monkeypatch)
            results = [lsm("scan"), lsm("scan", "--tree", "apple"), lsm("scan", "--tree", "berry")]
            assert 4 in {result.code for result in results}
            for result in results:
                assert result.code in (0, 4)
                assert len(result.err.splitlines()) == (result.code == 4)
            break
        storage.flip(bit)
    else:
        pytest.fail(f"no flip in zone {zone} was noticed")
