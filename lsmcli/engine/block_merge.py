# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
r"""Merging of packed entries: out of value blocks into value blocks, without an object per entry.

    newer   b d f        stage, of one block       a b d e        the next entry does not fit: FULL, take() it
    older   a b d e      from older, newer         o n n o        f stays in its run for the next block

Invariants:
- a Run is verified when it is made: keys ascend strictly and have allowed sizes, each entry has the value that goes
  with its flags, and every offset lies within its column. Nothing that comes from a disk is looked at without that;
- an entry is copied once into the stage, whole, and once out of it, with its block; what does not fit stays in its run;
- a block is as full as the next entry allows, so its bytes depend on the entries alone and not on how they came.

Only compiled code merges this way: interpreted, run_of() answers None for any bytes, and compaction merges lists of
keys and values (see columns), with the same blocks as a result. See docs/internals/hot_loops.md.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from lsmcli.engine import uncompiled as cython
from lsmcli.engine.uncompiled import PURE

if cython.compiled:
    import cython  # type: ignore[no-redef]  # seen by the compiler alone, for which it is no module
    from cython.cimports.cpython.bytearray import PyByteArray_AS_STRING, PyByteArray_FromStringAndSize
    from cython.cimports.cpython.bytes import PyBytes_AS_STRING
    from cython.cimports.libc.string import memcmp, memcpy, memset

COMPILED: Final = bool(cython.compiled)

# What merge() stopped at; any of these together, but FULL alone.
FULL: Final = 1
NEWER_USED: Final = 2
OLDER_USED: Final = 4


@cython.final
@cython.cclass
class Run:
    """Verified packed entries, and how many of them have been taken. Made by run_of()."""

    raw: bytes
    start: cython.Py_ssize_t
    count: cython.Py_ssize_t
    at: cython.Py_ssize_t  # the next entry
    width: cython.Py_ssize_t
    tombstones: cython.Py_ssize_t
    large: cython.Py_ssize_t
    key_offsets: cython.p_const_uchar
    value_offsets: cython.p_const_uchar
    flags: cython.p_const_uchar
    keys: cython.p_const_uchar
    values: cython.p_const_uchar

    def figures(self) -> tuple[int, int, int]:
        """Entries in all, tombstones among them, and large values."""
        return self.count, self.tombstones, self.large

    def parts(self) -> tuple[bytes, int, int, int]:
        """What run_of() was given: raw, at, count, width."""
        return self.raw, self.start, self.count, self.width

    def edges(self) -> tuple[bytes, bytes]:
        """The first and the last key of all entries."""
        return _key_of(self, 0), _key_of(self, self.count - 1)


def run_of(raw: bytes, at: int, count: int, width: int, key_size_max: int, large_size: int) -> Run | None:
    """The entries of what pack_entries() gave for `count` >= 1 entries: raw[at:]; width: bytes of one offset.

    None unless keys are strictly ascending and 1 … key_size_max bytes long, every offset lies within its column,
    the columns fill raw, and flags are 0, 1 with an empty value, or 2 with a value of large_size bytes. Interpreted
    always None. 0.01 µs per entry.
    """
    assert width in (2, 4) and 1 <= count and 0 <= at
    if cython.compiled:
        return _run_of(raw, at, count, width, key_size_max, large_size)
    return None


@cython.final
@cython.cclass
class BlockStage:
    """The entries of the next block of a merge. Compiled only.

    room: bytes that the entries of a block may fill, each with its two offsets of `width` bytes and its flags.
    """

    room: cython.Py_ssize_t
    room_left: cython.Py_ssize_t
    width: cython.Py_ssize_t
    drops: cython.bint
    count: cython.Py_ssize_t
    tombstones: cython.Py_ssize_t
    large: cython.Py_ssize_t
    keys_size: cython.Py_ssize_t
    values_size: cython.Py_ssize_t
    key_last_at: cython.Py_ssize_t
    entries_lost: cython.Py_ssize_t
    entries_dropped: cython.Py_ssize_t
    key_offsets: bytearray
    value_offsets: bytearray
    flags: bytearray
    keys: bytearray
    values: bytearray

    def __init__(self, room: int, width: int, drops_tombstones: bool) -> None:
        """drops_tombstones: whether tombstones are left out, since nothing older can hold their keys."""
        assert width in (2, 4) and room > 0
        # An entry takes at least one byte of key, its offsets and its flags.
        count_max = room // (2 * width + 2) + 2
        self.room = self.room_left = room
        self.width = width
        self.drops = drops_tombstones
        self.key_offsets = bytearray(count_max * width)
        self.value_offsets = bytearray(count_max * width)
        self.flags = bytearray(count_max)
        self.keys = bytearray(room)
        self.values = bytearray(room)
        self.entries_lost = 0
        self.entries_dropped = 0
        self.reset()

    def reset(self) -> None:
        """Empties the stage."""
        self.count = self.tombstones = self.large = 0
        self.keys_size = self.values_size = self.key_last_at = 0
        self.room_left = self.room

    def merge(self, newer: Run | None, older: Run | None, dropped_large: list[bytes]) -> int:
        """Takes entries of both runs in the order of their keys, and of equal keys the newer one, until one of the
        runs that are given is used up, or the next entry does not fit: NEWER_USED | OLDER_USED, or FULL.

        A run that is given has entries left. Values of large entries that lost are appended to dropped_large.
        0.03 µs per entry.
        """
        if newer is None:
            assert older is not None
            return _merge(self, older, older, 1, dropped_large)
        if older is None:
            return _merge(self, newer, newer, -1, dropped_large)
        return _merge(self, newer, older, 0, dropped_large)

    def figures(self) -> tuple[int, int, int, int, int]:
        """Of the entries in the stage: count, tombstones, large values, bytes of keys and of values."""
        return self.count, self.tombstones, self.large, self.keys_size, self.values_size

    def totals(self) -> tuple[int, int]:
        """Entries that lost to a newer one, and tombstones that were left out, since the stage was made."""
        return self.entries_lost, self.entries_dropped

    def edges(self) -> tuple[bytes, bytes]:
        """The first and the last key; there is at least one entry."""
        assert self.count > 0
        first: cython.Py_ssize_t = self.keys_size
        if self.count > 1:
            first = _offset(self.key_offsets, 1, self.width)
        return bytes(self.keys[:first]), bytes(self.keys[self.key_last_at : self.keys_size])

    def take(self, head_size: int) -> bytearray:
        """head_size zeros | key offsets | value offsets | flags | keys | values; the stage is empty then."""
        return _take(self, head_size)


# Compiled only: loops over bytes, which would be hopeless if interpreted.


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _bytes_of(column: bytearray) -> cython.p_uchar:
    return cython.cast(cython.p_uchar, PyByteArray_AS_STRING(column))


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _offset(column: cython.p_const_uchar, i: cython.Py_ssize_t, width: cython.Py_ssize_t) -> cython.Py_ssize_t:
    at: cython.p_const_uchar = column + i * width
    offset: cython.Py_ssize_t = at[0] | (at[1] << 8)
    if width == 4:
        offset |= (at[2] << 16) | (cython.cast(cython.Py_ssize_t, at[3]) << 24)
    return offset


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _put_offset(
    column: cython.p_uchar, i: cython.Py_ssize_t, offset: cython.Py_ssize_t, width: cython.Py_ssize_t
) -> cython.void:
    out: cython.p_uchar = column + i * width
    out[0] = offset & 0xFF
    out[1] = (offset >> 8) & 0xFF
    if width == 4:
        out[2] = (offset >> 16) & 0xFF
        out[3] = (offset >> 24) & 0xFF


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _compare(
    a: cython.p_const_uchar, a_size: cython.Py_ssize_t, b: cython.p_const_uchar, b_size: cython.Py_ssize_t
) -> cython.Py_ssize_t:
    """Negative, 0 or positive, as a is below, equal to or above b."""
    order: cython.Py_ssize_t = memcmp(a, b, min(a_size, b_size))
    if order == 0:
        order = a_size - b_size
    return order


@cython.cfunc
def _key_of(run: Run, i: cython.Py_ssize_t) -> bytes:
    start: cython.Py_ssize_t = _offset(run.key_offsets, i, run.width)
    stop: cython.Py_ssize_t = _offset(run.key_offsets, i + 1, run.width)
    key: bytes = run.keys[start:stop]
    return key


@cython.cfunc
def _run_of(
    raw: bytes,
    at: cython.Py_ssize_t,
    count: cython.Py_ssize_t,
    width: cython.Py_ssize_t,
    key_size_max: cython.Py_ssize_t,
    large_size: cython.Py_ssize_t,
) -> Run | None:
    size: cython.Py_ssize_t = len(raw)
    i: cython.Py_ssize_t
    # The columns lie within raw; from here on each offset is compared with the size of its column before use.
    if count > size or at > size or size - at < 2 * (count + 1) * width + count:
        return None
    key_offsets: cython.p_const_uchar = cython.cast(cython.p_const_uchar, PyBytes_AS_STRING(raw)) + at
    value_offsets: cython.p_const_uchar = key_offsets + (count + 1) * width
    flags: cython.p_const_uchar = value_offsets + (count + 1) * width
    keys: cython.p_const_uchar = flags + count
    keys_size: cython.Py_ssize_t = _offset(key_offsets, count, width)
    values_size: cython.Py_ssize_t = size - at - 2 * (count + 1) * width - count - keys_size
    key_at: cython.Py_ssize_t = _offset(key_offsets, 0, width)
    key_end: cython.Py_ssize_t
    before: cython.Py_ssize_t = 0
    before_size: cython.Py_ssize_t = 0
    value_at: cython.Py_ssize_t = _offset(value_offsets, 0, width)
    value_end: cython.Py_ssize_t
    tombstones: cython.Py_ssize_t = 0
    large: cython.Py_ssize_t = 0
    if keys_size < 0 or values_size < 0 or key_at != 0 or value_at != 0:
        return None
    for i in range(count):
        key_end = _offset(key_offsets, i + 1, width)
        value_end = _offset(value_offsets, i + 1, width)
        if not (key_at < key_end <= keys_size and value_at <= value_end <= values_size):
            return None
        # The first key is above the empty one.
        if (
            key_end - key_at > key_size_max
            or _compare(keys + before, before_size, keys + key_at, key_end - key_at) >= 0
        ):
            return None
        if flags[i]:
            if flags[i] == 1 and value_end == value_at:
                tombstones += 1
            elif flags[i] == 2 and value_end - value_at == large_size:
                large += 1
            else:
                return None
        before = key_at
        before_size = key_end - key_at
        key_at = key_end
        value_at = value_end
    if key_at != keys_size or value_at != values_size:
        return None
    run: Run = Run()
    run.raw = raw
    run.start, run.at, run.count, run.width = at, 0, count, width
    run.tombstones, run.large = tombstones, large
    run.key_offsets, run.value_offsets, run.flags = key_offsets, value_offsets, flags
    run.keys, run.values = keys, keys + keys_size
    return run


@cython.cfunc
def _merge(
    stage: BlockStage, newer: Run, older: Run, order: cython.Py_ssize_t, dropped_large: list[bytes]
) -> cython.Py_ssize_t:
    """Without an order that is known, 0, the two are merged; else -1 takes the newer run alone, and 1 the older one."""
    i: cython.Py_ssize_t
    run: Run
    value_at: cython.Py_ssize_t
    value_size: cython.Py_ssize_t
    stop: cython.Py_ssize_t = 0
    both: cython.bint = order == 0
    while stop == 0:
        if both:
            order = _order(newer, older)
        run = newer if order <= 0 else older
        if stage.drops and run.flags[run.at] == 1:
            stage.entries_dropped += 1
        elif not _stage_entry(stage, run):
            return FULL
        run.at += 1
        if run.at == run.count:
            stop |= NEWER_USED if order <= 0 else OLDER_USED
        if order == 0:
            i = older.at
            stage.entries_lost += 1
            if older.flags[i] == 2:
                value_at = _offset(older.value_offsets, i, older.width)
                value_size = _offset(older.value_offsets, i + 1, older.width) - value_at
                dropped_large.append(older.values[value_at : value_at + value_size])
            older.at = i + 1
            if older.at == older.count:
                stop |= OLDER_USED
    return stop


@cython.cfunc
@cython.inline
def _stage_entry(stage: BlockStage, run: Run) -> cython.bint:
    """Copies the run's next entry into the stage; False: it does not fit."""
    width: cython.Py_ssize_t = stage.width
    i: cython.Py_ssize_t = run.at
    key_at: cython.Py_ssize_t = _offset(run.key_offsets, i, run.width)
    key_size: cython.Py_ssize_t = _offset(run.key_offsets, i + 1, run.width) - key_at
    value_at: cython.Py_ssize_t = _offset(run.value_offsets, i, run.width)
    value_size: cython.Py_ssize_t = _offset(run.value_offsets, i + 1, run.width) - value_at
    size: cython.Py_ssize_t = key_size + value_size + 2 * width + 1
    if size > stage.room_left:
        return False
    stage.room_left -= size
    _put_offset(_bytes_of(stage.key_offsets), stage.count, stage.keys_size, width)
    _put_offset(_bytes_of(stage.value_offsets), stage.count, stage.values_size, width)
    _bytes_of(stage.flags)[stage.count] = run.flags[i]
    memcpy(_bytes_of(stage.keys) + stage.keys_size, run.keys + key_at, key_size)
    memcpy(_bytes_of(stage.values) + stage.values_size, run.values + value_at, value_size)
    stage.key_last_at = stage.keys_size
    stage.tombstones += run.flags[i] == 1
    stage.large += run.flags[i] == 2
    stage.keys_size += key_size
    stage.values_size += value_size
    stage.count += 1
    return True


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _order(a: Run, b: Run) -> cython.Py_ssize_t:
    """Negative, 0 or positive, as the next key of a is below, equal to or above that of b."""
    a_at: cython.Py_ssize_t = _offset(a.key_offsets, a.at, a.width)
    a_size: cython.Py_ssize_t = _offset(a.key_offsets, a.at + 1, a.width) - a_at
    b_at: cython.Py_ssize_t = _offset(b.key_offsets, b.at, b.width)
    b_size: cython.Py_ssize_t = _offset(b.key_offsets, b.at + 1, b.width) - b_at
    return _compare(a.keys + a_at, a_size, b.keys + b_at, b_size)


