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
    from cython.cimports.cpython.bytes import PyBytes_AS_STRING
    from cython.cimports.libc.string import memcmp

COMPILED: Final = bool(cython.compiled)


@cython.final
@cython.cclass
class Run:
    """Verified packed entries, and how many of them have been taken. Made by run_of()."""

    raw: bytes
    start: cython.Py_ssize_t
    count: cython.Py_ssize_t
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


# Compiled only: loops over bytes, which would be hopeless if interpreted.


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
    run.start, run.count, run.width = at, count, width
    run.tombstones, run.large = tombstones, large
    run.key_offsets, run.value_offsets, run.flags = key_offsets, value_offsets, flags
    run.keys, run.values = keys, keys + keys_size
    return run


if not (TYPE_CHECKING or COMPILED or PURE):
    # The compiled names take the place of those above; without them, on a machine where they were not built,
    # those above stay. What is imported is used by the importers of this module.
    with suppress(ImportError):
        from lsmcli.engine._block_merge import COMPILED, Run, run_of  # noqa: F401
