# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
r"""Rows of two columns between text and lists, for whole blocks of rows at a time: the fast path of CSV and TSV.

    split_rows(b"a,1\nb,2\n", 44)                 -> [b"a", b"b"], [b"1", b"2"]
    split_rows(b'a,"1\n2"\n', 44)                 -> None: take the careful path
    join_csv([b"a", b"b"], [b"1", b"x, y"], 44)  -> b'a,1\nb,"x, y"\n'
    join_tsv([b"a", b"b"], [b"1", b"2"])          -> b"a\t1\nb\t2\n"
    join_tsv([b"a"], [b"\0"])                     -> None

Invariants:
- an answer is exactly what the careful path would give; None where that is not certain;
- the interpreted and the compiled branch of a function give the same answer, None included.

Compiled where a C compiler was at hand, see docs/internals/hot_loops.md.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from lsmcli.engine import uncompiled as cython
from lsmcli.engine.constants import KEY_SIZE_MAX
from lsmcli.engine.uncompiled import PURE

if cython.compiled:
    import cython  # type: ignore[no-redef]  # seen by the compiler alone, for which it is no module
    from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_FromStringAndSize
    from cython.cimports.libc.string import memchr, memcpy

COMPILED: Final = bool(cython.compiled)

TAB: Final = 0x09
COMMA: Final = 0x2C
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_CONTROLS: Final = bytes((*range(0x20), 0x7F))
_SEPARATORS_TO_SPACES: Final = bytes.maketrans(b"\t\n", b"  ")


def split_rows(block: bytes, separator: int) -> tuple[list[bytes], list[bytes]] | None:
    """Keys and values of a block of whole lines, the last of which may lack its line end.

    None where a row needs care: anything but one separator in it, an empty key or one of more than KEY_SIZE_MAX
    bytes, a CR or NUL, or a double quote; with tabs only a quote that begins a field. 0.12 µs per row, interpreted 0.3.
    """
    assert 0 <= separator <= 0xFF and separator not in b'\r\n"\0'
    if cython.compiled:
        return _split_rows(block, separator)
    mark = bytes((separator,))
    if b"\r" in block or b"\0" in block:
        return None
    if separator != TAB:
        if b'"' in block:
            return None
    elif block.startswith(b'"') or b'\n"' in block or b'\t"' in block:
        return None
    if block and not block.endswith(b"\n"):
        block += b"\n"
    count = block.count(b"\n")
    # What is left without all other bytes tells whether the rows have one separator each.
    if block.translate(None, bytes(set(range(256)) - {separator, ord("\n")})) != (mark + b"\n") * count:
        return None
    fields = block.replace(b"\n", mark).split(mark)
    keys = fields[0:-1:2]
    values = fields[1::2]
    assert len(keys) == len(values) == count
    if keys and (b"" in keys or len(max(keys, key=len)) > KEY_SIZE_MAX):
        return None
    return keys, values


def count_lines(block: bytes) -> int:
    """Line ends in the block. 0.05 ns per byte, interpreted 0.7."""
    if cython.compiled:
        return _count_lines(block, len(block))
    return block.count(b"\n")


def join_tsv(keys: list[bytes], values: list[bytes]) -> bytes | None:
    """Lines of key, tab and value; None unless every field is printable UTF-8 and begins with no double quote.

    0.05 µs per row, interpreted 0.25.
    """
    assert len(keys) == len(values)
    if cython.compiled:
        text = _join_plain(keys, values)
        return text if text is None or text.isascii() or _is_printable(text) else None
    text = _joined(keys, values, b"\t")
    count = len(keys)
    plain = (
        len(text.translate(None, _CONTROLS)) == len(text) - 2 * count
        and not text.startswith(b'"')
        and b'\n"' not in text
        and b'\t"' not in text
        and (text.isascii() or _is_printable(text))
    )
    return text if plain else None


def join_packed_tsv(raw: bytes, keys_at: int, values_at: int, key_sizes: bytes, value_sizes: bytes) -> bytes | None:
    """What join_tsv gives for keys in raw[keys_at:values_at] and values in raw[values_at:], each behind the one before.

    Sizes are columns of u32, little-endian. Always None when interpreted. 0.03 µs per row.
    """
    assert 0 <= keys_at <= values_at <= len(raw) and len(key_sizes) == len(value_sizes)
    if cython.compiled:
        text = _lines_packed(raw, keys_at, values_at, key_sizes, value_sizes, TAB, False)
        return text if text is None or text.isascii() or _is_printable(text) else None
    return None


def join_packed_csv(
    raw: bytes, keys_at: int, values_at: int, key_sizes: bytes, value_sizes: bytes, separator: int = COMMA
) -> bytes | None:
    """What join_csv gives for the same; None where a field is quoted, and always when interpreted. 0.03 µs per row."""
    assert 0 <= keys_at <= values_at <= len(raw) and len(key_sizes) == len(value_sizes)
    assert 0 <= separator <= 0xFF and separator not in b'\r\n"\0'
    if cython.compiled:
        text = _lines_packed(raw, keys_at, values_at, key_sizes, value_sizes, separator, True)
        return text if text is None or text.isascii() or BYTE_ORDER_MARK not in text else None
    return None


def _joined(keys: list[bytes], values: list[bytes], mark: bytes) -> bytes:
    return b"\n".join([*map(mark.join, zip(keys, values, strict=True)), b""])


def _is_printable(text: bytes) -> bool:
    """Whether lines are printable UTF-8 between their tabs and line ends."""
    try:
        return text.translate(_SEPARATORS_TO_SPACES).decode().isprintable()
    except UnicodeDecodeError:
        return False


def join_csv(keys: list[bytes], values: list[bytes], separator: int = COMMA) -> bytes:
    """Lines of key, separator and value. A field is quoted if it has a separator, a double quote, CR, LF or NUL in
    it, or begins with a byte order mark.

    0.05 µs per row, interpreted 0.25, and 1 where some field is quoted.
    """
    assert len(keys) == len(values)
    assert 0 <= separator <= 0xFF and separator not in b'\r\n"\0'
    if cython.compiled:
        return _join_quoted(keys, values, separator)
    mark = bytes((separator,))
    text = _joined(keys, values, mark)
    count = len(keys)
    if (
        text.count(b"\n") == count
        and text.count(mark) == count
        and b'"' not in text
        and b"\r" not in text
        and b"\0" not in text
        and BYTE_ORDER_MARK not in text
    ):
        return text
    special = mark + b'"\r\n\0'
    return b"".join(
        [
            _quoted(key, special) + mark + _quoted(value, special) + b"\n"
            for key, value in zip(keys, values, strict=True)
        ]
    )


def _quoted(field: bytes, special: bytes) -> bytes:
    if len(field.translate(None, special)) == len(field) and not field.startswith(BYTE_ORDER_MARK):
        return field
    return b'"' + field.replace(b'"', b'""') + b'"'


# Compiled only: loops over bytes, which would be hopeless if interpreted.


@cython.cfunc
def _split_rows(block: bytes, separator: cython.uchar) -> tuple[list[bytes], list[bytes]] | None:
    data: cython.p_const_uchar = block
    at: cython.Py_ssize_t = 0
    size: cython.Py_ssize_t = len(block)
    end: cython.Py_ssize_t
    cut: cython.Py_ssize_t
    found: cython.p_const_uchar
    key_size_max: cython.Py_ssize_t = KEY_SIZE_MAX
    keys: list[bytes] = []
    values: list[bytes] = []
    if _found(data, ord("\r"), size) or _found(data, 0, size):
        return None
    if separator != ord("\t") and _found(data, ord('"'), size):
        return None
    while at < size:
        found = cython.cast(cython.p_const_uchar, memchr(data + at, ord("\n"), size - at))
        end = found - data if found else size
        found = cython.cast(cython.p_const_uchar, memchr(data + at, separator, end - at))
        if not found:
            return None
        cut = found - data
        if cut == at or cut - at > key_size_max or _found(data + cut + 1, separator, end - cut - 1):
            return None
        # With a separator other than a tab there is no quote in the block at all.
        if data[at] == ord('"') or (cut + 1 < end and data[cut + 1] == ord('"')):
            return None
        keys.append(data[at:cut])
        values.append(data[cut + 1 : end])
        at = end + 1
    return keys, values


@cython.cfunc
def _join_plain(keys: list[bytes], values: list[bytes]) -> bytes | None:
    """The lines; None for a control character in a field, or a double quote at its beginning."""
    i: cython.Py_ssize_t
    count: cython.Py_ssize_t = len(keys)
    key: bytes
    value: bytes
    text: bytes = _lines(keys, values, ord("\t"))
    if _count_controls(text, len(text)) != 2 * count:  # the tabs and line ends
        return None
    for i in range(count):
        key = keys[i]
        value = values[i]
        if _begins_with_quote(key, len(key)) or _begins_with_quote(value, len(value)):
            return None
    return text


@cython.cfunc
def _lines_packed(
    raw: bytes,
    key_at: cython.Py_ssize_t,
    value_at: cython.Py_ssize_t,
    key_sizes: bytes,
    value_sizes: bytes,
    separator: cython.uchar,
    csv: cython.bint,
) -> bytes | None:
    """The lines of keys and values that stand behind each other in raw; None where one of them needs care."""
    i: cython.Py_ssize_t
    size: cython.Py_ssize_t
    special: cython.Py_ssize_t
    quotes: cython.Py_ssize_t = 0
    count: cython.Py_ssize_t = len(key_sizes) // 4
    keys_end: cython.Py_ssize_t = value_at
    values_end: cython.Py_ssize_t = len(raw)
    text: bytes = PyBytes_FromStringAndSize(cython.NULL, len(raw) - key_at + 2 * count)
    data: cython.p_const_uchar = raw
    key_sizes_in: cython.p_const_uchar = key_sizes
    value_sizes_in: cython.p_const_uchar = value_sizes
    out: cython.p_uchar = cython.cast(cython.p_uchar, PyBytes_AS_STRING(text))
    for i in range(count):
        size = _u32(key_sizes_in + 4 * i)
        assert size <= keys_end - key_at
        quotes += _begins_with_quote(data + key_at, size)
        memcpy(out, data + key_at, size)
        key_at += size
        out += size
        out[0] = separator
        size = _u32(value_sizes_in + 4 * i)
        assert size <= values_end - value_at
        quotes += _begins_with_quote(data + value_at, size)
        memcpy(out + 1, data + value_at, size)
        value_at += size
        out += size + 1
        out[0] = ord("\n")
        out += 1
    assert key_at == keys_end and out == cython.cast(cython.p_uchar, PyBytes_AS_STRING(text)) + len(text)
    if csv:
        special = _count_special(text, len(text), separator)
    else:
        special = _count_controls(text, len(text))
    if (quotes and not csv) or special != 2 * count:  # more than the separators and line ends
        return None
    return text


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _u32(at: cython.p_const_uchar) -> cython.Py_ssize_t:
    size: cython.Py_ssize_t = at[0] | (at[1] << 8) | (at[2] << 16) | (cython.cast(cython.Py_ssize_t, at[3]) << 24)
    return size


@cython.cfunc
def _join_quoted(keys: list[bytes], values: list[bytes], separator: cython.uchar) -> bytes:
    i: cython.Py_ssize_t
    count: cython.Py_ssize_t = len(keys)
    size: cython.Py_ssize_t = 2 * count
    out: cython.p_uchar
    key: bytes
    value: bytes
    text: bytes = _lines(keys, values, separator)
    if _count_special(text, len(text), separator) == 2 * count and BYTE_ORDER_MARK not in text:
        return text  # what is special in it is its separators and line ends
    for i in range(count):
        key = keys[i]
        value = values[i]
        size += _size_quoted(key, len(key), separator) + _size_quoted(value, len(value), separator)
    text = PyBytes_FromStringAndSize(cython.NULL, size)
    out = cython.cast(cython.p_uchar, PyBytes_AS_STRING(text))
    for i in range(count):
        key = keys[i]
        value = values[i]
        out = _put_quoted(out, key, len(key), separator)
        out[0] = separator
        out = _put_quoted(out + 1, value, len(value), separator)
        out[0] = ord("\n")
        out += 1
    assert out == cython.cast(cython.p_uchar, PyBytes_AS_STRING(text)) + size
    return text


@cython.cfunc
def _lines(keys: list[bytes], values: list[bytes], separator: cython.uchar) -> bytes:
    """Fields as they are."""
    i: cython.Py_ssize_t
    size: cython.Py_ssize_t = 2 * len(keys)
    key: bytes
    value: bytes
    for i in range(len(keys)):
        key = keys[i]
        value = values[i]
        size += len(key) + len(value)
    text: bytes = PyBytes_FromStringAndSize(cython.NULL, size)
    out: cython.p_uchar = cython.cast(cython.p_uchar, PyBytes_AS_STRING(text))
    for i in range(len(keys)):
        key = keys[i]
        value = values[i]
        memcpy(out, PyBytes_AS_STRING(key), len(key))
        out += len(key)
        out[0] = separator
        memcpy(out + 1, PyBytes_AS_STRING(value), len(value))
        out += len(value) + 1
        out[0] = ord("\n")
        out += 1
    assert out == cython.cast(cython.p_uchar, PyBytes_AS_STRING(text)) + size
    return text


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _found(data: cython.p_const_uchar, byte: cython.uchar, size: cython.Py_ssize_t) -> cython.bint:
    found: cython.bint = memchr(data, byte, size) != cython.NULL
    return found


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _begins_with_quote(field: cython.p_const_uchar, size: cython.Py_ssize_t) -> cython.bint:
    return size > 0 and field[0] == ord('"')


# Counting has no branch in its inner loop, and a count that fits a byte: the C compiler takes many bytes at a time.


@cython.cfunc
@cython.exceptval(check=False)
def _count_controls(text: cython.p_const_uchar, size: cython.Py_ssize_t) -> cython.Py_ssize_t:
    """Control characters of ASCII."""
    i: cython.Py_ssize_t
    at: cython.Py_ssize_t = 0
    stop: cython.Py_ssize_t
    count: cython.uchar
    total: cython.Py_ssize_t = 0
    while at < size:
        stop = min(at + 128, size)
        count = 0
        for i in range(at, stop):
            count += text[i] < ord(" ")
            count += text[i] == 0x7F
        total += count
        at = stop
    return total


@cython.cfunc
@cython.exceptval(check=False)
def _count_lines(text: cython.p_const_uchar, size: cython.Py_ssize_t) -> cython.Py_ssize_t:
    i: cython.Py_ssize_t
    at: cython.Py_ssize_t = 0
    stop: cython.Py_ssize_t
    count: cython.uchar
    total: cython.Py_ssize_t = 0
    while at < size:
        stop = min(at + 128, size)
        count = 0
        for i in range(at, stop):
            count += text[i] == ord("\n")
        total += count
        at = stop
    return total


@cython.cfunc
@cython.exceptval(check=False)
def _count_special(text: cython.p_const_uchar, size: cython.Py_ssize_t, separator: cython.uchar) -> cython.Py_ssize_t:
    """Bytes for which a field is quoted."""
    i: cython.Py_ssize_t
    at: cython.Py_ssize_t = 0
    stop: cython.Py_ssize_t
    count: cython.uchar
    total: cython.Py_ssize_t = 0
    while at < size:
        stop = min(at + 128, size)
        count = 0
        for i in range(at, stop):
            count += text[i] == separator
            count += text[i] == ord("\n")
            count += text[i] == ord('"')
            count += text[i] == ord("\r")
            count += text[i] == 0
        total += count
        at = stop
    return total


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _size_quoted(field: cython.p_const_uchar, size: cython.Py_ssize_t, separator: cython.uchar) -> cython.Py_ssize_t:
    """Bytes of a field as it will stand in its line."""
    i: cython.Py_ssize_t
    quotes: cython.Py_ssize_t = 0
    if _count_special(field, size, separator) == 0:
        if size < 3 or field[0] != 0xEF or field[1] != 0xBB or field[2] != 0xBF:
            return size
    for i in range(size):
        quotes += field[i] == ord('"')
    return size + quotes + 2


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _put_quoted(
    out: cython.p_uchar, field: cython.p_const_uchar, size: cython.Py_ssize_t, separator: cython.uchar
) -> cython.p_uchar:
    """Writes a field as _size_quoted() has counted it; the place behind it."""
    i: cython.Py_ssize_t
    if _size_quoted(field, size, separator) == size:
        memcpy(out, field, size)
        return out + size
    out[0] = ord('"')
    out += 1
    for i in range(size):
        out[0] = field[i]
        out += 1
        if field[i] == ord('"'):
            out[0] = ord('"')
            out += 1
    out[0] = ord('"')
    return out + 1


if not (TYPE_CHECKING or COMPILED or PURE):
    # The compiled functions take the place of those above; without them, on a machine where they were not built,
    # those above stay. What is imported is used by the importers of this module.
    with suppress(ImportError):
        from lsmcli.formats._plain_rows import (  # noqa: F401, I001
            count_lines, join_csv, join_packed_csv, join_packed_tsv, join_tsv, split_rows, COMPILED,
        )  # fmt: skip
