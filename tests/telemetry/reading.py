"""OTLP messages read back with OpenTelemetry's own classes."""

import base64
import json
from collections.abc import Iterable, Mapping
from typing import TypeVar

from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

Request = TypeVar("Request", bound=Message)
HEX = ("traceId", "spanId", "parentSpanId")


def decoded(value: AnyValue) -> object:
    """Return the Python value of an OTLP value."""
    kind = value.WhichOneof("value")
    assert kind is not None
    if kind == "array_value":
        return tuple(decoded(item) for item in value.array_value.values)
    return getattr(value, kind)


def attributes(messages: Iterable[KeyValue]) -> Mapping[str, object]:
    """Return OTLP attributes as a dictionary, having made sure that no key comes twice."""
    pairs = [(message.key, decoded(message.value)) for message in messages]
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def read_back(line: bytes, request: type[Request]) -> Request:
    """Return the request that a line stands for, by protobuf's own JSON reader but for the hexadecimal ids."""
    assert line.isascii()
    assert b"\n" not in line.removesuffix(b"\n")

    def with_bytes(value: object) -> object:
        if isinstance(value, dict):
            return {k: _base64(v) if k in HEX else with_bytes(v) for k, v in value.items()}
        return [with_bytes(item) for item in value] if isinstance(value, list) else value

    return ParseDict(with_bytes(json.loads(line)), request())  # type: ignore[arg-type]


def _base64(hexadecimal: str) -> str:
    return base64.b64encode(bytes.fromhex(hexadecimal)).decode()
