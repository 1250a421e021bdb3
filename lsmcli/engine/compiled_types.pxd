# Structs and small functions of C of the modules that merge, for compiled code alone: what several of them use, and
# pointers to functions, which cannot be said in Python. Nothing of this exists at run time; see
# docs/internals/hot_loops.md.
#
#     SecondThread ── Task ──> PieceMerge: PieceState ── EntrySource ──> MemoryRuns: RunsState

cdef extern from "Python.h":
    # The garbage collector passes over this object from here on: for one that holds nothing that could lead back to it.
    void PyObject_GC_UnTrack(void *container)

# Work for a second thread: work(argument). It touches no Python object.
cdef struct Task:
    void (*work)(void *argument) noexcept nogil
    void *argument

# The next entry of something; key and value stay where they are until the one after it is loaded.
cdef struct Entry:
    bint loaded
    const unsigned char *key
    Py_ssize_t key_size
    const unsigned char *value
    Py_ssize_t value_size
    Py_ssize_t flag

# Entries in the order of their keys: load(source, entry) makes this Entry the next one; False: there is none.
cdef struct EntrySource:
    bint (*load)(void *source, void *entry) noexcept nogil
    void *source

# Of a second thread: the locks that are given back to wake it, and by it when its work is over.
cdef struct ThreadState:
    void *wake
    void *over
    Task *task
    bint leaves

# Entries in sorted runs, one run behind the other, and a heap of the runs.
cdef struct RunsState:
    unsigned long long *keys  # addresses of their bytes
    unsigned long long *values
    unsigned int *key_sizes
    unsigned int *value_sizes
    unsigned char *flags
    unsigned int *starts  # of the runs; one more at the end
    unsigned int *heads  # of each run the next entry
    unsigned long long *windows  # of each run the beginnings of its next keys, as numbers
    unsigned long long *numbers  # the heap: the beginning of a run's next key,
    unsigned int *places  # and which run it is
    Py_ssize_t run_count
    Py_ssize_t heap_size  # below 0: there is no heap yet
    Py_ssize_t shared  # bytes at the beginning that all keys have in common
    Py_ssize_t touched
    EntrySource entries

# The columns of a block that was fed to a merge, and its next entry.
cdef struct FedBlock:
    const unsigned char *key_offsets
    const unsigned char *value_offsets
    const unsigned char *flags
    const unsigned char *keys
    const unsigned char *values
    Py_ssize_t width
    Py_ssize_t count
    Py_ssize_t at

# One of the two inputs of a merge, and its next entry.
cdef struct MergeInput:
    Entry entry
    bint ended  # nothing more will be fed
    EntrySource *source  # NULL: blocks are fed
    FedBlock *blocks
    Py_ssize_t block
    Py_ssize_t block_count

# What is known of a block that a merge has packed.
cdef struct PackedFigures:
    Py_ssize_t count
    Py_ssize_t tombstones
    Py_ssize_t large
    Py_ssize_t keys_size
    Py_ssize_t values_size
    Py_ssize_t key_last_at

cdef struct PieceState:
    MergeInput newer
    MergeInput older
    bint drops  # tombstones are left out
    Py_ssize_t entries_lost
    Py_ssize_t entries_dropped
    # The stage: the columns of the block that is being filled.
    Py_ssize_t room
    Py_ssize_t room_left
    Py_ssize_t width
    PackedFigures staged
    unsigned char *key_offsets
    unsigned char *value_offsets
    unsigned char *flags
    unsigned char *keys
    unsigned char *values
    # The piece, and where its blocks go.
    bint stopped
    bint done
    unsigned char *out
    Py_ssize_t out_size
    Py_ssize_t head_size
    Py_ssize_t out_count
    PackedFigures *figures
    unsigned char *fingerprints  # of each block count_max times two bytes
    Py_ssize_t count_max  # entries of a block
    const unsigned int *crc_tables
    unsigned char *lost
    Py_ssize_t lost_size
    Task task

# A little-endian number of 2 or 4 bytes: item i of a column.
cdef inline Py_ssize_t offset_of(const unsigned char *column, Py_ssize_t i, Py_ssize_t width) noexcept nogil:
    cdef const unsigned char *at = column + i * width
    cdef Py_ssize_t offset = at[0] | (at[1] << 8)
    if width == 4:
        offset |= (at[2] << 16) | (<Py_ssize_t> at[3] << 24)
    return offset

cdef inline void put_offset(unsigned char *column, Py_ssize_t i, Py_ssize_t offset, Py_ssize_t width) noexcept nogil:
    cdef unsigned char *out = column + i * width
    out[0] = offset & 0xFF
    out[1] = (offset >> 8) & 0xFF
    if width == 4:
        out[2] = (offset >> 16) & 0xFF
        out[3] = (offset >> 24) & 0xFF

# The CRC-32 that zlib computes, four bytes at a time, with the tables that entry_pack.crc_tables() gives.
cdef inline unsigned int crc32_of(const unsigned int *tables, const unsigned char *data, Py_ssize_t size) noexcept nogil:
    cdef unsigned int crc = 0xFFFFFFFF
    while size >= 4:
        crc = (
            tables[768 + ((crc ^ data[0]) & 0xFF)]
            ^ tables[512 + (((crc >> 8) ^ data[1]) & 0xFF)]
            ^ tables[256 + (((crc >> 16) ^ data[2]) & 0xFF)]
            ^ tables[((crc >> 24) ^ data[3]) & 0xFF]
        )
        data += 4
        size -= 4
    while size > 0:
        crc = tables[(crc ^ data[0]) & 0xFF] ^ (crc >> 8)
        data += 1
        size -= 1
    return ~crc
