# Functions of block_scan.py for other compiled modules.

cdef Py_ssize_t pairs_near(
    bytes raw,
    Py_ssize_t at,
    Py_ssize_t count,
    Py_ssize_t width,
    object bound,
    Py_ssize_t limit,
    Py_ssize_t key_size_max,
    bint backward,
    Py_ssize_t guess,
    list[tuple[bytes, bytes]] pairs,
) except? -1
cdef Py_ssize_t place_guessed(bytes numbers, Py_ssize_t at, unsigned long long number, Py_ssize_t count) noexcept
