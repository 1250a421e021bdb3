"""Order-preserving bytes of a pair (field, key), and of integers.

Invariants:
- encode(f, k) < encode(g, l) exactly when (f, k) < (g, l), whatever bytes are in them;
- decode(encode(f, k)) == (f, k).

The field is escaped so that none is the start of another; the key follows as it is:

    field b"a\\x00b", key b"k"   ->   a  00 ff  b  00 00  k
                                        ^^^^^     ^^^^^
                                    a zero byte   end of the field

The end, 00 00, is below an escaped zero, 00 ff, and below any other byte: b"a" comes before
b"a\\x00", and that before b"a\\x01". The first 00 00 is always the end: within an escaped field each
00 is followed by ff.
"""

from typing import Final

from lsmcli.engine.errors import DamageError, LimitError

ZERO: Final = b"\x00"
ZERO_ESCAPED: Final = b"\x00\xff"
FIELD_END: Final = b"\x00\x00"

U64_SIZE: Final = 8
U64_MAX: Final = (1 << 64) - 1
I64_BIAS: Final = 1 << 63


def encode(field: bytes, key: bytes) -> bytes:
    """The pair as one key: at most 2 * len(field) + 2 + len(key) bytes."""
    return field.replace(ZERO, ZERO_ESCAPED) + FIELD_END + key


def encode_field(field: bytes) -> bytes:
    """The prefix that every pair with this field has, and no other pair."""
    return field.replace(ZERO, ZERO_ESCAPED) + FIELD_END


def decode(data: bytes) -> tuple[bytes, bytes]:
    """The pair (field, key) of an encoded one.

    Raises DamageError when encode() cannot have made these bytes.
    """
    escaped, end, key = data.partition(FIELD_END)
    if not end or escaped.count(ZERO) != escaped.count(ZERO_ESCAPED):
        message = f"a composite key of {len(data)} bytes has no end of its field; run verify"
        raise DamageError(message, zone="value")
    return escaped.replace(ZERO_ESCAPED, ZERO), key


def encode_u64(number: int) -> bytes:
    """8 bytes that sort as the numbers 0 … 2**64 - 1 do. Raises LimitError outside of them."""
    if not 0 <= number <= U64_MAX:
        raise LimitError(f"{number} is not between 0 and {U64_MAX}; use a number in this range")
    return number.to_bytes(U64_SIZE, "big")


def decode_u64(data: bytes) -> int:
    """The number of encode_u64(). Raises DamageError when there are not exactly 8 bytes."""
    if len(data) != U64_SIZE:
        message = f"an encoded number has {len(data)} bytes instead of {U64_SIZE}; run verify"
        raise DamageError(message, zone="value")
    return int.from_bytes(data, "big")


def encode_i64(number: int) -> bytes:
    """8 bytes that sort as the numbers -2**63 … 2**63 - 1 do. Raises LimitError outside of them."""
    if not -I64_BIAS <= number < I64_BIAS:
        raise LimitError(f"{number} is not between {-I64_BIAS} and {I64_BIAS - 1}; use a number in this range")
    return (number + I64_BIAS).to_bytes(U64_SIZE, "big")


def decode_i64(data: bytes) -> int:
    """The number of encode_i64(). Raises DamageError when there are not exactly 8 bytes."""
    return decode_u64(data) - I64_BIAS
