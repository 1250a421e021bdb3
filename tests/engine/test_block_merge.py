"""Packed entries that are to be merged: no byte of a bad block is believed."""

import random
from types import ModuleType
from typing import Any

import pytest

from lsmcli.engine.columns import Columns
from lsmcli.engine.entry_pack import pack_entries
from lsmcli.engine.schema import CHAIN_REFERENCE, FLAG_LARGE
from tests.testing.tables import columns_from, items_random
from tests.testing.twins import compiled, interpreted

MODULE = "lsmcli.engine.block_merge"
LARGE_SIZE = CHAIN_REFERENCE.size

fast = compiled(MODULE)
compiled_only = pytest.mark.skipif(fast is None, reason="not compiled here")


def run(loops: ModuleType, columns: Columns, width: int = 2) -> Any:
    _, _, packed = pack_entries(*columns, width)
    return loops.run_of(packed, 0, len(columns.keys), width, 4096, LARGE_SIZE)


@compiled_only
def test_sound_columns_are_a_run_and_no_others(rng: random.Random) -> None:
    assert fast is not None
    columns = columns_from(items_random(rng, 20))
    _, _, packed = pack_entries(*columns, 2)
    sound = fast.run_of(packed, 0, 20, 2, 4096, LARGE_SIZE)
    assert sound.figures() == (20, columns.flags.count(1), columns.flags.count(FLAG_LARGE))
    assert sound.edges() == (columns.keys[0], columns.keys[-1])
    assert fast.run_of(packed + b"x", 0, 20, 2, 4096, LARGE_SIZE) is None
    assert fast.run_of(packed[:-1], 0, 20, 2, 4096, LARGE_SIZE) is None
    assert fast.run_of(packed, 0, 1 << 40, 2, 4096, LARGE_SIZE) is None
    assert fast.run_of(packed, 0, 20, 2, max(map(len, columns.keys)) - 1, LARGE_SIZE) is None
    assert fast.run_of(packed, 0, 20, 2, 4096, LARGE_SIZE + 1) is None or not columns.flags.count(FLAG_LARGE)
    swapped = Columns([b"b", b"a"], [b"", b""], b"\0\0")
    assert run(fast, swapped) is None
    assert run(fast, Columns([b""], [b""], b"\0")) is None
    assert run(fast, Columns([b"a"], [b"1"], b"\1")) is None, "a tombstone with a value"
    assert run(fast, Columns([b"a"], [b"1"], b"\3")) is None, "unknown flags"


@compiled_only
def test_no_bytes_make_a_run_read_outside_of_them(rng: random.Random) -> None:
    """What is accepted are columns of entries like any others; most of it is refused."""
    packing = compiled("lsmcli.engine.entry_pack")
    assert fast is not None
    assert packing is not None
    columns = columns_from([(b"a%d" % i, b"v" * i) for i in range(8)])
    _, _, packed = pack_entries(*columns, 2)
    refused = 0
    for _ in range(3_000):
        bad = bytearray(packed)
        for _ in range(rng.randrange(1, 4)):
            bad[rng.randrange(len(bad))] = rng.choice((0, 1, 2, 255, rng.randrange(256)))
        found = fast.run_of(bytes(bad), 0, 8, 2, 4096, LARGE_SIZE)
        if found is None:
            refused += 1
            continue
        assert found.parts() == (bytes(bad), 0, 8, 2)
        keys, values = packing.unpack_entries(bytes(bad), 0, 8, 2, 0, 8, 4096)
        assert pack_entries(keys, values, bytes(bad[36:44]), 2)[2] == bytes(bad)
    assert 0 < refused < 3_000


def test_interpreted_there_are_no_runs(rng: random.Random) -> None:
    assert run(interpreted(MODULE), columns_from(items_random(rng, 20))) is None
