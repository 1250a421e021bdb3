"""Replay of crafted logs: records whose checksums hold, and which make no sense where they stand."""

import random

import pytest

from lsmcli.engine.constants import KEY_SIZE_MAX
from lsmcli.engine.database import Database
from lsmcli.engine.errors import DamageError
from lsmcli.engine.schema import CHAIN_NONE, WAL_SCOPE_BEGIN, ChainReference, ScopeState, WalRecordKind, WalScopeBegin
from lsmcli.engine.wal_entry import encode_entries
from tests.testing.operations import BLOCK_SIZE, draw_profile, new_storage, open_database_on
from tests.testing.storage import SimulatedStorage

PROFILE = draw_profile(random.Random(1), memory_size=4096, growth_factor=2, cache_size=0)
TREE = 2  # the main tree

Record = tuple[WalRecordKind, bytes, int]

PERSIST: Record = (WalRecordKind.SCOPE_PERSIST, b"", 0)
DISCARD: Record = (WalRecordKind.SCOPE_DISCARD, b"", 0)


def begin(state: int = ScopeState.DURABLE) -> Record:
    return WalRecordKind.SCOPE_BEGIN, WAL_SCOPE_BEGIN.pack(WalScopeBegin(state, 0, 0, pid=1, began_s=1)), 0


def op(key: bytes, value: bytes | ChainReference | None) -> Record:
    return WalRecordKind.OP, encode_entries([(TREE, key, value)]), 1


def killed_behind(*records: Record, large: bool = False) -> SimulatedStorage:
    """A file of one entry whose writer appended these records, and was killed."""
    storage = new_storage(PROFILE)
    database = open_database_on(storage, PROFILE)
    database.put(b"a", b"v" * 3000 if large else b"1")
    for kind, body, entry_count in records:
        database.forest.file.wal.append(kind, body, entry_count)
    return storage.reopen()


def opened(*records: Record, writable: bool = True) -> Database:
    return open_database_on(killed_behind(*records), PROFILE, writable=writable)


@pytest.mark.parametrize("writable", [False, True])
@pytest.mark.parametrize(("records", "message"), [
    ([begin(), begin()], "a scope begins inside of another"),
    ([(WalRecordKind.SCOPE_BEGIN, b"short", 0)], "a scope begins inside of another"),
    ([begin(0)], "unknown scope state 0"), ([begin(77)], "unknown scope state 77"),
    ([DISCARD], "a scope is discarded that was never begun"),
    ([begin(), PERSIST, DISCARD], "a scope is discarded that was never begun"),
    ([op(b"k" * KEY_SIZE_MAX, b"1")], "an entry is too large for blocks of 4096 bytes"),
    ([op(b"k", b"v" * BLOCK_SIZE)], "an entry is too large for blocks of 4096 bytes"),
    ([op(b"k", CHAIN_NONE._replace(address=1, size=1 << 63))], "a value of 9223372036854775808 bytes"),
], ids=lambda each: each if isinstance(each, str) else "")  # fmt: skip
def test_a_record_that_makes_no_sense_is_damage_of_the_log(records: list[Record], message: str, writable: bool) -> None:
    with pytest.raises(DamageError, match=message) as caught:
        opened(*records, writable=writable)
    assert caught.value.zone == "wal"
    assert "\n" not in str(caught.value)


def test_the_end_of_a_scope_that_a_checkpoint_knows_of_is_passed_over() -> None:
    database = opened(PERSIST)
    assert dict(database.scan()) == {b"a": b"1"}
    assert database.scope_status() is None


def test_a_scope_is_persisted_and_discarded_again() -> None:
    changed = [begin(), op(b"a", b"2")]
    assert dict(opened(*changed, PERSIST).scan()) == {b"a": b"2"}
    assert dict(opened(*changed, DISCARD).scan()) == {b"a": b"1"}


class TestLargeValues:
    @staticmethod
    def reference(storage: SimulatedStorage) -> ChainReference:
        """Of the large value that the log refers to."""
        database = open_database_on(storage.reopen(), PROFILE)
        found = database.forest.trees[TREE].table_mutable.entries[b"a"]
        assert type(found) is ChainReference
        return found

    def test_a_damaged_block_of_one_costs_that_value_alone(self) -> None:
        storage = killed_behind(op(b"b", b"2"), large=True)
        reference = self.reference(storage)
        offset = open_database_on(storage.reopen(), PROFILE).forest.file.grid.offset(reference.address)
        storage.corrupt(offset, b"?")
        database = open_database_on(storage, PROFILE)
        assert database.get(b"b") == b"2"
        with pytest.raises(DamageError) as caught:
            database.get(b"a")
        assert caught.value.zone == "large value"

    @pytest.mark.parametrize("writable", [False, True])
    def test_one_that_says_nothing_true_of_its_size_is_refused(self, writable: bool) -> None:
        reference = self.reference(killed_behind(large=True))
        forged = reference._replace(block_count=0)
        storage = killed_behind(op(b"b", forged), large=True)
        if writable:
            with pytest.raises(DamageError):
                open_database_on(storage, PROFILE)
        else:
            database = open_database_on(storage, PROFILE, writable=False)
            assert database.get(b"a") == b"v" * 3000
            with pytest.raises(DamageError):
                database.get(b"b")