@cython.cfunc
def _take(stage: BlockStage, head_size: cython.Py_ssize_t) -> bytearray:
    count: cython.Py_ssize_t = stage.count
    width: cython.Py_ssize_t = stage.width
    offsets_size: cython.Py_ssize_t = (count + 1) * width
    _put_offset(_bytes_of(stage.key_offsets), count, stage.keys_size, width)
    _put_offset(_bytes_of(stage.value_offsets), count, stage.values_size, width)
    packed: bytearray = PyByteArray_FromStringAndSize(
        cython.NULL, head_size + 2 * offsets_size + count + stage.keys_size + stage.values_size
    )
    out: cython.p_uchar = _bytes_of(packed)
    memset(out, 0, head_size)
    out += head_size
    memcpy(out, _bytes_of(stage.key_offsets), offsets_size)
    out += offsets_size
    memcpy(out, _bytes_of(stage.value_offsets), offsets_size)
    out += offsets_size
    memcpy(out, _bytes_of(stage.flags), count)
    out += count
    memcpy(out, _bytes_of(stage.keys), stage.keys_size)
    memcpy(out + stage.keys_size, _bytes_of(stage.values), stage.values_size)
    stage.reset()
    return packed


if not (TYPE_CHECKING or COMPILED or PURE):
    # The compiled names take the place of those above; without them, on a machine where they were not built,
    # those above stay. What is imported is used by the importers of this module.
    with suppress(ImportError):
        from lsmcli.engine._block_merge import BlockStage, COMPILED, Run, run_of  # noqa: F401, I001
