"""The free set against a dict of states: examples, every short run of steps, long seeded ones."""

import itertools
import random
import struct
from collections.abc import Iterator

import pytest

from lsmcli.engine import free_set as free_sets
from lsmcli.engine.errors import DamageError
from lsmcli.engine.free_set import BLOCK_COUNT_MAX, FreeSet, Reservation


@pytest.fixture(autouse=True)
def verify(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(free_sets, "VERIFY", True)


def picture(free_set: FreeSet) -> str:
    """A letter per block: "." free, r reserved, A acquired, x released, q quarantined."""
    return "".join(".rAxq"[state] for state in free_set._states)


def pictured(picture: str) -> FreeSet:
    """The free set that a picture of "." and "A" shows."""
    free_set = FreeSet(len(picture))
    for address, letter in enumerate(picture, 1):
        if letter == "A":
            free_set.mark_acquired(address)
    return free_set


def reserved(free_set: FreeSet, count: int) -> Reservation:
    reservation = free_set.reserve(count)
    assert reservation is not None
    return reservation


def test_a_block_lives_through_every_state() -> None:
    free_set = FreeSet(3)
    reservation = reserved(free_set, 2)
    assert picture(free_set) == "rr."
    assert free_set.acquire(reservation) == 1
    assert picture(free_set) == "Ar."
    free_set.forfeit(reservation)
    assert picture(free_set) == "A.."
    free_set.release(1)
    assert picture(free_set) == "x.."
    free_set.checkpoint_durable(graduate=True)
    assert picture(free_set) == "q.."
    free_set.checkpoint_durable(graduate=True)
    assert picture(free_set) == "..."


def test_what_was_released_since_the_last_checkpoint_waits_for_two() -> None:
    free_set = pictured("AA")
    free_set.release(1)
    free_set.checkpoint_durable(graduate=True)
    free_set.release(2)
    free_set.checkpoint_durable(graduate=True)
    assert picture(free_set) == ".q"


def test_a_reader_in_this_process_keeps_everything_in_quarantine() -> None:
    free_set = pictured("AA")
    free_set.release(1)
    free_set.checkpoint_durable(graduate=False)
    free_set.release(2)
    free_set.checkpoint_durable(graduate=False)
    assert picture(free_set) == "qq"
    assert (free_set.count_free, free_set.count_released) == (0, 2)
    free_set.checkpoint_durable(graduate=True)
    assert picture(free_set) == ".."


def test_reservations_take_the_lowest_blocks_and_do_not_mix() -> None:
    free_set = pictured("A.A....")
    one, two = reserved(free_set, 2), reserved(free_set, 2)
    assert [free_set.acquire(r) for r in (two, one, one, two)] == [5, 2, 4, 6]
    assert picture(free_set) == "AAAAAA."


def test_a_reservation_that_does_not_fit_changes_nothing() -> None:
    free_set = pictured("A..")
    assert free_set.reserve(3) is None
    assert picture(free_set) == "A.."
    assert len(reserved(free_set, 0)) == 0


def test_forfeiting_twice_is_harmless() -> None:
    free_set = FreeSet(4)
    reservation = reserved(free_set, 3)
    free_set.acquire(reservation)
    free_set.forfeit(reservation)
    free_set.forfeit(reservation)
    assert picture(free_set) == "A..."
    assert len(reservation) == 0


@pytest.mark.parametrize(
    ("before", "count", "first", "after"),
    [
        ("A.A..A...", 1, 2, "AAA..A..."),
        ("A.A..A...", 2, 4, "A.AAAA..."),
        ("A.A..A...", 3, 7, "A.A..AAAA"),
        ("A.A..A...", 4, None, "A.A..A..."),
        ("", 1, None, ""),
    ],
)
def test_an_extent_takes_the_first_gap_that_is_wide_enough(
    before: str, count: int, first: int | None, after: str
) -> None:
    free_set = pictured(before)
    assert free_set.acquire_extent(count) == first
    assert picture(free_set) == after


@pytest.mark.parametrize(
    ("blocks", "runs"),
    [
        ("", []),
        ("....", []),
        ("A", [0, 1]),
        ("A...", [0, 1]),
        ("..AAA..A..", [2, 3, 2, 1]),
        (".AAA", [1, 3]),
    ],
)
def test_run_lengths_of_the_encoded_set(blocks: str, runs: list[int]) -> None:
    encoded = pictured(blocks).encode()
    assert encoded == struct.pack(f"<{len(runs)}I", *runs)
    assert picture(FreeSet.open(len(blocks), encoded)) == blocks


def test_only_acquired_blocks_are_used_for_who_opens_the_file() -> None:
    free_set = pictured("AAAAAA")
    free_set.release(1)
    free_set.checkpoint_durable(graduate=True)
    free_set.release(3)
    free_set.grow(8)
    reserved(free_set, 1)
    assert picture(free_set) == "qAxAAAr."
    assert picture(FreeSet.open(8, free_set.encode())) == ".A.AAA.."


def test_a_grid_that_grew_after_encoding_has_free_blocks_at_its_end() -> None:
    encoded = pictured("A.A").encode()
    assert picture(FreeSet.open(6, encoded)) == "A.A..."


@pytest.mark.parametrize(
    ("block_count", "encoded"),
    [
        (3, struct.pack("<II", 0, 4)),
        (3, struct.pack("<II", 3, 1)),
        (3, struct.pack("<II", 0xFFFF_FFFF, 0xFFFF_FFFF)),
        (3, struct.pack("<II", 0, 0)),
        (3, struct.pack("<IIII", 0, 1, 0, 1)),
        (3, struct.pack("<I", 3)),
        (3, b"\x00"),
        (BLOCK_COUNT_MAX + 1, b""),
        (1 << 63, b""),
    ],
)
def test_a_set_that_does_not_add_up_is_damage(block_count: int, encoded: bytes) -> None:
    with pytest.raises(DamageError) as caught:
        FreeSet.open(block_count, encoded)
    assert caught.value.zone == "free set"
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("blocks", "trailing"), [("", 0), ("...", 3), ("A..", 2), ("..A", 0), ("A.A.", 1)])
def test_the_end_can_be_cut_and_grown_again(blocks: str, trailing: int) -> None:
    free_set = pictured(blocks)
    assert free_set.trailing_free() == trailing
    free_set.shrink(trailing)
    assert picture(free_set) == blocks.rstrip(".")
    free_set.grow(len(blocks))
    assert picture(free_set) == blocks


