"""A bulk load that merges packed entries leaves the same file, byte for byte, as one that merges lists of them."""

import random

import pytest

from lsmcli.engine import block_merge, bulk_install
from lsmcli.engine.bulk_packed import goes_packed
from tests.testing.bulk import MEMORY_SIZE, Entries, add_all, go
from tests.testing.operations import draw_profile, new_storage, open_database_on

if not block_merge.COMPILED:
    pytest.skip("only compiled code merges packed entries", allow_module_level=True)

PROFILE = draw_profile(random.Random("packed"), growth_factor=2, cache_size=64 * 1024)


def _entries(rng: random.Random, count: int, size_max: int) -> Entries:
    keys = [b"%05d" % rng.randrange(2 * count) for _ in range(count)]
    return [(key, rng.randbytes(rng.randrange(size_max))) for key in keys]


def _file_of(loads: list[Entries], monkeypatch: pytest.MonkeyPatch, packed: bool) -> tuple[bytes, list[int]]:
    """The whole file behind these loads, and how often each kind of merge was asked for: lists, packed."""
    asked = [0, 0]

    def decide(**case: object) -> bool:
        answer = packed and goes_packed(**case)  # type: ignore[arg-type]  # passed on
        asked[answer] += 1
        return answer

    with monkeypatch.context() as patch:
        go("tables", patch)
        patch.setattr(bulk_install, "goes_packed", decide)
        storage = new_storage(PROFILE)
        database = open_database_on(storage, PROFILE)
        for entries in loads:
            with database.bulk_load(memory_size=MEMORY_SIZE, on_conflict="replace") as load:
                add_all(load, "main", entries)
        database.close()
    closed = storage.reopen()
    return closed.read(0, closed.size()), asked


@pytest.mark.parametrize("size_max", [30, 5000])
@pytest.mark.parametrize("counts", [[1000], [3000], [2000, 900, 1500]])
def test_the_same_file(counts: list[int], size_max: int, rng: random.Random, monkeypatch: pytest.MonkeyPatch) -> None:
    loads = [_entries(rng, count, size_max) for count in counts]
    packed, asked = _file_of(loads, monkeypatch, packed=True)
    lists, _ = _file_of(loads, monkeypatch, packed=False)
    assert packed == lists
    assert asked[True] == len(counts), "each of the loads was merged packed"


def test_what_goes_packed() -> None:
    case = {"spilled": True, "tombstones": False, "existing": True, "fences": [], "on_conflict": "replace"}
    assert goes_packed(**case)  # type: ignore[arg-type]
    for other in ({"spilled": False}, {"tombstones": True}, {"fences": [b"k"]}, {"on_conflict": "skip"}):
        assert not goes_packed(**{**case, **other})  # type: ignore[arg-type]
        assert goes_packed(**{**case, **other, "existing": False}) == (  # type: ignore[arg-type]
            "spilled" not in other and "fences" not in other
        )
