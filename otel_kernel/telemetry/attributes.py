"""Strings and attributes as OTLP's wire wants them, each made once: the same ones come back in every birth.

Field numbers are those of opentelemetry/proto/common/v1/common.proto.
"""

import re
from functools import cache, lru_cache

from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import Exemplar, HistogramDataPoint, NumberDataPoint
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_kernel.births.trace import Attributes, Value
from otel_kernel.telemetry.wire import FIXED64, LENGTH_DELIMITED, VARINT, double, sized, tag, varint

VALUE_LIMIT_BYTES = 256
INT64 = range(-(2**63), 2**63)
SURROGATE = re.compile(r"[\ud800-\udfff]")

# The messages that have attributes.
Holder = type[Resource | Span | Span.Event | Span.Link | NumberDataPoint | HistogramDataPoint | Exemplar | LogRecord]

_REMEMBERED = 2048  # attributes; a birth has some 500
_said: dict[tuple[str, Value, type], bytes] = {}

_KEY, _VALUE = tag(1, LENGTH_DELIMITED), tag(2, LENGTH_DELIMITED)
_STRING, _BOOL, _INT = tag(1, LENGTH_DELIMITED), tag(2, VARINT), tag(3, VARINT)
_DOUBLE, _ARRAY, _ARRAY_VALUE = tag(4, FIXED64), tag(5, LENGTH_DELIMITED), tag(1, LENGTH_DELIMITED)


@lru_cache(maxsize=1024)
def utf8(text: str) -> str:
    """Return `text` as protobuf accepts it: what was no UTF-8 (lone surrogates) as U+FFFD, at most 256 bytes long."""
    if text.isascii():
        return text[:VALUE_LIMIT_BYTES]
    encoded = SURROGATE.sub("\ufffd", text).encode()
    return encoded[:VALUE_LIMIT_BYTES].decode(errors="ignore")


def wire_attributes(holder: Holder, attributes: Attributes) -> bytes:
    """Return the wire form of a `holder` with nothing but these attributes, to be merged into the one they belong to.

    Remembered bytes take a fraction of the time of building the messages anew for each span.
    """
    if not attributes:
        return b""
    before = _tag_in(holder)  # type: ignore[arg-type]  # mypy sees messages, which cannot be hashed; their classes can
    said = []
    for key, value in attributes.items():
        # With its type, because 1, 1.0 and True are one key to a dictionary and three values to a reader.
        known = _said.get((key, value, value.__class__))
        said.append(known or _say(key, value))
    return before + before.join(said)


@cache
def _tag_in(holder: Holder) -> bytes:
    fields = holder.DESCRIPTOR.fields
    number = next(field.number for field in fields if field.message_type is KeyValue.DESCRIPTOR)
    return tag(number, LENGTH_DELIMITED)


def _say(key: str, value: Value) -> bytes:
    """Return a KeyValue as it stands behind its tag, and remember it."""
    if len(_said) >= _REMEMBERED:
        _said.clear()
    said = sized(_key(key) + _VALUE + sized(_any(value)))
    _said[key, value, value.__class__] = said
    return said


@lru_cache(maxsize=1024)
def _key(key: str) -> bytes:
    return _KEY + sized(utf8(key).encode())


def _any(value: Value) -> bytes:
    """Return an AnyValue."""
    if isinstance(value, str):
        return _STRING + sized(utf8(value).encode())
    if isinstance(value, bool):
        return _BOOL + varint(value)
    if isinstance(value, int):
        # OTLP's integers have 64 bits; larger ones are said as strings (specification, common/attribute-type-mapping).
        return _INT + varint(value) if value in INT64 else _any(str(value))
    if isinstance(value, float):
        return _DOUBLE + double(value)
    return _ARRAY + sized(b"".join(_ARRAY_VALUE + sized(_any(item)) for item in value))