def test_blocks_that_wait_are_not_cut() -> None:
    free_set = pictured("AA.")
    free_set.release(2)
    assert free_set.trailing_free() == 1
    free_set.checkpoint_durable(graduate=True)
    assert free_set.trailing_free() == 1
    free_set.checkpoint_durable(graduate=True)
    assert free_set.trailing_free() == 2


def test_the_acquired_blocks_in_order() -> None:
    free_set = pictured("A..AA")
    assert list(free_set.acquired_addresses()) == [1, 4, 5]
    assert [free_set.is_acquired(address) for address in range(1, 6)] == [True, False, False, True, True]
    assert [free_set.is_free(address) for address in range(1, 6)] == [False, True, True, False, False]


@pytest.mark.parametrize("letters", ["x", "q", ".", "r"])
def test_a_block_that_is_not_acquired_cannot_be_released(letters: str) -> None:
    free_set = FreeSet(1)
    if letters == "r":
        reserved(free_set, 1)
    if letters in "xq":
        free_set.mark_acquired(1)
        free_set.release(1)
    if letters == "q":
        free_set.checkpoint_durable(graduate=True)
    assert picture(free_set) == letters
    with pytest.raises(AssertionError):
        free_set.release(1)


class Model:
    """The same thing, naively: a dict of letters, and reservations as lists."""

    def __init__(self, block_count: int) -> None:
        self.blocks = dict.fromkeys(range(1, block_count + 1), ".")

    def picture(self) -> str:
        return "".join(self.blocks[address] for address in sorted(self.blocks))

    def having(self, letter: str) -> list[int]:
        return [address for address in sorted(self.blocks) if self.blocks[address] == letter]

    def reserve(self, count: int) -> list[int] | None:
        addresses = self.having(".")[:count]
        if len(addresses) < count:
            return None
        self.blocks.update(dict.fromkeys(addresses, "r"))
        return addresses

    def acquire_extent(self, count: int) -> int | None:
        for first in self.blocks:
            if all(self.blocks.get(address) == "." for address in range(first, first + count)):
                self.blocks.update(dict.fromkeys(range(first, first + count), "A"))
                return first
        return None

    def checkpoint(self, graduate: bool) -> None:
        after = {"x": "q", "q": "." if graduate else "q"}
        self.blocks = {address: after.get(letter, letter) for address, letter in self.blocks.items()}


