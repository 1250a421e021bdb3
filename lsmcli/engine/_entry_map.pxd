# Functions of entry_map.py for other compiled modules.

cdef object newest_entry(object newer, object older, bytes key)
