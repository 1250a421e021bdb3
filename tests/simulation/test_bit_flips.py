"""One flipped bit anywhere: right answers, or an error that says so. Never a wrong value, and no key that is not there.

A small file with every zone in use, closed cleanly. Each byte that is used is flipped in one bit, each
byte that is not now and then; the file is opened for reading and everything in it is asked for:

    superblock, manifest, free set      all answers are right: there are copies
    WAL, index, value, large value      right, or DamageError
    lock sector, unused bytes           all answers are right
"""

import random
from pathlib import Path
from typing import NamedTuple

import pytest

from lsmcli.engine import constants
from lsmcli.engine.database import Database
from lsmcli.engine.errors import DamageError
from lsmcli.engine.grid import ZONE_BY_KIND
from lsmcli.engine.schema import BLOCK_HEADER, SUPERBLOCK, SUPERBLOCK_COPY_HEAD, BlockKind
from tests.testing.command_line import Lsm
from tests.testing.model import MAIN, Model
from tests.testing.operations import (
    BLOCK_SIZE,
    Profile,
    Run,
    assert_holds,
    contents,
    draw_profile,
    new_storage,
    open_database_on,
)
from tests.testing.storage import SimulatedStorage

REPAIRED = {"superblock", "manifest", "free set"}
HARMLESS = {"lock", "unused"}
ABSENT = (b"\0", b"absent", b"key 07\0", b"\xff" * 9)
UNUSED_SAMPLES = 300
THOROUGH = 12  # every so many flips all questions are asked, else a scan and many lookups at once


class Sample(NamedTuple):
    """A file, what it holds, and which bytes of it are in use for what."""

    image: bytes
    profile: Profile
    model: Model
    zones: list[tuple[str, range]]


def _sample() -> Sample:
    profile = draw_profile(random.Random(1), memory_size=4096, growth_factor=2, cache_size=0)
    model = Model()
    run = Run(new_storage(profile), profile, model)
    for name in ("apple", "berry"):
        run._create_tree(name)
    for i in range(30):
        run._put(MAIN, [(b"key %02d" % i, b"value %d" % i)])
    run._put("apple", [(b"large", bytes(range(256)) * 8 + b"."), (b"empty", b""), (b"gone", b"soon")])
    run._checkpoint()
    run._put(MAIN, [(b"key 03", None), (b"key 04", b"new")])
    run._put("apple", [(b"gone", None)])
    run._checkpoint()
    for i in range(28, 33):
        run._put(MAIN, [(b"key %02d" % i, b"in the log %d" % i)])
    run._put("berry", [(b"large", b"another" * 293), (b"small", b"one")])
    run._put(MAIN, [(b"key 05", None)])
    log = run.database.forest.file.wal
    zones = [("wal", range(log.offset + log.start.position, log.offset + log.position))]
    run.close()
    image = bytes(run.storage.image)
    return Sample(image, profile, model, _zones(image, zones))


def _zones(image: bytes, zones: list[tuple[str, range]]) -> list[tuple[str, range]]:
    for copy in range(constants.SUPERBLOCK_COPIES):
        offset = constants.superblock_copy_offset(copy)
        zones.append(("superblock", range(offset, offset + SUPERBLOCK_COPY_HEAD.size + SUPERBLOCK.size)))
    zones.append(("lock", range(constants.LOCK_OFFSET, constants.LOCK_OFFSET + 64)))
    for offset in range(constants.GRID_OFFSET, len(image), BLOCK_SIZE):
        header = BLOCK_HEADER.unpack(image, offset)
        if header.size:
            zones.append((ZONE_BY_KIND[BlockKind(header.kind)], range(offset, offset + header.size)))
    return zones


@pytest.fixture(scope="module")
def sample() -> Sample:
    found = _sample()
    assert {zone for zone, _ in found.zones} == {"superblock", "lock", "wal", *ZONE_BY_KIND.values()}
    return found


def _opened(sample: Sample, storage: SimulatedStorage) -> Database:
    return open_database_on(storage, sample.profile, writable=False)


