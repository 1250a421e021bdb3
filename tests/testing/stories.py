"""Scopes, durable and bound, in memory and spilled: kept or undone as a whole, whatever happens in between.

A story is a word; each letter is a step:

    w  some puts, overwrites and deletes, large values too      c  checkpoint      t  create a tree, or drop it
    W  as many as outgrow memory                                C  compact
    d  begin a durable scope    b  begin a bound one            p  persist         x  discard
    r  close and reopen         k  kill, and reopen
"""

import random

from tests.testing.model import MAIN, Model
from tests.testing.operations import (
    Run,
    assert_holds,
    assert_verified,
    draw_profile,
    new_storage,
    open_database_on,
)

LARGE = 5000


def new_run() -> Run:
    profile = draw_profile(random.Random(3), memory_size=4096, growth_factor=2, cache_size=1 << 20)
    return Run(new_storage(profile), profile, Model())


class Story:
    """Tells one word to a database and to its model."""

    def __init__(self) -> None:
        self.run = new_run()
        self.number = 0

    def tell(self, word: str) -> bool:
        """False when the word makes no sense: a persist without a scope, say."""
        for letter in word:
            scope = self.run.model.state.before is not None
            if scope == (letter in "db") and letter in "dbpx":
                return False
            getattr(self, f"_{letter}")()
        return True

    def ends_well(self) -> None:
        run = self.run
        assert_holds(run.database, run.model.state)
        reader = open_database_on(run.storage.reopen(), run.profile, writable=False, committed=True)
        assert {name: dict(reader.tree(name).scan()) for name in reader.trees()} == run.model.state.committed
        run._reopen()
        assert_holds(run.database, run.model.state)
        run._checkpoint()
        run.close()
        assert_verified(run.storage)

    def _write(self, count: int) -> None:
        for _ in range(count):
            self.number += 1
            stamp = b"%d" % self.number
            key = b"key %02d" % (self.number * 7 % 40)
            self.run._put(MAIN, [(key, stamp * 20), (b"always", stamp), (b"key %02d" % (self.number * 5 % 40), None)])
            if self.number % 3 == 0:
                self.run._put(MAIN, [(b"large %d" % (self.number % 2), stamp * LARGE)])
            if "apple" in self.run.model.trees:
                self.run._put("apple", [(key, stamp), (b"large", stamp * LARGE)])

    def _w(self) -> None:
        self._write(3)

    def _W(self) -> None:  # noqa: N802  # named after its letter
        self._write(20)

    def _d(self) -> None:
        self.run._begin_durable()

    def _b(self) -> None:
        self.run._begin_bound()

    def _p(self) -> None:
        self.run._persist()

    def _x(self) -> None:
        self.run._discard()

    def _c(self) -> None:
        self.run._checkpoint()

    def _C(self) -> None:  # noqa: N802
        self.run._compact()

    def _t(self) -> None:
        if "apple" in self.run.model.trees:
            self.run._drop_tree("apple")
        else:
            self.run._create_tree("apple")

    def _r(self) -> None:
        self.run._reopen()

    def _k(self) -> None:
        run = self.run
        if run.model.state.before is not None and not run.model.state.durable:
            run.model.discard()
        run.storage = run.storage.reopen()
        run.iterators.clear()
        run.database = open_database_on(run.storage, run.profile)
        assert run.database.forest.op == run.model.op


def tell(word: str) -> None:
    story = Story()
    try:
        if story.tell(word):
            story.ends_well()
    except Exception as error:
        error.add_note(f"the story was {word!r}")
        raise


def draw_word(rng: random.Random) -> str:
    """A longer story that makes sense."""
    word = "w"
    scope = ""
    for _ in range(rng.randrange(4, 14)):
        letters = {"w": 6, "W": 3, "c": 1, "C": 1, "t": 1, "r": 1, "k": 1} | (
            {"p": 2, "x": 2} if scope else {"d": 2, "b": 2}
        )
        letter = rng.choices(list(letters), list(letters.values()))[0]
        if letter in "dbpx":
            scope = letter if letter in "db" else ""
        elif letter in "rk" and scope == "b":
            scope = ""
        word += letter
    return word
