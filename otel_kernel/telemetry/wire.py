"""Protobuf's wire format, as far as our hottest messages need it (protobuf.dev/programming-guides/encoding).

Written out by hand: a span is some twenty fields, each of which costs the protobuf library a call from Python.
"""

import struct

VARINT, FIXED64, LENGTH_DELIMITED, FIXED32 = 0, 1, 2, 5
_U64 = (1 << 64) - 1
_SHORT = tuple(bytes((number,)) for number in range(128))
_FIXED32 = struct.Struct("<I")
_DOUBLE = struct.Struct("<d")


def tag(field: int, wire_type: int) -> bytes:
    """Return what stands before a field's value."""
    return varint(field << 3 | wire_type)


def varint(number: int) -> bytes:
    """Return a number as a varint: a negative one as 64 bits of two's complement."""
    rest = number & _U64
    if rest < len(_SHORT):
        return _SHORT[rest]
    said = bytearray()
    while rest >= len(_SHORT):
        said.append(rest & 0x7F | 0x80)
        rest >>= 7
    said.append(rest)
    return bytes(said)


def sized(content: bytes) -> bytes:
    """Return a string or message as it stands behind its tag: its length first."""
    return varint(len(content)) + content


def fixed32(number: int) -> bytes:
    """Return an unsigned number of 32 bits."""
    return _FIXED32.pack(number)


def double(number: float) -> bytes:
    """Return a floating-point number of 64 bits."""
    return _DOUBLE.pack(number)
