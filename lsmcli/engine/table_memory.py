"""The memory table: the newest entries of a tree, with the logs that can undo or look past changes.

Invariants:
- `entries` maps each key to its newest stored value; None is a tombstone;
- the sorted runs hold exactly the first keys of `entries`, in its order of insertion, each key once;
  a list of keys that was handed out is never changed afterwards;
- an active log holds, for each key touched since it began, the value before, MISSING if there was none;
- an out-of-line value that is overwritten here is in `dropped_large` once no scope's log holds it, and then
  neither in `entries` nor in such a log. A scan's log holds nothing: the blocks of what it still reads are
  kept from being reused by the grid, for as long as its process says that it reads.

    entries    m  c  x | a  p | f  b           in order of first insertion
               '-----'   '--'   '--' suffix, not sorted yet
    runs      [c  m  x] [a  p]                 sort_suffix() adds [b f]

    a log      time ------ observe -------- put c --------- put c ------ restore
               entries[c]     1                2               3            1
               log                            {c: 1}          {c: 1}       (ended)

Keys are never deleted, only shadowed by tombstones, but for restore() and split(), which delete the keys
that were not there before.
"""

from bisect import bisect_left
from collections.abc import Iterator
from itertools import chain
from typing import Final

from lsmcli.engine.columns import Columns
from lsmcli.engine.constants import ENTRY_WEIGHT
from lsmcli.engine.entry_map import Entries, drop_last, entries_new, keys_since, remove_all, values_of
from lsmcli.engine.missing import MISSING, Missing
from lsmcli.engine.op_path import OpMemory
from lsmcli.engine.schema import CHAIN_REFERENCE, FLAG_LARGE, FLAG_TOMBSTONE, ChainReference
from lsmcli.engine.value_block import StoredValue

DISMANTLE_STEP_ENTRIES: Final = 1024

Log = dict[bytes, StoredValue | Missing]

# Runs are merged into longer ones up to this many keys while beats go on: merging more at a time would
# show as a pause of a put. 32 Ki-entry tables keep at most about 10 + 2 * log2(4096) runs.
RUN_MERGE_SIZE_MAX: Final = 4096
# When a range is read, a run becomes part of the one before it unless that is so many times longer.
_RUN_RATIO: Final = 8


def columns_of_stored(keys: list[bytes], stored: list[StoredValue]) -> Columns:
    """Entries as memory holds them, as columns; the keys are sorted."""
    values: list[bytes] = []
    flags = bytearray(len(stored))
    for i, value in enumerate(stored):
        if value is None:
            flags[i] = FLAG_TOMBSTONE
            values.append(b"")
        elif isinstance(value, ChainReference):
            flags[i] = FLAG_LARGE
            values.append(CHAIN_REFERENCE.pack(value))
        else:
            values.append(value)
    return Columns(keys, values, bytes(flags))


