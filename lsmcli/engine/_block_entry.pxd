# Functions of block_entry.py for other compiled modules.

cdef object value_of(
    bytes raw,
    Py_ssize_t offsets_at,
    Py_ssize_t count,
    Py_ssize_t width,
    Py_ssize_t values_at,
    Py_ssize_t entry,
    bytes key,
)
cdef unsigned int touch(
    bytes raw,
    Py_ssize_t offsets_at,
    Py_ssize_t count,
    Py_ssize_t width,
    Py_ssize_t values_at,
    Py_ssize_t entry,
    bint offsets_only,
) noexcept