class Pair:
    """The free set and the model, taking the same steps."""

    def __init__(self, block_count: int) -> None:
        self.real = FreeSet(block_count)
        self.model = Model(block_count)
        self.open: list[tuple[Reservation, list[int]]] = []

    def step(self, name: str, choice: int) -> None:
        getattr(self, name)(choice)
        letters = self.model.picture()
        assert picture(self.real) == letters
        assert self.real.count_free == letters.count(".")
        assert self.real.count_acquired == letters.count("A")
        assert self.real.count_released == letters.count("x") + letters.count("q")
        encoded = self.real.encode()
        assert len(encoded) <= self.real.encoded_size_max()
        used = "".join("A" if letter == "A" else "." for letter in letters)
        assert picture(FreeSet.open(len(letters), encoded)) == used
        assert self.real.trailing_free() == len(letters) - len(letters.rstrip("."))

    def reserve(self, choice: int) -> None:
        count = choice % 4
        real, model = self.real.reserve(count), self.model.reserve(count)
        assert (real is None) == (model is None)
        if real is not None and model is not None:
            assert real.addresses == model
            self.open.append((real, model))

    def acquire(self, choice: int) -> None:
        if self.open:
            real, model = self.open[choice % len(self.open)]
            assert len(real) == len(model)
            if model:
                address = model.pop(0)
                assert self.real.acquire(real) == address
                self.model.blocks[address] = "A"

    def forfeit(self, choice: int) -> None:
        if self.open:
            real, model = self.open.pop(choice % len(self.open))
            self.real.forfeit(real)
            self.model.blocks.update(dict.fromkeys(model, "."))

    def acquire_extent(self, choice: int) -> None:
        count = choice % 4 + 1
        assert self.real.acquire_extent(count) == self.model.acquire_extent(count)

    def mark_acquired(self, choice: int) -> None:
        if free := self.model.having("."):
            address = free[choice % len(free)]
            self.real.mark_acquired(address)
            self.model.blocks[address] = "A"

    def release(self, choice: int) -> None:
        if acquired := self.model.having("A"):
            address = acquired[choice % len(acquired)]
            self.real.release(address)
            self.model.blocks[address] = "x"

    def checkpoint(self, choice: int) -> None:
        graduate = choice % 3 > 0
        self.real.checkpoint_durable(graduate=graduate)
        self.model.checkpoint(graduate)

    def grow(self, choice: int) -> None:
        count = len(self.model.blocks)
        self.real.grow(count + choice % 3)
        self.model.blocks.update(dict.fromkeys(range(count + 1, count + choice % 3 + 1), "."))

    def shrink(self, choice: int) -> None:
        count = choice % (self.real.trailing_free() + 1)
        self.real.shrink(count)
        for _ in range(count):
            del self.model.blocks[len(self.model.blocks)]


STEPS = ("reserve", "acquire", "forfeit", "acquire_extent", "mark_acquired", "release", "checkpoint", "grow", "shrink")


def short_runs() -> Iterator[tuple[tuple[str, int], ...]]:
    choices = [("reserve", 1), ("reserve", 2), ("acquire", 0), ("forfeit", 0), ("acquire_extent", 0)]
    choices += [("release", 0), ("checkpoint", 0), ("checkpoint", 1), ("grow", 1), ("shrink", 1)]
    return itertools.product(choices, repeat=4)


def test_every_run_of_four_steps_agrees_with_the_model() -> None:
    for run in short_runs():
        pair = Pair(2)
        pair.step("mark_acquired", 1)
        for name, choice in run:
            pair.step(name, choice)


@pytest.mark.parametrize("part", range(8))
def test_long_runs_agree_with_the_model(rng: random.Random, part: int) -> None:
    pair = Pair(part * 5)
    weights = [rng.choice((0, 1, 1, 4)) for _ in STEPS]
    weights[rng.randrange(2)] += 1
    for name in rng.choices(STEPS, weights, k=600):
        if name == "grow" and len(pair.model.blocks) > 60:
            continue
        pair.step(name, rng.randrange(1000))


def test_a_large_set_is_encoded_in_reasonable_size_and_comes_back(rng: random.Random) -> None:
    blocks = "".join(rng.choice((".", "A")) * rng.randrange(1, 400) for _ in range(200))
    free_set = FreeSet.open(len(blocks), pictured_runs(blocks))
    assert picture(free_set) == blocks
    assert picture(FreeSet.open(len(blocks), free_set.encode())) == blocks


def pictured_runs(blocks: str) -> bytes:
    runs = [len(list(group)) for _, group in itertools.groupby(blocks)]
    if blocks.startswith("A"):
        runs.insert(0, 0)
    if blocks.endswith("."):
        runs.pop()
    return struct.pack(f"<{len(runs)}I", *runs)


def test_free_blocks_can_be_put_into_quarantine_and_come_back() -> None:
    free_set = FreeSet(5)
    first = free_set.acquire_extent(2)
    free_set.quarantine_free()
    assert (free_set.count_free, free_set.count_acquired, free_set.count_released) == (0, 2, 3)
    assert free_set.reserve(1) is None
    assert free_set.trailing_free() == 0
    free_set.grow(6)
    assert free_set.acquire_extent(1) == 6
    free_set.checkpoint_durable(graduate=False)
    assert free_set.count_free == 0
    free_set.checkpoint_durable(graduate=True)
    assert (first, free_set.count_free) == (1, 3)