def assert_right_or_damage(sample: Sample, storage: SimulatedStorage, *, thorough: bool = True) -> int:
    """Asks for everything, thoroughly in all ways; returns how many questions were answered by a DamageError."""
    state = sample.model.state
    try:
        database = _opened(sample, storage)
        names = database.trees()
    except DamageError:
        return 1
    assert set(names) == set(state.trees)
    damages = 0
    for name, tree in state.trees.items():
        keyspace = database.tree(name)
        for reverse in (False, True) if thorough else (False,):
            wanted = sorted(tree.items(), reverse=reverse)
            found = []
            try:
                for pair in keyspace.scan(reverse=reverse):
                    found.append(pair)  # noqa: PERF402  # what came before the error counts
                assert len(found) == len(wanted)
            except DamageError:
                damages += 1
            assert found == wanted[: len(found)]
        for key in (*tree, *ABSENT) if thorough else ():
            try:
                assert keyspace.get(key) == tree.get(key)
            except DamageError:
                damages += 1
        try:
            assert keyspace.get_many([*ABSENT, *tree]) == [None] * len(ABSENT) + list(tree.values())
        except DamageError:
            damages += 1
    return damages


def _flips(sample: Sample, zones: set[str], share: int, of: int) -> list[tuple[str, int]]:
    """Zone and bit of every used byte, one bit of each; a part of them, so that workers can share."""
    rng = random.Random(2)
    flips = [(zone, 8 * byte + rng.randrange(8)) for zone, used in sample.zones if zone in zones for byte in used]
    return flips[share::of]


def _check(sample: Sample, flips: list[tuple[str, int]]) -> None:
    storage = SimulatedStorage(sample.image)
    noticed = 0
    for number, (zone, bit) in enumerate(flips):
        storage.flip(bit)
        try:
            damages = assert_right_or_damage(sample, storage, thorough=number % THOROUGH == 0)
            assert damages == 0 or zone not in REPAIRED | HARMLESS, f"{damages} questions are not answered"
            noticed += damages > 0
        except Exception as error:
            error.add_note(f"bit {bit % 8} of byte {bit // 8} ({zone})")
            raise
        storage.flip(bit)
    assert storage.image == sample.image
    assert noticed or flips[0][0] in REPAIRED | HARMLESS


@pytest.mark.parametrize("zone", ["superblock", "lock", "wal", *sorted(ZONE_BY_KIND.values())])
@pytest.mark.parametrize("share", range(2))
def test_a_flipped_bit_gives_no_wrong_answer(sample: Sample, zone: str, share: int) -> None:
    _check(sample, _flips(sample, {zone}, share, 2))


def test_a_flipped_bit_where_nothing_is_stored_does_no_harm(sample: Sample, rng: random.Random) -> None:
    used = {byte for zone, used in sample.zones for byte in used}
    unused = rng.sample([byte for byte in range(len(sample.image)) if byte not in used], UNUSED_SAMPLES)
    _check(sample, [("unused", 8 * byte + rng.randrange(8)) for byte in unused])


def test_a_writer_repairs_what_has_copies(sample: Sample, rng: random.Random) -> None:
    for zone, bit in rng.sample(_flips(sample, REPAIRED, 0, 1), 60):
        storage = SimulatedStorage(sample.image)
        storage.flip(bit)
        database = open_database_on(storage, sample.profile)
        database.checkpoint()
        database.close()
        again = _opened(sample, SimulatedStorage(storage.image))
        assert contents(again) == sample.model.trees, f"bit {bit} ({zone})"


def test_the_sample_itself_is_whole(sample: Sample) -> None:
    assert_holds(_opened(sample, SimulatedStorage(sample.image)), sample.model.state)


@pytest.mark.parametrize("zone", ["wal", "index", "value"])
def test_the_command_line_tells_of_damage_in_one_line(
    sample: Sample, zone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = SimulatedStorage(sample.image)
    used = next(used for name, used in reversed(sample.zones) if name == zone)
    for bit in range(8 * used.start, 8 * used.stop, 8 * max(1, len(used) // 12)):
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
