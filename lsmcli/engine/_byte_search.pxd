# Functions of byte_search.py for other compiled modules.

cdef unsigned long long number_of(const unsigned char *key, Py_ssize_t size, Py_ssize_t skip) noexcept
cdef bytes numbers_of(list[bytes] keys, Py_ssize_t skip)
cdef Py_ssize_t order_of(list[bytes] keys, Py_ssize_t i, const unsigned char *key, Py_ssize_t size) noexcept
cdef Py_ssize_t position_of(
    list[bytes] keys, bytes numbers, Py_ssize_t skip, const unsigned char *key, Py_ssize_t size
) noexcept
cdef unsigned short fingerprint(const unsigned char *key, Py_ssize_t size) noexcept
cdef Py_ssize_t find_fingerprint(
    const unsigned char *column, Py_ssize_t count, unsigned short mark, Py_ssize_t entry
) noexcept
