"""Strings and attributes as OTLP's wire wants them, each made once: the same ones come back in every birth."""

import re
from functools import lru_cache

from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import HistogramDataPoint, NumberDataPoint
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_kernel.births.trace import Attributes, Value

VALUE_LIMIT_BYTES = 256
INT64 = range(-(2**63), 2**63)
SURROGATE = re.compile(r"[\ud800-\udfff]")

# The messages that have attributes.
Holder = type[Resource | Span | Span.Event | Span.Link | NumberDataPoint | HistogramDataPoint | LogRecord]


@lru_cache(maxsize=1024)
def utf8(text: str) -> str:
    """Return `text` as protobuf accepts it: what was no UTF-8 (lone surrogates) as U+FFFD, at most 256 bytes long."""
    if text.isascii():
        return text[:VALUE_LIMIT_BYTES]
    encoded = SURROGATE.sub("\ufffd", text).encode()
    return encoded[:VALUE_LIMIT_BYTES].decode(errors="ignore")


def wire_attributes(holder: Holder, attributes: Attributes) -> bytes:
    """Return the wire form of a `holder` with nothing but these attributes, to be merged into the one they belong to.

    Merging remembered bytes takes a fifth of the time of building the messages anew for each span.
    """
    return b"".join([_attribute(holder, key, value) for key, value in attributes.items()])  # type: ignore[arg-type]


# Messages cannot be hashed, which is what mypy sees; their classes, which are the key here, can.
# Typed, because 1, 1.0 and True are one key to a dictionary and three values to a reader.
@lru_cache(maxsize=1024, typed=True)
def _attribute(holder: Holder, key: str, value: Value) -> bytes:
    message = holder()
    set_value(message.attributes.add(key=utf8(key)).value, value)
    return message.SerializeToString()


def set_value(target: AnyValue, value: Value) -> None:
    """Make an OTLP value say this one."""
    if isinstance(value, str):
        target.string_value = utf8(value)
    elif isinstance(value, bool):
        target.bool_value = value
    elif isinstance(value, int):
        _set_int(target, value)
    elif isinstance(value, float):
        target.double_value = value
    else:
        target.array_value.SetInParent()  # an empty list is a value too
        for item in value:
            set_value(target.array_value.values.add(), item)


def _set_int(target: AnyValue, value: int) -> None:
    # OTLP's integers have 64 bits; larger ones are said as strings (specification, common/attribute-type-mapping).
    if value in INT64:
        target.int_value = value
    else:
        target.string_value = str(value)