class TableMemory(OpMemory):
    """A map of entries with sorted runs of its keys. Not safe for several threads by itself."""

    __slots__ = (
        "_gone",
        "_holding",
        "_large_count",
        "_logs",
        "_run_keys",
        "_runs",
        "dropped_large",
    )

    def __init__(self) -> None:
        self.entries: Entries = entries_new()
        self.weight = 0
        self.dropped_large: list[ChainReference] = []  # to be released once this table is flushed
        self._runs: list[list[bytes]] = []
        self._run_keys = 0  # in all runs
        self._logs: list[Log] = []
        self._holding: list[Log] = []  # those of scopes
        self._large_count = 0  # entries whose value is a ChainReference
        self.plain = True
        self.watched = False
        self._gone: set[bytes] = set()  # keys that a log may still know, deleted from entries

    # Writing.

    def put(self, key: bytes, value: bytes | ChainReference) -> None:
        """Sets the newest value of the key."""
        if self.watched:
            self._touch(key)
        self.entries[key] = value
        if value.__class__ is bytes:
            self.weight += len(key) + len(value) + ENTRY_WEIGHT
        else:
            self.weight += len(key) + CHAIN_REFERENCE.size + ENTRY_WEIGHT
            self._large_count += 1
            self.plain = False
            self.watched = True

    def remove(self, key: bytes) -> None:
        """Sets a tombstone, whether or not the key is there."""
        if self.watched:
            self._touch(key)
        self.entries[key] = None
        self.weight += len(key) + ENTRY_WEIGHT
        self.plain = False

    def get(self, key: bytes, default: StoredValue | Missing = MISSING) -> StoredValue | Missing:
        """The stored value, None for a tombstone, `default` when the table says nothing of the key."""
        return self.entries.get(key, default)

    def absorb(self, other: "TableMemory") -> "TableMemory":
        """Takes over all entries of a newer table, which is not to be written to any more; returns self.

        O(len(other)); the other table stays readable for those who still hold it.
        """
        assert other is not self
        if self.watched:
            for key in other.entries:
                self._touch(key)
        self.entries.update(other.entries.items())
        self.weight += other.weight
        self.dropped_large += other.dropped_large
        self._large_count += other._large_count
        self.plain = self.plain and other.plain
        self.watched = bool(self._logs) or self._large_count > 0
        return self

    def dismantle(self) -> Iterator[int]:
        """Forgets the entries of a table that nobody else will ask, and yields 1 after some hundred of them: to free
        all their objects at once would show as a pause. A table that is still being scanned is left alone."""
        if not self._logs:
            self._runs = []
            entries = self.entries
            while entries:
                drop_last(entries, DISMANTLE_STEP_ENTRIES)
                yield 1

    # Order.

    def sort_suffix(self) -> None:
        """Sorts the keys that are new since the last call into one more run. O(new keys), beside the
        merging of short runs."""
        entries = self.entries
        count_new = len(entries) - self._run_keys
        if count_new == 0:
            return
        run = sorted(keys_since(entries, self._run_keys))
        # An interrupt may come at any call, and a scan must survive it: so work on a copy, and then only assign.
        runs = self._runs.copy()
        while runs and len(runs[-1]) < 2 * len(run) and len(runs[-1]) + len(run) <= RUN_MERGE_SIZE_MAX:
            run = sorted(runs.pop() + run)
        runs.append(run)
        run_keys = self._run_keys + count_new
        self._runs, self._run_keys = runs, run_keys

    def keys_sorted(self) -> list[bytes]:
        """All keys in order; not to be changed by the caller, and never changed here. 0.3 µs per key, and
        O(1) when no key is new."""
        self.sort_suffix()
        if not self._runs:
            return []
        if len(self._runs) > 1:
            keys: list[bytes] = []
            for run in self._runs:
                keys += run
            keys.sort()
            self._runs = [keys]
        assert len(self._runs[0]) == len(self.entries) == self._run_keys
        return self._runs[0]

    def sorted_runs(self) -> list[list[bytes]]:
        """All keys, each once, in runs that are sorted; not to be changed by the caller, and never changed here.
        O(new keys)."""
        self.sort_suffix()
        return list(self._runs)

    def key_edges(self) -> tuple[bytes, bytes]:
        """The smallest and the largest key of a table that has entries. O(new keys)."""
        self.sort_suffix()
        return min(run[0] for run in self._runs), max(run[-1] for run in self._runs)

    def _merge_runs(self) -> None:
        """Merges runs until each is much longer than the next: whoever reads a range looks into a few only.

        Each key is merged some log(n) times. 0.1 µs per key, the first time after many were put.
        """
        runs = self._runs.copy()
        parts: list[list[bytes]] = []
        size = 0
        while runs and (not parts or len(runs[-1]) < _RUN_RATIO * size):
            parts.append(runs.pop())
            size += len(parts[-1])
        if len(parts) > 1:
            runs.append(sorted(chain.from_iterable(parts)))
            self._runs = runs

    def range_keys(
        self, start: bytes | None, end: bytes | None, *, limit: int | None = None, reverse: bool = False
    ) -> list[bytes]:
        """The keys of [start, end) in ascending order; None: unbounded on that side.

        With a limit only the first so many, or the last so many if reverse. While logs are active, keys
        are included that a restore() deleted: log_value() tells what they were. O(runs * log n + result).
        """
        self.sort_suffix()
        self._merge_runs()
        found: list[bytes] = []
        for run in self._runs:
            first = 0 if start is None else bisect_left(run, start)
            stop = len(run) if end is None else bisect_left(run, end)
            if limit is not None and stop - first > limit:
                if reverse:
                    first = stop - limit
                else:
                    stop = first + limit
            found += run[first:stop]
        if self._gone:
            found += [key for key in self._gone if (start is None or key >= start) and (end is None or key < end)]
        found.sort()
        if limit is not None and len(found) > limit:
            return found[len(found) - limit :] if reverse else found[:limit]
        return found

    def first_columns(
        self, start: bytes | None, end: bytes | None, limit: int, *, reverse: bool = False
    ) -> Columns | None:
        """The first `limit` entries of [start, end), or the last ones if reverse; None: only a log can tell."""
        return None if self._gone else self.columns(self.range_keys(start, end, limit=limit, reverse=reverse))

    def columns(self, keys: list[bytes] | None = None) -> Columns:
        """The entries of these sorted keys of the table, without them of all keys. 0.3 µs per entry."""
        if keys is None:
            keys = self.keys_sorted()
        stored = values_of(self.entries, keys)
        if self.plain:
            return Columns(keys, stored, bytes(len(stored)))  # all are bytes: plain
        return columns_of_stored(keys, stored)

    # Logs.

    def observe(self, *, holds: bool = True) -> Log:
        """Begins a log: a dict that receives each key's value before its first change from now on.

        A scope's log holds out-of-line values that are overwritten, and ends with commit(), restore() or
        split(). A scan's log does not (holds=False), and ends with unobserve(): a table may be flushed and
        forgotten while it is scanned, and nobody would drop what was held. Logs may overlap in any way.
        """
        # range_keys() gives out the keys of _gone as well, which are not there for a scan that begins now.
        log: Log = {} if holds else dict.fromkeys(self._gone, MISSING)
        self._logs.append(log)
        if holds:
            self._holding.append(log)
        self.watched = True
        return log

    def log_value(self, log: Log, key: bytes) -> StoredValue | Missing:
        """The value that the key had when the log began."""
        return log[key] if key in log else self.entries.get(key, MISSING)

    def unobserve(self, log: Log) -> None:
        """Ends a scan's log. One that holds ends like a scope's: nothing that it held is lost."""
        if any(log is holding for holding in self._holding):
            self.commit(log)
        else:
            self._log_end(log)

    def commit(self, log: Log) -> None:
        """Ends a scope's log; what was changed stays. Out-of-line values that only this log held are dropped."""
        self._log_end(log)
        for key, old in log.items():
            if isinstance(old, ChainReference) and self.entries.get(key, MISSING) is not old:
                self._drop_unless_held(key, old)

    def restore(self, log: Log) -> None:
        """Ends a scope's log and puts back every value that it holds: the entries are what they were when it began.

        The weight stays: what was written since is in the WAL all the same. O(changes), and O(n) when keys
        were new.
        """
        self._log_end(log)
        self._put_back(log, drop=True)

    def split(self, log: Log) -> tuple["TableMemory", "TableMemory"]:
        """Ends a scope's log and parts the table in two: (self, with the entries of when the log began; a new
        table with what was changed since). Nothing is dropped: each part holds its own values."""
        self._log_end(log)
        changed = TableMemory()
        for key in log:
            value = self.entries[key]
            if value is None:
                changed.remove(key)
            else:
                changed.put(key, value)
        self._put_back(log, drop=False)
        self.weight -= changed.weight
        assert self.weight >= 0
        return self, changed

    def _put_back(self, log: Log, *, drop: bool) -> None:
        """Undoes the changes of a log that has ended; other logs hear of it like of any change."""
        entries = self.entries
        deleted: list[bytes] = []
        for key, old in log.items():
            current = entries[key]
            for other in self._logs:
                other.setdefault(key, current)
            if old is MISSING:
                deleted.append(key)
                if self._logs:
                    self._gone.add(key)
            else:
                entries[key] = old
            self._large_count += (type(old) is ChainReference) - (type(current) is ChainReference)
            if drop and isinstance(current, ChainReference):
                self._drop_unless_held(key, current)
        if deleted:
            remove_all(entries, deleted)
            kept = ([key for key in run if key in entries] for run in self._runs)
            self._runs = [run for run in kept if run]
            self._run_keys = sum(map(len, self._runs))
        self.watched = bool(self._logs) or self._large_count > 0

    def _touch(self, key: bytes) -> None:
        """Before the value of the key is overwritten: saves it in the logs, or drops it."""
        old = self.entries.get(key, MISSING)
        for log in self._logs:
            if key not in log:
                log[key] = old
        if old is MISSING:
            self._gone.discard(key)
        elif isinstance(old, ChainReference):
            self._large_count -= 1
            self.watched = bool(self._logs) or self._large_count > 0
            self._drop_unless_held(key, old)

    def _drop_unless_held(self, key: bytes, value: ChainReference) -> None:
        for log in self._holding:
            if log.get(key, MISSING) is value:
                return
        self.dropped_large.append(value)

    def _log_end(self, log: Log) -> None:
        assert any(log is active for active in self._logs)
        # By identity: two empty logs are equal.
        self._logs = [active for active in self._logs if active is not log]
        self._holding = [active for active in self._holding if active is not log]
        self.watched = bool(self._logs) or self._large_count > 0
        if not self._logs:
            self._gone.clear()
