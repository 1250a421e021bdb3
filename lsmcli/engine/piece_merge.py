# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
r"""Merging in pieces, which a second thread does beside the puts where there is a second core. Compiled only.

    the thread that puts       begin() ── writes blocks 1 … 8, reads others, puts go on ─── collect() begin() ── …
    the second thread                └─── merges blocks 9 … 16 ────────────────────────────────┘         └─── …

Invariants:
- a piece is a pure function of what was fed before it began: which entries it takes, and where it stops, does not
  depend on who does it, nor on when; so the same blocks come after the same steps with a second thread and without;
- the second thread never touches the interpreter: it waits, and works on memory that the merge owns or keeps alive. It
  is waited for before any of that is let go; a forked child, which has no such thread, does not wait;
- an entry is copied once into the stage, whole, and once out of it, with its block; what does not fit waits;
- a block is as full as the next entry allows, so its bytes depend on the entries alone and not on how they came.

    newer   b d f        stage, of one block       a b d e        the next entry does not fit: the block is packed,
    older   a b d e      from older, newer         o n n o        and f begins the next one
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from lsmcli.engine import uncompiled as cython
from lsmcli.engine.entry_pack import crc_tables
from lsmcli.engine.memory_runs import MemoryRuns
from lsmcli.engine.second_thread import SecondThread
from lsmcli.engine.uncompiled import PURE

if cython.compiled:
    import cython  # type: ignore[no-redef]  # seen by the compiler alone, for which it is no module
    from cython.cimports.cpython.bytearray import PyByteArray_AS_STRING
    from cython.cimports.cpython.bytes import PyBytes_AS_STRING
    from cython.cimports.libc.string import memcmp, memcpy, memset
    from cython.cimports.lsmcli.engine import compiled_types as types

COMPILED: Final = bool(cython.compiled)

PIECE_BLOCKS: Final = 8  # of one piece: 400 µs of work, for 5 to 30 µs of handing it over
FEED_BLOCKS: Final = 2 * PIECE_BLOCKS  # of one input that are at hand at a time, at most

_PIECE_BLOCKS = cython.declare(cython.Py_ssize_t, PIECE_BLOCKS)
_FEED_BLOCKS = cython.declare(cython.Py_ssize_t, FEED_BLOCKS)
_CRC_TABLES: Final = crc_tables() if cython.compiled else b""
_LOST_SIZE = cython.declare(cython.Py_ssize_t, 8192)  # bytes of large values that may lose in one piece


@cython.final
@cython.cclass
class Feed:
    """One input of a merge: blocks that come one after the other."""

    kept: list[bytes]  # at which a piece may be looking
    coming: list[Any]
    size: cython.Py_ssize_t  # bytes of all these
    size_max: cython.Py_ssize_t
    ended: cython.bint

    def __init__(self, size_max: int) -> None:
        self.kept, self.coming = [], []
        self.size, self.size_max = 0, size_max
        self.ended = False

    def has_room(self) -> bool:
        """Whether another block may be put: there are never more than FEED_BLOCKS, and of large ones two."""
        count = len(self.kept) + len(self.coming)
        return not self.ended and count < _FEED_BLOCKS and (count < 2 or self.size < self.size_max)

    def put(self, raw: bytes, at: int, count: int, width: int) -> None:
        """The entries of a Run, verified: they are there for the next piece."""
        assert self.has_room()
        self.coming.append((raw, at, count, width))
        self.size += len(raw)

    def end(self) -> None:
        """No more blocks will come."""
        self.ended = True


@cython.final
@cython.cclass
class PackedBlock:
    """Entries of one block: buffer[at : at + size] has room for heads, then their columns; zeros follow."""

    buffer: Any = cython.declare(bytearray, visibility="readonly")
    at = cython.declare(cython.Py_ssize_t, visibility="readonly")
    size = cython.declare(cython.Py_ssize_t, visibility="readonly")
    count = cython.declare(cython.Py_ssize_t, visibility="readonly")
    tombstones = cython.declare(cython.Py_ssize_t, visibility="readonly")
    large = cython.declare(cython.Py_ssize_t, visibility="readonly")
    keys_size = cython.declare(cython.Py_ssize_t, visibility="readonly")
    values_size = cython.declare(cython.Py_ssize_t, visibility="readonly")
    key_first = cython.declare(bytes, visibility="readonly")
    key_last = cython.declare(bytes, visibility="readonly")
    fingerprints = cython.declare(bytes, visibility="readonly")  # as pack_fingerprints() gives them


@cython.no_gc_clear
@cython.final
@cython.cclass
class PieceMerge:
    """A merge of two inputs into packed blocks, piece by piece. Compiled only.

    begin() and collect() take turns; in between comes help(), and what is put into the feeds. stop() ends it.
    """

    done = cython.declare(cython.bint, visibility="readonly")  # the last piece was collected
    entries_lost = cython.declare(cython.Py_ssize_t, visibility="readonly")  # to newer ones
    entries_dropped = cython.declare(cython.Py_ssize_t, visibility="readonly")  # tombstones that were left out
    newer = cython.declare(Feed, visibility="readonly")
    older = cython.declare(Feed, visibility="readonly")
    memory: Any
    thread: Any  # a SecondThread, or None
    state: bytearray  # a PieceState
    large_size: cython.Py_ssize_t
    drops: cython.bint
    alone: cython.bint  # the piece is done by the thread that asks for it
    calls: cython.Py_ssize_t  # of help()
    stage: bytearray
    blocks: bytearray
    figures: bytearray
    fingerprints: bytearray
    lost: bytearray
    out: bytearray
    out_next: bytearray

    def __init__(
        self, memory: MemoryRuns | None, room: int, width: int, head_size: int, drops_tombstones: bool, large_size: int
    ) -> None:
        """memory: the newer input, unless that is fed. room: bytes that the entries of a block may fill, each with its
        two offsets of `width` bytes and its flags; head_size: bytes before them. drops_tombstones: they are left out,
        nothing older can have their keys. large_size: bytes of a large value as it is stored."""
        assert width in (2, 4) and room > 0 and head_size >= 0 and 0 < large_size <= _LOST_SIZE
        self.newer, self.older = Feed(FEED_BLOCKS * room), Feed(FEED_BLOCKS * room)
        self.memory = memory
        self.large_size, self.drops = large_size, drops_tombstones
        self.done, self.alone, self.calls = False, False, 0
        self.thread = None
        self.out = bytearray(PIECE_BLOCKS * (head_size + room + 2 * width))
        self.out_next = bytearray(len(self.out))
        self.lost = bytearray(_LOST_SIZE)
        _set_up(self, room, width, head_size)
        if memory is not None:
            self.newer.end()

    def start(self) -> None:
        """Has a second thread do the pieces, if there can be one."""
        thread = SecondThread()
        if thread.start():
            self.thread = thread

    def begin(self) -> None:
        """Begins a piece, out of what was put into the feeds by now."""
        _begin(self)

    def help(self) -> None:
        """Does one block of the piece, if no other thread does it, nor has begun it by the third call."""
        self.calls += 1
        if self.thread is None or (self.calls >= 3 and self.thread.take_back()):
            self.alone = True
        if self.alone:
            _help(self)

    def collect(self, dropped_large: list[bytes]) -> list[PackedBlock]:
        """The blocks of the piece, at most PIECE_BLOCKS, whose bytes stay until the next collect(); values of large
        entries that lost are appended to dropped_large. It waits for the piece: 0.1 µs per entry that is not done."""
        _wait(self)
        return _collect(self, dropped_large)

    def stop(self) -> None:
        """Ends the second thread, if there is one; the piece under way is lost. Nothing more may be begun."""
        if self.thread is not None:
            self.thread.stop()

    def __dealloc__(self) -> None:
        if self.thread is not None:
            self.thread.stop()


# Compiled only, from here to the end. First what needs the interpreter's lock.


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _start_of(column: bytearray) -> cython.p_uchar:
    return cython.cast(cython.p_uchar, PyByteArray_AS_STRING(column))


@cython.cfunc
def _set_up(
    merge: PieceMerge, room: cython.Py_ssize_t, width: cython.Py_ssize_t, head_size: cython.Py_ssize_t
) -> object:
    # An entry takes at least one byte of key, its offsets and its flags.
    count_max: cython.Py_ssize_t = room // (2 * width + 2) + 2
    merge.state = bytearray(cython.sizeof(types.PieceState))  # zeros: nothing is loaded, staged or counted
    s = cython.cast(cython.pointer(types.PieceState), _start_of(merge.state))
    merge.stage = bytearray(count_max * (2 * width + 1) + 2 * room)
    merge.figures = bytearray(_PIECE_BLOCKS * cython.sizeof(types.PackedFigures))
    merge.blocks = bytearray(2 * _FEED_BLOCKS * cython.sizeof(types.FedBlock))
    s.newer.blocks = cython.cast(cython.pointer(types.FedBlock), _start_of(merge.blocks))
    s.older.blocks = s.newer.blocks + _FEED_BLOCKS
    if merge.memory is not None:
        source: cython.ulonglong = merge.memory.source()
        s.newer.source = cython.cast(cython.pointer(types.EntrySource), source)
    s.task.work = _work_all
    s.task.argument = s
    s.drops = merge.drops
    s.room, s.room_left, s.width = room, room, width
    s.key_offsets = _start_of(merge.stage)
    s.value_offsets = s.key_offsets + count_max * width
    s.flags = s.value_offsets + count_max * width
    s.keys = s.flags + count_max
    s.values = s.keys + room
    s.out_size, s.head_size = head_size + room + 2 * width, head_size
    s.figures = cython.cast(cython.pointer(types.PackedFigures), _start_of(merge.figures))
    merge.fingerprints = bytearray(2 * _PIECE_BLOCKS * count_max)
    s.fingerprints, s.count_max = _start_of(merge.fingerprints), count_max
    s.crc_tables = cython.cast(cython.p_const_uint, PyBytes_AS_STRING(_CRC_TABLES))
    s.lost = _start_of(merge.lost)
    s.stopped = True
    return None


@cython.cfunc
def _hand_over(feed: Feed, argument: cython.p_void) -> object:
    """What was put into a feed becomes part of its input, and blocks of that which are used up are let go."""
    fed = cython.cast(cython.pointer(types.MergeInput), argument)
    used: cython.Py_ssize_t = fed.block
    left: cython.Py_ssize_t = fed.block_count - used
    i: cython.Py_ssize_t
    start: cython.Py_ssize_t
    raw: bytes
    for i in range(left):
        fed.blocks[i] = fed.blocks[used + i]
    for raw in feed.kept[:used]:
        feed.size -= len(raw)
    del feed.kept[:used]
    for raw, at, count, width in feed.coming:
        columns = cython.address(fed.blocks[left])
        start, columns.count, columns.width, columns.at = at, count, width, 0
        columns.key_offsets = cython.cast(cython.p_const_uchar, PyBytes_AS_STRING(raw)) + start
        columns.value_offsets = columns.key_offsets + (columns.count + 1) * columns.width
        columns.flags = columns.value_offsets + (columns.count + 1) * columns.width
        columns.keys = columns.flags + columns.count
        columns.values = columns.keys + types.offset_of(columns.key_offsets, columns.count, columns.width)
        feed.kept.append(raw)
        left += 1
    fed.block, fed.block_count, fed.ended = 0, left, feed.ended
    feed.coming = []
    return None


@cython.cfunc
def _begin(merge: PieceMerge) -> object:
    s = cython.cast(cython.pointer(types.PieceState), _start_of(merge.state))
    _hand_over(merge.newer, cython.address(s.newer))
    _hand_over(merge.older, cython.address(s.older))
    s.out, s.out_count, s.lost_size, s.stopped = _start_of(merge.out), 0, 0, s.done
    merge.alone, merge.calls = False, 0
    if merge.thread is not None:
        merge.thread.post(cython.cast(cython.ulonglong, cython.address(s.task)))
    return None


@cython.cfunc
def _help(merge: PieceMerge) -> object:
    s = cython.cast(cython.pointer(types.PieceState), _start_of(merge.state))
    _work(s, s.out_count + 1)
    return None


@cython.cfunc
def _wait(merge: PieceMerge) -> object:
    """Until the piece is whole."""
    if not merge.alone and merge.thread is not None and not merge.thread.take_back():
        merge.thread.wait()
    else:
        _work_all(_start_of(merge.state))
    return None


@cython.cfunc
def _collect(merge: PieceMerge, dropped_large: list[bytes]) -> list[PackedBlock]:
    s = cython.cast(cython.pointer(types.PieceState), _start_of(merge.state))
    i: cython.Py_ssize_t
    keys_at: cython.Py_ssize_t
    block: PackedBlock
    blocks: list[PackedBlock] = []
    for i in range(s.out_count):
        figures = cython.address(s.figures[i])
        block = PackedBlock()
        block.buffer, block.at = merge.out, i * s.out_size
        block.count, block.tombstones, block.large = figures.count, figures.tombstones, figures.large
        block.keys_size, block.values_size = figures.keys_size, figures.values_size
        keys_at = s.head_size + 2 * (block.count + 1) * s.width + block.count
        block.size = keys_at + block.keys_size + block.values_size
        keys: cython.p_uchar = s.out + block.at + keys_at
        block.key_first = keys[: types.offset_of(s.out + block.at + s.head_size, 1, s.width)]
        block.key_last = keys[figures.key_last_at : block.keys_size]
        fingerprints: cython.p_uchar = s.fingerprints + 2 * i * s.count_max
        block.fingerprints = fingerprints[: 2 * block.count]
        blocks.append(block)
    dropped_large += [s.lost[i : i + merge.large_size] for i in range(0, s.lost_size, merge.large_size)]
    s.out_count = s.lost_size = 0
    merge.done, merge.entries_lost, merge.entries_dropped = s.done, s.entries_lost, s.entries_dropped
    merge.out, merge.out_next = merge.out_next, merge.out
    return blocks


# What the second thread does: memory alone, no objects.


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _work_all(argument: cython.p_void) -> cython.void:
    """The whole piece."""
    _work(argument, _PIECE_BLOCKS)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _work(argument: cython.p_void, out_count: cython.Py_ssize_t) -> cython.void:
    """Goes on with the piece until it has so many blocks, or is whole: it needs what is not fed yet, has its blocks,
    or has no place for another large value that lost."""
    s = cython.cast(cython.pointer(types.PieceState), argument)
    newer = cython.address(s.newer.entry)
    older = cython.address(s.older.entry)
    order: cython.Py_ssize_t
    while not s.stopped and s.out_count < out_count:
        if _waits(cython.address(s.newer)) or _waits(cython.address(s.older)):
            s.stopped = True
        elif not newer.loaded and not older.loaded:
            if s.staged.count:
                _pack(s)
            s.stopped = s.done = True
        else:
            order = -1 if not older.loaded else 1
            if newer.loaded and older.loaded:
                order = _compare(newer.key, newer.key_size, older.key, older.key_size)
            if order == 0 and older.flag == 2 and s.lost_size + older.value_size > _LOST_SIZE:
                s.stopped = True
            elif _take(s, newer if order <= 0 else older) and order == 0:
                if older.flag == 2:
                    memcpy(s.lost + s.lost_size, older.value, older.value_size)
                    s.lost_size += older.value_size
                s.entries_lost += 1
                older.loaded = False
    if s.out_count == _PIECE_BLOCKS:
        s.stopped = True


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def _waits(argument: cython.p_void) -> cython.bint:
    """Loads the next entry of an input; True: it has none at hand, and is not at its end."""
    fed = cython.cast(cython.pointer(types.MergeInput), argument)
    return not fed.entry.loaded and not _load(fed) and not fed.ended


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def _take(state: cython.p_void, taken: cython.p_void) -> cython.bint:
    """Copies an entry into the stage, or drops it; False: it did not fit, and the stage is a block
    now."""
    s = cython.cast(cython.pointer(types.PieceState), state)
    entry = cython.cast(cython.pointer(types.Entry), taken)
    staged = cython.address(s.staged)
    size: cython.Py_ssize_t = entry.key_size + entry.value_size + 2 * s.width + 1
    if s.drops and entry.flag == 1:
        s.entries_dropped += 1
        entry.loaded = False
        return True
    if size > s.room_left:
        _pack(s)
        return False
    s.room_left -= size
    types.put_offset(s.key_offsets, staged.count, staged.keys_size, s.width)
    types.put_offset(s.value_offsets, staged.count, staged.values_size, s.width)
    s.flags[staged.count] = entry.flag
    memcpy(s.keys + staged.keys_size, entry.key, entry.key_size)
    memcpy(s.values + staged.values_size, entry.value, entry.value_size)
    staged.key_last_at = staged.keys_size
    staged.tombstones += entry.flag == 1
    staged.large += entry.flag == 2
    staged.keys_size += entry.key_size
    staged.values_size += entry.value_size
    staged.count += 1
    entry.loaded = False
    return True


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _pack(state: cython.p_void) -> cython.void:
    """The stage becomes the next block of the piece: room for heads | key offsets | value offsets | flags | keys |
    values | zeros; and is empty then."""
    s = cython.cast(cython.pointer(types.PieceState), state)
    staged = cython.address(s.staged)
    offsets_size: cython.Py_ssize_t = (staged.count + 1) * s.width
    out: cython.p_uchar = s.out + s.out_count * s.out_size + s.head_size
    types.put_offset(s.key_offsets, staged.count, staged.keys_size, s.width)
    types.put_offset(s.value_offsets, staged.count, staged.values_size, s.width)
    memcpy(out, s.key_offsets, offsets_size)
    out += offsets_size
    memcpy(out, s.value_offsets, offsets_size)
    out += offsets_size
    memcpy(out, s.flags, staged.count)
    out += staged.count
    memcpy(out, s.keys, staged.keys_size)
    memcpy(out + staged.keys_size, s.values, staged.values_size)
    out += staged.keys_size + staged.values_size
    memset(out, 0, s.out + (s.out_count + 1) * s.out_size - out)
    _mark(s)
    s.figures[s.out_count] = s.staged
    s.out_count += 1
    memset(staged, 0, cython.sizeof(types.PackedFigures))
    s.room_left = s.room


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _mark(state: cython.p_void) -> cython.void:
    """The fingerprints of the keys in the stage."""
    s = cython.cast(cython.pointer(types.PieceState), state)
    out: cython.p_uchar = s.fingerprints + 2 * s.out_count * s.count_max
    i: cython.Py_ssize_t
    at: cython.Py_ssize_t = 0
    end: cython.Py_ssize_t
    for i in range(s.staged.count):
        end = types.offset_of(s.key_offsets, i + 1, s.width)
        types.put_offset(out, i, types.crc32_of(s.crc_tables, s.keys + at, end - at), 2)
        at = end


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def _load(argument: cython.p_void) -> cython.bint:
    """The next entry of an input; False: there is none."""
    fed = cython.cast(cython.pointer(types.MergeInput), argument)
    entry = cython.address(fed.entry)
    offset: cython.Py_ssize_t
    if fed.source != cython.NULL:
        offset = fed.source.load(fed.source.source, entry)
        return offset != 0
    # A block is left behind when its last entry was taken: that one is looked at until then.
    while fed.block < fed.block_count and fed.blocks[fed.block].at == fed.blocks[fed.block].count:
        fed.block += 1
    if fed.block == fed.block_count:
        return False
    columns = cython.address(fed.blocks[fed.block])
    offset = types.offset_of(columns.key_offsets, columns.at, columns.width)
    entry.key = columns.keys + offset
    entry.key_size = types.offset_of(columns.key_offsets, columns.at + 1, columns.width) - offset
    offset = types.offset_of(columns.value_offsets, columns.at, columns.width)
    entry.value = columns.values + offset
    entry.value_size = types.offset_of(columns.value_offsets, columns.at + 1, columns.width) - offset
    entry.flag = columns.flags[columns.at]
    columns.at += 1
    entry.loaded = True
    return True


@cython.cfunc
@cython.nogil
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


if not (TYPE_CHECKING or COMPILED or PURE):
    # The compiled classes take the place of those above, which cannot do anything.
    with suppress(ImportError):
        from lsmcli.engine._piece_merge import COMPILED, Feed, PackedBlock, PieceMerge
